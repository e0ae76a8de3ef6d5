//! `config` (reference page section 2.18): the block list, and in testing mode the settings.

use atsign_protocol::verb::{Config, Setting};
use atsign_protocol::{AtError, AtSign, Intent, MetadataChange};
use serde::{Deserialize, Serialize};

use crate::atserver::{AtServer, Limits};
use crate::session::{Answer, Client};
use crate::store::{Change, Operation, Store};

/// The block list as it is stored.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Blocked {
    block_list: Vec<String>,
}

pub(super) async fn config<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    config: Config,
) -> Result<Answer, AtError> {
    match config {
        Config::Block(_) | Config::Unblock(_) | Config::ShowBlocked => block(server, client, config).await,
        Config::Set(..) | Config::Reset(_) | Config::Print(_) if !server.settings.testing => {
            Ok(Answer::text("testing mode disabled by default"))
        }
        Config::Set(setting, value) => {
            change(server, setting, Some(value));
            Ok(Answer::text("ok"))
        }
        Config::Reset(setting) => {
            change(server, setting, None);
            Ok(Answer::text("ok"))
        }
        Config::Print(setting) => Ok(Answer::text(setting.print(server.settings.get(setting)))),
    }
}

/// Changes a setting, and does what it asks for where nobody looks at it by himself.
fn change<S>(server: &AtServer<S>, setting: Setting, value: Option<u64>) {
    server.settings.set(setting, value);
    match setting {
        Setting::InboundMaxLimit => {
            let connections = usize::try_from(server.settings.get(setting)).unwrap_or(usize::MAX);
            server.set_limits(Limits { connections, ..server.limits() });
        }
        Setting::CheckCertificateReload | Setting::ShouldReloadCertificates if value == Some(1) => {
            server.tls.look_now();
        }
        Setting::DoCacheRefreshNow if value == Some(1) => server.settings.refresh_now.notify_one(),
        Setting::CommitLogCompaction | Setting::AccessLogCompaction | Setting::NotificationCompaction => {
            server.settings.compaction_changed.notify_one();
        }
        _ => {}
    }
}

async fn block<S: Store>(server: &AtServer<S>, client: &Client, config: Config) -> Result<Answer, AtError> {
    let key = name(server);
    let intent = if config == Config::ShowBlocked { Intent::Read } else { Intent::Write };
    client.authorize("config", intent, &key)?;
    // One at a time, or the later of two would undo the first.
    let _turn = server.block_list.lock().await;
    let mut blocked = blocked(server).await?;
    match &config {
        Config::Block(at_signs) => {
            for at_sign in at_signs.iter().filter(|at_sign| **at_sign != server.at_sign) {
                if !blocked.block_list.iter().any(|blocked| blocked == at_sign.as_str()) {
                    blocked.block_list.push(at_sign.to_string());
                }
            }
        }
        Config::Unblock(at_signs) if !blocked.block_list.is_empty() => {
            blocked.block_list.retain(|blocked| !at_signs.iter().any(|at_sign| at_sign.as_str() == blocked));
        }
        _ if blocked.block_list.is_empty() => return Ok(Answer::Null),
        // A list of texts always serialises.
        _ => return Ok(Answer::text(serde_json::to_string(&blocked.block_list).unwrap_or_default())),
    }
    let change = Change::Put {
        key,
        value: Some(serde_json::to_string(&blocked).unwrap_or_default()),
        metadata: MetadataChange::default(),
        operation: Operation::UpdateAll,
        committed: false,
        by: server.at_sign.to_string(),
        rationed: false,
    };
    server.store.commit(change, server.now()).await?;
    if let Config::Block(at_signs) = &config {
        // Whoever is connected already as one of them is so no longer.
        for at_sign in at_signs {
            server.connections.end_peer(at_sign);
        }
    }
    Ok(Answer::text("success"))
}

/// Whether the owner has blocked an atSign.
pub(super) async fn is_blocked<S: Store>(server: &AtServer<S>, at_sign: &AtSign) -> Result<bool, AtError> {
    Ok(blocked(server).await?.block_list.iter().any(|blocked| blocked == at_sign.as_str()))
}

async fn blocked<S: Store>(server: &AtServer<S>) -> Result<Blocked, AtError> {
    let stored = server.store.get(&name(server)).await?.and_then(|record| record.value);
    // Only this server writes it; what cannot be read blocks nobody.
    Ok(stored.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

fn name<S>(server: &AtServer<S>) -> String {
    format!("private:blocklist{}", server.at_sign)
}
