//! One's own atSign at home, by docs/self-hosting.md and its examples: the cluster's node is the machine in the house, a
//! router with NAT and the world outside are network namespaces around it.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::house::{DIRECTORY, House};
use atsign_tests::cluster::release::Upgraded;
use atsign_tests::cluster::sdk::{sdk, sdk_of, secret_file};
use atsign_tests::cluster::{Namespace, eventually, operator_ca};
use serde_json::json;

/// How soon a change of an AtSign, of a record or of an address is followed.
const SOON: Duration = Duration::from_secs(20);
/// What the router forwards, and where the server is.
const PORT: u16 = 30064;
/// The directory in the house: its port at the router, and at the machine.
const DIRECTORY_PORTS: (u16, u16) = (64, 30065);
/// How soon the node brings the directory the certificate for its new name.
const CERTIFICATE: Duration = Duration::from_mins(2);

/// As `ExternalDNS` does: makes the record of the name that a Service's annotations give, with the address that they give.
/// Returns once the world knows `wanted`.
fn follow(namespace: &Namespace, house: &House, wanted: &str) -> Result<()> {
    eventually("the record follows", SOON, || {
        let service = namespace.get("service", "alice")?;
        let annotation = |name: &str| {
            let annotations = &service["metadata"]["annotations"];
            let value = annotations[format!("external-dns.alpha.kubernetes.io/{name}")].as_str();
            value.with_context(|| format!("no annotation {name}: {annotations}"))
        };
        ensure!(annotation("ttl")? == "60", "a record that changes lives a minute");
        house.records(&[(annotation("hostname")?, annotation("target")?)])?;
        let found = house.resolved("alice.example.com")?;
        ensure!(found == wanted, "it is {found:?}");
        Ok(())
    })
}

/// The SDK on a phone without Wi-Fi, which asks the world's directory.
fn sdk_outside(house: &House, script: &str, home: &Path, arguments: &[&str]) -> Result<()> {
    sdk_outside_by(DIRECTORY, house, script, home, arguments)
}

/// The same with another directory.
fn sdk_outside_by(
    directory: (&str, &str),
    house: &House,
    script: &str,
    home: &Path,
    arguments: &[&str],
) -> Result<()> {
    sdk_of(|python| house.outside(python), &house.trusted(), directory, script, home, arguments)
}

/// What the server shows in the house.
fn certificate() -> Result<Vec<u8>> {
    Ok(Client::connect("alice.example.com", PORT, &operator_ca()?)?.certificate()?.to_vec())
}

#[test]
fn an_atsign_at_home_is_reached_from_the_world_and_from_the_sofa_follows_its_address_and_has_its_own_directory()
-> Result<()> {
    let address = format!("alice.example.com:{PORT}");
    let forwarded = [(PORT, PORT), DIRECTORY_PORTS];
    let mut house = House::new(Ipv4Addr::new(203, 0, 113, 7), &forwarded, ("alice", &address))?;
    let namespace = Namespace::new("house")?;
    namespace.apply_file("examples/self-host/alice.yaml")?;
    namespace.wait_for("alice", "Ready", "True")?;
    namespace.apply_file("examples/self-host/external-dns.yaml")?;
    follow(&namespace, &house, "203.0.113.7")?;
    let alice = namespace.wait_for("alice", "Ready", "True")?;
    assert_eq!(alice["status"]["address"], address);

    // From the world: the record, the port that the router forwards, the node's port, the certificate for the name.
    let home = tempfile::tempdir()?;
    let secret = secret_file(&namespace, "alice", home.path())?;
    sdk_outside(&house, "onboard.py", home.path(), &["@alice", &secret])?;
    // From the sofa: not by the outside address, for the router has no hairpin NAT; by the name, which leads to the machine.
    let outside = TcpStream::connect_timeout(&format!("203.0.113.7:{PORT}").parse()?, Duration::from_secs(2));
    ensure!(outside.is_err(), "the router let somebody inside come back in");
    sdk("login.py", home.path(), &["@alice"])?;

    // The provider gives another address. Who learns of it changes the annotation, and nothing else.
    let before = (namespace.pod("alice")?["metadata"]["uid"].clone(), certificate()?);
    house.moves_to(Ipv4Addr::new(203, 0, 113, 8))?;
    let lost = sdk_outside(&house, "login.py", home.path(), &["@alice"]);
    ensure!(lost.is_err(), "the old address still leads there");
    let target = json!({"external-dns.alpha.kubernetes.io/target": "203.0.113.8"});
    let patch = json!({"spec": {"expose": {"annotations": target}}}).to_string();
    namespace.kubectl(&["patch", "atsign", "alice", "--type", "merge", "-p", &patch])?;
    follow(&namespace, &house, "203.0.113.8")?;
    sdk_outside(&house, "login.py", home.path(), &["@alice"])?;
    let alice = namespace.wait_for("alice", "Ready", "True")?;
    assert_eq!(alice["status"]["address"], address);
    let after = (namespace.pod("alice")?["metadata"]["uid"].clone(), certificate()?);
    ensure!(before == after, "the server noticed something of the new address");

    // The page's values of the chart: the house's own directory is asked by the world, too. The public one is not here.
    let own = ("alice.example.com", &*DIRECTORY_PORTS.0.to_string());
    ensure!(sdk_outside_by(own, &house, "login.py", home.path(), &["@alice"]).is_err(), "it was open before");
    let _open = Upgraded::with("examples/self-host/values.yaml", "directory.upstream.address=")?;
    eventually("the house's directory answers with a certificate for its name", CERTIFICATE, || {
        sdk_outside_by(own, &house, "login.py", home.path(), &["@alice"])
    })
}
