// SPDX-License-Identifier: Apache-2.0
//! One handle everywhere: the verbs that the registry in process and the remote client share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;

use super::{DeleteParams, GetParams, ListParams, Part, PatchParams, PostParams, WatchParams};
use crate::error::short;
use crate::patch::Patch;
use crate::resource::{ListMeta, ObjectMeta, Resource};
use crate::{Error, Result};

/// How often [`Verbs::modify`] tries before it gives up.
const TRIES: u32 = 16;
/// The longest pause after its first conflict; each further one doubles it, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How many objects [`Verbs::list_all`] asks for at a time.
const PAGE: u64 = 500;

/// A handle to the objects of one resource type, with kube-rs' verbs.
///
/// [`Registry`](super::Registry) implements it in process, the client's `Api` over gRPC, with the
/// same values and the same errors. Code written against it runs in both worlds and in tests.
///
/// A handle has a namespace, at first the empty one: requests for one object then mean the namespace
/// `default`, lists and watches all namespaces.
pub trait Verbs<R: Resource>: Clone + Send + Sync + 'static {
    /// The stream that [`Self::watch`] returns. It ends with `None` where the server ends the watch
    /// (resume from the last version seen) and after an error.
    type Watch: WatchStream<R>;

    /// The handle's namespace; empty: all of them.
    fn namespace(&self) -> &str;

    /// The same handle for another namespace.
    #[must_use]
    fn namespaced(&self, namespace: &str) -> Self;

    /// Reads one object.
    fn get_with(&self, name: &str, params: &GetParams) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Lists objects, or a page of them: [`Self::list_all`] reads all pages.
    fn list(&self, params: &ListParams) -> impl Future<Output = Result<List<R>>> + Send;

    /// Streams changes.
    fn watch(&self, params: &WatchParams) -> impl Future<Output = Result<Self::Watch>> + Send;

    /// Creates an object and returns what was stored.
    fn create(&self, params: &PostParams, object: &R) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Replaces labels, annotations and spec. `name` must be the object's own, unless that is empty.
    fn replace(&self, name: &str, params: &PostParams, object: &R) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Replaces the status.
    fn replace_status(
        &self,
        name: &str,
        params: &PostParams,
        object: &R,
    ) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Patches labels, annotations and spec.
    fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Patches the status.
    fn patch_status(
        &self,
        name: &str,
        params: &PatchParams,
        patch: &Patch,
    ) -> impl Future<Output = Result<Arc<R>>> + Send;

    /// Deletes an object.
    fn delete(&self, name: &str, params: &DeleteParams) -> impl Future<Output = Result<()>> + Send;

    /// Lists all objects that the parameters select, as one list of one version, however many and large they are: in pages, of
    /// [`ListParams::limit`] or else 500 objects at most. One unpaged [list](Self::list) has a limit over gRPC.
    ///
    /// # Errors
    /// As [`Self::list`]: [`Error::Expired`] also where so much was written meanwhile that the next page is not in history any more.
    fn list_all(&self, params: &ListParams) -> impl Future<Output = Result<List<R>>> + Send {
        async move {
            let mut page = params.clone();
            if page.limit == 0 {
                page.limit = PAGE;
            }
            let mut all = self.list(&page).await?;
            // The token has the version.
            page.resource_version.clear();
            page.version_match = None;
            while !all.metadata.continue_token.is_empty() {
                page.continue_token = std::mem::take(&mut all.metadata.continue_token);
                let next = self.list(&page).await?;
                all.items.extend(next.items);
                all.metadata = next.metadata;
            }
            Ok(all)
        }
    }

    /// Reads one object in its latest state.
    fn get(&self, name: &str) -> impl Future<Output = Result<Arc<R>>> + Send {
        async move { self.get_with(name, &GetParams::default()).await }
    }

    /// Reads one object in its latest state; `None` when there is none.
    fn get_opt(&self, name: &str) -> impl Future<Output = Result<Option<Arc<R>>>> + Send {
        async move {
            match self.get(name).await {
                Ok(object) => Ok(Some(object)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        }
    }

    /// Reads an object, changes one part of it and replaces that at the version that was read; after a
    /// conflict it does so again. What `change` does outside of the part is ignored.
    ///
    /// `change` runs once for each try, on what was read for it. After 16 tries, which take about a
    /// second, the last conflict is returned. A [`Registry`](super::Registry) has
    /// [`modify_in_place`](super::Registry::modify_in_place), too, which needs one try.
    ///
    /// # Errors
    /// Those of `change`, of [`Self::get`] and of [`Self::replace`]. After
    /// [`Error::Unavailable`] the change may have been made, so it is not tried again.
    fn modify<F>(
        &self,
        part: Part,
        name: &str,
        params: &PostParams,
        mut change: F,
    ) -> impl Future<Output = Result<Arc<R>>> + Send
    where
        F: FnMut(&mut R) -> Result<()> + Send,
    {
        async move {
            let (mut longest, mut tries) = (FIRST_PAUSE, 1);
            loop {
                let read = self.get(name).await?;
                let mut object = R::clone(&read);
                change(&mut object)?;
                object.metadata_mut().resource_version.clone_from(&read.metadata().resource_version);
                let written = match part {
                    Part::Main => self.replace(name, params, &object).await,
                    Part::Status => self.replace_status(name, params, &object).await,
                };
                match written {
                    Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
                    other => return other,
                }
                // Of any length up to the longest, so that those who met do not meet again.
                tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
                longest = LONGEST_PAUSE.min(longest * 2);
            }
        }
    }
}

/// The events of a watch: a stream, which can be read without another crate.
///
/// Every such stream is one.
///
/// ```
/// use device_api_core::registry::{Verbs, WatchParams, WatchStream as _};
/// use device_api_core::resource::Gpu;
///
/// async fn follow(gpus: impl Verbs<Gpu>) -> device_api_core::Result<()> {
///     let mut events = gpus.watch(&WatchParams::default()).await?;
///     while let Some(event) = events.next_event().await {
///         println!("now at version {}", event?.resource_version());
///     }
///     Ok(())
/// }
/// ```
pub trait WatchStream<R>: Stream<Item = Result<WatchEvent<R>>> + Send + Unpin + 'static {
    /// The next event; `None` when the watch has ended. Dropping the future loses no event.
    fn next_event(&mut self) -> impl Future<Output = Option<Result<WatchEvent<R>>>> + Send
    where
        Self: Sized,
    {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context))
    }
}

