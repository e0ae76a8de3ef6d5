//! The names of what the operator makes, and the labels by which it finds it again.

use std::collections::BTreeMap;

use atsign_crds::IssuerRef;
use sha2::{Digest as _, Sha256};

/// Who writes objects, as their managed fields say it.
pub const FIELD_MANAGER: &str = "atsign-operator";
/// Who writes the status of an AtSign.
pub const STATUS_MANAGER: &str = "atsign-operator/status";
/// Who resizes pods, and writes what a status says of memory.
pub const MEMORY_MANAGER: &str = "atsign-operator/memory";
/// Value of `app.kubernetes.io/managed-by`, and the selector of everything that the operator watches.
pub const MANAGED_BY: &str = "atsign-operator";
/// That selector.
pub const MANAGED: &str = "app.kubernetes.io/managed-by=atsign-operator";
/// And of everything else.
pub const OF_OTHERS: &str = "app.kubernetes.io/managed-by!=atsign-operator";
/// The label of what an object is.
pub const NAME: &str = "app.kubernetes.io/name";
/// Its value on everything of a server.
pub const SECONDARY: &str = "atsign-secondary";
/// The label of an AtSign's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label of an AtSign's namespace, on what lives elsewhere: volumes and Jobs.
pub const NAMESPACE: &str = "atsign.dev/namespace";
/// Annotation on a child: a digest of what was applied last, so that a field that is not wanted any more is noticed.
pub const APPLIED: &str = "atsign.dev/applied";
/// Annotation on claims and volumes: whose data this is.
pub const AT_SIGN: &str = "atsign.dev/at-sign";
/// Annotation on a Deployment: the size and pod settings that its template was made with.
pub const TEMPLATE: &str = "atsign.dev/template";
/// Annotation on a pod: the move that it came of.
pub const MOVED: &str = "atsign.dev/moved";
/// The Secret and the ConfigMap of the operator's own authority.
pub const AUTHORITY: &str = "atsign-ca";
/// The Secret of the directory's certificate.
pub const DIRECTORY_TLS: &str = "atsign-directory-tls";
/// The directory's Service.
pub const DIRECTORY: &str = "atsign-directory";
/// What an issuer is where `spec.tls.issuerRef` does not say it, as in cert-manager's own references.
pub const ISSUER_KIND: &str = "Issuer";
/// Its group.
pub const ISSUER_GROUP: &str = "cert-manager.io";
/// The key of the certificates that are trusted.
pub const CA_KEY: &str = "ca.crt";
/// The key of the admin port's token.
pub const TOKEN_KEY: &str = "token";

/// The generated activation Secret.
pub fn activation(name: &str) -> String {
    format!("{name}-activation")
}

/// The Secret of the admin port's token.
pub fn admin(name: &str) -> String {
    format!("{name}-admin")
}

/// The Secret of a certificate that the operator's authority signed.
pub fn tls(name: &str) -> String {
    format!("{name}-tls")
}

/// The Certificate that is asked from cert-manager, and its Secret.
pub fn issued(name: &str) -> String {
    format!("{name}-issued")
}

/// Who is to sign that Certificate, as kubectl takes it: `issuer.cert-manager.io/name`.
pub fn issuer(issuer: &IssuerRef) -> String {
    let kind = issuer.kind.as_deref().unwrap_or(ISSUER_KIND).to_lowercase();
    format!("{kind}.{}/{}", issuer.group.as_deref().unwrap_or(ISSUER_GROUP), issuer.name)
}

/// The ConfigMap of limits and trusted certificates.
pub fn config(name: &str) -> String {
    format!("{name}-config")
}

/// The volume on a tier's NFS export. A namespace has no dot, so no two AtSigns share a name; it does not hold the UID,
/// so an AtSign of the same name finds a retained volume again.
pub fn volume(namespace: &str, name: &str) -> String {
    format!("atsign.{namespace}.{name}")
}

/// The directory on a tier's NFS export of the AtSign with this UID.
pub fn directory(namespace: &str, name: &str, uid: &str) -> String {
    format!("{namespace}-{name}-{uid}")
}

/// The Job that makes the directory of the AtSign with this UID.
pub fn init_job(uid: &str) -> String {
    format!("atsign-init-{uid}")
}

/// The Job that removes the directory of the AtSign with this UID.
pub fn wipe_job(uid: &str) -> String {
    format!("atsign-wipe-{uid}")
}

/// The volume and the claim, in the operator's namespace, of an export's root. Two operators in one cluster may use one
/// export, each through a volume of its own.
pub fn export(operator_namespace: &str, server: &str, path: &str) -> String {
    format!("atsign-export-{}", digest(format!("{operator_namespace}\0{server}\0{path}").as_bytes()))
}

/// Sixteen hexadecimal digits of the SHA-256 of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The labels by which the Service and the Deployment choose pods, for ever the same.
pub fn selector(name: &str) -> BTreeMap<String, String> {
    labels_of([(NAME, SECONDARY), (INSTANCE, name)])
}

/// The labels of everything in the AtSign's namespace.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    let mut labels = selector(name);
    labels.extend(labels_of([
        ("app.kubernetes.io/component", "secondary"),
        ("app.kubernetes.io/managed-by", MANAGED_BY),
        ("app.kubernetes.io/part-of", "atsign"),
    ]));
    labels
}

/// The labels of what belongs to an AtSign but lives outside its namespace.
pub fn labels_elsewhere(namespace: &str, name: &str) -> BTreeMap<String, String> {
    let mut labels = labels(name);
    labels.extend(labels_of([
        (NAME, "atsign-storage"),
        ("app.kubernetes.io/component", "storage"),
        (NAMESPACE, namespace),
    ]));
    labels
}

/// The labels of what belongs to the operator itself.
pub fn labels_of_operator(component: &str) -> BTreeMap<String, String> {
    labels_of([
        (NAME, "atsign-operator"),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/managed-by", MANAGED_BY),
        ("app.kubernetes.io/part-of", "atsign"),
    ])
}

fn labels_of<const N: usize>(labels: [(&str, &str); N]) -> BTreeMap<String, String> {
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_atsigns_share_a_volume() {
        assert_ne!(volume("a-b", "c"), volume("a", "b-c"));
    }

    #[test]
    fn the_longest_names_fit_where_they_stand() {
        let (namespace, name, uid) = ("n".repeat(63), "a".repeat(52), "0".repeat(36));
        assert!(activation(&name).len() <= 63);
        assert!(volume(&namespace, &name).len() <= 253);
        assert!(wipe_job(&uid).len() <= 63);
        assert!(directory(&namespace, &name, &uid).len() <= 255);
    }
}
