//! The client of the Kubernetes API, counting what it asks: a quiet operator is a promise, so it is measured.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// A client of the cluster that `config` names.
///
/// It tries nothing twice: whoever asks has a backoff of its own, and must hear soon that an API is away. By itself kube
/// would ask up to 15 times more, for minutes, where the answer is 429, 503 or 504.
pub fn connect(mut config: Config, metrics: &Arc<Metrics>) -> Result<Client, kube::Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(&CountRequests(metrics.clone())).build())
}

/// The same for the lease: a request that hangs there is an answer too, and must come in time.
pub fn connect_for_lease(
    mut config: Config,
    metrics: &Arc<Metrics>,
    patience: Duration,
) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(patience);
    config.read_timeout = Some(patience);
    config.write_timeout = Some(patience);
    connect(config, metrics)
}

/// Counts requests, those that may change something by verb and resource.
#[derive(Clone, Debug)]
pub struct CountRequests(pub Arc<Metrics>);

impl<S> Layer<S> for CountRequests {
    type Service = CountingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountingService { inner, metrics: self.0.clone() }
    }
}

/// A service under [`CountRequests`].
#[derive(Clone, Debug)]
pub struct CountingService<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for CountingService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if is_write(request.method()) {
            self.metrics.wrote(request.method().as_str(), resource(request.uri().path()));
        } else {
            self.metrics.read();
        }
        self.inner.call(request)
    }
}

/// Whether a request of this method may change something.
pub fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The plural in the path of a request: `/apis/apps/v1/namespaces/home/deployments/alice` is about `deployments`.
pub fn resource(path: &str) -> &str {
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.nth(1),
        _ => return "other",
    };
    match (parts.next(), parts.next(), parts.next()) {
        (Some("namespaces"), _, Some(resource)) | (Some(resource), _, _) => resource,
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_its_resource() {
        for (path, expected) in [
            ("/apis/apps/v1/namespaces/home/deployments/alice", "deployments"),
            ("/api/v1/namespaces/home/secrets", "secrets"),
            ("/api/v1/persistentvolumes/x", "persistentvolumes"),
            ("/apis/atsign.dev/v1/namespaces/home/atsigns/alice/status", "atsigns"),
            ("/api/v1/namespaces/home", "namespaces"),
            ("/version", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
