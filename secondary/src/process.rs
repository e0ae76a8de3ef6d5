//! The process: in which order things start and end, and what its exit code says.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atsign_protocol::verb::Setting;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::admin::backup::Backups;
use crate::admin::token::AdminToken;
use crate::admin::{self, Admin, Remembered, Waiters};
use crate::atserver::{AtServer, Idle, Limits as Bounds, system_clock};
use crate::backup::command;
use crate::epoch::{TakeoverError, Term};
use crate::limits::Limits;
use crate::logs::Logs;
use crate::memory::{self, Budget, Gauge};
use crate::metering::Meter;
use crate::options::{Command, CommandLine, Options, SecretSource};
use crate::peers::Peers;
use crate::settings::Settings;
use crate::store::{Config, End, Opening, SqliteStore, open};
use crate::tls::Certificates;
use crate::{activation, compaction, copies, listener, notifications, storage};

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
   0  stopped cleanly, or the work is done
  64  a flag or variable makes no sense
  65  the store, or the backup to restore, is damaged, or parts of it are missing; nothing was changed
  66  the storage directory cannot be used, or belongs to another atSign
  69  an address cannot be listened on; for backup: the server made none
  70  a defect of this program
  74  stopped, but the store could not be closed cleanly; acknowledged data is on disk
  75  another server has taken the store over; for restore: one has it in use
  78  certificate, key or activation secret cannot be read";

/// Why the process ends. The numbers are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Clean = 0,
    Usage = 64,
    Damaged = 65,
    StorageUnusable = 66,
    Unavailable = 69,
    Defect = 70,
    NotClosed = 74,
    Fenced = 75,
    Configuration = 78,
}

/// Closing the store may take so long: a volume that hangs must not keep the pod.
const CLOSING: Duration = Duration::from_secs(10);

/// Threads that look up the names of other servers: one that hangs in it keeps its memory.
const BLOCKING: usize = 4;

/// `limits.json` is looked at so often.
const LIMITS_EVERY: Duration = Duration::from_secs(5);

/// Does what the command line says.
pub fn run() -> ExitCode {
    memory::settle();
    let exit = match CommandLine::try_parse() {
        Err(error) => {
            // To standard output for --help and --version; a closed one is no reason to fail.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Clean }
        }
        Ok(CommandLine { command: Some(Command::Storage(command)), .. }) => match storage::run(&command) {
            Ok(()) => Exit::Clean,
            Err(error) => {
                eprintln!("atsign-secondary: {error}");
                Exit::StorageUnusable
            }
        },
        Ok(CommandLine { command: Some(Command::Backup(arguments)), .. }) => command::backup(&arguments),
        Ok(CommandLine { command: Some(Command::Restore(arguments)), .. }) => command::restore(&arguments),
        Ok(CommandLine { flags, .. }) => match flags.resolve(|name| std::env::var(name).ok()) {
            Ok(options) => start(&options),
            Err(error) => {
                eprintln!("atsign-secondary: {error}");
                Exit::Usage
            }
        },
    };
    ExitCode::from(exit as u8)
}

fn start(options: &Options) -> Exit {
    let files = options.log_dir.as_deref().map(|directory| (directory, options.log_file_size));
    let logs = match Logs::start(options.log_level, files) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("atsign-secondary: the log cannot be started: {error}");
            return Exit::Defect;
        }
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(BLOCKING).enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(serve(options, &logs)).unwrap_or_else(|exit| exit),
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            Exit::Defect
        }
    };
    tracing::info!(code = exit as u8, "ended");
    logs.flush();
    exit
}

