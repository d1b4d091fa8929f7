// SPDX-License-Identifier: Apache-2.0
//! What a reflector holds, for any number of readers.

mod health;
mod index;
mod state;
mod subscription;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use device_api_core::resource::{Key, Resource};
use device_api_core::selector::LabelSelector;
use device_api_core::{Error, Result};

use self::health::Health;
pub use self::index::Index;
use self::state::State;
pub use self::subscription::{Subscription, Update};
use crate::watcher::Event;

/// The objects that a [`Reflector`](crate::Reflector) follows, as they were last heard of: cheap to clone,
/// and to read.
///
/// A store is empty at first, and true once it [is ready](Self::wait_until_ready). While the server is out
/// of reach it holds what it had; [`Self::last_contact`] says for how long. Once the reflector is stopped it
/// stays as it is.
pub struct Store<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    // Guards the objects, their indexes and the way to the subscribers together, so that a snapshot and the
    // changes after it meet. A plain `RwLock`, since readers only copy `Arc`s; never held over an await.
    state: RwLock<State<R>>,
    health: Health,
}

impl<R: Resource> Store<R> {
    pub(crate) fn new(queue: usize) -> Self {
        Self { shared: Arc::new(Shared { state: RwLock::new(State::new(queue)), health: Health::default() }) }
    }

    /// The object of this name in the namespace `default`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<R>> {
        self.get_in("", name)
    }

    /// The object of this name in a namespace.
    #[must_use]
    pub fn get_in(&self, namespace: &str, name: &str) -> Option<Arc<R>> {
        // No object has a name that is not valid.
        self.get_by_key(&Key::of::<R>(namespace, name).ok()?)
    }

    /// The object under this key.
    #[must_use]
    pub fn get_by_key(&self, key: &Key) -> Option<Arc<R>> {
        self.read().get(key)
    }

    /// All objects, sorted by namespace, then name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<R>> {
        self.read().list()
    }

    /// The first object that is wanted, in the order of [`Self::list`].
    pub fn find(&self, mut wanted: impl FnMut(&R) -> bool) -> Option<Arc<R>> {
        // The closure is somebody else's, so it runs without the lock.
        self.list().into_iter().find(|object| wanted(object))
    }

    /// All objects that are wanted, in the order of [`Self::list`].
    pub fn filter(&self, mut wanted: impl FnMut(&R) -> bool) -> Vec<Arc<R>> {
        let mut objects = self.list();
        objects.retain(|object| wanted(object));
        objects
    }

    /// The objects that a Kubernetes label selector selects, in the order of [`Self::list`].
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the selector does not parse, and
    /// [`Error::TooLarge`] when it is too long.
    pub fn labels(&self, selector: &str) -> Result<Vec<Arc<R>>> {
        let selector = LabelSelector::parse(selector)?;
        Ok(self.filter(|object| selector.matches(&object.metadata().labels)))
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An index: the objects by what `keys_of` gives, none or any number of keys for each. It is kept until
    /// the last handle to it is dropped.
    ///
    /// `keys_of` must give the same for the same object, and must not use the store: it runs inside.
    ///
    /// ```
    /// use device_api_client::Store;
    /// use device_api_client::core::resource::Gpu;
    ///
    /// fn show(gpus: &Store<Gpu>) {
    ///     let by_uuid = gpus.index(|gpu| [gpu.spec.uuid.clone()]);
    ///     for gpu in by_uuid.get("GPU-0a1b") {
    ///         println!("{}", gpu.metadata.name);
    ///     }
    /// }
    /// ```
    pub fn index<K, I>(&self, keys_of: impl Fn(&R) -> I + Send + Sync + 'static) -> Index<R, K>
    where
        K: Ord + Clone + Send + Sync + 'static,
        I: IntoIterator<Item = K>,
    {
        Index::new(self.clone(), move |object| keys_of(object).into_iter().collect())
    }

    /// The state, and then every change of it, in order and without a gap. The state is that of the first
    /// [`next`](Subscription::next), not of this call.
    ///
    /// Anybody may subscribe at any time, and nobody waits for a subscriber: see [`Subscription`].
    #[must_use]
    pub fn subscribe(&self) -> Subscription<R> {
        Subscription::new(self.clone())
    }

    /// Whether the whole state was seen once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.health.is_ready()
    }

    /// Waits until the whole state was seen once.
    ///
    /// # Errors
    /// When the reflector ended before: the error that made it give up, or
    /// [`Error::Unavailable`] where it was stopped.
    pub async fn wait_until_ready(&self) -> Result<()> {
        self.shared.health.wait_until_ready().await
    }

    /// How long ago the server was last heard of, be it by a bookmark; `None`: never.
    #[must_use]
    pub fn last_contact(&self) -> Option<Duration> {
        self.shared.health.last_contact()
    }

    /// What went wrong last, unless the server was heard of since.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.shared.health.last_error()
    }

    /// The server said something.
    pub(crate) fn heard(&self) {
        self.shared.health.heard();
    }

    /// Something went wrong.
    pub(crate) fn failed(&self, error: Error) {
        self.shared.health.failed(error);
    }

    /// Nothing will change any more.
    pub(crate) fn stop(&self) {
        self.write().end();
        self.shared.health.stop();
    }

    /// Takes in what the watcher saw.
    ///
    /// # Errors
    /// When the server sent an object that no server has.
    pub(crate) fn take(&self, event: Event<R>) -> Result<()> {
        match event {
            Event::Init => self.write().begin(),
            Event::InitApply(object) | Event::Apply(object) => {
                let key = key_of(&*object)?;
                self.write().apply(key, object);
            }
            Event::Delete(object) => {
                let key = key_of(&*object)?;
                self.write().delete(&key, object);
            }
            Event::InitDone => {
                self.write().complete();
                self.shared.health.ready();
            }
        }
        Ok(())
    }

    // The state is whole after every statement that can panic: an index function can where its index is made.
    fn read(&self) -> RwLockReadGuard<'_, State<R>> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<R>> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of<R: Resource>(object: &R) -> Result<Key> {
    let metadata = object.metadata();
    Key::of::<R>(&metadata.namespace, &metadata.name)
}

impl<R> Clone for Store<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R> fmt::Debug for Store<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("health", &self.shared.health).finish_non_exhaustive()
    }
}
