// SPDX-License-Identifier: Apache-2.0
//! What the owner of the store does beside writing: it keeps history within bounds, makes room in a
//! store that is full, and learns what a store holds that failed.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::ledger::LedgerState;
use super::owner::Owner;
use crate::storage::{Revision, StorageError, StorageErrorKind};

/// How many revisions the store forgets in one call, so that no write waits long behind it.
pub(super) const COMPACTION_STEP: u64 = 1_000;
/// The pause before the store is loaded again after a failure, at first and at most.
const RECOVERY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

impl Owner {
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
    /// to close before.
    pub(super) async fn recover(&mut self) -> bool {
        self.signals.state.send_replace(LedgerState::Recovering);
        let mut closing = self.signals.closing.clone();
        // An error means that every handle is gone, which is as good as closing.
        let closing = async move { closing.wait_for(|closing| *closing).await.is_err() };
        let recovered = async {
            let mut pause = RECOVERY_PAUSE.0;
            while let Err(failure) = self.reload().await {
                tracing::error!(error = &failure as &dyn std::error::Error, "the store cannot be loaded");
                sleep(pause).await;
                pause = (pause * 2).min(RECOVERY_PAUSE.1);
            }
        };
        tokio::select! {
            () = recovered => {}
            _ = closing => return false,
        }
        self.signals.state.send_replace(LedgerState::Open);
        true
    }

    async fn reload(&mut self) -> Result<(), StorageError> {
        let loaded = timeout(self.options.write_timeout, self.storage.load()).await;
        let snapshot =
            loaded.map_err(|_| StorageError::new("journal", StorageErrorKind::Unclear, "loading took too long"))??;
        self.books.catch_up(snapshot, self.options.clock.now(), &self.options.history)
    }

    pub(super) fn trim(&mut self) {
        self.books.trim(self.options.clock.now(), &self.options.history);
    }

    /// Lets the store forget what memory has forgotten, a step of it at most. Says whether it did.
    pub(super) async fn compact(&mut self) -> bool {
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
                tracing::warn!("the store takes too long to forget old records");
                // A call that was dropped may have happened. When the ledger is closed already, the next
                // owner will see.
                if *self.signals.state.borrow() == LedgerState::Open {
                    self.recover().await;
                }
            }
        }
        false
    }
}
