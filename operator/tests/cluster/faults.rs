//! A layer under the operator's client that counts its writes, stops the operator at one of them, and holds reads up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use atsign_operator::client::{is_write, resource};
use futures::future::BoxFuture;
use http::Request;
use tower::{BoxError, Layer, Service};

/// How late reads come that are held up.
const LATE: Duration = Duration::from_secs(5);

/// Where the operator stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Just before its k-th write, counted from 0.
    Before(usize),
    /// Just after it: the write is done, but nobody hears of it.
    After(usize),
}

/// Counts writes and stops.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    stop: Option<Stop>,
    late: Option<String>,
    writes: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Faults {
    pub fn at(stop: Stop) -> Self {
        Self { stop: Some(stop), ..Self::default() }
    }

    /// What is read below this path comes seconds late.
    pub fn late(path: String) -> Self {
        Self { late: Some(path), ..Self::default() }
    }

    /// How many writes were sent.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Whether the operator was stopped.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Returns once the operator was stopped.
    pub async fn struck(&self) {
        while !self.stopped() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// What was written, in order.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S, B> Service<Request<B>> for Faulty<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.faults.stopped() {
            return Box::pin(async { Err("the operator is stopped".into()) });
        }
        if !is_write(request.method()) {
            let late = self.faults.late.as_ref().is_some_and(|path| request.uri().path().starts_with(path));
            let answer = self.inner.call(request);
            return Box::pin(async move {
                if late {
                    tokio::time::sleep(LATE).await;
                }
                answer.await.map_err(Into::into)
            });
        }
        let number = self.faults.writes.fetch_add(1, Ordering::SeqCst);
        let what =
            format!("{} {} {}", request.method(), resource(request.uri().path()), request.uri().path());
        self.faults.log.lock().expect("no panic").push(what);
        if self.faults.stop == Some(Stop::Before(number)) {
            self.faults.stopped.store(true, Ordering::SeqCst);
            return Box::pin(async { Err("the operator is stopped".into()) });
        }
        let lost = self.faults.stop == Some(Stop::After(number));
        let stopped = self.faults.stopped.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            if lost {
                stopped.store(true, Ordering::SeqCst);
                return Err("the answer is lost".into());
            }
            answer
        })
    }
}
