//! Damage is found, and nothing is lost over it in silence.

use std::path::Path;
use std::time::Duration;

use atsign_protocol::{Field, MetadataChange};
use atsign_secondary::epoch::TakeoverError;
use atsign_secondary::store::notifications::Kind;
use atsign_secondary::store::{End, Notifications as _, State, Store as _, open};

use crate::notifications::{notification, posting};
use crate::{NOW, Opened, changed, config, delete, opened, put, refused, value};

/// Overwrites what a closed store says of something, the way a bad disk does: its header stays.
fn rot(storage: &Path, what: &str) {
    let file = storage.join("data-1/store.db");
    let mut bytes = std::fs::read(&file).expect("read");
    let places: Vec<_> =
        (0..bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what.as_bytes())).collect();
    assert!(!places.is_empty(), "{what} is not there");
    for at in places {
        bytes[at..at + what.len()].fill(0xff);
    }
    std::fs::write(&file, bytes).expect("write");
}

async fn until(status: &atsign_secondary::store::Status, is: impl Fn(&State) -> bool) -> State {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let state = status.state();
        if is(&state) {
            return state;
        }
        assert!(std::time::Instant::now() < deadline, "{state:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn damage_that_opening_does_not_see_is_found_while_serving_and_the_store_is_only_read_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), "pod-1").await;
    for number in 0..500 {
        first.store.commit(put(&format!("k{number:03}@alice"), "value"), NOW).await.expect("commit");
    }
    first.stop().await;
    rot(folder.path(), "k250@alice");

    let opening = open(config(folder.path(), "@alice", "pod-1")).expect("a thread");
    let store = opening.store.await.expect("an answer").expect("it opens: its header is sound");
    let state = until(&opening.status, |state| matches!(state, State::Damaged { .. })).await;
    assert!(state.sentence().contains("only read until a backup is restored"), "{}", state.sentence());
    let refused = store.commit(put("new@alice", "1"), NOW).await.expect_err("nothing is written any more");
    assert!(refused.to_string().contains("damaged"), "{refused}");
    assert_eq!(value(&store, "k100@alice").await.as_deref(), Some("value"));
    store.stop();
    assert_eq!(opening.end.await.expect("end"), End::Released, "the next server can read it, too");

    let again = open(config(folder.path(), "@alice", "pod-2")).expect("a thread");
    let store = again.store.await.expect("an answer").expect("it opens");
    until(&again.status, |state| matches!(state, State::Damaged { .. })).await;
    assert_eq!(value(&store, "k100@alice").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_sound_store_is_looked_over_and_stays_writable() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), "pod-1").await;
    let later = MetadataChange { ttl: Field::Set(10_000_000), ..MetadataChange::default() };
    for number in 0..300 {
        let change = changed(&format!("k{number}@alice"), Some("v"), later.clone());
        first.store.commit(change, jiff::Timestamp::now().as_millisecond()).await.expect("commit");
        let id = number.to_string();
        first.store.post(posting(notification(Kind::Sent, &id, "@bob"), None), NOW).await.expect("posted");
    }
    first.store.commit(delete("k1@alice"), NOW).await.expect("commit");
    first.stop().await;
    let opening = open(config(folder.path(), "@alice", "pod-1")).expect("a thread");
    let store = opening.store.await.expect("an answer").expect("the store");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !opening.figures.looked_over.load(std::sync::atomic::Ordering::Relaxed) {
        assert!(std::time::Instant::now() < deadline, "{:?}", store.state());
        store.commit(put("busy@alice", "1"), NOW).await.expect("writes go on meanwhile");
    }
    assert!(matches!(store.state(), State::Serving { .. }), "{:?}", store.state());
}

#[tokio::test]
async fn a_log_whose_middle_is_damaged_is_refused_and_one_that_is_cut_short_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let crashed = || {
        let copy = tempfile::tempdir().expect("a folder");
        let status = std::process::Command::new("cp")
            .arg("-r")
            .arg(folder.path())
            .arg(copy.path().join("storage"))
            .status()
            .expect("cp");
        assert!(status.success());
        copy
    };
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    for number in 0..20 {
        store.commit(put(&format!("k{number}@alice"), "v"), NOW).await.expect("commit");
    }
    let (whole, damaged, cut) = (crashed(), crashed(), crashed());
    store.stop();
    end.await.expect("end");

    let log = |copy: &tempfile::TempDir| copy.path().join("storage/data-1/store.db-wal");
    let mut bytes = std::fs::read(log(&damaged)).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(log(&damaged), &bytes).expect("write");
    let error = refused(&damaged.path().join("storage"), "@alice").await;
    assert!(matches!(error, TakeoverError::Damaged(_)), "{error:?}");
    assert!(error.to_string().contains("of the log"), "{error}");

    let bytes = std::fs::read(log(&cut)).expect("read");
    std::fs::write(log(&cut), &bytes[..bytes.len() - 100]).expect("write");
    for (copy, keys) in [(&whole, 20), (&cut, 19)] {
        let opened = opened(&copy.path().join("storage"), "pod-1").await;
        assert_eq!(opened.store.size().await.expect("size").0, keys);
        opened.stop().await;
    }
}
