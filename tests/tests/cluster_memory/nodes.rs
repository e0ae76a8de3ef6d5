//! A node that does not give a server what it needs: it is full, or says nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::memory::{Filler, Hasty, Limit, MI};
use atsign_tests::cluster::{Namespace, condition_of, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A value that a server of 6Mi has no room for, and one of 8Mi has.
const LARGE: usize = 900_000;

/// A server of 6Mi with a client that stays connected.
struct Server {
    namespace: Namespace,
    name: &'static str,
    pod: Value,
    limit: Limit,
    owner: Client,
}

impl Server {
    fn start(name: &'static str) -> Result<Self> {
        let namespace = Namespace::new(&format!("memory-{name}"))?;
        namespace.apply(&format!(
            "{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: {name}}}, spec: {{}}}}"
        ))?;
        namespace.wait_for(name, "Ready", "True")?;
        let pod = namespace.pod(name)?;
        let limit = Limit::of(&pod)?;
        ensure!(limit.bytes()? == 6 * MI, "it starts with {}", limit.bytes()?);
        let mut owner = namespace.log_in(name)?;
        let stored = owner.request(&format!("update:small.demo@{name} of old"))?;
        ensure!(stored.starts_with("data:"), "{stored}");
        Ok(Self { namespace, name, pod, limit, owner })
    }

    fn store_large(&mut self) -> Result<String> {
        self.owner.request(&format!("update:large.demo@{} {}", self.name, "v".repeat(LARGE)))
    }

    /// It cannot have what it needs, says so, and goes on.
    fn is_told_why(&mut self, reason: &str) -> Result<()> {
        let answer = self.store_large()?;
        ensure!(answer.starts_with("error:AT0005-"), "there was room: {answer}");
        let at_sign = self.namespace.wait_for(self.name, "ResizeBlocked", "True")?;
        let blocked = condition_of(&at_sign, "ResizeBlocked").context("the condition")?;
        ensure!(blocked["reason"] == reason, "{blocked}");
        ensure!(self.limit.bytes()? == 6 * MI, "its limit is {}", self.limit.bytes()?);
        let name = self.name;
        let answer = self.owner.request(&format!("llookup:small.demo@{name}"))?;
        ensure!(answer == format!("data:of old\n@{name}@"), "{answer}");
        Ok(())
    }

    /// The same server has what it needs, and nothing is wrong with it any more.
    fn has_grown(&mut self) -> Result<()> {
        self.limit.until(8 * MI, Duration::from_mins(2), &self.namespace)?;
        eventually("the server knows", Duration::from_secs(10), || {
            let answer = self.store_large()?;
            ensure!(answer.starts_with("data:"), "{answer}");
            Ok(())
        })?;
        eventually("nothing is said to be wrong", Duration::from_mins(1), || {
            let at_sign = self.namespace.get("atsign", self.name)?;
            for condition in ["ResizeBlocked", "MemoryPressure"] {
                let found = condition_of(&at_sign, condition);
                ensure!(found.is_none_or(|found| found["status"] != "True"), "{found:?}");
            }
            ensure!(at_sign["status"]["memory"]["current"] == "8Mi", "{}", at_sign["status"]["memory"]);
            Ok(())
        })?;
        let after = self.namespace.pod(self.name)?;
        ensure!(after["metadata"]["uid"] == self.pod["metadata"]["uid"], "the pod is another");
        ensure!(after["status"]["containerStatuses"][0]["restartCount"] == 0, "it was restarted");
        Ok(())
    }
}

/// The kubelet, stopped where it stands; it goes on when this is dropped.
struct StoppedKubelet(Pid);

impl StoppedKubelet {
    fn stop() -> Result<Self> {
        let state =
            std::env::var_os("ATSIGN_STATE").context("ATSIGN_STATE: run this by `cargo xtask test`")?;
        let file = Path::new(&state).join("kubelet.pid");
        let pid = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let pid = Pid::from_raw(pid.trim().parse()?).context("a process id")?;
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for StoppedKubelet {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_server_on_a_full_node_is_told_so_and_serves_on_and_grows_once_there_is_room() -> Result<()> {
    let _hasty = Hasty::operator(&["--memory-deferred-after=3"])?;
    let mut server = Server::start("stayer")?;
    let filler = Filler::of_the_node()?;
    server.is_told_why("NodeFull")?;
    drop(filler);
    server.has_grown()
}

#[test]
fn a_kubelet_that_stands_still_in_the_middle_of_a_resize_is_told_of_and_finishes_it_when_it_goes_on()
-> Result<()> {
    let _hasty = Hasty::operator(&["--memory-silent-after=5"])?;
    let mut server = Server::start("silent")?;
    let stopped = StoppedKubelet::stop()?;
    server.is_told_why("KubeletSilent")?;
    let asked = server.namespace.pod("silent")?;
    let asked = &asked["spec"]["containers"][0]["resources"]["limits"]["memory"];
    ensure!(asked == "8Mi", "in the middle of it 8Mi are asked for: {asked}");
    drop(stopped);
    server.has_grown()
}
