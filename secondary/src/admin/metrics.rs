//! `/metrics`: the figures of one server in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Admin, usage};
use crate::memory::{Budget, Level};
use crate::store::State;
use crate::store::figures::{BOUNDS, Figures};

/// All metrics.
pub(super) async fn text(admin: &Admin) -> String {
    let usage = usage::usage(admin).await;
    let figures = &admin.figures;
    let backups = admin.backups.figures();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let ready = matches!(admin.status.state(), State::Serving { .. }) && admin.server.get().is_some();
    let mut text = String::with_capacity(4096);
    for (name, kind, help, value) in [
        ("atsign_ready", "gauge", "1 while the store is ours and clients are served.", u64::from(ready)),
        ("atsign_epoch", "gauge", "The epoch under which the store is ours, 0 while it is not.", usage.epoch),
        ("atsign_activated", "gauge", "1 once the atSign was onboarded.", u64::from(usage.activated)),
        ("atsign_connections", "gauge", "Open client connections.", u64::from(usage.connections)),
        (
            "atsign_connections_refused_total",
            "counter",
            "Connections refused for want of a slot or of memory.",
            admin.server.get().map_or(0, |server| server.refused()),
        ),
        ("atsign_keys", "gauge", "Stored keys.", usage.keys),
        ("atsign_store_bytes", "gauge", "Size of the store, without its log.", usage.store_bytes),
        ("atsign_store_changes_total", "counter", "Changes on disk and confirmed.", count(&figures.changes)),
        (
            "atsign_store_changes_failed_total",
            "counter",
            "Changes refused or failed.",
            count(&figures.failed),
        ),
        (
            "atsign_store_keys_expired_total",
            "counter",
            "Keys deleted as they expired.",
            count(&figures.expired),
        ),
        (
            "atsign_store_damaged",
            "gauge",
            "1 once the store was found damaged; it is only read then.",
            u64::from(matches!(admin.status.state(), State::Damaged { .. })),
        ),
        (
            "atsign_store_looked_over",
            "gauge",
            "1 once every row was read since the start and found sound.",
            u64::from(figures.looked_over.load(Ordering::Relaxed)),
        ),
        (
            "atsign_backup_timestamp_seconds",
            "gauge",
            "When the last backup was made, 0 for none since the start.",
            backups.last,
        ),
        (
            "atsign_backup_failed",
            "gauge",
            "1 where the last backup that was asked for was not made.",
            u64::from(backups.failed),
        ),
        ("atsign_memory_limit_bytes", "gauge", "Memory that may be used, 0 for no limit.", usage.limit),
        ("atsign_memory_needed_bytes", "gauge", "Memory that is needed to go on like this.", usage.needed),
        ("atsign_memory_used_bytes", "gauge", "All memory that is charged, page cache included.", usage.used),
        (
            "atsign_work_refused_total",
            "counter",
            "Requests of the owner delayed or refused for want of memory.",
            usage.refused,
        ),
        ("atsign_memory_anon_bytes", "gauge", "Anonymous memory.", usage.anon),
        ("atsign_memory_kernel_bytes", "gauge", "Kernel memory.", usage.kernel),
        ("atsign_memory_sock_bytes", "gauge", "Socket buffers.", usage.sock),
        ("atsign_memory_dirty_bytes", "gauge", "Page cache that waits to be written.", usage.dirty),
        (
            "atsign_log_lines_dropped_total",
            "counter",
            "Log lines lost to a full queue.",
            admin.logs.dropped(),
        ),
    ] {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
    let name = "atsign_tls_not_after_timestamp_seconds";
    head(&mut text, name, "gauge", "When the served certificate ends.");
    let _ = writeln!(text, "{name} {}", usage.tls_not_after);
    budget(&mut text, &admin.budget);
    commits(&mut text, figures);
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// What each part of the server may take and has taken, and what is done without.
fn budget(text: &mut String, budget: &Budget) {
    let (shares, taken) = (budget.account().shares(), budget.account().taken());
    let name = "atsign_memory_share_bytes";
    head(text, name, "gauge", "What a part of the server may take of its memory.");
    for (part, bytes) in [
        ("program", shares.program),
        ("strangers", shares.strangers),
        ("reserve", shares.reserve),
        ("pool", shares.pool),
        ("connections", shares.connections),
        ("guests", shares.guests),
        ("cache", budget.cache()),
    ] {
        let _ = writeln!(text, "{name}{{part=\"{part}\"}} {bytes}");
    }
    let name = "atsign_memory_taken_bytes";
    head(text, name, "gauge", "What a part of the server has taken of its memory.");
    for (part, bytes) in [
        ("strangers", taken.strangers),
        ("connections", taken.connections),
        ("commands", taken.commands),
        ("guests", taken.guests),
    ] {
        let _ = writeln!(text, "{name}{{part=\"{part}\"}} {bytes}");
    }
    let name = "atsign_memory_level";
    head(text, name, "gauge", "1 for what the server does without at the moment, in order.");
    for level in Level::ALL {
        let is_it = u8::from(level == budget.level());
        let _ = writeln!(text, "{name}{{level=\"{}\"}} {is_it}", level.name());
    }
}

/// How long transactions took, COMMIT, fsync and fence together.
fn commits(text: &mut String, figures: &Figures) {
    let name = "atsign_store_commit_seconds";
    head(text, name, "histogram", "Time to commit, fsync and confirm one group of changes.");
    let mut sum = 0;
    for (index, bucket) in figures.commits.iter().enumerate() {
        sum += bucket.load(Ordering::Relaxed);
        match BOUNDS.get(index) {
            Some(micros) => {
                let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {sum}", seconds(*micros));
            }
            None => {
                let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {sum}");
            }
        }
    }
    let total = seconds(figures.commit_micros.load(Ordering::Relaxed));
    let _ = writeln!(text, "{name}_sum {total}\n{name}_count {sum}");
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
