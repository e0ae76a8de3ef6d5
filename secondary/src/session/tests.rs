//! Sessions over a pipe and a store in memory: what needs a clock that can be turned, or a store that fails.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atsign_protocol::{AtSign, Metadata, key};
use sha2::{Digest as _, Sha512};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;

use super::run;
use crate::atserver::{AtServer, Limits, system_clock};
use crate::store::notifications::{Found, Outcome, Posted, Posting, Progress, Which};
use crate::store::{
    Change, Commit, Fetched, Log, LogPage, NotificationCounts, Notifications, Page, Record, Store,
    StoreError, Top, Visit, Visits,
};
use crate::tls::Certificates;

const SECRET: &str = "the secret of the onboarding";

/// A store without a disk, which can be lost.
#[derive(Clone, Default)]
struct Memory {
    records: Arc<Mutex<BTreeMap<String, Record>>>,
    commits: Arc<Mutex<i64>>,
    lost: Arc<AtomicBool>,
}

impl Memory {
    fn check(&self) -> Result<(), StoreError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("another server has it".into()));
        }
        Ok(())
    }
}

/// It has none.
impl Notifications for Memory {
    async fn post(&self, _: Posting, _: i64) -> Result<Posted, StoreError> {
        Err(none())
    }

    async fn notification(&self, _: Which, _: u64) -> Result<Option<Found>, StoreError> {
        Err(none())
    }

    async fn last_notification(&self) -> Result<i64, StoreError> {
        Err(none())
    }

    async fn remove_notification(&self, _: String) -> Result<(), StoreError> {
        Err(none())
    }

    async fn notification_counts(&self) -> Result<NotificationCounts, StoreError> {
        Err(none())
    }

    async fn due_recipients(&self, _: bool, _: usize, _: i64) -> Result<Vec<String>, StoreError> {
        Err(none())
    }

    async fn next_due(&self, _: i64) -> Result<Option<i64>, StoreError> {
        Err(none())
    }

    async fn pause(&self, _: String) -> Result<i64, StoreError> {
        Err(none())
    }

    async fn settle(&self, _: Outcome) -> Result<(), StoreError> {
        Err(none())
    }

    fn progress(&self) -> watch::Receiver<Progress> {
        watch::Sender::new(Progress::default()).subscribe()
    }
}

fn none() -> StoreError {
    StoreError::Unavailable("no notifications".into())
}

impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.check()?;
        Ok(self.records.lock().expect("records").get(key).cloned())
    }

    async fn get_up_to(&self, key: &str, most: u64) -> Result<Option<Fetched>, StoreError> {
        let length = |record: &Record| record.value.as_ref().map_or(0, |value| value.len() as u64);
        Ok(self.get(key).await?.map(|record| match length(&record) {
            bytes if bytes > most => Fetched::Larger { bytes, metadata: record.metadata },
            _ => Fetched::Record(record),
        }))
    }

    fn has_expired(&self, _: &str, _: i64) -> bool {
        false
    }

    async fn scan(&self, page: Page, now: i64) -> Result<Vec<String>, StoreError> {
        self.check()?;
        let records = self.records.lock().expect("records");
        let after = page.after.unwrap_or_default();
        let keys = records.iter().filter(|(key, record)| {
            **key > after && key.starts_with(&page.prefix) && record.metadata.is_active(now)
        });
        Ok(keys.map(|(key, _)| key.clone()).take(page.limit).collect())
    }

    async fn commit(&self, change: Change, now: i64) -> Result<i64, StoreError> {
        self.check()?;
        let mut records = self.records.lock().expect("records");
        let committed = match change {
            Change::Put { key, value, metadata, committed, by, .. } => {
                let existing = records.get(&key);
                let metadata = metadata
                    .apply(existing.map(|record| &record.metadata), &by, now)
                    .map_err(|error| StoreError::Refused(error.to_string()))?;
                let value = value.or_else(|| existing.and_then(|record| record.value.clone()));
                records.insert(key, Record { value, metadata });
                committed
            }
            Change::Delete { key, committed } => {
                records.remove(&key);
                committed
            }
        };
        if !committed {
            return Ok(-1);
        }
        let mut commits = self.commits.lock().expect("commits");
        *commits += 1;
        Ok(*commits - 1)
    }

    async fn last_commit(&self, _: Option<String>) -> Result<i64, StoreError> {
        Ok(*self.commits.lock().expect("commits") - 1)
    }

    async fn commits(&self, _: LogPage) -> Result<Vec<Commit>, StoreError> {
        Ok(Vec::new())
    }

    async fn note(&self, _: Vec<Visit>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn enrollments(
        &self,
        _: Option<String>,
        _: usize,
        _: i64,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        Ok(Vec::new())
    }

    async fn entries(&self, _: Log) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn visits(&self, _: Top) -> Result<Visits, StoreError> {
        Ok(Visits::default())
    }

    async fn size(&self) -> Result<(u64, u64), StoreError> {
        Ok((self.records.lock().expect("records").len() as u64, 0))
    }
}

