//! Health and metrics, over plain HTTP, for the kubelet and Prometheus.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::address_book::AddressBook;
use crate::metrics::Metrics;

/// Connections at one time; more wait.
const MAX_CONNECTIONS: usize = 8;
/// How long one may take, from its start to its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Serves for ever.
pub async fn serve(listener: TcpListener, book: Arc<AddressBook>, metrics: Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (book, metrics) = (Arc::clone(&book), Arc::clone(&metrics));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &book, &metrics);
                async { Ok::<_, Infallible>(response) }
            });
            let connection =
                http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // Whoever asks and does not listen is no matter of ours.
            let _ = timeout(TIMEOUT, connection).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, book: &AddressBook, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") if book.is_ready() => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the addresses are not read yet, or this process is about to end\n".to_owned(),
        ),
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "GET /healthz, /readyz or /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; version=1.0.0; charset=utf-8"),
    );
    response
}
