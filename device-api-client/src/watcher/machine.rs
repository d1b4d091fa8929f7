// SPDX-License-Identifier: Apache-2.0
//! What a watcher does next: a state machine that reads no clock and no socket.

use std::collections::VecDeque;
use std::time::Duration;

use device_api_core::error::Cause;
use device_api_core::registry::{List, ListParams, WatchEvent, WatchParams};
use device_api_core::resource::Resource;
use device_api_core::{Error, Result};

use super::{Config, Event, InitialList, Pauses};

/// What a [`Machine`] wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Drop the watch, if there is one, list, and hand the reply to [`Machine::listed`].
    List(ListParams),
    /// Open a watch in place of any other, and hand the reply to [`Machine::opened`].
    Watch(WatchParams),
    /// Read the open watch, and hand what came to [`Machine::received`].
    Read,
    /// Drop the watch, wait so long, then call [`Machine::paused`].
    Pause(Duration),
    /// Nothing: no retry would help.
    Stop,
}

/// The state machine under a [`Watcher`](super::Watcher): it is told what came, and says what to do next.
///
/// It resumes from the last version that it saw, reads the whole state again when that is no longer in
/// history, and pauses after each failure. A failure is an event, too. [`Self::silent`] tells it that
/// whatever it asked for has not come for too long.
///
/// ```
/// use device_api_client::core::Error;
/// use device_api_client::core::resource::Gpu;
/// use device_api_client::watcher::{Config, Machine, Step};
///
/// let mut machine = Machine::<Gpu>::new(Config::default());
/// assert!(matches!(machine.step(), Step::Watch(params) if params.send_initial_events == Some(true)));
/// machine.opened(Err(Error::Expired { requested: 1, oldest: 2 }));
/// assert!(matches!(machine.next_event(), Some(Err(error)) if error.is_expired()));
/// assert!(matches!(machine.step(), Step::Pause(_)));
/// ```
#[derive(Debug)]
pub struct Machine<R> {
    config: Config,
    state: State,
    /// Everything up to here was seen; empty: the whole state is to be read.
    version: String,
    /// The server has shown that it sends no initial events: the whole state is listed, this time. The next time it may have been
    /// replaced by one that does.
    lists: bool,
    pauses: Pauses,
    events: VecDeque<Result<Event<R>>>,
}

#[derive(Debug)]
enum State {
    /// The whole state or what follows the version is to be asked for.
    Asking,
    /// The page that this token stands for is to be asked for.
    Paging(String),
    /// A watch is open, and sends the whole state first.
    Initial,
    /// A watch is open; whether the version has moved on since.
    Following {
        moved: bool,
    },
    Pausing(Duration),
    Stopped,
}

