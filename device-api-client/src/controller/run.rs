// SPDX-License-Identifier: Apache-2.0
//! The loop of a controller: it takes triggers, and begins and ends what is to be done.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;

use device_api_core::Result;
use device_api_core::resource::Key;
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Action;
use super::queue::Queue;
use super::triggers::Triggers;

/// What came of one look at an object. The error is told and not handed on.
type Looked = Result<Action, Box<dyn Error + Send + Sync>>;

pub(super) struct Runner {
    queue: Queue,
    concurrency: usize,
    resource: &'static str,
    // Aborted when this is dropped.
    tasks: JoinSet<Looked>,
    keys: HashMap<Id, Key>,
}

impl Runner {
    pub(super) fn new(queue: Queue, concurrency: usize, resource: &'static str) -> Self {
        Self { queue, concurrency, resource, tasks: JoinSet::new(), keys: HashMap::new() }
    }

    pub(super) async fn run<L>(
        mut self,
        triggers: Vec<Triggers>,
        mut shutdown: impl Future<Output = ()> + Unpin,
        look: impl Fn(Key) -> L,
    ) -> Result<()>
    where
        L: Future<Output = Looked> + Send + 'static,
    {
        let mut triggers = select_all(triggers);
        let mut ended = Ok(());
        loop {
            while self.tasks.len() < self.concurrency
                && let Some(key) = self.queue.take(Instant::now())
            {
                let task = self.tasks.spawn(look(key.clone()));
                self.keys.insert(task.id(), key);
            }
            if triggers.is_empty() && self.queue.is_idle() {
                break;
            }
            let next = self.queue.next().filter(|_| self.tasks.len() < self.concurrency);
            tokio::select! {
                () = &mut shutdown => break,
                keys = triggers.next(), if !triggers.is_empty() => match keys {
                    None => {}
                    // Taken at once, however much is to be done: each waits once.
                    Some(Ok(keys)) => keys.into_iter().for_each(|key| self.queue.put(key, Instant::now())),
                    Some(Err(error)) => {
                        ended = Err(error);
                        break;
                    }
                },
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.end(done),
                () = until(next) => {}
            }
        }
        while let Some(done) = self.tasks.join_next_with_id().await {
            self.end(done);
        }
        ended
    }

    fn end(&mut self, done: Result<(Id, Looked), JoinError>) {
        let (id, looked) = match done {
            Ok(done) => done,
            Err(panic) => (panic.id(), Err(panic.into())),
        };
        let Some(key) = self.keys.remove(&id) else { return };
        let now = Instant::now();
        match looked {
            // A time without an end is a way to say never.
            Ok(action) => self.queue.done(key, action.requeue_after.and_then(|after| now.checked_add(after))),
            Err(error) => {
                let error = &*error as &dyn Error;
                tracing::warn!(resource = self.resource, object = %key, error, "cannot reconcile; trying again");
                self.queue.failed(key, now);
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
