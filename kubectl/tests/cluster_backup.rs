//! `kubectl atsign backup` and `restore` on a real cluster, while the server is written to.

mod person;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::{Namespace, operator_ca};
use person::Person;
use serde_json::{Value, json};

/// Keys that are written to while the backup is made, and so are not compared one by one.
const NOISE: usize = 10;

/// What an answer's text is, without `data:` and the prompt.
fn data(client: &mut Client, command: &str) -> Result<String> {
    let answer = client.request(command)?;
    let text = answer.strip_prefix("data:").and_then(|rest| rest.rsplit_once('\n'));
    Ok(text.with_context(|| format!("{command} answered {answer:?}"))?.0.to_owned())
}

fn list(client: &mut Client, command: &str) -> Result<Vec<Value>> {
    let text = data(client, command)?;
    serde_json::from_str(&text).with_context(|| format!("{command} answered {text}"))
}

/// All that a client can see of @vera, by the command that shows it: each key with its metadata, each entry of the commit
/// log with its id, notifications, enrollments.
fn everything(owner: &mut Client) -> Result<BTreeMap<String, String>> {
    let mut shown = BTreeMap::new();
    let is_noise = |key: &str| key.contains(".noise@");
    for key in list(owner, "scan:showhidden:true")? {
        let key = key.as_str().context("a key")?;
        if !is_noise(key) {
            let command = format!("llookup:all:{key}");
            shown.insert(command.clone(), owner.request(&command)?);
        }
    }
    for entry in list(owner, "sync:from:-1:limit:1000")? {
        let key = entry["atKey"].as_str().context("a key")?.to_owned();
        if !is_noise(&key) {
            shown.insert(format!("commit {}", entry["commitId"]), entry.to_string());
        }
    }
    for command in ["notify:list", "enroll:list"] {
        shown.insert(command.to_owned(), data(owner, command)?);
    }
    Ok(shown)
}

/// @vera with keys of each kind, a notification and an application that waits for its approval.
fn fill(namespace: &Namespace, owner: &mut Client) -> Result<()> {
    for number in 0..40 {
        data(owner, &format!("update:key{number}.demo@vera {}", "v".repeat(number * 50 + 1)))?;
    }
    data(owner, "update:public:card.demo@vera hello")?;
    data(owner, "update:ttl:6000000:ttr:60:ccd:true:isEncrypted:true:@wanda:secret.demo@vera c1pher")?;
    data(owner, "notify:id:note-1:ttln:6000000:@vera:note.demo@vera:remember")?;
    let passcode = data(owner, "otp:get")?;
    let request = json!({"appName": "app", "deviceName": "pixel", "namespaces": {"demo": "rw"}, "otp": passcode,
        "apkamPublicKey": "key", "encryptedAPKAMSymmetricKey": "symmetric"});
    let host = namespace.host("vera");
    let enrolled =
        data(&mut Client::connect(&host, 6464, &operator_ca()?)?, &format!("enroll:request:{request}"))?;
    ensure!(enrolled.contains("pending"), "{enrolled}");
    Ok(())
}

/// Somebody who writes all the time.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<[u64; NOISE]>>,
    last_commit: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    fn start(mut client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new([0; NOISE]));
        let last_commit = Arc::new(AtomicU64::new(0));
        let (ended, noted, last) = (stop.clone(), acknowledged.clone(), last_commit.clone());
        let thread = std::thread::spawn(move || {
            for number in 1_u64.. {
                let slot = usize::try_from(number)? % NOISE;
                let id = data(&mut client, &format!("update:slot{slot}.noise@vera {number}"))?;
                last.store(id.parse()?, Ordering::Relaxed);
                noted.lock().expect("no panic")[slot] = number;
                if ended.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        });
        Self { stop, acknowledged, last_commit, thread }
    }

    fn acknowledged(&self) -> [u64; NOISE] {
        *self.acknowledged.lock().expect("no panic")
    }

    /// Returns the last commit id that it was given.
    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")?;
        Ok(self.last_commit.load(Ordering::Relaxed))
    }
}

fn refused(person: &Person, arguments: &[&str], says: &str) -> Result<()> {
    let output = person.kubectl(arguments)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.contains(says), "{arguments:?} said {said}");
    Ok(())
}

/// The lines of a screen but for those of waiting, whose number is the machine's, with one name and one number for all.
fn shape(screen: &str) -> Vec<String> {
    let lines = screen.lines().filter(|line| !line.starts_with(' '));
    lines
        .map(|line| {
            let line = line.replace("vera", "alice");
            let parts = line.split(|c: char| c.is_ascii_digit()).collect::<Vec<_>>();
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("0")
        })
        .collect()
}

