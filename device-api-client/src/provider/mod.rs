// SPDX-License-Identifier: Apache-2.0
//! A provider of conditions: it holds a lease and declares all that it says.

mod declaration;
mod declarer;

use std::sync::Arc;

use device_api_core::error::Cause;
use device_api_core::lease::{AcquireLease, LeaseVerbs};
use device_api_core::registry::Verbs;
use device_api_core::resource::Resource;
use device_api_core::{Error, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::declaration::Declaration;
use self::declarer::{Declared, Declarer, Progress, hold};
use crate::holder::LeaseHolder;

/// A provider of conditions: it holds a lease, and keeps its conditions on all objects as they were last declared.
///
/// A task [holds](LeaseHolder) the lease, and beside that compares what is stored to what is declared, three times in the lease's duration,
/// and writes what differs: so a declaration survives a server that was away or lost its store, a lease that expired meanwhile,
/// an object that is registered later, and a foreign hand. Writing that is slow or hangs keeps no lease from being renewed, nor the
/// other objects from being written; it is given up where the lease is not held any more. While the server is out of reach it
/// tries again, with pauses that grow up to that interval.
///
/// Dropped, it lets the lease expire, and the server then says that the provider is lost; [`Self::stop`] gives the
/// lease back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::lease::Leases;
/// # use device_api_core::registry::{Ledger, LedgerOptions, PostParams};
/// # use device_api_core::resource::{GpuStrategy, ObjectMeta};
/// # let storage = device_api_store_memory::Memory::new().open()?;
/// # let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await?;
/// # let (gpus, leases) = (ledger.registry(GpuStrategy).await?, Leases::open(&ledger).await?);
/// # gpus.create(&PostParams::default(), &Gpu { metadata: ObjectMeta::named("gpu-0"), ..Gpu::default() }).await?;
/// use device_api_client::{Declaration, Provider};
/// use device_api_core::lease::AcquireLease;
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu};
///
/// // One that was restarted takes over from its former self.
/// let request = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]).take_over();
/// let provider = Provider::start(gpus.clone(), leases, request).await?;
///
/// let hot = Condition::new("ThermalHealthy", ConditionStatus::False).with_reason("Slowdown");
/// provider.declare(Declaration::default().with::<Gpu>("gpu-0", [hot])?).await?;
/// assert_eq!(gpus.get("gpu-0").await?.status.conditions[0].reason, "Slowdown");
///
/// provider.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Provider {
    types: Vec<String>,
    declared: watch::Sender<Declared>,
    progress: watch::Receiver<Progress>,
    // One task, which is aborted when this is dropped.
    task: JoinSet<Result<()>>,
}

impl Provider {
    /// Acquires the lease and starts to keep it. Nothing is written until something is declared.
    ///
    /// Without [`take_over`](AcquireLease::take_over) a provider that was restarted waits for its own lease to expire. Each provider
    /// has a [holder's identity](AcquireLease::holder_identity) of its own, by which it finds its lease again when an answer was lost.
    ///
    /// # Errors
    /// Those of [`LeaseVerbs::acquire`]; [`Error::BadRequest`] when the request has an id or an identity. After
    /// [`Error::Unavailable`], also when there is no answer within the lease's duration, the lease may be held until it expires, by
    /// nobody: one more try needs `take_over`, or to wait.
    pub async fn start<R, V, L>(objects: V, leases: L, request: AcquireLease) -> Result<Self>
    where
        R: Resource,
        V: Verbs<R>,
        L: LeaseVerbs,
    {
        if request.id.is_some() {
            return Err(Error::bad_request("id", "a provider starts with a lease of its own: leave the id away"));
        }
        if !request.holder_identity.is_empty() {
            let why = "no two providers may have the same, so each makes its own: leave it away";
            return Err(Error::bad_request("holderIdentity", why));
        }
        let types = request.condition_types.clone();
        let mut holder = LeaseHolder::new(leases, request.clone());
        holder.acquire().await?;
        let (declared, declared_now) = watch::channel(Declared::default());
        let (progress_now, progress) = watch::channel(Progress::default());
        let declarer = Declarer::new(objects.namespaced(""), &request, holder.tenure());
        let mut task = JoinSet::new();
        task.spawn(hold(holder, declarer, declared_now, progress_now));
        Ok(Self { types, declared, progress, task })
    }

    /// Declares all that the provider says, in place of what it declared before, and waits until that is stored.
    ///
    /// A condition of the provider's types that is not declared is taken away, from every object. An object that is not
    /// there gets its conditions once it is. To drop the future takes nothing back.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when a condition is not of the lease's types, and nothing is declared then;
    /// [`Error::Conflict`] when the lease is [lost](Self::lost). What the server refuses for good, such as
    /// [`Error::Invalid`] for one of the conditions: all other objects are written then. While the server is out of reach this
    /// waits.
    pub async fn declare(&self, declaration: Declaration) -> Result<()> {
        declaration.check(&self.types)?;
        let declaration = Arc::new(declaration);
        let mut number = 0;
        self.declared.send_modify(|declared| {
            declared.number += 1;
            declared.declaration = Some(declaration);
            number = declared.number;
        });
        let mut progress = self.progress.clone();
        match progress.wait_for(|progress| progress.number >= number || progress.lost.is_some()).await {
            Ok(progress) if progress.number >= number => progress.refused.clone().map_or(Ok(()), Err),
            Ok(progress) => progress.lost.clone().map_or(Ok(()), Err),
            Err(_) => Err(gone()),
        }
    }

    /// Waits until the lease is lost for good, and says why: [`Error::Conflict`] when another took it over. From then on
    /// nothing is written.
    pub async fn lost(&self) -> Error {
        let mut progress = self.progress.clone();
        match progress.wait_for(|progress| progress.lost.is_some()).await {
            Ok(progress) => progress.lost.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// Ends what is being written, which has ten seconds for that, and gives the lease back. The conditions stay as they are.
    ///
    /// # Errors
    /// Those of [`LeaseVerbs::release`], and why the lease is lost where it is.
    pub async fn stop(self) -> Result<()> {
        let Self { declared, mut task, .. } = self;
        declared.send_modify(|declared| declared.is_over = true);
        match task.join_next().await {
            Some(Ok(released)) => released,
            Some(Err(panic)) => Err(Error::Internal { why: ENDED.to_owned(), cause: Cause::of(panic) }),
            None => Err(gone()),
        }
    }
}

const ENDED: &str = "the task that holds the lease has ended";

/// Only a panic ends the task before its provider.
fn gone() -> Error {
    Error::internal(ENDED)
}
