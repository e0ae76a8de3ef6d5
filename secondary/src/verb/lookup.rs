//! `llookup`, `lookup` and `plookup` (reference page sections 2.6 to 2.8).

use atsign_protocol::answer::{MetadataAnswer, WholeAnswer};
use atsign_protocol::verb::{LocalLookup, Lookup, Operation, ProxyLookup};
use atsign_protocol::{AtError, AtKey, Intent, Metadata, Visibility};

use super::read::{Held, read};
use super::remote;
use crate::atserver::AtServer;
use crate::session::{Answer, Client};
use crate::store::{Record, Store};

/// A value that begins so names another key, whose value is the answer.
const REFERENCE: &str = "atsign://";

/// Exactly the named key; references are answered as they are.
pub(super) async fn llookup<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    llookup: &LocalLookup,
) -> Result<Answer, AtError> {
    let key = llookup.key.to_string();
    client.authorize("llookup", Intent::Read, &key)?;
    let held = existing(server, client, &key).await?;
    Ok(answer(server, &key, held, llookup.operation))
}

/// The key as its recipient: the owner reads what is shared with himself, here or on another server; another atSign's
/// server what is shared with that one; everybody else what is public.
pub(super) async fn lookup<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    lookup: Lookup,
) -> Result<Answer, AtError> {
    let Lookup { operation, mut key, bypass_cache } = lookup;
    if client.is_owner() {
        key.visibility = Visibility::SharedWith(server.at_sign.clone());
        client.authorize("lookup", Intent::Read, &key.to_string())?;
        if key.owner != server.at_sign {
            return remote::look_up(server, client, key, operation, bypass_cache).await;
        }
    } else if let Some(peer) = client.peer() {
        key.visibility = Visibility::SharedWith(peer.clone());
    } else {
        // What another server fetches to see that it was we who called it.
        if key.owner == server.at_sign
            && operation == Operation::Value
            && let Some(signature) = server.peers.proofs.get(&key.entity)
        {
            return Ok(Answer::Text(signature));
        }
        key.visibility = Visibility::Public;
    }
    resolved(server, client, &key, operation).await
}

/// Public data, of our own atSign without a detour.
pub(super) async fn plookup<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    plookup: &ProxyLookup,
) -> Result<Answer, AtError> {
    if plookup.key.owner != server.at_sign {
        let (operation, bypass) = (plookup.operation, plookup.bypass_cache);
        return remote::look_up(server, client, plookup.key.clone(), operation, bypass).await;
    }
    resolved(server, client, &plookup.key, plookup.operation).await
}

/// What is stored by that name; of what has just expired, that it has.
async fn existing<S: Store>(server: &AtServer<S>, client: &Client, key: &str) -> Result<Held, AtError> {
    match read(server, client, key).await? {
        Some(held) => Ok(held),
        None if server.store.has_expired(key, server.now()) => {
            let metadata = Metadata { expires_at: Some(0), ..Metadata::default() };
            Ok(Held { record: Record { value: None, metadata }, lease: None })
        }
        None => Err(AtError::key_not_found(key)),
    }
}

/// The key's answer, its value taken from where it refers to.
async fn resolved<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    key: &AtKey,
    operation: Operation,
) -> Result<Answer, AtError> {
    let name = key.to_string();
    let mut held = existing(server, client, &name).await?;
    if held.record.metadata.is_active(server.now()) && operation != Operation::Meta {
        let mut followed = 0;
        while let Some(target) = held.record.value.as_deref().and_then(|value| value.strip_prefix(REFERENCE))
        {
            if followed == server.tuning.lookup_depth {
                return Ok(Answer::Null);
            }
            followed += 1;
            let target = referred(server, client, key, target).await?;
            held.record.value = target.record.value;
            held.lease = target.lease;
        }
    }
    Ok(answer(server, &name, held, operation))
}

/// What a reference names: with the visibility of the key that refers, else public. So nobody reads more through a
/// reference than by asking.
async fn referred<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    from: &AtKey,
    target: &str,
) -> Result<Held, AtError> {
    let missing = || AtError::key_not_found(target);
    let target = AtKey::parse(target).map_err(|_| missing())?;
    let public = AtKey { visibility: Visibility::Public, cached: false, ..target };
    let visible = AtKey { visibility: from.visibility.clone(), ..public.clone() };
    for key in [visible, public] {
        let key = key.to_string();
        if client.may_read(&key)
            && let Some(held) = read(server, client, &key).await?
            && held.record.metadata.is_active(server.now())
        {
            return Ok(held);
        }
    }
    Err(missing())
}

pub(super) fn answer<S>(server: &AtServer<S>, key: &str, held: Held, operation: Operation) -> Answer {
    let Held { record, lease } = held;
    if !record.metadata.is_active(server.now()) {
        return Answer::Null;
    }
    match operation {
        Operation::Value => record.value.map_or(Answer::Null, |value| Answer::held(value, lease)),
        Operation::Meta => Answer::Text(MetadataAnswer(&record.metadata).to_json()),
        Operation::All => {
            let data = record.value.as_deref();
            Answer::held(WholeAnswer { key, data, metadata: &record.metadata }.to_json(), lease)
        }
    }
}
