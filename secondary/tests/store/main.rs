//! What the store promises, on real files.

mod damage;
mod notifications;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::{Field, MetadataChange};
use atsign_secondary::epoch::{TakeoverError, Term};
use atsign_secondary::store::{
    Change, Config, End, Operation, Page, SqliteStore, Store, StoreError, Top, Visit, open,
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
