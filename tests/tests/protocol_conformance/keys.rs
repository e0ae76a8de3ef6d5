//! `keys` (reference page section 2.22).

use anyhow::Result;
use atsign_tests::secondary::Secondary;
use serde_json::json;

use crate::apkam::approved;
use crate::{data, json, owner, stranger};

#[test]
fn an_enrollment_keeps_keys_that_no_other_one_touches() -> Result<()> {
    let server = Secondary::start("@keys")?;
    let first = approved(&server, "first", &json!({"wavi": "rw"}))?;
    let second = approved(&server, "second", &json!({"wavi": "rw"}))?;
    let (mut client, mut other) = (first.connect(&server)?, second.connect(&server)?);
    let fields = "namespace:wavi:appName:App:deviceName:pixel:keyType:rsa2048:encryptionKeyName:e";
    let names = [
        ("public", "public:k.__public_keys.wavi@keys"),
        ("private", "private:app.pixel.k.__private_keys.wavi@keys"),
        ("self", "app.pixel.k.__self_keys.wavi@keys"),
    ];
    for (kind, name) in names {
        assert_eq!(data(&mut client, &format!("keys:put:{kind}:{fields}:keyName:k the key"))?, "-1");
        let stored = json!({"value": "the key", "keyType": "rsa2048", "enrollmentId": first.id, "encryptionKeyName": "e"});
        assert_eq!(json(&mut client, &format!("keys:get:keyName:{name}"))?, stored);
        let mut listed = vec![name.to_owned()];
        match kind {
            "private" => listed.insert(0, format!("{}.default_enc_private_key.__manage@keys", first.id)),
            "self" => listed.insert(0, format!("{}.default_self_enc_key.__manage@keys", first.id)),
            _ => {}
        }
        assert_eq!(json(&mut client, &format!("keys:get:{kind}"))?, json!(listed));
        assert!(!data(&mut other, &format!("keys:get:{kind}"))?.contains(name));
        assert!(
            other.request(&format!("keys:put:{kind}:{fields}:keyName:k mine"))?.starts_with("error:AT0009-")
        );
        assert!(other.request(&format!("keys:delete:keyName:{name}"))?.starts_with("error:AT0009-"));
        let reads = other.request(&format!("keys:get:keyName:{name}"))?;
        assert!(reads.starts_with(if kind == "public" { "data:" } else { "error:AT0009-" }), "{reads}");
    }
    for (_, name) in names {
        assert_eq!(data(&mut client, &format!("keys:delete:keyName:{name}"))?, "-1");
        assert!(client.request(&format!("keys:get:keyName:{name}"))?.starts_with("error:AT0015-"));
    }
    Ok(())
}

#[test]
fn an_approved_device_fetches_the_keys_of_its_approval_and_nobody_elses() -> Result<()> {
    let server = Secondary::start("@keys")?;
    let first = approved(&server, "first", &json!({"wavi": "rw"}))?;
    let second = approved(&server, "second", &json!({"wavi": "rw"}))?;
    let mut client = first.connect(&server)?;
    let name = |id: &str, key: &str| format!("keys:get:keyName:{id}.{key}.__manage@keys");
    assert_eq!(json(&mut client, &name(&first.id, "default_enc_private_key"))?, json!({"value": "private"}));
    assert_eq!(
        json(&mut client, &name(&first.id, "default_self_enc_key"))?,
        json!({"value": "self", "iv": "iv"})
    );
    assert!(client.request(&name(&second.id, "default_self_enc_key"))?.starts_with("error:AT0015-"));
    assert!(client.request("keys:get:keyName:private:blocklist@keys")?.starts_with("error:AT0015-"));
    let outside = "keys:put:self:namespace:buzz:appName:a:deviceName:b:keyType:c:keyName:k v";
    assert!(client.request(outside)?.starts_with("error:AT0009-"));
    Ok(())
}

#[test]
fn keys_belong_to_enrollments_only() -> Result<()> {
    assert_eq!(
        owner()?.request("keys:get:self")?,
        "error:AT0011-Internal server exception : Keys verb cannot be accessed without an enrollmentId\n@alice@"
    );
    assert_eq!(
        stranger()?.request("keys:get:self")?,
        "error:AT0401-Exception: Command cannot be executed without auth\n@"
    );
    assert!(owner()?.request("keys:steal:self")?.starts_with("error:AT0003-"));
    Ok(())
}
