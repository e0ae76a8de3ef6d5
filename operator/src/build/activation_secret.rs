//! Secret `<name>-activation`: the CRAM secret of the first login.

use atsign_crds::name::CRAM_KEY;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{metadata, random_hex};
use crate::validate::Server;

/// A new one, or the one that is there: it is never changed.
pub fn build(server: &Server, name: &str, live: Option<&Secret>) -> Secret {
    let found = live.and_then(|live| live.data.as_ref()?.get(CRAM_KEY).cloned());
    let cram = found.unwrap_or_else(|| ByteString(random_hex(64).into_bytes()));
    Secret {
        metadata: metadata(server, name),
        data: Some([(CRAM_KEY.to_owned(), cram)].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
