//! `otp` (reference page section 2.20).

use anyhow::Result;
use atsign_tests::secondary::Secondary;
use serde_json::json;

use crate::apkam::{Device, approved};
use crate::{data, owner, stranger};

#[test]
fn a_passcode_has_six_characters_and_serves_once() -> Result<()> {
    let server = Secondary::start("@otp")?;
    let mut owner = server.connect_as_owner()?;
    let passcode = data(&mut owner, "otp:get")?;
    assert!(passcode.len() == 6 && passcode.bytes().any(|byte| byte.is_ascii_digit()), "{passcode}");
    assert!(!passcode.contains(['0', 'O']) && passcode.to_uppercase() == passcode, "{passcode}");
    Device::new()?.enroll(&server, "first", &json!({"wavi": "rw"}), &passcode.to_lowercase())?;
    let refused = Device::new()?.enroll(&server, "second", &json!({"wavi": "rw"}), &passcode);
    assert!(refused.expect_err("used").to_string().contains("invalid otp. Cannot process enroll request"));
    Ok(())
}

#[test]
fn a_passcode_of_the_owner_serves_many_times_until_there_is_another() -> Result<()> {
    let server = Secondary::start("@otp")?;
    let mut owner = server.connect_as_owner()?;
    assert_eq!(data(&mut owner, "otp:put:FirstCode")?, "ok");
    for app in ["a", "b"] {
        Device::new()?.enroll(&server, app, &json!({"wavi": "rw"}), "FirstCode")?;
    }
    assert_eq!(data(&mut owner, "otp:put:SecondCode:ttl:600000")?, "ok");
    assert!(Device::new()?.enroll(&server, "c", &json!({"wavi": "rw"}), "FirstCode").is_err());
    Device::new()?.enroll(&server, "c", &json!({"wavi": "rw"}), "SecondCode")?;
    Ok(())
}

#[test]
fn a_passcode_ends_by_itself() -> Result<()> {
    let server = Secondary::start("@otp")?;
    let mut owner = server.connect_as_owner()?;
    let passcode = data(&mut owner, "otp:get:ttl:1")?;
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(Device::new()?.enroll(&server, "late", &json!({"wavi": "rw"}), &passcode).is_err());
    Ok(())
}

#[test]
fn only_who_decides_about_enrollments_makes_passcodes() -> Result<()> {
    let server = Secondary::start("@otp")?;
    let manager = approved(&server, "manager", &json!({"__manage": "rw", "wavi": "rw"}))?;
    assert_eq!(data(&mut manager.connect(&server)?, "otp:get")?.len(), 6);
    let other = approved(&server, "other", &json!({"wavi": "rw"}))?;
    for command in ["otp:get", "otp:put:abcdef"] {
        let mut client = other.connect(&server)?;
        client.send(format!("{command}\n").as_bytes())?;
        assert!(client.rest()?.starts_with("error:AT0011-"), "{command}");
    }
    Ok(())
}

#[test]
fn what_is_no_passcode_is_refused() -> Result<()> {
    let mut client = owner()?;
    for command in ["otp:", "otp:get:ttl:x", "otp:put:short", "otp:put:", "otp:make"] {
        assert!(client.request(command)?.starts_with("error:AT0003-"), "{command}");
    }
    assert_eq!(
        stranger()?.request("otp:get")?,
        "error:AT0401-Exception: Command cannot be executed without auth\n@"
    );
    Ok(())
}
