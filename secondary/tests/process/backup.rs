//! Backups of a server that is written to, and restores of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atsign_secondary::backup::Manifest;

use crate::server::{Server, SmallVolume, Volume, names};
use crate::{LONG, SHORT, holds, update};

pub(crate) const TOKEN: &str = "70ken";

pub(crate) fn start(volume: &Volume) -> Server {
    start_for(volume, LONG)
}

pub(crate) fn start_for(volume: &Volume, term: &str) -> Server {
    fs::write(volume.path("token"), format!("{TOKEN}\n")).expect("write");
    let token = volume.path("token");
    let token = token.to_str().expect("a path");
    let mut server = volume.start_with(&[
        "--at-sign",
        "@alice",
        "--holder-id",
        "pod-1",
        "--lease-term",
        term,
        "--admin-token-file",
        token,
    ]);
    server.ready();
    server
}

fn run(arguments: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atsign-secondary"));
    command.args(arguments);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.output().expect("the program runs")
}

pub(crate) fn backup(volume: &Volume, server: &Server, more: &[&str]) -> Output {
    let admin = server.admin_address();
    let arguments = [&["backup", "--admin", &admin], more].concat();
    run(&arguments, &[("--admin-token-file", &volume.path("token"))])
}

pub(crate) fn manifest(output: &Output) -> Manifest {
    assert!(output.status.success(), "{}", error(output));
    serde_json::from_slice(&output.stdout).expect("a manifest")
}

pub(crate) fn restore(volume: &Volume, from: &str) -> Output {
    restore_as("job", volume, from)
}

fn restore_as(holder: &str, volume: &Volume, from: &str) -> Output {
    let arguments = ["restore", "-a", "@alice", "--holder-id", holder, "--lease-term", SHORT, "--from", from];
    run(&arguments, &[("--storage-dir", &volume.storage())])
}

pub(crate) fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn commit_id(answer: &str) -> i64 {
    let id = answer.strip_prefix("data:").and_then(|rest| rest.lines().next());
    id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no commit id: {answer:?}"))
}

pub(crate) fn only_backup(volume: &Volume) -> PathBuf {
    let backups = names(&volume.storage().join("backups"));
    assert_eq!(backups.len(), 1, "{backups:?}");
    volume.storage().join("backups").join(&backups[0])
}

#[test]
fn what_was_acknowledged_before_a_backup_comes_back_and_commit_ids_go_on_above_all_that_were_given() {
    let volume = Volume::new();
    let server = start(&volume);
    let mut owner = server.owner();
    // The server makes keys of its own while it serves already, and they take commit ids.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !owner.request("llookup:public:signing_publickey@alice").expect("an answer").starts_with("data:") {
        assert!(Instant::now() < deadline, "there are no signing keys");
        std::thread::sleep(Duration::from_millis(20));
    }
    update(&mut owner, "phone", "before").expect("update");
    owner.request("update:ttl:600000:ttr:60:@bob:email@alice secret").expect("update");
    owner.request("notify:@bob:told@alice:hello").expect("notify");
    let all_of = |command: &str| {
        let mut answer = server.owner().request(command).expect("an answer");
        answer.truncate(answer.rfind('\n').unwrap_or(0));
        answer
    };
    let metadata = all_of("llookup:all:@bob:email@alice");
    let before = manifest(&backup(&volume, &server, &[]));
    assert_eq!((before.at_sign.as_str(), before.epoch, before.counts.notifications), ("@alice", 1, 2));
    let log = all_of(&format!("sync:from:-1:limit:{}", before.counts.commits));

    let last = commit_id(&update(&mut owner, "phone", "after").expect("update"));
    update(&mut owner, "late", "1").expect("update");
    assert_eq!(server.stop(), Some(0));

    let restored = restore(&volume, "latest");
    assert!(restored.status.success(), "{}", error(&restored));
    assert_eq!(names(&volume.storage()), ["backups", "data-2", "epoch"]);

    let server = start(&volume);
    holds(&server, "phone", "before");
    let all_of = |command: &str| {
        let mut answer = server.owner().request(command).expect("an answer");
        answer.truncate(answer.rfind('\n').unwrap_or(0));
        answer
    };
    assert_eq!(all_of("llookup:all:@bob:email@alice"), metadata, "value and metadata");
    assert_eq!(all_of(&format!("sync:from:-1:limit:{}", before.counts.commits)), log, "the commit log");
    let mut owner = server.owner();
    let late = owner.request("llookup:late@alice").expect("an answer");
    assert!(late.starts_with("error:AT0015"), "{late}");
    let next = commit_id(&update(&mut owner, "phone", "again").expect("update"));
    assert_eq!(next, last + 2, "ids that clients have seen are not given again");
    let again = manifest(&backup(&volume, &server, &[]));
    assert_eq!((again.epoch, again.counts), (3, before.counts), "notifications, too");
}

