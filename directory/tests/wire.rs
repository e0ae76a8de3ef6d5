//! The directory as a client sees it: the binary, over TLS, byte by byte.

mod running;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use running::{Authority, Directory, Stream};

const ADDRESSES: &str = "alice alice.example.com:6464\n🛠bob bob.example.com:25000\n";

/// A directory of two atSigns, and a client that has read the banner.
fn client() -> (Directory, Stream) {
    let directory = Directory::of(ADDRESSES, &[]);
    let mut stream = directory.connect();
    assert_eq!(read(&mut stream, 1), "@", "the banner is one byte");
    (directory, stream)
}

fn read(stream: &mut Stream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("the directory answers");
    String::from_utf8(bytes).expect("UTF-8")
}

fn ask(stream: &mut Stream, line: &str, expected: &str) {
    stream.write_all(line.as_bytes()).expect("the directory listens");
    assert_eq!(read(stream, expected.len()), expected, "the answer to {line:?}");
}

/// That the directory closes the connection, and says nothing more before.
fn assert_closed(stream: &mut Stream) {
    let mut rest = Vec::new();
    // A close without TLS's goodbye is an error here, and a close.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[test]
fn an_address_comes_with_cr_lf_and_the_prompt() {
    let (_directory, mut stream) = client();
    for line in ["alice\n", "@alice\n", "ALICE\r\n", " alice \n"] {
        ask(&mut stream, line, "alice.example.com:6464\r\n@");
    }
    ask(&mut stream, "🛠bob\n", "bob.example.com:25000\r\n@");
}

#[test]
fn an_answer_is_one_tls_record() {
    let (_directory, mut stream) = client();
    stream.write_all(b"alice\n").expect("write");
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes).expect("read");
    assert_eq!(&bytes[..length], b"alice.example.com:6464\r\n@");
}

