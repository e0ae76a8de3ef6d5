//! What the binary can do beside serving.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the binary can do beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make or remove the directory of one atSign on a shared volume
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Have a running server make a backup of its store, wait for it and print its manifest
    Backup(BackupArguments),
    /// Make the store what a backup holds; no server may use it
    Restore(RestoreArguments),
}

/// Which server makes a backup.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The server's admin port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9464")]
    pub admin: String,
    /// File with the token that the server was started with
    #[arg(long, value_name = "FILE", env = "ATSIGN_ADMIN_TOKEN_FILE", default_value = "/atsign/admin/token")]
    pub admin_token_file: PathBuf,
    /// Backups to keep, the new one included; the oldest are removed [default: 7]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
}

/// Which backup is restored, and where.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Whose store it is, such as @alice
    #[arg(short = 'a', long, value_name = "ATSIGN", env = "ATSIGN_AT_SIGN")]
    pub at_sign: String,
    /// Directory of the data
    #[arg(long, value_name = "DIR", env = "ATSIGN_STORAGE_DIR", default_value = "/atsign/storage")]
    pub storage_dir: PathBuf,
    /// The backup: `latest` or a name for one in the storage directory, else its folder, or a file of `kubectl atsign
    /// backup`; - is such a file on standard input
    #[arg(long, value_name = "BACKUP")]
    pub from: String,
    /// Restore the backup of another atSign too
    #[arg(long)]
    pub force: bool,
    /// Who restores: the pod's UID [default: the machine's boot id]
    #[arg(long, value_name = "ID", env = "ATSIGN_HOLDER_ID")]
    pub holder_id: Option<String>,
    /// As the servers' own
    #[arg(long, value_name = "SECONDS", env = "ATSIGN_LEASE_TERM", hide = true)]
    pub lease_term: Option<String>,
}

/// Work on the root of a volume that many atSigns share.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Make the directory, if it is not there
    Init(Place),
    /// Remove the directory and everything in it
    Wipe(Place),
}

/// One directory right below the root of a volume.
#[derive(Debug, Args)]
pub struct Place {
    /// The root of the volume
    #[arg(long)]
    pub root: PathBuf,
    /// Name of the directory: lower case letters, digits, dots and dashes
    #[arg(long)]
    pub dir: String,
}
