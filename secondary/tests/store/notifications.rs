//! Notifications in the store: told once, in order, and not more of them than there is room for.

use atsign_secondary::limits::Limits;
use atsign_secondary::store::notifications::{
    Details, Found, Kind, Notification, Outcome, Posting, Search, Status, Which,
};
use atsign_secondary::store::{Change, End, Notifications as _, SqliteStore, StoreError};

use crate::{NOW, delete, opened, put, value};

/// Notifications expire then; the store looks at the real clock too.
const END: i64 = 4_000_000_000_000;

pub(crate) fn notification(kind: Kind, id: &str, other: &str) -> Notification {
    let (sender, recipient) = if kind == Kind::Sent { ("@alice", other) } else { (other, "@alice") };
    Notification {
        seq: 0,
        id: id.to_owned(),
        kind,
        sender: sender.to_owned(),
        recipient: recipient.to_owned(),
        at: NOW,
        expires_at: END,
        status: if kind == Kind::Sent { Status::Queued } else { Status::Delivered },
        notifier: "SYSTEM".to_owned(),
        key: format!("{recipient}:{id}{sender}"),
        details: Details::default(),
        value: None,
    }
}

async fn read(store: &SqliteStore, which: Which) -> Option<Notification> {
    store.notification(which, u64::MAX).await.expect("an answer").and_then(Found::notification)
}

fn to_bob(now: i64) -> Which {
    Which::ToSend { recipient: "@bob".into(), now }
}

pub(crate) fn posting(notification: Notification, change: Option<Change>) -> Posting {
    Posting { notification, change, tells_of_change: false, rationed: true }
}

#[tokio::test]
async fn a_notification_that_is_received_again_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    let receive = async |value| {
        let change = put("cached:@alice:x@bob", value);
        let posting = posting(notification(Kind::Received, "1", "@bob"), Some(change));
        opened.store.post(posting, NOW).await.expect("posted").new
    };
    assert!(receive("first").await);
    assert!(!receive("again").await);
    assert_eq!(value(&opened.store, "cached:@alice:x@bob").await.as_deref(), Some("first"));
    // Another sender may have chosen the same id.
    let other = posting(notification(Kind::Received, "1", "@carol"), None);
    assert!(opened.store.post(other, NOW).await.expect("posted").new);
}

#[tokio::test]
async fn one_sender_cannot_fill_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    for number in 0..1010 {
        let posting = posting(notification(Kind::Received, &number.to_string(), "@bob"), None);
        opened.store.post(posting, NOW).await.expect("posted");
    }
    let search = Search { after: 0, since: 0, now: NOW, own: false };
    let first = read(&opened.store, Which::Received(search)).await.expect("a notification");
    assert_eq!(first.id, "10");
}

#[tokio::test]
async fn of_a_notification_that_is_larger_than_asked_for_only_its_size_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    let mut large = notification(Kind::Sent, "1", "@bob");
    large.value = Some("v".repeat(100_000));
    let bytes = (large.key.len() + 100_000) as u64;
    opened.store.post(posting(large, None), NOW).await.expect("posted");
    for which in [Which::Named("1".into()), to_bob(NOW)] {
        let found = opened.store.notification(which.clone(), bytes - 1).await.expect("an answer");
        assert!(matches!(found, Some(Found::Larger(told)) if told == bytes), "{which:?}");
        assert!(read(&opened.store, which).await.is_some());
    }
}

#[tokio::test]
async fn copies_that_one_atsign_tells_of_are_kept_until_they_are_too_much_and_others_have_their_own_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    let large = "x".repeat((1 << 20) - 1);
    let tell = async |number: usize, from: &str| {
        let key = format!("cached:@alice:k{number}{from}");
        let told = notification(Kind::Received, &number.to_string(), from);
        let posted = opened.store.post(posting(told, Some(put(&key, &large))), NOW).await.expect("posted");
        assert!(posted.new, "it is told in any case");
        value(&opened.store, &key).await.is_some()
    };
    for number in 0..16 {
        assert!(tell(number, "@bob").await, "{number}");
    }
    assert!(!tell(16, "@bob").await);
    assert!(tell(17, "@carol").await);
    let again =
        posting(notification(Kind::Received, "again", "@bob"), Some(put("cached:@alice:k0@bob", "y")));
    opened.store.post(again, NOW).await.expect("posted");
    assert_eq!(value(&opened.store, "cached:@alice:k0@bob").await.as_deref(), Some("y"));
    assert!(tell(18, "@bob").await, "there is room again");
}