#[test]
fn blank_lines_are_answered_and_not_counted_as_unknown() {
    let (_directory, mut stream) = client();
    let start = Instant::now();
    for _ in 0..4 {
        ask(&mut stream, "\r\n", "null\r\n@");
    }
    ask(&mut stream, "nobody\n", "null\r\n@");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_line_ended_twice_gets_one_answer() {
    let (_directory, mut stream) = client();
    ask(&mut stream, "alice\n\n", "alice.example.com:6464\r\n@");
    ask(&mut stream, "🛠bob\n", "bob.example.com:25000\r\n@");
}

#[test]
fn the_second_unknown_at_sign_waits_three_seconds_and_the_third_gets_no_answer() {
    let (_directory, mut stream) = client();
    ask(&mut stream, "nobody\n", "null\r\n@");
    let start = Instant::now();
    ask(&mut stream, "nobody\n", "null\r\n@");
    assert!(start.elapsed() >= Duration::from_secs(3), "after {:?}", start.elapsed());
    stream.write_all(b"nobody\n").expect("write");
    assert_closed(&mut stream);
}

#[test]
fn exit_closes_without_an_answer_and_before_its_line_ends() {
    let (_directory, mut stream) = client();
    stream.write_all(b"@exit").expect("write");
    assert_closed(&mut stream);
}

#[test]
fn a_line_of_more_than_255_bytes_closes() {
    let (_directory, mut stream) = client();
    stream.write_all(&[b'a'; 256]).expect("write");
    assert_closed(&mut stream);
}

#[test]
fn a_silent_client_is_closed_when_its_time_is_up() {
    let directory = Directory::of(ADDRESSES, &["--idle-timeout", "1"]);
    let mut stream = directory.connect();
    assert_eq!(read(&mut stream, 1), "@");
    assert_closed(&mut stream);
}

#[test]
fn who_never_finishes_the_handshake_is_closed() {
    let directory = Directory::of(ADDRESSES, &["--handshake-timeout", "1"]);
    let mut plain = directory.connect_without_tls();
    let mut rest = Vec::new();
    assert_eq!(plain.read_to_end(&mut rest).expect("closed, not hanging"), 0);
}

#[test]
fn a_crowd_that_asks_nothing_does_not_keep_out_who_asks() {
    let directory = Directory::of(ADDRESSES, &["--max-connections", "3"]);
    let mut asker = directory.connect();
    assert_eq!(read(&mut asker, 1), "@");
    ask(&mut asker, "alice\n", "alice.example.com:6464\r\n@");
    let _crowd: Vec<_> = (0..10).map(|_| directory.connect_without_tls()).collect();
    ask(&mut asker, "alice\n", "alice.example.com:6464\r\n@");
    let mut late = directory.connect();
    assert_eq!(read(&mut late, 1), "@");
    ask(&mut late, "alice\n", "alice.example.com:6464\r\n@");
}

#[test]
fn questions_above_the_rate_are_answered_later() {
    let directory = Directory::of(ADDRESSES, &["--max-lookups-per-second", "10"]);
    let mut stream = directory.connect();
    assert_eq!(read(&mut stream, 1), "@");
    let start = Instant::now();
    for _ in 0..21 {
        ask(&mut stream, "alice\n", "alice.example.com:6464\r\n@");
    }
    assert!(start.elapsed() >= Duration::from_millis(800), "after {:?}", start.elapsed());
}

#[test]
fn questions_above_the_rate_of_an_address_are_answered_later_whatever_the_connection() {
    let directory = Directory::of(ADDRESSES, &["--max-lookups-per-second-per-address", "10"]);
    let start = Instant::now();
    for _ in 0..7 {
        let mut stream = directory.connect();
        assert_eq!(read(&mut stream, 1), "@");
        for _ in 0..3 {
            ask(&mut stream, "alice\n", "alice.example.com:6464\r\n@");
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(800), "after {:?}", start.elapsed());
    assert!(directory.admin("/metrics").contains("atsign_directory_lookups_slowed_total{limit=\"address\"}"));
}

#[test]
fn one_connection_too_many_of_an_address_ends_another_of_it() {
    let directory = Directory::of(ADDRESSES, &["--max-connections-per-address", "2"]);
    let mut clients = [(); 3].map(|()| {
        let mut stream = directory.connect();
        assert_eq!(read(&mut stream, 1), "@");
        stream
    });
    assert_closed(&mut clients[0]);
    ask(&mut clients[1], "alice\n", "alice.example.com:6464\r\n@");
    ask(&mut clients[2], "alice\n", "alice.example.com:6464\r\n@");
    let metrics = directory.admin("/metrics");
    assert!(
        metrics.contains("atsign_directory_connections_crowded_out_total{limit=\"address\"} 1"),
        "{metrics}"
    );
}

#[test]
fn the_file_is_read_again_when_it_changes_and_bad_lines_leave_what_was() {
    let (directory, mut stream) = client();
    directory.write_addresses("alice elsewhere.example.com:1\n");
    running::eventually("the new address is answered", || {
        stream.write_all(b"alice\n").is_ok() && {
            let mut bytes = [0; 64];
            let length = stream.read(&mut bytes).expect("read");
            &bytes[..length] == b"elsewhere.example.com:1\r\n@"
        }
    });
    directory.write_addresses("alice nowhere\n");
    running::eventually("the bad line is told", || {
        directory.log().contains("line 1: \\\"nowhere\\\" is no host:port")
    });
    ask(&mut stream, "alice\n", "elsewhere.example.com:1\r\n@");
}

#[test]
fn a_new_certificate_is_presented_without_a_restart() {
    let (directory, _stream) = client();
    let other = Authority::new();
    directory.present(&other);
    running::eventually("the new certificate is presented", || directory.try_connect(&other).is_ok());
}

#[test]
fn health_and_metrics_are_served_to_the_cluster() {
    let (directory, mut stream) = client();
    ask(&mut stream, "alice\n", "alice.example.com:6464\r\n@");
    ask(&mut stream, "nobody\n", "null\r\n@");
    assert!(directory.admin("/healthz").starts_with("HTTP/1.1 200"));
    assert!(directory.admin("/readyz").starts_with("HTTP/1.1 200"));
    let metrics = directory.admin("/metrics");
    for line in [
        "atsign_directory_lookups_total{result=\"found\"} 1",
        "atsign_directory_lookups_total{result=\"unknown\"} 1",
        "atsign_directory_connections 1",
        "atsign_directory_addresses 2",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in\n{metrics}");
    }
    assert!(directory.admin("/").starts_with("HTTP/1.1 404"));
}

#[test]
fn after_sigterm_it_is_unready_and_answers_until_it_has_drained() {
    let (mut directory, mut stream) = client();
    directory.terminate();
    running::eventually("it is unready", || directory.admin("/readyz").starts_with("HTTP/1.1 503"));
    ask(&mut stream, "alice\n", "alice.example.com:6464\r\n@");
    assert_eq!(directory.wait(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_does_not_end_it() {
    assert_eq!(Directory::unread(), Some(0));
}

#[test]
fn a_file_with_bad_lines_is_refused_at_start_with_their_numbers() {
    let (code, log) = Directory::refused("alice a:1\nbob\ncarol c\n");
    assert_eq!(code, Some(1));
    assert!(log.contains("line 2:") && log.contains("line 3:"), "{log}");
}
