// SPDX-License-Identifier: Apache-2.0
//! Whether a source still holds its lease, to be asked before it undoes what somebody else did: that may have been a newer
//! process of the same source, of which this one would be told at its next renewal only.

use tokio::sync::watch;

/// The end of who doubts.
#[derive(Debug)]
pub(super) struct Doubt {
    asked: watch::Sender<u64>,
    answered: watch::Receiver<u64>,
}

/// The end of who renews the lease.
#[derive(Debug)]
pub(super) struct Doubted {
    asked: watch::Receiver<u64>,
    answered: watch::Sender<u64>,
}

pub(super) fn doubt() -> (Doubt, Doubted) {
    let ((asked, asks), (answers, answered)) = (watch::channel(0), watch::channel(0));
    (Doubt { asked, answered }, Doubted { asked: asks, answered: answers })
}

impl Doubt {
    /// Asks for a renewal that begins from now on.
    pub(super) fn ask(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// Whether the lease was renewed since it was asked last.
    pub(super) fn is_over(&self) -> bool {
        *self.answered.borrow() == *self.asked.borrow()
    }

    /// Waits until it was, and may have been before.
    pub(super) async fn over(&mut self) {
        let asked = *self.asked.borrow();
        if self.answered.wait_for(|answered| *answered == asked).await.is_err() {
            // Nobody renews any lease: there is none.
            std::future::pending().await
        }
    }
}

impl Doubted {
    /// Waits until somebody asks.
    pub(super) async fn asked(&mut self) {
        if self.asked.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The question that a renewal answers which begins now.
    pub(super) fn question(&mut self) -> u64 {
        *self.asked.borrow_and_update()
    }

    /// The lease was renewed after this question.
    pub(super) fn answer(&self, question: u64) {
        self.answered.send_if_modified(|answered| std::mem::replace(answered, question) != question);
    }
}