impl<R, S> WatchStream<R> for S where S: Stream<Item = Result<WatchEvent<R>>> + Send + Unpin + 'static {}

/// The object of a replace, under the name of the request.
///
/// # Errors
/// [`Error::BadRequest`] when the object has another name.
pub fn named<R: Resource>(name: &str, object: &R) -> Result<R> {
    let own = &object.metadata().name;
    if !own.is_empty() && R::normalize_name(own) != R::normalize_name(name) {
        let (own, name) = (short(own), short(name));
        let why = format!("the name of the object ({own}) does not match the name on the URL ({name})");
        return Err(Error::bad_request("metadata.name", why));
    }
    let mut object = object.clone();
    object.metadata_mut().name = name.to_owned();
    Ok(object)
}

/// The object of a write, in the namespace of the handle, where that has one.
///
/// # Errors
/// [`Error::BadRequest`] when the object is in another namespace.
pub fn placed<R: Resource>(namespace: &str, mut object: R) -> Result<R> {
    let own = &mut object.metadata_mut().namespace;
    if own.is_empty() {
        namespace.clone_into(own);
    } else if !namespace.is_empty() && own != namespace {
        let (own, namespace) = (short(own), short(namespace));
        let why = format!("the namespace of the object ({own}) does not match the namespace on the URL ({namespace})");
        return Err(Error::bad_request("metadata.namespace", why));
    }
    Ok(object)
}

/// One consistent snapshot, or a page of it, sorted by namespace, then name.
#[derive(Clone, Debug, PartialEq)]
pub struct List<R> {
    /// The snapshot's version, and where the next page starts.
    pub metadata: ListMeta,
    /// The objects.
    pub items: Vec<Arc<R>>,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<R> {
    /// The object is new, or has come to match the selector.
    Added(Arc<R>),
    /// The object has changed.
    Modified(Arc<R>),
    /// The object is gone, or has ceased to match the selector: its last state, with the version of
    /// the change.
    Deleted(Arc<R>),
    /// Nothing happened up to this version.
    Bookmark(Bookmark),
}

/// How far a watch has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bookmark {
    /// The version up to which everything was sent.
    pub resource_version: String,
    /// Whether this marks the end of the initial events.
    pub initial_events_end: bool,
}

/// The annotation of the bookmark that ends the initial events, as in Kubernetes (KEP-3157).
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl<R: Resource> WatchEvent<R> {
    /// The object, where the event has one.
    #[must_use]
    pub fn object(&self) -> Option<&Arc<R>> {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => Some(object),
            Self::Bookmark(_) => None,
        }
    }

    /// The version to resume from after this event.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => &object.metadata().resource_version,
            Self::Bookmark(bookmark) => &bookmark.resource_version,
        }
    }
}

impl Bookmark {
    /// The metadata of the object that stands for the bookmark on the wire.
    #[must_use]
    pub fn to_metadata(&self) -> ObjectMeta {
        let mut metadata = ObjectMeta { resource_version: self.resource_version.clone(), ..ObjectMeta::default() };
        if self.initial_events_end {
            metadata.annotations.insert(INITIAL_EVENTS_END.to_owned(), "true".to_owned());
        }
        metadata
    }

    /// The bookmark that an object on the wire stands for.
    #[must_use]
    pub fn from_metadata(metadata: &ObjectMeta) -> Self {
        Self {
            resource_version: metadata.resource_version.clone(),
            initial_events_end: metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Gpu;

    fn gpu(namespace: &str, name: &str) -> Gpu {
        Gpu { metadata: ObjectMeta::named(name).with_namespace(namespace), ..Gpu::default() }
    }

    #[test]
    fn a_replace_takes_the_name_of_the_request_unless_the_object_has_another() {
        assert_eq!(named("gpu-0", &gpu("", "")).unwrap().metadata.name, "gpu-0");
        assert_eq!(named("gpu-0", &gpu("", "GPU-0")).unwrap().metadata.name, "gpu-0");
        let error = named("gpu-1", &gpu("", "gpu-0")).unwrap_err().to_string();
        assert_eq!(error, "metadata.name: the name of the object (gpu-0) does not match the name on the URL (gpu-1)");
    }

    #[test]
    fn a_write_takes_the_namespace_of_the_handle_unless_the_object_has_another() {
        assert_eq!(placed("left", gpu("", "x")).unwrap().metadata.namespace, "left");
        assert_eq!(placed("left", gpu("left", "x")).unwrap().metadata.namespace, "left");
        assert_eq!(placed("", gpu("left", "x")).unwrap().metadata.namespace, "left");
        let error = placed("right", gpu("left", "x")).unwrap_err();
        assert!(matches!(error, Error::BadRequest { field, .. } if field == "metadata.namespace"));
    }
}
