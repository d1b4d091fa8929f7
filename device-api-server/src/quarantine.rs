// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver quarantine`: what the datastore could not read and keeps for people.

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use device_api_core::storage::{Endpoint, Quarantined, Revision};

use crate::datastore;
use crate::error::ServerError;

/// The flags of `device-apiserver quarantine`.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct QuarantineConfig {
    /// The datastore of a server that is stopped, as the server has it
    #[arg(long, env = "DEVICE_API_DATASTORE_ENDPOINT", value_name = "URL", hide_env_values = true, global = true,
          default_value = "sqlite:///var/lib/nvidia-device-api/state.db", value_parser = datastore::parse)]
    pub datastore_endpoint: Endpoint,

    /// What to do.
    #[command(subcommand)]
    pub action: QuarantineAction,
}

/// What to do about records in quarantine.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum QuarantineAction {
    /// Lists the records that are there: revision, since when, what each says it is about, why
    List,
    /// Writes the object of a record as it is stored, damaged or not
    Show {
        /// The revision, as `list` has it
        revision: u64,
    },
    /// Removes records for good
    Drop {
        /// The revisions, as `list` has them
        #[arg(required_unless_present = "all")]
        revisions: Vec<u64>,
        /// Removes all that are there
        #[arg(long, conflicts_with = "revisions")]
        all: bool,
    },
}

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
#[error("no record of revision {0} is in quarantine: see `device-apiserver quarantine list`")]
struct NotThere(u64);

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
#[error("there is no datastore at {0:?}")]
struct NoStore(String);

/// Does what was asked about the records in quarantine of a datastore that no server has open.
///
/// # Errors
/// When the datastore cannot be opened, a server has it, or there is no such record.
pub async fn quarantine(config: &QuarantineConfig) -> Result<(), ServerError> {
    let endpoint = &config.datastore_endpoint;
    // Opening would make one.
    if !Path::new(endpoint.path()).exists() {
        return Err(ServerError::config(NoStore(endpoint.to_string())));
    }
    let mut storage = datastore::open(endpoint).await.map_err(ServerError::of_datastore)?;
    let records = storage.quarantined().await.map_err(ServerError::Datastore)?;
    let answered = match &config.action {
        QuarantineAction::List => list(&records),
        QuarantineAction::Show { revision } => show(find(&records, *revision)?),
        QuarantineAction::Drop { revisions, all } => {
            for revision in revisions {
                find(&records, *revision)?;
            }
            let chosen: Vec<_> = match all {
                true => records.iter().map(|record| record.revision).collect(),
                false => revisions.iter().copied().map(Revision).collect(),
            };
            let dropped = storage.discard(&chosen).await.map_err(ServerError::Datastore)?;
            writeln!(io::stdout(), "{dropped} removed")
        }
    };
    storage.close().await.map_err(ServerError::Close)?;
    answered.map_err(|source| ServerError::Start { what: "a stdout that takes the answer", source })
}

fn find(records: &[Quarantined], revision: u64) -> Result<&Quarantined, ServerError> {
    let found = records.iter().find(|record| record.revision == Revision(revision));
    found.ok_or_else(|| ServerError::config(NotThere(revision)))
}

fn list(records: &[Quarantined]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if records.is_empty() {
        return writeln!(out, "nothing is in quarantine");
    }
    records.iter().try_for_each(|record| writeln!(out, "{record}"))
}

fn show(record: &Quarantined) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // As it is: whoever wants to mend it needs every byte.
    out.write_all(record.object.as_deref().unwrap_or_default())?;
    out.flush()
}
