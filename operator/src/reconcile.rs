//! One pass over one AtSign.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atsign_crds::condition::{QUOTA_EXCEEDED, READY};
use atsign_crds::name::PAUSED_ANNOTATION;
use atsign_crds::{AtSign, AtSignStatus};
use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use tracing::Instrument as _;

use crate::apply::{self, apply};
use crate::authority;
use crate::backoff::jittered;
use crate::build::{self, build};
use crate::condition::{Because, Progress};
use crate::context::{Context, GuardedAtSign};
use crate::dereference::{self, dereference};
use crate::finalize::{self, finalize};
use crate::reach;
use crate::status::{self, Outcome};
use crate::update_status::update_status;
use crate::validate::{self, validate};

/// How soon a refused AtSign is looked at again: what it lacks may be something that nobody watches, such as a Secret.
const REFUSED: Duration = Duration::from_secs(30);
/// How soon an AtSign that waits for something is looked at again, though its objects are watched.
const WAITING: Duration = Duration::from_mins(1);
/// How soon one that is over a limit is asked again what it uses: who deletes wants to see that it fits.
const OVER_LIMIT: Duration = Duration::from_secs(30);
/// How soon a new server with limits is asked again what it uses, until its owner has logged in: who tries what was sold to
/// him wants to see it.
const NEW: Duration = Duration::from_secs(20);
/// How long a server is new.
const NEW_FOR: SignedDuration = SignedDuration::from_mins(15);

/// Why a pass failed: what will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error(transparent)]
    Dereference(#[from] dereference::Error),
    /// No certificate could be made.
    #[error(transparent)]
    Build(#[from] authority::Error),
    /// Something could not be written.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The deletion could not go on.
    #[error(transparent)]
    Finalize(#[from] finalize::Error),
}

impl Error {
    /// The reason that metrics and logs give.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "DereferenceFailed",
            Self::Build(_) => "BuildFailed",
            Self::Apply(error) if error.refusal().is_some() => "ApplyRefused",
            Self::Apply(_) => "ApplyFailed",
            Self::Finalize(_) => "FinalizeFailed",
        }
    }
}

/// One pass, counted and logged, for the controller.
pub async fn reconcile(object: Arc<GuardedAtSign>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (object.meta().namespace.clone().unwrap_or_default(), object.name_any());
    let span = tracing::info_span!("reconcile", kind = "AtSign", namespace, name);
    async {
        // The controller waits for the AtSigns of its own namespace only.
        context.stores.filled().await;
        let started = Instant::now();
        let result = match &object.0 {
            Ok(_) => Box::pin(pass(&context, &namespace, &name)).await,
            // It was stored before the schema said otherwise, or past it. A change of it comes by the watch.
            Err(malformed) => {
                tracing::error!(error = %malformed, "the AtSign is not as its schema says; correct it with kubectl edit");
                Ok(Action::await_change())
            }
        };
        context.metrics.reconciled(started.elapsed());
        if result.is_ok() {
            context.backoff.forget(&namespace, &name);
        }
        result
    }
    .instrument(span)
    .await
}

/// What the controller does after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the controller passes it so")]
pub fn after_failure(object: Arc<GuardedAtSign>, error: &Error, context: Arc<Context>) -> Action {
    let (namespace, name) = (object.meta().namespace.clone().unwrap_or_default(), object.name_any());
    let wait = context.backoff.failed(&namespace, &name);
    context.metrics.failed(error.reason(), context.backoff.waiting());
    tracing::warn!(
        kind = "AtSign", namespace, name, %error, reason = error.reason(), again_in = ?wait, "the AtSign could not be reconciled"
    );
    Action::requeue(wait)
}

async fn pass(context: &Context, namespace: &str, name: &str) -> Result<Action, Error> {
    let Some(at_sign) = dereference::at_sign(&context.client, namespace, name).await? else {
        context.fleet.forget(namespace, name);
        context.patience.forget(namespace, name);
        return Ok(Action::await_change());
    };
    if at_sign.annotations().get(PAUSED_ANNOTATION).is_some_and(|paused| paused == "true") {
        context.fleet.forget(namespace, name);
        return Ok(Action::await_change());
    }
    if at_sign.metadata.deletion_timestamp.is_some() {
        context.fleet.forget(namespace, name);
        return delete(context, &at_sign).await;
    }
    Box::pin(serve(context, &at_sign)).await
}

