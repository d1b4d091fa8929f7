// SPDX-License-Identifier: Apache-2.0
//! Points in time, as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970, rounded down.
    seconds: i64,
    nanos: i32,
}

/// 0001-01-01T00:00:00Z, the first second that a protobuf timestamp can hold.
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the last one, and what some clients send for "never".
const LAST_SECOND: i64 = 253_402_300_799;
const NANOS_IN_SECOND: i32 = 1_000_000_000;
/// jiff's own timestamp ends a day before 9999 does; its dates do not.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A time that cannot be represented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time between the years 0001 and 9999 in RFC 3339 form")]
pub struct TimestampError {
    text: String,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self { seconds: 0, nanos: 0 };
    const MIN: Self = Self { seconds: FIRST_SECOND, nanos: 0 };
    const MAX: Self = Self { seconds: LAST_SECOND, nanos: NANOS_IN_SECOND - 1 };

    /// The time of this machine's clock, now. Code that can be handed a `Clock` takes that instead.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time enters; everything else takes it from a Clock")]
    pub fn now() -> Self {
        let now = jiff::Timestamp::now().as_duration();
        Self::after_epoch(now).unwrap_or(if now.is_negative() { Self::MIN } else { Self::MAX })
    }

    /// The time so many seconds and nanoseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// When the seconds lie outside the years 0001 to 9999, or the nanoseconds outside
    /// `0..1_000_000_000`.
    pub fn from_unix(seconds: i64, nanos: i32) -> Result<Self, TimestampError> {
        if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) || !(0..NANOS_IN_SECOND).contains(&nanos) {
            return Err(TimestampError { text: format!("{seconds}s+{nanos}ns") });
        }
        Ok(Self { seconds, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// The nanoseconds after [`Self::unix_seconds`], never negative.
    #[must_use]
    pub fn subsec_nanos(self) -> i32 {
        self.nanos
    }

    /// Microseconds since 1970, rounded down.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.seconds * 1_000_000 + i64::from(self.nanos / 1_000)
    }

    /// This time without its fraction of a second, as Kubernetes stores times.
    #[must_use]
    pub fn truncated_to_seconds(self) -> Self {
        Self { nanos: 0, ..self }
    }

    /// Whether this is the first instant of the year 1. Go's zero time is, by which clients written in Go say
    /// that a time is not set; the registry takes it as such.
    ///
    /// ```
    /// use device_api_core::resource::Timestamp;
    ///
    /// assert!("0001-01-01T00:00:00Z".parse::<Timestamp>()?.is_unset());
    /// # Ok::<(), device_api_core::resource::TimestampError>(())
    /// ```
    #[must_use]
    pub fn is_unset(self) -> bool {
        self == Self::MIN
    }

    /// The time that passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        (self.duration() - earlier.duration()).try_into().unwrap_or_default()
    }

    /// The time `duration` after this one; stops at the end of the range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        SignedDuration::try_from(duration)
            .ok()
            .and_then(|duration| self.duration().checked_add(duration))
            .and_then(Self::after_epoch)
            .unwrap_or(Self::MAX)
    }

    /// Since 1970.
    fn duration(self) -> SignedDuration {
        SignedDuration::new(self.seconds, self.nanos)
    }

    /// The time this long after 1970, if it can be represented.
    fn after_epoch(duration: SignedDuration) -> Option<Self> {
        // A negative one has a negative fraction.
        let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
        let borrow = i64::from(nanos < 0);
        Self::from_unix(seconds.checked_sub(borrow)?, nanos.rem_euclid(NANOS_IN_SECOND)).ok()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = EPOCH.checked_add(self.duration()).map_err(|_| fmt::Error)?;
        write!(f, "{date}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| TimestampError { text: text.chars().take(64).collect() })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    let date = DateTime::from_parts(pieces.date(), pieces.time()?);
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    Timestamp::after_epoch(date.duration_since(EPOCH) - offset)
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
    fn both_ends_of_the_protobuf_range_and_a_day_around_them_round_trip() {
        for (seconds, nanos, text) in [
            (FIRST_SECOND, 0, "0001-01-01T00:00:00Z"),
            (FIRST_SECOND, 1, "0001-01-01T00:00:00.000000001Z"),
            (FIRST_SECOND + 86_400, 0, "0001-01-02T00:00:00Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (LAST_SECOND - 86_400, 0, "9999-12-30T23:59:59Z"),
            (LAST_SECOND, 0, "9999-12-31T23:59:59Z"),
            (LAST_SECOND, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ] {
            let at = Timestamp::from_unix(seconds, nanos).unwrap();
            assert_eq!(at.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), at);
            assert_eq!((at.unix_seconds(), at.subsec_nanos()), (seconds, nanos));
            assert_eq!(serde_json::from_value::<Timestamp>(serde_json::to_value(at).unwrap()).unwrap(), at);
        }
    }

    #[test]
    fn times_outside_the_protobuf_range_are_refused() {
        for (seconds, nanos) in [(FIRST_SECOND - 1, 0), (LAST_SECOND + 1, 0), (i64::MIN, 0), (i64::MAX, 0)] {
            assert!(Timestamp::from_unix(seconds, nanos).is_err(), "{seconds}");
        }
        for nanos in [-1, 1_000_000_000] {
            assert!(Timestamp::from_unix(0, nanos).is_err(), "{nanos}");
        }
        for text in [
            "-000001-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_names_no_point_in_time_is_refused() {
        for text in ["", "yesterday", "2026-11-24", "2026-11-24T13:48:17", "2026-02-30T00:00:00Z", "13:48:17Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_time_between_two_times_is_never_negative() {
        let (first, last) = (Timestamp::MIN, Timestamp::MAX);
        assert_eq!(first.since(last), Duration::ZERO);
        let all = Duration::new((LAST_SECOND - FIRST_SECOND) as u64, 999_999_999);
        assert_eq!(last.since(first), all);
        assert_eq!(first.plus(all), last);
    }

    #[test]
    fn adding_stops_at_the_end_of_the_range() {
        let end = Timestamp::from_unix(0, 0).unwrap().plus(Duration::MAX);
        assert_eq!(end, Timestamp::MAX);
        assert_eq!(end.plus(Duration::from_nanos(1)), end);
    }
}
