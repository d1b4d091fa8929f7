// SPDX-License-Identifier: Apache-2.0
//! Leases: how a provider of conditions says that it lives, and what becomes of its conditions when it does not.
//!
//! A provider acquires a lease by its name, says which types of conditions are its own, and renews the
//! lease by the id that it was given. When that answer was lost it asks again, and is known by its identity. The newest
//! holder wins: who was replaced is told so when it renews. When nobody renews a lease in time, [`Leases::keep`] sets the
//! provider's conditions to Unknown, reason [`PROVIDER_LOST`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs as _, Leases};
//! use device_api_core::registry::{Ledger, LedgerOptions};
//! use device_api_core::resource::GpuStrategy;
//! use device_api_store_memory::Memory;
//!
//! let ledger = Ledger::open(Box::new(Memory::new().open()?), LedgerOptions::default()).await?;
//! let (gpus, leases) = (ledger.registry(GpuStrategy).await?, Leases::open(&ledger).await?);
//! // It ends when the ledger is closed.
//! let keeper = tokio::spawn(leases.clone().keep(gpus));
//!
//! let request = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]);
//! let lease = leases.acquire(&request).await?;
//! let renewed = leases.acquire(&request.with_id(lease.id)).await?;
//! assert_eq!(renewed.state, LeaseState::Held);
//! ledger.close().await?;
//! keeper.await?;
//! # Ok(()) }
//! ```

mod check;
mod deadlines;
mod doubt;
mod keep;
mod leases;
mod record;
mod verbs;

pub use self::leases::Leases;
pub use self::verbs::{AcquireLease, DEFAULT_DURATION, Lease, LeaseState, LeaseVerbs, unique_identity};
pub use crate::resource::condition::PROVIDER_LOST;
