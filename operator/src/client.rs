//! The client of the Kubernetes API, counting what it writes: a quiet operator is a promise, so it is measured.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// A client of the cluster that `config` names.
pub fn connect(config: Config, metrics: &Arc<Metrics>) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&CountWrites(metrics.clone())).build())
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

/// Counts the requests that may change something, by verb and resource.
#[derive(Clone, Debug)]
pub struct CountWrites(pub Arc<Metrics>);

impl<S> Layer<S> for CountWrites {
    type Service = CountingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountingService { inner, metrics: self.0.clone() }
    }
}

/// A service under [`CountWrites`].
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
