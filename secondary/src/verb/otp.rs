//! `otp` (reference page section 2.20): passcodes with which strangers may request an enrollment.

use atsign_protocol::verb::Otp;
use atsign_protocol::{AtError, ErrorCode, Field, MetadataChange};
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

use crate::atserver::AtServer;
use crate::session::{Answer, Client};
use crate::store::{Change, Operation, Store};

/// How long a passcode is good that the server made, milliseconds.
const TTL: i64 = 300_000;

/// Upper-case letters and digits, without the two that look alike.
const ALPHABET: &[u8; 34] = b"ABCDEFGHIJKLMNPQRSTUVWXYZ123456789";

pub(super) async fn otp<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    otp: Otp,
) -> Result<Answer, AtError> {
    if client.access.as_ref().is_some_and(|access| !access.namespaces.manage()) {
        let text = "The client does not have access to \"__manage\" namespace";
        return Err(AtError::new(ErrorCode::InternalServerException, text).and_close());
    }
    if let Some(passcode) = otp.passcode {
        store(server, semi_permanent(server), passcode, otp.ttl).await?;
        return Ok(Answer::text("ok"));
    }
    let passcode = generate()?;
    store(server, once(server, &passcode), passcode.clone(), Some(otp.ttl.unwrap_or(TTL))).await?;
    Ok(Answer::Text(passcode))
}

async fn store<S: Store>(
    server: &AtServer<S>,
    key: String,
    passcode: String,
    ttl: Option<i64>,
) -> Result<(), AtError> {
    let change = Change::Put {
        key,
        value: Some(passcode),
        metadata: MetadataChange { ttl: ttl.map_or(Field::Clear, Field::Set), ..MetadataChange::default() },
        operation: Operation::UpdateAll,
        committed: false,
        by: server.at_sign.to_string(),
        rationed: false,
    };
    server.store.commit(change, server.now()).await?;
    Ok(())
}

/// Whether a passcode is good; one that is good once is not any more after that. The caller sees to it that nobody
/// else does the same at that time.
pub(super) async fn redeem<S: Store>(server: &AtServer<S>, passcode: &str) -> Result<bool, AtError> {
    let now = server.now();
    let is_word = passcode.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_word || !(Otp::MIN..=Otp::MAX).contains(&passcode.len()) {
        return Ok(false);
    }
    let stored = server.store.get(&semi_permanent(server)).await?;
    let stored = stored.filter(|record| record.metadata.is_active(now)).and_then(|record| record.value);
    if let Some(stored) = stored {
        let (stored, passcode) = (stored.to_lowercase(), passcode.to_lowercase());
        if stored.as_bytes().ct_eq(passcode.as_bytes()).into() {
            return Ok(true);
        }
    }
    let key = once(server, passcode);
    let good = server.store.get(&key).await?.is_some_and(|record| record.metadata.is_active(now));
    if good {
        server.store.commit(Change::Delete { key, committed: false }, now).await?;
    }
    Ok(good)
}

fn once<S>(server: &AtServer<S>, passcode: &str) -> String {
    format!("private:{}.__otp{}", passcode.to_lowercase(), server.at_sign)
}

fn semi_permanent<S>(server: &AtServer<S>) -> String {
    format!("private:spp.__otp{}", server.at_sign)
}

/// Six characters, a digit among them.
fn generate() -> Result<String, AtError> {
    let random = SystemRandom::new();
    let failed = |_| AtError::new(ErrorCode::InternalServerError, "there are no random numbers");
    loop {
        let mut passcode = String::with_capacity(Otp::MIN);
        while passcode.len() < Otp::MIN {
            let mut byte = [0];
            random.fill(&mut byte).map_err(failed)?;
            // Others would come up more often than the rest.
            let index = usize::from(byte[0]);
            if index < 256 / ALPHABET.len() * ALPHABET.len() {
                passcode.push(char::from(ALPHABET[index % ALPHABET.len()]));
            }
        }
        if passcode.contains(|character: char| character.is_ascii_digit()) {
            return Ok(passcode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passcode_has_six_characters_that_cannot_be_mistaken_and_a_digit_among_them() {
        for _ in 0..200 {
            let passcode = generate().expect("random numbers");
            assert_eq!(passcode.len(), 6);
            assert!(passcode.bytes().all(|byte| ALPHABET.contains(&byte)), "{passcode}");
            assert!(passcode.contains(|character: char| character.is_ascii_digit()), "{passcode}");
        }
    }
}
