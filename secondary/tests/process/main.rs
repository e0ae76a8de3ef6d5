//! What the process promises: start, stop, crash, and who may have the store.

mod backup;
mod backup_stream;
mod faults;
mod server;

use std::fs;
use std::time::Duration;

use atsign_secondary::epoch::files::{EpochFiles, Identity, data_name};
use atsign_tests::client::Client;
use rustix::process::Signal;

use server::{Server, Volume, names};

/// Long enough that no test sees it end.
const LONG: &str = "60";
/// As short as a loaded machine can renew in time.
const SHORT: &str = "1.5";

fn update(client: &mut Client, key: &str, value: &str) -> anyhow::Result<String> {
    client.request(&format!("update:{key}@alice {value}"))
}

fn value(client: &mut Client, key: &str) -> String {
    client.request(&format!("llookup:{key}@alice")).expect("an answer")
}

fn holds(server: &Server, key: &str, expected: &str) {
    let answer = value(&mut server.owner(), key);
    assert!(answer.starts_with(&format!("data:{expected}\n")), "{key}: {answer:?}");
}

#[test]
fn kill_9_during_updates_loses_none_that_was_acknowledged() {
    let volume = Volume::new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..8 {
        let mut server = volume.start("pod-1", LONG);
        let took = server.ready();
        assert!(took < Duration::from_secs(5), "the same pod must not wait for the term, but took {took:?}");
        let mut client = server.owner();
        let writer = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                let key = format!("r{round}n{number}");
                match update(&mut client, &key, &format!("value{number}")) {
                    Ok(answer) if answer.starts_with("data:") => acknowledged.push(key),
                    _ => break,
                }
            }
            acknowledged
        });
        std::thread::sleep(Duration::from_millis(150 + 70 * round));
        server.kill();
        acknowledged.extend(writer.join().expect("the writer"));
    }
    assert!(acknowledged.len() > 50, "only {} updates were acknowledged", acknowledged.len());

    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let mut client = server.owner();
    for key in &acknowledged {
        let number = key.rsplit_once('n').expect("a number").1;
        let answer = value(&mut client, key);
        assert!(answer.starts_with(&format!("data:value{number}\n")), "{key} is lost: {answer:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn who_waits_is_alive_says_who_holds_the_store_and_starts_at_once_after_a_clean_stop() {
    let volume = Volume::new();
    let mut first = volume.start("pod-1", LONG);
    first.ready();
    update(&mut first.owner(), "phone", "1").expect("update");

    let mut second = volume.start("pod-2", LONG);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(second.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, reason) = second.get("/readyz");
    assert_eq!(status, 503);
    assert!(reason.contains("held by pod-1 since 2"), "{reason}");
    assert_eq!(first.get("/readyz").0, 200, "who waits does not disturb");

    assert_eq!(first.stop(), Some(0));
    let took = second.ready();
    assert!(took < Duration::from_secs(5), "a released store was waited for {took:?}");
    holds(&second, "phone", "1");
    assert_eq!(names(&volume.storage().join("epoch")), ["1", "1.seal", "2", "2.seal"]);
    assert!(volume.storage().join("data-1").exists(), "a released store is gone on with in place");
}

#[test]
fn another_pod_takes_over_by_a_copy_after_the_term() {
    let volume = Volume::new();
    let mut first = volume.start("pod-1", SHORT);
    first.ready();
    for number in 0..200 {
        update(&mut first.owner(), &format!("key{}", number % 20), &number.to_string()).expect("update");
    }
    first.kill();
    let mut second = volume.start("pod-2", SHORT);
    let took = second.ready();
    assert!(took >= Duration::from_millis(1650), "the term is to be waited for, but it took {took:?}");
    for number in 180..200 {
        holds(&second, &format!("key{}", number % 20), &number.to_string());
    }
    assert_eq!(names(&volume.storage()), ["data-2", "epoch"]);
}

#[test]
fn a_holder_that_the_operator_attests_dead_is_not_waited_for() {
    let volume = Volume::new();
    let mut first = volume.start("pod-1", LONG);
    first.ready();
    update(&mut first.owner(), "phone", "1").expect("update");
    first.kill();

    let limits = volume.path("config");
    fs::create_dir(&limits).expect("folder");
    let limits_dir = limits.to_str().expect("a path");
    let mut second = volume.start_with(&["-a", "@alice", "--holder-id", "pod-2", "--limits-dir", limits_dir]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(second.get("/readyz").0, 503);
    fs::write(limits.join("limits.json"), r#"{"deadHolders":["pod-1"]}"#).expect("write");
    second.ready();
    holds(&second, "phone", "1");
}

#[test]
fn a_late_holder_is_fenced_acknowledges_nothing_and_changes_nothing() {
    let volume = Volume::new();
    let mut late = volume.start("pod-1", SHORT);
    late.ready();
    let (mut writer, mut reader) = (late.owner(), late.owner());
    update(&mut writer, "phone", "before").expect("update");

    late.signal(Signal::STOP);
    let mut successor = volume.start("pod-2", SHORT);
    successor.ready();
    holds(&successor, "phone", "before");
    update(&mut successor.owner(), "phone", "after").expect("update");

    // They wait in its sockets until it wakes up.
    writer.send(b"update:phone@alice too late\n").expect("send");
    reader.send(b"llookup:phone@alice\n").expect("send");
    late.signal(Signal::CONT);
    for client in [&mut writer, &mut reader] {
        let answer = client.rest().unwrap_or_default();
        assert!(!answer.contains("data:"), "a late holder answered {answer:?}");
    }
    assert_eq!(late.ended(), Some(75), "{}", late.log());
    holds(&successor, "phone", "after");
}

#[test]
fn a_late_holder_that_nobody_talks_to_ends_too() {
    let volume = Volume::new();
    let mut late = volume.start("pod-1", SHORT);
    late.ready();
    late.signal(Signal::STOP);
    let mut successor = volume.start("pod-2", SHORT);
    successor.ready();
    late.signal(Signal::CONT);
    assert_eq!(late.ended(), Some(75), "{}", late.log());
    assert_eq!(successor.get("/readyz").0, 200);
}

#[test]
fn an_epoch_that_was_never_completed_is_skipped() {
    let volume = Volume::new();
    let mut first = volume.start("pod-1", SHORT);
    first.ready();
    update(&mut first.owner(), "phone", "1").expect("update");
    first.kill();
    // A contender that died while it copied.
    let files = EpochFiles::open(&volume.storage()).expect("open");
    let identity = Identity {
        token: "died".to_owned(),
        holder: "pod-2".to_owned(),
        at_sign: "@alice".to_owned(),
        data: data_name(2),
        since: 0,
    };
    files.claim(2, &identity).expect("claim").expect("ours");
    fs::create_dir(volume.storage().join("data-2")).expect("folder");
    fs::write(volume.storage().join("data-2/store.db"), "half a copy").expect("write");

    let mut third = volume.start("pod-3", SHORT);
    third.ready();
    holds(&third, "phone", "1");
    assert_eq!(names(&volume.storage()), ["data-3", "epoch"]);
}

#[test]
fn sigterm_ends_it_with_0_and_refuses_new_commands() {
    let volume = Volume::new();
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let mut idle = server.owner();
    update(&mut idle, "phone", "1").expect("update");
    assert_eq!(server.stop(), Some(0));
    assert!(idle.rest().is_ok(), "the connection is closed in order");
    assert!(!volume.storage().join("data-1/store.db-wal").exists(), "the store was closed");
}

#[test]
fn each_refusal_to_start_has_its_exit_code_and_names_what_is_wrong() {
    let volume = Volume::new();
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let busy = server.get("/usage");
    assert!(busy.1.contains(r#""holder":"pod-1","epoch":1"#), "{busy:?}");
    server.stop();

    let mut other = volume.start_with(&["-a", "@bob"]);
    assert_eq!(other.ended(), Some(66));
    assert!(other.log().contains("holds the data of @alice"), "{}", other.log());

    let mut senseless = volume.start_with(&["-a", "@alice", "--lease-term", "soon"]);
    assert_eq!(senseless.ended(), Some(64));

    let mut unknown = volume.start_with(&["--unknown"]);
    assert_eq!(unknown.ended(), Some(64));

    fs::write(volume.path("cram"), "").expect("write");
    let mut secretless = volume.start_with(&["-a", "@alice", "--holder-id", "pod-1"]);
    assert_eq!(secretless.ended(), Some(78), "{}", secretless.log());
    assert!(secretless.log().contains("there is no secret in it"), "{}", secretless.log());

    fs::write(volume.path("tls.crt"), "not a certificate").expect("write");
    let mut uncertified = volume.start_with(&["-a", "@alice", "--holder-id", "pod-1"]);
    assert_eq!(uncertified.ended(), Some(78));
    assert!(uncertified.log().contains("tls.crt"), "{}", uncertified.log());
}

#[test]
fn a_damaged_store_is_refused_with_65_by_the_name_of_its_file() {
    let volume = Volume::new();
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    server.stop();
    fs::write(volume.storage().join("data-1/store.db"), vec![b'x'; 16384]).expect("damage");
    let mut damaged = volume.start("pod-1", LONG);
    assert_eq!(damaged.ended(), Some(65));
    assert!(damaged.log().contains("data-1/store.db"), "{}", damaged.log());
}

#[test]
fn the_secret_is_trimmed_never_logged_and_the_admin_port_tells_usage_and_metrics() {
    let volume = Volume::new();
    let logs = volume.path("logs");
    let mut server = volume.start_with(&[
        "-a",
        "@alice",
        "--log-dir",
        logs.to_str().expect("a path"),
        "--log-level",
        "trace",
        "--memory-limit",
        "6Mi",
    ]);
    server.ready();
    update(&mut server.owner(), "phone", "1").expect("update");

    let (status, usage) = server.get("/usage");
    let usage: atsign_protocol::Usage = serde_json::from_str(&usage).expect("usage");
    assert_eq!((status, usage.limit, usage.epoch, usage.activated), (200, 6 << 20, 1, false));
    assert!(
        usage.keys >= 2 && usage.store_bytes > 0 && usage.anon > 0 && usage.tls_not_after > 0,
        "{usage:?}"
    );
    let metrics = server.get("/metrics").1;
    for line in ["atsign_ready 1", "atsign_epoch 1", "atsign_store_commit_seconds_bucket{le=\"+Inf\"} "] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(server.get("/nothing").0, 404);
    assert_eq!(server.get(&format!("/healthz?{}", "x".repeat(2000))).0, 431);

    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let log = server.log();
    let file = fs::read_to_string(logs.join("secondary.log")).expect("the log's file");
    for text in [&log, &file] {
        assert!(text.contains("\"serving\""), "{text}");
        assert!(!text.contains(server::SECRET), "the secret was logged");
    }
}

#[test]
fn a_full_volume_refuses_changes_keeps_the_process_alive_and_recovers_by_itself() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: mounting a small volume needs root");
        return;
    }
    let volume = Volume::new();
    let small = server::SmallVolume::mount(&volume.storage(), "4m");
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let mut client = server.owner();
    update(&mut client, "phone", "1").expect("update");

    fs::write(volume.storage().join("filler"), vec![0; 4 << 20]).expect_err("more than there is room for");
    let large = "x".repeat(500_000);
    let answer = update(&mut client, "large", &large).expect("an answer");
    assert!(answer.starts_with("error:"), "{answer:?}");
    let (status, reason) = server.get("/readyz");
    assert_eq!(status, 503, "{answer:?} {}", server.log());
    assert!(reason.contains("full"), "{reason}");
    assert_eq!(server.get("/healthz").0, 200);
    holds(&server, "phone", "1");

    fs::remove_file(volume.storage().join("filler")).expect("make room");
    server.ready();
    let answer = update(&mut server.owner(), "large", &large).expect("an answer");
    assert!(answer.starts_with("data:"), "{answer:?}");
    assert_eq!(server.stop(), Some(0));
    drop(small);
}

#[test]
fn a_deployment_of_the_reference_server_runs_as_it_is_and_hears_what_is_ignored() {
    let volume = Volume::new();
    let mut server = volume.start_as_the_reference_server(&[
        ("secondaryStoragePath", "storage/hive"),
        ("commitLogPath", "storage/commitLog"),
        ("inbound_idletime_millis", "1000"),
        ("authenticated_inbound_idletime_millis", "60000"),
        ("logLevel", "INFO"),
    ]);
    server.ready();
    let mut owner = server.owner();
    update(&mut owner, "phone", "1").expect("an answer");
    assert!(!names(&volume.path("storage/hive")).is_empty());
    let ignored = "commitLogPath (all data is in one store, in the storage directory)";
    assert!(server.log().contains(ignored), "{}", server.log());

    // Who has not proved who it is may be silent for a second, the owner for a minute.
    let mut stranger = server.stranger();
    assert_eq!(stranger.rest().expect("closed"), "");
    assert!(value(&mut owner, "phone").starts_with("data:1\n"));
}
