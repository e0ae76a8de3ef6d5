//! `pkam`: proves to hold the private key of the owner (reference page section 2.3).

use atsign_protocol::verb::{HashingAlgorithm, Pkam, SigningAlgorithm};
use atsign_protocol::{AtError, ErrorCode, key};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use ring::signature;
use sha2::{Digest as _, Sha256, Sha512};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::atserver::AtServer;
use crate::enrollments;
use crate::session::{Answer, Client, Identity};
use crate::store::Store;

/// Clients pad or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn pkam<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    pkam: &Pkam,
) -> Result<Answer, AtError> {
    client.forget();
    let challenge = redeem(server, client);
    // Where an enrollment stands is said before anything about the challenge.
    let (public_key, access) = match &pkam.enrollment_id {
        Some(id) => {
            let (enrollment, access) = enrollments::access(server, &id.to_lowercase()).await?;
            (Some(enrollment.apkam_public_key), Some(access))
        }
        None => (server.store.get(key::PKAM_PUBLIC_KEY).await?.and_then(|record| record.value), None),
    };
    let challenge = challenge?;
    let public_key = public_key.ok_or_else(|| AtError::key_not_found(key::PKAM_PUBLIC_KEY))?;
    if !proves(&public_key, &challenge, pkam) {
        tracing::warn!("a client failed to authenticate by PKAM");
        return Err(AtError::new(ErrorCode::Unauthenticated, "pkam authentication failed"));
    }
    client.identity = Identity::Owner;
    client.access = access;
    tracing::info!("the owner authenticated by PKAM");
    Ok(Answer::text("success"))
}

/// The challenge of this connection: taken away, so that it serves once.
pub(super) fn redeem<S>(server: &AtServer<S>, client: &mut Client) -> Result<String, AtError> {
    let challenge = client.challenge.take().and_then(crate::session::Challenge::redeem);
    challenge
        .ok_or_else(|| AtError::key_not_found(&format!("private:{}{}", client.session_id, server.at_sign)))
}

fn proves(public_key: &str, challenge: &str, pkam: &Pkam) -> bool {
    let Ok(signature) = BASE64.decode(pkam.signature.trim()) else { return false };
    match (pkam.signing, pkam.hashing) {
        (SigningAlgorithm::Rsa2048, HashingAlgorithm::Sha256) => {
            rsa(&signature::RSA_PKCS1_2048_8192_SHA256, public_key, challenge, &signature)
        }
        (SigningAlgorithm::Rsa2048, HashingAlgorithm::Sha512) => {
            rsa(&signature::RSA_PKCS1_2048_8192_SHA512, public_key, challenge, &signature)
        }
        (SigningAlgorithm::EccSecp256r1, HashingAlgorithm::Sha256) => {
            ecc(public_key, &Sha256::digest(challenge), &signature)
        }
        // The reference server knows this curve with SHA-256 only; FIPS 186-4 takes the leftmost bits of a longer hash.
        (SigningAlgorithm::EccSecp256r1, HashingAlgorithm::Sha512) => {
            ecc(public_key, &Sha512::digest(challenge), &signature)
        }
    }
}

/// Whether an RSA key signed a text; all but the text is base64.
pub(super) fn rsa_sha256_proves(public_key: &str, text: &str, signature: &str) -> bool {
    let signature = BASE64.decode(signature.trim());
    signature.is_ok_and(|signature| rsa(&signature::RSA_PKCS1_2048_8192_SHA256, public_key, text, &signature))
}

/// `public_key` is base64 of a DER `SubjectPublicKeyInfo`.
fn rsa(
    algorithm: &'static signature::RsaParameters,
    public_key: &str,
    challenge: &str,
    signature: &[u8],
) -> bool {
    let Some(public_key) = subject_public_key(public_key) else { return false };
    signature::UnparsedPublicKey::new(algorithm, public_key).verify(challenge.as_bytes(), signature).is_ok()
}

/// `public_key` is the uncompressed point in hex, or a `SubjectPublicKeyInfo` like the others; the signature is `r‖s`,
/// as 64 bytes or in hex, which is what the reference server takes.
fn ecc(public_key: &str, hash: &[u8], signature: &[u8]) -> bool {
    let Some(point) = hex(public_key.trim().as_bytes()).or_else(|| subject_public_key(public_key)) else {
        return false;
    };
    let text = hex(signature.trim_ascii());
    let signature = text.as_deref().unwrap_or(signature);
    // ring verifies this curve with SHA-256 only.
    let key = VerifyingKey::from_sec1_bytes(&point);
    let signature = Signature::from_slice(signature);
    key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify_prehash(hash, &signature).is_ok()))
}

fn subject_public_key(text: &str) -> Option<Vec<u8>> {
    let der = BASE64.decode(text.trim()).ok()?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
    Some(info.subject_public_key.data.into_owned())
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2)
        .map(|digits| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some(digit(digits[0])? << 4 | digit(digits[1])?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use ring::rand::SystemRandom;
    use ring::signature::KeyPair as _;

    use super::*;
    use base64::engine::general_purpose;

    const CHALLENGE: &str = "_4af24c03@alice:d6cac849";

    fn ecc_request(signature: &[u8], hashing: HashingAlgorithm) -> Pkam {
        Pkam {
            signing: SigningAlgorithm::EccSecp256r1,
            hashing,
            enrollment_id: None,
            signature: general_purpose::STANDARD.encode(signature),
        }
    }

    fn to_hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn a_p256_key_in_hex_proves_with_a_signature_in_hex_or_in_bytes_of_either_hash() {
        let pair = SigningKey::from_slice(&[7; 32]).expect("a key");
        let public_key = to_hex(pair.verifying_key().to_encoded_point(false).as_bytes());
        for (hashing, other, hash) in [
            (HashingAlgorithm::Sha256, HashingAlgorithm::Sha512, Sha256::digest(CHALLENGE).to_vec()),
            (HashingAlgorithm::Sha512, HashingAlgorithm::Sha256, Sha512::digest(CHALLENGE).to_vec()),
        ] {
            let signed: Signature = pair.sign_prehash(&hash).expect("a signature");
            let raw = ecc_request(&signed.to_bytes(), hashing);
            let text = ecc_request(to_hex(&signed.to_bytes()).as_bytes(), hashing);
            for request in [&raw, &text] {
                assert!(proves(&public_key, CHALLENGE, request));
                assert!(!proves(&public_key, "another challenge", request));
                assert!(!proves("04aa", CHALLENGE, request));
                assert!(!proves("", CHALLENGE, request));
            }
            assert!(!proves(&public_key, CHALLENGE, &ecc_request(&signed.to_bytes(), other)));
        }
    }

    #[test]
    fn a_signature_by_another_implementation_proves_too() {
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let document = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
        let signed = pair.sign(&random, CHALLENGE.as_bytes()).expect("a signature");
        let request = ecc_request(signed.as_ref(), HashingAlgorithm::Sha256);
        assert!(proves(&to_hex(pair.public_key().as_ref()), CHALLENGE, &request));
    }

    #[test]
    fn a_signature_that_is_no_base64_proves_nothing() {
        let request = Pkam {
            signature: "signingAlgo:rsa2047:***".into(),
            ..ecc_request(b"", HashingAlgorithm::Sha256)
        };
        assert!(!proves("", CHALLENGE, &request));
    }
}
