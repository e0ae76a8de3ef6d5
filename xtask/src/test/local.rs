//! `cargo xtask local` as a developer uses it: started, used with the official SDK, ended by Ctrl-C, started again.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::host;
use crate::servers::repository;

/// Twice: first it makes keys, then it takes those that are there.
///
/// # Errors
/// The SDK does not get in, or what it wrote is gone the second time.
pub(super) fn the_sdk_logs_in_with_the_keys_files(python: &Path, servers: &Path) -> Result<()> {
    let state = tempfile::tempdir()?;
    let folder = state.path().join("atsign-operator/local");
    let home = state.path().join("home");
    std::fs::create_dir_all(home.join(".atsign"))?;
    std::os::unix::fs::symlink(folder.join("keys"), home.join(".atsign/keys"))?;
    let first_port = four_free_ports()?;
    let directory_port = (first_port + 3).to_string();

    for visit in 1..=2 {
        let mut local = Command::new(host::own_program()?)
            .args(["local", "--directory-port", &directory_port, "--first-port", &first_port.to_string()])
            .arg("--binaries")
            .arg(servers)
            .env("XDG_STATE_HOME", state.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(local.stdout.take().context("a pipe")?).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ctrl-C ends all of it")));
        let output = Command::new(python)
            .arg(repository().join("tests/sdk/login.py"))
            .args(["localhost", &directory_port])
            .env("SSL_CERT_FILE", folder.join("ca.crt"))
            .env("HOME", &home)
            .output();
        let pid = Pid::from_child(&local);
        // Where it has ended already, it did not become ready.
        let _ = kill_process(pid, Signal::INT);
        let ended = local.wait()?;
        ensure!(ready, "it does not come up");
        let output = output?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(out.trim_end().ends_with("ok"), "visit {visit}: the SDK failed:\n{out}\n{err}");
        ensure!(out.contains(&format!("@bob has been here {visit} times")), "visit {visit}: {out}");
        ensure!(ended.success(), "after Ctrl-C it ended with {ended}");
        for port in first_port..first_port + 4 {
            ensure!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "a server is left at port {port}");
        }
    }
    Ok(())
}

/// The first of four ports in a row that are free.
fn four_free_ports() -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (23_000..24_000).step_by(4).find(|&first| (first..first + 4).all(free)).context("no four ports are free")
}
