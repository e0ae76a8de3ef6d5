//! Who may read the figures: the API server is asked, as it is for its own paths.

use http::HeaderValue;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

/// Why somebody may not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Nothing was shown.
    #[error(
        "show a bearer token: curl -H \"Authorization: Bearer $(kubectl create token ACCOUNT)\" …/metering"
    )]
    NoToken,
    /// Nobody has it.
    #[error("the API server does not know this token, or it has expired")]
    UnknownToken,
    /// The account has no right to it.
    #[error("{0} may not get the path /metering: bind it to the ClusterRole atsign-metering-reader")]
    NotAllowed(String),
    /// The API server does not say.
    #[error("the API server does not answer, try again later")]
    Unknown(#[source] kube::Error),
}

/// Checks what was shown.
pub(super) async fn check(client: &Client, shown: Option<&HeaderValue>) -> Result<(), Refused> {
    let shown = shown.and_then(|header| header.to_str().ok());
    let token = shown.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refused::NoToken)?;
    let user = user_of(client, token).await?;
    let name = user.username.clone().unwrap_or_default();
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some("/metering".to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let judged = api.create(&PostParams::default(), &review).await.map_err(Refused::Unknown)?;
    if judged.status.is_some_and(|status| status.allowed) { Ok(()) } else { Err(Refused::NotAllowed(name)) }
}

async fn user_of(client: &Client, token: &str) -> Result<UserInfo, Refused> {
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let judged = api.create(&PostParams::default(), &review).await.map_err(Refused::Unknown)?;
    let status = judged.status.unwrap_or_default();
    status.user.filter(|_| status.authenticated == Some(true)).ok_or(Refused::UnknownToken)
}
