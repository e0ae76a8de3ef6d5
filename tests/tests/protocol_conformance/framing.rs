//! Lines, prompts and the greeting (reference page sections 1.2 and 1.3).

use anyhow::Result;

use crate::{alice, owner, stranger};

const INVALID: &str = "error:AT0003-Exception: invalid command\n@";

#[test]
fn the_greeting_is_a_single_at() -> Result<()> {
    // Reading and checking it is what connecting does.
    stranger().map(drop)
}

#[test]
fn a_stranger_has_the_bare_prompt_and_the_owner_his_own() -> Result<()> {
    assert!(stranger()?.request("info:brief")?.ends_with("}\n@"));
    assert!(owner()?.request("info:brief")?.ends_with("}\n@alice@"));
    Ok(())
}

#[test]
fn an_answer_and_its_prompt_come_in_one_record() -> Result<()> {
    let mut client = owner()?;
    for command in ["info", "scan", "llookup:none@alice", "nonsense", "noop:0"] {
        client.send(format!("{command}\n").as_bytes())?;
        assert!(client.read_some()?.ends_with("\n@alice@"), "{command}");
    }
    Ok(())
}

#[test]
fn the_prompt_of_a_long_answer_is_never_alone_in_a_record() -> Result<()> {
    let mut client = owner()?;
    // With `data:`, line feed and prompt these end at or around the end of a record of 16 KiB.
    for length in [16_384 - 13, 16_384 - 7, 16_384 - 6, 16_384 - 5, 16_384, 100_000] {
        let value = "v".repeat(length);
        client.request(&format!("update:framing.long@alice {value}"))?;
        client.send(b"llookup:framing.long@alice\n")?;
        let mut answer = String::new();
        while !answer.ends_with("\n@alice@") {
            let record = client.read_some()?;
            assert_ne!(record, "@alice@", "{length}");
            answer.push_str(&record);
        }
        assert_eq!(answer, format!("data:{value}\n@alice@"));
    }
    Ok(())
}

#[test]
fn carriage_returns_and_outer_blanks_do_not_count() -> Result<()> {
    let mut client = stranger()?;
    for command in ["info:brief\r", "  info:brief  ", "INFO:BRIEF", "in fo:brief"] {
        assert!(client.request(command)?.starts_with("data:{"), "{command:?}");
    }
    Ok(())
}

#[test]
fn a_blank_line_on_its_own_is_answered() -> Result<()> {
    let mut client = stranger()?;
    // As the C SDK sends it after the greeting, waiting for an answer.
    client.send(b"\r\n")?;
    assert_eq!(client.answer()?, INVALID);
    client.send(b"\n")?;
    assert_eq!(client.answer()?, INVALID);
    assert!(client.request("info:brief")?.starts_with("data:{"));
    Ok(())
}

#[test]
fn a_second_line_feed_behind_a_command_is_not_a_command() -> Result<()> {
    let mut client = stranger()?;
    // As the Rust SDK sends it, expecting one answer.
    client.send(b"info:brief\n\n")?;
    assert!(client.answer()?.starts_with("data:{"));
    assert_eq!(client.request("nonsense")?, INVALID, "no answer of the blank line came in between");
    Ok(())
}

#[test]
fn commands_sent_together_are_answered_in_order() -> Result<()> {
    let mut client = stranger()?;
    client.send(b"noop:100\nlookup:none@alice\n")?;
    let expected = "data:ok\n@error:AT0015-Exception: public:none@alice does not exist in keystore\n@";
    let mut answers = String::new();
    while answers.len() < expected.len() {
        answers.push_str(&client.read_some()?);
    }
    assert_eq!(answers, expected);
    Ok(())
}

#[test]
fn a_command_may_arrive_byte_by_byte() -> Result<()> {
    let mut client = stranger()?;
    for byte in b"noop:0\n" {
        client.send(&[*byte])?;
    }
    assert_eq!(client.answer()?, "data:ok\n@");
    Ok(())
}

#[test]
fn bytes_that_are_no_text_are_an_invalid_command() -> Result<()> {
    let mut client = stranger()?;
    client.send(b"lookup:\xff\xfe@alice\n")?;
    assert_eq!(client.answer()?, INVALID);
    assert_eq!(client.request("noop:0")?, "data:ok\n@");
    Ok(())
}

#[test]
fn exit_closes_without_an_answer() -> Result<()> {
    let mut client = stranger()?;
    client.send(b"@exit\n")?;
    assert_eq!(client.rest()?, "");
    Ok(())
}

#[test]
fn a_strangers_command_is_short_or_refused() -> Result<()> {
    let mut client = stranger()?;
    let _ = client.send(&vec![b'x'; 20_000]);
    assert_eq!(client.rest()?, "error:AT0005-Exception: a command has at most 16384 bytes\n@");
    Ok(())
}

#[test]
fn the_owners_command_may_have_ten_megabytes() -> Result<()> {
    let mut client = owner()?;
    let longest = 10_240_000;
    let head = "update:framing.huge@alice ";
    let value = "v".repeat(longest - head.len());
    assert!(client.request(&format!("{head}{value}"))?.starts_with("data:"));
    client.request("delete:framing.huge@alice")?;
    let _ = client.send(format!("{head}{value}v\n").as_bytes());
    assert!(client.rest()?.starts_with("error:AT0005-Buffer limit exceeded : "));
    assert!(alice().is_alive());
    Ok(())
}
