//! Keeps the budget up to date: notices a new limit within a second, and passes on what follows from it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::account::LARGE;
use super::budget::Look;
use super::{Level, heap};
use crate::atserver::AtServer;
use crate::logs::Logs;
use crate::metering::{Meter, Present};
use crate::store::{Notifications as _, SqliteStore};

/// The kernel is asked so often; and so often while the server keeps to a limit that is not set yet, or something large is
/// under way.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_IN_A_HURRY: Duration = Duration::from_millis(100);

/// Free memory is given back to the kernel when there may be so much of it, and after so many looks in any case.
const GROWN: u64 = 128 << 10;
const TRIM_EVERY: u32 = 20;

/// Follows the memory of a server for ever.
pub async fn follow(server: Arc<AtServer<SqliteStore>>, meter: Arc<Meter>, logs: Logs) -> Infallible {
    let budget = Arc::clone(&server.budget);
    let mut last =
        Look { cache: 0, drop_pages: false, level: Level::Calm, limit: 0, anon: 0, pressed: false };
    // Anonymous memory right after free memory was given back.
    let mut trimmed = 0;
    let mut posted = 0;
    let mut round = 0_u32;
    loop {
        budget.set_store(server.store.page_bytes());
        let look = budget.look();
        tell(look, last);
        server.store.set_cache(look.cache);
        if look.drop_pages {
            server.store.drop_pages();
            logs.drop_pages();
        }
        let grown = look.anon > trimmed + GROWN;
        if grown || look.pressed || look.drop_pages || round.is_multiple_of(TRIM_EVERY) {
            heap::trim();
            trimmed = budget.anonymous();
        }
        last = look;
        meter.tick(Present {
            limit: budget.set_limit(),
            store: server.store.file_bytes(),
            connections: server.connections.count() as u64,
        });
        let progress = server.store.progress().borrow().posted;
        // A store that was opened again counts anew.
        meter.notified(progress.checked_sub(posted).unwrap_or(progress), server.now());
        posted = progress;
        round = round.wrapping_add(1);
        budget.account().tell();
        let taken = budget.account().taken();
        let hurries = budget.is_shrunk()
            || look.pressed
            || look.level > Level::Calm
            || taken.commands + taken.guests > LARGE;
        sleep(if hurries { LOOK_IN_A_HURRY } else { LOOK_EVERY }).await;
    }
}

/// What is worth a line in the log.
fn tell(look: Look, last: Look) {
    if look.limit != last.limit {
        tracing::info!(limit = look.limit, cache = look.cache, "the memory limit");
    }
    if look.level > last.level && look.level > Level::CachesShrunk {
        tracing::warn!(level = look.level.name(), limit = look.limit, "memory is short");
    }
}
