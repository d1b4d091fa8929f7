// SPDX-License-Identifier: Apache-2.0
//! Waiting until an object is as one wants it, as kube-rs' `runtime::wait`.

pub mod conditions;

use std::sync::Arc;
use std::time::Duration;

use device_api_core::registry::Verbs;
use device_api_core::resource::{Key, Resource};
use device_api_core::{Error, Result};

use crate::watcher::{Advance, Config, Event, Watcher};

/// What is waited for: something about an object, or about its absence.
///
/// A closure is one, [`conditions`] has some, and they can be put together.
///
/// ```
/// use device_api_client::core::resource::{ConditionStatus, Gpu};
/// use device_api_client::wait::Condition;
/// use device_api_client::wait::conditions::{has_condition, is_deleted};
///
/// let known = |gpu: Option<&Gpu>| gpu.is_some_and(|gpu| !gpu.spec.uuid.is_empty());
/// let over = known.and(has_condition("Ready", ConditionStatus::True).not()).or(is_deleted("5b1c"));
/// assert!(over.is_met(None));
/// assert!(!known.is_met(Some(&Gpu::default())));
/// ```
pub trait Condition<R> {
    /// Whether it is met by this object, or by there being none.
    fn is_met(&self, object: Option<&R>) -> bool;

    /// Both are met at once.
    fn and<C: Condition<R>>(self, other: C) -> And<Self, C>
    where
        Self: Sized,
    {
        And(self, other)
    }

    /// One of the two is met, or both.
    fn or<C: Condition<R>>(self, other: C) -> Or<Self, C>
    where
        Self: Sized,
    {
        Or(self, other)
    }

    /// It is not met.
    fn not(self) -> Not<Self>
    where
        Self: Sized,
    {
        Not(self)
    }
}

impl<R, F: Fn(Option<&R>) -> bool> Condition<R> for F {
    fn is_met(&self, object: Option<&R>) -> bool {
        self(object)
    }
}

/// Two conditions at once: [`Condition::and`].
#[derive(Clone, Copy, Debug)]
pub struct And<A, B>(A, B);

/// One condition of two: [`Condition::or`].
#[derive(Clone, Copy, Debug)]
pub struct Or<A, B>(A, B);

/// The opposite of a condition: [`Condition::not`].
#[derive(Clone, Copy, Debug)]
pub struct Not<A>(A);

impl<R, A: Condition<R>, B: Condition<R>> Condition<R> for And<A, B> {
    fn is_met(&self, object: Option<&R>) -> bool {
        self.0.is_met(object) && self.1.is_met(object)
    }
}

impl<R, A: Condition<R>, B: Condition<R>> Condition<R> for Or<A, B> {
    fn is_met(&self, object: Option<&R>) -> bool {
        self.0.is_met(object) || self.1.is_met(object)
    }
}

impl<R, A: Condition<R>> Condition<R> for Not<A> {
    fn is_met(&self, object: Option<&R>) -> bool {
        !self.0.is_met(object)
    }
}

/// Why what was waited for did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It took too long.
    #[error(
        "{resource} {name:?} has not come to the wanted state within {timeout:?}: check what should bring it there"
    )]
    TimedOut {
        /// The resource's plural, such as `gpus`.
        resource: String,
        /// The object's name.
        name: String,
        /// How long it was waited for.
        timeout: Duration,
        /// What went wrong last on the way to the server, if it could not be reached at the end.
        source: Option<Error>,
    },
    /// It cannot be waited for.
    #[error("cannot wait for {resource} {name:?}")]
    Refused {
        /// The resource's plural.
        resource: String,
        /// The object's name.
        name: String,
        /// Why.
        source: Error,
    },
}

/// Waits until an object meets a condition, and returns it as it was then; `None` where it was its absence
/// that met it.
///
/// It looks at each state that the server tells of, and goes on through everything that a
/// [`Watcher`] goes through, restarts included.
///
/// ```
/// use std::time::Duration;
///
/// use device_api_client::core::registry::{DeleteParams, Verbs};
/// use device_api_client::core::resource::Gpu;
/// use device_api_client::wait::{conditions, wait_for};
///
/// async fn delete(gpus: impl Verbs<Gpu>) -> Result<(), Box<dyn std::error::Error>> {
///     let gpu = gpus.get("gpu-0").await?;
///     gpus.delete("gpu-0", &DeleteParams::default().uid(&gpu.metadata.uid)).await?;
///     wait_for(&gpus, "gpu-0", conditions::is_deleted(&gpu.metadata.uid), Duration::from_secs(5)).await?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// [`WaitError::TimedOut`], and [`WaitError::Refused`] for a name that no object can have and for what else no
/// retry helps with.
pub async fn wait_for<R, V, C>(
    objects: &V,
    name: &str,
    condition: C,
    timeout: Duration,
) -> Result<Option<Arc<R>>, WaitError>
where
    R: Resource,
    V: Verbs<R>,
    C: Condition<R>,
{
    let (resource, owned) = (R::PLURAL.to_owned(), name.to_owned());
    let key = match Key::of::<R>(objects.namespace(), name) {
        Ok(key) => key,
        Err(source) => return Err(WaitError::Refused { resource, name: owned, source }),
    };
    // Of a handle to all namespaces, one object is asked for in `default`.
    let objects = objects.namespaced(key.namespace());
    let watcher = Watcher::new(objects, Config::default().fields(format!("metadata.name={}", key.name())));
    let mut failure = None;
    match tokio::time::timeout(timeout, until_met(watcher, condition, &mut failure)).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(source)) => Err(WaitError::Refused { resource, name: owned, source }),
        Err(_) => Err(WaitError::TimedOut { resource, name: owned, timeout, source: failure }),
    }
}

/// Waits without an end; `failure` is what went wrong last, unless the server was heard of since.
async fn until_met<R, V, C>(
    mut watcher: Watcher<R, V>,
    condition: C,
    failure: &mut Option<Error>,
) -> Result<Option<Arc<R>>>
where
    R: Resource,
    V: Verbs<R>,
    C: Condition<R>,
{
    let mut found = false;
    loop {
        match watcher.advance().await {
            Advance::Heard => *failure = None,
            Advance::Unheard => {}
            Advance::Stopped => {
                return Err(failure.take().unwrap_or_else(|| Error::internal("the watch ended without a reason")));
            }
        }
        while let Some(event) = watcher.take_event() {
            let object = match event {
                Err(error) => {
                    *failure = Some(error);
                    continue;
                }
                Ok(Event::Init) => {
                    found = false;
                    continue;
                }
                // Whether there is none is known at the end only.
                Ok(Event::InitDone) if found => continue,
                Ok(Event::InitDone | Event::Delete(_)) => None,
                Ok(Event::InitApply(object) | Event::Apply(object)) => Some(object),
            };
            found = object.is_some();
            if condition.is_met(object.as_deref()) {
                return Ok(object);
            }
        }
    }
}
