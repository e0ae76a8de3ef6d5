//! What was accepted for another atSign arrives, whatever happened to the volume meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use atsign_tests::volume::{Fault, FaultyVolume};

/// @alice on a volume that fails as it is told, and @bob, who does not answer at first.
struct Outage {
    volume: FaultyVolume,
    alice: Secondary,
    bob: Secondary,
    _network: Network,
    _folder: tempfile::TempDir,
}

impl Outage {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let volume = FaultyVolume::mount(folder.path())?;
        let network = Network::start()?;
        let bob = network.join("@bob")?;
        // Stopped, not killed: nobody else gets its ports.
        bob.signal("STOP")?;
        let alice = network.join_on(Some(folder.path()), "@alice", &["--holder-id", "pod-1"])?;
        Ok(Self { volume, alice, bob, _network: network, _folder: folder })
    }

    /// Has @alice accept a notification for @bob, and returns its id.
    fn accept(&self) -> Result<String> {
        let answer = self.alice.connect_as_owner()?.request("notify:@bob:news@alice:hello")?;
        let id = answer.strip_prefix("data:").and_then(|rest| rest.lines().next());
        Ok(id.with_context(|| format!("it was not accepted: {answer:?}"))?.to_owned())
    }

    /// Waits until @bob has it, and holds that he has it once.
    fn arrives_once(&self, id: &str) -> Result<()> {
        let mut bob = self.bob.connect_as_owner()?;
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let list = bob.request("notify:list")?;
            match list.matches(id).count() {
                0 => ensure!(Instant::now() < deadline, "it never arrives: {list}\n{}", self.alice.log()),
                count => {
                    ensure!(count == 1, "it arrived {count} times: {list}");
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: mounting a volume needs root");
    }
    root
}

#[test]
fn a_notification_that_was_accepted_is_delivered_after_the_power_was_lost() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let mut outage = Outage::new()?;
    let id = outage.accept()?;
    outage.volume.lose_power();
    outage.alice.kill()?;
    outage.volume.power_on(|| false)?;
    outage.bob.signal("CONT")?;
    outage.alice.start_again()?;
    outage.arrives_once(&id)
}

#[test]
fn a_notification_that_was_accepted_is_delivered_after_the_volume_failed_and_hung() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    // All at once: each of them waits most of the time.
    std::thread::scope(|scope| {
        let faults = [Fault::Broken(0), Fault::ReadOnly, Fault::Full, Fault::Hanging];
        let outages = faults.map(|fault| (fault, scope.spawn(move || delivered_after(fault))));
        for (fault, outage) in outages {
            let delivered = outage.join().ok().context("it panicked")?;
            delivered.with_context(|| format!("{fault:?}"))?;
        }
        Ok(())
    })
}

fn delivered_after(fault: Fault) -> Result<()> {
    let outage = Outage::new()?;
    let id = outage.accept()?;
    outage.volume.set(fault);
    outage.bob.signal("CONT")?;
    // Long enough for an attempt that fails.
    std::thread::sleep(Duration::from_secs(1));
    outage.volume.set(Fault::None);
    outage.arrives_once(&id)
}
