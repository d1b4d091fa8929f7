// SPDX-License-Identifier: Apache-2.0
//! The task that owns the store: it commits writes in batches, and ends in order.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{consume_budget, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::books::Books;
use super::ledger::{Closed, LedgerState, Message, QUEUE, Work, owner_failed, panic_text};
use super::opening;
use super::options::LedgerOptions;
use super::stage::{Stage, Staged};
use super::upkeep::{COMPACTION_STEP, PROBE_PAUSE};
use crate::Error;
use crate::error::Cause;
use crate::storage::{Change, Record, Storage, StorageError, StorageErrorKind};

/// A batch is committed when it has so many bytes, or took so long to stage, so that what is staged
/// stays small and no writer waits long behind those of large objects.
const BATCH: (usize, Duration) = (4 << 20, Duration::from_millis(20));
/// How often history's age is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What the task tells the handles, and is told by them beside the queue.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) state: watch::Sender<LedgerState>,
    pub(super) closing: watch::Receiver<bool>,
    /// How closing went, once it is over.
    pub(super) closed: watch::Sender<Option<Closed>>,
}

/// The owner of a store.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) storage: Box<dyn Storage>,
    pub(super) books: Books,
    pub(super) options: LedgerOptions,
    queue: mpsc::Receiver<Message>,
    pub(super) signals: Signals,
    /// Whether the store refused the last write, so that a full disk does not fill the log.
    pub(super) is_refusing: bool,
    /// When a store that refuses writes is asked again whether it still does, and the pause after that.
    pub(super) next_probe: (Instant, Duration),
    /// Whether nobody knows if the store has the record of the jump that is pending.
    pub(super) is_jump_unclear: bool,
    /// Whether the last look at the store failed.
    pub(super) is_unwell: bool,
    /// Whether the store could not forget what it was to forget last, so that a full disk does not fill the log.
    pub(super) is_retaining: bool,
    /// Why the store was given up.
    pub(super) failure: Option<StorageError>,
}

impl Owner {
    pub(super) async fn open(
        mut storage: Box<dyn Storage>,
        options: LedgerOptions,
        queue: mpsc::Receiver<Message>,
        signals: Signals,
        quarantined: watch::Sender<BTreeMap<String, usize>>,
    ) -> Result<Self, StorageError> {
        let snapshot = storage.load().await?;
        let (reserved, is_loss) = (snapshot.reserved, snapshot.lost);
        let mut counts = BTreeMap::new();
        for record in storage.quarantined().await? {
            *counts.entry(record.resource).or_default() += 1;
        }
        quarantined.send_replace(counts);
        let (today, now) = (options.clock.now(), options.clock.instant());
        let mut books = Books::open(snapshot, quarantined, today, now)?;
        opening::begin(&mut *storage, &mut books, reserved, is_loss, today, now).await?;
        books.trim(now, &options.history);
        let mut owner = Self {
            storage,
            books,
            options,
            queue,
            signals,
            is_refusing: false,
            next_probe: (Instant::now(), PROBE_PAUSE.0),
            is_jump_unclear: false,
            is_unwell: false,
            is_retaining: false,
            failure: None,
        };
        // A store that takes no writes is opened all the same: what it holds can be read.
        owner.probe().await;
        Ok(owner)
    }

