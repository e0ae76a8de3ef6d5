//! `stream` (reference page section 2.23).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::network::Network;

use crate::{data, owner, stranger};

/// Reads exactly so many bytes.
fn bytes(client: &mut Client, count: usize) -> Result<String> {
    let mut read = String::new();
    while read.len() < count {
        read.push_str(&client.read_some()?);
    }
    Ok(read)
}

#[test]
fn what_the_sender_sends_reaches_the_receiver_as_it_is() -> Result<()> {
    let (mut sender, mut receiver) = (owner()?, stranger()?);
    sender.send(b"stream:init@bob namespace:wavi whole-1 my photo.jpg 600000\n")?;
    accept(&mut receiver, "whole-1")?;
    assert_eq!(sender.read_some()?, "stream:ack whole-1\n");
    // More than fits into any buffer on the way, with lines in it that look like commands.
    let sent = "@exit\nstream:done whole-1\n".repeat(24_000);
    let sending = sent.clone();
    let sending = std::thread::spawn(move || sender.send(sending.as_bytes()).map(|()| sender));
    let arrived = bytes(&mut receiver, sent.len())?;
    assert!(arrived == sent, "{} bytes of {} are there", arrived.len(), sent.len());
    let mut sender = sending.join().expect("the sender's thread")?;
    receiver.send(b"stream:done whole-1\n")?;
    assert_eq!(sender.rest()?, "stream:done whole-1\n");
    assert_eq!(receiver.rest()?, "");
    Ok(())
}

/// Asks for a stream until it is there: nothing tells a client that it may.
fn accept(receiver: &mut Client, id: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        receiver.send(format!("stream:receive {id}\nnoop:0\n").as_bytes())?;
        // One answer where the stream is there, two where it is not.
        let answer = receiver.answer()?;
        if answer == "data:ok\n@" {
            return Ok(());
        }
        ensure!(answer.starts_with("error:AT0401-Exception: Invalid stream id\n@"), "{answer}");
        if !answer.ends_with("data:ok\n@") {
            receiver.answer()?;
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "no stream {id}");
    }
}

#[test]
fn a_stream_ends_with_either_of_the_two() -> Result<()> {
    let (mut sender, mut receiver) = (owner()?, stranger()?);
    sender.send(b"stream:init@bob gone-1 f 5\n")?;
    accept(&mut receiver, "gone-1")?;
    assert_eq!(sender.read_some()?, "stream:ack gone-1\n");
    sender.send(b"12345")?;
    assert_eq!(bytes(&mut receiver, 5)?, "12345");
    drop(sender);
    assert_eq!(receiver.rest()?, "");

    let (mut sender, mut receiver) = (owner()?, stranger()?);
    sender.send(b"stream:init@bob gone-2 f 5\n")?;
    accept(&mut receiver, "gone-2")?;
    assert_eq!(sender.read_some()?, "stream:ack gone-2\n");
    drop(receiver);
    assert_eq!(sender.rest()?, "");
    Ok(())
}

#[test]
fn a_stream_that_nobody_took_may_be_ended_or_offered_again() -> Result<()> {
    let (mut sender, mut other) = (owner()?, owner()?);
    sender.send(b"stream:init@bob again-1 f 5\n")?;
    assert_eq!(sender.request("noop:0")?, "data:ok\n@alice@", "commands are still obeyed");
    assert!(other.request("stream:init@bob again-1 f 5")?.starts_with("error:AT0022-"));
    other.send(b"stream:init@bob startByte:3 again-1 f 5\n")?;
    assert_eq!(sender.rest()?, "stream:done again-1\n");
    let mut receiver = stranger()?;
    accept(&mut receiver, "again-1")?;
    assert_eq!(other.read_some()?, "stream:ack again-1\n");
    assert!(stranger()?.request("stream:receive again-1")?.starts_with("error:AT0401-"), "one receiver only");
    Ok(())
}

#[test]
fn who_may_not_stream_is_told_so() -> Result<()> {
    let (mut stranger, mut owner) = (stranger()?, owner()?);
    let unproven = "error:AT0401-Exception: Stream init requires either pol or auth\n@";
    assert_eq!(stranger.request("stream:init@bob s f 5")?, unproven);
    assert_eq!(stranger.request("stream:resume@bob startByte:5 s f 5")?, unproven);
    for command in ["stream:receive none", "stream:done none"] {
        assert_eq!(stranger.request(command)?, "error:AT0401-Exception: Invalid stream id\n@", "{command}");
        assert!(owner.request(command)?.starts_with("error:AT0401-"), "{command}");
    }
    for command in ["stream", "stream:", "stream:init", "stream:send s", "stream:init@bob s f"] {
        assert!(owner.request(command)?.starts_with("error:AT0003-"), "{command}");
    }
    Ok(())
}

#[test]
fn the_receiver_hears_of_a_stream_by_a_notification() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut sender, mut receiver) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    sender.send(
        b"stream:init@bob namespace:wavi told-1 photo.jpg 1024\nstream:resume@bob startByte:7 told-2\n",
    )?;
    let begun = Instant::now();
    loop {
        let list = data(&mut receiver, "notify:list")?;
        if list.contains("@bob:stream_id.wavi") && list.contains("@bob:stream_resume told-2") {
            assert!(list.contains(r#""value":"told-1:photo.jpg:1024""#), "{list}");
            assert!(list.contains(r#""value":"7""#), "{list}");
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_mins(1), "@bob was told {list}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
