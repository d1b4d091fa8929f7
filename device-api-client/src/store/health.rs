// SPDX-License-Identifier: Apache-2.0
//! Whether a store is true, and since when nobody can say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device_api_core::error::Cause;
use device_api_core::{Error, Result};
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Health {
    phase: watch::Sender<Phase>,
    // Guards two values that each step of the reflector sets; held for that only.
    contact: Mutex<Contact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    ready: bool,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Contact {
    heard: Option<Instant>,
    error: Option<Error>,
}

impl Default for Health {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase { ready: false, stopped: false }), contact: Mutex::default() }
    }
}

impl Health {
    pub(super) fn heard(&self) {
        *self.contact() = Contact { heard: Some(Instant::now()), error: None };
    }

    pub(super) fn failed(&self, error: Error) {
        self.contact().error = Some(error);
    }

    pub(super) fn ready(&self) {
        self.phase.send_if_modified(|phase| !std::mem::replace(&mut phase.ready, true));
    }

    pub(super) fn stop(&self) {
        self.phase.send_if_modified(|phase| !std::mem::replace(&mut phase.stopped, true));
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase.borrow().ready
    }

    pub(super) async fn wait_until_ready(&self) -> Result<()> {
        let mut phase = self.phase.subscribe();
        // It cannot be closed: the sender is in here.
        if let Ok(phase) = phase.wait_for(|phase| phase.ready || phase.stopped).await
            && phase.ready
        {
            return Ok(());
        }
        Err(self.last_error().unwrap_or_else(|| Error::Unavailable {
            why: "the reflector was stopped before it had seen everything".to_owned(),
            retry_after: None,
            cause: Cause::unknown(),
        }))
    }

    pub(super) fn last_contact(&self) -> Option<Duration> {
        self.contact().heard.map(|heard| heard.elapsed())
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.contact().error.clone()
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
