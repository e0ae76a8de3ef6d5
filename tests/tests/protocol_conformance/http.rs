//! Public keys by plain HTTP, on the same port (reference page, appendix A, 3.6).

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use serde_json::Value;

use crate::{alice, data, owner};

/// Status and head of the answer to a request, and its body.
fn exchange(request: &str) -> Result<(u16, String, String)> {
    let mut stream = Client::tls(alice(), &[b"h2", b"http/1.1"])?;
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, head.to_ascii_lowercase(), body.to_owned()))
}

fn get(target: &str) -> Result<(u16, String, String)> {
    exchange(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

#[test]
fn a_public_key_is_a_page_and_its_name_is_the_path_from_the_end() -> Result<()> {
    let mut client = owner()?;
    data(&mut client, "update:public:index.html.http.blog@alice <p>Hello</p>")?;
    data(&mut client, "update:http.private@alice secret")?;
    for target in
        ["/blog/http/index.html", "/@alice/blog/http/index.html", "/public:index.html.http.blog@alice"]
    {
        let (status, head, body) = get(target)?;
        assert_eq!((status, body.as_str()), (200, "<p>Hello</p>"), "{target}");
        assert!(head.contains("\r\ncontent-type: text/html; charset=utf-8"), "{head}");
    }
    let (_, head, _) = get("/blog/http/index.html?at_ct=text/x-mine")?;
    assert!(head.contains("\r\ncontent-type: text/x-mine; charset=utf-8"), "{head}");
    for target in ["/private/http", "/nothing", "/", "/a%20b"] {
        let (status, _, body) = get(target)?;
        assert_eq!((status, body.as_str()), (404, "404 Not Found"), "{target}");
    }
    Ok(())
}

#[test]
fn its_metadata_is_asked_for_by_a_parameter() -> Result<()> {
    let mut client = owner()?;
    data(&mut client, "update:ttl:100000:public:http.meta@alice 1")?;
    for (target, command) in [
        ("/meta/http?at_rt=meta", "lookup:meta:http.meta@alice"),
        ("/meta/http?at_rt=all", "lookup:all:http.meta@alice"),
    ] {
        let (status, head, body) = get(target)?;
        assert!(status == 200 && head.contains("application/json"), "{head}");
        let looked_up: Value = crate::json(&mut crate::stranger()?, command)?;
        assert_eq!(serde_json::from_str::<Value>(&body)?, looked_up, "{target}");
    }
    Ok(())
}

#[test]
fn nothing_else_is_done_by_http() -> Result<()> {
    assert_eq!(exchange("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?.0, 405);
    assert_eq!(get(&format!("/{}", "a".repeat(1001)))?.0, 400);
    assert_eq!(get(&format!("/{}", "a".repeat(20_000)))?.0, 431);
    Ok(())
}

#[test]
fn who_asks_for_the_at_protocol_or_for_nothing_is_greeted() -> Result<()> {
    for protocols in [&[&b"atProtocol/1.0"[..]][..], &[]] {
        let mut stream = Client::tls(alice(), protocols)?;
        let mut greeting = [0];
        stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting, b"@");
    }
    Ok(())
}
