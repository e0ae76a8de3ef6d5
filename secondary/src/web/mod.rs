//! The same port for browsers: whoever asks for `http/1.1` while shaking hands (ALPN) gets public keys by plain HTTP
//! (reference page, appendix A, 3.6). Nothing of it is there on other connections.

mod page;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::atserver::AtServer;
use crate::connections::Slot;
use crate::store::Store;

/// What a client asks for by ALPN.
pub(crate) const PROTOCOL: &[u8] = b"http/1.1";

/// Bytes of a request's line and headers.
const HEAD: usize = 8192;

/// How long a client may take to send its request, and the whole exchange.
const SENDING: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_mins(1);

/// Answers one request.
pub(crate) async fn serve<S, T>(server: Arc<AtServer<S>>, stream: T, slot: &Slot)
where
    S: Store,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(&request, &server).await) }
    });
    let exchange = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(SENDING)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = slot.evicted() => {}
        done = timeout(EXCHANGE, exchange) => if let Ok(Err(error)) = done {
            tracing::debug!(%error, "an HTTP request ended early");
        },
    }
}

async fn answer<S: Store>(request: &Request<Incoming>, server: &AtServer<S>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        let mut refusal = page::text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return refusal;
    }
    page::answer(request.uri(), server).await
}
