// SPDX-License-Identifier: Apache-2.0
//! A server for the tests of code that uses the API: the real one, over memory, in the test's own
//! process, with GPUs in it, faults that the test plans and a clock that it moves.
//!
//! ```
//! use std::time::Duration;
//!
//! use device_api_client::{Api, Client};
//! use device_api_core::registry::{Part, PostParams};
//! use device_api_core::resource::{Condition, ConditionStatus, Gpu};
//! use device_api_server::testing::{CallFault, CallFaults, TestServer, Verb};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TestServer::builder().with_gpus(8).on_socket().start().await;
//! let gpus: Api<Gpu> = Api::all(Client::connect(server.address().parse()?).await?);
//!
//! // The reply to the first write is lost: whether it happened, the writer cannot know.
//! server.faults().next(Verb::ReplaceStatus, CallFault::LoseReply);
//! server.clock().advance(Duration::from_secs(90));
//! let sick = |gpu: &mut Gpu| {
//!     gpu.status.conditions = vec![Condition::new("Healthy", ConditionStatus::False)];
//!     Ok(())
//! };
//! let lost = gpus.modify(Part::Status, "gpu-3", &PostParams::default(), sick).await;
//! assert_eq!(lost, Err(CallFaults::lost()));
//!
//! let since = gpus.get("gpu-3").await?.status.conditions[0].last_transition_time;
//! assert_eq!(since.unwrap().to_string(), "2026-01-01T00:01:30Z");
//! # Ok(()) }
//! ```
//!
//! Code under test gets the handles that it has in production, of one of three kinds that behave the same and
//! share the faults: [`TestServer::gpus`] and [`TestServer::leases`] for code that takes any
//! [`Verbs`](device_api_core::registry::Verbs) and [`LeaseVerbs`](device_api_core::lease::LeaseVerbs), with nothing in between;
//! [`TestServer::service`] for code that takes the client's `Api` and `LeaseApi`, through gRPC but no socket;
//! [`TestServer::address`] for code that connects by itself. The first two need no I/O, so a test may
//! pause tokio's time.

// A test's server fails by panicking, as tests do.
#![allow(clippy::expect_used, clippy::panic)]

mod builder;
mod server;
mod service;

pub use device_api_core::testing::{
    Call, CallFault, CallFaults, Fault, Faults, FaultyLeases, FaultyVerbs, FaultyWatch, ManualClock, Verb, WatchFault,
};

pub use self::builder::TestServerBuilder;
pub use self::server::TestServer;
