//! Keeps the operator's authority in the cluster: Secret and ConfigMap `atsign-ca`, and the directory's certificate.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::apply;
use crate::authority::{self, Authority, Pair};
use crate::build::tls_secret;
use crate::options::Options;
use crate::{leaf, names};

/// Why the authority is not in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("keep the authority: {0}")]
    Api(#[from] kube::Error),
    /// An object could not be written.
    #[error("keep the authority: {0}")]
    Apply(#[from] apply::Error),
    /// The stored authority is of no use.
    #[error(
        "Secret atsign-ca holds no usable authority ({0}): restore it from a backup, or delete it and restart every server so that all trust a new one"
    )]
    Authority(#[from] authority::Error),
}

/// Reads the authority, makes it where there is none, moves its renewal on, and publishes what is to be trusted.
pub async fn keep(client: &Client, options: &Options, now: Timestamp) -> Result<Authority, Error> {
    let namespace = options.namespace.as_str();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let authority = match secrets.get_opt(names::AUTHORITY).await? {
        None => {
            let authority = Authority::generate(now)?;
            secrets.create(&params, &secret(namespace, &authority, None)).await?;
            authority
        }
        Some(stored) => {
            let authority = read(&stored)?;
            let advanced = authority.advance(now)?;
            if advanced != authority {
                // Replaced at the version that was read: two operators must never sign with keys of which one is lost.
                secrets
                    .replace(names::AUTHORITY, &params, &secret(namespace, &advanced, Some(&stored)))
                    .await?;
            }
            advanced
        }
    };
    publish(client, namespace, &authority).await?;
    certify_directory(client, options, &authority, now).await?;
    Ok(authority)
}

async fn publish(client: &Client, namespace: &str, authority: &Authority) -> Result<(), Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let live = api.get_opt(names::AUTHORITY).await?;
    let wanted = ConfigMap {
        metadata: metadata(namespace, names::AUTHORITY),
        data: Some([(names::CA_KEY.to_owned(), authority.bundle())].into()),
        ..ConfigMap::default()
    };
    apply::object(&api, wanted, live.as_ref()).await?;
    Ok(())
}

async fn certify_directory(
    client: &Client,
    options: &Options,
    authority: &Authority,
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let live = api.get_opt(names::DIRECTORY_TLS).await?;
    let metadata = metadata(&options.namespace, names::DIRECTORY_TLS);
    let wanted = tls_secret::build(metadata, authority, &hosts_of_directory(options), live.as_ref(), now)?;
    apply::object(&api, wanted, live.as_ref()).await?;
    Ok(())
}

/// The names by which clients reach the directory: those of its Service, and those outside the cluster.
fn hosts_of_directory(options: &Options) -> Vec<String> {
    let (name, namespace, domain) = (names::DIRECTORY, &options.namespace, &options.cluster_domain);
    let mut hosts = vec![
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.{domain}"),
        format!("{name}.{namespace}"),
        name.to_owned(),
    ];
    hosts.extend_from_slice(&options.directory_hostnames);
    hosts
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(names::labels_of_operator("authority")),
        ..ObjectMeta::default()
    }
}

fn secret(namespace: &str, authority: &Authority, stored: Option<&Secret>) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut metadata = metadata(namespace, names::AUTHORITY);
    metadata.resource_version = stored.and_then(kube::ResourceExt::resource_version);
    let mut data: std::collections::BTreeMap<String, ByteString> = [
        ("tls.crt".to_owned(), bytes(&authority.active.certificate)),
        ("tls.key".to_owned(), bytes(&authority.active.key)),
    ]
    .into();
    if let Some(next) = &authority.next {
        data.insert("next.crt".to_owned(), bytes(&next.certificate));
        data.insert("next.key".to_owned(), bytes(&next.key));
    }
    if !authority.previous.is_empty() {
        data.insert("previous.crt".to_owned(), bytes(&authority.previous));
    }
    Secret { metadata, data: Some(data), type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() }
}

fn read(secret: &Secret) -> Result<Authority, authority::Error> {
    let text = |key: &str| {
        let value = secret.data.as_ref()?.get(key)?;
        String::from_utf8(value.0.clone()).ok()
    };
    let pair = |certificate: &str, key: &str| Some(Pair { certificate: text(certificate)?, key: text(key)? });
    let active = pair("tls.crt", "tls.key")
        .ok_or_else(|| authority::Error::Unreadable("tls.crt or tls.key is missing".to_owned()))?;
    leaf::validity(&active.certificate)?;
    Ok(Authority {
        active,
        next: pair("next.crt", "next.key"),
        previous: text("previous.crt").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_read_back_as_it_was_stored() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let young = Authority::generate(now).expect("an authority");
        let next = Authority::generate(now).expect("an authority").active;
        let previous = Authority::generate(now).expect("an authority").active.certificate;
        for authority in [young.clone(), Authority { next: Some(next), previous, ..young }] {
            assert_eq!(read(&secret("ns", &authority, None)).expect("read"), authority);
        }
    }

    #[test]
    fn the_directory_has_a_certificate_for_its_names_inside_and_outside() {
        let words = ["x", "--namespace", "here", "--directory-hostname", "directory.example.com"];
        let options = clap::Parser::parse_from(words);
        assert_eq!(
            hosts_of_directory(&options),
            [
                "atsign-directory.here.svc",
                "atsign-directory.here.svc.cluster.local",
                "atsign-directory.here",
                "atsign-directory",
                "directory.example.com"
            ]
        );
    }

    #[test]
    fn a_secret_without_a_key_is_refused_and_never_replaced() {
        assert!(read(&Secret::default()).is_err());
    }
}