/// dereference → validate → build → apply → `update_status`.
async fn serve(context: &Context, at_sign: &AtSign) -> Result<Action, Error> {
    let now = Timestamp::now();
    let observed = Box::pin(dereference(context, at_sign)).await?;
    let server = match validate(at_sign, &observed, &context.options.cluster_domain, now) {
        Ok(server) => server,
        Err(refusal) => {
            if let validate::Error::AtSignTaken { .. } = refusal {
                context.fleet.forget(&at_sign.namespace().unwrap_or_default(), &at_sign.name_any());
                apply::withdraw(context, at_sign, &observed).await?;
            }
            if let validate::Error::CertificatePending { .. } = refusal {
                apply::certificate(context, at_sign, &observed).await?;
            }
            return refuse(context, at_sign, &refusal, now).await;
        }
    };
    let prepared = build(&server, &observed, &context.authority(), &context.options, now)?;
    let applied = match Box::pin(apply(context, at_sign, &server, &observed, prepared)).await {
        Ok(applied) => applied,
        Err(error) => return Err(blame(context, at_sign, error, now).await),
    };
    apply::certificate(context, at_sign, &observed).await?;
    let activated = status::activated(&observed, at_sign.status.as_ref().and_then(|status| status.activated));
    context.fleet.keep(
        at_sign,
        &server,
        build::deployment::moved(&applied.deployment),
        activated == Some(true),
    );
    let reached = reach::look(context, at_sign, &server, &observed, &applied).await;
    let outcome = Outcome::Applied(&server, &observed, &applied, reached.as_ref().copied());
    let status = update_status(context, at_sign, &outcome, now).await?;
    let wait = if let Some((_, reason @ ("WaitingForService" | "WaitingForCertificate"))) =
        status::ready_of(&status)
    {
        passes(context, at_sign, reason)
    } else {
        context.patience.forget(&server.namespace, &server.name);
        next_look(&status, context.options.resync, now)
    };
    Ok(Action::requeue(jittered(wait)))
}

/// How soon an AtSign is looked at again that waits for what passes by itself.
fn passes(context: &Context, at_sign: &AtSign, reason: &str) -> Duration {
    let namespace = at_sign.namespace().unwrap_or_default();
    context.patience.wait(&namespace, &at_sign.name_any(), at_sign.metadata.generation, reason)
}

fn next_look(status: &AtSignStatus, resync: Duration, now: Timestamp) -> Duration {
    let Some(ready) = status.conditions.iter().find(|condition| condition.type_ == READY) else {
        return WAITING;
    };
    if status.conditions.iter().any(|condition| condition.type_ == QUOTA_EXCEEDED) {
        return OVER_LIMIT.min(resync);
    }
    let is_new = now.duration_since(ready.last_transition_time.0) < NEW_FOR;
    match (ready.status.as_str(), ready.reason.as_str()) {
        ("True", _) if is_new && status.limits.is_some() && status.activated != Some(true) => NEW.min(resync),
        ("True", _) | (_, "Suspended") => resync,
        _ => WAITING,
    }
}

async fn delete(context: &Context, at_sign: &AtSign) -> Result<Action, Error> {
    match finalize(context, at_sign).await? {
        None => {
            context.patience.forget(&at_sign.namespace().unwrap_or_default(), &at_sign.name_any());
            Ok(Action::await_change())
        }
        Some(progress) => {
            update_status(context, at_sign, &Outcome::Not(progress), Timestamp::now()).await?;
            Ok(Action::requeue(jittered(passes(context, at_sign, "Deleting"))))
        }
    }
}

async fn refuse(
    context: &Context,
    at_sign: &AtSign,
    refusal: &validate::Error,
    now: Timestamp,
) -> Result<Action, Error> {
    if !refusal.passes() {
        context.patience.forget(&at_sign.namespace().unwrap_or_default(), &at_sign.name_any());
    }
    let because = Because::new(refusal.reason(), refusal.to_string());
    let (progress, wait) = if let validate::Error::CertificatePending { .. } = refusal {
        // cert-manager's Certificates are watched.
        (Progress::Reconciling(because), REFUSED)
    } else if refusal.passes() {
        (Progress::Reconciling(because), passes(context, at_sign, refusal.reason()))
    } else {
        let wait = if refusal.is_heard() { context.options.resync } else { REFUSED };
        (Progress::Stalled(because), wait)
    };
    update_status(context, at_sign, &Outcome::Not(progress), now).await?;
    Ok(Action::requeue(jittered(wait)))
}

/// Where the API server refused for a reason that a person must remove, the AtSign says so.
async fn blame(context: &Context, at_sign: &AtSign, error: apply::Error, now: Timestamp) -> Error {
    if let Some(refusal) = error.refusal() {
        let because = Because::new("ApplyRefused", format!("the API server refused: {refusal}"));
        let outcome = Outcome::Not(Progress::Troubled(because));
        if let Err(error) = update_status(context, at_sign, &outcome, now).await {
            tracing::warn!(%error, "the status could not be written");
        }
    }
    error.into()
}
