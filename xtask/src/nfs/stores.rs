//! Our own server's store on real NFS: what it acknowledged is there, whoever dies or hangs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::history::History;
use atsign_tests::secondary::Secondary;
use atsign_tests::soak::pick;
use rustix::process::Signal;

use super::Server;
use crate::servers;

/// The lease of the servers here, seconds.
const TERM: &str = "3";

const AT_SIGN: &str = "@alice";

/// A check of a server on a folder of a mount, and what may be done to the server of the volume.
type Check = fn(&Path, &Path, &Server) -> Result<()>;

/// Runs all checks, each in a folder of its own of a mount, and returns how many passed.
pub(super) fn check(mount: &Path, nfs: &Server) -> Result<u64> {
    let program = servers::build_secondary_for_tests()?;
    let checks: [(&str, Check); 3] = [
        ("killed", kill_9_under_16_writers_loses_and_halves_nothing),
        ("crashes", a_server_goes_on_when_its_nfs_server_was_killed),
        ("hangs", a_server_outlives_a_nfs_server_that_hangs_for_longer_than_the_term),
    ];
    let mut passed = 0;
    for (name, check) in checks {
        let storage = mount.join(name);
        fs::create_dir(&storage)?;
        check(&program, &storage, nfs).with_context(|| format!("a store on NFS, {name}"))?;
        passed += 1;
    }
    Ok(passed)
}

/// A folder of the export in which anybody may write: root is squashed.
pub(super) fn folder(export: &Path) -> Result<PathBuf> {
    let folder = export.join("stores");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
    Ok(folder)
}

fn start(program: &Path, storage: &Path) -> Result<Secondary> {
    Secondary::start_on(program, storage, AT_SIGN, &["--holder-id", "pod-1", "--lease-term", TERM])
}

fn kill_9_under_16_writers_loses_and_halves_nothing(
    program: &Path,
    storage: &Path,
    _: &Server,
) -> Result<()> {
    let mut server = start(program, storage)?;
    let mut history = History::new(AT_SIGN);
    for round in 0..pick(4, 1000) {
        let clients = (0..16).map(|_| server.connect_as_owner()).collect::<Result<_>>()?;
        let load = history.load(clients);
        load.progress(1)?;
        sleep(Duration::from_millis(round * 67 % 301));
        server.restart()?;
        history.add(load)?;
        history.check(&mut server.connect_as_owner()?)?;
    }
    let checked = history.check(&mut server.connect_as_owner()?)?;
    ensure!(checked.unanswered > 0, "nobody was interrupted: {checked:?}");
    Ok(())
}

fn a_server_goes_on_when_its_nfs_server_was_killed(
    program: &Path,
    storage: &Path,
    nfs: &Server,
) -> Result<()> {
    let mut server = start(program, storage)?;
    let mut history = History::new(AT_SIGN);
    let load = history.lasting_load(16, server.connector());
    for _ in 0..pick(2, 100) {
        load.progress(50)?;
        ensure!(nfs.signal(Signal::KILL), "the NFS server does not run");
        // Its write verifier is the second in which it starts: another run, another second.
        sleep(Duration::from_millis(1100));
        nfs.start()?;
    }
    load.progress(50)?;
    load.stop();
    history.add(load)?;
    history.check(&mut server.connect_as_owner()?)?;
    server.restart()?;
    history.check(&mut server.connect_as_owner()?)?;
    Ok(())
}

fn a_server_outlives_a_nfs_server_that_hangs_for_longer_than_the_term(
    program: &Path,
    storage: &Path,
    nfs: &Server,
) -> Result<()> {
    let mut server = start(program, storage)?;
    let mut history = History::new(AT_SIGN);
    for _ in 0..pick(1, 20) {
        let load = history.lasting_load(4, server.connector());
        load.progress(20)?;
        ensure!(nfs.signal(Signal::STOP), "the NFS server does not run");
        let hung = outlives(&server);
        nfs.signal(Signal::CONT);
        hung?;
        load.progress(20).context("it recovers by itself")?;
        load.stop();
        history.add(load)?;
        history.check(&mut server.connect_as_owner()?)?;
        ensure!(server.admin_status("/readyz")? == 200, "it answers and is not ready");
    }
    server.restart()?;
    history.check(&mut server.connect_as_owner()?)?;
    Ok(())
}

/// Whether the server is alive and says that it is not ready, also once its lease is over.
fn outlives(server: &Secondary) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        ensure!(server.admin_status("/healthz")? == 200, "it does not say that it is alive");
        sleep(Duration::from_millis(200));
    }
    let status = server.admin_status("/readyz")?;
    ensure!(status == 503, "its volume hangs, and /readyz says {status}");
    Ok(())
}
