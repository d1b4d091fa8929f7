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

mod table;

use std::fmt;

use device_api_core::resource::RecommendedAction;

/// What to do about an XID, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Nothing.
    Ignore,
    /// Restart the application; the GPU can be used.
    RestartApp,
    /// NVIDIA publishes none: nobody can say whether the GPU can be used.
    NonePublished,
    /// The driver's recovery action says it.
    AskDriver,
    /// Check the power cables.
    CheckPower,
    /// Update the driver, or the software that does not fit it.
    UpdateSoftware,
    /// Reset the GPU.
    ResetGpu,
    /// Restart the virtual machine.
    RestartVm,
    /// Restart the node.
    RebootNode,
    /// Contact NVIDIA's support.
    ContactSupport,
}

/// What may show that a fault is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cure {
    /// The driver said, and said again, that nothing is to be done about the GPU.
    Verdict,
    /// The driver was loaded again, which resets the GPU.
    Reset,
    /// The node was booted again.
    Reboot,
}

impl Action {
    /// All of them, the gravest last.
    pub const ALL: [Self; 10] = [
        Self::Ignore,
        Self::RestartApp,
        Self::NonePublished,
        Self::AskDriver,
        Self::CheckPower,
        Self::UpdateSoftware,
        Self::ResetGpu,
        Self::RestartVm,
        Self::RebootNode,
        Self::ContactSupport,
    ];

    /// The action in a policy file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::RestartApp => "restart-app",
            Self::NonePublished => "none-published",
            Self::AskDriver => "ask-driver",
            Self::CheckPower => "check-power",
            Self::UpdateSoftware => "update-software",
            Self::ResetGpu => "reset-gpu",
            Self::RestartVm => "restart-vm",
            Self::RebootNode => "reboot-node",
            Self::ContactSupport => "contact-support",
        }
    }

    /// The action as a GPU's status names it; `None` where nothing is to be done to the GPU, or nobody can say what.
    #[must_use]
    pub fn recommended(self) -> Option<RecommendedAction> {
        match self {
            Self::Ignore | Self::RestartApp | Self::NonePublished | Self::AskDriver => None,
            Self::CheckPower | Self::UpdateSoftware => Some(RecommendedAction::Custom),
            Self::ResetGpu => Some(RecommendedAction::ComponentReset),
            Self::RestartVm => Some(RecommendedAction::RestartVm),
            Self::RebootNode => Some(RecommendedAction::RestartBm),
            Self::ContactSupport => Some(RecommendedAction::ContactSupport),
        }
    }

    /// Whether an XID with this action stands against the GPU's health until something shows that it is over.
    #[must_use]
    pub fn stands(self) -> bool {
        self > Self::RestartApp
    }

    /// Whether nobody can say, from the XID alone, that the GPU needs anything.
    #[must_use]
    pub fn is_doubtful(self) -> bool {
        matches!(self, Self::NonePublished | Self::AskDriver)
    }

    /// Whether `cure` shows that an XID with this action is over.
    ///
    /// The driver's verdict is about resets and reboots of the GPU: it knows nothing of a loose cable, of software that
    /// does not fit, or of what support has to say.
    #[must_use]
    pub fn is_cured_by(self, cure: Cure) -> bool {
        match cure {
            Cure::Verdict => self.is_doubtful() || matches!(self, Self::ResetGpu | Self::RebootNode),
            Cure::Reset => self.is_doubtful() || matches!(self, Self::ResetGpu | Self::UpdateSoftware),
            Cure::Reboot => true,
        }
    }

    /// The action as a sentence's end.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Ignore => "nothing is to be done",
            Self::RestartApp => "restart the application, the GPU can be used",
            Self::NonePublished => "NVIDIA publishes no action",
            Self::AskDriver => "the driver's recovery action says what is to be done",
            Self::CheckPower => "check the GPU's power cables",
            Self::UpdateSoftware => "update the driver and the software that uses it",
            Self::ResetGpu => "reset the GPU",
            Self::RestartVm => "restart the virtual machine",
            Self::RebootNode => "restart the node",
            Self::ContactSupport => "contact NVIDIA's support",
        }
    }
}

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
    /// What the action depends on.
    pub note: Option<&'static str>,
}

/// Looks an XID up in NVIDIA's catalogue for Ampere and newer GPUs
/// (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>). A number that it does not have is explained,
/// too: as one for which no action is published.
#[must_use]
pub fn explain(xid: u32) -> Explanation {
    let note = note(xid);
    match table::find(xid) {
        Some(row) => Explanation { xid, mnemonic: Some(row.mnemonic), title: row.title, action: row.action, note },
        None => {
            let title = "not in the catalogue that this version knows";
            Explanation { xid, mnemonic: None, title, action: Action::NonePublished, note }
        }
    }
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
        74 => "Its registers, in the kernel's log, tell which link and side; without them a reset is the safe answer.",
        79 => "NVML does not answer for this GPU any more. Should it come again, have power, slot and cooling checked.",
        94 => "Other applications are not affected.",
        119 | 120 => "Should it persist after the reset, power the node off and on.",
        144..=150 => {
            "The numbers in the kernel's log tell whether a reset is needed; without them it is the safe answer."
        }
        154 => "The kernel's log and NVML (drivers from R565 on) tell the action.",
        159 => "A reset is needed where unified memory is in use, which NVML does not tell.",
        171 | 172 => "It comes with an XID 48: act on that one.",
        _ => return None,
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic {
            Some(mnemonic) => writeln!(f, "XID {} ({mnemonic})", self.xid)?,
            None => writeln!(f, "XID {}", self.xid)?,
        }
        writeln!(f, "  what:   {}", self.title)?;
        writeln!(f, "  action: {} ({})", self.action.advice(), self.action.as_str())?;
        if let Some(recommended) = self.action.recommended() {
            writeln!(f, "  status: recommendedAction {recommended}")?;
        }
        let health = match (self.action.stands(), self.action.is_doubtful()) {
            (false, _) => "stays as it is",
            (true, true) => "Unknown, until the driver says that nothing is to be done",
            (true, false) => "False, until something shows that it is over",
        };
        writeln!(f, "  health: XidHealthy {health}")?;
        if let Some(note) = self.note {
            writeln!(f, "  note:   {note}")?;
        }
        write!(f, "  source: https://docs.nvidia.com/deploy/xid-errors")
    }
}

#[cfg(test)]
#[path = "xid_tests.rs"]
mod tests;
