// SPDX-License-Identifier: Apache-2.0
//! Leases and requests for them come in again as they went out, and nothing that comes in panics.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use crate::Error;
use crate::lease::{AcquireLease, DEFAULT_DURATION, Lease, LeaseState};
use crate::proto::v1alpha1 as wire;
use crate::resource::Timestamp;

/// Sends a message through its bytes.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=253_402_300_799_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| Timestamp::from_unix(seconds, nanos).unwrap())
}

fn duration() -> impl Strategy<Value = Duration> {
    // What protobuf can hold.
    (0..=i64::MAX as u64, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn state() -> impl Strategy<Value = LeaseState> {
    prop_oneof![Just(LeaseState::Held), Just(LeaseState::Expired)]
}

fn a_lease() -> Lease {
    Lease {
        name: "nvml".to_owned(),
        id: "1".to_owned(),
        holder_identity: "4711_x".to_owned(),
        duration: DEFAULT_DURATION,
        condition_types: vec!["NVMLReady".to_owned()],
        state: LeaseState::Held,
        acquired_at: Timestamp::UNIX_EPOCH,
        renewed_at: Timestamp::UNIX_EPOCH,
    }
}

proptest! {
    // proptest prints the smallest case that fails; no file beside the sources remembers it.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_lease_comes_back_as_it_went(
        texts: (String, String, String),
        duration in duration(),
        condition_types in vec(any::<String>(), 0..4),
        state in state(),
        times in (timestamp(), timestamp()),
    ) {
        let ((name, id, holder_identity), (acquired_at, renewed_at)) = (texts, times);
        let lease = Lease { name, id, holder_identity, duration, condition_types, state, acquired_at, renewed_at };
        prop_assert_eq!(Lease::try_from(sent(&wire::Lease::from(&lease))).unwrap(), lease);
    }

    #[test]
    fn a_request_comes_back_as_it_went(
        name: String,
        id in option::of(any::<String>()),
        holder_identity: String,
        duration in duration(),
        condition_types in vec(any::<String>(), 0..4),
        take_over: bool,
    ) {
        let request = AcquireLease { name, id, holder_identity, duration, condition_types, take_over };
        prop_assert_eq!(AcquireLease::from(sent(&wire::AcquireLeaseRequest::from(&request))), request);
    }
}

#[test]
fn a_duration_that_is_none_is_too_short_and_an_absent_one_the_default() {
    let request = |duration| wire::AcquireLeaseRequest { duration, ..Default::default() };
    for (seconds, nanos) in [(i64::MIN, 0), (i64::MIN, i32::MIN), (-1, 0), (0, -1), (1, -1), (9, 1_000_000_000)] {
        let duration = Some(prost_types::Duration { seconds, nanos });
        assert_eq!(AcquireLease::from(request(duration)).duration, Duration::ZERO, "{seconds}s {nanos}ns");
    }
    assert_eq!(AcquireLease::from(request(None)).duration, DEFAULT_DURATION);
}

#[test]
fn what_no_server_sends_is_its_fault() {
    let good = || wire::Lease::from(&a_lease());
    assert_eq!(Lease::try_from(good()), Ok(a_lease()));
    let time = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    for bad in [
        wire::Lease { state: "held".to_owned(), ..good() },
        wire::Lease { state: String::new(), ..good() },
        wire::Lease { duration: None, ..good() },
        wire::Lease { acquired_at: None, ..good() },
        wire::Lease { renewed_at: time, ..good() },
    ] {
        let error = Lease::try_from(bad).unwrap_err();
        assert!(matches!(error, Error::Internal { .. }), "{error}");
    }
}
