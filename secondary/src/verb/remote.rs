//! Data of other atSigns: looked up at their servers, where there is no copy that is fresh.

use atsign_protocol::answer::{MetadataAnswer, WholeAnswer, read_whole};
use atsign_protocol::verb::{Operation as Part, Scan};
use atsign_protocol::{AtError, AtKey, AtSign, ErrorCode, Metadata, Visibility};

use super::lookup::answer;
use super::read;
use crate::atserver::AtServer;
use crate::copies;
use crate::memory::Lease;
use crate::peers::{Answered, Purpose};
use crate::session::{Answer, Client};
use crate::store::Store;

/// A key of another atSign, `public:` or shared with us: the copy if it is fresh, else what the other server says.
pub(super) async fn look_up<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    key: AtKey,
    part: Part,
    bypass_cache: bool,
) -> Result<Answer, AtError> {
    let copy = AtKey { cached: true, ..key.clone() }.to_string();
    if !bypass_cache
        && let Some(held) = read::read(server, client, &copy).await?
        && copies::is_fresh(&held.record.metadata, server.now())
    {
        return Ok(answer(server, &copy, held, part));
    }
    let room = server.budget.lease(client.taker());
    fetch(server, key, part, room).await
}

/// What the other server says, of which a copy is kept. Memory is taken of `room`.
pub(crate) async fn fetch<S: Store>(
    server: &AtServer<S>,
    key: AtKey,
    part: Part,
    mut room: Lease,
) -> Result<Answer, AtError> {
    let copy = AtKey { cached: true, ..key.clone() }.to_string();
    let bare = format!("{}{}", key.entity, key.owner);
    let proven = key.visibility != Visibility::Public;
    let answered = ask(server, &key.owner, proven, &format!("lookup:all:{bare}"), &mut room).await?;
    let found = match read(&answered, &key.owner) {
        Ok(found) => found,
        Err(error) => {
            if error.code() == ErrorCode::KeyNotFound {
                copies::forget(server, &key, copy).await?;
            }
            return Err(error);
        }
    };
    let (value, metadata) = found;
    copies::keep(server, &key, copy, value.as_deref(), &metadata).await?;
    Ok(match part {
        Part::Value => value.map_or(Answer::Null, |value| Answer::Large(value, room)),
        Part::Meta => Answer::Text(MetadataAnswer(&metadata).to_json()),
        Part::All => {
            let data = value.as_deref();
            Answer::Large(WholeAnswer { key: &bare, data, metadata: &metadata }.to_json(), room)
        }
    })
}

/// The keys that another atSign shares with us, as its server lists them.
pub(super) async fn scan<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    of: &AtSign,
    scan: &Scan,
) -> Result<Answer, AtError> {
    let command = match &scan.regex {
        Some(regex) => format!("scan {regex}"),
        None => "scan".to_owned(),
    };
    let mut room = server.budget.lease(client.taker());
    let answered = ask(server, of, true, &command, &mut room).await?;
    match answered.line.strip_prefix("data:") {
        Some(list) => Ok(Answer::Large(list.to_owned(), room)),
        None => Err(refused(&answered, of)),
    }
}

async fn ask<S: Store>(
    server: &AtServer<S>,
    of: &AtSign,
    proven: bool,
    command: &str,
    room: &mut Lease,
) -> Result<Answered, AtError> {
    let own = proven.then(|| server.tls.pair());
    Ok(server.peers.request(of, own, Purpose::Lookup, command, Some(room)).await?)
}

/// Value and metadata out of another server's answer.
fn read(answered: &Answered, of: &AtSign) -> Result<(Option<String>, Metadata), AtError> {
    match answered.line.strip_prefix("data:") {
        Some("null") => Err(AtError::new(
            ErrorCode::KeyNotFound,
            format!("{of} at {} says that the key does not exist in keystore", answered.address),
        )),
        Some(json) => read_whole(json).ok_or_else(|| {
            let text = format!("{of} at {} answered what is no value", answered.address);
            AtError::new(ErrorCode::InternalServerException, text)
        }),
        None => Err(refused(answered, of)),
    }
}

/// Another server's error, with its code where it has one that clients know.
fn refused(answered: &Answered, of: &AtSign) -> AtError {
    let text = answered.line.strip_prefix("error:").unwrap_or(&answered.line);
    let code = text.get(..6).and_then(ErrorCode::from_code).unwrap_or(ErrorCode::InternalServerException);
    // What closes a connection there says nothing about the one here.
    let code = if code.closes() { ErrorCode::InternalServerException } else { code };
    let text: String = text.chars().take(500).collect();
    let address = &answered.address;
    let text = format!("Request to remote secondary {of} at {address} received error response '{text}'");
    AtError::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Answered {
        Answered { line: line.to_owned(), address: "b:1".to_owned() }
    }

    #[test]
    fn the_error_of_another_server_keeps_its_code_unless_it_would_close_the_connection() {
        let bob = AtSign::parse("@bob").expect("an atSign");
        for (line, code) in [
            ("error:AT0015-Exception: x does not exist in keystore", ErrorCode::KeyNotFound),
            ("error:AT0013-Exception: blocked", ErrorCode::InternalServerException),
            ("error:AT9999-new", ErrorCode::InternalServerException),
            ("nonsense", ErrorCode::InternalServerException),
            ("data:null", ErrorCode::KeyNotFound),
            ("data:{}", ErrorCode::InternalServerException),
        ] {
            let error = read(&answered(line), &bob).expect_err(line);
            assert_eq!((error.code(), error.closes()), (code, false), "{line}");
        }
    }
}
