//! The container of another secondary server's image: what the reference server understands, and nothing of ours. It gets
//! the same volumes, has no admin port, and is alive while it takes connections.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, Probe, SecretKeySelector, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::template::PORT;
use crate::options::Options;
use crate::validate::Server;

/// The variable of the CRAM secret. It is in the arguments once the container runs, for the reference server takes it in no
/// other way; the pod's own text names the Secret only.
const SECRET: &str = "CRAM_SECRET";
/// The key of the CRAM secret in its Secret.
const SECRET_KEY: &str = "cram";

/// The reference server's arguments.
pub(super) fn arguments(server: &Server) -> Vec<String> {
    let flags = [
        ("--at_sign", server.at_sign.as_str().to_owned()),
        ("--server_port", PORT.to_string()),
        ("--shared_secret", format!("$({SECRET})")),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// The reference server's variables.
pub(super) fn environment(server: &Server, options: &Options) -> Vec<EnvVar> {
    let directory = options.directory();
    let (host, port) = directory.rsplit_once(':').unwrap_or((&directory, "64"));
    let secret = EnvVar {
        name: SECRET.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: server.activation.secret().to_owned(),
                key: SECRET_KEY.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let variables = [
        ("securityCertificateChainLocation", "/atsign/certs/tls.crt"),
        ("securityPrivateKeyLocation", "/atsign/certs/tls.key"),
        ("securityTrustedCertificateLocation", "/atsign/config/peer-ca.crt"),
        ("rootServerUrl", host),
        ("rootServerPort", port),
        ("secondaryStoragePath", "/atsign/storage/hive"),
        ("commitLogPath", "/atsign/storage/commitLog"),
        ("accessLogPath", "/atsign/storage/accessLog"),
        ("notificationStoragePath", "/atsign/storage/notificationLog.v1"),
    ];
    let variables = variables.into_iter().map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    });
    std::iter::once(secret).chain(variables).collect()
}

/// Whether it takes connections: all that can be asked of a server that nothing is known of.
pub(super) fn probe() -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(PORT), host: None }),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
