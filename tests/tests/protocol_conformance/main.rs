//! The atProtocol as clients see it, by verb: the bytes that a secondary server answers to the bytes that it is sent.
//!
//! The tests of one server share it and keep apart by the names of their keys; what needs a server of its own starts
//! one.

mod apkam;
mod bad_input;
mod batch;
mod config;
mod connections;
mod copies;
mod cram;
mod delete;
mod enroll;
mod enroll_update;
mod framing;
mod from;
mod handshake;
mod http;
mod info;
mod keys;
mod limits;
mod llookup;
mod lookup;
mod monitor;
mod monitor_enrollments;
mod noop;
mod notify;
mod otp;
mod pkam;
mod plookup;
mod pol;
mod scan;
mod stats;
mod stream;
mod sync;
mod tls;
mod to;
mod update;
mod update_meta;
mod websocket;

use std::sync::OnceLock;

use anyhow::Result;
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

/// The server that most tests share: @alice's, with its onboarding not finished, and alone in the world. It ends with the test process.
fn alice() -> &'static Secondary {
    static ALICE: OnceLock<Secondary> = OnceLock::new();
    ALICE.get_or_init(|| {
        Secondary::start_with(
            "@alice",
            &["--client-certificate-required", "false", "--directory", "localhost:1"],
        )
        .expect("a server of @alice")
    })
}

/// A client that has proved nothing.
fn stranger() -> Result<Client> {
    alice().connect()
}

/// A client that has proved to be @alice.
fn owner() -> Result<Client> {
    alice().connect_as_owner()
}

/// Sends a command and returns what stands between `data:` and the line feed.
fn data(client: &mut Client, command: &str) -> Result<String> {
    let answer = client.request(command)?;
    let text = answer.strip_prefix("data:").and_then(|rest| rest.rsplit_once('\n'));
    let (text, _) = text.ok_or_else(|| anyhow::anyhow!("{command} answered {answer:?}"))?;
    Ok(text.to_owned())
}

/// The same as JSON.
fn json(client: &mut Client, command: &str) -> Result<Value> {
    Ok(serde_json::from_str(&data(client, command)?)?)
}
