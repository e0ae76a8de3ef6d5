//! A provider's story: three tiers, fifty atSigns of two customers, and whatever happens to them until the bill.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::{Namespace, OPERATOR_NAMESPACE, condition_of, eventually, kubectl, kubectl_with};
use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(10);

const MI: u64 = 1 << 20;

const TIERS: &str = "{apiVersion: v1, kind: List, items: [
  {apiVersion: atsign.dev/v1, kind: AtSignTier, metadata: {name: sold-starter}, spec: {
    memory: {default: 6Mi, cap: 8Mi}, storage: {size: 64Mi},
    limits: {connections: 10, keys: 15, storageBytes: 20000000, notificationsPerDay: 5}}},
  {apiVersion: atsign.dev/v1, kind: AtSignTier, metadata: {name: sold-business}, spec: {
    namespaceSelector: {matchLabels: {plan: paid}}, memory: {default: 6Mi, cap: 24Mi}, storage: {size: 64Mi},
    limits: {connections: 50, keys: 100, storageBytes: 20000000, notificationsPerDay: 100}}},
  {apiVersion: atsign.dev/v1, kind: AtSignTier, metadata: {name: sold-premium}, spec: {
    namespaceSelector: {matchLabels: {plan: paid}}, memory: {default: 12Mi, cap: 24Mi}, storage: {size: 64Mi}}}]}";

/// Who bought what: `shop1` to `shop50`, by number.
const ORDERS: [(&str, &str, std::ops::RangeInclusive<u32>); 4] = [
    (OPEN, "sold-starter", 1..=30),
    (PAID, "sold-starter", 31..=35),
    (PAID, "sold-business", 36..=45),
    (PAID, "sold-premium", 46..=50),
];
/// The namespace of a customer who pays nothing, and of one who does.
const OPEN: &str = "customer-open";
const PAID: &str = "customer-paid";

/// What a provider has beside the customers' namespaces; it goes when the test ends.
struct Offer;

impl Offer {
    fn make() -> Result<Self> {
        Self::withdraw();
        kubectl_with(&["apply", "-f", "-"], TIERS)?;
        kubectl(&["-n", OPERATOR_NAMESPACE, "create", "serviceaccount", "bills"])?;
        let account = format!("--serviceaccount={OPERATOR_NAMESPACE}:bills");
        kubectl(&[
            "create",
            "clusterrolebinding",
            "bills",
            "--clusterrole=atsign-metering-reader",
            &account,
        ])?;
        Ok(Self)
    }

    fn withdraw() {
        let gone = "--ignore-not-found";
        let _ = kubectl(&["delete", "atsigntier", "sold-starter", "sold-business", "sold-premium", gone]);
        let _ = kubectl(&["-n", OPERATOR_NAMESPACE, "delete", "serviceaccount", "bills", gone]);
        let _ = kubectl(&["delete", "clusterrolebinding", "bills", gone]);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        Self::withdraw();
    }
}

#[test]
fn a_provider_sells_three_tiers_to_fifty_atsigns_and_bills_what_they_used() -> Result<()> {
    let _offer = Offer::make()?;
    let open = Namespace::new(OPEN)?;
    let paid = Namespace::new(PAID)?;
    kubectl(&["label", "namespace", PAID, "plan=paid"])?;
    fifty_are_ready(&open, &paid)?;
    let before = Bill::read()?;
    ensure!(before.at_signs == 50 && before.unreachable == 0, "{before:?}");

    a_quota_is_hit_and_an_upgrade_lifts_it_under_its_clients(&paid)?;
    a_larger_tiers_memory_arrives_under_its_clients(&paid)?;
    a_downgrade_that_does_not_fit_loses_nothing(&paid)?;
    notifications_are_as_many_as_were_sold(&paid)?;
    nobody_gets_what_is_not_his(&open)?;
    what_was_used_adds_up_over_restarts_of_both(&paid, &before)
}

/// All of them are made at once, as an import would.
fn fifty_are_ready(open: &Namespace, paid: &Namespace) -> Result<()> {
    let start = Instant::now();
    for (customer, tier, shops) in ORDERS {
        let items: Vec<String> = shops
            .map(|shop| {
                format!("{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: shop{shop}}}, spec: {{tier: {tier}}}}}")
            })
            .collect();
        let namespace = if customer == OPEN { open } else { paid };
        namespace.apply(&format!("{{apiVersion: v1, kind: List, items: [{}]}}", items.join(", ")))?;
    }
    for (namespace, count) in [(open, 30), (paid, 20)] {
        eventually("every atSign is served", PATIENCE, || {
            let ready = namespace.kubectl(&[
                "get",
                "atsigns",
                "-o",
                r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#,
            ])?;
            let ready = ready.split(' ').filter(|status| *status == "True").count();
            ensure!(ready == count, "{ready} of {count} are ready");
            Ok(())
        })?;
    }
    println!("50 atSigns were ready after {:.0?}", start.elapsed());
    Ok(())
}

