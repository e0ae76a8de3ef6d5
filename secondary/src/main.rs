//! One atSign's secondary server (atServer).

fn main() -> std::process::ExitCode {
    atsign_secondary::process::run()
}
