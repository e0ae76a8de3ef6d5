//! Signatures with which clients and other servers prove who they are.

use atsign_protocol::verb::{HashingAlgorithm, SigningAlgorithm};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ml_dsa::signature::Verifier as _;
use ml_dsa::{EncodedVerifyingKey, MlDsa65};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use ring::signature;
use sha2::{Digest as _, Sha256, Sha512};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Clients pad or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a text was signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scheme {
    /// By which algorithm.
    pub signing: SigningAlgorithm,
    /// Of which hash of the text.
    pub hashing: HashingAlgorithm,
}

/// Whether the holder of a key signed a text; the signature is base64.
pub fn proves(scheme: Scheme, public_key: &str, text: &str, signature: &str) -> bool {
    let Ok(signature) = BASE64.decode(signature.trim()) else { return false };
    match (scheme.signing, scheme.hashing) {
        (SigningAlgorithm::Rsa2048, HashingAlgorithm::Sha256) => {
            rsa(&signature::RSA_PKCS1_2048_8192_SHA256, public_key, text, &signature)
        }
        (SigningAlgorithm::Rsa2048, HashingAlgorithm::Sha512) => {
            rsa(&signature::RSA_PKCS1_2048_8192_SHA512, public_key, text, &signature)
        }
        (SigningAlgorithm::EccSecp256r1, HashingAlgorithm::Sha256) => {
            ecc(public_key, &Sha256::digest(text), &signature)
        }
        // The reference server knows this curve with SHA-256 only; FIPS 186-4 takes the leftmost bits of a longer hash.
        (SigningAlgorithm::EccSecp256r1, HashingAlgorithm::Sha512) => {
            ecc(public_key, &Sha512::digest(text), &signature)
        }
        (SigningAlgorithm::MlDsa65, _) => ml_dsa(public_key, text, &signature),
    }
}

/// `public_key` is base64 of a DER `SubjectPublicKeyInfo`.
fn rsa(algorithm: &'static signature::RsaParameters, public_key: &str, text: &str, signature: &[u8]) -> bool {
    let Some(public_key) = subject_public_key(public_key) else { return false };
    signature::UnparsedPublicKey::new(algorithm, public_key).verify(text.as_bytes(), signature).is_ok()
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

/// `public_key` is base64 of the key as FIPS 204 encodes it, or a `SubjectPublicKeyInfo` like the others.
fn ml_dsa(public_key: &str, text: &str, signature: &[u8]) -> bool {
    let bare = BASE64.decode(public_key.trim()).ok();
    let key = bare.and_then(|bare| EncodedVerifyingKey::<MlDsa65>::try_from(bare.as_slice()).ok());
    let within = || EncodedVerifyingKey::<MlDsa65>::try_from(subject_public_key(public_key)?.as_slice()).ok();
    let Some(key) = key.or_else(within) else { return false };
    let signature = ml_dsa::Signature::<MlDsa65>::try_from(signature);
    signature.is_ok_and(|signature| {
        ml_dsa::VerifyingKey::<MlDsa65>::decode(&key).verify(text.as_bytes(), &signature).is_ok()
    })
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
    use ml_dsa::Seed;
    use ml_dsa::signature::{Keypair as _, Signer as _};
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use ring::rand::SystemRandom;
    use ring::signature::KeyPair as _;

    use super::*;

    const TEXT: &str = "_4af24c03@alice:d6cac849";

    fn ecc(hashing: HashingAlgorithm) -> Scheme {
        Scheme { signing: SigningAlgorithm::EccSecp256r1, hashing }
    }

    fn to_hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn a_p256_key_in_hex_proves_with_a_signature_in_hex_or_in_bytes_of_either_hash() {
        let pair = SigningKey::from_slice(&[7; 32]).expect("a key");
        let public_key = to_hex(pair.verifying_key().to_encoded_point(false).as_bytes());
        for (hashing, other, hash) in [
            (HashingAlgorithm::Sha256, HashingAlgorithm::Sha512, Sha256::digest(TEXT).to_vec()),
            (HashingAlgorithm::Sha512, HashingAlgorithm::Sha256, Sha512::digest(TEXT).to_vec()),
        ] {
            let signed: Signature = pair.sign_prehash(&hash).expect("a signature");
            let raw = BASE64.encode(signed.to_bytes());
            let hex = BASE64.encode(to_hex(&signed.to_bytes()));
            for signature in [&raw, &hex] {
                assert!(proves(ecc(hashing), &public_key, TEXT, signature));
                assert!(!proves(ecc(hashing), &public_key, "another text", signature));
                assert!(!proves(ecc(hashing), "04aa", TEXT, signature));
                assert!(!proves(ecc(hashing), "", TEXT, signature));
            }
            assert!(!proves(ecc(other), &public_key, TEXT, &raw));
        }
    }

    #[test]
    fn a_signature_by_another_implementation_proves_too() {
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let document = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
        let signed = BASE64.encode(pair.sign(&random, TEXT.as_bytes()).expect("a signature").as_ref());
        let public_key = to_hex(pair.public_key().as_ref());
        assert!(proves(ecc(HashingAlgorithm::Sha256), &public_key, TEXT, &signed));
    }

    #[test]
    fn a_post_quantum_key_proves_what_it_signed_and_nothing_else() {
        let scheme = Scheme { signing: SigningAlgorithm::MlDsa65, ..Scheme::default() };
        let pair = ml_dsa::SigningKey::<MlDsa65>::from_seed(&Seed::from([7; 32]));
        let public_key = BASE64.encode(pair.verifying_key().encode());
        let signed: ml_dsa::Signature<MlDsa65> = pair.sign(TEXT.as_bytes());
        let signed = BASE64.encode(signed.encode());
        assert!(proves(scheme, &public_key, TEXT, &signed));
        assert!(!proves(scheme, &public_key, "another text", &signed));
        assert!(!proves(scheme, &public_key[4..], TEXT, &signed));
        assert!(!proves(scheme, &public_key, TEXT, &signed[4..]));
        assert!(!proves(Scheme::default(), &public_key, TEXT, &signed));
    }

    #[test]
    fn a_signature_that_is_no_base64_proves_nothing() {
        for signing in [SigningAlgorithm::Rsa2048, SigningAlgorithm::EccSecp256r1, SigningAlgorithm::MlDsa65]
        {
            assert!(!proves(Scheme { signing, ..Scheme::default() }, "", TEXT, "signingAlgo:rsa2047:***"));
        }
    }
}
