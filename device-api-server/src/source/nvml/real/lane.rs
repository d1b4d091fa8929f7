// SPDX-License-Identifier: Apache-2.0
//! Threads for calls that may hang: one lane, one thread, one call at a time.
//!
//! A call into the driver cannot be cancelled, so it must not run where anybody else has work to do: not on
//! a worker of the async runtime, nor in its blocking pool, which is bounded and waited for at exit.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::source::nvml::driver::DriverError;

/// How many calls may wait for one lane; a source makes two or three at a time.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that makes one call after another. Nothing waits for it: when the lane is dropped it ends after
/// the calls that it has, or with the process.
pub(super) struct Lane {
    jobs: mpsc::SyncSender<Job>,
    /// Never joined: what hangs in the driver cannot be.
    thread: thread::JoinHandle<()>,
    running: Arc<watch::Sender<Option<Running>>>,
    next: AtomicU64,
}

/// The call that the thread is in.
#[derive(Clone, Copy, Debug)]
struct Running {
    id: u64,
    call: &'static str,
    /// Whether its caller gave up waiting.
    abandoned: bool,
    /// Until when it does what it was asked to, however long that is.
    due: Instant,
}

impl Running {
    fn hung(self) -> DriverError {
        DriverError::Hung { call: self.call }
    }
}

impl Lane {
    fn start(name: &str) -> Result<Self, DriverError> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        // Linux shows 15 bytes of it, and a NUL would be a panic.
        let name: String = format!("nvml {name}").chars().filter(|at| *at != '\0').take(15).collect();
        let run = move || {
            for job in queue {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a call into NVML panicked");
                }
            }
        };
        let started = thread::Builder::new().name(name).spawn(run);
        let thread =
            started.map_err(|error| DriverError::Other { call: "starting a thread", why: error.to_string() })?;
        Ok(Self { jobs, thread, running: Arc::new(watch::Sender::new(None)), next: AtomicU64::new(0) })
    }

    /// Makes a call on this lane's thread and waits for its answer.
    ///
    /// Where the caller stops waiting for a call that has begun, this lane hangs until that call returns:
    /// whoever waits for it or comes to it is told so at once, and a call that has not begun is not made.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.call_lasting(call, Duration::ZERO, work).await
    }

    /// As [`Self::call`], for a call that is asked to last: its caller may go before, and nothing hangs yet.
    pub(super) async fn call_lasting<T: Send + 'static>(
        &self,
        call: &'static str,
        lasting: Duration,
        work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        if let Some(running) = self.hung() {
            return Err(running.hung());
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting { id, answered, running: &self.running };
        let running = Arc::clone(&self.running);
        let job = Box::new(move || {
            let begin = Running { id, call, abandoned: false, due: Instant::now() + lasting };
            // Under the lock that `Waiting` takes to give up: it has either done so before, or sees this.
            let begun = running.send_if_modified(|running| {
                let wanted = !answer.is_closed();
                *running = wanted.then_some(begin);
                wanted
            });
            if !begun {
                return;
            }
            let end = End(&running);
            let result = work();
            drop(end);
            // The caller may have gone in the meantime, and has no use for it then.
            let _ = answer.send(result);
        });
        self.jobs.try_send(job).map_err(|refused| {
            let why = match refused {
                mpsc::TrySendError::Full(_) => "too many calls wait for it",
                mpsc::TrySendError::Disconnected(_) => "its thread has ended",
            };
            DriverError::Other { call, why: why.to_owned() }
        })?;
        tokio::select! {
            biased;
            answer = &mut waiting.answered => {
                answer.unwrap_or_else(|_| Err(DriverError::Other { call, why: "it panicked".to_owned() }))
            }
            running = self.hangs() => Err(running.hung()),
        }
    }

    /// Has this done by the thread, after what it has to do already, without waiting for it.
    pub(super) fn post(&self, work: impl FnOnce() + Send + 'static) {
        if self.jobs.try_send(Box::new(work)).is_err() {
            tracing::warn!("a call into NVML was not made: too many wait");
        }
    }

    /// The call that hangs, if one does.
    fn hung(&self) -> Option<Running> {
        self.running.borrow().filter(|running| running.abandoned && running.due <= Instant::now())
    }

    /// Waits until a call hangs.
    async fn hangs(&self) -> Running {
        let mut changes = self.running.subscribe();
        loop {
            if let Some(running) = self.hung() {
                return running;
            }
            let due = changes.borrow_and_update().filter(|running| running.abandoned).map(|running| running.due);
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = is_due => {}
                // It cannot be closed, since this lane has the other end.
                _ = changes.changed() => {}
            }
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("running", &*self.running.borrow()).finish_non_exhaustive()
    }
}

/// Says that the thread is in no call any more, also where that call panicked.
struct End<'a>(&'a watch::Sender<Option<Running>>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// A caller that waits; when it goes while its call runs, that call is abandoned.
struct Waiting<'a, T> {
    id: u64,
    answered: oneshot::Receiver<Result<T, DriverError>>,
    running: &'a watch::Sender<Option<Running>>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.running.send_if_modified(|running| {
            self.answered.close();
            let mine = running.as_mut().filter(|running| running.id == self.id);
            mine.is_some_and(|running| {
                running.abandoned = true;
                true
            })
        });
    }
}

/// The lanes, by name; each is started by its first call.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    // A plain lock: held for a look-up, never over a call.
    by_name: Mutex<HashMap<String, Arc<Lane>>>,
}

impl Lanes {
    pub(super) fn get(&self, name: &str) -> Result<Arc<Lane>, DriverError> {
        let mut lanes = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        match lanes.get(name) {
            Some(lane) if !lane.thread.is_finished() => return Ok(Arc::clone(lane)),
            Some(_) => tracing::error!(lane = name, "a thread that calls NVML has ended: starting another"),
            None => {}
        }
        let lane = Arc::new(Lane::start(name)?);
        lanes.insert(name.to_owned(), Arc::clone(&lane));
        Ok(lane)
    }

    /// Lets go of the lanes that do not hang, save these, so that GPUs which are gone keep no thread.
    pub(super) fn forget_all_but(&self, names: &[&str]) {
        let mut lanes = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|name, lane| names.contains(&name.as_str()) || lane.hung().is_some());
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
