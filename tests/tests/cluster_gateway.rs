//! Many atSigns behind one address: Traefik reads the name that a client asks for, and passes the connection on as it is.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::gateway::{PORT, Traefik, behind, connect, gateway, log_in, published, stays};
use atsign_tests::cluster::sdk::{sdk, secret_file};
use atsign_tests::cluster::{Namespace, condition_of, eventually, operator_ca};

/// How long a server may take from nothing to be reached through a gateway.
const START: Duration = Duration::from_mins(2);
/// How long the gateway may take to hear of a pod that is ready.
const GATEWAY_LAG: Duration = Duration::from_secs(5);
/// How soon what changes at a Gateway is seen by who is behind it.
const SOON: Duration = Duration::from_secs(20);

/// Waits until the directory gives the address at the gateway. Until then it gives what it gave before; from then on the
/// server has the certificate for it, and the gateway leads there.
fn published_in_time(namespace: &Namespace, name: &str, before: Option<&str>) -> Result<()> {
    let (host, inside) = (format!("{name}.example.com"), namespace.host(name));
    let start = Instant::now();
    loop {
        let address = published(name)?;
        if address.as_deref() != before {
            assert_eq!(address, Some(format!("{host}:{PORT}")));
            break;
        }
        ensure!(
            start.elapsed() < START,
            "@{name} is not published: {}",
            namespace.get("atsign", name)?["status"]
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Client::connect_to(&format!("{inside}:6464"), &host, &operator_ca()?)
        .context("it was published before the server had a certificate for it")?;
    eventually("the gateway leads there", GATEWAY_LAG, || connect(name)).map(drop)
}

fn until_stalled(namespace: &Namespace, name: &str, reason: &str) -> Result<String> {
    eventually(&format!("AtSign {name} is {reason}"), SOON, || {
        let object = namespace.get("atsign", name)?;
        let stalled = condition_of(&object, "Stalled").context("no condition yet")?;
        ensure!(stalled["status"] == "True" && stalled["reason"] == reason, "{stalled}");
        Ok(stalled["message"].as_str().unwrap_or_default().to_owned())
    })
}

/// Has a server get a new certificate, and sees to it that nobody notices: who is connected stays so, who comes is let
/// in, and some time later sees the new one.
fn renewed(namespace: &Namespace, name: &str, connected: &mut Client) -> Result<()> {
    let before = connect(name)?.certificate()?;
    namespace.kubectl(&["delete", "secret", &format!("{name}-tls")])?;
    let start = Instant::now();
    let mut came = 0;
    loop {
        let shown = connect(name).with_context(|| format!("after {came} others"))?.certificate()?;
        came += 1;
        let stored = connected.request(&format!("update:visits.demo@{name} {came}"))?;
        ensure!(stored.starts_with("data:"), "{stored}");
        if shown != before {
            break;
        }
        ensure!(start.elapsed() < START, "{came} connections saw the old certificate");
        std::thread::sleep(Duration::from_millis(50));
    }
    let answer = connected.request(&format!("llookup:visits.demo@{name}"))?;
    ensure!(answer == format!("data:{came}\n@{name}@"), "{answer}");
    println!("@{name}: {came} connections until the new certificate, {:?}", start.elapsed());
    Ok(())
}

#[test]
fn two_atsigns_at_one_address_share_through_the_gateway_while_their_certificates_change() -> Result<()> {
    let _gateway = stays();
    let namespace = Namespace::new("gateway-two")?;
    namespace.apply_file("examples/gateway.yaml")?;
    for name in ["alice", "bob"] {
        published_in_time(&namespace, name, None)?;
        let at_sign = namespace.wait_for(name, "Ready", "True")?;
        assert_eq!(at_sign["status"]["address"], format!("{name}.example.com:{PORT}"));
        let route = namespace.get("tlsroute", name)?;
        for condition in ["Accepted", "ResolvedRefs"] {
            let parents = &route["status"]["parents"][0];
            let found =
                parents["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == condition);
            assert_eq!(found.context("Traefik says nothing")?["status"], "True", "{parents}");
        }
    }
    let gateway = namespace.get("gateway", "atsigns")?;
    assert_eq!(gateway["status"]["listeners"][0]["attachedRoutes"], 2);

    let mut alice = log_in(&namespace, "alice")?;
    let mut bob = log_in(&namespace, "bob")?;
    let nobody =
        Client::connect_to(&format!("alice.example.com:{PORT}"), "carol.example.com", &operator_ca()?);
    ensure!(nobody.is_err(), "a name that is nobody's was answered");

    let home = tempfile::tempdir()?;
    let secrets =
        [secret_file(&namespace, "alice", home.path())?, secret_file(&namespace, "bob", home.path())?];
    std::thread::scope(|scope| {
        let sharing =
            scope.spawn(|| sdk("share.py", home.path(), &["@alice", &secrets[0], "@bob", &secrets[1]]));
        renewed(&namespace, "alice", &mut alice)?;
        renewed(&namespace, "bob", &mut bob)?;
        sharing.join().ok().context("it panicked")?
    })
}

#[test]
fn a_gateway_that_is_not_there_is_asked_for_and_used_once_it_is() -> Result<()> {
    let _gateway = stays();
    let namespace = Namespace::new("gateway-none")?;
    // So far @dave was for the cluster only, and stays so.
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: dave}, spec: {}}")?;
    namespace.wait_for("dave", "Ready", "True")?;
    let inside = format!("{}:6464", namespace.host("dave"));
    namespace.apply(&behind("later", "dave"))?;
    let message = until_stalled(&namespace, "dave", "GatewayNotFound")?;
    for part in
        ["there is no Gateway gateway-none/later", "create it, or name another in spec.expose.gatewayRef"]
    {
        ensure!(message.contains(part), "{message}");
    }
    assert_eq!(published("dave")?.as_ref(), Some(&inside));

    namespace.apply(&gateway("later"))?;
    published_in_time(&namespace, "dave", Some(&inside))?;
    namespace.kubectl(&["delete", "gateway", "later"])?;
    until_stalled(&namespace, "dave", "GatewayNotFound")?;
    eventually("nobody is let in any more", SOON, || {
        ensure!(connect("dave").is_err(), "Traefik serves a Gateway that is gone");
        Ok(())
    })?;
    namespace.apply(&gateway("later"))?;
    namespace.wait_for("dave", "Ready", "True")?;
    eventually("@dave is reached again", SOON, || connect("dave"))?;
    Ok(())
}

#[test]
fn a_gateway_that_dies_and_comes_back_serves_again_without_a_hand() -> Result<()> {
    let mut traefik = Traefik::alone()?;
    let namespace = Namespace::new("gateway-dies")?;
    namespace.apply(&gateway("shared"))?;
    namespace.apply(&behind("shared", "erin"))?;
    published_in_time(&namespace, "erin", None)?;
    let pod = namespace.pod("erin")?;
    let mut connected = log_in(&namespace, "erin")?;
    ensure!(connected.request("update:kept.demo@erin as it was")?.starts_with("data:"));

    traefik.kill()?;
    ensure!(connected.request("llookup:kept.demo@erin").is_err(), "a connection outlived the gateway");
    // Who comes now waits for the gateway, and is told so; the directory does not send anybody there.
    namespace.apply(&behind("shared", "frank"))?;
    eventually("the status says whom it waits for", START, || {
        let frank = namespace.get("atsign", "frank")?;
        let ready = condition_of(&frank, "Ready").context("no condition yet")?;
        ensure!(ready["status"] == "False" && ready["reason"] == "RoutePending", "{ready}");
        Ok(())
    })?;
    assert_eq!(published("frank")?, None);
    let erin = namespace.get("atsign", "erin")?;
    assert_eq!(
        erin["status"]["address"],
        format!("erin.example.com:{PORT}"),
        "the name is hers all the same"
    );

    traefik.start_again()?;
    published_in_time(&namespace, "frank", None)?;
    let mut again = eventually("@erin is reached again", SOON, || log_in(&namespace, "erin"))?;
    assert_eq!(again.request("llookup:kept.demo@erin")?, "data:as it was\n@erin@");
    namespace.wait_for("erin", "Ready", "True")?;
    assert_eq!(namespace.pod("erin")?["metadata"]["uid"], pod["metadata"]["uid"], "her server was let be");
    Ok(())
}
