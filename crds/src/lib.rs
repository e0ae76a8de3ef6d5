//! The Kubernetes API of the project, group `atsign.dev`, version `v1`: [`AtSign`], one atSign and its server, and
//! [`AtSignTier`], what a provider sells.
//!
//! The comments on the fields are what `kubectl explain` prints, so they speak to the person who writes a manifest.
//! The YAML beside this crate's `src` is made from these types by `crdgen`; [`definition::all`] returns the same as
//! values. No field has a schema default (a tool that compares would see drift), every field of both specs is optional, and
//! whatever can grow is bounded.

pub mod atsign;
pub mod backup;
pub mod condition;
pub mod definition;
pub mod name;
pub mod quantity;
pub mod status;
pub mod tier;

pub use atsign::{
    Activation, AtSign, AtSignSpec, DeletionPolicy, Expose, ExposeType, GatewayRef, IssuerRef, Memory,
    RestoreFrom, Storage, Tls,
};
pub use backup::{Backup, BackupTarget, S3};
pub use status::{AtSignStatus, LimitsStatus, MemoryStatus, Share, StorageStatus};
pub use tier::{AtSignTier, AtSignTierSpec, Limits, Nfs, PodSettings, TierMemory, TierStorage, WhenNodeFull};
