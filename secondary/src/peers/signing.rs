//! The pair of keys with which this server proves to others whose it is (reference page section 3.7 step 4).

use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::{AtKey, AtSign, MetadataChange, Visibility};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use tokio::sync::watch;

use super::PeerError;
use crate::store::{Change, Operation, Store, StoreError};

/// Says that the pair was made.
const GENERATED: &str = "privatekey:signing_keypair_generated";

/// How long a handshake waits for a pair that is still being made.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pair, once it is there.
#[derive(Clone)]
pub(crate) struct Signing {
    pair: Arc<watch::Sender<Option<Arc<RsaKeyPair>>>>,
}

/// A new pair as it is stored.
struct Generated {
    public: String,
    private: String,
}

impl Default for Signing {
    fn default() -> Self {
        Self { pair: Arc::new(watch::Sender::new(None)) }
    }
}

impl Signing {
    /// Takes the stored pair, or makes and stores one. Making one takes a second or more, on a thread of its own.
    pub(crate) async fn prepare(&self, store: &impl Store, own: &AtSign) -> Result<(), StoreError> {
        let key = |visibility, entity: &str| AtKey {
            cached: false,
            visibility,
            entity: entity.to_owned(),
            owner: own.clone(),
        };
        let public = key(Visibility::Public, "signing_publickey").to_string();
        let private = key(Visibility::SharedWith(own.clone()), "signing_privatekey").to_string();
        let value = async |key: &str| Ok(store.get(key).await?.and_then(|record| record.value));
        if let (Some(_), Some(text)) = (value(&public).await?, value(&private).await?) {
            if let Some(pair) = read(&text) {
                self.pair.send_replace(Some(Arc::new(pair)));
                return Ok(());
            }
            tracing::warn!("the stored signing key cannot be read: making a new one");
        }
        let Ok(Some(generated)) = tokio::task::spawn_blocking(generate).await else {
            tracing::error!("no signing key could be made: other servers will not take this one's word");
            return Ok(());
        };
        let pair = read(&generated.private);
        let now = jiff::Timestamp::now().as_millisecond();
        for (key, value, committed) in [
            (public, generated.public, true),
            (private, generated.private, true),
            (GENERATED.to_owned(), "true".to_owned(), false),
        ] {
            let change = Change::Put {
                key,
                value: Some(value),
                metadata: MetadataChange::default(),
                operation: Operation::UpdateAll,
                committed,
                by: own.to_string(),
                rationed: false,
            };
            store.commit(change, now).await?;
        }
        self.pair.send_replace(pair.map(Arc::new));
        tracing::info!("made the signing keys");
        Ok(())
    }

    /// The signature of a text, base64.
    pub(super) async fn sign(&self, text: &str) -> Result<String, PeerError> {
        let missing = || PeerError::Handshake("this server has no signing key yet".to_owned());
        let mut ready = self.pair.subscribe();
        let ready = tokio::time::timeout(PATIENCE, ready.wait_for(Option::is_some)).await;
        let pair = ready.ok().and_then(Result::ok).and_then(|pair| pair.clone()).ok_or_else(missing)?;
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| PeerError::Handshake("this server's signing key does not sign".to_owned()))?;
        Ok(BASE64.encode(signature))
    }
}

fn read(text: &str) -> Option<RsaKeyPair> {
    let der = BASE64.decode(text.trim()).ok()?;
    // What the reference server wrote may be of either form.
    RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).ok()
}

fn generate() -> Option<Generated> {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).ok()?;
    let public = private.to_public_key().to_public_key_der().ok()?;
    let private = private.to_pkcs8_der().ok()?;
    Some(Generated { public: BASE64.encode(public.as_bytes()), private: BASE64.encode(private.as_bytes()) })
}
