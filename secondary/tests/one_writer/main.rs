//! One writer, on real files: several real servers on one volume, stopped at each step of a take-over and continued.
//!
//! Where `NODE_A` and `NODE_B` are set they are two mounts of one NFS export, and the servers run on both in turn.

#[path = "../process/server.rs"]
#[allow(dead_code, reason = "the tests of the process use more of it")]
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atsign_secondary::epoch::files::EpochFiles;
use atsign_tests::client::Client;
use rustix::process::Signal;

use server::{Server, Volume, names};

/// Seconds: as short as a loaded machine can renew in time.
const TERM: &str = "1.5";

/// A step of a take-over by the second server, as others see it on the volume.
struct Step {
    name: &'static str,
    done: fn(&Path) -> bool,
}

const STEPS: [Step; 7] = [
    Step {
        name: "its claim is written",
        // It has that name for a moment only, which a look may miss.
        done: |storage| {
            names(&storage.join("epoch")).iter().any(|name| name.starts_with(".new-") || name == "2")
        },
    },
    Step { name: "the number is taken", done: |storage| storage.join("epoch/2").exists() },
    Step { name: "its own seal is made", done: |storage| storage.join("epoch/2.seal").exists() },
    Step {
        name: "the first is sealed",
        done: |storage| std::fs::read(storage.join("epoch/1.seal")).is_ok_and(|seal| seal.contains(&b'S')),
    },
    Step { name: "the folder is made", done: |storage| storage.join("data-2").exists() },
    Step { name: "the copy is begun", done: |storage| storage.join("data-2/store.db").exists() },
    Step {
        name: "it is complete",
        done: |storage| {
            let epoch = EpochFiles::open(storage).and_then(|files| files.read(2));
            epoch.is_ok_and(|epoch| epoch.is_some_and(|epoch| epoch.complete))
        },
    },
];

/// The volume as each node sees it.
struct Nodes {
    volume: Volume,
    mounts: [PathBuf; 2],
}

impl Nodes {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let volume = Volume::new();
        let mounts = match (std::env::var_os("NODE_A"), std::env::var_os("NODE_B")) {
            (Some(a), Some(b)) => {
                let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
                std::fs::create_dir(Path::new(&a).join(&name)).expect("a folder on the export");
                [a, b].map(|mount| Path::new(&mount).join(&name))
            }
            _ => [volume.storage(), volume.storage()],
        };
        Self { volume, mounts }
    }

    /// A server of a pod on one of the nodes.
    fn start(&self, node: usize, pod: &str) -> Server {
        let storage = self.mounts[node].to_str().expect("a path");
        self.volume.start_on(storage, &["-a", "@alice", "--holder-id", pod, "--lease-term", TERM])
    }
}

/// What was acknowledged, with the epoch of who did.
type History = Arc<Mutex<Vec<(String, &'static str)>>>;

/// Writes to a server until it no longer answers, and notes each acknowledgement.
fn write(mut client: Client, by: &'static str, history: &History, enough: &AtomicBool) {
    for number in 0.. {
        if enough.load(Ordering::Acquire) {
            return;
        }
        let key = format!("{by}n{number}");
        match client.request(&format!("update:{key}@alice {by}")) {
            Ok(answer) if answer.starts_with("data:") => history.lock().expect("history").push((key, by)),
            _ => return,
        }
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_mins(2), "{what} does not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The first server is stopped while it writes; the second takes over and is stopped at a step; the third takes over.
/// Then both wake up. Nothing that anybody acknowledged is missing, and neither of the two answers any more.
fn stopped_at(step: &Step) {
    let nodes = Nodes::new();
    let history = History::default();
    let mut first = nodes.start(0, "pod-1");
    first.ready();
    let enough = Arc::new(AtomicBool::new(false));
    let writes_to = |server: &Server, by| {
        let (client, history, enough) = (server.owner(), Arc::clone(&history), Arc::clone(&enough));
        std::thread::spawn(move || write(client, by, &history, &enough))
    };
    let early = writes_to(&first, "first");
    wait_for("a write of the first", || history.lock().expect("history").len() >= 20);
    first.signal(Signal::STOP);

    let second = nodes.start(1, "pod-2");
    wait_for(step.name, || (step.done)(&nodes.mounts[1]));
    second.signal(Signal::STOP);

    let mut third = nodes.start(0, "pod-3");
    third.ready();
    let late = writes_to(&third, "third");
    first.signal(Signal::CONT);
    second.signal(Signal::CONT);
    let by_third =
        |history: &History| history.lock().expect("history").iter().filter(|(_, by)| *by == "third").count();
    wait_for("a write of the third", || by_third(&history) >= 20);

    assert_eq!(first.ended(), Some(75), "{}: the first was fenced: {}", step.name, first.log());
    let before = history.lock().expect("history").len();
    // The second is fenced where it believed to hold the store, and goes on waiting where it did not.
    assert_ne!(second.get("/readyz").0, 200, "{}: two are ready", step.name);
    wait_for("one more write of the third", || history.lock().expect("history").len() > before);
    enough.store(true, Ordering::Release);
    early.join().expect("the writer");
    late.join().expect("the writer");

    let mut owner = third.owner();
    for (key, by) in history.lock().expect("history").iter() {
        let answer = owner.request(&format!("llookup:{key}@alice")).expect("an answer");
        assert!(answer.starts_with(&format!("data:{by}\n")), "{}: {key} is lost: {answer:?}", step.name);
    }
}

#[test]
fn whoever_is_stopped_at_whichever_step_one_writes_and_nothing_acknowledged_is_lost() {
    // One after the other: so many servers at once would take ports from each other.
    for step in &STEPS {
        stopped_at(step);
    }
}

/// A pod stops cleanly, another goes on in place on another node and is killed, and the first node takes a copy: what it
/// remembers of the files that it once removed must not be believed.
#[test]
fn a_node_that_closed_the_store_finds_what_another_wrote_in_place_and_died() {
    let nodes = Nodes::new();
    let mut first = nodes.start(0, "pod-1");
    first.ready();
    first.owner().request("update:before@alice 1").expect("update");
    assert_eq!(first.stop(), Some(0));

    let mut second = nodes.start(1, "pod-2");
    second.ready();
    second.owner().request("update:after@alice 2").expect("update");
    assert!(nodes.mounts[1].join("data-1").exists(), "it goes on in place");
    second.kill();

    let mut third = nodes.start(0, "pod-3");
    third.ready();
    let mut owner = third.owner();
    for (key, value) in [("before", "1"), ("after", "2")] {
        let answer = owner.request(&format!("llookup:{key}@alice")).expect("an answer");
        assert!(answer.starts_with(&format!("data:{value}\n")), "{key}: {answer:?}");
    }
}
