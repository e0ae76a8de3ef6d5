//! The admin port: health, metrics and usage over plain HTTP, for the kubelet, monitoring and the operator.

pub mod backup;
mod metrics;
pub mod token;
mod usage;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::atserver::AtServer;
use crate::logs::Logs;
use crate::memory::Gauge;
use crate::store::figures::Figures;
use crate::store::{SqliteStore, State, Status};
use backup::Backups;
use token::{AdminToken, TokenError};

/// Connections at a time; who comes later waits in the kernel's queue.
const CONNECTIONS: usize = 8;

/// Bytes of a request's line and headers.
const HEAD: usize = 1024;

/// How long a client may take to send its request, and the whole exchange.
const SENDING: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(15);

/// The store must have answered within this for the server to be ready.
const READY: Duration = Duration::from_secs(5);

/// What the admin port tells about.
pub struct Admin {
    /// Where the store stands, also while it is not ours.
    pub status: Arc<Status>,
    /// What the store counts.
    pub figures: Arc<Figures>,
    /// Who holds the store: us, once it is ours.
    pub holder: String,
    /// The memory of this process.
    pub gauge: Gauge,
    /// The backups that were asked for.
    pub backups: Backups,
    /// What a request must show to change something.
    pub token: AdminToken,
    /// The log's losses.
    pub logs: Logs,
    /// The server, once it accepts connections.
    pub server: OnceLock<Arc<AtServer<SqliteStore>>>,
}

/// Serves the admin port for ever.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    let _ = timeout(EXCHANGE, exchange(stream, admin)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One request: a connection that stays open would keep a place that a probe may need.
async fn exchange(stream: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(answer(&request, &admin).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(SENDING)
        .max_buf_size(8192)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a request on the admin port ended early");
    }
}

async fn answer(request: &Request<Incoming>, admin: &Arc<Admin>) -> Response<Full<Bytes>> {
    if head_length(request) > HEAD {
        return text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too large\n");
    }
    let path = request.uri().path();
    let allowed: &[Method] = match path {
        "/healthz" | "/readyz" | "/metrics" | "/usage" => &[Method::GET],
        "/backup" => &[Method::GET, Method::POST],
        _ => {
            return text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz, /metrics, /usage and /backup\n",
            );
        }
    };
    if !allowed.contains(request.method()) {
        return wrong_method(allowed);
    }
    match path {
        // That this is answered at all is what it says: the thread of the sockets lives.
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness(admin).await {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/backup" => backup::answer(request, admin),
        "/metrics" => body(StatusCode::OK, "text/plain; version=0.0.4", metrics::text(admin).await),
        _ => match serde_json::to_string(&usage::usage(admin).await) {
            Ok(json) => body(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
    }
}

/// Ready: the store is ours and answered within five seconds, and the server accepts connections.
async fn readiness(admin: &Admin) -> Result<(), String> {
    let state = admin.status.state();
    let (State::Serving { .. }, Some(server)) = (&state, admin.server.get()) else {
        return Err(state.sentence());
    };
    match timeout(READY, server.store.answers()).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the store has not answered for {} s", READY.as_secs())),
    }
}

/// The answer to a request that would change something and may not. Each route that changes something asks first.
pub fn refusal(request: &Request<Incoming>, admin: &Admin) -> Option<Response<Full<Bytes>>> {
    let error = admin.token.check(request.headers()).err()?;
    let status = match &error {
        TokenError::NoToken => StatusCode::FORBIDDEN,
        TokenError::NotShown => StatusCode::UNAUTHORIZED,
        TokenError::File(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut refusal = text(status, format!("{error}\n"));
    if status == StatusCode::UNAUTHORIZED {
        refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Some(refusal)
}

fn wrong_method(allowed: &[Method]) -> Response<Full<Bytes>> {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("{} only\n", names.join(" and ")));
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        refusal.headers_mut().insert(ALLOW, names);
    }
    refusal
}

fn head_length(request: &Request<Incoming>) -> usize {
    let line = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    request.headers().iter().fold(line, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text)
}

fn body(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
