//! Backups as one stream: out of the server through its admin port, and back by standard input.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use atsign_secondary::backup::Manifest;

use crate::backup::{TOKEN, backup, error, manifest, only_backup, restore, start, start_for};
use crate::server::{Server, Volume};
use crate::{SHORT, holds, update};

/// A backup as the admin port sends it: the status, and what stands behind the head.
fn fetch(server: &Server, query: &str, token: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(server.admin_address()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    write!(stream, "GET /backup?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
        .expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end + 4);
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}, but {} bytes", body.len());
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body)
}

/// What becomes of standard input behind what was written to it.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It stays open: who pipes a backup in through the cluster may not be able to close it.
    StaysOpen,
    Ends,
}

/// A restore from standard input.
fn restore_stream(volume: &Volume, at_sign: &str, file: &[u8], then: Then) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_atsign-secondary"))
        .args(["restore", "-a", at_sign, "--holder-id", "job", "--lease-term", SHORT, "--from", "-"])
        .arg("--storage-dir")
        .arg(volume.storage())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the restore starts");
    let mut input = child.stdin.take().expect("its standard input");
    // One that refuses reads no more.
    let _ = input.write_all(file);
    let held = (then == Then::StaysOpen).then_some(input);
    let status = child.wait().expect("its end");
    drop(held);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().expect("stdout").read_to_end(&mut stdout).expect("read");
    child.stderr.take().expect("stderr").read_to_end(&mut stderr).expect("read");
    Output { status, stdout, stderr }
}

#[test]
fn a_backup_leaves_over_the_admin_port_as_one_file_and_comes_back_by_standard_input() {
    let volume = Volume::new();
    let server = start(&volume);
    let mut owner = server.owner();
    for number in 0..200 {
        update(&mut owner, &format!("key{number}"), &"v".repeat(2000)).expect("update");
    }
    let made = manifest(&backup(&volume, &server, &[]));
    let (status, file) = fetch(&server, &format!("name={}", made.name), TOKEN);
    assert_eq!(status, 200);
    let (line, store) = file.split_at(file.iter().position(|byte| *byte == b'\n').expect("a line") + 1);
    assert_eq!(Manifest::parse(line).expect("a manifest"), made);
    assert_eq!(store, fs::read(only_backup(&volume).join("store.db")).expect("read"));

    update(&mut owner, "key7", "after").expect("update");
    server.stop();
    let restored = restore_stream(&volume, "@alice", &file, Then::StaysOpen);
    assert!(restored.status.success(), "{}", error(&restored));
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(said.starts_with(&format!("restored {} of @alice: ", made.name)), "{said}");
    let server = start(&volume);
    holds(&server, "key7", &"v".repeat(2000));

    // The same by the name of a file, onto a volume that is new.
    let another = Volume::new();
    fs::write(another.path("alice.backup"), &file).expect("write");
    let restored = restore(&another, another.path("alice.backup").to_str().expect("a path"));
    assert!(restored.status.success(), "{}", error(&restored));
    holds(&start(&another), "key199", &"v".repeat(2000));
}

#[test]
fn only_who_shows_the_token_is_sent_a_backup_and_nothing_but_a_backup() {
    let volume = Volume::new();
    let server = start(&volume);
    let made = manifest(&backup(&volume, &server, &[]));
    for (query, token, status) in [
        (format!("name={}", made.name), "wrong", 401),
        ("name=../epoch".to_owned(), TOKEN, 400),
        ("name=2020-01-01T00-00-00.000Z".to_owned(), TOKEN, 404),
        (format!("name={}", made.name), TOKEN, 200),
    ] {
        let (found, body) = fetch(&server, &query, token);
        assert_eq!(found, status, "{query}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    }
}

#[test]
fn a_client_that_does_not_read_its_backup_keeps_nobody_from_the_admin_port() {
    let volume = Volume::new();
    let server = start(&volume);
    let mut owner = server.owner();
    for number in 0..40 {
        update(&mut owner, &format!("key{number}"), &"v".repeat(50_000)).expect("update");
    }
    let made = manifest(&backup(&volume, &server, &[]));
    let query = format!("name={}", made.name);
    let mut idle = TcpStream::connect(server.admin_address()).expect("connect");
    write!(idle, "GET /backup?{query} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n").expect("ask");
    idle.read_exact(&mut [0; 1]).expect("it is being sent");
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(fetch(&server, &query, TOKEN).0, 409, "one at a time");
    drop(idle);
    let deadline = Instant::now() + Duration::from_mins(1);
    while fetch(&server, &query, TOKEN).0 != 200 {
        assert!(Instant::now() < deadline, "its place is not free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stream_that_is_cut_off_changed_or_of_another_atsign_leaves_the_store_as_it_is() {
    let volume = Volume::new();
    let server = start_for(&volume, SHORT);
    update(&mut server.owner(), "phone", "1").expect("update");
    let made = manifest(&backup(&volume, &server, &[]));
    let (_, file) = fetch(&server, &format!("name={}", made.name), TOKEN);
    update(&mut server.owner(), "phone", "2").expect("update");
    let refused = restore_stream(&volume, "@alice", &file, Then::StaysOpen);
    assert_eq!(refused.status.code(), Some(75), "in use: {}", error(&refused));
    server.stop();

    let refused = restore_stream(&volume, "@bob", &file, Then::StaysOpen);
    assert_eq!(refused.status.code(), Some(66), "{}", error(&refused));
    let refused = restore_stream(&volume, "@alice", b"\0\0\n", Then::StaysOpen);
    assert_eq!(refused.status.code(), Some(64), "{}", error(&refused));
    let mut flipped = file.clone();
    *flipped.last_mut().expect("a byte") ^= 1;
    for (case, file) in [("cut off", &file[..file.len() - 1]), ("changed", &flipped)] {
        let refused = restore_stream(&volume, "@alice", file, Then::Ends);
        assert_eq!(refused.status.code(), Some(65), "{case}: {}", error(&refused));
        assert!(error(&refused).contains("the manifest says"), "{case}: {}", error(&refused));
    }
    holds(&start_for(&volume, SHORT), "phone", "2");
}
