//! The atDirectory (root server): tells where each atSign's server is.
//!
//! A client sends `alice` over TLS and gets `host:port`. The addresses come from a file, from the `AtSign` resources of
//! a cluster (both are kept in memory, so that the directory goes on answering while its source is away), or from a
//! Redis; for atSigns that are not there another directory may be asked.

#![expect(clippy::missing_panics_doc, reason = "each of these says in its expect why it cannot happen")]

pub mod address_book;
pub mod addresses;
pub mod admin;
pub mod connections;
pub mod line;
pub mod metrics;
pub mod options;
pub mod pace;
pub mod recent;
pub mod record;
pub mod server;
pub mod session;
pub mod source;
pub mod tls;
pub mod upstream;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::address_book::AddressBook;
use crate::metrics::Metrics;
pub use crate::options::Options;

/// Serves until SIGTERM or SIGINT; an error is what kept it from starting.
pub fn run(options: Options) -> Result<()> {
    // An error means that another part of the process chose a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let book = Arc::new(AddressBook::default());
    let metrics = Arc::new(Metrics::new(&book));
    let (tls, tls_reload) = tls::load(&options.tls_cert, &options.tls_key)?;
    let (addresses, source) = source::start(&options, &book, &metrics).await?;
    let admin = bind(options.admin_listen).await?;
    let listener = bind(options.listen).await?;
    info!(
        listen = %listener.local_addr()?,
        admin = %admin.local_addr()?,
        "the directory is up"
    );
    let admin = tokio::spawn(admin::serve(admin, Arc::clone(&book), Arc::clone(&metrics)));
    let tls_reload = tokio::spawn(tls_reload);
    let drain = options.drain;
    let server = tokio::spawn(server::serve(listener, tls, Arc::new(addresses), metrics, options.limits));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!(
        drain_seconds = drain.as_secs(),
        "told to stop: unready from now on, answering until the drain time is over"
    );
    // Connections go on to come until the endpoints of the Service have forgotten this pod.
    book.set_draining();
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    for task in [server, admin, tls_reload, source] {
        task.abort();
    }
    info!("stopped");
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}
