// SPDX-License-Identifier: Apache-2.0
//! The lines of the file.

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Record, RecordKey, Revision, StorageError, StorageErrorKind};
use serde::{Deserialize, Serialize};

use super::{corrupt, failure};

/// One line. It is all or nothing: without its end of line it never happened.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    Commit(Vec<Entry>),
    /// The last revision, and the one that the file is compacted through.
    Marks(u64, u64),
}

/// A record as JSON: apart from core's type, which may grow without this file's format following.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    revision: u64,
    previous: u64,
    at: String,
    actor: String,
    resource: String,
    namespace: String,
    name: String,
    /// `None`: deleted.
    object: Option<Object>,
}

/// The registry stores text; a backend keeps any bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Object {
    Text(String),
    Bytes(Vec<u8>),
}

impl Line {
    /// The line of these records.
    pub(super) fn commit(records: &[Record]) -> Self {
        Self::Commit(records.iter().map(Entry::from).collect())
    }

    /// The line with its end.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = serde_json::to_vec(self)
            .map_err(|error| failure(StorageErrorKind::Rejected, "cannot encode a line", error))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a line.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        serde_json::from_slice(bytes).map_err(corrupt)
    }
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        let Record { revision, previous, at, actor, resource, key, change } = record;
        let object = match change {
            Change::Put(bytes) => Some(
                String::from_utf8(bytes.clone()).map_or_else(|error| Object::Bytes(error.into_bytes()), Object::Text),
            ),
            Change::Delete => None,
        };
        Self {
            revision: revision.0,
            previous: previous.0,
            at: at.to_string(),
            actor: actor.clone(),
            resource: resource.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            object,
        }
    }
}

impl TryFrom<Entry> for Record {
    type Error = StorageError;

    fn try_from(entry: Entry) -> Result<Self, StorageError> {
        let Entry { revision, previous, at, actor, resource, namespace, name, object } = entry;
        let at: Timestamp = at.parse().map_err(corrupt)?;
        let change = match object {
            Some(Object::Text(text)) => Change::Put(text.into_bytes()),
            Some(Object::Bytes(bytes)) => Change::Put(bytes),
            None => Change::Delete,
        };
        let key = RecordKey { namespace, name };
        Ok(Self { revision: Revision(revision), previous: Revision(previous), at, actor, resource, key, change })
    }
}
