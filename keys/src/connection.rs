//! A connection to an atSign's server: TLS over any stream, one command at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha512};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Keys;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is read; none of those that are asked for here comes near it.
const LONGEST: usize = 64 << 10;

/// A connection to an atSign's server.
pub struct Connection<S> {
    stream: TlsStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Shakes hands over `stream`. The server's certificate must name `host` and lead to one of `roots`.
    pub async fn open(stream: S, host: &str, roots: RootCertStore) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host:?} is no host"))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = timeout(PATIENCE, handshake)
            .await
            .with_context(|| format!("no TLS handshake within {PATIENCE:?}"))?
            .with_context(|| format!("TLS with {host}"))?;
        Ok(Self { stream })
    }

    /// Sends a command and returns its answer, `data:…` or `error:…`, without the prompt that follows it.
    pub async fn request(&mut self, command: &str) -> Result<String> {
        let exchange = async {
            self.stream.write_all(format!("{command}\n").as_bytes()).await?;
            self.stream.flush().await?;
            self.answer().await
        };
        timeout(PATIENCE, exchange).await.with_context(|| format!("no answer within {PATIENCE:?}"))?
    }

    async fn answer(&mut self) -> Result<String> {
        let mut received = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).await.context("reading the answer")?;
            ensure!(read > 0, "the server closed the connection");
            received.extend_from_slice(&chunk[..read]);
            ensure!(received.len() <= LONGEST, "the answer is longer than {LONGEST} bytes");
            if let Some(answer) = complete(&received) {
                return Ok(answer);
            }
        }
    }

    /// Sends a command that must succeed.
    pub async fn command(&mut self, command: &str) -> Result<()> {
        let answer = self.request(command).await?;
        if !answer.starts_with("data:") {
            // Not the whole command: there may be a signature in it.
            bail!("{} answered {answer:?}", command.split([':', ' ']).next().unwrap_or_default());
        }
        Ok(())
    }

    /// Logs in with the secret that the server was started with.
    pub async fn cram(&mut self, at_sign: &str, secret: &str) -> Result<()> {
        let challenge = self.challenge(at_sign).await?;
        let digest = Sha512::digest(format!("{secret}{challenge}"));
        let hex = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        self.command(&format!("cram:{hex}")).await
    }

    /// Logs in with the owner's keys.
    pub async fn pkam(&mut self, at_sign: &str, keys: &Keys) -> Result<()> {
        let challenge = self.challenge(at_sign).await?;
        self.command(&format!("pkam:{}", keys.sign(&challenge))).await
    }

    async fn challenge(&mut self, at_sign: &str) -> Result<String> {
        let answer = self.request(&format!("from:{at_sign}")).await?;
        let challenge = answer.strip_prefix("data:");
        Ok(challenge.with_context(|| format!("from answered {answer:?}"))?.to_owned())
    }
}

/// The answer in `received`, once its line is complete. In front of it may stand prompts that came too late for the
/// answer before, the greeting among them; the one behind it may come later too.
pub fn complete(received: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(received);
    let start = ["data:", "error:"].into_iter().filter_map(|word| text.find(word)).min()?;
    let (answer, _prompt) = text[start..].split_once('\n')?;
    Some(answer.trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_line() {
        for partial in ["", "@", "@data:suc", "@alice@error:AT0401"] {
            assert_eq!(complete(partial.as_bytes()), None, "{partial:?}");
        }
    }

    #[test]
    fn prompts_around_an_answer_are_no_part_of_it() {
        for (received, answer) in [
            ("@data:_1@alice:2\n@", "data:_1@alice:2"),
            ("data:success\n@alice@", "data:success"),
            ("alice@data:1\n", "data:1"),
            ("error:AT0401-Client authentication failed\n", "error:AT0401-Client authentication failed"),
        ] {
            assert_eq!(complete(received.as_bytes()).as_deref(), Some(answer), "{received:?}");
        }
    }
}
