//! `monitor` (reference page section 2.14).

use atsign_protocol::verb::Monitor;
use atsign_protocol::{AtError, ErrorCode};

use super::regex;
use crate::atserver::AtServer;
use crate::notifications::monitor::Watching;
use crate::session::{Answer, Client};
use crate::store::Store;

pub(super) async fn monitor<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    monitor: &Monitor,
) -> Result<Answer, AtError> {
    if !client.is_owner() {
        let text = "Failed to execute verb. monitor requires authentication";
        return Err(AtError::new(ErrorCode::Unauthenticated, text));
    }
    let regex = monitor.regex.as_deref().map(|pattern| regex(pattern, client)).transpose()?;
    let enrollment = client.access.as_ref().map(|access| access.enrollment_id.clone());
    client.watching = Some(Box::new(Watching::start(server, monitor, regex, enrollment).await?));
    Ok(Answer::Prompt)
}
