//! The atDirectory (root server).

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let options = atsign_directory::Options::parse();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
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
