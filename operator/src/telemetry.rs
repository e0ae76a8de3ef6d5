//! Logs: one JSON object a line on standard output. A reconcile's span puts kind, namespace and name of its object into
//! every line that is written under it.

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what is logged; without it, `info` of everything.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        // It would tell of a log that nobody reads on standard error, which nobody reads either: and that is a panic.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .init();
}
