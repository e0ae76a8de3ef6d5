//! A public key as a page: `/wavi/phone` is `public:phone.wavi@alice`, `?at_rt=meta` and `?at_rt=all` ask for more, and
//! `?at_ct=` says what the value is.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use atsign_protocol::answer::{MetadataAnswer, WholeAnswer};
use atsign_protocol::{AtKey, AtSign};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::percent_decode_str;

use crate::atserver::AtServer;
use crate::memory::{Lease, Taker};
use crate::store::{Record, Store};
use crate::verb::read::{self, Held};

/// No key needs a longer address.
const LONGEST: usize = 1000;

const JSON: &str = "application/json; charset=utf-8";

/// What a value is by the end of its name; a text otherwise.
const KINDS: [(&str, &str); 9] = [
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("md", "text/markdown"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain"),
    ("xml", "text/xml"),
];

/// The answer to an address. What it takes of memory is left in `held`, to be kept until it is sent.
pub(super) async fn answer<S: Store>(
    uri: &Uri,
    server: &AtServer<S>,
    held: &Mutex<Option<Lease>>,
) -> Response<Full<Bytes>> {
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > LONGEST) {
        return text(StatusCode::BAD_REQUEST, "the address is too long\n");
    }
    let parameter = |name: &str| {
        let mut all = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        all.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let Some(key) = key(uri.path(), &server.at_sign) else {
        return text(StatusCode::NOT_FOUND, "404 Not Found");
    };
    let name = key.to_string();
    server.budget.reads_in_bulk();
    let (Record { value, metadata }, lease) = match read::skim(server, Taker::Guest, &name).await {
        Ok(Some(Held { record, lease })) if record.metadata.is_active(server.now()) => (record, lease),
        Ok(_) => return text(StatusCode::NOT_FOUND, "404 Not Found"),
        Err(error) => {
            tracing::warn!(error = error.message(), "an HTTP request was not answered");
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store is not available now, or there is no memory for the value; try again later\n",
            );
        }
    };
    *held.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    match parameter("at_rt").as_deref() {
        Some("meta") => body(StatusCode::OK, JSON, MetadataAnswer(&metadata).to_json()),
        Some("all") => {
            let whole = WholeAnswer { key: &name, data: value.as_deref(), metadata: &metadata };
            body(StatusCode::OK, JSON, whole.to_json())
        }
        _ => {
            let kind = parameter("at_ct").map_or_else(|| kind(&key.entity).into(), Cow::Owned);
            body(StatusCode::OK, &format!("{kind}; charset=utf-8"), value.unwrap_or_default())
        }
    }
}

/// The key of a path: its segments from the last to the first. The atSign may stand in front, and the key may be
/// written as the protocol writes it.
pub fn key(path: &str, own: &AtSign) -> Option<AtKey> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
    let path = path.strip_prefix("public:").unwrap_or(path);
    let path = path.strip_suffix(own.as_str()).unwrap_or(path);
    let segments: Vec<_> = path.rsplit('/').filter(|segment| !segment.is_empty()).collect();
    AtKey::public(&segments.join("."), own.clone()).ok()
}

/// What the value of a key is, by its name: `index.html.blog` is the page `blog/index.html`.
pub fn kind(entity: &str) -> &'static str {
    let end = entity.split('.').nth(1).unwrap_or_default();
    KINDS.iter().find(|(known, _)| *known == end).map_or("text/plain", |(_, kind)| kind)
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text)
}

fn body(status: StatusCode, kind: &str, bytes: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes.into()));
    *response.status_mut() = status;
    // What a client wants it to be may be no header.
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segments_of_a_path_are_the_key_from_its_end() {
        let own = AtSign::parse("@alice").expect("an atSign");
        for (path, name) in [
            ("/phone", "public:phone@alice"),
            ("/wavi/Phone", "public:phone.wavi@alice"),
            ("/blog/demo/index.html", "public:index.html.demo.blog@alice"),
            ("//@alice/wavi//phone/", "public:phone.wavi@alice"),
            ("/public:phone.wavi@alice", "public:phone.wavi@alice"),
            ("/@alice/phone.wavi", "public:phone.wavi@alice"),
            ("/%F0%9F%A6%84", "public:🦄@alice"),
        ] {
            assert_eq!(key(path, &own).map(|key| key.to_string()).as_deref(), Some(name), "{path}");
        }
        for path in ["/", "", "/a%20b", "/@bob/phone@bob", "/a:b", "/%FF"] {
            assert_eq!(key(path, &own), None, "{path}");
        }
    }

    #[test]
    fn what_a_value_is_stands_behind_its_own_name() {
        for (entity, expected) in [
            ("index.html", "text/html"),
            ("index.html.demo.blog", "text/html"),
            ("style.css.blog", "text/css"),
            ("phone.wavi", "text/plain"),
            ("phone", "text/plain"),
        ] {
            assert_eq!(kind(entity), expected, "{entity}");
        }
    }
}
