// SPDX-License-Identifier: Apache-2.0
//! The task that owns the store: it commits writes in batches and keeps history within bounds.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::books::Books;
use super::ledger::{Answer, LedgerState, Message, QUEUE, Work, panic_text};
use super::options::LedgerOptions;
use super::stage::{Stage, Staged};
use crate::Error;
use crate::error::Cause;
use crate::storage::{Revision, Storage, StorageError, StorageErrorKind};

/// How many revisions the store forgets in one call, so that no write waits long behind it.
const COMPACTION_STEP: u64 = 1_000;
/// How often history's age is looked at.
const TICK: Duration = Duration::from_secs(1);
/// The pause before the store is loaded again after a failure, at first and at most.
const RECOVERY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The owner of a store.
#[derive(Debug)]
pub(super) struct Owner {
    storage: Box<dyn Storage>,
    books: Books,
    options: LedgerOptions,
    queue: mpsc::Receiver<Message>,
    state: watch::Sender<LedgerState>,
}

impl Owner {
    pub(super) async fn open(
        mut storage: Box<dyn Storage>,
        options: LedgerOptions,
        queue: mpsc::Receiver<Message>,
        state: watch::Sender<LedgerState>,
    ) -> Result<Self, StorageError> {
        let mut snapshot = storage.load().await?;
        if snapshot.last == Revision::ZERO {
            // A new store starts where no earlier one can have been, so that a version from before a
            // reset is Expired and never taken for one of this store. The store remembers it as the
            // revision that it was compacted through.
            let first = Revision(u64::try_from(options.clock.now().unix_micros()).unwrap_or(1).max(1));
            storage.compact(first).await?;
            snapshot.last = first;
            snapshot.compacted = first;
        }
        let mut books = Books::open(snapshot)?;
        books.trim(options.clock.now(), &options.history);
        Ok(Self { storage, books, options, queue, state })
    }

