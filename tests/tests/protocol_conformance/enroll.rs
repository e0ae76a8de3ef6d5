//! `enroll` (reference page section 2.21): from the request to the end of an enrollment.

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use serde_json::{Value, json};

use crate::apkam::{Device, approved};
use crate::{data, json, owner, stranger};

fn decide(client: &mut Client, operation: &str, id: &str) -> Result<String> {
    client.request(&format!(r#"enroll:{operation}:{{"enrollmentId":"{id}"}}"#))
}

/// A server and a device whose request waits.
fn pending(app: &str) -> Result<(Secondary, Client, Device)> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let passcode = data(&mut owner, "otp:get")?;
    let mut device = Device::new()?;
    device.enroll(&server, app, &json!({"wavi": "rw"}), &passcode)?;
    Ok((server, owner, device))
}

#[test]
fn the_first_enrollment_of_an_atsign_is_approved_at_once() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut client = server.connect_as_owner()?;
    let mut device = Device::new()?;
    let mut request = device.request("firstApp", &json!({"wavi": "rw"}));
    request["encryptedDefaultEncryptionPrivateKey"] = "private".into();
    request["encryptedDefaultSelfEncryptionKey"] = "self".into();
    let answer = json(&mut client, &format!("enroll:request:{request}"))?;
    assert_eq!(answer["status"], "approved");
    answer["enrollmentId"].as_str().context("an id")?.clone_into(&mut device.id);

    // The rest of the onboarding, as the Dart SDK does it.
    let mut client = device.connect(&server)?;
    assert_eq!(json(&mut client, "enroll:listns")?, json!({"*": "rw", "__manage": "rw", "wavi": "rw"}));
    assert!(client.request("update:public:publickey@grace MII")?.starts_with("data:"));
    assert_eq!(client.request("delete:privatekey:at_secret")?, "data:-1\n@grace@");
    let key = format!("{}.default_enc_private_key.__manage@grace", device.id);
    assert_eq!(data(&mut client, &format!("keys:get:keyName:{key}"))?, r#"{"value":"private"}"#);
    assert!(server.connect_as_owner().is_err(), "the secret is worth nothing any more");
    // Its key is the owner's own, too.
    let stored = data(&mut client, "llookup:privatekey:at_pkam_publickey");
    assert!(stored.is_err(), "the key stays with the server");
    device.connect(&server)?;
    Ok(())
}

#[test]
fn a_device_logs_in_once_it_is_approved() -> Result<()> {
    let (server, mut owner, device) = pending("app")?;
    let id = &device.id;
    let mut client = server.connect()?;
    assert_eq!(
        device.login(&mut client, "@grace")?,
        format!("error:AT0026:enrollment_id: {id} is pending\n@")
    );
    assert_eq!(
        json(&mut owner, &format!(r#"enroll:approve:{{"enrollmentId":"{id}"}}"#))?,
        json!({"enrollmentId": id, "status": "approved"})
    );
    assert_eq!(device.login(&mut client, "@grace")?, "data:success\n@grace@");
    Ok(())
}

#[test]
fn each_decision_is_for_some_states_and_says_so_of_the_others() -> Result<()> {
    let (server, mut owner, device) = pending("app")?;
    let id = device.id.clone();
    let mut login = server.connect()?;
    let wrong = |operation: &str, text: &str, owner: &mut Client| -> Result<()> {
        let answer = decide(owner, operation, &id)?;
        assert_eq!(
            answer,
            format!("error:AT0011-Internal server exception : {text}\n@grace@"),
            "{operation}"
        );
        Ok(())
    };
    let failed = |operation: &str, what: &str, only: &str| {
        format!("Failed to {operation} enrollment id: {}. Cannot {what} enrollment. Only {only}", device.id)
    };
    let pending_only = "pending enrollments can be approved";
    wrong(
        "revoke",
        &failed("revoke", "revoke a pending", "approved enrollments can be revoked"),
        &mut owner,
    )?;
    wrong(
        "unrevoke",
        &failed("unrevoke", "un-revoke a pending", "revoked enrollments can be un-revoked"),
        &mut owner,
    )?;
    assert_eq!(
        decide(&mut owner, "deny", &device.id)?,
        format!("data:{{\"enrollmentId\":\"{}\",\"status\":\"denied\"}}\n@grace@", device.id)
    );
    wrong("approve", &failed("approve", "approve a denied", pending_only), &mut owner)?;
    assert_eq!(
        device.login(&mut login, "@grace")?,
        format!("error:AT0025:enrollment_id: {} is denied\n@", device.id)
    );
    assert!(decide(&mut owner, "delete", &device.id)?.contains(r#""status":"deleted""#));
    for operation in ["approve", "deny", "revoke", "unrevoke", "delete", "fetch"] {
        assert_eq!(
            decide(&mut owner, operation, &device.id)?,
            format!("error:AT0028:enrollment_id: {} is expired or invalid\n@grace@", device.id),
            "{operation}"
        );
    }

    let device = approved(&server, "other", &json!({"wavi": "rw"}))?;
    assert_eq!(
        decide(&mut owner, "delete", &device.id)?,
        format!(
            "error:AT0011-Internal server exception : Failed to delete enrollment id: {} | Cause: Cannot delete \
             approved enrollments. Only denied and revoked enrollments can be deleted\n@grace@",
            device.id
        )
    );
    Ok(())
}

#[test]
fn a_revoked_enrollment_loses_its_connections_and_gets_new_ones_when_it_is_back() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let device = approved(&server, "app", &json!({"wavi": "rw"}))?;
    let mut client = device.connect(&server)?;
    assert!(decide(&mut owner, "revoke", &device.id)?.contains(r#""status":"revoked""#));
    assert_eq!(client.rest()?, "", "the connection is closed without a word");
    let mut client = server.connect()?;
    assert_eq!(
        device.login(&mut client, "@grace")?,
        format!("error:AT0027:enrollment_id: {} is revoked\n@", device.id)
    );
    assert!(decide(&mut owner, "unrevoke", &device.id)?.contains(r#""status":"approved""#));
    device.connect(&server)?;
    Ok(())
}

#[test]
fn nobody_revokes_his_own_enrollment_but_by_force() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let device = approved(&server, "app", &json!({"wavi": "rw", "__manage": "rw"}))?;
    let mut client = device.connect(&server)?;
    assert_eq!(
        decide(&mut client, "revoke", &device.id)?,
        "error:AT0031-Cannot revoke self enrollment : Current client cannot revoke its own enrollment\n@grace@"
    );
    let answer = json(&mut client, &format!(r#"enroll:revoke:force:{{"enrollmentId":"{}"}}"#, device.id))?;
    assert_eq!(
        answer,
        json!({
            "enrollmentId": device.id,
            "status": "revoked",
            "message": "Enrollment is revoked. Closing the connection in 10 seconds",
        })
    );
    client.send(b"scan\n")?;
    assert_eq!(client.rest()?, format!("error:AT0027:enrollment_id: {} is revoked\n@", device.id));
    Ok(())
}

#[test]
fn an_enrollment_ends_by_itself_and_so_do_its_connections() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let mut device = Device::new()?;
    let mut request = device.request("app", &json!({"wavi": "rw"}));
    request["otp"] = data(&mut owner, "otp:get")?.into();
    request["apkamKeysExpiryInMillis"] = 1500.into();
    let answer = json(&mut server.connect()?, &format!("enroll:request:{request}"))?;
    answer["enrollmentId"].as_str().context("an id")?.clone_into(&mut device.id);
    std::thread::sleep(std::time::Duration::from_millis(1600));
    decide(&mut owner, "approve", &device.id)?;
    let mut client = device.connect(&server)?;
    std::thread::sleep(std::time::Duration::from_millis(1600));
    let expired = format!("error:AT0028:enrollment_id: {} is expired or invalid\n@", device.id);
    client.send(b"scan\n")?;
    assert_eq!(client.rest()?, expired);
    assert_eq!(device.login(&mut server.connect()?, "@grace")?, expired);
    Ok(())
}

#[test]
fn who_approves_holds_manage_and_all_that_is_asked_for() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let plain = approved(&server, "plain", &json!({"wavi": "rw"}))?;
    let manager = approved(&server, "manager", &json!({"wavi": "rw", "__manage": "rw"}))?;
    let request = |app: &str, namespaces: &Value, owner: &mut Client| -> Result<String> {
        let mut device = Device::new()?;
        device.enroll(&server, app, namespaces, &data(owner, "otp:get")?)?;
        Ok(device.id)
    };
    let small = request("small", &json!({"wavi": "r"}), &mut owner)?;
    let large = request("large", &json!({"wavi": "r", "buzz": "r"}), &mut owner)?;
    let internal = "error:AT0011-Internal server exception : ";
    assert_eq!(
        decide(&mut plain.connect(&server)?, "approve", &small)?,
        format!(
            "{internal}Failed to approve enrollment id: {small}. The approving client does not have access to \"__manage\" namespace\n@grace@"
        )
    );
    let mut manager = manager.connect(&server)?;
    assert_eq!(
        decide(&mut manager, "approve", &large)?,
        format!(
            "{internal}Failed to approve enrollment id: {large}. Client is not authorized for namespaces in the enrollment request\n@grace@"
        )
    );
    assert!(decide(&mut manager, "approve", &small)?.starts_with("data:"));
    Ok(())
}

#[test]
fn enrollments_are_listed_by_state_and_a_plain_client_sees_its_own() -> Result<()> {
    let (server, mut owner, waiting) = pending("waiting")?;
    let plain = approved(&server, "plain", &json!({"wavi": "rw"}))?;
    let entry = |app: &str, status: &str| {
        json!({
            "appName": app,
            "deviceName": "pixel",
            "namespace": {"wavi": "rw"},
            "encryptedAPKAMSymmetricKey": "symmetric",
            "status": status,
        })
    };
    let key = |device: &Device| format!("{}.new.enrollments.__manage@grace", device.id);
    let all = json!({key(&waiting): entry("waiting", "pending"), key(&plain): entry("plain", "approved")});
    assert_eq!(json(&mut owner, "enroll:list")?, all);
    assert_eq!(
        json(&mut owner, r#"enroll:list:{"enrollmentStatusFilter":["pending"]}"#)?,
        json!({key(&waiting): entry("waiting", "pending")})
    );
    let mut client = plain.connect(&server)?;
    assert_eq!(json(&mut client, "enroll:list")?, json!({key(&plain): entry("plain", "approved")}));
    assert_eq!(
        json(&mut client, &format!(r#"enroll:fetch:{{"enrollmentId":"{}"}}"#, plain.id))?,
        entry("plain", "approved")
    );
    assert!(decide(&mut client, "fetch", &waiting.id)?.starts_with("error:AT0009-"));

    // What is fetched has a key in it: that needs all that a decision needs.
    for (namespaces, starts) in [
        (json!({"__manage": "rw", "buzz": "rw"}), "error:AT0009-"),
        (json!({"__manage": "rw", "*": "rw"}), "data:"),
    ] {
        let manager = approved(&server, &format!("manager of {namespaces}"), &namespaces)?;
        let mut client = manager.connect(&server)?;
        assert!(decide(&mut client, "fetch", &waiting.id)?.starts_with(starts), "{namespaces}");
        assert!(client.request("enroll:list")?.contains(&waiting.id), "it is listed in any case");
    }
    Ok(())
}

#[test]
fn an_application_on_a_device_is_enrolled_once() -> Result<()> {
    let (server, mut owner, first) = pending("app")?;
    let request = |otp: String| -> Result<String> {
        let mut request = Device::new()?.request("app", &json!({"wavi": "rw"}));
        request["otp"] = otp.into();
        server.connect()?.request(&format!("enroll:request:{request}"))
    };
    let passcode = data(&mut owner, "otp:get")?;
    assert_eq!(
        request(passcode.clone())?,
        format!(
            "error:AT0011-Exception: Another enrollment with id {} exists with the app name: app and device name: pixel \
             in pending state\n@",
            first.id
        )
    );
    assert!(request(passcode)?.contains("invalid otp"), "the passcode is used up all the same");
    decide(&mut owner, "deny", &first.id)?;
    assert!(request(data(&mut owner, "otp:get")?)?.starts_with("data:"));
    Ok(())
}

#[test]
fn a_request_that_lacks_something_leaves_the_passcode_as_it_is() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let passcode = data(&mut server.connect_as_owner()?, "otp:get")?;
    let mut whole = Device::new()?.request("app", &json!({"wavi": "rw"}));
    whole["otp"] = passcode.into();
    for (field, what) in [
        ("appName", "appName is mandatory for enroll:request"),
        ("deviceName", "deviceName is mandatory for enroll:request"),
        ("apkamPublicKey", "apkamPublicKey is mandatory for enroll:request"),
        ("encryptedAPKAMSymmetricKey", "encryptedAPKAMSymmetricKey is mandatory for enroll:request"),
        ("namespaces", "At least one namespace must be specified for new client enroll:request"),
    ] {
        let mut request = whole.clone();
        request.as_object_mut().context("an object")?.remove(field);
        let answer = server.connect()?.request(&format!("enroll:request:{request}"))?;
        assert_eq!(answer, format!("error:AT0022-Exception: {what}\n@"));
    }
    assert!(server.connect()?.request(&format!("enroll:request:{whole}"))?.starts_with("data:"));
    Ok(())
}

#[test]
fn a_connection_requests_five_enrollments_an_hour() -> Result<()> {
    let server = Secondary::start_with("@grace", &["--testing-mode"])?;
    let mut client = server.connect_as_owner()?;
    let mut request = |app: usize| {
        let request = Device::new()?.request(&format!("app{app}"), &json!({"wavi": "rw"}));
        client.request(&format!("enroll:request:{request}"))
    };
    for app in 0..5 {
        assert!(request(app)?.starts_with("data:"), "{app}");
    }
    assert_eq!(
        request(5)?,
        "error:AT0011-Internal server exception : Enrollment requests have exceeded the limit within the specified \
         time frame\n@grace@"
    );
    assert_eq!(data(&mut server.connect_as_owner()?, "config:set:maxRequestsPerTimeFrame=6")?, "ok");
    assert!(request(6)?.starts_with("data:"));
    Ok(())
}

#[test]
fn a_wrong_passcode_is_answered_late() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let request = Device::new()?.request("app", &json!({"wavi": "rw"}));
    for seconds in [1, 2] {
        let began = std::time::Instant::now();
        assert_eq!(
            server.connect()?.request(&format!("enroll:request:{request}"))?,
            "error:AT0011-Exception: invalid otp. Cannot process enroll request\n@"
        );
        assert!(began.elapsed().as_secs() >= seconds, "{:?}", began.elapsed());
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_refused_word_for_word() -> Result<()> {
    let mut client = owner()?;
    for (command, error) in [
        ("enroll:request", "AT0022-Illegal arguments : Enroll parameters not provided"),
        ("enroll:approve", "AT0022-Illegal arguments : Enroll parameters not provided"),
        ("enroll:approve:{", "AT0022-Illegal arguments : Enroll parameters are not valid at line 1 column 1"),
        ("enroll:approve:{}", "AT0022-Illegal arguments : enrollmentId is mandatory for enroll:approve"),
        (r#"enroll:approve:{"enrollmentId":"none"}"#, "AT0028:enrollment_id: none is expired or invalid"),
        ("enroll:join:{}", "AT0003-Invalid syntax : invalid command: enroll does not know this operation"),
    ] {
        assert_eq!(client.request(command)?, format!("error:{error}\n@alice@"), "{command}");
    }
    let mut client = stranger()?;
    for operation in ["approve", "deny", "revoke", "unrevoke", "delete", "list", "fetch", "listns", "update"]
    {
        assert_eq!(
            client.request(&format!("enroll:{operation}:{{}}"))?,
            format!("error:AT0401-Exception: Cannot {operation} enrollment without authentication\n@")
        );
    }
    Ok(())
}
