// SPDX-License-Identifier: Apache-2.0
//! Controllers: they look at each object again and again, until it is as it should be.

mod action;
mod queue;
mod run;
mod triggers;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use device_api_core::Result;
use device_api_core::registry::Verbs;
use device_api_core::resource::{Key, Resource};
use device_api_core::selector::Selection;
use futures_core::Stream;
use futures_util::StreamExt as _;

pub use self::action::Action;
use self::queue::Queue;
use self::run::Runner;
use self::triggers::{Dependents, Triggers};
use crate::watcher::{Backoff, Config};

/// Calls a function for each object, whenever something that matters to it has changed: as kube-rs' `Controller`, on any
/// handle with the [`Verbs`].
///
/// The function gets the object as it is then, not as some event showed it, so it looks at what is and not at what happened.
/// An object is never looked at twice at a time; what happens meanwhile makes it looked at once more. An error makes it
/// looked at again, later each time. An object that is gone, no longer selected, or in another namespace than the handle, is not
/// looked at.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::registry::{Ledger, LedgerOptions};
/// # use device_api_core::resource::{GpuStrategy, ObjectMeta};
/// # let storage = device_api_store_memory::Memory::new().open()?;
/// # let gpus = Ledger::open(Box::new(storage), LedgerOptions::default()).await?.registry(GpuStrategy).await?;
/// # gpus.create(&PostParams::default(), &Gpu { metadata: ObjectMeta::named("gpu-0"), ..Gpu::default() }).await?;
/// use std::sync::Arc;
/// use std::time::Duration;
/// use device_api_client::controller::{Action, Controller};
/// use device_api_client::watcher::Config;
/// use device_api_core::registry::{PostParams, Verbs};
/// use device_api_core::resource::Gpu;
/// use tokio::sync::Notify;
///
/// async fn greet(gpu: Arc<Gpu>, seen: Arc<Notify>) -> device_api_core::Result<Action> {
///     println!("{} is at version {}", gpu.metadata.name, gpu.metadata.resource_version);
///     seen.notify_one();
///     Ok(Action::requeue(Duration::from_secs(300)))
/// }
///
/// let seen = Arc::new(Notify::new());
/// let enough = Arc::clone(&seen);
/// Controller::new(gpus, Config::default())
///     .concurrency(4)
///     .graceful_shutdown_on(async move { enough.notified().await })
///     .run(greet, seen)
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a controller does nothing until it is run"]
pub struct Controller<R, V> {
    objects: V,
    selection: Result<Selection>,
    triggers: Vec<Triggers>,
    concurrency: usize,
    backoff: Backoff,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    resource: std::marker::PhantomData<fn() -> R>,
}

impl<R: Resource, V: Verbs<R>> Controller<R, V> {
    /// A controller of the objects that this selects: each is looked at when it changes, and all of them at first.
    pub fn new(objects: V, config: Config) -> Self {
        let selection = Selection::parse::<R>(objects.namespace(), &config.label_selector, &config.field_selector);
        let changes = triggers::of_watcher(objects.clone(), config, triggers::own);
        Self { selection, ..Self::of(objects, changes) }
    }

    /// A controller of objects whose changes come from elsewhere: each is looked at when the stream has it.
    pub fn for_stream(objects: V, changes: impl Stream<Item = Arc<R>> + Send + 'static) -> Self {
        let changes = changes.map(|object| Ok(triggers::key(&*object).into_iter().collect()));
        Self::of(objects, Box::pin(changes))
    }

    fn of(objects: V, changes: Triggers) -> Self {
        Self {
            selection: Selection::parse::<R>(objects.namespace(), "", ""),
            objects,
            triggers: vec![changes],
            concurrency: 1,
            backoff: Backoff::default(),
            shutdown: Box::pin(std::future::pending()),
            resource: std::marker::PhantomData,
        }
    }

    /// Looks at so many objects at a time, at least one. Unless set: one, as in Kubernetes' controller-runtime.
    pub fn concurrency(mut self, objects: usize) -> Self {
        self.concurrency = objects.max(1);
        self
    }

    /// How long to wait after an error.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Watches other objects, too: when one changes or vanishes, the objects are looked at that `map` names for it now, and
    /// those that it named before.
    pub fn watches<S, W, K>(mut self, others: W, config: Config, mut map: impl FnMut(&S) -> K + Send + 'static) -> Self
    where
        S: Resource,
        W: Verbs<S>,
        K: IntoIterator<Item = Key>,
    {
        let mut dependents = Dependents::new(move |object: &S| map(object).into_iter().collect());
        self.triggers.push(triggers::of_watcher(others, config, move |event| dependents.take(event)));
        self
    }

    /// Looks at the objects that this stream names, too: for what no watch shows, such as a signal or a timer.
    pub fn reconcile_on(mut self, keys: impl Stream<Item = Key> + Send + 'static) -> Self {
        self.triggers.push(Box::pin(keys.map(|key| Ok(vec![key]))));
        self
    }

    /// Stops when this future is done: nothing more is begun, and what was begun is ended. That waits for a `reconcile` that hangs:
    /// give the calls in it a timeout, or the whole run one.
    pub fn graceful_shutdown_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Box::pin(stop);
        self
    }

    /// Looks at objects until it is stopped, or all streams have ended and nothing is left to do.
    ///
    /// `reconcile` runs in a task of its own for each object; a panic in it counts as an error, and an error is logged with all its
    /// causes. When the future that this returns is dropped, these are aborted. `context` is what they share.
    ///
    /// # Errors
    /// [`Error::BadRequest`](device_api_core::Error::BadRequest) for a selector that does not parse, and whatever else makes one of the watches impossible.
    /// What may pass, such as a server out of reach, does not end it.
    pub async fn run<C, F, A, E>(self, reconcile: F, context: Arc<C>) -> Result<()>
    where
        C: Send + Sync + 'static,
        F: Fn(Arc<R>, Arc<C>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Action, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let selection = Arc::new(self.selection?);
        let (objects, reconcile) = (self.objects, Arc::new(reconcile));
        let look = move |key: Key| {
            let (objects, selection) = (objects.clone(), Arc::clone(&selection));
            let (reconcile, context) = (Arc::clone(&reconcile), Arc::clone(&context));
            async move {
                let found = objects.namespaced(key.namespace()).get_opt(key.name()).await;
                match found?.filter(|object| selection.matches(&**object)) {
                    Some(object) => reconcile(object, context).await.map_err(Into::into),
                    None => Ok(Action::await_change()),
                }
            }
        };
        Runner::new(Queue::new(self.backoff), self.concurrency, R::PLURAL).run(self.triggers, self.shutdown, look).await
    }
}

impl<R, V: fmt::Debug> fmt::Debug for Controller<R, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("objects", &self.objects)
            .field("concurrency", &self.concurrency)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
