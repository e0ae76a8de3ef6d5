//! Compaction of the logs (reference page section 3.9), in testing mode only: this store keeps its logs short with every
//! write, so a run has nothing to delete, and nobody runs one unless `config:set` asks for it.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atsign_protocol::verb::Setting;
use atsign_protocol::{Millis, time};
use serde::Serialize;
use tokio::time::Instant;

use crate::atserver::AtServer;
use crate::store::{Log, Store, StoreError};

/// Each log, with what says how often it is compacted, and its name in what is told.
const LOGS: [(Log, Setting, &str); 3] = [
    (Log::Commits, Setting::CommitLogCompaction, "AtCommitLog"),
    (Log::Visits, Setting::AccessLogCompaction, "AtAccessLog"),
    (Log::Notifications, Setting::NotificationCompaction, "AtNotificationKeystore"),
];

/// The last run of each log, as `stats` tells it.
#[derive(Default)]
pub(crate) struct Compactions([Mutex<Option<String>>; LOGS.len()]);

/// One run. All values are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    at_compaction_type: &'static str,
    #[serde(rename = "lastCompactionRun")]
    began: String,
    compaction_duration_in_mills: String,
    pre_compaction_entries_count: String,
    post_compaction_entries_count: String,
    deleted_keys_count: String,
}

impl Compactions {
    /// The last run of a log in JSON; an empty object where there was none.
    pub(crate) fn last(&self, log: Log) -> String {
        let runs = LOGS.iter().zip(&self.0).find(|((known, ..), _)| *known == log);
        let last = runs.and_then(|(_, run)| run.lock().unwrap_or_else(PoisonError::into_inner).clone());
        last.unwrap_or_else(|| "{}".to_owned())
    }
}

/// Compacts each log as often as a client has asked for.
pub(crate) async fn run<S: Store>(server: &AtServer<S>) -> Infallible {
    let mut last = [Instant::now(); LOGS.len()];
    loop {
        let mut next: Option<Instant> = None;
        for (index, (log, setting, name)) in LOGS.into_iter().enumerate() {
            let Some(minutes) = server.settings.changed(setting) else { continue };
            let every = Duration::from_secs(minutes.clamp(1, 60 * 24 * 365) * 60);
            if last[index].elapsed() >= every {
                last[index] = Instant::now();
                match compact(server, log, name).await {
                    Ok(run) => {
                        // Texts always serialise.
                        let run = serde_json::to_string(&run).unwrap_or_default();
                        *server.compactions.0[index].lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(run);
                    }
                    Err(error) => tracing::warn!(%error, name, "a log was not compacted"),
                }
            }
            let due = last[index] + every;
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        let due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = server.settings.compaction_changed.notified() => {}
        }
    }
}

async fn compact<S: Store>(server: &AtServer<S>, log: Log, name: &'static str) -> Result<Run, StoreError> {
    let (began, at): (_, Millis) = (Instant::now(), server.now());
    let before = server.store.entries(log).await?;
    if log == Log::Visits {
        // What was gathered pushes the oldest out.
        server.access_log.flush(&server.store).await?;
    }
    let after = server.store.entries(log).await?;
    Ok(Run {
        at_compaction_type: name,
        began: time::print(at),
        compaction_duration_in_mills: began.elapsed().as_millis().to_string(),
        pre_compaction_entries_count: before.to_string(),
        post_compaction_entries_count: after.to_string(),
        deleted_keys_count: before.saturating_sub(after).to_string(),
    })
}
