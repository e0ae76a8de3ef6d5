//! Clients of an enrollment: what their namespaces let them do, with every verb (reference page section 2.21).

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::{data, json};

/// An application on a device, with its own key.
pub(crate) struct Device {
    pub(crate) pair: EcdsaKeyPair,
    /// Its enrollment, once it was requested.
    pub(crate) id: String,
}

impl Device {
    pub(crate) fn new() -> Result<Self> {
        let failed = |error| anyhow::anyhow!("{error}");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| anyhow::anyhow!("no key"))?;
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            document.as_ref(),
            &SystemRandom::new(),
        );
        Ok(Self { pair: pair.map_err(failed)?, id: String::new() })
    }

    pub(crate) fn public_key(&self) -> String {
        self.pair.public_key().as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// What it sends to be enrolled, but for a passcode.
    pub(crate) fn request(&self, app: &str, namespaces: &Value) -> Value {
        json!({
            "appName": app,
            "deviceName": "pixel",
            "namespaces": namespaces,
            "apkamPublicKey": self.public_key(),
            "encryptedAPKAMSymmetricKey": "symmetric",
        })
    }

    /// Requests an enrollment as a stranger who was told a passcode.
    pub(crate) fn enroll(
        &mut self,
        server: &Secondary,
        app: &str,
        namespaces: &Value,
        passcode: &str,
    ) -> Result<()> {
        let mut request = self.request(app, namespaces);
        request["otp"] = passcode.into();
        let answer = json(&mut server.connect()?, &format!("enroll:request:{request}"))?;
        anyhow::ensure!(answer["status"] == "pending", "{answer}");
        answer["enrollmentId"].as_str().context("no id")?.clone_into(&mut self.id);
        Ok(())
    }

    /// Proves itself, and returns the answer.
    pub(crate) fn login(&self, client: &mut Client, at_sign: &str) -> Result<String> {
        let challenge = client.challenge(at_sign)?;
        let signature = self.pair.sign(&SystemRandom::new(), challenge.as_bytes());
        let signature = STANDARD.encode(signature.map_err(|_| anyhow::anyhow!("no signature"))?.as_ref());
        let id = &self.id;
        client.request(&format!(
            "pkam:signingAlgo:ecc_secp256r1:hashingAlgo:sha256:enrollmentId:{id}:{signature}"
        ))
    }

    /// A connection that has proved itself.
    pub(crate) fn connect(&self, server: &Secondary) -> Result<Client> {
        let mut client = server.connect()?;
        let answer = self.login(&mut client, &server.at_sign)?;
        anyhow::ensure!(answer == format!("data:success\n{}@", server.at_sign), "{answer:?}");
        Ok(client)
    }
}

/// A device that was enrolled and approved by the owner.
pub(crate) fn approved(server: &Secondary, app: &str, namespaces: &Value) -> Result<Device> {
    let mut owner = server.connect_as_owner()?;
    let passcode = data(&mut owner, "otp:get")?;
    let mut device = Device::new()?;
    device.enroll(server, app, namespaces, &passcode)?;
    let approval = json!({
        "enrollmentId": device.id,
        "encryptedDefaultEncryptionPrivateKey": "private",
        "encryptedDefaultSelfEncryptionKey": "self",
        "selfEncKeyIV": "iv",
    });
    let answer = json(&mut owner, &format!("enroll:approve:{approval}"))?;
    anyhow::ensure!(answer == json!({"enrollmentId": device.id, "status": "approved"}), "{answer}");
    Ok(device)
}

/// A server with a key in each of some namespaces, and a device that reads one and writes another.
fn filled() -> Result<(Secondary, Device)> {
    let server = Secondary::start("@erin")?;
    let mut owner = server.connect_as_owner()?;
    for key in ["a.wavi", "a.buzz", "a.contacts.buzz", "a.other", "plain", "public:p.other", "@bob:s.other"] {
        data(&mut owner, &format!("update:{key}@erin {key}"))?;
    }
    let device = approved(&server, "app", &json!({"wavi": "rw", "buzz": "r"}))?;
    Ok((server, device))
}

