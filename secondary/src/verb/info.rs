//! `info` (reference page section 2.19).

use std::time::Duration;

use atsign_protocol::verb::Info;
use atsign_protocol::{AtError, Enrollment};
use serde::Serialize;

use crate::atserver::AtServer;
use crate::enrollments;
use crate::session::{Answer, Client};
use crate::store::Store;

/// What `info` and `stats` call the version of this server.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_as_words: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_as_millis: Option<u128>,
    #[serde(rename = "apkam_metadata", skip_serializing_if = "Option::is_none")]
    apkam_metadata: Option<Enrollment>,
}

pub(super) async fn info<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    info: Info,
) -> Result<Answer, AtError> {
    let uptime = server.uptime();
    let apkam_metadata = match &client.access {
        Some(access) if !info.brief => {
            Some(enrollments::find(server, &access.enrollment_id).await?.enrollment)
        }
        _ => None,
    };
    let told = Told {
        version: VERSION,
        uptime_as_words: (!info.brief).then(|| words(uptime)),
        uptime_as_millis: info.brief.then_some(uptime.as_millis()),
        apkam_metadata,
    };
    // Texts and a number always serialise.
    Ok(Answer::Text(serde_json::to_string(&told).unwrap_or_default()))
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
