//! The records of the reference root server: a real Redis, started here on loopback.

mod running;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use atsign_tests::ports;
use running::{Authority, Directory, eventually};

const PASSWORD: &str = "foobared";

/// Debian's redis-server with a password, plain and with TLS; killed on drop.
struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    tls_port: u16,
}

impl Redis {
    fn start() -> Self {
        let [port, tls_port] = ports::free().expect("ports");
        let folder = tempfile::tempdir().expect("a folder");
        Authority::new().write(folder.path());
        let child = run(&folder, port, tls_port);
        let redis = Self { child, folder, port, tls_port };
        redis.wait();
        redis
    }

    /// Ends it as an outage does; what was set is lost.
    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_again(&mut self) {
        self.child = run(&self.folder, self.port, self.tls_port);
        self.wait();
    }

    fn wait(&self) {
        eventually("redis-server answers", || {
            redis::Client::open(self.url()).is_ok_and(|client| client.get_connection().is_ok())
        });
    }

    fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    fn tls_url(&self) -> String {
        format!("rediss://default:{PASSWORD}@localhost:{}/0", self.tls_port)
    }

    /// As the registrar does.
    fn command(&self, words: &[&str]) {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec(&mut client.get_connection().expect("redis-server answers")).expect("the command works");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(folder: &tempfile::TempDir, port: u16, tls_port: u16) -> Child {
    // Debian's redis-tools has the server too, under another name, without the service that redis-server brings.
    Command::new("redis-check-rdb")
        .arg0("redis-server")
        .args(["--port", &port.to_string(), "--tls-port", &tls_port.to_string(), "--bind", "127.0.0.1"])
        .args(["--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key", "--tls-ca-cert-file", "ca.crt"])
        .args(["--tls-auth-clients", "no", "--requirepass", PASSWORD, "--save", "", "--appendonly", "no"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis is installed: apt-get install redis-tools")
}

fn directory(redis: &Redis) -> Directory {
    let directory = Directory::with(&[], &[("ATSIGN_REDIS", &redis.url())]);
    eventually("it is ready", || directory.admin("/readyz").starts_with("HTTP/1.1 200"));
    directory
}

fn counts(directory: &Directory, line: &str) -> bool {
    directory.admin("/metrics").lines().any(|l| l == line)
}

#[test]
fn the_reference_roots_records_are_read_as_they_are() {
    let redis = Redis::start();
    redis.command(&["SET", "alice", "vip.ve.atsign.zone:25000"]);
    redis.command(&["SET", "bob🛠", "vip.ve.atsign.zone:25003"]);
    let directory = directory(&redis);
    assert_eq!(directory.look_up("@Alice"), "vip.ve.atsign.zone:25000");
    assert_eq!(directory.look_up("bob🛠"), "vip.ve.atsign.zone:25003");
    assert_eq!(directory.look_up("nobody"), "null");

    redis.command(&["SET", "alice", "elsewhere.example.com:1"]);
    assert_eq!(directory.look_up("alice"), "elsewhere.example.com:1");
    redis.command(&["DEL", "alice"]);
    assert_eq!(directory.look_up("alice"), "null");
    assert!(counts(
        &directory,
        "atsign_directory_source_requests_total{source=\"redis\",result=\"found\"} 3"
    ));
}

#[test]
fn over_tls_the_certificate_of_redis_is_checked() {
    let redis = Redis::start();
    redis.command(&["SET", "alice", "alice.example.com:6464"]);
    let ca = redis.folder.path().join("ca.crt").display().to_string();
    let environment = [("ATSIGN_REDIS", redis.tls_url()), ("ATSIGN_REDIS_CA", ca)];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let trusting = Directory::with(&[], &environment);
    eventually("it is ready", || trusting.admin("/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(trusting.look_up("alice"), "alice.example.com:6464");

    let doubting = Directory::with(&[], &environment[..1]);
    eventually("it says so", || doubting.log().contains("Redis does not answer"));
    assert!(doubting.admin("/readyz").starts_with("HTTP/1.1 503"));
    assert_eq!(doubting.look_up("alice"), "");
}

#[test]
fn while_redis_is_away_what_it_said_lately_is_answered_and_nobody_hears_a_false_null() {
    let mut redis = Redis::start();
    redis.command(&["SET", "alice", "alice.example.com:6464"]);
    redis.command(&["SET", "bob", "bob.example.com:6464"]);
    let directory = directory(&redis);
    assert_eq!(directory.look_up("alice"), "alice.example.com:6464");
    redis.stop();
    assert_eq!(directory.look_up("alice"), "alice.example.com:6464");
    assert_eq!(directory.look_up("bob"), "", "never asked for: closed without an answer");
    assert!(counts(&directory, "atsign_directory_lookups_total{result=\"unavailable\"} 1"));
    assert!(counts(&directory, "atsign_directory_source_remembered_total{source=\"redis\"} 1"));

    redis.start_again();
    redis.command(&["SET", "bob", "bob.example.com:6464"]);
    eventually("it asks again", || directory.look_up("bob") == "bob.example.com:6464");
}

#[test]
fn a_record_that_is_no_address_is_not_sent_to_anybody() {
    let redis = Redis::start();
    redis.command(&["SET", "alice", "alice.example.com:1\r\nmallory.example.com:1"]);
    redis.command(&["LPUSH", "bob", "bob.example.com:1"]);
    let directory = directory(&redis);
    assert_eq!(directory.look_up("alice"), "");
    assert_eq!(directory.look_up("bob"), "");
}

#[test]
fn before_redis_first_answered_it_is_unready_and_the_password_is_in_no_log() {
    let mut redis = Redis::start();
    redis.stop();
    let directory = Directory::with(&[], &[("ATSIGN_REDIS", &redis.url())]);
    eventually("it says so", || directory.log().contains("Redis does not answer, waiting for it"));
    assert!(directory.admin("/readyz").starts_with("HTTP/1.1 503"));
    redis.start_again();
    eventually("it is ready", || directory.admin("/readyz").starts_with("HTTP/1.1 200"));
    assert!(!directory.log().contains(PASSWORD));
}
