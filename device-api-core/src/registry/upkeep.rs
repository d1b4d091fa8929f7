// SPDX-License-Identifier: Apache-2.0
//! What the owner of the store does beside writing: it keeps history within bounds, makes room in a
//! store that is full, and learns what a store holds that failed.

use std::slice;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::ledger::LedgerState;
use super::owner::{Owner, unavailable};
use crate::Error;
use crate::storage::{StorageError, StorageErrorKind};

/// How many revisions the store forgets in one call, so that no write waits long behind it.
pub(super) const COMPACTION_STEP: u64 = 1_000;
/// The pause before the store is loaded again after a failure, at first and at most.
const RECOVERY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The pause before a store that refuses writes is asked again, at first and at most. Longer each time, since a store may have room for a
/// question and none for what is then written.
pub(super) const PROBE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Owner {
    pub(super) fn state(&self) -> LedgerState {
        *self.signals.state.borrow()
    }

    /// Notes that the store refused a write, and says so if it took the one before: a full disk does not fill the log.
    pub(super) fn refused(&mut self, failure: StorageError) -> Error {
        let answer = unavailable(StorageError::new("journal", failure.kind(), failure.to_string()));
        // One that was refused for what it was says nothing about the next.
        if failure.kind() != StorageErrorKind::Rejected {
            self.refuses_writes(failure);
        }
        answer
    }

    fn refuses_writes(&mut self, failure: StorageError) {
        if failure.kind() == StorageErrorKind::Lost {
            return self.fail(failure);
        }
        if !std::mem::replace(&mut self.is_refusing, true) {
            tracing::error!(error = &failure as &dyn std::error::Error, "the store refuses writes: only reads go on");
        }
        self.signals.state.send_replace(LedgerState::Refusing);
    }

    /// Gives the store up: nothing that is done to it from here on is to be acknowledged. The task ends at the next opportunity.
    pub(super) fn fail(&mut self, failure: StorageError) {
        tracing::error!(error = &failure as &dyn std::error::Error, "the store is to be opened anew: no more writes");
        self.failure = Some(failure);
        self.signals.state.send_replace(LedgerState::Failed);
    }

    /// Notes that the store takes writes.
    pub(super) fn takes_writes(&mut self) {
        if std::mem::take(&mut self.is_refusing) {
            tracing::info!("the store takes writes again");
        }
        self.signals.state.send_if_modified(|state| std::mem::replace(state, LedgerState::Open) != LedgerState::Open);
    }

    /// Asks the store whether it takes writes, once in a while as long as it refuses them: who heeds health writes nothing meanwhile.
    pub(super) async fn probe_when_due(&mut self) {
        let (due, pause) = self.next_probe;
        if self.state() == LedgerState::Refusing && due <= Instant::now() {
            self.next_probe = (Instant::now() + pause, (pause * 2).min(PROBE_PAUSE.1));
            self.probe().await;
        }
    }

    /// Asks the store whether it takes writes, and lets it do first what it has to. One that is full of history makes room, as for a write.
    pub(super) async fn probe(&mut self) {
        let taken = match self.settle().await {
            Ok(()) => self.try_commit(&[]).await,
            failed => failed,
        };
        self.answered(taken);
    }

    fn answered(&mut self, taken: Result<(), StorageError>) {
        match taken {
            Ok(()) => self.takes_writes(),
            Err(failure) => self.refuses_writes(failure),
        }
    }

    /// Has the store put into quarantine what cannot be trusted. Nothing is committed before that: what is written anew
    /// would stand beside what it is to replace.
    pub(super) async fn settle(&mut self) -> Result<(), StorageError> {
        while let Some(next) = self.books.unsettled.first() {
            let settled = timeout(self.options.write_timeout, self.storage.quarantine(next)).await;
            settled
                .map_err(|_| StorageError::new("journal", StorageErrorKind::Unclear, "quarantine took too long"))??;
            let done = self.books.unsettled.remove(0);
            self.books.compacted = self.books.compacted.max(done.through);
        }
        self.settle_jump().await
    }

    /// Has the store take the record of the jump that this life began with, before anything that follows it.
    async fn settle_jump(&mut self) -> Result<(), StorageError> {
        if self.is_jump_unclear {
            // Learns whether the store has it.
            self.reload().await?;
            self.is_jump_unclear = false;
        }
        let Some(jump) = self.books.pending.clone() else { return Ok(()) };
        let taken = self.commit_once(slice::from_ref(&jump)).await;
        match &taken {
            Ok(()) => self.books.pending = None,
            Err(failure) => self.is_jump_unclear = !failure.kind().is_definite(),
        }
        taken
    }

    /// Gives history up for room: writes are worth more. Says whether the store forgot anything.
    pub(super) async fn make_room(&mut self) -> bool {
        if self.books.floor <= self.books.compacted {
            // Not again and again while the store cannot even forget.
            self.books.forget_half();
            self.trim();
        }
        let mut forgot = false;
        while self.compact().await {
            forgot = true;
        }
        forgot
    }

    /// Learns what the store holds and publishes what is new. Until that has succeeded no revision is
    /// handed out, since one of them might be taken. Says whether it has; it has not when the ledger is
    /// to close before, or when the store is not what was written.
    pub(super) async fn recover(&mut self) -> bool {
        self.signals.state.send_replace(LedgerState::Recovering);
        let mut closing = self.signals.closing.clone();
        // An error means that every handle is gone, which is as good as closing.
        let closing = async move { closing.wait_for(|closing| *closing).await.is_err() };
        let recovered = async {
            let mut pause = RECOVERY_PAUSE.0;
            let mut is_told = false;
            while let Err(failure) = self.reload().await {
                if matches!(failure.kind(), StorageErrorKind::Corrupt | StorageErrorKind::Lost) {
                    self.fail(failure);
                    return false;
                }
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(
                        error = &failure as &dyn std::error::Error,
                        "the store cannot be loaded; trying again"
                    );
                }
                sleep(pause).await;
                pause = (pause * 2).min(RECOVERY_PAUSE.1);
            }
            // A store that can be read may take no writes all the same: a disk that fails, or was made read-only.
            let taken = self.commit_once(&[]).await;
            self.answered(taken);
            true
        };
        tokio::select! {
            recovered = recovered => recovered,
            _ = closing => false,
        }
    }

    async fn reload(&mut self) -> Result<(), StorageError> {
        let loaded = timeout(self.options.write_timeout, self.storage.load()).await;
        let snapshot =
            loaded.map_err(|_| StorageError::new("journal", StorageErrorKind::Unclear, "loading took too long"))??;
        self.books.catch_up(snapshot, self.options.clock.instant(), &self.options.history)
    }

    /// Looks whether the store is still ours, once a second, so that its loss shows although nobody writes.
    pub(super) async fn look(&mut self) {
        let checked = timeout(self.options.write_timeout, self.storage.check()).await;
        let failure = match checked {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.is_unwell) {
                    tracing::info!("the store is well again");
                }
                return;
            }
            Ok(Err(failure)) => failure,
            Err(_) => StorageError::new("journal", StorageErrorKind::Unclear, "it does not answer"),
        };
        if failure.kind() == StorageErrorKind::Lost {
            self.fail(failure);
        } else if !std::mem::replace(&mut self.is_unwell, true) {
            tracing::error!(error = &failure as &dyn std::error::Error, "the store is not well");
        }
    }

    pub(super) fn trim(&mut self) {
        self.books.trim(self.options.clock.instant(), &self.options.history);
    }

    /// Lets the store forget what memory has forgotten, a step of it at most. Says whether it did.
    pub(super) async fn compact(&mut self) -> bool {
        let through = self.books.compaction_step(COMPACTION_STEP);
        // What is to go into quarantine must be there still.
        if through <= self.books.compacted || !self.books.unsettled.is_empty() {
            return false;
        }
        match timeout(self.options.write_timeout, self.storage.compact(through)).await {
            Ok(Ok(())) => {
                self.books.compacted = through;
                if std::mem::take(&mut self.is_retaining) {
                    tracing::info!("the store forgets old records again");
                }
                return true;
            }
            Ok(Err(failure)) if failure.kind() == StorageErrorKind::Lost => self.fail(failure),
            // It is asked again each second.
            Ok(Err(failure)) => {
                if !std::mem::replace(&mut self.is_retaining, true) {
                    tracing::warn!(error = &failure as &dyn std::error::Error, "the store cannot forget old records");
                }
            }
            Err(_) => {
                tracing::warn!("the store takes too long to forget old records");
                // A call that was dropped may have happened. When the ledger is closed already, the next
                // owner will see.
                if matches!(self.state(), LedgerState::Open | LedgerState::Refusing) {
                    self.recover().await;
                }
            }
        }
        false
    }
}
