//! What an enrollment changes of itself, and what is published of it (reference page section 2.21, appendix A).

use anyhow::Result;
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use serde_json::json;

use crate::apkam::{Device, approved};
use crate::{data, json};

fn sign(device: &Device, text: &str) -> Result<String> {
    let signature = device.pair.sign(&SystemRandom::new(), text.as_bytes());
    Ok(STANDARD.encode(signature.map_err(|_| anyhow::anyhow!("no signature"))?.as_ref()))
}

#[test]
fn only_an_enrollment_itself_changes_its_key_and_only_for_one_that_proves_itself() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let device = approved(&server, "app", &json!({"wavi": "rw"}))?;
    let next = Device { id: device.id.clone(), ..Device::new()? };
    let update = json!({"enrollmentId": device.id, "apkamPublicKey": next.public_key()});
    let mut owner = server.connect_as_owner()?;
    assert!(owner.request(&format!("enroll:update:{update}"))?.starts_with("error:AT0011-"));
    let unsigned = device.connect(&server)?.request(&format!("enroll:update:{update}"))?;
    assert!(unsigned.starts_with("error:AT0011-"), "{unsigned}");
    assert!(unsigned.contains("requires apkamPublicKeySignature"), "{unsigned}");
    assert!(next.connect(&server).is_err());
    Ok(())
}

#[test]
fn an_enrollment_changes_its_own_key() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let device = approved(&server, "app", &json!({"wavi": "rw"}))?;
    let next = Device { id: device.id.clone(), ..Device::new()? };
    let key = next.public_key();
    let update = |signature: String| {
        json!({
            "enrollmentId": device.id,
            "apkamPublicKey": key,
            "signingAlgo": "ecc_secp256r1",
            "apkamPublicKeySignature": signature,
        })
    };
    let text = format!("{}|{key}|ecc_secp256r1", device.id);
    let mut client = device.connect(&server)?;
    let refused = client.request(&format!("enroll:update:{}", update(sign(&device, &text)?)))?;
    assert!(refused.contains("apkamPublicKeySignature does not verify"), "{refused}");
    let done = client.request(&format!("enroll:update:{}", update(sign(&next, &text)?)))?;
    assert!(done.starts_with("data:"), "{done}");
    assert!(device.connect(&server).is_err());
    next.connect(&server)?;
    let published = json(&mut server.connect()?, "lookup:app.pixel.pkam.__pkams.__public_keys@grace")?;
    assert_eq!(published["apkamPublicKey"], next.public_key());

    // From now on the record says how it signs, whatever its clients say.
    let mut client = server.connect()?;
    let challenge = client.challenge("@grace")?;
    let login = format!("pkam:signingAlgo:rsa2048:enrollmentId:{}:{}", next.id, sign(&next, &challenge)?);
    assert_eq!(client.request(&login)?, "data:success\n@grace@");
    Ok(())
}

#[test]
fn an_update_widens_nothing_and_names_what_it_changes() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let device = approved(&server, "app", &json!({"wavi": "rw"}))?;
    let mut client = device.connect(&server)?;
    for update in [
        json!({"enrollmentId": device.id}),
        json!({"enrollmentId": device.id, "namespaces": {"*": "rw"}, "metadata": {}}),
        json!({"enrollmentId": device.id, "signingAlgo": "rsa2048"}),
        json!({"enrollmentId": device.id, "apsk": {"v": 1}, "apskLegacy": "k"}),
        json!({"enrollmentId": device.id, "metadata": {"large": "x".repeat(70_000)}}),
    ] {
        let answer = client.request(&format!("enroll:update:{update}"))?;
        assert!(answer.starts_with("error:AT0022-"), "{answer}");
    }
    assert_eq!(json(&mut client, "enroll:listns")?, json!({"wavi": "rw"}));
    Ok(())
}

fn assert_gone(client: &mut Client, lookup: &str) -> Result<()> {
    let answer = client.request(lookup)?;
    assert!(answer.starts_with("error:AT0015-"), "{answer}");
    Ok(())
}

#[test]
fn a_signing_key_is_published_from_the_approval_on_and_goes_with_its_enrollment() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let mut device = Device::new()?;
    let mut request = device.request("app", &json!({"wavi": "rw"}));
    request["otp"] = data(&mut owner, "otp:get")?.into();
    request["apsk"] = json!({"v": 1, "publicKey": "k"});
    let answer = json(&mut server.connect()?, &format!("enroll:request:{request}"))?;
    device.id = answer["enrollmentId"].as_str().unwrap_or_default().to_owned();
    let lookup = format!("lookup:_apsk.{}.a.__e@grace", device.id);
    let mut stranger = server.connect()?;
    assert!(stranger.request(&lookup)?.starts_with("error:AT0015-"));
    let decide = |operation: &str| format!(r#"enroll:{operation}:{{"enrollmentId":"{}"}}"#, device.id);
    data(&mut owner, &decide("approve"))?;
    assert_eq!(json(&mut stranger, &lookup)?, json!({"v": 1, "publicKey": "k"}));

    let mut client = device.connect(&server)?;
    data(&mut client, &format!(r#"enroll:update:{{"enrollmentId":"{}","apskLegacy":"MIIB"}}"#, device.id))?;
    assert_eq!(data(&mut stranger, &lookup)?, "MIIB");
    let other = approved(&server, "other", &json!({"*": "rw"}))?;
    let write = format!("update:public:_apsk.{}.a.__e@grace mine", device.id);
    assert!(other.connect(&server)?.request(&write)?.starts_with("error:AT0009-"));
    // A revoked one verifies nothing; its key is kept aside for its return.
    data(&mut owner, &decide("revoke"))?;
    assert_gone(&mut stranger, &lookup)?;
    let aside = lookup.replace(".a.__e", ".r.__e");
    assert_eq!(data(&mut stranger, &aside)?, "MIIB");
    data(&mut owner, &decide("unrevoke"))?;
    assert_eq!(data(&mut stranger, &lookup)?, "MIIB");
    assert_gone(&mut stranger, &aside)?;
    data(&mut owner, &decide("revoke"))?;
    data(&mut owner, &decide("delete"))?;
    assert_gone(&mut stranger, &lookup)?;
    assert_gone(&mut stranger, &aside)?;
    Ok(())
}

#[test]
fn who_may_read_a_namespace_is_told_to_those_who_may() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let writer = approved(&server, "writer", &json!({"wavi": "rw"}))?;
    let reader = approved(&server, "reader", &json!({"wavi": "r", "buzz": "r"}))?;
    let other = approved(&server, "other", &json!({"buzz": "rw"}))?;
    let update = json!({"enrollmentId": reader.id, "metadata": {"keyPackage": "x"}});
    data(&mut reader.connect(&server)?, &format!("enroll:update:{update}"))?;
    let members = json(&mut writer.connect(&server)?, "enroll:listns:wavi")?;
    let mut members = members.as_array().cloned().unwrap_or_default();
    members.sort_by_key(|member| member["access"].to_string());
    let member = |device: &Device, access: &str, metadata| {
        json!({
            "enrollmentId": device.id,
            "access": access,
            "apkamPubKey": device.public_key(),
            "metadata": metadata,
        })
    };
    let expected = [member(&reader, "r", json!({"keyPackage": "x"})), member(&writer, "rw", json!(null))];
    assert_eq!(members, expected);
    let refused = other.connect(&server)?.request("enroll:listns:wavi")?;
    assert!(refused.starts_with("error:AT0009-"), "{refused}");
    Ok(())
}
