//! Addresses from the `AtSign` resources of a cluster.
//!
//! Of a resource only what is needed is even parsed, and only name and address are kept. The operator sets
//! `status.address` once the server presents a certificate that names it, keeps it there while a pod restarts, and
//! never sets it for the younger of two resources that claim one atSign: so an address that stands there is published.

use std::sync::Arc;

use atsign_crds::AtSign as Resource;
use atsign_protocol::AtSign;
use futures::StreamExt as _;
use kube::core::Object;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, CustomResourceExt as _};
use serde::Deserialize;
use tracing::{debug, info, warn};

use crate::address_book::{AddressBook, Entries};
use crate::record;

/// Resources of one answer of the API server: so much is in memory at once while the list is read.
const PAGE_SIZE: u32 = 500;

/// The part of an `AtSign` that matters here.
type Slim = Object<SlimSpec, SlimStatus>;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    at_sign: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SlimStatus {
    address: Option<String>,
}

/// Keeps `book` as the cluster says, for ever; while the API server is away the book stays as it is.
pub async fn watch(client: Client, book: Arc<AddressBook>) {
    let api = Api::<Slim>::all_with(client, &Resource::api_resource());
    let mut events = std::pin::pin!(watcher(api, Config::default().page_size(PAGE_SIZE)).default_backoff());
    let mut listing = Entries::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing = Entries::new(),
            Ok(Event::InitApply(resource)) => {
                if let Some((at_sign, origin, Some(address))) = read(&resource) {
                    listing.insert((at_sign.name().into(), origin.into()), address.into());
                }
            }
            Ok(Event::InitDone) => {
                info!(addresses = listing.len(), "read the AtSigns of the cluster");
                book.replace(std::mem::take(&mut listing));
            }
            Ok(Event::Apply(resource)) => {
                if let Some((at_sign, origin, address)) = read(&resource) {
                    debug!(atsign = %at_sign, address, "an AtSign changed");
                    book.set(&at_sign, &origin, address.as_deref());
                }
            }
            Ok(Event::Delete(resource)) => {
                if let Some((at_sign, origin, _)) = read(&resource) {
                    debug!(atsign = %at_sign, "an AtSign is gone");
                    book.set(&at_sign, &origin, None);
                }
            }
            Err(error) => warn!("the API server does not answer, the addresses stay as they are: {error}"),
        }
    }
}

/// Whose address the resource gives, the resource's own name, and the address if there is one.
fn read(resource: &Slim) -> Option<(AtSign, String, Option<String>)> {
    let name = resource.metadata.name.as_deref()?;
    let namespace = resource.metadata.namespace.as_deref().unwrap_or_default();
    let at_sign = resource.spec.at_sign.as_deref().unwrap_or(name);
    let at_sign = match AtSign::parse(at_sign) {
        Ok(at_sign) => at_sign,
        Err(error) => {
            warn!(namespace, name, "not published: {error}");
            return None;
        }
    };
    let address = resource.status.as_ref().and_then(|status| status.address.as_deref());
    Some((at_sign, format!("{namespace}/{name}"), address.and_then(record::published)))
}
