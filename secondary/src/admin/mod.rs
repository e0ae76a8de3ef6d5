//! The admin port: health, metrics and usage over plain HTTP, for the kubelet, monitoring and the operator.

pub mod backup;
pub mod http;
mod metrics;
mod sending;
pub mod token;
mod usage;
pub mod waiting;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use ::http::{Method, Request, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::http::{body, text};
use self::sending::Sending;
use self::token::{AdminToken, TokenError};
use self::waiting::{Wait, Waited};
use crate::atserver::AtServer;
use crate::logs::Logs;
use crate::memory::Budget;
use crate::metering::Meter;
use crate::store::figures::Figures;
use crate::store::{SqliteStore, State, Status};
use backup::Backups;

pub use self::http::Answer;
pub use self::usage::Remembered;
pub use self::waiting::Waiters;

/// Connections at a time; who comes later waits in the kernel's queue.
const CONNECTIONS: usize = 8;

/// How long a client may take to send its request, and what does not wait to be answered and read.
const SENDING: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(15);

/// The store must have answered within this for the server to be ready.
const READY: Duration = Duration::from_secs(5);

/// What there is, and the methods that it is asked by.
const ROUTES: [(&str, &[Method]); 6] = [
    ("/healthz", &[Method::GET]),
    ("/readyz", &[Method::GET]),
    ("/metrics", &[Method::GET]),
    ("/usage", &[Method::GET]),
    ("/shrink", &[Method::POST]),
    ("/backup", &[Method::GET, Method::POST]),
];

/// What the admin port tells about.
pub struct Admin {
    /// Where the store stands, also while it is not ours.
    pub status: Arc<Status>,
    /// What the store counts.
    pub figures: Arc<Figures>,
    /// Who holds the store: us, once it is ours.
    pub holder: String,
    /// The memory of this server.
    pub budget: Arc<Budget>,
    /// What is billed.
    pub meter: Arc<Meter>,
    /// The backups that were asked for.
    pub backups: Backups,
    /// What a request must show to change something.
    pub token: AdminToken,
    /// The log's losses.
    pub logs: Logs,
    /// The server, once it accepts connections.
    pub server: OnceLock<Arc<AtServer<SqliteStore>>>,
    /// Who waits for news.
    pub waiters: Waiters,
    /// What the store said when it last answered.
    pub remembered: Remembered,
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
                    if let Err(error) = exchange(stream, &admin).await {
                        tracing::debug!(%error, "a request on the admin port ended early");
                    }
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
async fn exchange(mut stream: TcpStream, admin: &Arc<Admin>) -> io::Result<()> {
    // Each step is boxed: while a client waits, nothing but the wait is in memory.
    let asked = match Box::pin(timeout(SENDING, http::read(&mut stream))).await.map_err(io::Error::from)?? {
        Ok(request) => Box::pin(timeout(EXCHANGE, answer(&request, admin))).await.map_err(io::Error::from)?,
        Err(refusal) => Asked::Answered(refusal),
    };
    let answer = match asked {
        Asked::Answered(answer) => answer,
        Asked::ToWait(wait) => match admin.waiters.wait(wait, admin, &stream).await {
            Waited::Due => json(&Box::pin(usage::usage(admin)).await),
            Waited::Displaced => text(StatusCode::CONFLICT, "somebody else waits now\n"),
            Waited::Gone => return Ok(()),
        },
        Asked::ToSend(sending) => return Box::pin(sending::send(&mut stream, sending)).await,
    };
    Box::pin(timeout(EXCHANGE, http::write(&mut stream, answer))).await.map_err(io::Error::from)?
}

/// What came of a request.
enum Asked {
    /// Its answer.
    Answered(Answer),
    /// It is answered later.
    ToWait(Wait),
    /// Its answer is a backup.
    ToSend(Sending),
}

async fn answer(request: &Request<()>, admin: &Arc<Admin>) -> Asked {
    let path = request.uri().path();
    let Some((_, allowed)) = ROUTES.iter().find(|(route, _)| *route == path) else {
        let routes = ROUTES.map(|(route, _)| route).join(" ");
        return Asked::Answered(text(StatusCode::NOT_FOUND, format!("there are {routes}\n")));
    };
    if !allowed.contains(request.method()) {
        return Asked::Answered(wrong_method(allowed));
    }
    Asked::Answered(match path {
        // That this is answered at all is what it says: the thread of the sockets lives.
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness(admin).await {
            Ok(()) => text(StatusCode::OK, "ok\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/backup" => return backup::answer(request, admin),
        "/metrics" => body(StatusCode::OK, "text/plain; version=0.0.4", metrics::text(admin).await),
        "/shrink" => match (refusal(request, admin), shrink_to(request.uri().query())) {
            (Some(refusal), _) => refusal,
            (None, Some(to)) => json(&usage::shrink(admin, to).await),
            (None, None) => text(StatusCode::BAD_REQUEST, "/shrink?to=BYTES is expected\n"),
        },
        _ => match Wait::parse(request.uri().query()) {
            Ok(None) => json(&usage::usage(admin).await),
            Ok(Some(wait)) => return Asked::ToWait(wait),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        },
    })
}

fn wrong_method(allowed: &[Method]) -> Answer {
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("{} only\n", names.join(" and ")));
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        refusal.headers_mut().insert(ALLOW, names);
    }
    refusal
}

fn json(usage: &atsign_protocol::Usage) -> Answer {
    match serde_json::to_string(usage) {
        Ok(json) => body(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The bytes that `POST /shrink` asks for.
pub fn shrink_to(query: Option<&str>) -> Option<u64> {
    query?.strip_prefix("to=")?.parse().ok().filter(|to| *to > 0)
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
pub fn refusal(request: &Request<()>, admin: &Admin) -> Option<Answer> {
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
