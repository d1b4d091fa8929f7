// SPDX-License-Identifier: Apache-2.0
//! A driver that is played from a scenario, for demonstrations, tests, and laptops.
//!
//! A [`Scenario`] says which GPUs a node has and what happens to them at what time; [`Simulated`] plays it
//! behind the [`Driver`](super::nvml::driver::Driver) trait. `docs/simulation.md` has the format.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use device_api_server::source::nvml::driver::{Driver, EventKind};
//! use device_api_server::source::simulated::{Scenario, Simulated};
//!
//! let text = r#"
//! [node]
//! gpus = 2
//!
//! [[at]]
//! time = "5s"
//! event = "xid"
//! gpu = 1
//! xid = 79
//! "#;
//! let driver = Simulated::new(Scenario::parse("two-gpus.toml", text)?);
//! driver.init().await?;
//! let second = driver.list().await?.remove(1).identity?;
//! driver.subscribe(&second.uuid).await?;
//!
//! let event = driver.next_event(Duration::from_secs(10)).await?.ok_or("no event")?;
//! assert_eq!(event.uuid, second.uuid);
//! assert!(matches!(event.kind, EventKind::Xid { xid: 79, .. }));
//! # Ok(()) }
//! ```

mod action;
mod burst;
mod door;
mod driver;
mod error;
mod file;
mod node;
mod play;
mod product;
mod scenario;
mod telemetry;
mod timeline;
mod words;

#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod ready_made_tests;
#[cfg(test)]
mod scenario_tests;

pub use self::door::{Door, DoorError};
pub(crate) use self::door::{LONGEST, OK, REFUSED};
pub use self::driver::Simulated;
pub use self::error::ScenarioError;
pub use self::scenario::Scenario;
