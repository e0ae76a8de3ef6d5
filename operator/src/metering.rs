//! `/metering` on a port of its own: what each atSign used, for the provider's bills. The servers count, in their own
//! stores; the operator keeps nothing and asks them while it answers, so any of its processes can be asked.
//!
//! The figures of all tenants stand in one answer. So whoever asks shows a bearer token that the API server knows, of an
//! account that may `get` the path `/metering`.

mod readings;
mod rights;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use rights::Refused;

/// Connections at one time, and how many of them may have the figures read.
const CONNECTIONS: usize = 16;
const READINGS: usize = 2;
/// How long a reading may take: servers that do not answer are waited for, a few at a time.
const LONGEST: Duration = Duration::from_hours(1);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a reading needs.
pub struct Metering {
    client: Client,
    /// The namespaces that are served; empty for all.
    namespaces: Vec<String>,
    readings: Arc<Semaphore>,
}

impl Metering {
    /// Of the AtSigns in these namespaces, or in all.
    pub fn new(client: Client, namespaces: Vec<String>) -> Self {
        Self { client, namespaces, readings: Arc::new(Semaphore::new(READINGS)) }
    }

    /// Serves for ever.
    pub async fn serve(self, listen: SocketAddr) -> std::io::Result<Infallible> {
        let listener = TcpListener::bind(listen).await?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let metering = Arc::new(self);
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { continue };
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(metering.clone().exchange(stream, place))),
                Err(error) => {
                    // Out of descriptors, most often: it passes.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn exchange(self: Arc<Self>, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .keep_alive(false)
            .max_buf_size(16 << 10)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(async |request| Ok::<_, Infallible>(self.answer(&request).await)),
            );
        // Whatever ends it, the client has gone or is not worth waiting for.
        let _ = tokio::time::timeout(LONGEST, connection).await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if request.uri().path() != "/metering" {
            return text(StatusCode::NOT_FOUND, "there is /metering");
        }
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only");
        }
        let Ok(turn) = self.readings.clone().try_acquire_owned() else {
            return text(StatusCode::TOO_MANY_REQUESTS, "somebody else is reading; try again in a minute");
        };
        match rights::check(&self.client, request.headers().get(AUTHORIZATION)).await {
            Ok(()) => {}
            Err(refused) => return refusal(&refused),
        }
        let lines = readings::read(self.client.clone(), self.namespaces.clone()).map(move |line| {
            // The turn is over when the stream is.
            let _turn = &turn;
            Ok(Frame::data(Bytes::from(line)))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        response
    }
}

fn refusal(refused: &Refused) -> Response<Body> {
    let status = match refused {
        Refused::NoToken | Refused::UnknownToken => StatusCode::UNAUTHORIZED,
        Refused::NotAllowed(_) => StatusCode::FORBIDDEN,
        Refused::Unknown(error) => {
            tracing::warn!(%error, "the API server did not say who asks for the metering");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let mut response = text(status, &refused.to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
