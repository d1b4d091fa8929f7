// SPDX-License-Identifier: Apache-2.0
//! Durations and sizes as people write them in flags: `10s`, `5m`, `64MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: write a whole number and a unit, {units}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    units: &'static str,
}

/// A duration with its unit: `250ms`, `10s`, `5m`, `1h`.
///
/// ```
/// use device_api_server::units::Span;
///
/// let span: Span = "5m".parse()?;
/// assert_eq!(span.0.as_secs(), 300);
/// assert_eq!(span.to_string(), "5m");
/// # Ok::<(), device_api_server::units::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes with its unit: `512B`, `64KiB`, `4MiB`, `1GiB`.
///
/// ```
/// use device_api_server::units::Size;
///
/// let size: Size = "64KiB".parse()?;
/// assert_eq!(size.0, 65536);
/// assert_eq!(size.to_string(), "64KiB");
/// # Ok::<(), device_api_server::units::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// Smallest first; each a multiple of the one before.
const SPANS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let millis = parse(text, &SPANS).ok_or_else(|| UnitError {
            text: shown(text),
            what: "duration",
            units: "such as 250ms, 10s, 5m or 1h",
        })?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &SIZES).and_then(|bytes| usize::try_from(bytes).ok()).map(Self).ok_or_else(|| UnitError {
            text: shown(text),
            what: "size",
            units: "such as 512B, 64KiB, 4MiB or 1GiB",
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0 as u64, &SIZES)
    }
}

/// Reads what is not less than this.
pub(crate) fn at_least<T>(least: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr<Err: fmt::Display> + PartialOrd + fmt::Display + Clone,
{
    move |text| match text.parse::<T>() {
        Ok(value) if value >= least => Ok(value),
        Ok(_) => Err(format!("write at least {least}")),
        Err(error) => Err(format!("{error}; at least {least}")),
    }
}

/// Reads what is neither less nor more than these.
pub(crate) fn between<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr<Err: fmt::Display> + PartialOrd + fmt::Display + Clone,
{
    let read = at_least(least);
    move |text| match read(text)? {
        value if value <= most => Ok(value),
        _ => Err(format!("write at most {most}")),
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes the number in the largest unit that divides it.
fn write(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| number.is_multiple_of(*factor) && number >= *factor;
    match units.iter().rev().find(fits) {
        Some((name, factor)) => write!(f, "{}{name}", number / factor),
        None => write!(f, "{number}{}", units[0].0),
    }
}

/// The start of a text that may be of any length.
fn shown(text: &str) -> String {
    text.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0ms", "1ms", "1500ms", "10s", "90s", "5m", "1h", "25h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0B", "1B", "1023B", "1KiB", "64MiB", "3GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_number_without_a_unit_and_other_nonsense_is_refused() {
        for text in ["", "10", "s", "-1s", "+1s", "1.5s", "1 s", "1d", "10S", "18446744073709551615h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "10", "MiB", "1MB", "1mib", "-1B", "18446744073709551615GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_error_names_the_text_and_the_units() {
        let error = "10".parse::<Span>().unwrap_err().to_string();
        assert_eq!(error, "\"10\" is not a duration: write a whole number and a unit, such as 250ms, 10s, 5m or 1h");
    }
}
