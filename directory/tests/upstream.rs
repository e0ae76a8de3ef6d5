//! Two directories: one asks the other for what it does not hold.

mod running;

use std::time::{Duration, Instant};

use running::{Directory, eventually};

/// A directory of @alice that asks `upstream` for others.
fn of_alice(upstream: &Directory, arguments: &[&str]) -> Directory {
    let (address, ca) = (upstream.address(), upstream.ca());
    let asks = ["--upstream", &address, "--upstream-ca", &ca, "--upstream-timeout", "2"];
    Directory::of("alice ours.example.com:6464\n", &[&asks[..], arguments].concat())
}

fn counts(directory: &Directory, line: &str) -> bool {
    directory.admin("/metrics").lines().any(|l| l == line)
}

#[test]
fn ours_is_answered_first_and_what_is_not_ours_comes_from_upstream() {
    let upstream = Directory::of("alice theirs.example.com:1\nbob bob.example.com:2\n", &[]);
    let directory = of_alice(&upstream, &[]);
    assert_eq!(directory.look_up("alice"), "ours.example.com:6464");
    assert_eq!(directory.look_up("@Bob"), "bob.example.com:2");
    assert_eq!(directory.look_up("nobody"), "null");
    assert!(counts(
        &directory,
        "atsign_directory_source_requests_total{source=\"upstream\",result=\"found\"} 1"
    ));
    assert!(counts(
        &directory,
        "atsign_directory_source_requests_total{source=\"upstream\",result=\"unknown\"} 1"
    ));
}

#[test]
fn answers_of_upstream_are_remembered_for_a_while() {
    let upstream = Directory::of("bob bob.example.com:2\n", &[]);
    let directory = of_alice(&upstream, &[]);
    for _ in 0..3 {
        assert_eq!(directory.look_up("bob"), "bob.example.com:2");
        assert_eq!(directory.look_up("nobody"), "null");
    }
    assert!(counts(&directory, "atsign_directory_source_remembered_total{source=\"upstream\"} 4"));
    assert!(counts(&upstream, "atsign_directory_lookups_total{result=\"found\"} 1"));
    assert!(counts(&upstream, "atsign_directory_lookups_total{result=\"unknown\"} 1"));
}

#[test]
fn one_connection_serves_many_questions() {
    let known: Vec<_> = (0..20).map(|n| format!("bob{n} bob{n}.example.com:2")).collect();
    let known = known.join("\n");
    let upstream = Directory::of(&known, &[]);
    let directory = of_alice(&upstream, &[]);
    for n in 0..20 {
        assert_eq!(directory.look_up(&format!("bob{n}")), format!("bob{n}.example.com:2"));
    }
    assert!(counts(&upstream, "atsign_directory_connections_accepted_total 1"));
}

#[test]
fn clients_who_ask_for_unknown_at_signs_do_not_make_upstream_slow_for_others() {
    let upstream = Directory::of("bob bob.example.com:2\n", &[]);
    let directory = of_alice(&upstream, &[]);
    let start = Instant::now();
    for n in 0..5 {
        assert_eq!(directory.look_up(&format!("nobody{n}")), "null");
    }
    assert_eq!(directory.look_up("bob"), "bob.example.com:2");
    assert!(start.elapsed() < Duration::from_secs(3), "upstream's delay was met: {:?}", start.elapsed());
}

#[test]
fn while_upstream_is_away_ours_is_answered_and_nobody_hears_a_false_null() {
    let upstream = Directory::of("bob bob.example.com:2\n", &[]);
    let directory = of_alice(&upstream, &[]);
    assert_eq!(directory.look_up("bob"), "bob.example.com:2");
    drop(upstream);
    assert_eq!(directory.look_up("alice"), "ours.example.com:6464");
    assert_eq!(directory.look_up("bob"), "bob.example.com:2");
    assert_eq!(directory.look_up("carol"), "", "closed without an answer");
    assert!(counts(&directory, "atsign_directory_lookups_total{result=\"unavailable\"} 1"));
    assert!(counts(
        &directory,
        "atsign_directory_source_requests_total{source=\"upstream\",result=\"failed\"} 1"
    ));
}

#[test]
fn upstream_may_close_a_kept_connection_and_is_asked_on_a_new_one() {
    let upstream =
        Directory::of("bob bob.example.com:2\ncarol carol.example.com:3\n", &["--idle-timeout", "1"]);
    let directory = of_alice(&upstream, &[]);
    assert_eq!(directory.look_up("bob"), "bob.example.com:2");
    eventually("upstream closed", || counts(&upstream, "atsign_directory_connections 0"));
    assert_eq!(directory.look_up("carol"), "carol.example.com:3");
}

#[test]
fn an_upstream_that_shows_a_strangers_certificate_is_not_believed() {
    let upstream = Directory::of("bob bob.example.com:2\n", &[]);
    let other = Directory::of("", &[]);
    let (address, ca) = (upstream.address(), other.ca());
    let directory = Directory::of("", &["--upstream", &address, "--upstream-ca", &ca]);
    assert_eq!(directory.look_up("bob"), "");
    eventually("it says why", || directory.log().contains("invalid peer certificate"));
}
