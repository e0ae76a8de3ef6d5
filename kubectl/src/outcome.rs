//! How a command ended, as scripts and people are told.

use std::process::ExitCode;

use kube::Error::{Api, Service};
use kube::core::Status;

/// How a command ended that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As was wanted.
    Done,
    /// The AtSign is not ready, or the cluster not fit.
    NotReady,
    /// `--timeout` ran out.
    TimedOut,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::NotReady => 3,
            Outcome::TimedOut => 4,
        })
    }
}

/// Says what went wrong.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", explain(error));
    ExitCode::FAILURE
}

/// The whole story in a line; what the API server said, as kubectl words it.
fn explain(error: &anyhow::Error) -> String {
    let mut story = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<kube::Error>() {
            Some(Api(status)) => {
                story.push(refusal(status));
                break;
            }
            Some(Service(_)) => {
                story.push("the API server does not answer".to_owned());
                continue;
            }
            _ => {}
        }
        let said = cause.to_string();
        // An error that shows its source in its own text would tell it twice.
        if story.last().is_none_or(|before: &String| !before.ends_with(&said)) {
            story.push(said);
        }
    }
    match story.as_slice() {
        [said] if said.starts_with("Error from server") => said.clone(),
        _ => format!("error: {}", story.join(": ")),
    }
}

fn refusal(status: &Status) -> String {
    // So it answers for a path, not for an object.
    if status.code == 404 && status.message.contains("page not found") {
        return "the cluster does not know AtSigns; install the operator (charts/atsign-operator), then: kubectl atsign doctor".to_owned();
    }
    format!("Error from server ({}): {}", status.reason, status.message)
}

/// Whether the API server says that this user may not.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, Api(status) if status.code == 403)
}

/// Whether there is no such object.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> anyhow::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()).into()
    }

    #[test]
    fn a_refusal_reads_as_kubectls() {
        let exists = refused(409, "AlreadyExists", "atsigns.atsign.dev \"alice\" already exists");
        assert_eq!(
            explain(&exists),
            "Error from server (AlreadyExists): atsigns.atsign.dev \"alice\" already exists"
        );
        assert_eq!(
            explain(&exists.context("making @alice")),
            "error: making @alice: Error from server (AlreadyExists): atsigns.atsign.dev \"alice\" already exists"
        );
    }

    #[test]
    fn a_cluster_without_the_operator_is_told_apart() {
        let error = refused(404, "NotFound", "404 page not found");
        assert!(explain(&error).starts_with("error: the cluster does not know AtSigns"));
    }
}
