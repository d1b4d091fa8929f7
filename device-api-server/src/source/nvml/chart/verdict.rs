// SPDX-License-Identifier: Apache-2.0
//! What a driver's recovery action asks for.

use std::borrow::Cow;

use super::super::driver::RecoveryAction;
use super::super::xid::Action;
use super::{DRAIN_REQUIRED, REBOOT_REQUIRED, RESET_REQUIRED};

/// What a GPU needs; `None` where nobody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    reset: Option<bool>,
    reboot: Option<bool>,
    drain: Option<bool>,
}

impl Needs {
    /// By the type of the condition that says it.
    pub(super) fn each(self) -> [(&'static str, Option<bool>); 3] {
        [(RESET_REQUIRED, self.reset), (REBOOT_REQUIRED, self.reboot), (DRAIN_REQUIRED, self.drain)]
    }

    /// The gravest of them, where there is an action that says it.
    pub(super) fn action(self) -> Option<Action> {
        match self {
            Self { reboot: Some(true), .. } => Some(Action::RebootNode),
            Self { reset: Some(true), .. } => Some(Action::ResetGpu),
            _ => None,
        }
    }
}

/// What this action asks for.
pub(super) fn needs(action: RecoveryAction) -> Needs {
    let needs = |reset, reboot, drain| Needs { reset: Some(reset), reboot: Some(reboot), drain: Some(drain) };
    match action {
        RecoveryAction::None => needs(false, false, false),
        RecoveryAction::GpuReset | RecoveryAction::Other(BUS_RESET) => needs(true, false, false),
        RecoveryAction::NodeReboot | RecoveryAction::Other(SYSTEM_REBOOT) => needs(false, true, false),
        RecoveryAction::DrainP2P => needs(false, false, true),
        RecoveryAction::DrainAndReset => needs(true, false, true),
        RecoveryAction::Other(_) => Needs { reset: None, reboot: None, drain: None },
    }
}

/// Whether the driver asks for a reset of the GPU. It goes on until the GPU is reset: the mark is in the GPU itself.
pub(super) fn is_reset(action: RecoveryAction) -> bool {
    needs(action).reset == Some(true)
}

/// The action as a condition's reason.
pub(super) fn word(action: RecoveryAction) -> Cow<'static, str> {
    match action {
        RecoveryAction::None => "RecoveryActionNone".into(),
        RecoveryAction::GpuReset => "GpuReset".into(),
        RecoveryAction::NodeReboot => "NodeReboot".into(),
        RecoveryAction::DrainP2P => "DrainP2P".into(),
        RecoveryAction::DrainAndReset => "DrainAndReset".into(),
        RecoveryAction::Other(IMEX_DOMAIN) => "RecoverImexDomain".into(),
        RecoveryAction::Other(BUS_RESET) => "BusReset".into(),
        RecoveryAction::Other(SYSTEM_REBOOT) => "SystemReboot".into(),
        RecoveryAction::Other(value) => format!("RecoveryAction{value}").into(),
    }
}

// Values of `nvmlDeviceGpuRecoveryAction_t` that came with drivers after R580, as cuda-python's `DeviceGpuRecoveryAction`
// documents them.
const IMEX_DOMAIN: u32 = 5;
const BUS_RESET: u32 = 6;
const SYSTEM_REBOOT: u32 = 7;
