//! `atsign-secondary backup` and `restore`.

use std::fmt::Display;

use atsign_protocol::AtSign;

use super::{Restore, RestoreError, request, restore as restore_backup};
use crate::admin::token::AdminToken;
use crate::epoch::takeover::Progress;
use crate::epoch::{TakeoverError, Term};
use crate::options::{BackupArguments, RestoreArguments, term};
use crate::process::{Exit, holder_or_machine};
use crate::store::State;

/// Has a server make a backup, and prints its manifest.
pub(crate) fn backup(arguments: &BackupArguments) -> Exit {
    let BackupArguments { admin, admin_token_file, keep } = arguments;
    let token = match AdminToken::new(Some(admin_token_file.clone())).read() {
        Ok(token) => token,
        Err(error) => return failed(Exit::Configuration, format!("{}: {error}", admin_token_file.display())),
    };
    let keep = keep.map(|keep| keep as usize);
    match request(admin, &token, keep).map(|manifest| serde_json::to_string_pretty(&manifest)) {
        Ok(Ok(json)) => {
            println!("{json}");
            Exit::Clean
        }
        Ok(Err(error)) => failed(Exit::Defect, error),
        Err(error) => failed(Exit::Unavailable, error),
    }
}

/// Restores a backup, and prints what came back.
pub(crate) fn restore(arguments: &RestoreArguments) -> Exit {
    let request = match resolve(arguments) {
        Ok(request) => request,
        Err(reason) => return failed(Exit::Usage, reason),
    };
    match restore_backup(request) {
        Ok(restored) => {
            let counts = restored.manifest.counts;
            println!(
                "restored {} of {}: {} keys, {} entries of the commit log, {} notifications, {} enrollments; \
                 the next commit id is {}",
                restored.manifest.name,
                restored.manifest.at_sign,
                counts.keys,
                counts.commits,
                counts.notifications,
                counts.enrollments,
                restored.next_commit_id,
            );
            Exit::Clean
        }
        Err(error) => failed(exit_of(&error), error),
    }
}

fn resolve(arguments: &RestoreArguments) -> Result<Restore, String> {
    let at_sign = AtSign::parse(&arguments.at_sign).map_err(|error| format!("--at-sign: {error}"))?;
    let held = arguments.lease_term.as_deref().unwrap_or("30");
    let holder = holder_or_machine(arguments.holder_id.clone())
        .map_err(|error| format!("this machine has no boot id, give --holder-id: {error}"))?;
    let mut told = false;
    Ok(Restore {
        storage: arguments.storage_dir.clone(),
        at_sign: at_sign.as_str().to_owned(),
        from: arguments.from.clone(),
        force: arguments.force,
        holder,
        term: Term::new(term(held).map_err(|error| error.to_string())?),
        report: Box::new(move |progress: Progress| {
            if !std::mem::replace(&mut told, true) {
                eprintln!(
                    "atsign-secondary: {}; waiting to see whether it is alive",
                    State::Claiming(progress).sentence()
                );
            }
        }),
    })
}

fn exit_of(error: &RestoreError) -> Exit {
    match error {
        RestoreError::NoBackup { .. } => Exit::Usage,
        RestoreError::Damaged(_) | RestoreError::Storage(TakeoverError::Damaged(_)) => Exit::Damaged,
        RestoreError::InUse(_) => Exit::Fenced,
        RestoreError::OtherAtSign { .. }
        | RestoreError::NoRoom { .. }
        | RestoreError::Storage(_)
        | RestoreError::Io(_) => Exit::StorageUnusable,
    }
}

fn failed(exit: Exit, reason: impl Display) -> Exit {
    eprintln!("atsign-secondary: {reason}");
    exit
}
