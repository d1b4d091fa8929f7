// SPDX-License-Identifier: Apache-2.0
//! What a watcher of all GPUs saw, and when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use device_api_core::registry::{Registry, WatchEvent, WatchParams, WatchStream as _};
use device_api_core::resource::Gpu;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A watcher that writes everything down.
pub(crate) struct Diary {
    // Held to push or to copy.
    entries: Arc<Mutex<Vec<Entry>>>,
    began: Instant,
    task: JoinHandle<()>,
}

/// A change.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The time since the watcher began.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    pub(crate) gpu: Arc<Gpu>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Modified,
    Deleted,
}

impl Diary {
    pub(crate) async fn of(gpus: &Registry<Gpu>) -> Self {
        let (entries, began) = (Arc::<Mutex<Vec<Entry>>>::default(), Instant::now());
        let mut events = gpus.watch(&WatchParams::default()).await.unwrap();
        let written = Arc::clone(&entries);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next_event().await {
                let (kind, gpu) = match event.unwrap() {
                    WatchEvent::Added(gpu) => (Kind::Added, gpu),
                    WatchEvent::Modified(gpu) => (Kind::Modified, gpu),
                    WatchEvent::Deleted(gpu) => (Kind::Deleted, gpu),
                    WatchEvent::Bookmark(_) => continue,
                };
                written.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at: began.elapsed(), kind, gpu });
            }
        });
        Self { entries, began, task }
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<Entry> {
        assert!(!self.task.is_finished(), "the watcher saw all of it");
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of one object so far.
    pub(crate) fn of_name(&self, name: &str) -> Vec<Entry> {
        self.all().into_iter().filter(|entry| entry.gpu.metadata.name == name).collect()
    }

    /// What became of one object since then, as a time since the watcher began.
    pub(crate) fn since(&self, name: &str, then: Duration) -> Vec<Entry> {
        self.of_name(name).into_iter().filter(|entry| entry.at >= then).collect()
    }

    /// Now, on the same scale as the entries.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.task.abort();
    }
}
