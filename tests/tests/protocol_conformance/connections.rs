//! How many may connect, and what happens when the server goes down (reference page section 1.6).

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use atsign_tests::secondary::Secondary;

/// The default of the protocol.
const MOST: usize = 200;

#[test]
fn the_connection_above_the_limit_is_told_so() -> Result<()> {
    let server = Secondary::start("@heidi")?;
    // Those of the start are closed, but their end may not have been noticed yet.
    std::thread::sleep(Duration::from_millis(200));
    let mut clients = (0..MOST).map(|_| server.connect()).collect::<Result<Vec<_>>>()?;
    let refused = server.connect().map(drop).expect_err("no place is left").to_string();
    assert!(refused.contains("error:AT0012-Inbound connection limit exceeded"), "{refused}");
    assert_eq!(clients[0].request("noop:0")?, "data:ok\n@", "the others stay");
    clients.pop();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.connect()?.request("noop:0")?, "data:ok\n@", "the place of one that left");
    Ok(())
}

#[test]
fn hanging_handshakes_do_not_keep_others_out() -> Result<()> {
    let server = Secondary::start("@heidi")?;
    let _hanging = (0..64)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).map_err(Into::into))
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    assert_eq!(server.connect()?.request("noop:0")?, "data:ok\n@");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_runs_and_ends() -> Result<()> {
    let server = Secondary::start("@heidi")?;
    let (mut busy, mut late) = (server.connect()?, server.connect()?);
    busy.send(b"noop:1000\n")?;
    std::thread::sleep(Duration::from_millis(100));
    server.signal("TERM")?;
    std::thread::sleep(Duration::from_millis(100));
    late.send(b"info\n")?;
    assert_eq!(
        late.rest()?,
        "error:AT0024-Exception: Server is temporarily paused and should be available again shortly\n@"
    );
    assert_eq!(busy.rest()?, "data:ok\n@");
    let start = Instant::now();
    while server.is_alive() {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
