//! The AtSigns themselves.

use atsign_crds::AtSign;
use atsign_crds::condition::{STALLED, SUSPENDED};
use kube::ResourceExt as _;

use super::Check;
use crate::find;

/// How many are ready, and which is not.
pub fn at_signs(all: &[AtSign]) -> Check {
    let what = "AtSigns";
    let ready = all.iter().filter(|at_sign| find::is_ready(at_sign)).count();
    let suspended = all.iter().filter(|at_sign| find::is(at_sign, SUSPENDED)).count();
    let found = match suspended {
        0 => format!("{ready} of {} ready", all.len()),
        _ => format!("{ready} of {} ready, {suspended} suspended", all.len()),
    };
    let troubled = || all.iter().filter(|at_sign| !find::is_ready(at_sign) && !find::is(at_sign, SUSPENDED));
    // One that cannot become ready by itself is the better example.
    let example = troubled().find(|at_sign| find::is(at_sign, STALLED)).or_else(|| troubled().next());
    match example {
        None => Check::ok(what, found),
        Some(at_sign) => Check::warning(
            what,
            found,
            format!(
                "kubectl atsign status {} -n {}; all: kubectl atsign list -A --not-ready",
                at_sign.name_any(),
                at_sign.namespace().unwrap_or_default()
            ),
        ),
    }
}
