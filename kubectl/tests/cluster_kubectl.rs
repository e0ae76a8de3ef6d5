//! The plugins on a real cluster, by the real kubectl, as a person uses them: made, watched, activated, looked at,
//! changed, reported.

mod archive;
mod person;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archive::unpack;
use atsign_keys::{Connection, Keys};
use atsign_tests::cluster::{Namespace, eventually, kubectl, operator_ca};
use person::Person;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// How long anything may take on a busy machine.
const TIMEOUT: &str = "--timeout=4m";

#[test]
fn by_the_plugins_a_person_makes_activates_and_looks_after_an_atsign() -> Result<()> {
    let namespace = Namespace::new("plugin")?;
    let person = Person::new()?;
    let here = ["-n", "plugin"];
    let with = |words: &[&'static str]| [words, &here].concat();

    let (out, err) =
        person.ok(&with(&["create", "atsign", "@🛠bob", "--storage", "64Mi", "--wait", TIMEOUT]))?;
    ensure!(out.starts_with("atsign.atsign.dev/bob-") && out.ends_with(" created\n"), "{out}");
    ensure!(err.contains("ServerReady: @🛠bob is served at "), "--wait says what happens: {err}");
    let name = out.trim_start_matches("atsign.atsign.dev/").trim_end_matches(" created\n").to_owned();

    let status = person.json(&with(&["atsign", "status", "@🛠bob"]))?;
    ensure!(status["ready"] == true && status["activated"] == false, "{status}");
    ensure!(status["next"][0]["command"] == format!("kubectl atsign activate {name} -n plugin"), "{status}");
    // The server itself says so, through the API server.
    ensure!(status["memory"]["usedBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");

    let cram = namespace.secret(&format!("{name}-activation"), "cram")?;
    let keys = activate(&person, &namespace, &name)?;
    top_and_list_show_it(&person, &name)?;
    report_has_no_secret(&person, &cram, &keys)?;
    logs_are_the_servers(&person)?;
    suspend_resume_and_restart(&person, &namespace, &name)
}

/// The keys file is made, logs in, and is made only once.
fn activate(person: &Person, namespace: &Namespace, name: &str) -> Result<PathBuf> {
    let (out, _) = person.ok(&["atsign", "activate", "@🛠bob", "-n", "plugin"])?;
    let file = person.home.path().join(".atsign/keys/@🛠bob_key.atKeys");
    ensure!(out.contains(&file.display().to_string()), "{out}");
    let keys = Keys::read(&file)?;

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(operator_ca()?.as_bytes()) {
        roots.add(certificate?)?;
    }
    let host = namespace.host(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect((host.as_str(), 6464)).await?;
        let mut connection = Connection::open(stream, &host, roots).await?;
        connection.pkam("@🛠bob", &keys).await?;
        connection.command("update:made.by@🛠bob kubectl").await
    })?;

    let again = person.kubectl(&["atsign", "activate", "@🛠bob", "-n", "plugin"])?;
    ensure!(again.status.code() == Some(1), "keys are never overwritten");
    eventually("the operator sees that it is activated", Duration::from_mins(2), || {
        let elsewhere =
            person.kubectl(&["atsign", "activate", "@🛠bob", "-n", "plugin", "--keys", "other.atKeys"])?;
        let said = String::from_utf8(elsewhere.stderr)?;
        ensure!(said.contains("was activated already"), "{said}");
        ensure!(
            !person.home.path().join("other.atKeys").exists()
                && !person.home.path().join("other.atKeys.partial").exists()
        );
        Ok(())
    })?;
    Ok(file)
}

fn top_and_list_show_it(person: &Person, name: &str) -> Result<()> {
    let top = person.json(&["atsign", "top", "-n", "plugin"])?;
    let item = &top["items"][0];
    ensure!(item["live"] == true && item["name"] == name, "{top}");
    ensure!(item["keys"].as_u64().is_some_and(|keys| keys > 0) && item["memoryLimit"] == 6 << 20, "{top}");
    let (list, _) = person.ok(&["atsign", "list", "-A"])?;
    ensure!(
        list.lines()
            .any(|line| line.contains(name) && line.contains("@🛠bob") && line.contains("ServerReady")),
        "{list}"
    );
    Ok(())
}

fn report_has_no_secret(person: &Person, cram: &str, keys: &Path) -> Result<()> {
    person.ok(&["atsign", "report", "@🛠bob", "-n", "plugin", "--file", "report.tar.gz"])?;
    let files = unpack(&person.home.path().join("report.tar.gz"))?;
    let log = files.iter().find(|(name, _)| name.starts_with("log-")).context("the server's log")?;
    ensure!(
        !log.1.is_empty() && files.keys().any(|name| name.starts_with("operator/log-")),
        "{:?}",
        files.keys()
    );
    let keys: Value = serde_json::from_slice(&std::fs::read(keys)?)?;
    let mut secrets = vec![cram.to_owned()];
    secrets.extend(
        keys.as_object().context("an object")?.values().filter_map(|key| Some(key.as_str()?.to_owned())),
    );
    let everything = kubectl(&["-n", "plugin", "get", "secrets", "-o", "json"])?;
    let everything: Value = serde_json::from_str(&everything)?;
    for secret in everything["items"].as_array().context("Secrets")? {
        for (key, value) in secret["data"].as_object().context("data")? {
            // Certificates are public.
            if !["tls.crt", "ca.crt"].contains(&key.as_str()) {
                secrets.push(value.as_str().context("base64")?.to_owned());
            }
        }
    }
    ensure!(secrets.len() > 6, "there are secrets to look for");
    for (name, text) in &files {
        for secret in &secrets {
            ensure!(!text.contains(secret.as_str()), "{name} has a secret in it");
        }
    }
    Ok(())
}

fn logs_are_the_servers(person: &Person) -> Result<()> {
    let (lines, _) = person.ok(&["atsign", "logs", "@🛠bob", "-n", "plugin", "--tail", "3"])?;
    ensure!((1..=3).contains(&lines.lines().count()), "{lines}");
    Ok(())
}

fn suspend_resume_and_restart(person: &Person, namespace: &Namespace, name: &str) -> Result<()> {
    let uid =
        |namespace: &Namespace| -> Result<Value> { Ok(namespace.pod(name)?["metadata"]["uid"].clone()) };
    let first = uid(namespace)?;
    person.ok(&["atsign", "restart", "@🛠bob", "-n", "plugin", "--wait", TIMEOUT])?;
    let second = uid(namespace)?;
    ensure!(first != second, "another pod");

    person.ok(&["atsign", "suspend", "@🛠bob", "-n", "plugin", "--wait", TIMEOUT])?;
    ensure!(namespace.list("pods", &format!("app.kubernetes.io/instance={name}"))?.is_empty(), "no pod");
    ensure!(namespace.get("pvc", name)?["status"]["phase"] == "Bound", "the data stays");
    let status = person.json(&["atsign", "status", "@🛠bob", "-n", "plugin"])?;
    ensure!(status["suspended"] == true, "{status}");
    person.ok(&["atsign", "resume", "@🛠bob", "-n", "plugin", "--wait", TIMEOUT])?;
    let status = person.json(&["atsign", "status", "@🛠bob", "-n", "plugin"])?;
    ensure!(status["ready"] == true && status["activated"] == true, "{status}");
    Ok(())
}

#[test]
fn the_plugins_find_the_cluster_fit_and_kubernetes_roles_reach_atsigns() -> Result<()> {
    let person = Person::new()?;
    let examined = person.json(&["atsign", "doctor"])?;
    for what in [
        "Kubernetes",
        "in-place resize",
        "nodes",
        "runtime floor",
        "resources",
        "operator",
        "directory",
        "authority",
        "storage",
    ] {
        let check =
            examined["checks"].as_array().context("checks")?.iter().find(|check| check["what"] == what);
        let verdict = check.with_context(|| format!("{what} was not looked at"))?["verdict"].as_str();
        ensure!(
            verdict == Some("ok") || (what == "storage" && verdict == Some("warning")),
            "{what}: {examined}"
        );
    }
    let namespace = Namespace::new("plugin-roles")?;
    for (role, may) in [("view", "no"), ("edit", "yes")] {
        namespace.kubectl(&[
            "create",
            "rolebinding",
            role,
            &format!("--clusterrole={role}"),
            &format!("--user={role}er"),
        ])?;
        eventually("the role is aggregated", Duration::from_mins(1), || {
            let can = |verb: &str| {
                person.kubectl(&[
                    "auth",
                    "can-i",
                    verb,
                    "atsigns",
                    "-n",
                    "plugin-roles",
                    "--as",
                    &format!("{role}er"),
                ])
            };
            let (list, create) = (can("list")?, can("create")?);
            ensure!(list.stdout.starts_with(b"yes"), "{role} lists");
            ensure!(create.stdout.starts_with(may.as_bytes()), "{role} creates: not {may}");
            Ok(())
        })?;
    }
    Ok(())
}
