// SPDX-License-Identifier: Apache-2.0
//! A local cache that list and watch keep true.

use std::panic::AssertUnwindSafe;

use device_api_core::Error;
use device_api_core::registry::Verbs;
use device_api_core::resource::Resource;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::Store;
use crate::watcher::{Advance, Config, Watcher};

/// What a reflector follows, and how much it keeps for slow subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReflectorOptions {
    /// What is followed, and how patiently.
    pub watcher: Config,
    /// How many changes a subscriber may be behind before it gets a snapshot instead: 1,024.
    pub queue: usize,
}

impl Default for ReflectorOptions {
    fn default() -> Self {
        Self { watcher: Config::default(), queue: 1024 }
    }
}

impl ReflectorOptions {
    /// Follows this.
    #[must_use]
    pub fn with_watcher(mut self, watcher: Config) -> Self {
        self.watcher = watcher;
        self
    }

    /// Lets a subscriber be so many changes behind, at least one.
    #[must_use]
    pub fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self
    }
}

impl From<Config> for ReflectorOptions {
    fn from(watcher: Config) -> Self {
        Self::default().with_watcher(watcher)
    }
}

/// Keeps a [`Store`] true by list and watch, until it is dropped.
///
/// It heals by itself, as its [`Watcher`] does: it resumes where a watch ended, reads the whole state again
/// when the history was forgotten, and takes a server that is silent for too long as lost. A panic of the handle, or of its own, is
/// logged and shows in [`Store::last_error`]; it begins anew then.
///
/// ```
/// use device_api_client::core::registry::Verbs;
/// use device_api_client::core::resource::Gpu;
/// use device_api_client::watcher::Config;
/// use device_api_client::{Reflector, Store};
///
/// async fn unready(gpus: impl Verbs<Gpu>) -> device_api_client::core::Result<()> {
///     let reflector = Reflector::start(gpus, Config::default().labels("zone=left"));
///     let gpus: Store<Gpu> = reflector.store();
///     gpus.wait_until_ready().await?;
///     println!("{} GPUs; heard of the server {:?} ago", gpus.len(), gpus.last_contact());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Reflector<R> {
    store: Store<R>,
    task: JoinHandle<()>,
}

impl<R: Resource> Reflector<R> {
    /// Starts to follow the objects of this handle, of its namespace, in a task of its own.
    ///
    /// It must be called within a Tokio runtime.
    #[must_use = "a reflector that is dropped is stopped"]
    pub fn start<V: Verbs<R>>(objects: V, options: impl Into<ReflectorOptions>) -> Self {
        let options = options.into();
        let store = Store::new(options.queue.clamp(1, MAX_QUEUE));
        let ending = Ending(store.clone());
        let task = tokio::spawn(async move {
            let ending = ending;
            let mut pauses = options.watcher.backoff.pauses();
            loop {
                let began = Instant::now();
                let watcher = Watcher::new(objects.clone(), options.watcher.clone());
                if AssertUnwindSafe(follow(watcher, &ending.0)).catch_unwind().await.is_ok() {
                    return;
                }
                // Who reads the store would go on with what it saw last, and nobody would notice.
                tracing::error!(resource = R::PLURAL, "the reflector panicked: it begins anew");
                ending.0.failed(Error::internal("the reflector panicked, and begins anew"));
                if began.elapsed() > pauses.longest() {
                    pauses.reset();
                }
                sleep(pauses.next_pause()).await;
            }
        });
        Self { store, task }
    }

    /// What it keeps. The store outlives it, and then changes no more.
    #[must_use]
    pub fn store(&self) -> Store<R> {
        self.store.clone()
    }

    /// Stops it, and waits until it has: its store changes no more, and subscriptions end.
    pub async fn stop(mut self) {
        self.task.abort();
        // An error says that it was aborted.
        let _ = (&mut self.task).await;
    }
}

/// More than that would be allocated at once.
const MAX_QUEUE: usize = 1 << 20;

impl<R> Drop for Reflector<R> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells the readers of the store when its task is over, however it ends.
struct Ending<R: Resource>(Store<R>);

impl<R: Resource> Drop for Ending<R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn follow<R: Resource, V: Verbs<R>>(mut watcher: Watcher<R, V>, store: &Store<R>) {
    loop {
        match watcher.advance().await {
            Advance::Heard => store.heard(),
            Advance::Unheard => {}
            Advance::Stopped => return,
        }
        while let Some(event) = watcher.take_event() {
            if let Err(error) = event.and_then(|event| store.take(event)) {
                let told = &error as &dyn std::error::Error;
                tracing::warn!(resource = R::PLURAL, error = told, "the reflector's watch failed");
                store.failed(error);
            }
        }
    }
}
