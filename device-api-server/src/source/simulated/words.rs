// SPDX-License-Identifier: Apache-2.0
//! The values of a scenario that are written as words: times, UUIDs, addresses, profiles.

use std::time::Duration;

use serde::Deserialize;

use super::product::Product;
use crate::units::Span;

/// The longest time: 30 days. No scenario needs more, and it can be added to any instant.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most events of one step.
const MOST_EVENTS: u32 = 1_000_000;
/// The longest text, in bytes: as much as an object's fields hold.
const MAX_TEXT: usize = 253;

/// A time, such as `5s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Span(time) = text.parse().map_err(|error: crate::units::UnitError| error.to_string())?;
        if time > LONGEST { Err("no time is longer than 30 days, 720h".into()) } else { Ok(Self(time)) }
    }
}

/// A number of events.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Count(pub(super) u32);

impl Default for Count {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(count: i64) -> Result<Self, String> {
        let count = u32::try_from(count).ok().filter(|count| (1..=MOST_EVENTS).contains(count));
        count.map(Self).ok_or_else(|| format!("write a number of events from 1 to {MOST_EVENTS}"))
    }
}

/// A text that fits into an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text(pub(super) String);

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control);
        if fits { Ok(Self(text)) } else { Err(format!("write a text of 1 to {MAX_TEXT} printable bytes")) }
    }
}

/// A kind of GPU, by its key.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ProductName(pub(super) &'static Product);

impl TryFrom<String> for ProductName {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        Product::named(&key).map(Self)
    }
}

/// A GPU's UUID, as NVML writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Uuid(pub(super) String);

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let groups: Vec<_> = text.strip_prefix("GPU-").unwrap_or_default().split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex) {
            Ok(Self(text))
        } else {
            Err("a GPU's UUID is written GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, each x one of 0-9a-f".into())
        }
    }
}

impl Uuid {
    /// The UUID of the board that is the `generation`th in a slot. All begin alike, so that people
    /// recognise what is simulated.
    pub(super) fn numbered(slot: usize, generation: u16) -> Self {
        Self(format!("GPU-51500000-0000-4000-8000-{generation:04x}{slot:08x}"))
    }

    /// The UUID of a part of this GPU. As with the driver's own, it is the same whenever this part is made.
    pub(super) fn of_part(&self, gpu_instance: u32, compute_instance: u32) -> String {
        let groups: Vec<_> = self.0.split('-').collect();
        let [_, first, _, _, fourth, last] = groups[..] else { return self.0.clone() };
        format!("MIG-{first}-{gpu_instance:04x}-{compute_instance:04x}-{fourth}-{last}")
    }
}

/// A PCI address with a domain of eight digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PciBusId(pub(super) String);

impl TryFrom<String> for PciBusId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_one = |text: &str| {
            let (rest, function) = text.split_once('.')?;
            let parts: Vec<_> = rest.split(':').chain([function]).collect();
            let is_hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
            Some(parts.iter().map(|part| part.len()).eq([8, 2, 2, 1]) && parts.iter().all(is_hex))
        };
        if is_one(&text) == Some(true) {
            Ok(Self(text))
        } else {
            Err("a PCI bus id is written DDDDDDDD:BB:DD.F, such as 00000000:3B:00.0, in capitals".into())
        }
    }
}

/// A MIG profile, such as `1g.10gb`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Profile {
    pub(super) name: String,
    /// Of the seven that a GPU has.
    pub(super) slices: u32,
    pub(super) gigabytes: u64,
}

impl Profile {
    /// The memory that it has.
    pub(super) fn bytes(&self) -> u64 {
        self.gigabytes * 1_000_000_000
    }
}

impl TryFrom<String> for Profile {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let parts = name.strip_suffix("gb").and_then(|rest| rest.split_once("g."));
        let numbers = parts.and_then(|(slices, gigabytes)| Some((slices.parse().ok()?, gigabytes.parse().ok()?)));
        match numbers {
            Some((slices @ (1 | 2 | 3 | 4 | 7), gigabytes @ 1..=999)) if name == format!("{slices}g.{gigabytes}gb") => {
                Ok(Self { name, slices, gigabytes })
            }
            _ => Err(format!("{name:?} is not a MIG profile: write one such as 1g.10gb, of 1, 2, 3, 4 or 7 slices")),
        }
    }
}
