// SPDX-License-Identifier: Apache-2.0
//! The plan: which call of which verb fails, and how.

use std::time::Duration;

use futures_core::Stream;
use tokio::sync::watch;

use super::watch::FaultyWatch;
use crate::Error;
use crate::error::Cause;
use crate::testing::schedule::Schedule;

/// A verb whose calls can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// A read of one object.
    Get,
    /// A list, or one page of it.
    List,
    /// The start of a watch.
    Watch,
    /// A create.
    Create,
    /// A replacement of labels, annotations and spec.
    Replace,
    /// A replacement of the status.
    ReplaceStatus,
    /// A patch of labels, annotations and spec.
    Patch,
    /// A patch of the status.
    PatchStatus,
    /// A delete.
    Delete,
    /// An acquisition of a lease, or its renewal.
    AcquireLease,
    /// A release of a lease.
    ReleaseLease,
    /// A list of leases.
    ListLeases,
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFault {
    /// It does nothing and fails with this.
    Fail(Error),
    /// It does what it should, and then the connection is lost before the reply is there: the caller
    /// gets the [`Error::Unavailable`] of [`CallFaults::lost`].
    LoseReply,
    /// It waits this long, on tokio's timer, and then does what it should.
    Delay(Duration),
    /// It hangs until [`CallFaults::release`], and then does what it should.
    Hang,
}

/// How a watch that has started goes wrong. Bookmarks count as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchFault {
    /// After so many events the connection is lost: the last item is [`CallFaults::lost`].
    CutAfter(usize),
    /// After so many events the server ends it well, as it does after its longest time.
    EndAfter(usize),
    /// After so many events nothing comes any more, as from a peer that froze. What happens is lost to
    /// it until it is cut, or the server stops.
    StallAfter(usize),
}

/// Says which calls fail. Clones are the same plan, and a plan may serve many handles: calls are
/// counted together.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::Error;
/// # use device_api_core::registry::{Ledger, LedgerOptions, ListParams, Verbs as _};
/// # use device_api_core::resource::{Gpu, GpuStrategy};
/// use device_api_core::testing::{CallFault, CallFaults, FaultyVerbs, Verb};
/// # let ledger = Ledger::open(Box::new(device_api_store_memory::Memory::new().open()?), LedgerOptions::default()).await?;
/// # let registry = ledger.registry(GpuStrategy).await?;
///
/// let faults = CallFaults::new();
/// let gpus = FaultyVerbs::new(registry, &faults);
/// faults.nth(Verb::List, 2, CallFault::Fail(CallFaults::lost()));
/// assert!(gpus.list(&ListParams::default()).await.is_ok());
/// assert_eq!(gpus.list(&ListParams::default()).await, Err(CallFaults::lost()));
/// assert!(gpus.list(&ListParams::default()).await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CallFaults {
    calls: Schedule<Verb, CallFault>,
    watches: Schedule<(), WatchFault>,
    cuts: watch::Sender<u64>,
    losses: watch::Sender<u64>,
}

impl CallFaults {
    /// No faults yet.
    #[must_use]
    pub fn new() -> Self {
        let (cuts, losses) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { calls: Schedule::new(), watches: Schedule::new(), cuts, losses }
    }

    /// The next call of this verb fails.
    pub fn next(&self, verb: Verb, fault: CallFault) {
        self.nth(verb, 1, fault);
    }

    /// The `n`th call of this verb from now on fails; 1 is the next.
    pub fn nth(&self, verb: Verb, n: u64, fault: CallFault) {
        self.calls.nth(verb, n, fault);
    }

    /// Every call of this verb fails, until [`Self::clear`].
    pub fn always(&self, verb: Verb, fault: CallFault) {
        self.calls.always(verb, fault);
    }

    /// The next watch that starts goes wrong.
    pub fn next_watch(&self, fault: WatchFault) {
        self.nth_watch(1, fault);
    }

    /// The `n`th watch that starts from now on goes wrong; 1 is the next.
    pub fn nth_watch(&self, n: u64, fault: WatchFault) {
        self.watches.nth((), n, fault);
    }

    /// Every watch that starts goes wrong, until [`Self::clear`].
    pub fn every_watch(&self, fault: WatchFault) {
        self.watches.always((), fault);
    }

    /// No later call fails. Calls that hang go on hanging, and watches that started keep their fault.
    pub fn clear(&self) {
        self.calls.clear();
        self.watches.clear();
    }

    /// How many calls of this verb arrived, those that failed on purpose included.
    #[must_use]
    pub fn calls(&self, verb: Verb) -> u64 {
        self.calls.calls(verb)
    }

    /// Waits until a call hangs.
    pub async fn hanging(&self) {
        self.calls.hanging().await;
    }

    /// Lets the calls that hang go on.
    pub fn release(&self) {
        self.calls.release();
    }

    /// Cuts every watch that is open, as a lost connection does: its last item is [`Self::lost`].
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Loses every connection: calls in flight, those that hang too, fail with [`Self::lost`], and every
    /// watch that is open is cut. A write in flight may have happened.
    pub fn disconnect(&self) {
        self.losses.send_modify(|losses| *losses += 1);
        self.cut_watches();
    }

    /// What a caller sees of a connection that is lost.
    #[must_use]
    pub fn lost() -> Error {
        Error::Unavailable {
            why: "the connection to the server failed".to_owned(),
            retry_after: Some(Duration::from_secs(1)),
            cause: Cause::unknown(),
        }
    }

    /// Makes a call, with the faults that are planned for it. For handles and services of your own; for
    /// watches there is [`Self::watch`].
    ///
    /// # Errors
    /// Those of the call, and those that were planned.
    pub async fn call<T, E: From<Error>>(&self, verb: Verb, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut losses = self.losses.subscribe();
        tokio::select! {
            biased;
            Ok(()) = losses.changed() => Err(Self::lost().into()),
            outcome = self.faulty(verb, call) => outcome,
        }
    }

    async fn faulty<T, E: From<Error>>(&self, verb: Verb, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match self.calls.meet(verb) {
            None => call.await,
            Some(CallFault::Fail(error)) => Err(error.into()),
            Some(CallFault::LoseReply) => {
                call.await?;
                Err(Self::lost().into())
            }
            Some(CallFault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                call.await
            }
            Some(CallFault::Hang) => {
                self.calls.hang().await;
                call.await
            }
        }
    }

    /// Starts a watch, with the faults that are planned for its start and for its stream.
    ///
    /// # Errors
    /// Those of the call, and those that were planned.
    pub async fn watch<S, T, E>(
        &self,
        start: impl Future<Output = Result<S, E>>,
    ) -> Result<FaultyWatch<Result<T, E>>, E>
    where
        S: Stream<Item = Result<T, E>> + Send + Unpin + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let start = async {
            // From here on: what is cut before the server was asked is no watch yet.
            let cuts = self.cuts.subscribe();
            let stream = start.await?;
            Ok(FaultyWatch::new(stream, self.watches.meet(()), cuts))
        };
        self.call(Verb::Watch, start).await
    }
}

impl Default for CallFaults {
    fn default() -> Self {
        Self::new()
    }
}
