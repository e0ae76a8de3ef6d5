//! Asks servers what they use, at most once in five minutes each: exact figures are in their metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atsign_protocol::Usage;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::net::TcpStream;

use crate::build::template::ADMIN_PORT;

/// How old an answer may be.
const FRESH: Duration = Duration::from_mins(5);
/// How old it may be while the owner has not logged in: who is waiting to see it should not wait long.
const FRESH_BEFORE_ACTIVATION: Duration = Duration::from_secs(15);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer that is read.
const LARGEST: usize = 16 << 10;

/// What each pod said last, by its UID.
#[derive(Debug, Default)]
pub struct UsageCache {
    answers: Mutex<HashMap<String, (Instant, Option<Usage>)>>,
}

impl UsageCache {
    /// What the one ready pod says; from memory, while that is fresh. No answer is no error.
    pub async fn of(&self, pods: &[Pod]) -> Option<Usage> {
        let pod = pods.iter().find(|pod| is_ready(pod))?;
        let uid = pod.uid()?;
        if let Some((asked, usage)) = self.remembered(&uid) {
            let activated = usage.as_ref().is_some_and(|usage| usage.activated);
            if asked.elapsed() < if activated { FRESH } else { FRESH_BEFORE_ACTIVATION } {
                return usage;
            }
        }
        let address = pod.status.as_ref()?.pod_ip.clone()?;
        let usage = match tokio::time::timeout(PATIENCE, ask(&address)).await {
            Ok(Ok(usage)) => Some(usage),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the server does not say what it uses");
                None
            }
            Err(_) => None,
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // Of pods that are gone nobody asks again.
        answers.retain(|_, (asked, _)| asked.elapsed() < 2 * FRESH);
        answers.insert(uid, (Instant::now(), usage.clone()));
        usage
    }

    fn remembered(&self, uid: &str) -> Option<(Instant, Option<Usage>)> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("the answer is too long or was cut off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is no usage: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer is {0}")]
    Status(http::StatusCode),
}

async fn ask(address: &str) -> Result<Usage, Error> {
    let port = u16::try_from(ADMIN_PORT).unwrap_or_default();
    let stream = TcpStream::connect((address, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/usage").header("host", address).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(Error::Body)?.to_bytes();
    connection.abort();
    if !status.is_success() {
        return Err(Error::Status(status));
    }
    Ok(serde_json::from_slice(&body)?)
}
