// SPDX-License-Identifier: Apache-2.0
//! The ledger: the handle to the one task through which every write goes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::books::Books;
use super::cache::Cache;
use super::options::LedgerOptions;
use super::owner::{Owner, Signals};
use super::stage::Stage;
use super::{Registry, Strategy};
use crate::Error;
use crate::error::Cause;
use crate::resource::Resource;
use crate::storage::{Revision, Storage, StorageError, StorageErrorKind};

/// How many writes wait at most; a further one waits for a place. It is also the largest batch that
/// is committed at once.
pub(super) const QUEUE: usize = 256;

/// One store and the one task that owns it. Cheap to clone.
///
/// Every registry of the store takes its revisions from here. When the last handle is dropped, of the ledger and of what it
/// gave out, the store is closed; a [keeper](crate::lease::Leases::keep) that runs does not count. [`Self::close`] tells how that
/// went.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use device_api_core::registry::{Ledger, LedgerOptions};
/// use device_api_core::storage::{Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError};
/// use device_api_core::resource::GpuStrategy;
///
/// /// A journal that forgets everything: `device-api-store-memory` has one that does not.
/// #[derive(Debug, Default)]
/// struct Nowhere(Snapshot);
///
/// #[async_trait::async_trait]
/// impl Storage for Nowhere {
///     async fn load(&mut self) -> Result<Snapshot, StorageError> { Ok(self.0.clone()) }
///     async fn commit(&mut self, _: &[Record]) -> Result<(), StorageError> { Ok(()) }
///     async fn compact(&mut self, _: Revision) -> Result<(), StorageError> { Ok(()) }
///     async fn quarantine(&mut self, _: &Quarantine) -> Result<(), StorageError> { Ok(()) }
///     async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> { Ok(Vec::new()) }
///     async fn discard(&mut self, _: &[Revision]) -> Result<usize, StorageError> { Ok(0) }
///     async fn check(&mut self) -> Result<(), StorageError> { Ok(()) }
///     async fn close(self: Box<Self>) -> Result<(), StorageError> { Ok(()) }
/// }
///
/// let ledger = Ledger::open(Box::new(Nowhere::default()), LedgerOptions::default()).await?;
/// let gpus = ledger.registry(GpuStrategy).await?;
/// assert!(gpus.list(&Default::default()).await?.items.is_empty());
/// ledger.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    /// Closes the ledger with its last clone; `None` in a handle that does not keep it open.
    _keeps_open: Option<Arc<KeepsOpen>>,
}

struct Shared {
    queue: mpsc::Sender<Message>,
    state: watch::Receiver<LedgerState>,
    quarantined: watch::Receiver<BTreeMap<String, usize>>,
    /// Set when the ledger is to close: from then on it does, whoever waits for that or not.
    closing: watch::Sender<bool>,
    /// How that went.
    closed: watch::Receiver<Option<Closed>>,
    options: LedgerOptions,
}

/// How closing a store went.
pub(super) type Closed = Result<(), StorageError>;

/// Has the ledger close when it is dropped.
struct KeepsOpen(watch::Sender<bool>);

