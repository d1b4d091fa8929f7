// SPDX-License-Identifier: Apache-2.0
//! What writers do again and again, on any handle.

pub(crate) mod conditions;
mod entry;
mod retry;

use std::future::Future;
use std::sync::Arc;

use device_api_core::Result;
use device_api_core::registry::{Part, PatchParams, PostParams, Verbs};
use device_api_core::resource::{Condition, ObjectMeta, Resource};

pub use self::entry::{Entry, Outcome};
pub use self::retry::retry_on_conflict;

/// What writers do again and again, on any handle with the [`Verbs`]: [`Api`](crate::Api), a registry in process.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::registry::{Ledger, LedgerOptions};
/// # use device_api_core::resource::GpuStrategy;
/// # let storage = device_api_store_memory::Memory::new().open()?;
/// # let gpus = Ledger::open(Box::new(storage), LedgerOptions::default()).await?.registry(GpuStrategy).await?;
/// use device_api_client::VerbsExt as _;
/// use device_api_core::registry::PostParams;
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu, RecommendedAction};
///
/// let params = PostParams::default().manager("thermal-monitor");
/// gpus.entry("gpu-0").or_create(&params, Gpu::default).await?;
///
/// // One condition of many: those of others stay as they are, and there is no conflict.
/// let hot = Condition::new("ThermalHealthy", ConditionStatus::False).with_reason("Slowdown");
/// gpus.set_condition("gpu-0", &params, &hot).await?;
///
/// let gpu = gpus
///     .modify_status("gpu-0", &params, |status| status.recommended_action = Some(RecommendedAction::RestartBm))
///     .await?;
/// assert_eq!(gpu.status.conditions[0].reason, "Slowdown");
/// assert!(gpu.status.conditions[0].last_transition_time.is_some());
/// # Ok(()) }
/// ```
pub trait VerbsExt<R: Resource>: Verbs<R> {
    /// Reads an object, changes its status and replaces that at the version that was read; after a conflict it does so
    /// again, as [`Verbs::modify`] says, which also has a change that can see more, or fail.
    ///
    /// # Errors
    /// As [`Verbs::modify`].
    fn modify_status<F>(
        &self,
        name: &str,
        params: &PostParams,
        mut change: F,
    ) -> impl Future<Output = Result<Arc<R>>> + Send
    where
        F: FnMut(&mut R::Status) + Send,
    {
        self.modify(Part::Status, name, params, move |object| {
            change(object.status_mut());
            Ok(())
        })
    }

    /// Sets one condition, as [`Self::set_conditions`].
    ///
    /// # Errors
    /// As [`Self::set_conditions`].
    fn set_condition(
        &self,
        name: &str,
        params: &PatchParams,
        condition: &Condition,
    ) -> impl Future<Output = Result<Arc<R>>> + Send {
        self.set_conditions(name, params, std::slice::from_ref(condition))
    }

    /// Sets these conditions and leaves those of other types as they are, in one strategic merge patch: nothing is
    /// read before it, and there is no conflict. What is set already is not written again.
    ///
    /// Each condition becomes what is given, so that one without a reason loses the reason that it had. Its transition
    /// time is the server's part: it changes when the status does. A time that is given counts only then.
    ///
    /// # Errors
    /// [`Error::NotFound`](device_api_core::Error::NotFound), [`Error::Invalid`](device_api_core::Error::Invalid),
    /// [`Error::TooLarge`](device_api_core::Error::TooLarge) over 64 KiB of conditions;
    /// [`Error::BadRequest`](device_api_core::Error::BadRequest) when the resource type's conditions are no map by type.
    fn set_conditions(
        &self,
        name: &str,
        params: &PatchParams,
        conditions: &[Condition],
    ) -> impl Future<Output = Result<Arc<R>>> + Send {
        async move {
            let patch = conditions::patch::<R>(conditions, &[])?;
            self.patch_status(name, params, &patch).await
        }
    }

    /// The object of this name, whether it is there yet or not; see [`Entry`].
    fn entry(&self, name: &str) -> Entry<R, Self> {
        Entry::new(self.clone(), name)
    }

    /// Makes sure that there is an object of this name and that it is as `change` makes it: it is created from what
    /// `change` makes of an empty one, or changed where it differs.
    ///
    /// As [`Entry::or_create`] says.
    ///
    /// # Errors
    /// As [`Entry::or_create`].
    fn create_or_update<F>(
        &self,
        name: &str,
        params: &PostParams,
        mut change: F,
    ) -> impl Future<Output = Result<Outcome<R>>> + Send
    where
        F: FnMut(&mut R) + Send,
    {
        let as_wanted = move |there: Option<R>| {
            let empty = || R::from_parts(ObjectMeta::default(), R::Spec::default(), R::Status::default());
            let mut object = there.unwrap_or_else(empty);
            change(&mut object);
            object
        };
        async move { entry::write(self, name, params, as_wanted).await }
    }
}

impl<R: Resource, V: Verbs<R>> VerbsExt<R> for V {}
