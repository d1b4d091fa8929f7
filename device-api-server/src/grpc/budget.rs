// SPDX-License-Identifier: Apache-2.0
//! How much of what peers send and are sent may be in memory at once, over all connections.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::Error;
use prost::bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::units::Size;

/// What each connection has for itself, in bytes: what others do with theirs is not felt by calls as
/// small as most are, and with the number of connections all of it together is bounded.
const OWN: usize = 1 << 20;
/// What replies may take beyond that until they are sent, in bytes: four lists of the largest kind.
const REPLIES: usize = 128 << 20;
/// What requests may take beyond that until they are answered, in bytes: 16 of the largest kind.
const UPLOADS: usize = 64 << 20;
/// What a unit is, in bytes.
const UNIT: usize = 1 << 10;
/// How long a call waits for its share.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a call that got none should be made again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bytes that may be in memory at once: some for one connection, and some for all together.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    what: &'static str,
    own: Arc<Semaphore>,
    common: Arc<Semaphore>,
    total: usize,
}

impl Budget {
    /// That of a server's replies.
    pub(crate) fn replies() -> Self {
        Self::new("replies that were not read yet", OWN, REPLIES)
    }

    /// That of a server's requests.
    pub(crate) fn uploads() -> Self {
        Self::new("requests that were not answered yet", OWN, UPLOADS)
    }

    fn new(what: &'static str, own: usize, common: usize) -> Self {
        let semaphore = |bytes| Arc::new(Semaphore::new(bytes / UNIT));
        Self { what, own: semaphore(own), common: semaphore(common), total: common }
    }

    /// That of another connection.
    pub(crate) fn of_connection(&self) -> Self {
        Self { own: Arc::new(Semaphore::new(OWN / UNIT)), ..self.clone() }
    }

    /// A share of so many bytes, if it is to be had now.
    pub(super) fn try_take(&self, bytes: usize) -> Result<Share, Error> {
        let units = self.units(bytes);
        let own = Arc::clone(&self.own).try_acquire_many_owned(units);
        let permit = own.or_else(|_| Arc::clone(&self.common).try_acquire_many_owned(units));
        permit.map(Share::new).map_err(|_| self.used_up())
    }

    /// A share of so many bytes, if it is to be had soon.
    pub(super) async fn take(&self, bytes: usize) -> Result<Share, Error> {
        if let Ok(share) = self.try_take(bytes) {
            return Ok(share);
        }
        let wait = Arc::clone(&self.common).acquire_many_owned(self.units(bytes));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(permit)) => Ok(Share::new(permit)),
            // The semaphore is never closed: the time is over.
            _ => Err(self.used_up()),
        }
    }

    /// What is larger than everything may have everything.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total).div_ceil(UNIT)).unwrap_or(u32::MAX)
    }

    fn used_up(&self) -> Error {
        let why = format!("{} fill the {} that all connections have for them", self.what, Size(self.total));
        Error::TooManyRequests { why, retry_after: RETRY_AFTER }
    }
}

/// A part of a budget, given back when its last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Share {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Arc::new(permit) }
    }

    /// The same bytes, which hold the share for as long as any part of them is somewhere.
    pub(super) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn budget() -> Budget {
        Budget::new("replies", KIB, 10 * KIB)
    }

    #[test]
    fn a_share_is_given_back_when_the_last_of_its_bytes_is_gone() {
        let budget = budget();
        let mut bytes = budget.try_take(8 * KIB).unwrap().hold(Bytes::from(vec![7; 8 * KIB]));
        let rest = bytes.split_off(KIB);
        drop(bytes);
        let refusal = budget.try_take(8 * KIB).unwrap_err();
        assert!(matches!(refusal, Error::TooManyRequests { .. }), "{refusal}");
        assert!(refusal.to_string().contains("10KiB"), "{refusal}");
        assert_eq!(rest[..], [7; 7 * KIB]);
        drop(rest);
        assert!(budget.try_take(8 * KIB).is_ok());
    }

    #[test]
    fn each_connection_has_something_whatever_others_have_taken() {
        let greedy = budget();
        let _all = greedy.try_take(100 * KIB).unwrap();
        let _own = greedy.try_take(KIB).unwrap();
        assert!(greedy.try_take(1).is_err());
        assert!(greedy.of_connection().try_take(1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_is_waited_for_but_not_for_ever() {
        let budget = budget();
        let all = budget.take(10 * KIB).await.unwrap();
        assert!(budget.take(2 * KIB).await.is_err());
        let (taken, ()) = tokio::join!(budget.take(2 * KIB), async { drop(all) });
        assert!(taken.is_ok());
    }
}
