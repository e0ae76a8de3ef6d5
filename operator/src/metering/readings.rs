//! The figures as lines of JSON: one for each AtSign, and a last one that says that it is the last. Nothing is gathered: a
//! page of AtSigns and a few open requests are all that is in memory, and a slow reader slows the asking down.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use atsign_crds::AtSign;
use atsign_protocol::Metering;
use futures::stream::{self, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt as _};
use serde::Serialize;

use crate::memory::admin;
use crate::names;

/// AtSigns and pods that are read at a time.
const PAGE: u32 = 250;
/// Servers that are asked at the same time.
const TOGETHER: usize = 16;

/// What one AtSign used, or why that is not known now.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reading {
    namespace: String,
    name: String,
    uid: String,
    at_sign: Option<String>,
    tier: Option<String>,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was asked, Unix seconds.
    at: i64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    metering: Option<Metering>,
}

/// The end: without it an answer was cut off.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    complete: bool,
    at_signs: u64,
    unreachable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Addresses of pods by namespace and name of the AtSign.
type Addresses = HashMap<(String, String), String>;

/// Where the reading stands.
struct Reader {
    client: Client,
    /// Namespaces that are still to be read; `None` for all of them.
    left: VecDeque<Option<String>>,
    /// The next page of the first of them.
    next: Option<String>,
    addresses: Arc<Addresses>,
}

/// The lines.
pub(super) fn read(client: Client, namespaces: Vec<String>) -> impl Stream<Item = String> + Send + 'static {
    let left = if namespaces.is_empty() {
        VecDeque::from([None])
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    let reader = Reader { client, left, next: None, addresses: Arc::default() };
    let pages = stream::unfold(reader, |mut reader| async move {
        let page = reader.page().await?;
        Some((page, reader))
    });
    let asked = pages
        .flat_map(|page| {
            let Page { at_signs, addresses, failed } = page;
            let readings =
                at_signs.into_iter().map(move |at_sign| Step::Ask(Box::new(at_sign), addresses.clone()));
            stream::iter(readings.chain(failed.map(Step::Fail)))
        })
        .map(|step| async move {
            match step {
                Step::Ask(at_sign, addresses) => Ok(reading(&at_sign, &addresses).await),
                Step::Fail(reason) => Err(reason),
            }
        })
        .buffer_unordered(TOGETHER)
        .map(Some)
        .chain(stream::iter([None]));
    asked
        .scan(End { complete: true, ..End::default() }, |end, read| {
            let line = match read {
                Some(Ok(reading)) => {
                    end.at_signs += 1;
                    end.unreachable += u64::from(!reading.reachable);
                    Some(json(&reading))
                }
                Some(Err(reason)) => {
                    (end.complete, end.reason) = (false, Some(reason));
                    None
                }
                None => Some(json(end)),
            };
            std::future::ready(Some(line))
        })
        .filter_map(std::future::ready)
}

fn json(value: &impl Serialize) -> String {
    // Texts and numbers always serialise.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

struct Page {
    at_signs: Vec<DeserializeGuard<AtSign>>,
    addresses: Arc<Addresses>,
    failed: Option<String>,
}

enum Step {
    Ask(Box<DeserializeGuard<AtSign>>, Arc<Addresses>),
    Fail(String),
}

impl Reader {
    /// The next page; `None` after the last.
    async fn page(&mut self) -> Option<Page> {
        let namespace = self.left.front()?.clone();
        match self.read_page(namespace.as_deref()).await {
            Ok(at_signs) => {
                if self.next.is_none() {
                    self.left.pop_front();
                }
                Some(Page { at_signs, addresses: self.addresses.clone(), failed: None })
            }
            Err(error) => {
                tracing::warn!(%error, "the AtSigns could not be read for the metering");
                self.left.clear();
                let failed = Some(format!("the API server did not list all AtSigns: {error}"));
                Some(Page { at_signs: Vec::new(), addresses: Arc::default(), failed })
            }
        }
    }

    async fn read_page(&mut self, namespace: Option<&str>) -> kube::Result<Vec<DeserializeGuard<AtSign>>> {
        if self.next.is_none() {
            self.addresses = Arc::new(addresses(&self.client, namespace).await?);
        }
        let api: Api<DeserializeGuard<AtSign>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let page = api.list(&ListParams { continue_token: self.next.take(), ..of_a_page() }).await?;
        self.next = page.metadata.continue_.filter(|token| !token.is_empty());
        Ok(page.items)
    }
}

fn of_a_page() -> ListParams {
    ListParams::default().limit(PAGE)
}

/// Where the servers are.
async fn addresses(client: &Client, namespace: Option<&str>) -> kube::Result<Addresses> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut addresses = Addresses::new();
    let mut next = None;
    loop {
        let pods =
            api.list(&ListParams { continue_token: next, ..of_a_page() }.labels(names::MANAGED)).await?;
        for pod in pods.items {
            let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            if let (None, Some(name), Some(ip)) =
                (&pod.metadata.deletion_timestamp, pod.labels().get(names::INSTANCE), ip)
            {
                addresses.insert((pod.namespace().unwrap_or_default(), name.clone()), ip);
            }
        }
        next = pods.metadata.continue_.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(addresses);
        }
    }
}

async fn reading(object: &DeserializeGuard<AtSign>, addresses: &Addresses) -> Reading {
    let key = (object.namespace().unwrap_or_default(), object.name_any());
    let asked = match addresses.get(&key) {
        Some(address) => match admin::usage(address).await {
            // Counting begins when the store is the server's.
            Ok(usage) if usage.metering.since == 0 => Err("the server waits for its store".to_owned()),
            Ok(usage) => Ok(usage.metering),
            Err(error) => Err(format!("its server does not answer: {error}")),
        },
        None => Err("no server runs".to_owned()),
    };
    let (namespace, name) = key;
    let status = object.0.as_ref().ok().and_then(|at_sign| at_sign.status.clone()).unwrap_or_default();
    let (metering, reason) = match asked {
        Ok(metering) => (Some(metering), None),
        Err(reason) => (None, Some(reason)),
    };
    Reading {
        namespace,
        name,
        uid: object.uid().unwrap_or_default(),
        at_sign: status.at_sign,
        tier: status.tier,
        reachable: metering.is_some(),
        reason,
        at: jiff::Timestamp::now().as_second(),
        metering,
    }
}
