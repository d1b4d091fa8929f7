// SPDX-License-Identifier: Apache-2.0
//! The lines of the file.

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Quarantined, Record, RecordKey, Revision, StorageError, StorageErrorKind};
use serde::{Deserialize, Serialize};

use super::{corrupt, failure};

/// One line, after its checksum. It is all or nothing: what does not match its checksum never happened. A disk that loses power
/// amid a write may keep any part of it, or have something else in its place; the end of line alone says nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    Commit(Vec<Entry>),
    /// The last revision, and the one that the file is compacted through.
    Marks(u64, u64),
    /// All that is in quarantine: why, since when, and the record.
    Quarantine(Vec<(String, String, Entry)>),
    /// Revisions up to this one may be handed out, whatever becomes of the commits that follow.
    Reserved(u64),
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

    /// The line with its checksum and its end.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        let json = serde_json::to_vec(self)
            .map_err(|error| failure(StorageErrorKind::Rejected, "cannot encode a line", error))?;
        let mut bytes = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
        bytes.extend(json);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whether a line is what was written.
    pub(super) fn is_whole(bytes: &[u8]) -> bool {
        Self::json(bytes).is_some()
    }

    /// Reads a line that is whole.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        serde_json::from_slice(Self::json(bytes).unwrap_or_default()).map_err(corrupt)
    }

    fn json(bytes: &[u8]) -> Option<&[u8]> {
        let (checksum, json) = bytes.strip_suffix(b"\n")?.split_at_checked(9)?;
        (checksum == format!("{:08x} ", crc32fast::hash(json)).as_bytes()).then_some(json)
    }
}

/// A line's part about a record in quarantine, and back.
pub(super) fn kept(kept: &Quarantined) -> (String, String, Entry) {
    let Quarantined { revision, why, since, actor, resource, key, object } = kept;
    let record = Record {
        revision: *revision,
        previous: Revision::ZERO,
        at: *since,
        actor: actor.clone(),
        resource: resource.clone(),
        key: key.clone(),
        change: object.clone().map_or(Change::Delete, Change::Put),
    };
    (why.clone(), since.to_string(), Entry::from(&record))
}

pub(super) fn quarantined((why, since, entry): (String, String, Entry)) -> Result<Quarantined, StorageError> {
    let since = since.parse().map_err(corrupt)?;
    let Record { revision, actor, resource, key, change, .. } = Record::try_from(entry)?;
    let object = match change {
        Change::Put(object) => Some(object),
        Change::Delete => None,
    };
    Ok(Quarantined { revision, why, since, actor, resource, key, object })
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
