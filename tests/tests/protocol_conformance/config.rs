//! `config` (reference page section 2.18): the block list, and the settings of testing mode.

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use crate::{data, owner};

#[test]
fn who_is_blocked_cannot_begin_a_session_until_he_is_let_in_again() -> Result<()> {
    let server = Secondary::start("@conf")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(data(&mut client, "config:block:show")?, "null");
    assert_eq!(data(&mut client, "config:block:remove:@bob")?, "null");
    assert_eq!(data(&mut client, "config:block:add:@bob @colin @conf")?, "success");
    assert_eq!(data(&mut client, "config:block:add:@bob")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, r#"["@bob","@colin"]"#);

    let mut bob = server.connect()?;
    bob.send(b"from:@Bob\n")?;
    assert_eq!(bob.rest()?, "error:AT0013-Exception: Unable to connect\n@");

    assert_eq!(data(&mut client, "config:block:remove:@bob @nobody")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, r#"["@colin"]"#);
    assert!(!server.connect()?.request("from:@bob")?.starts_with("error:AT0013"));
    assert_eq!(data(&mut client, "config:block:remove:@colin")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, "null");
    Ok(())
}

#[test]
fn what_is_no_configuration_is_refused() -> Result<()> {
    let mut client = owner()?;
    for (command, error) in [
        ("config:", "error:AT0003-"),
        ("config:block:add:", "error:AT0003-"),
        ("config:block:add:@@kevin", "error:AT0003-"),
        ("config:block:list", "error:AT0003-"),
        ("config:print:nothing", "error:AT0011-"),
    ] {
        assert!(client.request(command)?.starts_with(error), "{command}");
    }
    assert!(crate::stranger()?.request("config:block:show")?.starts_with("error:AT0401-"));
    Ok(())
}

#[test]
fn settings_change_in_testing_mode_only() -> Result<()> {
    let mut client = owner()?;
    for command in ["config:set:autoNotify=false", "config:reset:autoNotify", "config:print:autoNotify"] {
        assert_eq!(data(&mut client, command)?, "testing mode disabled by default", "{command}");
    }

    let server = Secondary::start_with("@conf", &["--testing-mode"])?;
    let mut client = server.connect_as_owner()?;
    for (command, answer) in [
        ("config:print:autoNotify", "true"),
        ("config:set:autoNotify=false", "ok"),
        ("config:print:autoNotify", "false"),
        ("config:reset:autoNotify", "ok"),
        ("config:print:autoNotify", "true"),
        ("config:print:inboundMaxLimit", "200"),
        ("config:set:inboundMaxLimit=1", "ok"),
        ("config:print:inboundMaxLimit", "1"),
    ] {
        assert_eq!(data(&mut client, command)?, answer, "{command}");
    }
    assert!(server.connect().is_err(), "a second connection is one too many");
    assert_eq!(data(&mut client, "config:reset:inboundMaxLimit")?, "ok");
    server.connect()?;
    Ok(())
}