/// Serves until a signal, or until the store is lost.
async fn serve(options: &Options, logs: &Logs) -> Result<Exit, Exit> {
    let mut stop = Stop::new().map_err(|error| {
        tracing::error!(%error, "signals cannot be caught");
        Exit::Defect
    })?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(at_sign = options.at_sign.as_str(), version, "starting");
    if matches!(options.secret, Some(SecretSource::Given(_))) {
        tracing::warn!(
            "the activation secret is visible in the process list; --shared-secret-file is better"
        );
    }

    if let Some(ignored) = crate::options::reference::ignored(|name| std::env::var_os(name).is_some()) {
        tracing::info!(ignored, "variables of the reference server that mean nothing here");
    }
    if options.make_storage_dir
        && let Err(error) = std::fs::create_dir_all(&options.storage_dir)
    {
        tracing::error!(%error, directory = %options.storage_dir.display(), "cannot be made");
        return Ok(Exit::StorageUnusable);
    }

    let holder = holder(options)?;
    let budget = Budget::new(Gauge::find(options.memory_limit), options.store_cache);
    let meter = Arc::new(Meter::default());
    let Opening { status, figures, store, mut end } = open(Config {
        storage: options.storage_dir.clone(),
        at_sign: options.at_sign.as_str().to_owned(),
        holder: holder.clone(),
        term: Term::new(options.lease_term),
        cache_kib: u32::try_from(budget.cache() / 1024).unwrap_or(u32::MAX),
        meter: Arc::clone(&meter),
        dead: dead_holders(options),
    })
    .map_err(|error| {
        tracing::error!(%error, "the store's thread cannot be started");
        Exit::Defect
    })?;
    let admin = Arc::new(Admin {
        status,
        figures,
        holder,
        budget: Arc::clone(&budget),
        meter: Arc::clone(&meter),
        backups: Backups::new(options.storage_dir.clone()),
        token: AdminToken::new(options.admin_token_file.clone()),
        logs: logs.clone(),
        server: OnceLock::new(),
        waiters: Waiters::default(),
        remembered: Remembered::default(),
    });
    // Alive from here on, also while somebody else holds the store.
    let admin_listener = bind(options.admin_listen).await?;
    tokio::spawn(admin::serve(admin_listener, Arc::clone(&admin)));
    let host = options.limits_dir.as_ref().map(|directory| directory.join("host"));
    let certificates =
        Certificates::load(options.tls_cert.clone(), options.tls_key.clone(), host).map_err(|error| {
            tracing::error!(%error, "the certificate cannot be used");
            Exit::Configuration
        })?;

    let store = tokio::select! {
        store = store => claimed(store)?,
        // Nothing is ours yet, so there is nothing to close.
        () = stop.asked() => return Ok(Exit::Clean),
    };
    let prepared = activation::prepare(&store, &options.at_sign, options.secret.as_ref()).await;
    if let Err(error) = prepared {
        tracing::error!(%error, "the activation secret cannot be stored");
        return Ok(close(&store, end).await.max_with(Exit::Configuration));
    }

    let public = match bind(options.listen).await {
        Ok(public) => public,
        Err(exit) => return Ok(close(&store, end).await.max_with(exit)),
    };
    let bounds = bounds(options);
    let at_sign = options.at_sign.clone();
    let mut server = AtServer::new(at_sign.clone(), store.clone(), certificates, bounds, system_clock())
        .with_settings(settings(options))
        .with_budget(budget);
    server.tuning = options.tuning;
    server.peers =
        Peers::new(at_sign, &options.directory, options.peer_ca.clone(), options.client_certificate_required);
    let server = Arc::new(server);
    tokio::spawn(follow_limits(options.clone(), Arc::clone(&server)));
    let (drain, draining) = watch::channel(false);
    let serving = tokio::spawn(listener::serve(public, Arc::clone(&server), draining));
    let _ = admin.server.set(Arc::clone(&server));
    tracing::info!(listen = %options.listen, "serving");
    start_chores(options, server, meter, logs);

    tokio::select! {
        ended = &mut end => {
            tracing::error!("the store was lost: another server has taken it over");
            return Ok(exit_of(ended.ok()));
        }
        () = stop.asked() => {}
    }
    tracing::info!("stopping: commands under way are answered");
    let _ = drain.send(true);
    // It ends by itself, within the time that it gives its sessions.
    let _ = serving.await;
    Ok(close(&store, end).await)
}