/// Clients of a shop that stay connected whatever is sold to it, and its pod.
struct Customers {
    shop: &'static str,
    owner: Client,
    others: Vec<Client>,
    pod: Value,
}

impl Customers {
    fn of(namespace: &Namespace, shop: &'static str) -> Result<Self> {
        let others = (0..3).map(|_| namespace.log_in(shop)).collect::<Result<_>>()?;
        let mut owner = namespace.log_in(shop)?;
        // The server makes keys of its own while it serves already, and they count.
        eventually("the server's own keys", PATIENCE, || {
            let answer = owner.request(&format!("llookup:public:signing_publickey@{shop}"))?;
            ensure!(answer.starts_with("data:"), "{answer}");
            Ok(())
        })?;
        Ok(Self { shop, owner, others, pod: namespace.pod(shop)? })
    }

    /// Stores keys by this name until the server refuses one, and returns how many were stored and the refusal.
    fn fill(&mut self, name: &str, most: u32) -> Result<(u32, String)> {
        for number in 0..most {
            let answer = self.owner.request(&format!("update:{name}{number}.till@{} {number}", self.shop))?;
            if !answer.starts_with("data:") {
                return Ok((number, answer));
            }
        }
        Ok((most, String::new()))
    }

    /// All are still connected, to the pod that it was, which never restarted.
    fn noticed_nothing(&mut self, namespace: &Namespace) -> Result<()> {
        for client in self.others.iter_mut().chain([&mut self.owner]) {
            let answer = client.request("noop:0")?;
            ensure!(answer.starts_with("data:"), "a client that stayed connected is answered {answer:?}");
        }
        let pod = namespace.pod(self.shop)?;
        ensure!(pod["metadata"]["uid"] == self.pod["metadata"]["uid"], "{} has another pod", self.shop);
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{} was restarted", self.shop);
        Ok(())
    }
}

