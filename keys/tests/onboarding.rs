//! The first login at a real server, undisturbed and interrupted.

use std::path::Path;

use anyhow::{Result, ensure};
use atsign_keys::{Connection, Keys, is_unfinished, onboard};
use atsign_protocol::AtSign;
use atsign_tests::secondary::Secondary;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;

/// A server, and an owner who comes to it.
struct Owner {
    server: Secondary,
    roots: RootCertStore,
}

impl Owner {
    fn new() -> Result<Self> {
        let server = Secondary::start("@alice")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(server.authority().as_bytes()) {
            roots.add(certificate?)?;
        }
        Ok(Self { server, roots })
    }

    async fn connect(&self) -> Result<Connection<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.server.port)).await?;
        Connection::open(stream, "localhost", self.roots.clone()).await
    }

    async fn onboard(&self, file: &Path) -> Result<()> {
        let alice = AtSign::parse("@alice")?;
        onboard(async || self.connect().await, &alice, &self.server.secret, file).await
    }

    async fn log_in(&self, file: &Path) -> Result<()> {
        self.connect().await?.pkam("@alice", &Keys::read(file)?).await
    }
}

#[tokio::test]
async fn the_keys_log_in_and_the_secret_never_again() -> Result<()> {
    let owner = Owner::new()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("@alice_key.atKeys");
    owner.onboard(&file).await?;
    owner.log_in(&file).await?;

    let other = folder.path().join("other.atKeys");
    let refused = owner.onboard(&other).await.expect_err("the secret is used up").to_string();
    ensure!(refused.contains("does not take the activation secret"), "{refused}");
    ensure!(!other.exists() && !is_unfinished(&other), "nothing is left of keys that no server knows");
    owner.log_in(&file).await
}

#[tokio::test]
async fn an_interrupted_onboarding_is_completed_with_the_same_keys() -> Result<()> {
    let owner = Owner::new()?;
    let folder = tempfile::tempdir()?;
    let (file, partial) = (folder.path().join("a.atKeys"), folder.path().join("a.atKeys.partial"));

    // Stopped before the server heard of the keys.
    Keys::generate()?.write(&partial)?;
    let made = Keys::read(&partial)?.pkam_public_key()?;
    ensure!(is_unfinished(&file), "it is seen that it was stopped");
    owner.onboard(&file).await?;
    ensure!(Keys::read(&file)?.pkam_public_key()? == made, "other keys were made");

    // Stopped when the server had forgotten the secret and the file did not have its name yet.
    std::fs::rename(&file, &partial)?;
    owner.onboard(&file).await?;
    ensure!(!is_unfinished(&file), "it is seen that it is complete");
    owner.log_in(&file).await
}
