//! `/metering`: the figures of every atSign, for whom the API server lets have them.

mod cluster;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use atsign_operator::metering::Metering;
use atsign_protocol as protocol;
use atsign_tests::ports;
use cluster::{World, server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status and body of a request for the figures; chunks are put together.
async fn ask(address: SocketAddr, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    // HTTP/1.0 has no chunks.
    let request = format!("GET /metering HTTP/1.0\r\nHost: x\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).await.expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn read(address: SocketAddr, token: &str) -> Vec<Value> {
    let (status, body) = ask(address, Some(token)).await;
    assert_eq!(status, 200, "{body}");
    let mut lines: Vec<Value> =
        body.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    // The end has no name, so it comes first.
    lines.sort_by_key(|line| line["name"].as_str().unwrap_or_default().to_owned());
    lines
}

/// A token of a new account, with the right to the figures or without.
fn account(world: &World, name: &str, may_read: bool) -> String {
    let (namespace, admin) = (world.namespace.as_str(), server());
    admin.kubectl_ok(&["create", "serviceaccount", name, "-n", namespace], "").expect("an account");
    if may_read {
        let role = format!("metering-{namespace}");
        let subject = format!("--serviceaccount={namespace}:{name}");
        let create = ["create", "clusterrole", &role, "--verb=get", "--non-resource-url=/metering"];
        admin.kubectl_ok(&create, "").expect("a role");
        let role_flag = format!("--clusterrole={role}");
        admin
            .kubectl_ok(&["create", "clusterrolebinding", &role, &role_flag, &subject], "")
            .expect("a binding");
    }
    admin.kubectl_ok(&["create", "token", name, "-n", namespace], "").expect("a token").trim().to_owned()
}

/// The lines that docs/billing.md shows.
fn documented() -> Vec<Value> {
    let page = include_str!("../../docs/billing.md");
    let lines: Vec<Value> = page
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    lines
}

fn fields(line: &Value) -> Vec<&String> {
    line.as_object().expect("an object").keys().collect()
}

/// Serves the figures, and answers once the port is open.
async fn serve(world: &World) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let [port] = ports::free().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let metering = Metering::new(world.client.clone(), vec![world.namespace.clone()]);
    let serving = tokio::spawn(async move { drop(metering.serve(address).await) });
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(address).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the port is not served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (address, serving)
}

#[tokio::test]
async fn each_atsign_has_its_line_for_whom_may_read_them_also_after_a_restart() {
    let world = World::new().await;
    let node = world.node();
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.apply("AtSign", "stopped", json!({"spec": {"suspend": true}})).await;
    world.until("alice", "True", "ServerReady").await;
    world.until("stopped", "False", "Suspended").await;
    node.started("alice").await;
    let counted = protocol::Metering {
        since: 1_700_000_000,
        limit_byte_seconds: 6_291_456_000,
        store_byte_seconds: 90_112,
        notifications: 12,
        connection_seconds: 34,
    };
    node.server("alice", |server| server.says(|usage| usage.metering = counted)).expect("its server");

    let (stranger, reader) = (account(&world, "tenant", false), account(&world, "bills", true));
    let (address, serving) = serve(&world).await;
    let (status, says) = ask(address, None).await;
    assert!(status == 401 && says.contains("bearer token"), "{status} {says}");
    assert_eq!(ask(address, Some("made-up")).await.0, 401);
    let (status, says) = ask(address, Some(&stranger)).await;
    assert!(status == 403 && says.contains("atsign-metering-reader"), "{status} {says}");

    let check = |lines: &[Value]| {
        let [end, alice, stopped] = lines else { panic!("{lines:#?}") };
        assert_eq!(*end, json!({"complete": true, "atSigns": 2, "unreachable": 1}));
        let at = alice["at"].as_i64().expect("a time");
        let uid = alice["uid"].as_str().expect("a UID");
        assert_eq!(
            *alice,
            json!({
                "namespace": world.namespace, "name": "alice", "uid": uid, "atSign": "@alice",
                "tier": "built-in", "reachable": true, "at": at, "since": 1_700_000_000,
                "limitByteSeconds": 6_291_456_000_u64, "storeByteSeconds": 90_112, "notifications": 12,
                "connectionSeconds": 34
            })
        );
        assert_eq!((&stopped["reachable"], &stopped["reason"]), (&json!(false), &json!("no server runs")));
        for (documented, line) in documented().iter().zip([alice, stopped, end]) {
            assert_eq!(fields(documented), fields(line), "docs/billing.md shows other fields");
        }
    };
    check(&read(address, &reader).await);

    // Nothing is kept in the process, so another one tells the same.
    serving.abort();
    operator.stop().await;
    let (address, serving) = serve(&world).await;
    check(&read(address, &reader).await);
    serving.abort();
}