/// A server of @alice and the switch that takes it down.
struct Fixture {
    server: Arc<AtServer<Memory>>,
    shutdown: watch::Sender<bool>,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let certificates = Certificates::load(certificate, key, None).expect("a pair");
        let store = Memory::default();
        store.records.lock().expect("records").insert(
            key::CRAM_SECRET.to_owned(),
            Record { value: Some(SECRET.to_owned()), metadata: Metadata::default() },
        );
        let alice = AtSign::parse("@alice").expect("an atSign");
        let server = Arc::new(AtServer::new(alice, store, certificates, limits, system_clock()));
        Self { server, shutdown: watch::Sender::new(false) }
    }

    async fn connect(&self) -> Peer {
        let (near, mut far) = tokio::io::duplex(64);
        let server = Arc::clone(&self.server);
        let shutdown = self.shutdown.subscribe();
        tokio::spawn(async move {
            let slot = server
                .connections
                .admit(&server.limits(), IpAddr::from([127, 0, 0, 1]).into(), &server.budget)
                .await
                .expect("a place");
            run(&server, &mut far, Vec::new(), slot, shutdown).await;
        });
        let mut peer = Peer(near);
        assert_eq!(peer.read().await, "@");
        peer
    }

    async fn connect_as_owner(&self) -> Peer {
        let mut peer = self.connect().await;
        let challenge = peer.challenge().await;
        assert_eq!(peer.cram(&challenge).await, "data:success\n@alice@");
        peer
    }
}

