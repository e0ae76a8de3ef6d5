//! The same port for browsers: whoever asks for `http/1.1` while shaking hands (ALPN) gets public keys by plain HTTP, or
//! the atProtocol through a WebSocket (reference page, appendix A, 3.2 and 3.6). Nothing of it is there on other
//! connections.

pub mod page;
pub mod socket;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ALLOW, CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;

use self::socket::Socket;
use crate::atserver::AtServer;
use crate::connections::Slot;
use crate::memory::Lease;
use crate::session;
use crate::store::Store;

/// What a client asks for by ALPN.
pub(crate) const PROTOCOL: &[u8] = b"http/1.1";

/// Bytes of a request's line and headers.
const HEAD: usize = 8192;

/// How long a client may take to send its request, and the whole exchange.
const SENDING: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_mins(1);

/// The longest wait for a client to take note that the connection ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// Answers one request. Where that asks for a WebSocket, a session follows.
pub(crate) async fn serve<S, T>(
    server: &Arc<AtServer<S>>,
    stream: T,
    certificates: Vec<CertificateDer<'static>>,
    slot: Slot,
    draining: watch::Receiver<bool>,
) where
    S: Store,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (upgrade, held) = (Mutex::new(None), Mutex::new(None));
    let (upgrade, held) = (&upgrade, &held);
    let service = service_fn(|mut request| async move {
        let answer = answer(&request, server, held).await;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
        }
        Ok::<_, Infallible>(answer)
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SENDING)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        () = slot.evicted() => return,
        done = timeout(EXCHANGE, exchange) => if let Ok(Err(error)) = done {
            tracing::debug!(%error, "an HTTP request ended early");
        },
    }
    let Some(upgrade) = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let Ok(Ok(parts)) = upgrade.await.map(Upgraded::downcast::<TokioIo<T>>) else { return };
    // A client speaks only once it has read that it may.
    if parts.read_buf.is_empty() {
        let mut socket = Socket::new(parts.io.into_inner());
        session::run(server, &mut socket, certificates, slot, draining).await;
        let _ = timeout(GOODBYE, socket.shutdown()).await;
    }
}

async fn answer<S: Store>(
    request: &Request<Incoming>,
    server: &AtServer<S>,
    held: &Mutex<Option<Lease>>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        let mut refusal = page::text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refusal;
    }
    match websocket_key(request.headers()) {
        Some(key) => switch(key),
        None => page::answer(request.uri(), server, held).await,
    }
}

/// The key of a request for a WebSocket of the version that there is.
fn websocket_key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is = |name: HeaderName, wanted: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let asked = is(UPGRADE, "websocket") && is(SEC_WEBSOCKET_VERSION, "13");
    headers.get(SEC_WEBSOCKET_KEY).filter(|_| asked)
}

fn switch(key: &HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // Base64 is always a header.
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
