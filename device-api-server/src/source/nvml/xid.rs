// SPDX-License-Identifier: Apache-2.0
//! What an XID means: NVIDIA's catalogue as a table, and what to do about each.
//!
//! ```
//! use device_api_server::source::nvml::xid::{Action, explain};
//!
//! let explanation = explain(79);
//! assert_eq!(explanation.action, Action::RebootNode);
//! assert!(explanation.to_string().starts_with("XID 79 (ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS)"));
//! ```

mod action;
pub mod nvlink5;
mod table;
mod text;

pub use self::action::{Action, Cure, Investigation};
pub(super) use self::text::{effect, ends};

/// What is known of one XID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The number.
    pub xid: u32,
    /// The name that the driver's sources and the kernel's log give it; `None` for a number that the table lacks.
    pub mnemonic: Option<&'static str>,
    /// What happened.
    pub title: &'static str,
    /// What to do about it.
    pub action: Action,
    /// What to do about it with a driver that does not speak of it; where [`Self::action`] does not depend on the driver, the
    /// same.
    pub action_without_driver: Action,
    /// What to do once that is done.
    pub investigation: Investigation,
    /// The first branch of the driver, such as 565, whose recovery action speaks of this XID: that it wants nothing done then
    /// says that the XID is over. `None`: it says nothing of it.
    pub spoken_of_from: Option<u32>,
    /// Whether the catalogue lists the number as unused.
    pub is_unused: bool,
    /// What the action depends on.
    pub note: Option<&'static str>,
}

/// Looks an XID up in NVIDIA's catalogue for Ampere and newer GPUs
/// (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>). A number that it does not have is explained,
/// too: as one for which no action is published.
#[must_use]
pub fn explain(xid: u32) -> Explanation {
    let is_unused = table::is_unused(xid);
    let explanation = Explanation {
        xid,
        mnemonic: None,
        title: "not in the catalogue that this version knows",
        action: Action::NonePublished,
        action_without_driver: Action::NonePublished,
        investigation: Investigation::Unpublished,
        spoken_of_from: None,
        is_unused,
        note: note(xid),
    };
    match table::find(xid) {
        Some(row) => Explanation {
            mnemonic: Some(row.mnemonic),
            title: row.title,
            action: row.action,
            action_without_driver: without_driver(xid).unwrap_or(row.action),
            investigation: row.investigation,
            spoken_of_from: row.spoken_of_from,
            ..explanation
        },
        None if is_unused => Explanation {
            title: "a number that the catalogue lists as unused on Ampere and newer",
            action: Action::ContactSupport,
            action_without_driver: Action::ContactSupport,
            investigation: if xid == 16 { Investigation::Support } else { Investigation::Unpublished },
            ..explanation
        },
        None => explanation,
    }
}

/// Whether an XID is about what all instances of a GPU share, whichever instance it names: the bus, the power supply, the
/// links, the system processors, the `InfoROM`, the keys of a virtual machine, or the whole chip. Errors of memory, engines
/// and channels are those of the instance that they name: instances have their own.
#[must_use]
pub(super) fn concerns_the_chip(xid: u32) -> bool {
    matches!(
        xid,
        46 | 54
            | 61
            | 62
            | 64
            | 74
            | 78
            | 79
            | 110
            | 119
            | 120
            | 136
            | 140
            | 143..=151
            | 154..=156
            | 158
            | 159
            | 162..=170
    )
}

/// What to do about an XID whose meaning only the driver can tell, where it does not. Of 144 to 149 the catalogue's tables
/// have both what needs nothing and what needs a reset, so nobody can say; all of 150 needs a reset, and of 74 and 159 it is
/// the safe answer.
fn without_driver(xid: u32) -> Option<Action> {
    matches!(xid, 74 | 150 | 159).then_some(Action::ResetGpu)
}

/// What the catalogue's workflows say, and what this source makes of them.
fn note(xid: u32) -> Option<&'static str> {
    Some(match xid {
        45 => "Alone it is the end of an application. It often follows another XID: act on that one.",
        48 => {
            "Together with XID 63 or 64: drain all work from the GPU first. XID 94 or 95 says whether it was contained."
        }
        54 => "Seen on boards with power cables of their own.",
        63 => "The new row is used from the next reset on. Together with XID 48: drain all work, then reset.",
        64 => "Should it persist after the reset, contact NVIDIA's support.",
        74 => {
            "Its registers, in the kernel's log, tell which link and side. A driver that does not speak of it leaves a reset as \
             the safe answer."
        }
        79 => "NVML does not answer for this GPU any more. Should it come again, have power, slot and cooling checked.",
        94 => "Other applications are not affected.",
        119 | 120 => "Should it persist after the reset, power the node off and on.",
        144..=148 => {
            "Most of these need nothing. NVML tells the number only; the kernel's log has the unit and its error status, and \
             the driver's recovery action says whether a reset is needed."
        }
        149 => {
            "A link that went down needs a reset, other events may need nothing. NVML tells the number only; the kernel's log \
             has the rest, and the driver's recovery action says whether a reset is needed."
        }
        150 => "All that the catalogue has of it needs a reset.",
        154 => "The kernel's log and NVML (drivers from R565 on) tell the action.",
        159 => "A reset is needed where unified memory is in use, which NVML does not tell.",
        171 | 172 => "It comes with an XID 48: act on that one.",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "xid_tests.rs"]
mod tests;
