// SPDX-License-Identifier: Apache-2.0
//! The registry: Kubernetes' verbs on typed objects, over one journal.
//!
//! [`Ledger::open`] takes a store and starts the one task that owns it; [`Ledger::registry`] gives
//! the verbs on one resource type. Every write is a closure that the task runs on the latest state,
//! so there are no races and no retries; every read comes from memory; every watch is a place in
//! the recent history.
//!
//! Start reading at [`Registry`], then `write.rs` (what a write does), `owner.rs` (how it is committed),
//! `cache.rs` (what readers see) and `watch.rs`.

mod books;
mod cache;
mod decide;
mod jump;
mod ledger;
mod opening;
mod options;
mod owner;
mod params;
mod read;
#[expect(clippy::module_inception, reason = "the registry is what this module is about")]
mod registry;
mod salvage;
mod stage;
mod strategy;
mod token;
mod upkeep;
mod validate;
mod verbs;
mod watch;
mod write;

pub(crate) use self::decide::Decided;
pub use self::ledger::{Ledger, LedgerState};
pub(crate) use self::options::RESERVED_OBJECTS;
pub use self::options::{Clock, History, LedgerOptions, Limits, SystemClock};
pub use self::params::{
    DeleteParams, GetParams, ListParams, PatchParams, PostParams, Preconditions, VersionMatch, WatchParams,
};
pub use self::registry::Registry;
pub use self::strategy::{Part, Strategy, WriteContext};
pub use self::verbs::{Bookmark, INITIAL_EVENTS_END, List, Verbs, WatchEvent, WatchStream, named, placed};
pub use self::watch::Watch;
