//! Secret `<name>-admin`: the token that the operator shows at the server's admin port.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{metadata, random_hex};
use crate::names;
use crate::validate::Server;

/// A new one, or the one that is there.
pub fn build(server: &Server, live: Option<&Secret>) -> Secret {
    let found = live.and_then(|live| live.data.as_ref()?.get(names::TOKEN_KEY).cloned());
    let token = found.unwrap_or_else(|| ByteString(random_hex(32).into_bytes()));
    Secret {
        metadata: metadata(server, &names::admin(&server.name)),
        data: Some([(names::TOKEN_KEY.to_owned(), token)].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