impl Exit {
    /// The worse of two reasons: what went wrong first, unless the store was lost on top of it.
    fn max_with(self, first: Self) -> Self {
        if self == Self::Fenced { self } else { first }
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Exit> {
    TcpListener::bind(address).await.map_err(|error| {
        tracing::error!(%error, %address, "cannot listen");
        Exit::Unavailable
    })
}

type Claimed = Result<Result<SqliteStore, TakeoverError>, oneshot::error::RecvError>;

/// The store, or why there will be none.
fn claimed(store: Claimed) -> Result<SqliteStore, Exit> {
    let error = match store {
        Ok(Ok(store)) => return Ok(store),
        // Lost in the moment in which it was won.
        Err(_) => return Err(Exit::Fenced),
        Ok(Err(error)) => error,
    };
    tracing::error!(%error, "the store cannot be used");
    Err(match error {
        TakeoverError::Damaged(_) => Exit::Damaged,
        TakeoverError::OtherAtSign { .. } | TakeoverError::Unsuitable(_) | TakeoverError::Io(_) => {
            Exit::StorageUnusable
        }
    })
}

/// Closes the store, and does not wait for ever for a volume that hangs.
async fn close(store: &SqliteStore, end: oneshot::Receiver<End>) -> Exit {
    store.stop();
    if let Ok(ended) = timeout(CLOSING, end).await {
        return exit_of(ended.ok());
    }
    tracing::error!("the store could not be closed in time; its volume does not answer");
    Exit::NotClosed
}

fn exit_of(end: Option<End>) -> Exit {
    match end {
        Some(End::Released) => Exit::Clean,
        Some(End::Fenced) => Exit::Fenced,
        Some(End::Unreleased(reason)) => {
            tracing::error!(reason, "the store could not be closed cleanly");
            Exit::NotClosed
        }
        None => Exit::Defect,
    }
}

/// Who we are to other servers of this atSign.
fn holder(options: &Options) -> Result<String, Exit> {
    holder_or_machine(options.holder.clone()).map_err(|error| {
        tracing::error!(%error, "this machine has no boot id: give --holder-id");
        Exit::Usage
    })
}

/// The pod, or this machine since it started.
pub(crate) fn holder_or_machine(holder: Option<String>) -> io::Result<String> {
    match holder {
        Some(holder) => Ok(holder),
        None => Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned()),
    }
}

/// Reads the attested deaths whenever the store is looked at. A file that cannot be read attests none.
fn dead_holders(options: &Options) -> Box<dyn FnMut() -> Vec<String> + Send> {
    let directory = options.limits_dir.clone();
    Box::new(move || {
        let read = directory.as_deref().map(Limits::read).transpose().ok().flatten();
        read.map(|limits| limits.dead_holders).unwrap_or_default()
    })
}

/// Starts what goes on beside the clients' requests.
fn start_chores(options: &Options, server: Arc<AtServer<SqliteStore>>, meter: Arc<Meter>, logs: &Logs) {
    tokio::spawn(make_signing_keys(Arc::clone(&server)));
    tokio::spawn(copies::keep_fresh(Arc::clone(&server)));
    if options.testing_mode {
        let server = Arc::clone(&server);
        tokio::spawn(async move { compaction::run(&server).await });
    }
    tokio::spawn(memory::watch::follow(Arc::clone(&server), meter, logs.clone()));
    tokio::spawn(notifications::sender::run(server));
}

/// What other servers check our word by is made while we serve already.
async fn make_signing_keys(server: Arc<AtServer<SqliteStore>>) {
    while let Err(error) = server.peers.signing.prepare(&server.store, &server.at_sign).await {
        tracing::warn!(%error, "the signing keys are not there yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Lets changes of `limits.json` reach the server.
async fn follow_limits(options: Options, server: Arc<AtServer<SqliteStore>>) {
    let Some(directory) = options.limits_dir else { return };
    let mut last = Limits::default();
    loop {
        match Limits::read(&directory) {
            Ok(limits) if limits != last => {
                let connections = limits.connections.unwrap_or(options.max_connections);
                tracing::info!(connections, ?limits, "limits were read");
                server.set_limits(Bounds { connections, ..server.limits() });
                server.store.set_quota(&limits);
                last = limits;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "limits.json cannot be read; what it said before holds"),
        }
        tokio::time::sleep(LIMITS_EVERY).await;
    }
}

/// What clients may change in testing mode, with what holds until they do.
fn settings(options: &Options) -> Settings {
    let connections = u64::try_from(options.max_connections).unwrap_or(u64::MAX);
    Settings::new(options.testing_mode, options.behaviour.clone())
        .with_default(Setting::InboundMaxLimit, connections)
}

/// What connections may take: as told, and the defaults for what nobody is asked.
fn bounds(options: &Options) -> Bounds {
    let default = Bounds::default();
    // With as many connections as there may be, the shortest time counts, unless it was told to be shorter still.
    let idle = |max: Duration, default: Idle| Idle { max, min: default.min.min(max) };
    Bounds {
        connections: options.max_connections,
        stranger_idle: idle(options.idle_timeout, default.stranger_idle),
        proven_idle: idle(options.authenticated_idle_timeout, default.proven_idle),
        ..default
    }
}

/// The signals that end a server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