#[test]
fn a_backup_under_16_writers_has_every_change_that_was_acknowledged_before_it_began() {
    let volume = Volume::new();
    let server = start(&volume);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut owner = server.owner();
    for number in 0..300 {
        update(&mut owner, &format!("key{number}"), &"v".repeat(2000)).expect("update");
    }
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (stop, acknowledged, mut owner) =
                (Arc::clone(&stop), Arc::clone(&acknowledged), server.owner());
            std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer =
                        update(&mut owner, &format!("w{writer}n{}", number % 50), "v").expect("update");
                    acknowledged.fetch_max(commit_id(&answer).unsigned_abs(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut last = 0;
    for _ in 0..3 {
        let before = acknowledged.load(Ordering::Relaxed);
        let made = manifest(&backup(&volume, &server, &["--keep", "2"]));
        assert!(made.commit_id.unsigned_abs() >= before, "{made:?} lacks change {before}");
        assert!(made.commit_id > last, "writes go on meanwhile");
        last = made.commit_id;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("a writer");
    }
    assert_eq!(names(&volume.storage().join("backups")).len(), 2, "--keep 2");
    server.stop();
    let restored = restore(&volume, "latest");
    assert!(restored.status.success(), "{}", error(&restored));
    let server = start(&volume);
    holds(&server, "key299", &"v".repeat(2000));
}

#[test]
fn who_does_not_show_the_token_gets_no_backup() {
    let volume = Volume::new();
    let server = start(&volume);
    fs::write(volume.path("other"), "wrong").expect("write");
    let admin = server.admin_address();
    let refused = run(&["backup", "--admin", &admin], &[("--admin-token-file", &volume.path("other"))]);
    assert_eq!(refused.status.code(), Some(69));
    assert!(error(&refused).contains("answers 401"), "{}", error(&refused));
    let missing = run(&["backup", "--admin", &admin], &[("--admin-token-file", &volume.path("nothing"))]);
    assert_eq!(missing.status.code(), Some(78), "{}", error(&missing));
    assert_eq!(server.get("/backup").0, 401);
    assert!(!volume.storage().join("backups").exists());
}

#[test]
fn a_restore_refuses_a_store_in_use_and_leaves_it_as_it_is() {
    let volume = Volume::new();
    let server = start_for(&volume, SHORT);
    update(&mut server.owner(), "phone", "1").expect("update");
    manifest(&backup(&volume, &server, &[]));
    update(&mut server.owner(), "phone", "2").expect("update");
    for holder in ["pod-1", "job"] {
        // With a term as short as the server's, its next renewal is soon.
        let refused = restore_as(holder, &volume, "latest");
        assert_eq!(refused.status.code(), Some(75), "{holder}: {}", error(&refused));
        assert!(error(&refused).contains("in use: pod-1 holds it"), "{}", error(&refused));
    }
    holds(&server, "phone", "2");
    assert_eq!(server.get("/readyz").0, 200);
}

#[test]
fn a_restore_waits_the_term_for_a_server_that_was_killed() {
    let volume = Volume::new();
    let server = start_for(&volume, SHORT);
    update(&mut server.owner(), "phone", "1").expect("update");
    manifest(&backup(&volume, &server, &[]));
    server.kill();
    let began = Instant::now();
    let restored = restore(&volume, "latest");
    assert!(restored.status.success(), "{}", error(&restored));
    assert!(began.elapsed() >= Duration::from_millis(1650), "it took {:?}", began.elapsed());
    assert!(error(&restored).contains("held by pod-1"), "{}", error(&restored));
    holds(&start(&volume), "phone", "1");
}

#[test]
fn a_store_that_is_damaged_or_gone_is_restored() {
    type Damage = fn(&Path);
    let table: [(&str, Damage); 3] = [
        ("overwritten", |data| fs::write(data.join("store.db"), vec![b'x'; 8192]).expect("write")),
        ("gone", |data| fs::remove_dir_all(data).expect("remove")),
        ("a new volume", |data| {
            fs::remove_dir_all(data).expect("remove");
            fs::remove_dir_all(data.with_file_name("epoch")).expect("remove");
        }),
    ];
    for (case, damage) in table {
        let volume = Volume::new();
        let server = start(&volume);
        let last = commit_id(&update(&mut server.owner(), "phone", "1").expect("update"));
        manifest(&backup(&volume, &server, &[]));
        server.stop();
        damage(&volume.storage().join("data-1"));
        let restored = restore(&volume, "latest");
        assert!(restored.status.success(), "{case}: {}", error(&restored));
        let server = start(&volume);
        holds(&server, "phone", "1");
        let next = commit_id(&update(&mut server.owner(), "phone", "2").expect("update"));
        assert!(next > last + 1_000_000 - 100, "{case}: nobody knows which ids were given, so not {next}");
    }
}

#[test]
fn a_backup_that_is_not_what_its_manifest_says_or_another_atsigns_is_refused() {
    let volume = Volume::new();
    let server = start(&volume);
    update(&mut server.owner(), "phone", "1").expect("update");
    manifest(&backup(&volume, &server, &[]));
    server.stop();
    let good = only_backup(&volume);
    let copy = |name: &str| {
        let copy = volume.path(name);
        fs::create_dir(&copy).expect("folder");
        for file in ["store.db", "manifest.json"] {
            fs::copy(good.join(file), copy.join(file)).expect("copy");
        }
        copy
    };
    let flipped = copy("flipped");
    let mut bytes = fs::read(flipped.join("store.db")).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(flipped.join("store.db"), bytes).expect("write");
    let refused = restore(&volume, flipped.to_str().expect("a path"));
    assert_eq!(refused.status.code(), Some(65), "{}", error(&refused));
    assert!(error(&refused).contains("checksum"), "{}", error(&refused));

    let other = copy("other");
    let text = fs::read_to_string(other.join("manifest.json")).expect("read");
    fs::write(other.join("manifest.json"), text.replace("@alice", "@bob")).expect("write");
    let refused = restore(&volume, other.to_str().expect("a path"));
    assert_eq!(refused.status.code(), Some(66), "{}", error(&refused));
    assert!(error(&refused).contains("of @bob, not of @alice"), "{}", error(&refused));

    let none = restore(&volume, "2020-01-01T00-00-00.000Z");
    assert_eq!(none.status.code(), Some(64), "{}", error(&none));
    assert_eq!(names(&volume.storage().join("epoch")), ["1", "1.seal"], "no epoch was taken");
    holds(&start(&volume), "phone", "1");
}

#[test]
fn the_backup_of_another_atsign_is_restored_by_force() {
    let (alice, bob) = (Volume::new(), Volume::new());
    let server = start(&alice);
    update(&mut server.owner(), "phone", "1").expect("update");
    manifest(&backup(&alice, &server, &[]));
    server.stop();
    let backup = only_backup(&alice);
    let from = backup.to_str().expect("a path");
    let arguments = ["restore", "-a", "@bob", "--from", from];
    let refused = run(&arguments, &[("--storage-dir", &bob.storage())]);
    assert_eq!(refused.status.code(), Some(66), "{}", error(&refused));
    let forced = run(&[&arguments[..], &["--force"]].concat(), &[("--storage-dir", &bob.storage())]);
    assert!(forced.status.success(), "{}", error(&forced));
    let mut server = bob.start_with(&["-a", "@bob"]);
    server.ready();
    let answer = server.stranger().request("lookup:phone@alice").expect("an answer");
    assert!(answer.starts_with("error:"), "{answer}");
}

#[test]
fn kill_9_in_the_middle_of_a_restore_leaves_the_old_store_or_the_new_one() {
    let volume = Volume::new();
    let server = start(&volume);
    let mut owner = server.owner();
    for number in 0..400 {
        update(&mut owner, &format!("key{number}"), &"v".repeat(20_000)).expect("update");
    }
    update(&mut owner, "phone", "old").expect("update");
    manifest(&backup(&volume, &server, &[]));
    update(&mut owner, "phone", "new").expect("update");
    server.stop();
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..5_u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_atsign-secondary"))
            .args([
                "restore",
                "-a",
                "@alice",
                "--from",
                "latest",
                "--holder-id",
                "job",
                "--lease-term",
                SHORT,
            ])
            .arg("--storage-dir")
            .arg(volume.storage())
            .spawn()
            .expect("the restore starts");
        std::thread::sleep(Duration::from_millis(round * 40));
        child.kill().expect("kill");
        child.wait().expect("wait");
        let mut server = volume.start("pod-1", SHORT);
        server.ready();
        let answer = crate::value(&mut server.owner(), "phone");
        let seen = answer.split(['\n', ':']).nth(1).unwrap_or_default().to_owned();
        assert!(matches!(seen.as_str(), "old" | "new"), "{answer:?}");
        *outcomes.entry(seen).or_insert(0) += 1;
        update(&mut server.owner(), "phone", "new").expect("update");
        holds(&server, "key399", &"v".repeat(20_000));
        server.stop();
    }
    assert!(outcomes.contains_key("new"), "no restore was killed early enough: {outcomes:?}");
}

#[test]
fn a_volume_without_room_gets_no_backup_and_says_so() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: mounting a small volume needs root");
        return;
    }
    let volume = Volume::new();
    let small = SmallVolume::mount(&volume.storage(), "4m");
    let server = start(&volume);
    update(&mut server.owner(), "large", &"x".repeat(1_500_000)).expect("update");
    let refused = backup(&volume, &server, &[]);
    assert_eq!(refused.status.code(), Some(69), "{}", error(&refused));
    assert!(error(&refused).contains("has no room"), "{}", error(&refused));
    assert!(names(&volume.storage().join("backups")).iter().all(|name| name.starts_with('.')));
    assert!(server.get("/metrics").1.contains("atsign_backup_failed 1"));
    holds(&server, "large", &"x".repeat(1_500_000));
    server.stop();
    drop(small);
}