#[test]
fn a_client_reads_and_writes_within_its_namespaces_only() -> Result<()> {
    let (server, device) = filled()?;
    let mut client = device.connect(&server)?;
    for command in [
        "llookup:a.wavi@erin",
        "llookup:a.buzz@erin",
        "llookup:a.contacts.buzz@erin",
        "llookup:public:p.other@erin",
        "plookup:p.other@erin",
        "update:b.wavi@erin 1",
        "update:@bob:b.wavi@erin 1",
        "update:meta:b.wavi@erin:ttl:100000",
        "delete:b.wavi@erin",
        "update:@bob:shared_key@erin k",
        "update:shared_key.bob@erin k",
        "noop:0",
    ] {
        let answer = client.request(command)?;
        assert!(answer.starts_with("data:"), "{command}: {answer}");
    }
    let id = &device.id;
    for (command, verb, key) in [
        ("llookup:a.other@erin", "llookup", "a.other@erin"),
        ("llookup:plain@erin", "llookup", "plain@erin"),
        ("llookup:@bob:s.other@erin", "llookup", "@bob:s.other@erin"),
        ("lookup:a.other@erin", "lookup", "@erin:a.other@erin"),
        ("update:a.buzz@erin 1", "update", "a.buzz@erin"),
        ("update:a.other@erin 1", "update", "a.other@erin"),
        ("update:public:p.other@erin 1", "update", "public:p.other@erin"),
        ("update:meta:a.other@erin:ttl:1", "update", "a.other@erin"),
        ("delete:a.buzz@erin", "delete", "a.buzz@erin"),
        ("update:privatekey:at_pkam_publickey stolen", "update", "privatekey:at_pkam_publickey"),
        ("delete:privatekey:at_secret", "delete", "privatekey:at_secret"),
        ("config:block:add:@bob", "config", "private:blocklist@erin"),
    ] {
        assert_eq!(
            client.request(command)?,
            format!(
                "error:AT0009-UnAuthorized client in request : \
                 Connection with enrollment ID {id} is not authorized to {verb} key: {key}\n@erin@"
            ),
            "{command}"
        );
    }
    let record = format!("{id}.new.enrollments.__manage@erin");
    assert!(client.request(&format!("llookup:{record}"))?.starts_with("error:AT0009-"));
    assert!(server.connect_as_owner()?.request(&format!("llookup:{record}"))?.starts_with("data:{"));
    Ok(())
}

#[test]
fn lists_and_batches_show_what_the_client_may_read() -> Result<()> {
    let (server, device) = filled()?;
    let mut client = device.connect(&server)?;
    let mut scanned = json(&mut client, "scan")?;
    scanned.as_array_mut().context("an array")?.retain(|key| key != "public:signing_publickey@erin");
    let public = "public:app.pixel.pkam.__pkams.__public_keys@erin";
    assert_eq!(
        scanned,
        json!(["a.buzz@erin", "a.contacts.buzz@erin", "a.wavi@erin", public, "public:p.other@erin"])
    );
    let entries = json(&mut client, "sync:from:-1:limit:100")?;
    let synced: Vec<_> = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["atKey"].as_str())
        .filter(|key| !key.contains("signing"))
        .collect();
    assert_eq!(synced, ["a.wavi@erin", "a.buzz@erin", "a.contacts.buzz@erin", "public:p.other@erin"]);
    let last =
        entries.as_array().and_then(|entries| entries.last()).context("an entry")?["commitId"].to_string();
    assert!(client.request("stats:3")?.contains(&format!(r#""value":"{last}""#)));
    assert!(!client.request("stats:15")?.contains("s.other"));

    let batch =
        json!([{"id": 1, "command": "update:x.other@erin 1"}, {"id": 2, "command": "llookup:a.wavi@erin"}]);
    assert_eq!(
        json(&mut client, &format!("batch:{batch}"))?,
        json!([
            {"id": 1, "response": {"error_code": "AT0009", "error_message": "UnAuthorized client in request"}},
            {"id": 2, "response": {"data": "a.wavi"}},
        ])
    );
    Ok(())
}

#[test]
fn a_reference_does_not_lead_out_of_the_namespaces() -> Result<()> {
    let (server, device) = filled()?;
    data(&mut server.connect_as_owner()?, "update:@erin:secret.other@erin hidden")?;
    let mut client = device.connect(&server)?;
    data(&mut client, "update:@erin:way.wavi@erin atsign://secret.other@erin")?;
    assert!(client.request("lookup:way.wavi@erin")?.starts_with("error:AT0015-"));
    assert_eq!(data(&mut server.connect_as_owner()?, "lookup:way.wavi@erin")?, "hidden");
    Ok(())
}

#[test]
fn info_tells_a_client_of_its_enrollment() -> Result<()> {
    let (server, device) = filled()?;
    let mut client = device.connect(&server)?;
    let told = json(&mut client, "info")?;
    let metadata = &told["apkam_metadata"];
    assert_eq!((&metadata["appName"], &metadata["deviceName"]), (&json!("app"), &json!("pixel")));
    assert_eq!(metadata["namespaces"], json!({"wavi": "rw", "buzz": "r"}));
    assert_eq!(metadata["apkamPublicKey"], json!(device.public_key()));
    assert!(json(&mut client, "info:brief")?.get("apkam_metadata").is_none());
    assert!(json(&mut server.connect_as_owner()?, "info")?.get("apkam_metadata").is_none());
    Ok(())
}

#[test]
fn the_wrong_key_does_not_prove_an_enrollment() -> Result<()> {
    let (server, device) = filled()?;
    let thief = Device { id: device.id.clone(), ..Device::new()? };
    let mut client = server.connect()?;
    assert_eq!(thief.login(&mut client, "@erin")?, "error:AT0401-Exception: pkam authentication failed\n@");
    let nobody = Device { id: "none".to_owned(), ..Device::new()? };
    assert_eq!(
        nobody.login(&mut client, "@erin")?,
        "error:AT0028:enrollment_id: none is expired or invalid\n@"
    );
    Ok(())
}
