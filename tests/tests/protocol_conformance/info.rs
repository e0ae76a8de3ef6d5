//! `info` (reference page section 2.19).

use anyhow::{Context as _, Result};
use atsign_tests::secondary::Secondary;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::{data, json, stranger};

#[test]
fn info_tells_version_and_uptime_in_words() -> Result<()> {
    let answer = data(&mut stranger()?, "info")?;
    assert!(answer.starts_with(r#"{"version":""#) && answer.ends_with(r#" seconds"}"#), "{answer}");
    Ok(())
}

#[test]
fn info_brief_tells_them_in_numbers() -> Result<()> {
    let mut client = stranger()?;
    let uptime = |client: &mut _| -> Result<Option<u64>> {
        Ok(json(client, "info:brief")?["uptimeAsMillis"].as_u64())
    };
    let before = uptime(&mut client)?;
    client.request("noop:5")?;
    assert!(before < uptime(&mut client)?, "{before:?}");
    Ok(())
}

#[test]
fn info_mtls_shows_the_certificate_that_other_servers_are_shown() -> Result<()> {
    let server = Secondary::start("@mtls")?;
    let mut client = server.connect()?;
    let told = json(&mut client, "info:mtls")?;
    let told = CertificateDer::from_pem_slice(told["mtls_fullchain"].as_str().context("PEM")?.as_bytes())?;
    assert_eq!(told, CertificateDer::from_pem_file(server.folder.join("tls.crt"))?);
    let brief = json(&mut client, "info:mtlsbrief")?;
    for file in ["mtls_fullchain_last_modified", "mtls_privkey_last_modified"] {
        let time = brief[file].as_str().context("a time")?;
        assert!(time.len() == "2026-05-05T08:00:00.000Z".len() && time.ends_with('Z'), "{brief}");
    }
    assert!(brief["mtls_fullchain"].is_null(), "{brief}");
    Ok(())
}

#[test]
fn a_server_that_shows_no_certificate_tells_none() -> Result<()> {
    let mut client = stranger()?;
    for command in ["info:mtls", "info:mtlsbrief"] {
        let told = json(&mut client, command)?;
        assert_eq!(told.as_object().map(serde_json::Map::len), Some(1), "{told}");
    }
    assert!(client.request("info:tls")?.starts_with("error:AT0003-"));
    Ok(())
}
