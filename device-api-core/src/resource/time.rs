// SPDX-License-Identifier: Apache-2.0
//! Points in time, as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time with nanoseconds, written as RFC 3339 in UTC.
///
/// The range is that of `google.protobuf.Timestamp`: the years 0001 to 9999. A fraction of a second
/// is written only where there is one, so times that the server sets look as kubectl shows them.
///
/// ```
/// use device_api_core::resource::Timestamp;
///
/// let at: Timestamp = "2026-11-24T13:48:17Z".parse()?;
/// assert_eq!(at.to_string(), "2026-11-24T13:48:17Z");
/// assert_eq!(at.unix_seconds(), 1_795_528_097);
/// # Ok::<(), device_api_core::resource::TimestampError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// 0001-01-01T00:00:00Z, the first second that a protobuf timestamp can hold.
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the last one; jiff's own maximum is a day short of it.
const LAST_SECOND: i64 = 253_402_207_200;

/// A time that cannot be represented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time between the years 0001 and 9999 in RFC 3339 form")]
pub struct TimestampError {
    text: String,
}

impl Timestamp {
    /// The time of this machine's clock, now. Code that can be handed a `Clock` takes that instead.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time enters; everything else takes it from a Clock")]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// The time so many seconds and nanoseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// When the seconds lie outside the years 0001 to 9999, or the nanoseconds outside
    /// `0..1_000_000_000`.
    pub fn from_unix(seconds: i64, nanos: i32) -> Result<Self, TimestampError> {
        let error = || TimestampError { text: format!("{seconds}s+{nanos}ns") };
        if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
            return Err(error());
        }
        jiff::Timestamp::new(seconds, nanos).map(Self).map_err(|_| error())
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.as_nanosecond().div_euclid(1_000_000_000) as i64
    }

    /// The nanoseconds after [`Self::unix_seconds`], never negative.
    #[must_use]
    pub fn subsec_nanos(self) -> i32 {
        self.0.as_nanosecond().rem_euclid(1_000_000_000) as i32
    }

    /// Microseconds since 1970, rounded down.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.as_nanosecond().div_euclid(1_000) as i64
    }

    /// This time without its fraction of a second, as Kubernetes stores times.
    #[must_use]
    pub fn truncated_to_seconds(self) -> Self {
        Self::from_unix(self.unix_seconds(), 0).unwrap_or(self)
    }

    /// The time that passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        self.0.duration_since(earlier.0).try_into().unwrap_or_default()
    }

    /// The time `duration` after this one; stops at the end of the range.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        jiff::SignedDuration::try_from(duration)
            .ok()
            .and_then(|duration| self.0.checked_add(duration).ok())
            .filter(|at| at.as_second() <= LAST_SECOND)
            .map_or_else(|| Self::from_unix(LAST_SECOND, 0).unwrap_or(self), Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|at| {
                let nanos = at.as_nanosecond();
                let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
                Self::from_unix(seconds, nanos.rem_euclid(1_000_000_000) as i32).ok()
            })
            .ok_or_else(|| TimestampError { text: text.chars().take(64).collect() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_kept_to_the_nanosecond_and_written_only_where_there_are_any() {
        for text in ["2026-11-24T13:48:17Z", "2026-11-24T13:48:17.000000001Z", "1969-12-31T23:59:59.5Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(at.to_string(), text);
            assert_eq!(Timestamp::from_unix(at.unix_seconds(), at.subsec_nanos()).unwrap(), at);
        }
    }

    #[test]
    fn an_offset_is_converted_to_utc() {
        let at: Timestamp = "2026-11-24T14:48:17+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-24T13:48:17Z");
    }

    #[test]
    fn times_outside_the_protobuf_range_are_refused() {
        assert!(Timestamp::from_unix(FIRST_SECOND, 0).is_ok());
        assert!(Timestamp::from_unix(FIRST_SECOND - 1, 0).is_err());
        assert!(Timestamp::from_unix(i64::MAX, 0).is_err());
        assert!(Timestamp::from_unix(0, -1).is_err());
        assert!("-000001-01-01T00:00:00Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn adding_stops_at_the_end_of_the_range() {
        let end = Timestamp::from_unix(0, 0).unwrap().plus(std::time::Duration::MAX);
        assert_eq!(end.unix_seconds(), LAST_SECOND);
    }
}