    /// Works until the ledger is closed or every handle is gone.
    pub(super) async fn run(mut self) {
        let (state, closed) = (self.signals.state.clone(), self.signals.closed.clone());
        // Writes that panic are caught one by one; what panics here is the store, or a bug. Nobody must
        // go on waiting for it.
        let ended = match AssertUnwindSafe(self.work_until_closed()).catch_unwind().await {
            Ok(End::Closed) => AssertUnwindSafe(self.finish()).catch_unwind().await,
            Ok(End::Failed) => AssertUnwindSafe(self.abandon()).catch_unwind().await,
            Err(panic) => {
                state.send_replace(LedgerState::Failed);
                self.books.close();
                Err(panic)
            }
        };
        let outcome = ended.unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "the owner of the store panicked: no more writes");
            state.send_replace(LedgerState::Failed);
            Err(owner_failed())
        });
        if let Err(failure) = &outcome {
            tracing::warn!(error = failure as &dyn std::error::Error, "closing the store failed");
        }
        closed.send_replace(Some(outcome));
    }

    async fn work_until_closed(&mut self) -> End {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = self.signals.closing.clone();
        let mut messages = Vec::with_capacity(QUEUE);
        let mut is_crowded = false;
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut messages, QUEUE) => {
                    if count == 0 {
                        return End::Closed;
                    }
                    if is_crowded {
                        // Those who were answered just now, and write again, come into the same batch: else the first of
                        // them would have a commit of its own, and all others wait. Of 8 writers on SQLite, all on one
                        // thread, 7.3 share a commit with this and 3.4 without it; of 32, 27 and 12.
                        yield_now().await;
                        while messages.len() < QUEUE && let Ok(message) = self.queue.try_recv() {
                            messages.push(message);
                        }
                    }
                    is_crowded = messages.len() > 1;
                    self.work(&mut messages).await;
                }
                _ = tick.tick() => {
                    self.trim();
                    self.compact().await;
                    self.probe_when_due().await;
                    self.look().await;
                }
                _ = async { closing.wait_for(|closing| *closing).await.is_err() } => break,
            }
            if self.state() == LedgerState::Failed {
                return End::Failed;
            }
            // In steady state every write makes the store forget another; in steps, it costs little.
            if self.books.floor.0 - self.books.compacted.0 >= COMPACTION_STEP {
                self.compact().await;
            }
        }
        // What was queued before the queue closed is still written.
        self.queue.close();
        while self.queue.recv_many(&mut messages, QUEUE).await > 0 {
            self.work(&mut messages).await;
        }
        if self.state() == LedgerState::Failed { End::Failed } else { End::Closed }
    }

    /// Does what is asked, writes that stand side by side in one batch.
    async fn work(&mut self, messages: &mut Vec<Message>) {
        let mut writes = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            if let Message::Write(work) = message {
                writes.push(work);
                continue;
            }
            self.write(std::mem::take(&mut writes)).await;
            match message {
                Message::Consult(look) => {
                    look(&mut self.books);
                    if !self.books.unsettled.is_empty() {
                        // Before the next write: that may be to an object whose record is to go first.
                        self.probe().await;
                    }
                }
                Message::Trim(done) => {
                    self.trim();
                    let _ = done.send(());
                }
                Message::Write(_) => {}
            }
        }
        self.write(writes).await;
    }

    /// Stages and commits writes, in batches, and for each then in this order: makes its events visible,
    /// announces how far they go, answers the writers.
    async fn write(&mut self, writes: Vec<Work>) {
        let mut writes = writes.into_iter().peekable();
        while writes.peek().is_some() {
            let began = Instant::now();
            let now = self.options.clock.now();
            let mut stage = Stage::new(now, self.options.limits, self.books.revision, self.books.usage);
            let mut answers = Vec::new();
            while let Some(work) = writes.next_if(|_| stage.bytes() < BATCH.0 && began.elapsed() < BATCH.1) {
                answers.push(stage.run(work));
                consume_budget().await;
            }
            if answers.is_empty() {
                // Only if the clock stood still for the first write: take one in any case.
                answers.extend(writes.next().map(|work| stage.run(work)));
            }
            let outcome = self.commit(stage.finish()).await;
            for (answer, involved) in answers {
                answer(if involved { outcome.clone() } else { Ok(()) });
            }
        }
    }

    async fn commit(&mut self, staged: Staged) -> Result<(), Error> {
        let Some(last) = staged.records.last() else { return Ok(()) };
        let last = last.revision;
        if matches!(self.state(), LedgerState::Recovering | LedgerState::Failed) {
            // The ledger is to close before anybody knows which revisions are taken.
            let what = "the store failed before, and was not loaded again";
            return Err(unavailable(StorageError::new("journal", StorageErrorKind::Unclear, what)));
        }
        if let Err(failure) = self.settle().await {
            return Err(self.refused(failure));
        }
        let failure = match self.try_commit(&staged.records).await {
            Ok(()) => {
                for publish in staged.publications {
                    publish();
                }
                self.books.usage = staged.usage;
                self.books.note(&staged.records, self.options.clock.instant(), &self.options.history);
                staged.records.iter().for_each(audit);
                self.next_probe.1 = PROBE_PAUSE.0;
                self.takes_writes();
                return Ok(());
            }
            Err(failure) => failure,
        };
        if failure.kind().is_definite() || failure.kind() == StorageErrorKind::Lost {
            return Err(self.refused(failure));
        }
        if self.is_refusing {
            tracing::debug!(error = &failure as &dyn std::error::Error, "a commit failed unclearly again");
        } else {
            tracing::error!(error = &failure as &dyn std::error::Error, "a commit failed unclearly: loading the store");
        }
        // All or nothing: the batch is there with its last record, or not at all.
        match self.recover().await {
            true if self.books.revision >= last => Ok(()),
            true => Err(unavailable(failure)),
            false => Err(unknown(failure)),
        }
    }

    /// Commits; in a store that is full, once more after making room.
    pub(super) async fn try_commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        match self.commit_once(records).await {
            Err(failure) if failure.kind() == StorageErrorKind::Full && self.make_room().await => {
                self.commit_once(records).await
            }
            outcome => outcome,
        }
    }

    pub(super) async fn commit_once(&mut self, records: &[Record]) -> Result<(), StorageError> {
        timeout(self.options.write_timeout, self.storage.commit(records)).await.unwrap_or_else(|_| {
            Err(StorageError::new("journal", StorageErrorKind::Unclear, "the commit took too long"))
        })
    }

    /// Ends without the store: it failed for good, and what it acknowledged may be gone.
    async fn abandon(mut self) -> Closed {
        self.books.close();
        let failure = self.failure.take().unwrap_or_else(owner_failed);
        // Whoever waits for an answer is told now, and not after what is done to a store in trouble.
        drop(self.queue);
        match timeout(self.options.write_timeout, self.storage.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::warn!(error = &failure as &dyn std::error::Error, "a store that failed does not close");
            }
            Err(_) => tracing::warn!("a store that failed does not close in time"),
        }
        Err(failure)
    }

    async fn finish(mut self) -> Closed {
        let sound = matches!(self.state(), LedgerState::Open | LedgerState::Refusing);
        self.signals.state.send_replace(LedgerState::Closed);
        self.books.close();
        // So that what was forgotten stays forgotten, however long the next owner's history is.
        while sound && self.compact().await {}
        let closed = self.storage.close().await;
        self.failure.take().map_or(closed, Err)
    }
}

