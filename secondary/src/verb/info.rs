//! `info` (reference page section 2.19).

use std::time::Duration;

use atsign_protocol::verb::Info;
use atsign_protocol::{AtError, Enrollment, time};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use crate::atserver::AtServer;
use crate::enrollments;
use crate::session::{Answer, Client};
use crate::store::Store;

/// What `info` and `stats` call the version of this server.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_as_words: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_as_millis: Option<u128>,
    #[serde(rename = "apkam_metadata", skip_serializing_if = "Option::is_none")]
    apkam_metadata: Option<Enrollment>,
    #[serde(rename = "mtls_fullchain", skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    #[serde(rename = "mtls_fullchain_last_modified", skip_serializing_if = "Option::is_none")]
    chain_modified: Option<String>,
    #[serde(rename = "mtls_privkey_last_modified", skip_serializing_if = "Option::is_none")]
    key_modified: Option<String>,
}

pub(super) async fn info<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    info: Info,
) -> Result<Answer, AtError> {
    let uptime = server.uptime();
    let mut told = Told { version: VERSION, ..Told::default() };
    match info {
        Info::Full => {
            told.uptime_as_words = Some(words(uptime));
            if let Some(access) = &client.access {
                let found = enrollments::find(server, &access.enrollment_id).await?;
                told.apkam_metadata = Some(found.enrollment);
            }
        }
        Info::Brief => told.uptime_as_millis = Some(uptime.as_millis()),
        // Other servers are shown none.
        Info::ClientCertificate | Info::ClientCertificateBrief if !server.peers.shows_certificate() => {}
        Info::ClientCertificate => told.chain = Some(pem(&server.tls.pair().cert)),
        Info::ClientCertificateBrief => {
            [told.chain_modified, told.key_modified] = server
                .tls
                .modified()
                .map(|millis| millis.map(|millis| time::print(millis).replace(' ', "T")));
        }
    }
    // Texts and a number always serialise.
    Ok(Answer::Text(serde_json::to_string(&told).unwrap_or_default()))
}

fn pem(chain: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for certificate in chain {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = BASE64_STANDARD.encode(certificate);
        // Base64 is ASCII, so it may be cut anywhere.
        for start in (0..base64.len()).step_by(64) {
            pem.push_str(&base64[start..base64.len().min(start + 64)]);
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

fn words(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let mut words = String::new();
    for (count, unit) in
        [(seconds / 86400, "days"), (seconds / 3600 % 24, "hours"), (seconds / 60 % 60, "minutes")]
    {
        if count > 0 || !words.is_empty() {
            words.push_str(&count.to_string());
            words.push(' ');
            words.push_str(unit);
            words.push(' ');
        }
    }
    words + &(seconds % 60).to_string() + " seconds"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_told_in_words() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (61, "1 minutes 1 seconds"),
            (5729, "1 hours 35 minutes 29 seconds"),
            (86400, "1 days 0 hours 0 minutes 0 seconds"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), expected);
        }
    }
}
