//! The atProtocol through a WebSocket, on the same port (reference page, appendix A, 3.2).

use std::net::TcpStream;

use anyhow::{Context as _, Result};
use atsign_tests::client::{Client, digest};
use rustls::{ClientConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

use crate::alice;

type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// A WebSocket that has read the greeting.
fn connect() -> Result<Socket> {
    let stream = Client::tls(alice(), &[b"http/1.1"])?;
    let (mut socket, _) = tungstenite::client("wss://localhost/ws", stream).context("the upgrade")?;
    assert_eq!(socket.read()?, Message::text("@"));
    Ok(socket)
}

fn request(socket: &mut Socket, command: &str) -> Result<String> {
    socket.send(Message::text(format!("{command}\n")))?;
    Ok(socket.read()?.into_text()?.to_string())
}

fn log_in(socket: &mut Socket) -> Result<()> {
    let answer = request(socket, "from:@alice")?;
    let challenge = answer.trim_start_matches("data:").trim_end_matches("\n@");
    let answer = request(socket, &format!("cram:{}", digest(&alice().secret, challenge)))?;
    assert_eq!(answer, "data:success\n@alice@");
    Ok(())
}

#[test]
fn commands_and_answers_are_messages() -> Result<()> {
    let mut socket = connect()?;
    assert_eq!(request(&mut socket, "noop:0")?, "data:ok\n@");
    log_in(&mut socket)?;
    // More than a record, with letters of several bytes wherever it is cut.
    let value = "🦄ü".repeat(50_000);
    request(&mut socket, &format!("update:websocket@alice {value}"))?;
    assert_eq!(request(&mut socket, "llookup:websocket@alice")?, format!("data:{value}\n@alice@"));
    Ok(())
}

#[test]
fn a_command_may_come_in_several_messages_and_as_bytes() -> Result<()> {
    let mut socket = connect()?;
    socket.send(Message::text("no"))?;
    socket.send(Message::binary(&b"op:0\n"[..]))?;
    assert_eq!(socket.read()?, Message::text("data:ok\n@"));
    Ok(())
}

#[test]
fn a_monitor_is_told_by_messages_while_pings_are_answered() -> Result<()> {
    let (mut monitor, mut other) = (connect()?, connect()?);
    log_in(&mut monitor)?;
    log_in(&mut other)?;
    monitor.send(Message::text("monitor:selfNotifications:1 websocket\n"))?;
    monitor.send(Message::Ping(b"1".to_vec().into()))?;
    request(&mut other, "notify:@alice:websocket.told@alice:1")?;
    let (mut told, mut pong) = (false, false);
    while !told || !pong {
        match monitor.read()? {
            Message::Pong(payload) => pong = payload.as_ref() == b"1",
            Message::Text(text) => told |= text.contains("websocket.told"),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_close_is_answered_from_either_side() -> Result<()> {
    let mut socket = connect()?;
    socket.close(None)?;
    assert!(matches!(socket.read()?, Message::Close(_)));
    let mut socket = connect()?;
    socket.send(Message::text("@exit\n"))?;
    assert!(matches!(socket.read()?, Message::Close(_)));
    Ok(())
}
