//! Times as kubectl shows them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long ago `then` was: `42s`, `3m20s`, `5h`, `12d`, `2y`.
pub fn age(then: Option<&Time>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| duration(now.duration_since(then.0)))
}

/// A duration in two units while it is short, in one once it is long.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 > 0 => format!("{days}d{}h", hours % 24),
        _ if days < 2 * 365 => format!("{days}d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_kubectls() {
        let shown = [0, 119, 130, 600, 7200, 11_000, 90_000, 200_000, 900_000, 70_000_000]
            .map(|seconds| duration(SignedDuration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "119s", "2m10s", "10m", "120m", "3h3m", "25h", "2d7h", "10d", "2y"]);
    }
}
