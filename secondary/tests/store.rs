//! What the store promises, on real files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::{Field, MetadataChange};
use atsign_secondary::epoch::{TakeoverError, Term};
use atsign_secondary::limits::Limits;
use atsign_secondary::store::notifications::{
    Details, Found, Kind, Notification, Outcome, Posting, Search, Status, Which,
};
use atsign_secondary::store::{
    Change, Config, End, Notifications as _, Operation, Page, SqliteStore, State, Store, StoreError, Top,
    Visit, open,
};
use tokio::sync::oneshot;

const NOW: i64 = 1_700_000_000_000;

struct Opened {
    store: SqliteStore,
    end: oneshot::Receiver<End>,
}

impl Opened {
    async fn stop(self) -> End {
        self.store.stop();
        self.end.await.expect("the thread says how it ended")
    }
}

fn config(storage: &Path, at_sign: &str, holder: &str) -> Config {
    Config {
        storage: storage.to_owned(),
        at_sign: at_sign.to_owned(),
        holder: holder.to_owned(),
        term: Term::new(Duration::from_millis(1500)),
        cache_kib: 256,
        meter: Arc::default(),
        dead: Box::new(Vec::new),
    }
}

async fn opened(storage: &Path, holder: &str) -> Opened {
    let opening = open(config(storage, "@alice", holder)).expect("a thread");
    let store = opening.store.await.expect("an answer").expect("the store");
    Opened { store, end: opening.end }
}

async fn refused(storage: &Path, at_sign: &str) -> TakeoverError {
    let opening = open(config(storage, at_sign, "pod-1")).expect("a thread");
    opening.store.await.expect("an answer").expect_err("this must not open")
}

fn put(key: &str, value: &str) -> Change {
    changed(key, Some(value), MetadataChange::default())
}

fn changed(key: &str, value: Option<&str>, metadata: MetadataChange) -> Change {
    Change::Put {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        metadata,
        operation: if value.is_some() { Operation::UpdateAll } else { Operation::UpdateMeta },
        committed: !key.starts_with("privatekey:"),
        by: "@alice".to_owned(),
        rationed: true,
    }
}

fn delete(key: &str) -> Change {
    Change::Delete { key: key.to_owned(), committed: true }
}

async fn value(store: &SqliteStore, key: &str) -> Option<String> {
    store.get(key).await.expect("an answer").and_then(|record| record.value)
}

#[tokio::test]
async fn commit_ids_start_at_0_grow_by_1_and_are_never_used_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), "pod-1").await;
    assert_eq!(first.store.last_commit(None).await.expect("last"), -1);
    assert_eq!(first.store.commit(put("a@alice", "1"), NOW).await.expect("commit"), 0);
    assert_eq!(first.store.commit(put("b@alice", "2"), NOW).await.expect("commit"), 1);
    assert_eq!(first.store.commit(put("privatekey:x", "3"), NOW).await.expect("commit"), -1);
    assert_eq!(first.store.commit(delete("b@alice"), NOW).await.expect("commit"), 2);
    assert_eq!(first.stop().await, End::Released);

    let second = opened(folder.path(), "pod-1").await;
    assert_eq!(second.store.last_commit(None).await.expect("last"), 2);
    assert_eq!(second.store.last_commit(Some("^a@".to_owned())).await.expect("last"), 0);
    assert_eq!(second.store.last_commit(Some("nothing".to_owned())).await.expect("last"), -1);
    assert_eq!(second.store.commit(put("a@alice", "4"), NOW).await.expect("commit"), 3);
    assert_eq!(second.stop().await, End::Released);
}

#[tokio::test]
async fn a_clean_restart_keeps_everything_and_starts_at_once_whoever_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), "pod-1").await;
    for number in 0..100 {
        first
            .store
            .commit(put(&format!("key{number}@alice"), &number.to_string()), NOW)
            .await
            .expect("commit");
    }
    assert_eq!(first.stop().await, End::Released);

    let began = std::time::Instant::now();
    let second = opened(folder.path(), "pod-2").await;
    assert!(began.elapsed() < Duration::from_millis(1500), "a released store must not wait for the term");
    assert_eq!(second.store.size().await.expect("size").0, 100);
    for number in 0..100 {
        assert_eq!(value(&second.store, &format!("key{number}@alice")).await, Some(number.to_string()));
    }
    second.stop().await;
}

