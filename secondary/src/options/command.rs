//! What the binary can do beside serving.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the binary can do beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make or remove the directory of one atSign on a shared volume
    #[command(subcommand)]
    Storage(StorageCommand),
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