/// How the task's work ends.
enum End {
    /// The ledger is to close.
    Closed,
    /// The store is not what was written: nothing that is done here mends it.
    Failed,
}

/// One line for each committed write, for whoever turns this target on.
fn audit(record: &Record) {
    tracing::debug!(
        target: "device_api_core::audit",
        revision = record.revision.0,
        actor = record.actor,
        change = match record.change {
            Change::Put(_) => "put",
            Change::Delete => "delete",
        },
        resource = record.resource,
        namespace = record.key.namespace,
        name = record.key.name,
        "committed"
    );
}

/// The ledger closes while nobody knows what became of a commit.
fn unknown(failure: StorageError) -> Error {
    Error::Unavailable {
        why: "the store failed and the server is shutting down: the write may have happened".to_owned(),
        retry_after: Some(Duration::from_secs(1)),
        cause: Cause::of(failure),
    }
}

pub(super) fn unavailable(failure: StorageError) -> Error {
    let why = match failure.kind() {
        StorageErrorKind::ReadOnly => "the store takes no writes: nothing was written",
        StorageErrorKind::Full => "the store is full: nothing was written",
        StorageErrorKind::Busy => "the store is busy: nothing was written",
        StorageErrorKind::Rejected => "the store refused the write: nothing was written",
        StorageErrorKind::Lost => "the store is lost, and the write with it",
        _ => "the store failed: nothing was written",
    };
    Error::Unavailable { why: why.to_owned(), retry_after: Some(Duration::from_secs(1)), cause: Cause::of(failure) }
}