    /// Works until the ledger is closed or every handle is gone.
    pub(super) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::with_capacity(QUEUE);
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut messages, QUEUE) => {
                    if count == 0 {
                        return self.finish(None).await;
                    }
                    if let Some(done) = self.work(&mut messages).await {
                        return self.finish(Some(done)).await;
                    }
                }
                _ = tick.tick() => {
                    self.trim();
                    self.compact().await;
                }
            }
            // In steady state every write makes the store forget another; in steps, it costs little.
            if self.books.floor.0 - self.books.compacted.0 >= COMPACTION_STEP {
                self.compact().await;
            }
        }
    }

    /// Does what is asked, writes that stand side by side in one batch. Returns who wants to know
    /// about the end, if that was asked for.
    async fn work(&mut self, messages: &mut Vec<Message>) -> Option<oneshot::Sender<Result<(), StorageError>>> {
        let mut writes = Vec::with_capacity(messages.len());
        let mut end = None;
        for message in messages.drain(..) {
            if let Message::Write(work) = message {
                writes.push(work);
                continue;
            }
            self.write(std::mem::take(&mut writes)).await;
            match message {
                Message::Consult(look) => look(&mut self.books),
                Message::Trim(done) => {
                    self.trim();
                    let _ = done.send(());
                }
                Message::Close(done) => end = Some(done),
                Message::Write(_) => {}
            }
        }
        self.write(writes).await;
        end
    }

    /// Stages and commits a batch, then in this order: makes its events visible, announces how far
    /// they go, answers the writers.
    async fn write(&mut self, batch: Vec<Work>) {
        if batch.is_empty() {
            return;
        }
        let now = self.options.clock.now();
        let mut stage = Stage::new(now, self.options.limits, self.books.revision, self.books.usage);
        let answers: Vec<Answer> = batch.into_iter().filter_map(|work| run(work, &mut stage)).collect();
        let staged = stage.finish();
        let outcome = self.commit(staged).await;
        for answer in answers {
            answer(outcome.clone());
        }
    }

    async fn commit(&mut self, staged: Staged) -> Result<(), Error> {
        let Some(last) = staged.records.last() else { return Ok(()) };
        let last = last.revision;
        let committed = timeout(self.options.write_timeout, self.storage.commit(&staged.records)).await;
        let failure = match committed {
            Ok(Ok(())) => {
                for publish in staged.publications {
                    publish();
                }
                self.books.usage = staged.usage;
                self.books.note(&staged.records, self.options.clock.now(), &self.options.history);
                return Ok(());
            }
            Ok(Err(failure)) if failure.kind().is_definite() => {
                tracing::warn!(error = &failure as &dyn std::error::Error, "the store refused a commit");
                return Err(unavailable(failure));
            }
            Ok(Err(failure)) => failure,
            Err(_) => StorageError::new("journal", StorageErrorKind::Unclear, "the commit took too long"),
        };
        tracing::error!(error = &failure as &dyn std::error::Error, "a commit failed unclearly: loading the store");
        self.recover().await;
        // All or nothing: the batch is there with its last record, or not at all.
        if self.books.revision >= last { Ok(()) } else { Err(unavailable(failure)) }
    }

    /// Learns what the store holds and publishes what is new. Until that has succeeded no revision is
    /// handed out, since one of them might be taken.
    async fn recover(&mut self) {
        self.state.send_replace(LedgerState::Recovering);
        let mut pause = RECOVERY_PAUSE.0;
        loop {
            match self.reload().await {
                Ok(()) => break,
                Err(failure) => {
                    tracing::error!(error = &failure as &dyn std::error::Error, "the store cannot be loaded");
                    sleep(pause).await;
                    pause = (pause * 2).min(RECOVERY_PAUSE.1);
                }
            }
        }
        self.state.send_replace(LedgerState::Open);
    }

    async fn reload(&mut self) -> Result<(), StorageError> {
        let loaded = timeout(self.options.write_timeout, self.storage.load()).await;
        let snapshot =
            loaded.map_err(|_| StorageError::new("journal", StorageErrorKind::Unclear, "loading took too long"))??;
        self.books.catch_up(snapshot, self.options.clock.now(), &self.options.history)
    }

    fn trim(&mut self) {
        self.books.trim(self.options.clock.now(), &self.options.history);
    }

    /// Lets the store forget what memory has forgotten, a step of it at most. Says whether it did.
    async fn compact(&mut self) -> bool {
        let through = Revision(self.books.floor.0.min(self.books.compacted.0 + COMPACTION_STEP));
        if through <= self.books.compacted {
            return false;
        }
        match timeout(self.options.write_timeout, self.storage.compact(through)).await {
            Ok(Ok(())) => {
                self.books.compacted = through;
                return true;
            }
            Ok(Err(failure)) => {
                tracing::warn!(error = &failure as &dyn std::error::Error, "the store cannot forget old records");
            }
            Err(_) => {
                tracing::warn!("the store takes too long to forget old records: loading it");
                self.recover().await;
            }
        }
        false
    }

    async fn finish(mut self, done: Option<oneshot::Sender<Result<(), StorageError>>>) {
        // What was queued before the queue closed is still written.
        self.queue.close();
        let mut messages = Vec::new();
        while self.queue.recv_many(&mut messages, QUEUE).await > 0 {
            self.work(&mut messages).await;
        }
        self.state.send_replace(LedgerState::Closed);
        self.books.close();
        // So that what was forgotten stays forgotten, however long the next owner's history is.
        while self.compact().await {}
        let closed = self.storage.close().await;
        match done {
            Some(done) => {
                let _ = done.send(closed);
            }
            None => {
                if let Err(failure) = closed {
                    tracing::warn!(error = &failure as &dyn std::error::Error, "closing the store failed");
                }
            }
        }
    }
}

/// Runs one write. One that panics fails alone, and its writer is told by the reply that is dropped.
fn run(work: Work, stage: &mut Stage) -> Option<Answer> {
    // A stage changes only in the last statements of `Stage::write`, which do not panic, so that a
    // write that panics has staged nothing.
    std::panic::catch_unwind(AssertUnwindSafe(|| work(stage)))
        .inspect_err(|panic| tracing::error!(panic = panic_text(&**panic), "a write panicked"))
        .ok()
}

fn unavailable(failure: StorageError) -> Error {
    let why = match failure.kind() {
        StorageErrorKind::Full => "the store is full: nothing was written",
        StorageErrorKind::Busy => "the store is busy: nothing was written",
        StorageErrorKind::Rejected => "the store refused the write: nothing was written",
        _ => "the store failed: nothing was written",
    };
    Error::Unavailable { why: why.to_owned(), retry_after: Some(Duration::from_secs(1)), cause: Cause::of(failure) }
}
