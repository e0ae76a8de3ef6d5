//! `pkam` (reference page section 2.3), with RSA-2048, with P-256 and with ML-DSA-65.

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_dsa::signature::{Keypair as _, Signer as _};
use ml_dsa::{MlDsa65, Seed, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaEncoding, RsaKeyPair,
};

/// A key made for these tests; it protects nothing.
const RSA_PRIVATE_KEY: &str = include_str!("../../data/pkam-rsa.pkcs1.b64");
const RSA_PUBLIC_KEY: &str = include_str!("../../data/pkam-rsa.spki.b64");

/// A server whose owner logs in by the RSA key.
fn onboarded() -> Result<Secondary> {
    let server = Secondary::start("@dave")?;
    let mut client = server.connect_as_owner()?;
    let store = format!("update:privatekey:at_pkam_publickey {}", RSA_PUBLIC_KEY.trim());
    assert_eq!(client.request(&store)?, "data:-1\n@dave@");
    Ok(server)
}

fn sign(challenge: &str, padding: &'static dyn RsaEncoding) -> Result<String> {
    let der = STANDARD.decode(RSA_PRIVATE_KEY.replace('\n', ""))?;
    let pair = RsaKeyPair::from_der(&der).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), challenge.as_bytes(), &mut signature)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(STANDARD.encode(signature))
}

fn login(client: &mut Client, options: &str, padding: &'static dyn RsaEncoding) -> Result<String> {
    let challenge = client.challenge("@dave")?;
    let signature = sign(&challenge, padding)?;
    client.request(&format!("pkam:{options}{signature}"))
}

#[test]
fn who_holds_the_private_key_is_the_owner() -> Result<()> {
    let server = onboarded()?;
    let mut client = server.connect()?;
    for (options, padding) in [
        ("", &RSA_PKCS1_SHA256 as &'static dyn RsaEncoding),
        ("signingAlgo:rsa2048:hashingAlgo:sha256:", &RSA_PKCS1_SHA256),
        ("signingAlgo:rsa2048:hashingAlgo:sha512:", &RSA_PKCS1_SHA512),
        ("hashingAlgo:sha512:", &RSA_PKCS1_SHA512),
    ] {
        // Again on the same connection, as SDKs do after `cram`.
        assert_eq!(login(&mut client, options, padding)?, "data:success\n@dave@", "{options}");
    }
    assert!(client.request("llookup:none@dave")?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn a_wrong_signature_is_refused_whatever_is_wrong_with_it() -> Result<()> {
    let server = onboarded()?;
    let mut client = server.connect()?;
    let refused = "error:AT0401-Exception: pkam authentication failed\n@";
    assert_eq!(login(&mut client, "hashingAlgo:sha512:", &RSA_PKCS1_SHA256)?, refused, "the hash");
    assert_eq!(login(&mut client, "signingAlgo:rsa2047:", &RSA_PKCS1_SHA256)?, refused, "the algorithm");
    assert_eq!(
        login(&mut client, "signingAlgo:ecc_secp256r1:", &RSA_PKCS1_SHA256)?,
        refused,
        "the kind of key"
    );
    let signature = sign("_another@dave:challenge", &RSA_PKCS1_SHA256)?;
    for signature in [signature.as_str(), "c2ln", "no base64!", "="] {
        client.challenge("@dave")?;
        assert_eq!(client.request(&format!("pkam:{signature}"))?, refused, "{signature}");
    }
    assert_eq!(login(&mut client, "", &RSA_PKCS1_SHA256)?, "data:success\n@dave@", "the connection stays");
    Ok(())
}

#[test]
fn a_challenge_serves_once() -> Result<()> {
    let server = onboarded()?;
    let mut client = server.connect()?;
    let challenge = client.challenge("@dave")?;
    let signature = sign(&challenge, &RSA_PKCS1_SHA256)?;
    assert_eq!(client.request(&format!("pkam:{signature}"))?, "data:success\n@dave@");
    assert!(client.request(&format!("pkam:{signature}"))?.starts_with("error:AT0015-Exception: private:_"));
    Ok(())
}

#[test]
fn without_a_public_key_nobody_can_log_in() -> Result<()> {
    let server = Secondary::start("@dave")?;
    let answer = login(&mut server.connect()?, "", &RSA_PKCS1_SHA256)?;
    assert_eq!(answer, "error:AT0015-Exception: privatekey:at_pkam_publickey does not exist in keystore\n@");
    Ok(())
}

#[test]
fn an_enrollment_that_does_not_exist_is_said_to_have_ended() -> Result<()> {
    let server = onboarded()?;
    let answer = login(&mut server.connect()?, "enrollmentId:4af2-99:", &RSA_PKCS1_SHA256)?;
    assert_eq!(answer, "error:AT0028:enrollment_id: 4af2-99 is expired or invalid\n@");
    Ok(())
}

#[test]
fn a_p256_key_is_stored_in_hex_and_signs_in_hex() -> Result<()> {
    let server = Secondary::start("@dave")?;
    let random = SystemRandom::new();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok().context("a key")?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let public_key = hex(pair.public_key().as_ref());
    server.connect_as_owner()?.request(&format!("update:privatekey:at_pkam_publickey {public_key}"))?;

    let mut client = server.connect()?;
    let challenge = client.challenge("@dave")?;
    let signed = pair.sign(&random, challenge.as_bytes()).ok().context("a signature")?;
    let signature = STANDARD.encode(hex(signed.as_ref()));
    assert_eq!(
        client.request(&format!("pkam:signingAlgo:ecc_secp256r1:hashingAlgo:sha256:{signature}"))?,
        "data:success\n@dave@"
    );
    Ok(())
}

#[test]
fn a_post_quantum_key_logs_in_too() -> Result<()> {
    let server = Secondary::start("@dave")?;
    let pair = SigningKey::<MlDsa65>::from_seed(&Seed::from([42; 32]));
    let public_key = STANDARD.encode(pair.verifying_key().encode());
    server.connect_as_owner()?.request(&format!("update:privatekey:at_pkam_publickey {public_key}"))?;

    let mut client = server.connect()?;
    let login = |client: &mut Client, change: &str| -> Result<String> {
        let challenge = client.challenge("@dave")?;
        let signature: ml_dsa::Signature<MlDsa65> = pair.sign(format!("{challenge}{change}").as_bytes());
        client.request(&format!("pkam:signingAlgo:mldsa65:{}", STANDARD.encode(signature.encode())))
    };
    assert_eq!(login(&mut client, "")?, "data:success\n@dave@");
    assert_eq!(login(&mut client, "!")?, "error:AT0401-Exception: pkam authentication failed\n@");
    Ok(())
}
