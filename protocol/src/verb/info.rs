//! `info` and its variants (reference page section 2.19).

use crate::error::AtError;

/// Tells version and uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// `info`: for a person.
    Full,
    /// `info:brief`: for a program.
    Brief,
    /// `info:mtls`: with the certificate that this server shows to others.
    ClientCertificate,
    /// `info:mtlsbrief`: only when that was changed.
    ClientCertificateBrief,
}

impl Info {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(Self::Full),
            ":brief" => Ok(Self::Brief),
            ":mtls" => Ok(Self::ClientCertificate),
            ":mtlsbrief" => Ok(Self::ClientCertificateBrief),
            _ => Err(AtError::syntax("info knows brief, mtls and mtlsbrief")),
        }
    }
}
