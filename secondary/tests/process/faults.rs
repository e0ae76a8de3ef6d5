//! Volumes that fail, and servers that are killed: what was acknowledged is there afterwards, whole.

use std::time::{Duration, Instant};

use atsign_tests::history::History;
use atsign_tests::soak::pick;
use atsign_tests::volume::{Fault, FaultyVolume};

use crate::server::{Server, Volume};
use crate::{LONG, holds, update};

/// Numbers that look random and are the same in every run: what a test did can be done again.
struct Dice(u64);

impl Dice {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Tells why a test that needs root does nothing; everything else here fails without.
fn mounted(volume: &Volume) -> Option<FaultyVolume> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: mounting a volume needs root");
        return None;
    }
    Some(FaultyVolume::mount(&volume.storage()).expect("a volume"))
}

fn owners(server: &Server, count: usize) -> Vec<atsign_tests::client::Client> {
    (0..count).map(|_| server.owner()).collect()
}

/// Waits until the server is unready for a reason that contains `words`.
fn unready(server: &Server, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, reason) = server.get("/readyz");
        if status == 503 && reason.contains(words) {
            return;
        }
        assert!(Instant::now() < deadline, "{status} {reason}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn kill_9_at_random_instants_under_16_writers_loses_and_halves_nothing() {
    let volume = Volume::new();
    let mut history = History::new("@alice");
    let mut dice = Dice(1);
    for _ in 0..pick(5, 1000) {
        let mut server = volume.start("pod-1", LONG);
        server.ready();
        history.check(&mut server.owner()).expect("everything that was acknowledged");
        let load = history.load(owners(&server, 16));
        load.progress(1).expect("it writes");
        std::thread::sleep(Duration::from_millis(dice.below(300)));
        server.kill();
        history.add(load).expect("the writers");
    }
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let checked = history.check(&mut server.owner()).expect("everything that was acknowledged");
    assert!(checked.acknowledged > 100 && checked.unanswered > 0, "{checked:?}");
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged() {
    let volume = Volume::new();
    let Some(mut disk) = mounted(&volume) else { return };
    let mut history = History::new("@alice");
    let mut dice = Dice(2);
    for round in 0..pick(6, 200) {
        let mut server = volume.start("pod-1", LONG);
        server.ready();
        history.check(&mut server.owner()).expect("everything that was acknowledged");
        let load = history.load(owners(&server, 8));
        load.progress(1).expect("it writes");
        std::thread::sleep(Duration::from_millis(dice.below(300)));
        disk.lose_power();
        server.kill();
        history.add(load).expect("the writers");
        // Nothing, everything or any part of what was not synced had reached the disk.
        disk.power_on(|| match round % 3 {
            0 => false,
            1 => true,
            _ => dice.below(2) == 0,
        })
        .expect("the power is back");
    }
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let checked = history.check(&mut server.owner()).expect("everything that was acknowledged");
    assert!(checked.acknowledged > 50, "{checked:?}");
    server.stop();
}

#[test]
fn an_error_of_the_volume_at_any_operation_is_told_survived_and_loses_nothing() {
    let volume = Volume::new();
    let Some(disk) = mounted(&volume) else { return };
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let mut history = History::new("@alice");
    for operation in 0..pick(12, 200) {
        let load = history.lasting_load(4, server.connector());
        load.progress(1).expect("it writes");
        disk.set(Fault::Once(operation));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !disk.has_failed() {
            assert!(Instant::now() < deadline, "operation {operation} never comes");
            std::thread::sleep(Duration::from_millis(1));
        }
        load.progress(20).expect("it goes on by itself");
        load.stop();
        history.add(load).expect("the writers");
        server.ready();
        history.check(&mut server.owner()).expect("everything that was acknowledged");
    }
    disk.set(Fault::None);
    assert_eq!(server.stop(), Some(0));
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let checked = history.check(&mut server.owner()).expect("also after a restart");
    assert!(checked.acknowledged > 100, "{checked:?}");
    server.stop();
}

#[test]
fn a_volume_that_is_read_only_full_or_broken_makes_it_unready_and_it_recovers_by_itself() {
    let volume = Volume::new();
    let Some(disk) = mounted(&volume) else { return };
    let mut server = volume.start("pod-1", LONG);
    server.ready();
    let mut reader = server.owner();
    for (fault, words) in [(Fault::ReadOnly, ""), (Fault::Full, "full"), (Fault::Broken(0), "")] {
        let (mut first, mut second) = (server.owner(), server.owner());
        update(&mut first, "phone", "before").expect("update");
        disk.set(fault);
        for client in [&mut first, &mut second] {
            let refused = update(client, "phone", &"x".repeat(20_000)).expect("an answer");
            assert!(refused.starts_with("error:AT0002"), "{fault:?}: {refused:?}");
        }
        unready(&server, words);
        assert_eq!(server.get("/healthz").0, 200, "{fault:?}");
        if fault == Fault::Full {
            let read = crate::value(&mut reader, "phone");
            assert!(read.starts_with("data:before\n"), "reads go on: {read:?}");
        }
        disk.set(Fault::None);
        server.ready();
        holds(&server, "phone", "before");
        let told = update(&mut server.owner(), "phone", "after").expect("an answer");
        assert!(told.starts_with("data:"), "{fault:?}: {told:?}");
        holds(&server, "phone", "after");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_waits_for_a_volume_that_is_read_only_when_it_starts() {
    let volume = Volume::new();
    let Some(disk) = mounted(&volume) else { return };
    disk.set(Fault::ReadOnly);
    let mut server = volume.start("pod-1", LONG);
    unready(&server, "Read-only");
    assert_eq!(server.get("/healthz").0, 200);
    disk.set(Fault::None);
    server.ready();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_volume_that_hangs_costs_errors_not_the_process_and_what_was_refused_is_not_done_later() {
    let volume = Volume::new();
    let Some(disk) = mounted(&volume) else { return };
    let mut server = volume.start("pod-1", "3");
    server.ready();
    let (mut first, mut second, mut reader) = (server.owner(), server.owner(), server.owner());
    update(&mut first, "phone", "before").expect("update");
    disk.set(Fault::Hanging);
    first.send(b"update:phone@alice begun\n").expect("send");
    // The store's thread waits for the volume with the first; the second waits for the thread.
    std::thread::sleep(Duration::from_millis(500));
    second.send(b"update:email@alice refused\n").expect("send");
    for client in [&mut first, &mut second] {
        let answer = client.answer().expect("an answer in the term");
        assert!(answer.starts_with("error:AT0002"), "{answer:?}");
    }
    let answer = crate::value(&mut reader, "phone");
    assert!(answer.starts_with("error:AT0002"), "nobody knows whose the store is: {answer:?}");
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/readyz").0, 503);
    disk.set(Fault::None);
    server.ready();
    let answer = crate::value(&mut server.owner(), "email");
    assert!(answer.starts_with("error:AT0015"), "it was refused, and is done later: {answer:?}");
    let told = update(&mut server.owner(), "email", "again").expect("an answer");
    assert!(told.starts_with("data:"), "{told:?}");
    assert_eq!(server.stop(), Some(0));
}
