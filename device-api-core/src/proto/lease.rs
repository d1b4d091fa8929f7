// SPDX-License-Identifier: Apache-2.0
//! Leases, and requests for them.

use std::time::Duration;

use super::meta::{time_from_wire, time_to_wire};
use super::v1alpha1 as wire;
use crate::error::FieldViolation;
use crate::lease::{AcquireLease, DEFAULT_DURATION, Lease, LeaseState};
use crate::{Error, Result};

const HELD: &str = "Held";
const EXPIRED: &str = "Expired";

impl From<&AcquireLease> for wire::AcquireLeaseRequest {
    fn from(request: &AcquireLease) -> Self {
        let AcquireLease { name, id, holder_identity, duration, condition_types, take_over } = request;
        Self {
            name: name.clone(),
            id: id.clone(),
            duration: Some(duration_to_wire(*duration)),
            condition_types: condition_types.clone(),
            take_over: *take_over,
            holder_identity: holder_identity.clone(),
        }
    }
}

impl From<wire::AcquireLeaseRequest> for AcquireLease {
    fn from(message: wire::AcquireLeaseRequest) -> Self {
        let wire::AcquireLeaseRequest { name, id, duration, condition_types, take_over, holder_identity } = message;
        let duration = duration.map_or(DEFAULT_DURATION, duration_from_wire);
        Self { name, id, holder_identity, duration, condition_types, take_over }
    }
}

impl From<&Lease> for wire::Lease {
    fn from(lease: &Lease) -> Self {
        let Lease { name, id, holder_identity, duration, condition_types, state, acquired_at, renewed_at } = lease;
        let state = match state {
            LeaseState::Held => HELD,
            LeaseState::Expired => EXPIRED,
        };
        Self {
            name: name.clone(),
            id: id.clone(),
            duration: Some(duration_to_wire(*duration)),
            condition_types: condition_types.clone(),
            state: state.to_owned(),
            acquired_at: Some(time_to_wire(*acquired_at)),
            renewed_at: Some(time_to_wire(*renewed_at)),
            holder_identity: holder_identity.clone(),
        }
    }
}

/// Fails with [`Error::Internal`] for what no server sends.
impl TryFrom<wire::Lease> for Lease {
    type Error = Error;

    fn try_from(message: wire::Lease) -> Result<Self> {
        let wire::Lease { name, id, duration, condition_types, state, acquired_at, renewed_at, holder_identity } =
            message;
        let odd = |what: String| Error::internal(format!("the server sent a lease with {what}"));
        let state = match state.as_str() {
            HELD => LeaseState::Held,
            EXPIRED => LeaseState::Expired,
            other => return Err(odd(format!("the unknown state {:?}", other.chars().take(32).collect::<String>()))),
        };
        let time = |field: &str, message| match time_from_wire(field, message) {
            Ok(Some(time)) => Ok(time),
            Ok(None) => Err(odd(format!("no {field}"))),
            Err(FieldViolation { field, why }) => Err(odd(format!("{field}: {why}"))),
        };
        let duration = duration.ok_or_else(|| odd("no duration".to_owned()))?;
        Ok(Self {
            name,
            id,
            holder_identity,
            duration: duration_from_wire(duration),
            condition_types,
            state,
            acquired_at: time("acquiredAt", acquired_at)?,
            renewed_at: time("renewedAt", renewed_at)?,
        })
    }
}

/// The longest there is for one that does not fit.
fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// None at all for one that is negative or not valid: both are too short for a lease.
///
/// prost's own conversion panics at the shortest one (0.14.6).
fn duration_from_wire(duration: prost_types::Duration) -> Duration {
    match (u64::try_from(duration.seconds), u32::try_from(duration.nanos)) {
        (Ok(seconds), Ok(nanos @ ..=999_999_999)) => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}
