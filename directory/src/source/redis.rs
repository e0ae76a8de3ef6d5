//! Addresses from the records of a Redis, as the reference root server keeps them: `GET alice` gives `host:port`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use atsign_protocol::AtSign;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, TlsCertificates};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::address_book::{AddressBook, Entries};
use crate::addresses::Found;
use crate::metrics::{Answered, Asked, Metrics};
use crate::recent::Recent;
use crate::record::is_address;

/// How long one question may take, its wait for a turn included.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Questions that are under way at a time, over one connection; more wait.
const CONCURRENCY: usize = 64;
/// Addresses that are remembered for the time when Redis is away.
const REMEMBERED: usize = 10_000;
/// How long an address is good without Redis. Servers move seldom, and a client finds out when it connects.
const FRESH: Duration = Duration::from_mins(15);
/// How often Redis is tried until it first answers.
const FIRST_TRY: Duration = Duration::from_secs(1);

/// A Redis that is asked for one atSign at a time.
#[derive(Debug)]
pub struct Redis {
    connection: Connection,
    turns: Semaphore,
    recent: Recent<String>,
    metrics: Arc<Metrics>,
}

/// One connection, made when it is needed and anew when it broke.
#[derive(Clone)]
struct Connection(ConnectionManager);

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The manager knows the password.
        formatter.write_str("Connection")
    }
}

impl Redis {
    /// What asks the Redis at `url`; nothing is connected yet. No error repeats the URL: there may be a password in it.
    ///
    /// # Errors
    /// `url` is none of Redis, or `ca` holds no certificates.
    pub fn new(url: &str, ca: Option<&Path>, metrics: Arc<Metrics>) -> Result<Self> {
        if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
            bail!(
                "--redis: not a URL of the form redis://[user:password@]host[:port][/database], or rediss://…"
            );
        }
        let client = match ca {
            None => Client::open(url),
            Some(file) => {
                let root_cert = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
                Client::build_with_tls(url, certificates)
            }
        };
        // What the URL's parser says of a bad one might quote it.
        let client = client
            .ok()
            .context("--redis: the URL is not one of Redis, or --redis-ca holds no PEM certificate")?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_concurrency_limit(CONCURRENCY);
        let connection = Connection(ConnectionManager::new_lazy_with_config(client, config)?);
        let (turns, recent) = (Semaphore::new(CONCURRENCY), Recent::new(REMEMBERED));
        Ok(Self { connection, turns, recent, metrics })
    }

    /// Waits until Redis answers for the first time, and says so in `book`, which has nothing else to hold.
    pub fn first_contact(&self, book: Arc<AddressBook>) -> impl Future<Output = ()> + use<> {
        let mut connection = self.connection.clone();
        async move {
            let mut told = false;
            loop {
                let ping = redis::cmd("PING");
                match timeout(TIMEOUT, ping.query_async::<()>(&mut connection.0)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) if !told => {
                        warn!("Redis does not answer, waiting for it: {}", reason(&error));
                    }
                    Err(_) if !told => warn!("Redis does not answer, waiting for it"),
                    _ => {}
                }
                told = true;
                sleep(FIRST_TRY).await;
            }
            info!("answering from Redis");
            book.replace(Entries::new());
        }
    }

    /// What Redis says of `at_sign`; while it is away, what it said lately.
    pub async fn find(&self, at_sign: &AtSign) -> Found {
        let name = at_sign.name();
        let record = timeout(TIMEOUT, async {
            let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
            let mut connection = self.connection.clone();
            redis::cmd("GET").arg(name).query_async::<Option<String>>(&mut connection.0).await
        });
        match record.await {
            Ok(Ok(None)) => {
                self.metrics.asked_elsewhere(Asked::redis, Answered::unknown);
                self.recent.forget(name);
                Found::Unknown
            }
            Ok(Ok(Some(address))) if is_address(&address) => {
                self.metrics.asked_elsewhere(Asked::redis, Answered::found);
                self.recent.remember(name, address.clone(), Instant::now());
                Found::Address(address)
            }
            Ok(Ok(Some(_))) => {
                warn!(atsign = %at_sign, "its record in Redis is no host:port");
                self.without_redis(name)
            }
            Ok(Err(error)) => {
                warn!("Redis: {}", reason(&error));
                self.without_redis(name)
            }
            Err(_) => {
                warn!("Redis does not answer within {} s", TIMEOUT.as_secs());
                self.without_redis(name)
            }
        }
    }

    fn without_redis(&self, name: &str) -> Found {
        self.metrics.asked_elsewhere(Asked::redis, Answered::failed);
        match self.recent.recall(name, Instant::now()) {
            Some((address, age)) if age <= FRESH => {
                self.metrics.remembered(Asked::redis);
                Found::Address(address)
            }
            _ => Found::Unavailable,
        }
    }
}

/// What went wrong, without what the server was sent.
fn reason(error: &redis::RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "the password or the user is wrong".to_owned(),
        _ => error.to_string(),
    }
}
