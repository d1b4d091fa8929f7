// SPDX-License-Identifier: Apache-2.0
//! What to do about an XID, and what shows that it was done.

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

/// What may show that a fault is over, whatever the driver says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cure {
    /// The GPU was reset.
    Reset,
    /// The driver was loaded again, which resets the GPU.
    Reload,
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

    /// Whether `cure` shows that an XID with this action is over. A reset mends no cable, brings no other software, and is not
    /// what support has to say.
    #[must_use]
    pub fn is_cured_by(self, cure: Cure) -> bool {
        match cure {
            Cure::Reset => self.is_doubtful() || self == Self::ResetGpu,
            Cure::Reload => self.is_cured_by(Cure::Reset) || self == Self::UpdateSoftware,
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

/// What to do about an XID once its immediate action is done: the catalogue's "Investigatory Action".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Investigation {
    /// NVIDIA publishes none.
    Unpublished,
    /// Nothing.
    Nothing,
    /// It comes with another XID: look into that one.
    FollowOther,
    /// Contact NVIDIA's support should it come again.
    Support,
    /// Check the application and what it uses of CUDA.
    Application,
    /// Look into the software that was running.
    Software,
    /// Update software and firmware.
    Update,
    /// Look into the link's signal.
    Link,
    /// A workflow of the catalogue's own.
    Workflow,
    /// Alone: restart the fabric manager. With another XID: nothing, look into that one.
    FabricManager,
    /// Alone: report it. With another XID: look into that one.
    ReportAlone,
}

impl Investigation {
    /// In words.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unpublished => "NVIDIA publishes nothing",
            Self::Nothing => "nothing is to be done",
            Self::FollowOther => "it comes with another XID: look into that one",
            Self::Support => "contact NVIDIA's support",
            Self::Application => "check the application and what it uses of CUDA",
            Self::Software => "look into the software that was running",
            Self::Update => "update software and firmware",
            Self::Link => "look into the link's signal",
            Self::Workflow => "follow the catalogue's workflow for it",
            Self::FabricManager => "alone: restart the fabric manager; with another XID: look into that one",
            Self::ReportAlone => "alone: report it; with another XID: look into that one",
        }
    }
}