fn sell(namespace: &Namespace, shop: &str, tier: &str) -> Result<()> {
    let patch = format!(r#"{{"spec": {{"tier": "{tier}"}}}}"#);
    namespace.kubectl(&["patch", "atsign", shop, "--type=merge", "-p", &patch]).map(drop)
}

/// Waits until a condition has this reason, and returns its message.
fn told(namespace: &Namespace, name: &str, condition: &str, reason: &str) -> Result<String> {
    eventually(&format!("{name} is told {condition}/{reason}"), PATIENCE, || {
        let object = namespace.get("atsign", name)?;
        match condition_of(&object, condition) {
            Some(found) if found["reason"] == reason => {
                Ok(found["message"].as_str().unwrap_or_default().to_owned())
            }
            _ => bail!("the conditions are {}", object["status"]["conditions"]),
        }
    })
}

fn no_longer_told(namespace: &Namespace, name: &str, condition: &str) -> Result<()> {
    eventually(&format!("{name} is no longer told {condition}"), PATIENCE, || {
        let object = namespace.get("atsign", name)?;
        let standing = condition_of(&object, condition).filter(|found| found["status"] == "True");
        ensure!(standing.is_none(), "{standing:?}");
        Ok(())
    })
}

fn a_quota_is_hit_and_an_upgrade_lifts_it_under_its_clients(paid: &Namespace) -> Result<()> {
    let mut shop = Customers::of(paid, "shop31")?;
    let (stored, refusal) = shop.fill("till", 30)?;
    ensure!(stored < 15, "{stored} keys beside the server's own, and the limit is 15");
    ensure!(
        refusal.contains("15 keys are stored and the limit keys is 15; delete some, or choose a larger tier"),
        "{refusal}"
    );
    let message = told(paid, "shop31", "QuotaExceeded", "LimitReached")?;
    ensure!(message.starts_with("limits.keys of AtSignTier sold-starter is used up"), "{message}");

    sell(paid, "shop31", "sold-business")?;
    eventually("the larger limit is there", PATIENCE, || {
        let answer = shop.owner.request("update:more.till@shop31 1")?;
        ensure!(answer.starts_with("data:"), "{answer}");
        Ok(())
    })?;
    no_longer_told(paid, "shop31", "QuotaExceeded")?;
    ensure!(paid.get("atsign", "shop31")?["status"]["limits"]["keys"]["limit"] == 100);
    shop.noticed_nothing(paid)
}

fn a_larger_tiers_memory_arrives_under_its_clients(paid: &Namespace) -> Result<()> {
    let mut shop = Customers::of(paid, "shop36")?;
    sell(paid, "shop36", "sold-premium")?;
    eventually("the pod has 12Mi", PATIENCE, || {
        let status = &paid.pod("shop36")?["status"]["containerStatuses"][0];
        ensure!(status["resources"]["limits"]["memory"] == "12Mi", "{}", status["resources"]);
        Ok(())
    })?;
    shop.noticed_nothing(paid)
}

fn a_downgrade_that_does_not_fit_loses_nothing(paid: &Namespace) -> Result<()> {
    let mut shop = Customers::of(paid, "shop46")?;
    let (stored, refusal) = shop.fill("stock", 20)?;
    ensure!(stored == 20, "premium has no limit of keys: {refusal}");

    sell(paid, "shop46", "sold-starter")?;
    let message = told(paid, "shop46", "QuotaExceeded", "TierDoesNotFit")?;
    let has: u32 = message
        .split("(it has ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .with_context(|| format!("how many keys it has: {message}"))?;
    let told_to_go = format!(
        "does not fit AtSignTier sold-starter: delete {} keys (it has {has} and the limit is 15)",
        has - 15
    );
    ensure!(has > 20 && message.contains(&told_to_go), "{message}");

    eventually("the smaller limit is there", PATIENCE, || {
        let answer = shop.owner.request("update:one-too-many.stock@shop46 1")?;
        if answer.starts_with("data:") {
            shop.owner.request("delete:one-too-many.stock@shop46")?;
        }
        ensure!(answer.contains("the limit keys is 15"), "{answer}");
        Ok(())
    })?;
    for number in 0..stored {
        let answer = shop.owner.request(&format!("llookup:stock{number}.till@shop46"))?;
        ensure!(answer == format!("data:{number}\n@shop46@"), "stock{number} was lost: {answer}");
    }
    for number in 0..stored {
        let answer = shop.owner.request(&format!("delete:stock{number}.till@shop46"))?;
        ensure!(answer.starts_with("data:"), "what has to go may not go: {answer}");
    }
    no_longer_told(paid, "shop46", "QuotaExceeded")?;
    shop.noticed_nothing(paid)
}

/// Five a day are in the smallest tier; they are delivered, and the sixth is refused.
fn notifications_are_as_many_as_were_sold(paid: &Namespace) -> Result<()> {
    let mut owner = paid.log_in("shop32")?;
    for number in 0..5 {
        let id = owner.request(&format!("notify:id:news-{number}:@shop33:news{number}.till@shop32:sale"))?;
        ensure!(id == format!("data:news-{number}\n@shop32@"), "{id}");
    }
    let refusal = owner.request("notify:@shop33:news6.till@shop32:sale")?;
    ensure!(
        refusal.contains("5 notifications were sent today and the limit notificationsPerDay is 5"),
        "{refusal}"
    );
    for number in 0..5 {
        eventually("the notification is delivered", PATIENCE, || {
            let status = owner.request(&format!("notify:status:news-{number}"))?;
            ensure!(status.starts_with("data:delivered"), "{status}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The customer who pays nothing asks for the tier, the volume, the export and the atSign of others.
fn nobody_gets_what_is_not_his(open: &Namespace) -> Result<()> {
    let ask = |name: &str, spec: &str| {
        open.apply(&format!(
            "{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: {name}}}, spec: {spec}}}"
        ))
    };
    let table = [
        ("climber", "{tier: sold-premium}", "TierNotAllowed", "namespaceSelector"),
        // Claims of another namespace are out of reach, and the own neighbour's is no exchange.
        ("borrower", "{tier: sold-starter, storage: {existingClaim: shop46}}", "ClaimNotFound", "shop46"),
        ("neighbour", "{tier: sold-starter, storage: {existingClaim: shop1}}", "ClaimOfAnother", "@shop1"),
        ("impostor", "{tier: sold-starter, atSign: '@shop46'}", "AtSignTaken", "@shop46"),
        ("greedy", "{tier: sold-starter, memory: {cap: 64Mi}}", "OutsideTier", "6Mi to 8Mi"),
    ];
    for (name, spec, ..) in table {
        ask(name, spec)?;
    }
    for (name, _, reason, says) in table {
        let message = told(open, name, "Stalled", reason)?;
        ensure!(message.contains(says), "{name}: {message}");
        let made = open.list("deployment,pvc", &format!("app.kubernetes.io/instance={name}"))?;
        ensure!(made.is_empty(), "{name} was refused and got {made:?}");
    }
    let export = ask("mounter", "{storage: {nfs: {server: 10.11.0.1, path: /}}}");
    let refusal = format!("{:#}", export.err().context("an AtSign that names an NFS export was taken")?);
    ensure!(refusal.contains("unknown field \"spec.storage.nfs\""), "{refusal}");
    open.kubectl(&["delete", "atsigns", "climber", "borrower", "neighbour", "impostor", "greedy"]).map(drop)
}

/// What the operator says of all atSigns, the two customers' only.
#[derive(Debug)]
struct Bill {
    lines: BTreeMap<String, Value>,
    at_signs: u64,
    unreachable: u64,
}

impl Bill {
    fn read() -> Result<Self> {
        let running = "jsonpath={.items[?(@.status.phase==\"Running\")].status.podIP}";
        let selector = "app.kubernetes.io/name=atsign-operator";
        let operator = kubectl(&["-n", OPERATOR_NAMESPACE, "get", "pods", "-l", selector, "-o", running])?;
        let address = operator.split(' ').next_back().context("no operator runs")?;
        let token = kubectl(&["-n", OPERATOR_NAMESPACE, "create", "token", "bills"])?;
        let mut stream = TcpStream::connect((address, 8081))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0 has no chunks.
        let authorization = format!("Authorization: Bearer {}", token.trim());
        stream
            .write_all(format!("GET /metering HTTP/1.0\r\nHost: x\r\n{authorization}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        let mut bill = Self { lines: BTreeMap::new(), at_signs: 0, unreachable: 0 };
        let mut is_complete = false;
        for line in body.lines() {
            let line: Value = serde_json::from_str(line).with_context(|| answer.clone())?;
            is_complete |= line["complete"] == true;
            if [OPEN, PAID].map(Value::from).contains(&line["namespace"]) {
                bill.at_signs += 1;
                bill.unreachable += u64::from(line["reachable"] != true);
                bill.lines.insert(line["name"].as_str().context("a name")?.to_owned(), line);
            }
        }
        ensure!(is_complete, "the answer was cut off: {answer}");
        Ok(bill)
    }

    fn figure(&self, shop: &str, field: &str) -> u64 {
        self.lines.get(shop).and_then(|line| line[field].as_u64()).unwrap_or_default()
    }

    fn sum(&self, field: &str) -> u64 {
        self.lines.keys().map(|shop| self.figure(shop, field)).sum()
    }
}

fn what_was_used_adds_up_over_restarts_of_both(paid: &Namespace, before: &Bill) -> Result<()> {
    // Figures are told once they are on disk, which is every ten seconds.
    let full = eventually("all notifications are in the bill", PATIENCE, || {
        let bill = Bill::read()?;
        let notified = ["shop32", "shop33"].map(|shop| bill.figure(shop, "notifications"));
        ensure!(notified == [5, 5], "sent and received: {notified:?}");
        Ok(bill)
    })?;
    let pod = paid.pod("shop32")?;
    paid.kubectl(&["delete", "pod", pod["metadata"]["name"].as_str().context("a name")?])?;
    let operator = ["-n", OPERATOR_NAMESPACE, "rollout"];
    kubectl(&[&operator[..], &["restart", "deployment/atsign-operator"]].concat())?;
    kubectl(&[&operator[..], &["status", "deployment/atsign-operator", "--timeout=180s"]].concat())?;
    let after = eventually("every server tells what was used", PATIENCE, || {
        let bill = Bill::read()?;
        ensure!(bill.unreachable == 0, "{} are not reached", bill.unreachable);
        ensure!(bill.figure("shop32", "limitByteSeconds") > full.figure("shop32", "limitByteSeconds"));
        Ok(bill)
    })?;

    ensure!(after.at_signs == 50, "{} atSigns", after.at_signs);
    ensure!(after.sum("notifications") == 10, "five were sent and five received, by nobody else: {after:?}");
    for (shop, line) in &after.lines {
        for field in ["limitByteSeconds", "storeByteSeconds", "notifications", "connectionSeconds"] {
            let series = [before, &full, &after].map(|bill| bill.figure(shop, field));
            ensure!(series.is_sorted(), "{field} of {shop} became less: {series:?}");
        }
        ensure!(line["since"] == before.lines[shop]["since"], "{shop} is counted anew: {line}");
        // Memory over time is what it had, for no longer than it was there.
        let seconds = line["at"].as_u64().unwrap_or_default() + 1 - after.figure(shop, "since");
        let cap = if line["tier"] == "sold-starter" && shop != "shop46" { 8 * MI } else { 24 * MI };
        let had = after.figure(shop, "limitByteSeconds");
        ensure!(had > 0 && had <= cap * seconds, "{shop} had {had} byte-seconds in {seconds} s");
        ensure!(after.figure(shop, "storeByteSeconds") > 0, "{line}");
    }
    let sold = |tier: &str| after.lines.values().filter(|line| line["tier"] == tier).count();
    ensure!(
        ["sold-starter", "sold-business", "sold-premium"].map(sold) == [35, 10, 5],
        "one went up to business, one to premium, and one came down to starter"
    );
    for field in ["limitByteSeconds", "storeByteSeconds", "notifications", "connectionSeconds"] {
        println!("{field} of all: {} then {}", before.sum(field), after.sum(field));
    }
    for shop in ["shop1", "shop36", "shop32"] {
        println!("{}", after.lines[shop]);
    }
    Ok(())
}