/// The other end of a session.
struct Peer(DuplexStream);

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// What has been written until the server waits, or nothing if it closed.
    async fn read(&mut self) -> String {
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let wait =
                if answer.is_empty() { Duration::from_hours(10_000) } else { Duration::from_millis(1) };
            match tokio::time::timeout(wait, self.0.read(&mut chunk)).await {
                Ok(Ok(read @ 1..)) => answer.extend_from_slice(&chunk[..read]),
                _ => return String::from_utf8(answer).expect("UTF-8"),
            }
        }
    }

    async fn request(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes()).await;
        self.read().await
    }

    async fn challenge(&mut self) -> String {
        let answer = self.request("from:@alice").await;
        answer.strip_prefix("data:").and_then(|rest| rest.lines().next()).expect("a challenge").to_owned()
    }

    async fn cram(&mut self, challenge: &str) -> String {
        let digest = Sha512::digest(format!("{SECRET}{challenge}"));
        let hex = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        self.request(&format!("cram:{hex}")).await
    }

    async fn is_closed(&mut self) -> bool {
        self.read().await.is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenge_older_than_a_minute_proves_nothing() {
    let fixture = Fixture::new(Limits::default());
    let mut peer = fixture.connect().await;
    let challenge = peer.challenge().await;
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(peer.cram(&challenge).await.starts_with("error:AT0015-Exception: private:_"));
}

#[tokio::test(start_paused = true)]
async fn a_challenge_proves_once() {
    let fixture = Fixture::new(Limits::default());
    let mut peer = fixture.connect().await;
    let challenge = peer.challenge().await;
    assert_eq!(peer.cram(&challenge).await, "data:success\n@alice@");
    assert!(peer.cram(&challenge).await.starts_with("error:AT0015-Exception: "));
    assert!(peer.request("llookup:x@alice").await.starts_with("error:AT0401-"), "a failed login logs out");
}

#[tokio::test(start_paused = true)]
async fn another_connections_challenge_proves_nothing() {
    let fixture = Fixture::new(Limits::default());
    let (mut first, mut second) = (fixture.connect().await, fixture.connect().await);
    let stolen = first.challenge().await;
    second.challenge().await;
    assert_eq!(second.cram(&stolen).await, "error:AT0401-Exception: Authentication Failed\n@");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stranger_is_sent_away_and_the_owner_is_not() {
    let fixture = Fixture::new(Limits::default());
    let server = Arc::clone(&fixture.server);
    let reaper = tokio::spawn(async move { server.connections.reap(|| server.limits()).await });
    let mut owner = fixture.connect_as_owner().await;
    let mut stranger = fixture.connect().await;
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(stranger.is_closed().await);
    assert!(owner.request("info:brief").await.starts_with("data:{"));
    assert_eq!(fixture.server.connections.count(), 1);
    reaper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_left_after_half_a_minute() {
    let fixture = Fixture::new(Limits::default());
    let mut owner = fixture.connect_as_owner().await;
    assert_eq!(owner.request(&format!("update:big@alice {}", "v".repeat(100_000))).await, "data:0\n@alice@");
    owner.send(b"llookup:big@alice\n").await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(fixture.server.connections.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_down_says_so_and_closes() {
    let fixture = Fixture::new(Limits::default());
    let (mut busy, mut silent) = (fixture.connect().await, fixture.connect().await);
    fixture.shutdown.send_replace(true);
    assert_eq!(
        busy.request("info").await,
        "error:AT0024-Exception: Server is temporarily paused and should be available again shortly\n@"
    );
    assert!(busy.is_closed().await);
    assert!(silent.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_runs_when_the_server_goes_down_is_answered() {
    let fixture = Fixture::new(Limits::default());
    let mut peer = fixture.connect().await;
    peer.send(b"noop:2000\n").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    fixture.shutdown.send_replace(true);
    assert_eq!(peer.read().await, "data:ok\n@");
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_is_said_without_details_and_closes_the_connection() {
    let fixture = Fixture::new(Limits::default());
    let mut owner = fixture.connect_as_owner().await;
    fixture.server.store.lost.store(true, Ordering::Relaxed);
    assert_eq!(
        owner.request("update:x@alice 1").await,
        "error:AT0002-DataStore exception : the store is not available now, try again later\n@alice@"
    );
    assert!(owner.is_closed().await);
    let mut stranger = fixture.connect().await;
    assert!(stranger.request("scan").await.starts_with("error:AT0002-Exception: "));
    assert!(stranger.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asked_for_it_reads_errors_as_json() {
    let fixture = Fixture::new(Limits::default());
    let mut peer = fixture.connect().await;
    peer.request(r#"from:@alice:clientConfig:{"version":"3.0.45"}"#).await;
    assert_eq!(
        peer.request("lookup:none@alice").await,
        "error:{\"errorCode\":\"AT0015\",\"errorDescription\":\"Exception: public:none@alice does not exist in keystore\"}\n@"
    );
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_many_pages_is_one_array() {
    let fixture = Fixture::new(Limits::default());
    {
        let mut records = fixture.server.store.records.lock().expect("records");
        for number in 0..1000 {
            let record = Record { value: Some(String::new()), metadata: Metadata::default() };
            records.insert(format!("public:key{number:04}.wavi@alice"), record);
        }
    }
    let mut peer = fixture.connect().await;
    let answer = peer.request("scan").await;
    let json = answer.strip_prefix("data:").and_then(|rest| rest.strip_suffix("\n@")).expect("an answer");
    let keys: Vec<String> = serde_json::from_str(json).expect("an array");
    assert_eq!(keys.len(), 1000);
    assert_eq!((keys[0].as_str(), keys[999].as_str()), ("key0000.wavi@alice", "key0999.wavi@alice"));
}

#[tokio::test(start_paused = true)]
async fn too_long_a_command_is_refused_and_the_connection_closed() {
    let fixture = Fixture::new(Limits { stranger_command: 100, proven_command: 200, ..Limits::default() });
    let mut stranger = fixture.connect().await;
    assert_eq!(
        stranger.request(&"x".repeat(101)).await,
        "error:AT0005-Exception: a command has at most 100 bytes\n@"
    );
    assert!(stranger.is_closed().await);
    // The owner of that login: cram needs more than a hundred bytes.
    let fixture = Fixture::new(Limits { stranger_command: 150, proven_command: 200, ..Limits::default() });
    let mut owner = fixture.connect_as_owner().await;
    assert_eq!(owner.request(&format!("update:x@alice {}", "v".repeat(185))).await, "data:0\n@alice@");
    assert!(owner.request(&"x".repeat(201)).await.starts_with("error:AT0005-Buffer limit exceeded : "));
}