#[test]
fn what_a_backup_holds_comes_back_exactly_whatever_was_done_since() -> Result<()> {
    let namespace = Namespace::new("plugin-backup")?;
    let person = Person::new()?;
    let with = |words: &[&'static str]| [&["atsign"][..], words, &["-n", "plugin-backup"]].concat();
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: vera}, spec: {storage: {size: 64Mi}}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: wanda}, spec: {storage: {size: 64Mi}}}]}",
    )?;
    namespace.wait_for("vera", "Ready", "True")?;
    namespace.wait_for("wanda", "Ready", "True")?;
    let mut owner = namespace.log_in("vera")?;
    fill(&namespace, &mut owner)?;
    let before = everything(&mut owner)?;
    ensure!(before.len() > 80, "there is something to compare: {:?}", before.keys());

    let writer = Writer::start(namespace.log_in("vera")?);
    while writer.acknowledged().contains(&0) && !writer.thread.is_finished() {
        std::thread::yield_now();
    }
    let acknowledged = writer.acknowledged();
    let (sum, said) = person.ok(&with(&["backup", "vera", "-o", "vera.backup"]))?;
    ensure!(writer.acknowledged() > acknowledged, "writes go on while the backup is made");
    let last = writer.end()?;
    ensure!(said.contains("@vera as of 2") && said.contains(" 1 enrollments"), "{said}");
    it_is_whole_and_private(&person, &sum)?;
    refused(&person, &with(&["backup", "vera", "-o", "vera.backup"]), "never overwritten")?;
    let piped = person.kubectl(&with(&["backup", "vera", "-o", "-"]))?;
    ensure!(piped.status.success() && piped.stdout.starts_with(br#"{"format":1,"#), "{piped:?}");

    for number in 0..20 {
        data(&mut owner, &format!("delete:key{number}.demo@vera"))?;
        data(&mut owner, &format!("update:key{}.demo@vera other", number + 15))?;
    }
    data(&mut owner, "notify:id:note-2:@vera:note.demo@vera:forget")?;
    ensure!(everything(&mut owner)? != before);

    what_must_not_be_restored_is_refused_before_anything_stops(&person, &namespace)?;
    let served_by = namespace.pod("vera")?["metadata"]["uid"].clone();
    let (out, said) = person.ok(&with(&["restore", "vera", "-f", "vera.backup", "--timeout", "4m"]))?;
    let screen = format!("{said}{out}");
    let documented = shape(include_str!("golden/restore.txt"));
    ensure!(shape(&screen) == documented, "not as documented, {documented:?}:\n{screen}");

    let pod = namespace.pod("vera")?;
    ensure!(pod["metadata"]["uid"] != served_by, "the server was stopped meanwhile");
    ensure!(
        pod["metadata"]["labels"]["app.kubernetes.io/name"] == "atsign-secondary",
        "no other pod is left"
    );
    ensure!(namespace.get("atsign", "vera")?["spec"]["suspend"].is_null(), "the spec is what it was");
    let status = person.json(&with(&["status", "vera"]))?;
    ensure!(status["ready"] == true, "{status}");
    let mut owner = namespace.log_in("vera")?;
    let after = everything(&mut owner)?;
    for (command, answer) in &before {
        ensure!(after.get(command) == Some(answer), "{command}: {:?}, not {answer:?}", after.get(command));
    }
    ensure!(after.len() == before.len(), "nothing else is there: {:?}", after.keys());
    for (slot, number) in acknowledged.iter().enumerate() {
        let held: u64 = data(&mut owner, &format!("llookup:slot{slot}.noise@vera"))?.parse()?;
        ensure!(held >= *number, "slot {slot}: {number} was acknowledged before, {held} is there");
    }
    let next: u64 = data(&mut owner, "update:later.demo@vera 1")?.parse()?;
    ensure!(next > last + 40, "ids that clients have seen are not given again: {last}, then {next}");
    Ok(())
}

/// The sum that was printed is the file's, nobody else may read it, and nothing half written lies beside it.
fn it_is_whole_and_private(person: &Person, sum: &str) -> Result<()> {
    let home = person.home.path();
    std::fs::write(home.join("sums"), sum)?;
    let checked = std::process::Command::new("sha256sum").args(["-c", "sums"]).current_dir(home).output()?;
    ensure!(checked.status.success(), "{sum}: {checked:?}");
    let mode = std::fs::metadata(home.join("vera.backup"))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    for entry in std::fs::read_dir(home)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        ensure!(!name.contains("partial"), "{name} is left");
    }
    Ok(())
}

fn what_must_not_be_restored_is_refused_before_anything_stops(
    person: &Person,
    namespace: &Namespace,
) -> Result<()> {
    let uids = || -> Result<[Value; 2]> {
        Ok([
            namespace.pod("vera")?["metadata"]["uid"].clone(),
            namespace.pod("wanda")?["metadata"]["uid"].clone(),
        ])
    };
    let serving = uids()?;
    let restore = |name: &str, file: &str, says: &str| {
        refused(person, &["atsign", "restore", name, "-f", file, "-n", "plugin-backup"], says)
    };
    restore("wanda", "vera.backup", "the backup is of @vera, not of @wanda, so nothing was changed")?;
    let mut file = std::fs::read(person.home.path().join("vera.backup"))?;
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(person.home.path().join("damaged.backup"), file)?;
    restore("vera", "damaged.backup", "damaged.backup: nothing was changed: the store has")?;
    restore("vera", "sums", "this is no backup")?;
    ensure!(uids()? == serving, "a server was stopped for nothing");
    Ok(())
}
