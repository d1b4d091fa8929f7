// SPDX-License-Identifier: Apache-2.0
//! Does what the state machine wants done, on a handle.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use device_api_core::Result;
use device_api_core::registry::{Verbs, WatchStream as _};
use device_api_core::resource::Resource;
use futures_core::Stream;
use tokio::time::Instant;

use super::{Config, Event, Machine, Step};

/// Follows the objects of a handle through everything that may happen to the server and the way there.
///
/// Errors are told and not fatal: it goes on after each by itself. It ends only where no retry helps, with
/// the error that says why, such as a selector that does not parse.
///
/// ```
/// use device_api_client::core::registry::Verbs;
/// use device_api_client::core::resource::Gpu;
/// use device_api_client::watcher::{Config, Event, Watcher};
///
/// async fn follow(gpus: impl Verbs<Gpu>) {
///     let mut watcher = Watcher::new(gpus, Config::default());
///     while let Some(event) = watcher.next().await {
///         match event {
///             Ok(Event::InitApply(gpu) | Event::Apply(gpu)) => println!("{} is there", gpu.metadata.name),
///             Ok(Event::Delete(gpu)) => println!("{} is gone", gpu.metadata.name),
///             Ok(Event::Init | Event::InitDone) => {}
///             Err(error) => println!("trying again: {error}"),
///         }
///     }
/// }
/// ```
pub struct Watcher<R: Resource, V: Verbs<R>> {
    objects: V,
    machine: Machine<R>,
    watch: Option<V::Watch>,
    silence: Duration,
    /// When the server was last heard of, or first asked after a pause.
    heard: Instant,
    /// When the present pause ends: kept here, so that whoever drops the future does not prolong it.
    pause_end: Option<Instant>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// The server said something.
    Heard,
    /// It did not.
    Unheard,
    /// It is of no use to go on.
    Stopped,
}

impl<R: Resource, V: Verbs<R>> Watcher<R, V> {
    /// Follows the objects of this handle, of its namespace.
    #[must_use]
    pub fn new(objects: V, config: Config) -> Self {
        let silence = config.silence;
        let machine = Machine::new(config);
        Self { objects, machine, watch: None, silence, heard: Instant::now(), pause_end: None }
    }

    /// What happened next; `None` where no retry helps. Dropping the future loses no event; a request on its
    /// way is made again.
    pub async fn next(&mut self) -> Option<Result<Event<R>>> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            if self.advance().await == Advance::Stopped {
                return None;
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event<R>>> + Send {
        futures_util::stream::unfold(self, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        })
    }

    /// What happened already and is not yet told.
    pub(crate) fn take_event(&mut self) -> Option<Result<Event<R>>> {
        self.machine.next_event()
    }

    /// Takes one step.
    pub(crate) async fn advance(&mut self) -> Advance {
        // However fast a server in this process is, others come to their turn.
        tokio::task::consume_budget().await;
        match self.machine.step() {
            Step::List(params) => {
                self.watch = None;
                let reply = unless_silent(self.heard, self.silence, self.objects.list(&params)).await;
                self.hand_over(reply, Machine::listed)
            }
            Step::Watch(params) => {
                let reply = unless_silent(self.heard, self.silence, self.objects.watch(&params)).await;
                let reply = reply.map(|reply| reply.map(|watch| self.watch = Some(watch)));
                self.hand_over(reply, Machine::opened)
            }
            Step::Read => {
                let read = async {
                    match &mut self.watch {
                        Some(watch) => watch.next_event().await.transpose(),
                        None => Ok(None),
                    }
                };
                let event = unless_silent(self.heard, self.silence, read).await;
                self.hand_over(event, |machine, event| machine.received(event.transpose()))
            }
            Step::Pause(pause) => {
                self.watch = None;
                let end = *self.pause_end.get_or_insert_with(|| Instant::now() + pause);
                tokio::time::sleep_until(end).await;
                self.pause_end = None;
                self.heard = Instant::now();
                self.machine.paused();
                Advance::Unheard
            }
            Step::Stop => {
                self.watch = None;
                Advance::Stopped
            }
        }
    }

    /// Tells the machine what came, or that nothing did.
    fn hand_over<T>(&mut self, came: Option<Result<T>>, tell: impl FnOnce(&mut Machine<R>, Result<T>)) -> Advance {
        let Some(came) = came else {
            self.machine.silent();
            return Advance::Unheard;
        };
        let failed = came.is_err();
        tell(&mut self.machine, came);
        if failed {
            return Advance::Unheard;
        }
        self.heard = Instant::now();
        Advance::Heard
    }
}

/// What the server says; `None` when it has said nothing for so long.
async fn unless_silent<T>(heard: Instant, silence: Duration, call: impl Future<Output = T>) -> Option<T> {
    match heard.checked_add(silence) {
        Some(end) => tokio::time::timeout_at(end, call).await.ok(),
        // A silence without an end is a way to say never.
        None => Some(call.await),
    }
}

impl<R: Resource, V: Verbs<R>> fmt::Debug for Watcher<R, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("machine", &self.machine).finish_non_exhaustive()
    }
}
