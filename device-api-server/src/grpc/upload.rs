// SPDX-License-Identifier: Apache-2.0
//! The body of a request, which holds a share of the budget until its call is answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prost::bytes::Bytes;
use tonic::Status;

use super::budget::{Budget, Share};

/// What arrived of a request. It belongs to the call: the message outlives the body that it came in.
#[derive(Debug)]
pub(crate) struct Arrived {
    budget: Budget,
    // Grows by a frame at a time, and nothing is awaited with it, so a plain lock.
    shares: Mutex<Vec<Share>>,
}

impl Arrived {
    /// Nothing yet.
    pub(super) fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self { budget, shares: Mutex::default() })
    }

    fn add(&self, bytes: usize) -> Result<(), Status> {
        let share = self.budget.try_take(bytes)?;
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(share);
        Ok(())
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    /// Gone once the answer has begun. What a client streams after that, one message at a time, is
    /// bounded by the service's limit of a message.
    arrived: Weak<Arrived>,
}

impl Upload {
    pub(super) fn new(body: Incoming, arrived: &Arc<Arrived>) -> Self {
        Self { body, arrived: Arc::downgrade(arrived) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame =
            ready!(Pin::new(&mut self.body).poll_frame(context).map_err(|error| Status::from_error(error.into()))?);
        if let (Some(bytes), Some(arrived)) = (frame.as_ref().and_then(Frame::data_ref), self.arrived.upgrade()) {
            arrived.add(bytes.len())?;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
