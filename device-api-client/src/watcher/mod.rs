// SPDX-License-Identifier: Apache-2.0
//! Watches that heal by themselves, as kube-rs' `watcher`.
//!
//! [`Watcher`] follows the objects of a handle for as long as it is asked; [`Machine`] is what it decides by,
//! with neither clock nor socket. Who wants the objects rather than the events takes a
//! [`Reflector`](crate::Reflector).

mod backoff;
mod config;
mod drive;
mod machine;
#[cfg(test)]
mod machine_tests;

use std::sync::Arc;

pub use self::backoff::{Backoff, Pauses};
pub use self::config::{Config, InitialList};
pub(crate) use self::drive::Advance;
pub use self::drive::Watcher;
pub use self::machine::{Machine, Step};

/// What a [`Watcher`] saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<R> {
    /// The whole state follows, at first and whenever it is not known what was missed.
    ///
    /// It may begin again before it was complete.
    Init,
    /// An object of the whole state.
    InitApply(Arc<R>),
    /// That was the whole state: what was not in it is gone.
    InitDone,
    /// The object is new, or has changed.
    Apply(Arc<R>),
    /// The object is gone: its last state, with the version of the change.
    Delete(Arc<R>),
}