impl<R: Resource> Machine<R> {
    /// A machine that has seen nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let pauses = config.backoff.pauses();
        Self { config, state: State::Asking, version: String::new(), lists: false, pauses, events: VecDeque::new() }
    }

    /// What to do next, once [`Self::next_event`] has no more.
    #[must_use]
    pub fn step(&self) -> Step {
        match &self.state {
            State::Asking if !self.version.is_empty() => Step::Watch(self.config.watch().at(&self.version)),
            State::Asking if self.streams() => Step::Watch(self.config.watch().initial_events()),
            State::Asking => Step::List(self.config.list("")),
            State::Paging(token) => Step::List(self.config.list(token)),
            State::Initial | State::Following { .. } => Step::Read,
            State::Pausing(pause) => Step::Pause(*pause),
            State::Stopped => Step::Stop,
        }
    }

    /// What is there to be told; `None`: take the next [`Self::step`].
    pub fn next_event(&mut self) -> Option<Result<Event<R>>> {
        self.events.pop_front()
    }

    /// The version up to which everything was seen; empty before the first whole state.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        &self.version
    }

    /// The reply to [`Step::List`].
    pub fn listed(&mut self, reply: Result<List<R>>) {
        let list = match reply {
            Ok(list) => list,
            Err(error) => return self.fail(error),
        };
        if !matches!(self.state, State::Paging(_)) {
            self.events.push_back(Ok(Event::Init));
        }
        self.events.extend(list.items.into_iter().map(|object| Ok(Event::InitApply(object))));
        if list.metadata.continue_token.is_empty() {
            self.complete(&list.metadata.resource_version);
            self.state = State::Asking;
        } else {
            self.state = State::Paging(list.metadata.continue_token);
        }
    }

    /// The reply to [`Step::Watch`].
    pub fn opened(&mut self, reply: Result<()>) {
        self.state = match reply {
            Err(error) => return self.fail(error),
            Ok(()) if self.version.is_empty() => {
                self.events.push_back(Ok(Event::Init));
                State::Initial
            }
            Ok(()) => State::Following { moved: false },
        };
    }

    /// What [`Step::Read`] gave; `None`: the server has ended the watch.
    pub fn received(&mut self, event: Option<Result<WatchEvent<R>>>) {
        match event {
            None => self.ended(),
            Some(Err(error)) => self.fail(error),
            Some(Ok(event)) if matches!(self.state, State::Initial) => self.initial(event),
            Some(Ok(event)) => self.follow(event),
        }
    }

    /// Nothing came for too long.
    pub fn silent(&mut self) {
        let why = format!("it said nothing for {:?}; the request is made anew", self.config.silence);
        self.fail(Error::Unavailable { why, retry_after: Some(Duration::ZERO), cause: Cause::unknown() });
    }

    /// The pause is over.
    pub fn paused(&mut self) {
        self.state = State::Asking;
    }

    fn streams(&self) -> bool {
        self.config.initial_list == InitialList::Streaming && !self.lists
    }

    fn initial(&mut self, event: WatchEvent<R>) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.events.push_back(Ok(Event::InitApply(object)));
            }
            WatchEvent::Deleted(object) => self.events.push_back(Ok(Event::Delete(object))),
            WatchEvent::Bookmark(bookmark) if bookmark.initial_events_end => {
                self.complete(&bookmark.resource_version);
                self.state = State::Following { moved: true };
            }
            // Only a server that does not know initial events has others between them: their end would never come.
            WatchEvent::Bookmark(_) => {
                tracing::debug!(resource = R::PLURAL, "the server sends no initial events; listing");
                self.lists = true;
                self.state = State::Asking;
            }
        }
    }

    fn follow(&mut self, event: WatchEvent<R>) {
        // Only what is new shows that the server works: one that opens watches and ends them at once does not.
        self.pauses.reset();
        let version = event.resource_version();
        if !version.is_empty() && self.version != version {
            version.clone_into(&mut self.version);
            self.state = State::Following { moved: true };
        }
        self.events.extend(match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Ok(Event::Apply(object))),
            WatchEvent::Deleted(object) => Some(Ok(Event::Delete(object))),
            WatchEvent::Bookmark(_) => None,
        });
    }

    /// The whole state was seen.
    fn complete(&mut self, version: &str) {
        version.clone_into(&mut self.version);
        self.lists = false;
        self.pauses.reset();
        self.events.push_back(Ok(Event::InitDone));
    }

    /// The server has ended the watch, as it does now and then.
    fn ended(&mut self) {
        // Whoever made progress goes on at once. Else a server that ends every watch at once would be
        // asked without a pause.
        self.state = match self.state {
            State::Following { moved: true } => State::Asking,
            _ => State::Pausing(self.pauses.next_pause()),
        };
    }

    fn fail(&mut self, error: Error) {
        if error.is_invalid() && self.version.is_empty() {
            self.state = match self.state {
                // The token of the page is what is not valid.
                State::Paging(_) => self.pause_after(&error),
                // A server that does not know initial events refuses them. If it was something else, it refuses a list as well.
                _ if self.streams() => {
                    self.lists = true;
                    State::Asking
                }
                // Nothing was asked for in another way before.
                _ => State::Stopped,
            };
        } else {
            if error.is_expired() || error.is_invalid() {
                self.version.clear();
            }
            self.state = self.pause_after(&error);
        }
        self.events.push_back(Err(error));
    }

    /// On top of what the server asks for, which is the same for all: they would come back together.
    fn pause_after(&mut self, error: &Error) -> State {
        let asked = error.retry_after().unwrap_or_default().min(self.pauses.longest());
        State::Pausing(asked + self.pauses.next_pause())
    }
}
