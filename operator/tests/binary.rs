//! The program itself: it leads, answers for its health, logs JSON, and gives its lease back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atsign_tests::apiserver::ApiServer;
use atsign_tests::ports;
use serde_json::Value;

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn it_leads_answers_and_hands_its_lease_back_on_sigterm_also_where_nobody_reads_its_log() {
    let server = ApiServer::start().expect("start etcd and kube-apiserver");
    server.install_crds().expect("install the CRDs");
    let [port] = ports::free().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut operator = start(&server, address);
    until("it leads", || leads(address));
    assert!(get(address, "/healthz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(get(address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(get(address, "/else").is_some_and(|answer| answer.starts_with("HTTP/1.1 404")));

    let alice =
        r#"{"apiVersion": "atsign.dev/v1", "kind": "AtSign", "metadata": {"name": "alice"}, "spec": {}}"#;
    server.kubectl_ok(&["apply", "-n", "default", "-f", "-"], alice).expect("apply an AtSign");
    let reason = "jsonpath={.status.conditions[?(@.type==\"Stalled\")].reason}";
    until("the AtSign says that there is no StorageClass", || {
        server
            .kubectl_ok(&["get", "ats", "alice", "-n", "default", "-o", reason], "")
            .is_ok_and(|it| it == "NoStorageClass")
    });

    terminate(&operator);
    until("it ends", || operator.try_wait().expect("wait").is_some());
    assert!(operator.wait().expect("wait").success());
    let holder =
        ["get", "lease", "atsign-operator", "-n", "default", "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(server.kubectl_ok(&holder, "").expect("the lease"), "");
    let log = BufReader::new(operator.stdout.take().expect("its output"));
    for line in log.lines() {
        let line = line.expect("a line");
        assert!(serde_json::from_str::<Value>(&line).is_ok_and(|line| line["level"].is_string()), "{line}");
    }

    // Nobody reads what the next one says.
    let mut unread = start(&server, address);
    drop((unread.stdout.take(), unread.stderr.take()));
    until("it leads", || leads(address));
    terminate(&unread);
    until("it ends", || unread.try_wait().expect("wait").is_some());
    assert!(unread.wait().expect("wait").success());
}

fn start(server: &ApiServer, address: SocketAddr) -> Child {
    Command::new(env!("CARGO_BIN_EXE_atsign-operator"))
        .args(["--namespace", "default", "--identity", "it", "--metrics-listen", &address.to_string()])
        .args(["--metering-listen", "127.0.0.1:0"])
        .env("KUBECONFIG", &server.kubeconfig)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the operator")
}

fn leads(address: SocketAddr) -> bool {
    get(address, "/metrics").is_some_and(|metrics| metrics.contains("atsign_operator_lease_holder 1"))
}

fn terminate(operator: &Child) {
    let kill = Command::new("kill").args(["-TERM", &operator.id().to_string()]).status().expect("run kill");
    assert!(kill.success());
}
