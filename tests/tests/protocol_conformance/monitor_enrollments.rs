//! `monitor` and enrollments: requests are told to those who decide, and who is let in no more hears no more
//! (reference page sections 2.14 and 2.21).

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use serde_json::{Value, json};

use crate::apkam::{Device, approved};
use crate::monitor::Monitor;
use crate::{data, json};

/// A device whose request waits.
fn requested(server: &Secondary, owner: &mut Client, app: &str) -> Result<Device> {
    let mut device = Device::new()?;
    device.enroll(server, app, &json!({"wavi": "rw"}), &data(owner, "otp:get")?)?;
    Ok(device)
}

fn tell(owner: &mut Client, value: &str) -> Result<()> {
    data(owner, &format!("notify:@grace:note.wavi@grace:{value}")).map(drop)
}

#[test]
fn a_request_is_told_to_monitors_that_ask_for_it_and_outlives_the_server() -> Result<()> {
    let mut server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let mut asking = Monitor::start(&server, "monitor:selfNotifications")?;
    let mut plain = Monitor::start(&server, "monitor")?;
    let device = requested(&server, &mut owner, "app")?;
    let event = asking.notification()?;
    assert_eq!(event["key"], format!("{}.new.enrollments.__manage", device.id));
    assert_eq!((&event["from"], &event["to"]), (&"@grace".into(), &"@grace".into()));
    assert_eq!((&event["operation"], &event["isEncrypted"]), (&"update".into(), &false.into()));
    let value: Value = serde_json::from_str(event["value"].as_str().context("a text")?)?;
    let expected = json!({
        "appName": "app",
        "deviceName": "pixel",
        "namespace": {"wavi": "rw"},
        "encryptedApkamSymmetricKey": "symmetric",
        "encryptedAPKAMSymmetricKey": "symmetric",
    });
    assert_eq!(value, expected);
    tell(&mut owner, "1")?;
    assert_eq!(plain.notification()?["value"], "1", "others are not told of the request");
    assert!(!data(&mut owner, "notify:list")?.contains("__manage"));

    let id = event["id"].clone();
    server.restart()?;
    assert_eq!(Monitor::start(&server, "monitor:selfNotifications:0 __manage")?.notification()?["id"], id);
    assert_eq!(Monitor::start(&server, "monitor:0")?.notification()?["value"], "1");
    Ok(())
}

#[test]
fn only_clients_that_decide_about_enrollments_are_told_of_requests() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let manager = approved(&server, "manager", &json!({"__manage": "rw"}))?;
    let plain = approved(&server, "plain", &json!({"*": "rw"}))?;
    let mut told = Monitor::start_as(manager.connect(&server)?, "monitor:selfNotifications")?;
    let mut not_told = Monitor::start_as(plain.connect(&server)?, "monitor:selfNotifications")?;
    let device = requested(&server, &mut owner, "app")?;
    let event = told.notification()?;
    assert_eq!(event["key"], format!("{}.new.enrollments.__manage", device.id));
    tell(&mut owner, "1")?;
    assert_eq!(not_told.notification()?["value"], "1");
    let id = event["id"].as_str().context("an id")?;
    let fetch = format!("notify:fetch:{id}");
    assert_eq!(json(&mut manager.connect(&server)?, &fetch)?["type"], "NotificationType.self");
    assert!(plain.connect(&server)?.request(&fetch)?.starts_with("error:AT0009-"));
    Ok(())
}

#[test]
fn a_monitor_ends_with_its_enrollment() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut owner = server.connect_as_owner()?;
    let device = approved(&server, "app", &json!({"wavi": "rw"}))?;
    let mut monitor = Monitor::start_as(device.connect(&server)?, "monitor")?;
    // He may stay for ten seconds, and says goodbye only.
    let revoke = format!(r#"enroll:revoke:force:{{"enrollmentId":"{}"}}"#, device.id);
    data(&mut device.connect(&server)?, &revoke)?;
    tell(&mut owner, "1")?;
    let revoked = format!("error:AT0027:enrollment_id: {} is revoked", device.id);
    assert_eq!(monitor.line_but("notification: ")?, revoked);
    assert!(monitor.line().is_err(), "it is closed");

    let mut device = Device::new()?;
    let mut request = device.request("short", &json!({"wavi": "rw"}));
    request["otp"] = data(&mut owner, "otp:get")?.into();
    request["apkamKeysExpiryInMillis"] = 4000.into();
    let answer = json(&mut server.connect()?, &format!("enroll:request:{request}"))?;
    answer["enrollmentId"].as_str().context("an id")?.clone_into(&mut device.id);
    data(&mut owner, &format!(r#"enroll:approve:{{"enrollmentId":"{}"}}"#, device.id))?;
    let mut monitor = Monitor::start_as(device.connect(&server)?, "monitor")?;
    let expired = format!("error:AT0028:enrollment_id: {} is expired or invalid", device.id);
    loop {
        tell(&mut owner, "2")?;
        let line = monitor.line()?;
        if !line.starts_with("notification: ") {
            assert_eq!(line, expired);
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