#[tokio::test]
async fn a_refused_change_does_not_spoil_its_neighbours() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let immutable = MetadataChange { immutable: Field::Set(true), ..MetadataChange::default() };
    store.commit(changed("fixed@alice", Some("1"), immutable), NOW).await.expect("commit");

    // Sent together, so that they share a group.
    let (before, refusal, after) = tokio::join!(
        store.commit(put("before@alice", "1"), NOW),
        store.commit(put("fixed@alice", "2"), NOW),
        store.commit(put("after@alice", "3"), NOW),
    );
    assert_eq!((before.expect("before"), after.expect("after")), (1, 2), "a refusal takes no commit id");
    assert!(matches!(refusal, Err(StoreError::Refused(_))), "{refusal:?}");
    assert_eq!(value(&store, "fixed@alice").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "after@alice").await.as_deref(), Some("3"));
    store.stop();
    end.await.expect("end");
}

#[tokio::test]
async fn many_writers_share_fsyncs_and_each_gets_its_own_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let opening = open(config(folder.path(), "@alice", "pod-1")).expect("a thread");
    let store = opening.store.await.expect("an answer").expect("the store");
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = store.clone();
        writers.spawn(async move { store.commit(put(&format!("k{number}@alice"), "v"), NOW).await });
    }
    let mut ids = Vec::new();
    while let Some(id) = writers.join_next().await {
        ids.push(id.expect("task").expect("commit"));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..500).collect::<Vec<i64>>());
    let commits: u64 =
        opening.figures.commits.iter().map(|bucket| bucket.load(std::sync::atomic::Ordering::Relaxed)).sum();
    assert!(commits < 100, "500 changes took {commits} transactions");
    store.stop();
    opening.end.await.expect("end");
}

#[tokio::test]
async fn update_meta_keeps_the_value_and_may_make_a_record_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let ttr = MetadataChange { ttr: Field::Set(5), ..MetadataChange::default() };
    store.commit(put("a@alice", "1"), NOW).await.expect("commit");
    store.commit(changed("a@alice", None, ttr.clone()), NOW).await.expect("commit");
    store.commit(changed("b@alice", None, ttr), NOW).await.expect("commit");
    let a = store.get("a@alice").await.expect("get").expect("a record");
    assert_eq!((a.value.as_deref(), a.metadata.ttr, a.metadata.version), (Some("1"), Some(5), Some(1)));
    let b = store.get("b@alice").await.expect("get").expect("a record");
    assert_eq!((b.value, b.metadata.ttr), (None, Some(5)));
    store.stop();
    end.await.expect("end");
}

#[tokio::test]
async fn scan_gives_active_keys_in_order_page_by_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let now = jiff::Timestamp::now().as_millisecond();
    for key in ["public:c@alice", "a@alice", "public:a@alice", "public:b@alice", "😀@alice"] {
        store.commit(put(key, "v"), now).await.expect("commit");
    }
    let unborn = MetadataChange { ttb: Field::Set(60_000), ..MetadataChange::default() };
    store.commit(changed("public:later@alice", Some("v"), unborn), now).await.expect("commit");

    let page = Page { after: None, prefix: "public:".to_owned(), limit: 2 };
    assert_eq!(store.scan(page, now).await.expect("scan"), ["public:a@alice", "public:b@alice"]);
    let page = Page { after: Some("public:b@alice".to_owned()), prefix: "public:".to_owned(), limit: 2 };
    assert_eq!(store.scan(page, now).await.expect("scan"), ["public:c@alice"]);
    let all = store.scan(Page { limit: 100, ..Page::default() }, now).await.expect("scan");
    assert_eq!(all, ["a@alice", "public:a@alice", "public:b@alice", "public:c@alice", "😀@alice"]);
    assert!(
        store.get("public:later@alice").await.expect("get").is_some(),
        "who asks decides what an unborn key is"
    );
    store.stop();
    end.await.expect("end");
}

