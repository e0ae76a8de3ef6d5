//! `pkam:[signingAlgo:…:][hashingAlgo:…:][enrollmentId:…:]<signature>` (reference page section 2.3).

use serde::{Deserialize, Serialize};

use crate::error::AtError;
use crate::key::strip_tag;

/// Proves that the client holds a private key of the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkam {
    /// How the challenge was signed.
    pub signing: SigningAlgorithm,
    /// How the challenge was hashed.
    pub hashing: HashingAlgorithm,
    /// The enrollment whose key signed it; the owner's own key otherwise.
    pub enrollment_id: Option<String>,
    /// The signature in base64, not yet checked to be that.
    pub signature: String,
}

/// How a challenge is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    #[default]
    #[serde(rename = "rsa2048")]
    Rsa2048,
    /// ECDSA on the curve P-256.
    #[serde(rename = "ecc_secp256r1")]
    EccSecp256r1,
    /// ML-DSA-65 of FIPS 204, without a context; it hashes for itself.
    #[serde(rename = "mldsa65")]
    MlDsa65,
}

/// How a challenge is hashed before it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashingAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl SigningAlgorithm {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::EccSecp256r1 => "ecc_secp256r1",
            Self::MlDsa65 => "mldsa65",
        }
    }
}

impl Pkam {
    /// Characters of a signature that are worth looking at: ML-DSA-65 has 4412, RSA with 8192 bits 1368.
    const MAX_SIGNATURE: usize = 4500;

    /// An algorithm that is not known, or a field out of order, is part of the signature, as in the reference server:
    /// the signature is then wrong, and the answer is AT0401.
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (signing, rest) = choice(
            text,
            "signingAlgo",
            &[SigningAlgorithm::Rsa2048, SigningAlgorithm::EccSecp256r1, SigningAlgorithm::MlDsa65]
                .map(|algorithm| (algorithm.name(), algorithm)),
        );
        let (hashing, rest) = choice(
            rest,
            "hashingAlgo",
            &[("sha256", HashingAlgorithm::Sha256), ("sha512", HashingAlgorithm::Sha512)],
        );
        let (enrollment_id, signature) =
            match strip_tag(rest, "enrollmentId").and_then(|rest| rest.split_once(':')) {
                Some((id, rest)) if !id.is_empty() && id.len() <= 128 => (Some(id.to_owned()), rest),
                _ => (None, rest),
            };
        if signature.is_empty() {
            return Err(AtError::syntax("pkam needs a signature"));
        }
        Ok(Self {
            signing,
            hashing,
            enrollment_id,
            signature: signature.chars().take(Self::MAX_SIGNATURE).collect(),
        })
    }
}

/// Takes `tag:<one of names>:` from the head of `text`.
fn choice<'a, T: Copy + Default>(text: &'a str, tag: &str, names: &[(&str, T)]) -> (T, &'a str) {
    for (name, value) in names {
        if let Some(rest) = strip_tag(text, tag).and_then(|rest| strip_tag(rest, name)) {
            return (*value, rest);
        }
    }
    (T::default(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_alone_is_rsa_with_sha256() {
        let expected = Pkam {
            signing: SigningAlgorithm::Rsa2048,
            hashing: HashingAlgorithm::Sha256,
            enrollment_id: None,
            signature: "c2ln".into(),
        };
        assert_eq!(Pkam::parse("c2ln"), Ok(expected.clone()));
        assert_eq!(Pkam::parse("signingAlgo:rsa2048:hashingAlgo:sha256:c2ln"), Ok(expected));
    }

    #[test]
    fn algorithms_and_enrollment_are_read_in_any_case() {
        let pkam =
            Pkam::parse("signingalgo:ECC_secp256r1:hashingAlgo:sha512:enrollmentId:4-2:c2ln").expect("pkam");
        assert_eq!((pkam.signing, pkam.hashing), (SigningAlgorithm::EccSecp256r1, HashingAlgorithm::Sha512));
        assert_eq!((pkam.enrollment_id.as_deref(), pkam.signature.as_str()), (Some("4-2"), "c2ln"));
        let pkam = Pkam::parse("signingAlgo:mldsa65:enrollmentId:4-2:c2ln").expect("pkam");
        assert_eq!((pkam.signing, pkam.signature.as_str()), (SigningAlgorithm::MlDsa65, "c2ln"));
    }

    #[test]
    fn what_is_no_algorithm_is_part_of_the_signature() {
        for text in ["signingAlgo:rsa2047:c2ln", "hashingAlgo:md5:c2ln", "x:signingAlgo:rsa2048:c2ln"] {
            assert_eq!(Pkam::parse(text).map(|pkam| pkam.signature), Ok(text.into()));
        }
    }
}
