//! How long a test tries: briefly in every run, at length in the soak (`cargo xtask test --soak`).

/// The variable that asks for the long run.
const VARIABLE: &str = "ATSIGN_SOAK";

/// `long` in the soak, `short` otherwise: rounds, objects, seconds, whatever the test counts.
pub fn pick<T>(short: T, long: T) -> T {
    if std::env::var_os(VARIABLE).is_some() { long } else { short }
}
