// SPDX-License-Identifier: Apache-2.0
//! The revision that a ledger begins at: above any that an earlier owner of the store can have handed out.

use tokio::time::Instant;

use super::books::Books;
use super::jump::Jump;
use crate::resource::Timestamp;
use crate::storage::{Revision, Storage, StorageError, StorageErrorKind};

/// Versions are below this: clients with floating-point numbers have 53 bits.
const END: u64 = 1 << 53;
/// The microseconds since 1970 count up to here, a day in the year 2249, so that no clock can use all versions up.
const CLOCK_END: u64 = END - (1 << 47);
/// What a ledger must have before it, so that nothing need be checked at each write: 34 years at a thousand writes a second.
const ROOM: u64 = 1 << 40;

/// Begins on a store that holds what the books say, of which an earlier owner may have handed out revisions up to
/// `reserved`, and some that it acknowledged are known to be lost or not.
///
/// A new store begins at the microseconds since 1970, which it remembers as the revision that it was compacted through. One
/// that holds less than may have been handed out jumps there, as after most restarts; the record of the jump is pending. Neither
/// relies on the clock alone, which may be wrong.
///
/// # Errors
/// When the store fails, or all versions are used up.
pub(super) async fn begin(
    storage: &mut dyn Storage,
    books: &mut Books,
    reserved: Revision,
    is_loss: bool,
    today: Timestamp,
    now: Instant,
) -> Result<(), StorageError> {
    let last = books.revision;
    if last != Revision::ZERO && reserved <= last {
        return check(last);
    }
    let first = of_clock(today).max(Revision(last.max(reserved).0.saturating_add(1)));
    check(first)?;
    if last == Revision::ZERO {
        storage.compact(first).await?;
        books.begin_at(first);
        return Ok(());
    }
    books.jump(Jump { after: last, to: first, is_loss }, today, now);
    tracing::info!(last = last.0, first = first.0, "versions go on above all that were handed out before");
    Ok(())
}

/// The first revision of a store that begins now: no earlier one can have handed it out, if clocks are right.
pub(super) fn of_clock(now: Timestamp) -> Revision {
    Revision(u64::try_from(now.unix_micros()).unwrap_or(1).clamp(1, CLOCK_END))
}

fn check(first: Revision) -> Result<(), StorageError> {
    if first.0 < END - ROOM {
        return Ok(());
    }
    let what =
        format!("versions are used up: the next one is {first}, and they end at {END}; start with an empty store");
    Err(StorageError::new("journal", StorageErrorKind::Corrupt, what))
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
