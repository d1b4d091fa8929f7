// SPDX-License-Identifier: Apache-2.0
//! The way to a node: a handle whose lists and watches meet faults.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use device_api_client::core::patch::Patch;
use device_api_client::core::registry::{
    DeleteParams, GetParams, List, ListParams, PatchParams, PostParams, Registry, Verbs, Watch, WatchEvent, WatchParams,
};
use device_api_client::core::resource::Gpu;
use device_api_client::core::{Error, Result};
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::{Node, lost};

/// What a call meets.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    None,
    /// It fails.
    Fail(Error),
    /// It takes so long.
    Slow(Duration),
    /// It never answers.
    Hang,
    /// It panics: a bug of the handle's.
    Panic,
    /// A watch ends after so many events; a list goes well.
    End(u32),
    /// A watch fails after so many events; a list goes well.
    Cut(u32, Error),
    /// A watch says nothing after so many events, not even that the server died; a list goes well.
    Mute(u32),
    /// A server that has never heard of initial events, and does not see that they are asked for.
    IgnoreInitialEvents,
    /// One that refuses to send them.
    RefuseInitialEvents,
}

/// A handle to the GPUs of a [`Node`].
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    node: Node,
    namespace: String,
}

impl Remote {
    pub(super) fn new(node: Node) -> Self {
        Self { node, namespace: String::new() }
    }

    fn gpus(&self) -> Result<Registry<Gpu>> {
        self.node.gpus().map(|gpus| gpus.namespaced(&self.namespace)).ok_or_else(lost)
    }

    /// Meets what comes before the server.
    async fn meet(&self) -> Result<Fault> {
        let fault = self.node.next_fault();
        match &fault {
            Fault::Fail(error) => return Err(error.clone()),
            Fault::Slow(delay) => tokio::time::sleep(*delay).await,
            Fault::Hang => std::future::pending().await,
            Fault::Panic => panic!("a bug, on purpose"),
            _ => {}
        }
        Ok(fault)
    }
}

impl Verbs<Gpu> for Remote {
    type Watch = RemoteWatch;

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespaced(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    async fn get_with(&self, name: &str, params: &GetParams) -> Result<Arc<Gpu>> {
        self.gpus()?.get_with(name, params).await
    }

    async fn list(&self, params: &ListParams) -> Result<List<Gpu>> {
        self.meet().await?;
        self.gpus()?.list(params).await
    }

    async fn watch(&self, params: &WatchParams) -> Result<RemoteWatch> {
        let fault = self.meet().await?;
        let lives = self.node.lives();
        let mut params = params.clone();
        match fault {
            Fault::RefuseInitialEvents if params.send_initial_events.is_some() => {
                return Err(Error::bad_request("sendInitialEvents", "is not known"));
            }
            Fault::IgnoreInitialEvents => (params.send_initial_events, params.version_match) = (None, None),
            _ => {}
        }
        let watch = self.gpus()?.watch(&params).await?;
        Ok(RemoteWatch::new(watch, lives, fault))
    }

    async fn create(&self, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.gpus()?.create(params, object).await
    }

    async fn replace(&self, name: &str, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.gpus()?.replace(name, params, object).await
    }

    async fn replace_status(&self, name: &str, params: &PostParams, object: &Gpu) -> Result<Arc<Gpu>> {
        self.gpus()?.replace_status(name, params, object).await
    }

    async fn patch(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.gpus()?.patch(name, params, patch).await
    }

    async fn patch_status(&self, name: &str, params: &PatchParams, patch: &Patch) -> Result<Arc<Gpu>> {
        self.gpus()?.patch_status(name, params, patch).await
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.gpus()?.delete(name, params).await
    }
}

/// A watch that ends as its fault says, or with the server.
pub(crate) struct RemoteWatch(Pin<Box<dyn Stream<Item = Result<WatchEvent<Gpu>>> + Send>>);

impl RemoteWatch {
    fn new(watch: Watch<Gpu>, lives: watch::Receiver<u64>, fault: Fault) -> Self {
        let (left, ending) = match fault {
            Fault::End(left) => (left, None),
            Fault::Cut(left, error) => (left, Some(Ending::Fail(error))),
            Fault::Mute(left) => (left, Some(Ending::Mute)),
            _ => (u32::MAX, None),
        };
        let place = Place { watch, lives, left, ending, over: false };
        let events = futures_util::stream::unfold(place, |mut place| async move {
            let event = place.next().await?;
            Some((event, place))
        });
        Self(Box::pin(events.fuse()))
    }
}

struct Place {
    watch: Watch<Gpu>,
    lives: watch::Receiver<u64>,
    left: u32,
    /// `None`: it just ends.
    ending: Option<Ending>,
    over: bool,
}

enum Ending {
    Fail(Error),
    Mute,
}

impl Place {
    async fn next(&mut self) -> Option<Result<WatchEvent<Gpu>>> {
        if self.over {
            return None;
        }
        if self.left == 0 {
            self.over = true;
            return match self.ending.take()? {
                Ending::Fail(error) => Some(Err(error)),
                Ending::Mute => std::future::pending().await,
            };
        }
        self.left -= 1;
        tokio::select! {
            biased;
            _ = self.lives.changed() => {
                self.over = true;
                Some(Err(lost()))
            }
            event = self.watch.next() => event,
        }
    }
}

impl Stream for RemoteWatch {
    type Item = Result<WatchEvent<Gpu>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}
