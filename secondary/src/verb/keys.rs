//! `keys` (reference page section 2.22): keys that belong to the enrollment of the connection.

use std::io;
use std::sync::Arc;

use atsign_protocol::enrollment::{encryption_key_name, self_key_name};
use atsign_protocol::verb::{Keys, KeysKind, NewKey};
use atsign_protocol::{Access, AtError, AtKey, ErrorCode, Permission};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWrite;

use crate::atserver::AtServer;
use crate::enrollments;
use crate::session::{Answer, Client, Writer};
use crate::store::{Change, Page, Store};

/// Names read from the store at a time.
const PAGE: usize = 32;

/// The namespace of keys that are for every application.
const GLOBAL: &str = "__global";

/// A key as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    value: String,
    key_type: String,
    enrollment_id: String,
    encryption_key_name: Option<String>,
}

pub(super) async fn keys<S, T>(
    server: &AtServer<S>,
    client: &Client,
    keys: Keys,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let Some(access) = client.access.clone() else {
        return Ok(Err(AtError::enrollment("Keys verb cannot be accessed without an enrollmentId")));
    };
    Ok(match keys {
        Keys::Put(key) => put(server, &access, *key).await,
        Keys::List(kind) => return list(server, &access, kind, writer).await,
        Keys::Get(name) => get(server, &access, &name).await,
        Keys::Delete(name) => delete(server, &access, name).await,
    })
}

async fn put<S: Store>(server: &AtServer<S>, access: &Arc<Access>, new: NewKey) -> Result<Answer, AtError> {
    let namespace = new.namespace.to_lowercase();
    let name = name(server, &new, &namespace)?;
    if namespace != GLOBAL && access.namespaces.permission(&namespace) != Some(Permission::ReadWrite) {
        return Err(AtError::not_authorized(&access.enrollment_id, "put", &name));
    }
    if owner(server, &name).await?.is_some_and(|owner| owner != access.enrollment_id) {
        return Err(AtError::not_authorized(&access.enrollment_id, "put", &name));
    }
    let stored = Stored {
        value: new.value,
        key_type: new.key_type,
        enrollment_id: access.enrollment_id.clone(),
        encryption_key_name: new.encryption_key_name,
    };
    let json = serde_json::to_string(&stored).unwrap_or_default();
    enrollments::put_rationed(server, name, json).await?;
    Ok(Answer::text("-1"))
}

/// The name that a key is stored by.
fn name<S>(server: &AtServer<S>, new: &NewKey, namespace: &str) -> Result<String, AtError> {
    let NewKey { kind, app_name, device_name, key_name, .. } = new;
    let own = format!("{app_name}.{device_name}.{key_name}");
    let name = match kind {
        KeysKind::Public => format!("public:{key_name}.__public_keys.{namespace}{}", server.at_sign),
        KeysKind::Private => format!("private:{own}.__private_keys.{namespace}{}", server.at_sign),
        KeysKind::Own => format!("{own}.__self_keys.{namespace}{}", server.at_sign),
    };
    let key = AtKey::parse(&name)?;
    key.check_storable()?;
    Ok(key.to_string())
}

/// The enrollment that a stored key belongs to; `None` where there is no such key, or it is none of these.
async fn owner<S: Store>(server: &AtServer<S>, name: &str) -> Result<Option<String>, AtError> {
    let Some(json) = server.store.get(name).await?.and_then(|record| record.value) else { return Ok(None) };
    Ok(Some(serde_json::from_str::<Stored>(&json).map(|stored| stored.enrollment_id).unwrap_or_default()))
}

fn is_default<S>(server: &AtServer<S>, access: &Access, name: &str) -> bool {
    let id = &access.enrollment_id;
    name == encryption_key_name(id, &server.at_sign) || name == self_key_name(id, &server.at_sign)
}

/// Whether a name is one that `keys:put` stores by, of a kind.
fn is_of(kind: KeysKind, name: &str) -> bool {
    match kind {
        KeysKind::Public => name.starts_with("public:") && name.contains(".__public_keys."),
        KeysKind::Private => name.starts_with("private:") && name.contains(".__private_keys."),
        KeysKind::Own => !name.contains(':') && name.contains(".__self_keys."),
    }
}

async fn get<S: Store>(server: &AtServer<S>, access: &Access, name: &str) -> Result<Answer, AtError> {
    check(server, access, name, true).await?;
    let record = server.store.get(name).await?.ok_or_else(|| AtError::key_not_found(name))?;
    Ok(record.value.map_or(Answer::Null, Answer::Text))
}

async fn delete<S: Store>(server: &AtServer<S>, access: &Access, name: String) -> Result<Answer, AtError> {
    check(server, access, &name, false).await?;
    server.store.commit(Change::Delete { key: name, committed: false }, server.now()).await?;
    Ok(Answer::text("-1"))
}

/// An enrollment's clients touch its own keys, and read public ones.
async fn check<S: Store>(
    server: &AtServer<S>,
    access: &Access,
    name: &str,
    reads: bool,
) -> Result<(), AtError> {
    if is_default(server, access, name) {
        return Ok(());
    }
    let kind =
        [KeysKind::Public, KeysKind::Private, KeysKind::Own].into_iter().find(|kind| is_of(*kind, name));
    let Some(kind) = kind else {
        return Err(AtError::new(ErrorCode::KeyNotFound, format!("{name} is no key of this verb")));
    };
    match owner(server, name).await? {
        None => Err(AtError::key_not_found(name)),
        Some(owner) if owner == access.enrollment_id || (reads && kind == KeysKind::Public) => Ok(()),
        Some(_) => {
            Err(AtError::not_authorized(&access.enrollment_id, if reads { "get" } else { "delete" }, name))
        }
    }
}

/// The names of an enrollment's keys of a kind, page by page.
async fn list<S, T>(
    server: &AtServer<S>,
    access: &Access,
    kind: KeysKind,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let id = &access.enrollment_id;
    let (prefix, default) = match kind {
        KeysKind::Public => ("public:", None),
        KeysKind::Private => ("private:", Some(encryption_key_name(id, &server.at_sign))),
        KeysKind::Own => ("", Some(self_key_name(id, &server.at_sign))),
    };
    writer.push(b"data:[").await?;
    let mut first = true;
    let mut after = None;
    let mut found: Vec<String> = Vec::new();
    if let Some(default) = default {
        match server.store.get(&default).await {
            Ok(Some(_)) => found.push(default),
            Ok(None) => {}
            Err(error) => return Ok(Err(error.into())),
        }
    }
    loop {
        let page = Page { after, prefix: prefix.to_owned(), limit: PAGE };
        let names = match server.store.scan(page, server.now()).await {
            Ok(names) => names,
            Err(error) => return Ok(Err(error.into())),
        };
        let full = names.len() == PAGE;
        after = names.last().cloned();
        for name in names.into_iter().filter(|name| is_of(kind, name)) {
            match owner(server, &name).await {
                Ok(Some(owner)) if owner == *id => found.push(name),
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        for name in found.drain(..) {
            let separator = if std::mem::take(&mut first) { "" } else { "," };
            writer.push(format!("{separator}{}", Value::from(name)).as_bytes()).await?;
        }
        if !full {
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}