#[tokio::test]
async fn expired_keys_are_deleted_when_they_are_due_and_the_commit_log_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let now = jiff::Timestamp::now().as_millisecond();
    let short = MetadataChange { ttl: Field::Set(300), ..MetadataChange::default() };
    for number in 0..200 {
        store
            .commit(changed(&format!("k{number}@alice"), Some("v"), short.clone()), now)
            .await
            .expect("commit");
    }
    store.commit(changed("privatekey:challenge", Some("v"), short), now).await.expect("commit");
    store.commit(put("stays@alice", "v"), now).await.expect("commit");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(store.size().await.expect("size").0, 1, "no read was needed to delete them");
    assert_eq!(store.last_commit(None).await.expect("last"), 400, "200 puts, one that stays, 200 deletes");
    store.stop();
    end.await.expect("end");
}

#[tokio::test]
async fn a_value_of_ten_megabytes_is_kept_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let large = "x".repeat(10_000_000);
    store.commit(put("large@alice", &large), NOW).await.expect("commit");
    assert_eq!(value(&store, "large@alice").await, Some(large));
    store.stop();
    end.await.expect("end");
}

#[tokio::test]
async fn the_storage_of_another_atsign_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path(), "pod-1").await.stop().await;
    let error = refused(folder.path(), "@bob").await;
    assert!(matches!(error, TakeoverError::OtherAtSign { .. }), "{error}");
    assert!(error.to_string().contains("@alice") && error.to_string().contains("@bob"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name_and_never_replaced_by_an_empty_store() {
    type Damage = fn(&Path);
    let table: [(&str, Damage); 3] = [
        ("overwritten", |file| std::fs::write(file, vec![b'x'; 8192]).expect("write")),
        ("emptied", |file| std::fs::write(file, b"").expect("write")),
        ("removed", |file| std::fs::remove_file(file).expect("remove")),
    ];
    for (case, damage) in table {
        let folder = tempfile::tempdir().expect("a folder");
        let first = opened(folder.path(), "pod-1").await;
        first.store.commit(put("a@alice", "1"), NOW).await.expect("commit");
        first.stop().await;
        let file = folder.path().join("data-1/store.db");
        damage(&file);
        let error = refused(folder.path(), "@alice").await;
        assert!(matches!(error, TakeoverError::Damaged(_)), "{case}: {error:?}");
        assert!(error.to_string().contains("data-1/store.db"), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused_with_its_number() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path(), "pod-1").await.stop().await;
    rusqlite::Connection::open(folder.path().join("data-1/store.db"))
        .and_then(|connection| connection.pragma_update(None, "user_version", 9))
        .expect("change the version");
    let error = refused(folder.path(), "@alice").await;
    assert!(error.to_string().contains("schema 9"), "{error}");
}

#[tokio::test]
async fn lost_epoch_files_beside_data_are_an_error_and_not_an_empty_store() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path(), "pod-1").await.stop().await;
    std::fs::remove_dir_all(folder.path().join("epoch")).expect("remove");
    let error = refused(folder.path(), "@alice").await;
    assert!(matches!(error, TakeoverError::Damaged(_)), "{error:?}");
}

#[tokio::test]
async fn the_access_log_forgets_its_oldest_entries() {
    let folder = tempfile::tempdir().expect("a folder");
    let Opened { store, end } = opened(folder.path(), "pod-1").await;
    let lookup = |key: &str, at| Visit { at, at_sign: None, verb: "lookup", key: Some(key.to_owned()) };
    store.note(vec![lookup("first@alice", 1); 7]).await.expect("noted");
    assert_eq!(store.visits(Top::default()).await.expect("visits").keys, [("first@alice".to_owned(), 7)]);
    for round in 0..20 {
        store.note(vec![lookup("later@alice", round); 100]).await.expect("noted");
    }
    let visits = store.visits(Top::default()).await.expect("visits");
    assert_eq!(visits.keys, [("later@alice".to_owned(), 2000)]);
    assert_eq!(visits.last, Some(19));
    store.stop();
    end.await.expect("end");
}

/// Notifications expire then; the store looks at the real clock too.
const END: i64 = 4_000_000_000_000;

fn notification(kind: Kind, id: &str, other: &str) -> Notification {
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

fn posting(notification: Notification, change: Option<Change>) -> Posting {
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
