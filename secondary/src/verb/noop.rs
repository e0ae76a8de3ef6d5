//! `noop` (reference page section 2.19).

use std::time::Duration;

use atsign_protocol::verb::Noop;

use crate::session::Answer;

pub(super) async fn noop(noop: Noop) -> Answer {
    tokio::time::sleep(Duration::from_millis(noop.millis)).await;
    Answer::text("ok")
}
