//! The atDirectory (root server).

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let options = atsign_directory::Options::parse();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        // It would tell of a log that nobody reads on standard error, which nobody reads either: and that is a panic.
        .log_internal_errors(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(&options.log))
        .init();
    match atsign_directory::run(options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
