//! What is around a machine at home: a router that forwards a port, and the world behind it with a DNS and a directory of
//! its own. Each is a network namespace, which goes with the process that holds it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::operator_ca;
use crate::secondary::{Credentials, binary};

/// The machine: the cluster's node.
const MACHINE: &str = "10.11.0.1";
/// The router's address in the house.
const ROUTER: &str = "10.11.0.254";
/// What is outside, and the address of its DNS, of its directory, and of whoever is there.
const WORLD: &str = "203.0.113.0/24";
const STRANGER: &str = "203.0.113.1";

/// The world's directory.
pub const DIRECTORY: (&str, &str) = ("root.example.net", "64");

/// A network namespace.
struct Space(Child);

impl Space {
    fn new() -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().context("a pipe")?).read_line(&mut said)?;
        ensure!(said == "up\n", "no network namespace was made");
        Ok(Self(holder))
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id())).arg("--").arg(program);
        command
    }

    fn run(&self, words: &str) -> Result<()> {
        let mut words = words.split(' ');
        run(self.command(words.next().unwrap_or_default()).args(words))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The router and the world.
pub struct House {
    router: Space,
    world: Space,
    servers: Vec<Child>,
    folder: TempDir,
    outside: Ipv4Addr,
}

impl House {
    /// A router whose provider gave it an address, and which forwards ports of it to ports of the machine. The world's
    /// directory was told once where the atSign is.
    pub fn new(outside: Ipv4Addr, forwarded: &[(u16, u16)], (name, address): (&str, &str)) -> Result<Self> {
        let (router, world, folder) = (Space::new()?, Space::new()?, tempfile::tempdir()?);
        let mut house = Self { router, world, servers: Vec::new(), folder, outside };
        house.lay_cables()?;
        // As home routers do: what comes from outside to a forwarded port goes in, and what goes out has the router's
        // address. Who comes from inside by the outside address finds nobody: no hairpin NAT.
        let forwarded = forwarded.iter().map(|(port, to)| format!("{port} : {MACHINE} . {to}"));
        let forwarded = forwarded.collect::<Vec<_>>().join(", ");
        house.write(
            "nat",
            &format!(
                "table ip nat {{\n \
                 chain in {{ type nat hook prerouting priority dstnat; iifname wan fib daddr type local dnat to tcp dport map {{ {forwarded} }}; }}\n \
                 chain out {{ type nat hook postrouting priority srcnat; oifname wan masquerade; }}\n}}\n"
            ),
        )?;
        run(house.router.command("nft").arg("-f").arg(house.file("nat")))?;
        house.serve_names()?;
        house.serve_addresses(name, address)?;
        Ok(house)
    }

    fn lay_cables(&self) -> Result<()> {
        let (router, world) = (&self.router, &self.world);
        here(&format!("ip link add lan-router type veth peer name lan netns {}", router.0.id()))?;
        here("ip link set lan-router master node0 up")?;
        router.run(&format!("ip address add {ROUTER}/24 dev lan"))?;
        router.run("ip link set lan up")?;
        router.run(&format!("ip link add wan type veth peer name eth0 netns {}", world.0.id()))?;
        router.run(&format!("ip address add {}/24 dev wan", self.outside))?;
        router.run("ip link set wan up")?;
        run(router.command("sh").args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]))?;
        world.run(&format!("ip address add {STRANGER}/24 dev eth0"))?;
        world.run("ip link set eth0 up")?;
        // For a machine in a house this is the default route.
        here(&format!("ip route replace {WORLD} via {ROUTER}"))
    }

    /// CoreDNS for the world, with the records that a test writes.
    fn serve_names(&mut self) -> Result<()> {
        self.write("resolv.conf", &format!("nameserver {STRANGER}\n"))?;
        self.records(&[])?;
        let records = self.file("records");
        self.write(
            "Corefile",
            &format!(".:53 {{\n errors\n hosts {} {{\n  reload 200ms\n  ttl 1\n }}\n}}\n", records.display()),
        )?;
        let programs = std::env::var_os("ATSIGN_CLUSTER_BIN");
        let programs = programs.context("ATSIGN_CLUSTER_BIN: run this by `cargo xtask test`")?;
        let mut command = self.server(PathBuf::from(programs).join("coredns"));
        command.arg("-conf").arg(self.file("Corefile"));
        self.start(command)
    }

    /// The world's directory.
    fn serve_addresses(&mut self, name: &str, address: &str) -> Result<()> {
        let credentials = Credentials::new()?;
        credentials.write_pair_for(DIRECTORY.0, self.folder.path())?;
        self.write("ca.crt", &format!("{}\n{}", operator_ca()?, credentials.authority()))?;
        self.write("addresses", &format!("{name} {address}\n"))?;
        let mut command = self.server(binary("atsign-directory")?);
        command.args(["--listen", &format!("{STRANGER}:{}", DIRECTORY.1)]);
        for (flag, file) in [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key"), ("--file", "addresses")] {
            command.arg(flag).arg(self.file(file));
        }
        self.start(command)
    }

    /// A server in the world. It dies with the test.
    fn server(&self, program: PathBuf) -> Command {
        let mut command = self.world.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    fn start(&mut self, mut command: Command) -> Result<()> {
        let log = std::fs::File::create(self.file(&format!("log-{}", self.servers.len())))?;
        let started = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        self.servers.push(started.with_context(|| format!("{command:?}"))?);
        Ok(())
    }

    /// Certificates that somebody out there trusts: the file.
    pub fn trusted(&self) -> PathBuf {
        self.file("ca.crt")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// By rename: whoever reads it finds the one or the other.
    fn write(&self, name: &str, content: &str) -> Result<()> {
        std::fs::write(self.file("new"), content)?;
        Ok(std::fs::rename(self.file("new"), self.file(name))?)
    }

    /// The provider gives the router another address.
    pub fn moves_to(&mut self, outside: Ipv4Addr) -> Result<()> {
        self.router.run(&format!("ip address del {}/24 dev wan", self.outside))?;
        self.router.run(&format!("ip address add {outside}/24 dev wan"))?;
        self.outside = outside;
        Ok(())
    }

    /// What the world's DNS answers from now on, beside the directory's: names and their addresses.
    pub fn records(&self, records: &[(&str, &str)]) -> Result<()> {
        let all = records.iter().chain(&[(DIRECTORY.0, STRANGER)]);
        let lines = all.map(|(name, address)| format!("{address} {name}"));
        self.write("records", &lines.collect::<Vec<_>>().join("\n"))
    }

    /// The address that somebody out there finds for a name.
    pub fn resolved(&self, name: &str) -> Result<String> {
        let found = self.outside("getent").args(["ahostsv4", name]).output()?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        Ok(found.split(' ').next().unwrap_or_default().to_owned())
    }

    /// A command of somebody out there, who asks the world's DNS. The resolv.conf is nobody else's, in a mount namespace
    /// which goes when the command ends.
    pub fn outside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.world.command("unshare");
        command
            .args(["--mount", "--propagation", "slave", "--", "sh", "-c"])
            .arg(r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#)
            .arg(self.file("resolv.conf"))
            .arg(program);
        command
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = here(&format!("ip route del {WORLD}"));
    }
}

/// On the machine: the test runs there.
fn here(words: &str) -> Result<()> {
    let mut words = words.split(' ');
    run(Command::new(words.next().unwrap_or_default()).args(words))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
