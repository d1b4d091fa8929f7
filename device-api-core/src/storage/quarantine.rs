// SPDX-License-Identifier: Apache-2.0
//! Stored records that cannot be read, and where they are kept until a person has looked.

use std::fmt;

use super::{RecordKey, Revision};
use crate::resource::Timestamp;

/// A record that a store holds and cannot read: it is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its revision. [`Revision::ZERO`] is not a record but the store's own note of how far it was compacted; a store that has lost
    /// it says that it was compacted through its last record.
    pub revision: Revision,
    /// What is wrong with it.
    pub why: String,
    /// What it says of itself, where that can be read: any part of it may be what is damaged.
    pub claims: Option<Claims>,
}

/// What a record that cannot be trusted says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The revision that it supersedes.
    pub previous: Revision,
    /// The resource's plural.
    pub resource: String,
    /// Which object it is about.
    pub key: RecordKey,
}

/// What a store is to take out of its journal: what the ledger cannot trust, and keeps for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// When it was decided.
    pub at: Timestamp,
    /// The records that go into quarantine, byte for byte, each with why. One of them may be none that the store could read.
    pub records: Vec<(Revision, String)>,
    /// The records that those supersede: they may go for good.
    pub superseded: Vec<Revision>,
    /// History up to here is forgotten, as by [`Storage::compact`](super::Storage::compact).
    pub through: Revision,
}

/// A record in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The revision that it had.
    pub revision: Revision,
    /// Why it is here.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Who wrote it, as far as that can be read, like all that follows.
    pub actor: String,
    /// The resource's plural.
    pub resource: String,
    /// Which object it was about.
    pub key: RecordKey,
    /// The object as it is stored; `None` for a deletion.
    pub object: Option<Vec<u8>>,
}

impl fmt::Display for Quarantined {
    /// One line, with nothing in it that a terminal obeys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordKey { namespace, name } = &self.key;
        let (resource, namespace, name) = (self.resource.escape_debug(), namespace.escape_debug(), name.escape_debug());
        write!(f, "{}  since {}  {resource} {namespace}/{name}  ({})", self.revision, self.since, self.why)
    }
}
