//! `from` (reference page section 2.1).

use anyhow::{Context as _, Result};

use crate::stranger;

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[test]
fn the_own_atsign_gets_a_challenge_of_session_and_proof() -> Result<()> {
    let answer = stranger()?.request("from:@alice")?;
    let challenge =
        answer.strip_prefix("data:_").and_then(|rest| rest.strip_suffix("\n@")).context("an answer")?;
    let (session, proof) = challenge.split_once("@alice:").context("a challenge")?;
    assert!(is_uuid(session) && is_uuid(proof), "{answer}");
    Ok(())
}

#[test]
fn another_atsign_gets_a_proof() -> Result<()> {
    let answer = stranger()?.request("from:@Bob")?;
    let proof =
        answer.strip_prefix("data:proof:_").and_then(|rest| rest.strip_suffix("\n@")).context("an answer")?;
    let (session, proof) = proof.split_once("@bob:").context("a proof")?;
    assert!(is_uuid(session) && is_uuid(proof), "{answer}");
    Ok(())
}

#[test]
fn the_session_stays_and_the_proof_changes() -> Result<()> {
    let mut client = stranger()?;
    let (first, second) = (client.challenge("alice")?, client.challenge("@ALICE")?);
    let session = |challenge: &str| challenge.split_once('@').map(|(session, _)| session.to_owned());
    assert_eq!(session(&first), session(&second));
    assert_ne!(first, second);
    Ok(())
}