#[tokio::test]
async fn what_another_atsign_tells_leaves_no_copy_over_a_limit_and_is_told_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    opened.store.set_quota(&Limits { keys: Some(1), ..Limits::default() });
    let tell = async |number: &str| {
        let key = format!("cached:@alice:k{number}@bob");
        let told = posting(notification(Kind::Received, number, "@bob"), Some(put(&key, "x")));
        assert!(opened.store.post(told, NOW).await.expect("posted").new);
        value(&opened.store, &key).await.is_some()
    };
    assert!(tell("1").await);
    assert!(!tell("2").await);
    assert!(value(&opened.store, "cached:@alice:k1@bob").await.is_some(), "a copy that is there stays");

    opened.store.set_quota(&Limits { storage_bytes: Some(1), ..Limits::default() });
    let told = posting(notification(Kind::Received, "3", "@bob"), None);
    let refused = opened.store.post(told, NOW).await.expect_err("the store is full");
    assert!(matches!(refused, StoreError::OverLimit(_)), "{refused}");
    let told = posting(notification(Kind::Received, "4", "@bob"), Some(delete("cached:@alice:k1@bob")));
    opened.store.post(told, NOW).await.expect("a deletion is taken");
}

#[tokio::test]
async fn what_the_server_tells_its_own_clients_is_found_by_who_asks_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = opened(folder.path(), "pod-1").await;
    let own = notification(Kind::Own, "1", "@alice");
    opened.store.post(posting(own, None), NOW).await.expect("posted");
    let search = |own| Search { after: 0, since: 0, now: NOW, own };
    assert!(read(&opened.store, Which::Received(search(false))).await.is_none());
    let found = read(&opened.store, Which::Received(search(true))).await.expect("it");
    assert_eq!(found.kind, Kind::Own);
}

#[tokio::test]
async fn what_waits_is_sent_in_order_until_it_expires_and_is_due_at_once_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), "pod-1").await;
    for id in ["1", "2"] {
        let posting = posting(notification(Kind::Sent, id, "@bob"), None);
        first.store.post(posting, NOW).await.expect("posted");
    }
    let store = &first.store;
    assert_eq!(store.due_recipients(false, 9, NOW).await.expect("an answer"), ["@bob"]);
    let next = read(store, to_bob(NOW)).await.expect("the first");
    assert_eq!(next.id, "1");
    let later = Outcome::Later { seq: next.seq, recipient: "@bob".into(), due: NOW + 200, pause: 200 };
    store.settle(later).await.expect("settled");
    assert!(store.due_recipients(true, 9, NOW).await.expect("an answer").is_empty());
    assert_eq!(store.next_due(NOW).await.expect("an answer"), Some(NOW + 200));
    assert_eq!(first.stop().await, End::Released);

    let second = opened(folder.path(), "pod-2").await;
    let store = &second.store;
    store.settle(Outcome::Started).await.expect("settled");
    assert_eq!(store.due_recipients(false, 9, NOW).await.expect("an answer"), ["@bob"]);
    store.settle(Outcome::Delivered(next.seq, "@bob".into())).await.expect("settled");
    let tried = read(store, Which::Named("1".into())).await.expect("still there");
    assert_eq!(tried.details.tries, 1);
    let next = read(store, to_bob(NOW)).await.expect("the second");
    assert_eq!(next.id, "2");
    assert!(read(store, to_bob(END)).await.is_none());
    assert!(store.due_recipients(false, 9, NOW).await.expect("an answer").is_empty());
    let expired = read(store, Which::Named("2".into())).await.expect("still there");
    assert_eq!(expired.status, Status::Expired);
}
