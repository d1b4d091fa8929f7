// SPDX-License-Identifier: Apache-2.0
//! Where a registry keeps its objects: the [`Storage`] trait that backends implement.
//!
//! A backend is a journal with one owner. It loads, it commits and it compacts; it knows nothing of
//! conflicts, versions, lists or watches, and so cannot get them wrong. `device-api-store-memory` is
//! the shortest one; [`testing`](crate::testing) has the suite that every backend must pass.

mod endpoint;
mod error;
mod quarantine;

use std::fmt;

pub use self::endpoint::{Endpoint, EndpointError, EndpointOptions};
pub use self::error::{StorageError, StorageErrorKind};
pub use self::quarantine::{Claims, Quarantine, Quarantined, Unreadable};
use crate::resource::{Key, Timestamp};

/// The number of a committed write: a counter that the whole store shares.
///
/// A resource version is a revision in decimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first write.
    pub const ZERO: Self = Self(0);

    /// The revision of the write after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One committed write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The write's number.
    pub revision: Revision,
    /// The revision of the record that this one supersedes, that is the last one of the same
    /// resource and key; [`Revision::ZERO`] where there was no object. It spares a backend an index
    /// for compaction.
    pub previous: Revision,
    /// When it was committed.
    pub at: Timestamp,
    /// Who wrote it, for the audit trail.
    pub actor: String,
    /// The resource's plural.
    pub resource: String,
    /// Which object.
    pub key: RecordKey,
    /// What became of it.
    pub change: Change,
}

/// Which object a record is about. Unlike a [`Key`] it was not checked: a backend gives back what it
/// was given, and the registry checks it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl From<&Key> for RecordKey {
    fn from(key: &Key) -> Self {
        Self { namespace: key.namespace().to_owned(), name: key.name().to_owned() }
    }
}

/// What became of an object.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// It is this now: Kubernetes-shaped JSON.
    Put(Vec<u8>),
    /// It is gone.
    Delete,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(bytes) => write!(f, "Put({})", String::from_utf8_lossy(bytes)),
            Self::Delete => f.write_str("Delete"),
        }
    }
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the last commit, even if compaction removed its record; at least `compacted`.
    /// [`Revision::ZERO`] in a new store.
    pub last: Revision,
    /// The highest revision that [`Storage::compact`] was called with; [`Revision::ZERO`] at first.
    pub compacted: Revision,
    /// A revision that is not below any whose commit was ever acknowledged, whatever became of that commit since: at least
    /// `last`, and equal to it only where nothing that was acknowledged can be lost. A ledger that opens the store hands out
    /// higher ones only, since clients may have seen the others.
    pub reserved: Revision,
    /// Whether the store knows that something that was acknowledged is not there any more. What is there may be older than what was
    /// said last, so the ledger does not believe for ever what nobody says again.
    pub lost: bool,
    /// The records, in the order of their revisions.
    pub records: Vec<Record>,
    /// Those that are there and cannot be read, in the order of their revisions.
    pub unreadable: Vec<Unreadable>,
}

/// A journal with one owner: what a backend implements.
///
/// The owner is the registry's ledger; `&mut self` makes the single writer a type. There are no
/// default methods: a backend that compiles has considered every call.
///
/// What a backend promises:
/// 1. `load` returns what was committed, in the order of revisions, with every byte as it was.
/// 2. `commit` writes all records or none. `Ok` means durable, as far as this backend promises it.
///    The records' revisions rise; a backend never assigns one, and keeps the gaps that there are.
/// 3. `compact(through)` may remove, of the records up to `through`, those that another record up to
///    `through` supersedes, and the deletions. It never removes another record, and it remembers
///    `through`, which on a new store may be higher than any revision so far: the ledger sets its
///    first revision that way. A backend may remove less than it may.
/// 4. A store has one owner at a time: opening it a second time fails with
///    [`StorageErrorKind::Locked`] and names the first.
/// 5. After any end, orderly or not, and whatever a crash, a power loss or a person with a copy of the files has done to it,
///    [`Snapshot::reserved`] is as high as it must be, as far as the backend can know. What is kept for it lies apart
///    from the last records, best in a file of its own, is on the disk before a commit or a compaction goes beyond it, and may be rounded up,
///    so that it is rarely written.
///    Where a backend finds that what it acknowledged is not there, it says so in the log and in
///    [`Snapshot::lost`].
/// 6. A call whose future is dropped may have happened or not, but not in part; the ledger loads
///    again before it goes on.
/// 7. A record that cannot be read keeps nobody from reading the others: `load` lists it, `quarantine` takes it out of the journal, and
///    its bytes stay until `discard`.
#[async_trait::async_trait]
pub trait Storage: fmt::Debug + Send + 'static {
    /// Reads everything.
    ///
    /// # Errors
    /// [`StorageErrorKind::Corrupt`] when what is there is not what was written, and more than single records are concerned; other
    /// kinds when it cannot be read.
    async fn load(&mut self) -> Result<Snapshot, StorageError>;

    /// Appends records: all or none. Without records it changes nothing, and says whether it would take some: after one was
    /// refused, the ledger asks that way until the store takes writes again.
    ///
    /// # Errors
    /// A kind that [`is_definite`](StorageErrorKind::is_definite) only when nothing was written.
    /// After any other, the ledger loads again to learn what was.
    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError>;

    /// Forgets history up to `through`. The ledger calls it in steps, between commits, so a call
    /// should take milliseconds.
    ///
    /// # Errors
    /// As for [`Self::commit`]; the ledger tries again later.
    async fn compact(&mut self, through: Revision) -> Result<(), StorageError>;

    /// Takes records out of the journal, all or none, and forgets history up to
    /// [`through`](Quarantine::through). What goes into quarantine is kept as it is, readable or not, until it is discarded.
    ///
    /// # Errors
    /// As for [`Self::commit`]; the ledger tries again before it commits anything.
    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError>;

    /// What is in quarantine, in the order in which it came there.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError>;

    /// Removes from quarantine what has one of these revisions, for good. Says how many records that were.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError>;

    /// Looks whether the store is there and this owner's still. The ledger calls it each second, between the other calls, so
    /// it should take microseconds; where owning is a lease, it is renewed here.
    ///
    /// # Errors
    /// [`StorageErrorKind::Lost`] when it is not, as any other call may fail, too: the ledger then takes no more writes and
    /// closes. Other kinds are logged.
    async fn check(&mut self) -> Result<(), StorageError>;

    /// Gives the store up, for another owner to open.
    ///
    /// # Errors
    /// When the last housekeeping fails; nothing that was committed is lost by it.
    async fn close(self: Box<Self>) -> Result<(), StorageError>;
}
