// SPDX-License-Identifier: Apache-2.0
//! Holds a lease: renews it in time whatever else its provider does, and tells whether it is held.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use device_api_core::lease::{AcquireLease, Lease, LeaseState, LeaseVerbs, unique_identity};
use device_api_core::{Error, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bounded::bounded;
use crate::watcher::{Backoff, Pauses};

/// How often a lease is renewed in its duration; a renewal that takes longer than until the next one has failed.
const RENEWALS: u32 = 3;
/// The longest pause after a renewal that failed. A server that is back must not wait long for its providers.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Holds a lease: renews it three times in its duration for as long as [`Self::hold`] runs, which is to be a future of its own, beside
/// whatever the provider does. So no call that is slow or hangs outlives the lease.
///
/// It has a [holder's identity](AcquireLease::holder_identity) of its own, by which it finds its lease again when an answer was lost. A
/// renewal that hangs is given up and made anew. Whether the lease is held is what its [`Tenure`] tells, by a clock of this process:
/// one that could not be renewed in time is over here no later than on the server.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::lease::Leases;
/// # use device_api_core::registry::{Ledger, LedgerOptions};
/// # let storage = device_api_store_memory::Memory::new().open()?;
/// # let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await?;
/// # let leases = Leases::open(&ledger).await?;
/// use device_api_client::LeaseHolder;
/// use device_api_core::lease::AcquireLease;
///
/// let request = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]).take_over();
/// let mut holder = LeaseHolder::new(leases, request);
/// let mut tenure = holder.tenure();
/// let work = async move {
///     let number = tenure.confirm().await;
///     tokio::select! {
///         () = tenure.ended(number) => println!("writes nothing more"),
///         () = async { /* write */ } => println!("written"),
///     }
/// };
/// tokio::select! {
///     why = holder.hold() => println!("lost: {why}"),
///     () = work => holder.release().await?,
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LeaseHolder<L> {
    leases: L,
    /// By id; without one until the server has told of one, and from when it has forgotten the lease until it has told of another.
    request: AcquireLease,
    stands_by: bool,
    term: Term,
    asks: watch::Receiver<u64>,
    pauses: Pauses,
    /// The log says already that it cannot be renewed, or that another has it.
    is_said: bool,
    /// When the renewal began that was answered last.
    renewed: Option<Instant>,
}

/// Tells whether a lease is held, by its [`LeaseHolder`].
#[derive(Clone, Debug)]
pub struct Tenure {
    known: watch::Receiver<Known>,
    asks: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    is_held: bool,
    /// How often it came to be held.
    number: u64,
    /// The last ask that a renewal has answered which began after it.
    confirmed: u64,
}

/// For how long the lease is held at least.
#[derive(Debug)]
struct Term {
    name: String,
    until: Option<Instant>,
    known: watch::Sender<Known>,
    asks: watch::Sender<u64>,
}

impl<L: LeaseVerbs> LeaseHolder<L> {
    /// A holder that has asked for nothing yet.
    ///
    /// A request to [take over](AcquireLease::take_over) holds until the first answer: from then on whoever is faster is not replaced.
    #[must_use]
    pub fn new(leases: L, request: AcquireLease) -> Self {
        let request =
            if request.holder_identity.is_empty() { request.with_holder_identity(unique_identity()) } else { request };
        let (asks, asked) = watch::channel(0);
        let term = Term { name: request.name.clone(), until: None, known: watch::Sender::default(), asks };
        let pauses = Backoff::default().with_longest(LONGEST_PAUSE.min(request.duration / RENEWALS)).pauses();
        Self { leases, request, stands_by: false, term, asks: asked, pauses, is_said: false, renewed: None }
    }

    /// Stands by where another holds the lease, or has one of the condition types, and acquires it once it is free.
    #[must_use]
    pub fn standing_by(mut self) -> Self {
        self.stands_by = true;
        self
    }

    /// What tells whether the lease is held. It tells nothing while [`Self::hold`] does not run.
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        Tenure { known: self.term.known.subscribe(), asks: self.term.asks.clone() }
    }

    /// Acquires the lease, once.
    ///
    /// # Errors
    /// Those of [`LeaseVerbs::acquire`]; [`Error::Unavailable`] when there is no answer within the lease's duration.
    pub async fn acquire(&mut self) -> Result<()> {
        let (begun, asked) = (Instant::now(), *self.asks.borrow_and_update());
        let lease = bounded(self.request.duration, self.leases.acquire(&self.request)).await?;
        self.note(lease, begun, asked);
        Ok(())
    }

    /// Holds the lease, which it acquires where that was not done yet, and returns why it is lost for good: another has it, or the
    /// server refuses the request. One that [stands by](Self::standing_by) never does.
    ///
    /// Dropped, the lease is left to expire, unless it is [given back](Self::release).
    pub async fn hold(&mut self) -> Error {
        let interval = self.request.duration / RENEWALS;
        let mut next = self.renewed.map_or_else(Instant::now, |renewed| renewed + jittered(interval));
        loop {
            let asks = &mut self.asks;
            let wait = async {
                tokio::select! {
                    () = sleep_until(next) => {}
                    // The other end is in the term.
                    Ok(()) = asks.changed() => {}
                }
            };
            self.term.meanwhile(wait).await;
            next = match self.renew(interval).await {
                Ok(next) => next,
                Err(lost) => return lost,
            };
        }
    }

    /// Renews the lease once, and returns when to do so again, or why it is lost for good.
    async fn renew(&mut self, interval: Duration) -> Result<Instant> {
        let (begun, asked) = (Instant::now(), *self.asks.borrow_and_update());
        let renewal = bounded(interval, self.leases.acquire(&self.request));
        let error = match self.term.meanwhile(renewal).await {
            Ok(lease) => {
                self.note(lease, begun, asked);
                return Ok(begun + jittered(interval));
            }
            Err(error) => error,
        };
        let name = &self.request.name;
        if error.is_not_found() && self.request.id.is_some() {
            // The server has a new store, or somebody cleaned up.
            self.request.id = None;
            self.term.end();
            return Ok(Instant::now());
        }
        if error.is_conflict() && self.stands_by {
            if !self.is_said || self.request.id.is_some() {
                tracing::warn!(lease = name, %error, "another process has the lease: standing by");
            }
            (self.request.id, self.request.take_over, self.is_said) = (None, false, true);
            self.term.end();
            return Ok(Instant::now() + jittered(interval));
        }
        if !self.stands_by && (error.is_conflict() || error.is_invalid() || error.is_forbidden()) {
            tracing::warn!(lease = name, error = &error as &dyn StdError, "the lease is lost");
            self.term.end();
            return Err(error);
        }
        let pause = self.pauses.next_pause();
        if self.is_said {
            tracing::debug!(lease = name, error = &error as &dyn StdError, ?pause, "still cannot renew the lease");
        } else {
            tracing::warn!(lease = name, error = &error as &dyn StdError, "cannot renew the lease now: trying again");
        }
        self.is_said = true;
        Ok(Instant::now() + pause)
    }

    /// Notes the answer to a request that began then, after so many asks.
    fn note(&mut self, lease: Lease, begun: Instant, asked: u64) {
        let has_expired = lease.state == LeaseState::Expired;
        let is_new = has_expired || self.request.id.as_ref() != Some(&lease.id);
        if has_expired {
            tracing::warn!(lease = lease.name, "the lease had expired and is held again: declaring everything anew");
        } else if is_new || self.is_said {
            tracing::info!(lease = lease.name, "holds the lease");
        }
        self.request.id = Some(lease.id);
        (self.request.take_over, self.is_said, self.renewed) = (false, false, Some(begun));
        self.pauses.reset();
        self.term.begin(begun + self.request.duration, is_new, asked);
    }

    /// Gives the lease back, to be called when [`Self::hold`] was dropped. Conditions stay as they are.
    ///
    /// # Errors
    /// Those of [`LeaseVerbs::release`]; [`Error::Unavailable`] when there is no answer within the lease's duration.
    pub async fn release(mut self) -> Result<()> {
        if self.request.id.is_none() {
            // It may have one that it was not told of.
            self.acquire().await?;
        }
        self.term.end();
        let release = self.leases.release(&self.request.name, self.request.id.as_deref());
        bounded(self.request.duration, release).await
    }
}

