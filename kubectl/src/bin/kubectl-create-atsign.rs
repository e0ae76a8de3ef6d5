//! `kubectl create atsign`.

use std::process::ExitCode;

fn main() -> ExitCode {
    atsign_kubectl::run()
}
