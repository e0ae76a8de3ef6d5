//! `scan` (reference page section 2.5): page by page out of the store and onto the wire, never whole in memory.

use std::borrow::Cow;
use std::io;

use atsign_protocol::verb::Scan;
use atsign_protocol::{AtError, ErrorCode, time};
use regex_lite::Regex;
use serde::Serialize;
use tokio::io::AsyncWrite;

use super::{regex, remote};
use crate::atserver::AtServer;
use crate::session::{Answer, Client, Writer};
use crate::store::{LogPage, LogStart, Page, Store, sign};

/// Keys read from the store at a time, and searched before others get their turn.
const PAGE: usize = 32;

pub(super) async fn scan<S, T>(
    server: &AtServer<S>,
    client: &Client,
    scan: &Scan,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    if let Some(of) = scan.of.as_ref().filter(|of| **of != server.at_sign) {
        return Ok(if client.is_owner() {
            remote::scan(server, client, of, scan).await
        } else {
            let text = "Scan to another atSign cannot be performed without auth";
            Err(AtError::new(ErrorCode::Unauthenticated, text))
        });
    }
    let view = match View::of(client, scan) {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    server.budget.reads_in_bulk();
    if scan.log {
        return if client.is_owner() {
            log(server, client, &view, writer).await
        } else {
            Ok(Err(AtError::unauthenticated()))
        };
    }
    writer.push(b"data:[").await?;
    let mut after = None;
    let mut first = true;
    loop {
        let page = Page { after, prefix: view.prefix.clone().into_owned(), limit: PAGE };
        let keys = match server.store.scan(page, server.now()).await {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(error.into())),
        };
        let full = keys.len() == PAGE;
        for shown in keys.iter().filter(|key| client.may_read(key)).filter_map(|key| view.show(key)) {
            if !std::mem::take(&mut first) {
                writer.push(b",").await?;
            }
            // A text always serialises.
            writer.push(&serde_json::to_vec(shown).unwrap_or_default()).await?;
        }
        after = keys.into_iter().next_back();
        if !full {
            break;
        }
        // A long scan of a client that reads fast is not to keep the others waiting.
        tokio::task::yield_now().await;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// An entry of the commit log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    at_key: &'a str,
    operation: &'static str,
    commit_id: i64,
    /// When; the log does not say it of keys that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    op_time: Option<String>,
}

/// What the commit log says, in its order: of keys that are gone too.
async fn log<S, T>(
    server: &AtServer<S>,
    client: &Client,
    view: &View,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    writer.push(b"data:[").await?;
    let (mut after, mut first) = (-1, true);
    loop {
        let page = LogPage { from: LogStart::After(after), limit: PAGE };
        let commits = match server.store.commits(page).await {
            Ok(commits) => commits,
            Err(error) => return Ok(Err(error.into())),
        };
        for commit in commits.iter().filter(|commit| client.may_read(&commit.key)) {
            let Some(at_key) = view.show(&commit.key) else { continue };
            let stored = match server.store.get_up_to(at_key, 0).await {
                Ok(stored) => stored,
                Err(error) => return Ok(Err(error.into())),
            };
            let changed = stored.and_then(|stored| stored.metadata().updated_at);
            let entry = Entry {
                at_key,
                operation: sign(commit.operation),
                commit_id: commit.id,
                op_time: changed.map(|millis| time::print(millis).replace(' ', "T")),
            };
            if !std::mem::take(&mut first) {
                writer.push(b",").await?;
            }
            // Texts and a number always serialise.
            writer.push(&serde_json::to_vec(&entry).unwrap_or_default()).await?;
        }
        match commits.last() {
            Some(last) if commits.len() == PAGE => after = last.id,
            _ => break,
        }
        tokio::task::yield_now().await;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// What a client sees of the keys.
struct View {
    /// Only keys that begin so, shown without it.
    prefix: Cow<'static, str>,
    /// Hidden keys too.
    hidden: bool,
    regex: Option<Regex>,
}

impl View {
    fn of(client: &Client, scan: &Scan) -> Result<Self, AtError> {
        let regex = scan.regex.as_deref().map(|pattern| regex(pattern, client)).transpose()?;
        Ok(if client.is_owner() {
            Self { prefix: "".into(), hidden: scan.show_hidden, regex }
        } else if let Some(peer) = client.peer() {
            Self { prefix: format!("{peer}:").into(), hidden: false, regex }
        } else {
            Self { prefix: "public:".into(), hidden: false, regex }
        })
    }

    /// The name that is shown, `None` for a key that is not.
    fn show<'a>(&self, key: &'a str) -> Option<&'a str> {
        let is_hidden = if key.starts_with("public:__") || key.starts_with('_') {
            !self.hidden
        } else {
            key.starts_with("public:_") || key.starts_with("private:") || key.starts_with("privatekey:")
        };
        if is_hidden || self.regex.as_ref().is_some_and(|regex| !regex.is_match(key)) {
            return None;
        }
        key.strip_prefix(self.prefix.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: [&str; 9] = [
        "@bob:phone.wavi@alice",
        "_hidden@alice",
        "cached:public:x@bob",
        "phone@alice",
        "private:blocklist@alice",
        "privatekey:at_secret",
        "public:__hidden@alice",
        "public:_session@alice",
        "public:phone@alice",
    ];

    fn shown(view: &View) -> Vec<&'static str> {
        STORED.iter().filter_map(|key| view.show(key)).collect()
    }

    #[test]
    fn the_owner_sees_all_but_what_is_hidden_and_what_the_server_keeps() {
        let mut view = View { prefix: "".into(), hidden: false, regex: None };
        let visible = ["@bob:phone.wavi@alice", "cached:public:x@bob", "phone@alice", "public:phone@alice"];
        assert_eq!(shown(&view), visible);
        view.hidden = true;
        assert_eq!(
            shown(&view),
            [
                "@bob:phone.wavi@alice",
                "_hidden@alice",
                "cached:public:x@bob",
                "phone@alice",
                "public:__hidden@alice",
                "public:phone@alice"
            ]
        );
    }

    #[test]
    fn a_stranger_sees_public_keys_without_their_prefix() {
        let view = View { prefix: "public:".into(), hidden: false, regex: None };
        assert_eq!(shown(&view), ["phone@alice"]);
    }

    #[test]
    fn another_server_sees_what_is_shared_with_its_at_sign_without_that_prefix() {
        let view = View { prefix: "@bob:".into(), hidden: false, regex: None };
        assert_eq!(shown(&view), ["phone.wavi@alice"]);
    }

    #[test]
    fn a_regex_is_searched_in_the_stored_key() {
        let regex = Some(
            regex("^public:.*@alice", &Client::new(std::net::IpAddr::from([10, 0, 0, 1]).into()))
                .expect("a regex"),
        );
        assert_eq!(shown(&View { prefix: "".into(), hidden: false, regex }), ["public:phone@alice"]);
    }

    #[test]
    fn a_regex_that_is_none_or_too_large_is_refused() {
        for pattern in ["(", "[a", "a{1000}{1000}", "((((a{99}){99}){99}){99})", &"a".repeat(5000)] {
            assert!(
                regex(pattern, &Client::new(std::net::IpAddr::from([10, 0, 0, 1]).into())).is_err(),
                "{pattern}"
            );
        }
    }
}
