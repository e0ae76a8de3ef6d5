//! `cram`: proves to know the secret of the onboarding (reference page section 2.2).

use std::fmt::Write as _;

use atsign_protocol::verb::Cram;
use atsign_protocol::{AtError, ErrorCode, key};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use super::pkam::redeem;
use crate::atserver::AtServer;
use crate::session::{Answer, Client, Identity};
use crate::store::Store;

pub(super) async fn cram<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    cram: &Cram,
) -> Result<Answer, AtError> {
    client.forget();
    let challenge = redeem(server, client)?;
    // Once the client has deleted the secret there is none, whatever the server was started with.
    let deleted = server.store.get(key::CRAM_SECRET_DELETED).await?.is_some();
    let secret = server.store.get(key::CRAM_SECRET).await?.and_then(|record| record.value);
    let secret = secret.filter(|_| !deleted).ok_or_else(|| AtError::key_not_found(key::CRAM_SECRET))?;
    if !proves(&secret, &challenge, &cram.digest) {
        tracing::warn!("a client failed to authenticate by CRAM");
        return Err(AtError::new(ErrorCode::Unauthenticated, "Authentication Failed"));
    }
    client.identity = Identity::Owner;
    client.by_cram = true;
    tracing::info!("the owner authenticated by CRAM");
    Ok(Answer::text("success"))
}

fn proves(secret: &str, challenge: &str, digest: &str) -> bool {
    let mut expected = String::with_capacity(128);
    for byte in Sha512::new().chain_update(secret).chain_update(challenge).finalize() {
        // Writing to a String does not fail.
        let _ = write!(expected, "{byte:02x}");
    }
    expected.as_bytes().ct_eq(digest.to_ascii_lowercase().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_over_secret_and_challenge() {
        // sha512sum of "abc".
        let digest = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert!(proves("a", "bc", digest));
        assert!(proves("a", "bc", &digest.to_uppercase()));
        assert!(!proves("a", "bd", digest));
        assert!(!proves("a", "bc", &digest[1..]));
        assert!(!proves("a", "bc", ""));
    }
}