impl Drop for KeepsOpen {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Whether a ledger takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerState {
    /// It does.
    Open,
    /// The store refused the last write, because it is full or read-only or the like: writes are tried all the same, and
    /// the ledger asks the store from time to time. Reads and watches go on, but nothing that is served can be brought up to date.
    Refusing,
    /// The store failed so that nobody knows what it holds: the ledger loads it again, and takes
    /// writes when that has succeeded. Reads and watches go on.
    Recovering,
    /// It was closed. Reads go on; watches have ended.
    Closed,
    /// Its task died, of a panic in the store or because the store was lost: it turned out not to hold what was written, or was deleted
    /// or replaced while it was open. What was not acknowledged may have been written or not. Reads go on; watches have ended. Open the
    /// store anew; [`Ledger::close`] says why.
    Failed,
}

/// What the task is asked to do.
pub(super) enum Message {
    /// A write.
    Write(Work),
    /// A look into the books, between writes.
    Consult(Box<dyn FnOnce(&mut Books) + Send>),
    /// Apply the bounds of history now.
    Trim(oneshot::Sender<()>),
}

/// One write: staged in the task, it returns who is to be told what became of it.
pub(super) type Work = Box<dyn FnOnce(&mut Stage) -> Answer + Send>;

/// Tells a writer whether the batch was committed.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("state", &*self.shared.state.borrow()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Loads a store and starts the task that owns it.
    ///
    /// Must be called within a tokio runtime, which runs the task.
    ///
    /// # Errors
    /// When the store cannot be loaded, or what it holds has gaps.
    pub async fn open(storage: Box<dyn Storage>, options: LedgerOptions) -> Result<Self, StorageError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (state_sender, state) = watch::channel(LedgerState::Open);
        let closing = watch::Sender::new(false);
        let (quarantined_sender, quarantined) = watch::channel(BTreeMap::new());
        let (closed_sender, closed) = watch::channel(None);
        let signals = Signals { state: state_sender, closing: closing.subscribe(), closed: closed_sender };
        let owner = Owner::open(storage, options.clone(), jobs, signals, quarantined_sender).await?;
        tokio::spawn(owner.run());
        let keeps_open = Arc::new(KeepsOpen(closing.clone()));
        let shared = Shared { queue, state, quarantined, closing, closed, options };
        Ok(Self { shared: Arc::new(shared), _keeps_open: Some(keeps_open) })
    }

    /// The registry of one resource type, with what the store holds of it. Once for each type, for as long as somebody has it: clone
    /// the registry to have more handles. To drop the future takes nothing away: call again.
    ///
    /// # Errors
    /// [`Error::Internal`] when the type has a registry already, [`Error::Unavailable`] when the ledger is closed. Stored objects
    /// that do not fit the type are no error: they go into [quarantine](Self::quarantined).
    pub async fn registry<R: Resource>(&self, strategy: impl Strategy<R>) -> Result<Registry<R>, Error> {
        let clock = Arc::clone(&self.shared.options.clock);
        let cache: Arc<Cache<R>> = self.consult(move |books| books.attach::<R>(clock.now())).await??;
        Ok(Registry::new(self.clone(), cache, Arc::new(strategy)))
    }

    /// The last committed revision.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger is closed.
    pub async fn revision(&self) -> Result<Revision, Error> {
        self.consult(|books| books.revision).await
    }

    /// Whether the ledger takes writes, and when that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LedgerState> {
        self.shared.state.clone()
    }

    /// How many stored records are in quarantine, by the plural of the resource that each says it is of, and when that changes. They cannot be
    /// read, or older states of objects whose newest state cannot be; the objects are not there until they are written anew. The
    /// records stay until somebody has looked at them: [`Storage::quarantined`], [`Storage::discard`].
    #[must_use]
    pub fn quarantined(&self) -> watch::Receiver<BTreeMap<String, usize>> {
        self.shared.quarantined.clone()
    }

    /// Whether a record in quarantine may be of this type.
    pub(crate) async fn doubts<R: Resource>(&self) -> Result<bool, Error> {
        self.consult(|books| books.doubts(R::PLURAL)).await
    }

    /// Forgets what history has no room for now; the ledger does so itself at each write, and every
    /// second.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger is closed.
    pub async fn trim(&self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.send(Message::Trim(done)).await?;
        wait.await.map_err(|_| self.gone())
    }

    /// Forgets all of history, whatever its bounds: for tests of what then happens.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger is closed.
    #[cfg(feature = "testing")]
    pub async fn forget_history(&self) -> Result<(), Error> {
        let (clock, none) = (Arc::clone(&self.shared.options.clock), self.shared.options.history.with_max_events(0));
        self.consult(move |books| books.trim(clock.instant(), &none)).await
    }

    /// Takes no more writes, commits what is queued, ends the watches after they have sent what was
    /// committed, and closes the store. Reads go on. A second call waits for the first one's end, and tells the same.
    ///
    /// To drop the future once it was polled takes nothing back: the ledger closes all the same.
    ///
    /// # Errors
    /// When closing the store fails, or the ledger has failed before; nothing that was committed is
    /// lost.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.shared.closing.send_replace(true);
        let mut closed = self.shared.closed.clone();
        let closed = closed.wait_for(Option::is_some).await.map(|closed| closed.clone());
        // The task ends without a word only with its runtime.
        closed.ok().flatten().unwrap_or_else(|| Err(owner_failed()))
    }

    /// The same handle as one that does not keep the ledger open: for what runs for as long as others do.
    pub(crate) fn into_weak(self) -> Self {
        Self { _keeps_open: None, ..self }
    }

    pub(crate) fn options(&self) -> &LedgerOptions {
        &self.shared.options
    }

    /// Runs a write in the task and waits for what became of it. Once it is queued, dropping the
    /// future does not stop it.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Stage) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if *self.shared.state.borrow() == LedgerState::Recovering {
            return Err(Error::Unavailable {
                why: "the store failed and is being loaded again".to_owned(),
                retry_after: Some(std::time::Duration::from_secs(1)),
                cause: Cause::unknown(),
            });
        }
        let (reply, wait) = oneshot::channel();
        let work: Work = Box::new(move |stage| {
            // A write that panics fails alone. A stage changes only in the last statements of
            // `Stage::write`, which do not panic, so it has staged nothing.
            let result = catch_unwind(AssertUnwindSafe(|| work(stage))).unwrap_or_else(|panic| {
                tracing::error!(panic = panic_text(&*panic), "a write panicked");
                Err(Error::internal("the write failed in the server and was not stored"))
            });
            Box::new(move |committed| {
                // A writer that has hung up is no reason not to have written.
                let _ = reply.send(committed.and(result));
            })
        });
        let limit = self.shared.options.write_timeout;
        let answered = tokio::time::timeout(limit, async {
            self.send(Message::Write(work)).await?;
            wait.await.unwrap_or_else(|_| Err(self.gone()))
        });
        answered.await.unwrap_or_else(|elapsed| {
            Err(Error::Unavailable {
                why: format!("the store did not answer within {limit:?}: the write may still happen"),
                retry_after: Some(std::time::Duration::from_secs(1)),
                cause: Cause::of(elapsed),
            })
        })
    }

    async fn consult<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Books) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, wait) = oneshot::channel();
        let look = move |books: &mut Books| {
            // What a type's own code does wrong fails its own registry only.
            let seen = catch_unwind(AssertUnwindSafe(|| look(books))).map_err(|panic| {
                tracing::error!(panic = panic_text(&*panic), "a look into the books panicked");
                Error::internal("what is stored could not be read: the type's own code panicked")
            });
            let _ = reply.send(seen);
        };
        self.send(Message::Consult(Box::new(look))).await?;
        wait.await.map_err(|_| self.gone())?
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        self.shared.queue.send(message).await.map_err(|_| self.gone())
    }

    /// Why nobody answers.
    fn gone(&self) -> Error {
        let why = match *self.shared.state.borrow() {
            LedgerState::Closed => "it is shutting down",
            _ => "the owner of the store failed: the write may have happened",
        };
        Error::Unavailable {
            why: why.to_owned(),
            retry_after: Some(std::time::Duration::from_secs(1)),
            cause: Cause::unknown(),
        }
    }
}

/// Nobody knows how far the task came.
pub(super) fn owner_failed() -> StorageError {
    let what = "its owner failed: the last writes may have been stored or not";
    StorageError::new("journal", StorageErrorKind::Unclear, what)
}

/// The text of a panic, for the log.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
