//! A server as the operator hears it: the admin port of one pod, on a loopback address of its own. It serves `/usage` with
//! its waiting form and `/shrink`, and needs what the test says.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use atsign_protocol::Usage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A server that needs what it is told to.
pub struct Server {
    pub ip: Ipv4Addr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    figures: Mutex<Figures>,
    changed: Notify,
}

#[derive(Clone, Debug, Default)]
struct Figures {
    usage: Usage,
    /// The number of the request that waits: the newest.
    waiter: u64,
    requests: u64,
    /// What was asked for by `/shrink`, with the token that was shown.
    shrinks: Vec<(u64, String)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Starts one with this limit, at an address that is used by nobody else.
    pub async fn start(ip: Ipv4Addr, limit: u64) -> Self {
        let usage = Usage { limit, needed: 1 << 20, epoch: 1, ..Usage::default() };
        let figures = Mutex::new(Figures { usage, ..Figures::default() });
        let state = Arc::new(State { figures, changed: Notify::new() });
        let listener = TcpListener::bind((ip, 9464)).await.expect("listen on a loopback address");
        let serving = tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    tokio::spawn(serve(stream, state.clone()));
                }
            }
        });
        Self { ip, state, serving }
    }

    /// From now on it needs this much.
    pub fn needs(&self, bytes: u64) {
        let mut figures = self.state.figures();
        figures.usage.needed = bytes;
        figures.usage.anon = bytes;
        figures.usage.used = bytes;
        drop(figures);
        self.state.changed.notify_waiters();
    }

    /// From now on it says this of itself too.
    pub fn says(&self, change: impl FnOnce(&mut Usage)) {
        change(&mut self.state.figures().usage);
    }

    /// Its owner has logged in.
    pub fn is_activated(&self) {
        self.says(|usage| usage.activated = true);
        self.state.changed.notify_waiters();
    }

    /// The node changed its limit.
    pub fn has(&self, limit: u64) {
        self.state.figures().usage.limit = limit;
        self.state.changed.notify_waiters();
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.state.figures().requests
    }

    /// What it was asked to shrink to, and the tokens that were shown.
    pub fn shrinks(&self) -> Vec<(u64, String)> {
        self.state.figures().shrinks.clone()
    }
}

impl State {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().expect("no panic")
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut request = vec![0; 1024];
    let read = stream.read(&mut request).await.unwrap_or_default();
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let (method, target) = {
        let mut words = request.split(' ');
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query: HashMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    state.figures().requests += 1;
    let status = match (method.as_str(), path) {
        ("GET", "/usage") if query.contains_key("wait") => {
            // Whoever asked and went away waits no more.
            tokio::select! {
                status = wait(&state, &query) => status,
                _ = stream.read_u8() => return,
            }
        }
        ("GET", "/usage") => "200 OK",
        ("POST", "/shrink") => {
            let to = query.get("to").and_then(|to| to.parse().ok()).unwrap_or_default();
            let token = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
            state.figures().shrinks.push((to, token.unwrap_or_default().to_owned()));
            "200 OK"
        }
        _ => "404 Not Found",
    };
    let body = serde_json::to_string(&state.figures().usage).expect("JSON");
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Until the need passes the mark, by an eighth another than was seen; or the owner has logged in, or the time is up, or
/// another request waits.
async fn wait(state: &State, query: &HashMap<&str, &str>) -> &'static str {
    let above: f64 = query["above"].parse().expect("a share");
    let wait: u64 = query["wait"].trim_end_matches('s').parse().expect("seconds");
    let seen: Option<u64> = query.get("seen").map(|seen| seen.parse().expect("bytes"));
    let activated: bool = query["activated"].parse().expect("true or false");
    let own = {
        let mut figures = state.figures();
        figures.waiter += 1;
        figures.waiter
    };
    state.changed.notify_waiters();
    let end = tokio::time::Instant::now() + Duration::from_secs(wait);
    loop {
        let changed = state.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let figures = state.figures();
            if figures.waiter != own {
                return "409 Conflict";
            }
            let (needed, limit) = (figures.usage.needed, figures.usage.limit);
            #[allow(clippy::cast_precision_loss, reason = "a share")]
            let over = needed as f64 > above * limit as f64;
            let news = over && seen.is_none_or(|seen| needed.abs_diff(seen) >= limit / 8);
            if news || figures.usage.activated != activated {
                return "200 OK";
            }
        }
        if tokio::time::timeout_at(end, changed).await.is_err() {
            return "200 OK";
        }
    }
}