impl Term {
    /// Waits for this, and says so when the lease is over meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let until = self.until;
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = over => {
                    tracing::warn!(lease = self.name, "the lease could not be renewed in time: nothing is written until it is");
                    self.end();
                }
            }
        }
    }

    fn begin(&mut self, until: Instant, is_new: bool, asked: u64) {
        self.until = Some(until);
        self.known.send_if_modified(|known| {
            let news = is_new || !known.is_held;
            known.number += u64::from(news);
            known.is_held = true;
            std::mem::replace(&mut known.confirmed, asked) != asked || news
        });
    }

    fn end(&mut self) {
        self.until = None;
        self.known.send_if_modified(|known| std::mem::replace(&mut known.is_held, false));
    }
}

impl Tenure {
    /// Whether the lease is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.known.borrow().is_held
    }

    /// How often the lease came to be held. A higher number than before means that it was not for a while: what was said then may not
    /// stand any more, and all is to be said anew.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.known.borrow().number
    }

    /// Waits until the lease has been renewed from now on, and returns its [number](Self::number): whoever was replaced before this call
    /// does not come back from it. Forever, where the lease is lost.
    pub async fn confirm(&mut self) -> u64 {
        let mut ask = 0;
        self.asks.send_modify(|asks| {
            *asks += 1;
            ask = *asks;
        });
        let confirmed = self.known.wait_for(|known| known.is_held && known.confirmed >= ask).await;
        match confirmed.map(|known| known.number) {
            Ok(number) => number,
            // There is no holder any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the lease of this [number](Self::number) is not held any more: from then on nothing is to be written that was begun
    /// under it.
    pub async fn ended(&self, number: u64) {
        let mut known = self.known.clone();
        let _ = known.wait_for(|known| !known.is_held || known.number != number).await;
    }

    /// Waits until the lease comes to be held anew after the one of this [number](Self::number).
    pub async fn renumbered(&self, number: u64) {
        let mut known = self.known.clone();
        if known.wait_for(|known| known.is_held && known.number != number).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Up to a tenth less, so that what began together does not stay together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - fastrand::f64() / 10.0)
}
