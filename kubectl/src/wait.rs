//! `--wait`: until it is so, with a line for each thing that happens meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use atsign_crds::AtSign;
use atsign_crds::condition::{READY, STALLED};
use atsign_crds::name::PAUSED_ANNOTATION;
use clap::Args;
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::find;
use crate::outcome::Outcome;
use crate::time;

/// How often the AtSign is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Whether to wait, and how long.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Wait until it is so, and say meanwhile what happens
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits, such as 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = seconds)]
    pub timeout: Duration,
}

/// A duration as kubectl takes it: `90s`, `5m`, `1h`, or seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
        Some((end, _)) => text.split_at(end),
        None => (text, "s"),
    };
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("expected a duration such as 90s, 5m or 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a duration such as 90s, 5m or 1h".to_owned())?;
    number.checked_mul(scale).map(Duration::from_secs).ok_or_else(|| "that is too long".to_owned())
}

/// Waits until `is_so` of the AtSign `name`; what cannot pass by itself ends the wait at once.
pub async fn until(
    cluster: &Cluster,
    name: &str,
    what: &str,
    timeout: Duration,
    is_so: impl AsyncFn(&AtSign) -> Result<bool>,
) -> Result<Outcome> {
    let flag = cluster.namespace_flag();
    let start = Instant::now();
    let mut told = String::new();
    loop {
        let (says, outcome) = match look(cluster, name, &is_so).await {
            Ok(seen) => seen,
            // An API server that is being replaced comes back.
            Err(error)
                if error.downcast_ref().is_some_and(|error| matches!(error, kube::Error::Service(_))) =>
            {
                ("the API server does not answer".to_owned(), None)
            }
            Err(error) => return Err(error),
        };
        if says != told {
            eprintln!("{:>5}  {says}", time::duration(start.elapsed().try_into().unwrap_or_default()));
            told = says;
        }
        match outcome {
            Some(Outcome::Done) => return Ok(Outcome::Done),
            Some(outcome) => {
                eprintln!("this does not pass by itself: kubectl atsign status {name}{flag}");
                return Ok(outcome);
            }
            None if start.elapsed() >= timeout => {
                eprintln!("not {what} within {timeout:?}; why: kubectl atsign status {name}{flag}");
                return Ok(Outcome::TimedOut);
            }
            None => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// What there is to say of the AtSign, and whether the wait is over.
async fn look(
    cluster: &Cluster,
    name: &str,
    is_so: &impl AsyncFn(&AtSign) -> Result<bool>,
) -> Result<(String, Option<Outcome>)> {
    let at_sign: AtSign = cluster.api().get(name).await?;
    let current = at_sign.status.as_ref().and_then(|status| status.observed_generation);
    let mut says = match find::condition(&at_sign, READY) {
        Some(ready) if current == at_sign.metadata.generation => {
            format!("{}: {}", ready.reason, ready.message)
        }
        _ => "waiting for the operator to see it".to_owned(),
    };
    if is_so(&at_sign).await? {
        return Ok((says, Some(Outcome::Done)));
    }
    let is_paused = is_paused(&at_sign);
    if is_paused {
        says = format!("the operator leaves it alone because of the annotation {PAUSED_ANNOTATION}");
    }
    Ok((says, (is_paused || find::is(&at_sign, STALLED)).then_some(Outcome::NotReady)))
}

/// Whether the operator was told to leave it alone.
pub fn is_paused(at_sign: &AtSign) -> bool {
    at_sign.annotations().get(PAUSED_ANNOTATION).is_some_and(|paused| paused == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_kubectl_takes_it() {
        assert_eq!(seconds("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(seconds("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        for refused in ["", "m", "-5m", "5d", "5m3", "99999999999999999999s", "18446744073709551615h"] {
            assert!(seconds(refused).is_err(), "{refused:?}");
        }
    }
}
