//! Data of other atSigns: looked up at their servers, and kept as copies by the rules of reference page section 3.4.

use atsign_protocol::answer::{MetadataAnswer, WholeAnswer, read_whole};
use atsign_protocol::verb::{Operation as Part, Scan};
use atsign_protocol::{AtError, AtKey, AtSign, ErrorCode, Field, Metadata, MetadataChange, Visibility};

use super::lookup::answer;
use super::read;
use crate::atserver::AtServer;
use crate::memory::{Lease, Level, Taker};
use crate::peers::{Answered, Purpose};
use crate::session::{Answer, Client};
use crate::store::{Change, Operation, Page, Store, StoreError};

/// A copy without a time to refresh is kept for so long: for `llookup`, not for `lookup`.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Copies that are looked through at a time.
const PAGE: usize = 50;

/// The key that an atSign's other keys are encrypted for. It hardly ever changes, and is asked for all the time.
const PUBLIC_KEY: &str = "publickey";

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
        && is_fresh(&held.record.metadata, server.now())
    {
        return Ok(answer(server, &copy, held, part));
    }
    let room = server.budget.lease(client.taker());
    fetch(server, key, part, room).await
}

/// What the other server says, of which a copy is kept. Memory is taken of `room`.
async fn fetch<S: Store>(
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
                forget(server, &key, copy).await?;
            }
            return Err(error);
        }
    };
    let (value, metadata) = found;
    keep(server, &key, copy, value.as_deref(), &metadata).await?;
    Ok(match part {
        Part::Value => value.map_or(Answer::Null, |value| Answer::Large(value, room)),
        Part::Meta => Answer::Text(MetadataAnswer(&metadata).to_json()),
        Part::All => {
            let data = value.as_deref();
            Answer::Large(WholeAnswer { key: &bare, data, metadata: &metadata }.to_json(), room)
        }
    })
}

/// Fetches the copies again whose time to refresh is past; those that are gone at their owner's go here too.
pub(crate) async fn refresh<S: Store>(server: &AtServer<S>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        if server.budget.level() >= Level::NothingAhead {
            return Ok(());
        }
        server.budget.reads_in_bulk();
        let page = Page { after, prefix: "cached:".to_owned(), limit: PAGE };
        let copies = server.store.scan(page, server.now()).await?;
        for copy in &copies {
            let Some(stored) = server.store.get_up_to(copy, 0).await? else { continue };
            let due = stored.metadata().refresh_at.is_some_and(|refresh_at| refresh_at < server.now());
            if due && let Ok(key) = AtKey::parse(copy) {
                let key = AtKey { cached: false, ..key };
                // Nobody waits for it: it takes nothing of what the owner's commands may have.
                let room = server.budget.lease(Taker::Guest);
                if let Err(error) = fetch(server, key, Part::Value, room).await {
                    tracing::debug!(copy, error = error.message(), "a copy was not refreshed");
                }
            }
        }
        if copies.len() < PAGE {
            return Ok(());
        }
        after = copies.into_iter().next_back();
    }
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

/// Whether a copy is answered instead of asking. One without a time to refresh never is.
fn is_fresh(metadata: &Metadata, now: i64) -> bool {
    metadata.is_active(now)
        && match metadata.ttr {
            Some(-1) => true,
            Some(_) => metadata.refresh_at.is_some_and(|refresh_at| now <= refresh_at),
            None => false,
        }
}

async fn forget<S: Store>(server: &AtServer<S>, key: &AtKey, copy: String) -> Result<(), StoreError> {
    let is_public_key = key.visibility == Visibility::Public && key.entity == PUBLIC_KEY;
    if is_public_key || server.store.get_up_to(&copy, 0).await?.is_none() {
        return Ok(());
    }
    server.store.commit(Change::Delete { key: copy, committed: true }, server.now()).await?;
    Ok(())
}

/// Stores a copy, where the owner of the original or the rules for public data want one.
async fn keep<S: Store>(
    server: &AtServer<S>,
    key: &AtKey,
    copy: String,
    value: Option<&str>,
    metadata: &Metadata,
) -> Result<(), StoreError> {
    let Some(value) = value else { return Ok(()) };
    let is_public_key = key.visibility == Visibility::Public && key.entity == PUBLIC_KEY;
    let mut change = MetadataChange::copy_of(metadata);
    if metadata.ttr.is_none_or(|ttr| ttr == 0) {
        if is_public_key {
            change.ttr = Field::Set(-1);
        } else if key.visibility == Visibility::Public {
            change.ttl = Field::Set(metadata.ttl.filter(|ttl| *ttl > 0).map_or(DAY, |ttl| ttl.min(DAY)));
        } else {
            return Ok(());
        }
    }
    if is_public_key {
        let before = server.store.get(&copy).await?.and_then(|record| record.value);
        if before.is_some_and(|before| before != value) {
            retire_shared_key(server, &key.owner).await?;
        }
    }
    let change = Change::Put {
        key: copy,
        value: Some(value.to_owned()),
        metadata: change,
        operation: Operation::UpdateAll,
        committed: true,
        by: key.owner.to_string(),
    };
    match server.store.commit(change, server.now()).await {
        // The answer is right also where there can be no copy of it.
        Err(StoreError::Refused(why)) => tracing::debug!(why, "no copy was stored"),
        done => drop(done?),
    }
    Ok(())
}

/// What was encrypted for the key that another atSign had before is put aside, so that clients make it anew.
async fn retire_shared_key<S: Store>(server: &AtServer<S>, of: &AtSign) -> Result<(), StoreError> {
    let now = server.now();
    let key = format!("shared_key.{}{}", of.name(), server.at_sign);
    let Some(record) = server.store.get(&key).await? else { return Ok(()) };
    let put = Change::Put {
        key: format!("shared_key.{}.until.{now}{}", of.name(), server.at_sign),
        value: record.value,
        metadata: MetadataChange::copy_of(&record.metadata),
        operation: Operation::UpdateAll,
        committed: true,
        by: server.at_sign.to_string(),
    };
    server.store.commit(put, now).await?;
    server.store.commit(Change::Delete { key, committed: true }, now).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Answered {
        Answered { line: line.to_owned(), address: "b:1".to_owned() }
    }

    #[test]
    fn a_copy_is_answered_until_it_is_to_be_refreshed() {
        let copy = |ttr, refresh_at| Metadata { ttr, refresh_at, ..Metadata::default() };
        assert!(is_fresh(&copy(Some(-1), None), 1000));
        assert!(is_fresh(&copy(Some(1), Some(1000)), 1000));
        assert!(!is_fresh(&copy(Some(1), Some(1000)), 1001));
        assert!(!is_fresh(&copy(None, None), 0));
        assert!(!is_fresh(&Metadata { expires_at: Some(5), ..copy(Some(-1), None) }, 5));
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
