// SPDX-License-Identifier: Apache-2.0
//! What to do about a GPU that is not well.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What to do about a GPU, as NVSentinel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecommendedAction {
    /// `COMPONENT_RESET`: reset the GPU.
    ComponentReset,
    /// `RESTART_VM`: restart the virtual machine.
    RestartVm,
    /// `RESTART_BM`: restart the node.
    RestartBm,
    /// `RUN_DCGMEUD`: run DCGM's end-user diagnostics.
    RunDcgmEud,
    /// `RUN_FIELDDIAG`: run NVIDIA's field diagnostics.
    RunFieldDiag,
    /// `REPLACE_VM`: replace the virtual machine.
    ReplaceVm,
    /// `CONTACT_SUPPORT`: contact NVIDIA's support.
    ContactSupport,
    /// `CUSTOM`: as the conditions' messages say.
    Custom,
    /// `UNKNOWN`: something, but nobody can say what.
    Unknown,
    /// Any other text.
    Other(String),
}

impl RecommendedAction {
    /// The action on the wire and in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ComponentReset => "COMPONENT_RESET",
            Self::RestartVm => "RESTART_VM",
            Self::RestartBm => "RESTART_BM",
            Self::RunDcgmEud => "RUN_DCGMEUD",
            Self::RunFieldDiag => "RUN_FIELDDIAG",
            Self::ReplaceVm => "REPLACE_VM",
            Self::ContactSupport => "CONTACT_SUPPORT",
            Self::Custom => "CUSTOM",
            Self::Unknown => "UNKNOWN",
            Self::Other(text) => text,
        }
    }

    /// How grave what stands behind the action is, from 1 on: what a person must look at first (`CUSTOM`,
    /// `UNKNOWN` and other texts), then from a reset of the GPU to a call to its maker.
    ///
    /// As an `Option`, an action is graver than none.
    #[must_use]
    pub fn severity(&self) -> u8 {
        match self {
            Self::Custom | Self::Unknown | Self::Other(_) => 1,
            Self::ComponentReset => 2,
            Self::RestartVm => 3,
            Self::RestartBm => 4,
            Self::RunDcgmEud => 5,
            Self::RunFieldDiag => 6,
            Self::ReplaceVm => 7,
            Self::ContactSupport => 8,
        }
    }

    /// The gravest of these actions, and of equally grave ones the first; `None` when there is none.
    ///
    /// ```
    /// use device_api_core::resource::RecommendedAction::{self, ComponentReset, Custom, RestartBm};
    ///
    /// let standing = [None, Some(ComponentReset), Some(RestartBm), Some(Custom)];
    /// assert_eq!(RecommendedAction::gravest(standing.into_iter().flatten()), Some(RestartBm));
    /// ```
    #[must_use]
    pub fn gravest(actions: impl IntoIterator<Item = Self>) -> Option<Self> {
        actions.into_iter().reduce(|gravest, next| if next.severity() > gravest.severity() { next } else { gravest })
    }
}

impl From<&str> for RecommendedAction {
    fn from(text: &str) -> Self {
        match text {
            "COMPONENT_RESET" => Self::ComponentReset,
            "RESTART_VM" => Self::RestartVm,
            "RESTART_BM" => Self::RestartBm,
            "RUN_DCGMEUD" => Self::RunDcgmEud,
            "RUN_FIELDDIAG" => Self::RunFieldDiag,
            "REPLACE_VM" => Self::ReplaceVm,
            "CONTACT_SUPPORT" => Self::ContactSupport,
            "CUSTOM" => Self::Custom,
            "UNKNOWN" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for RecommendedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RecommendedAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RecommendedAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
    }
}

#[cfg(test)]
mod tests {
    use super::RecommendedAction::{self, *};

    #[test]
    fn actions_are_ordered_from_none_to_contact_support() {
        let order = [Custom, ComponentReset, RestartVm, RestartBm, RunDcgmEud, RunFieldDiag, ReplaceVm, ContactSupport];
        let severities: Vec<_> = order.iter().map(|action| Some(action.severity())).collect();
        assert!(severities.is_sorted_by(|lighter, graver| lighter < graver), "{severities:?}");
        assert!(severities[0] > None);
        for equal in [Unknown, Other("WAIT".to_owned())] {
            assert_eq!(equal.severity(), Custom.severity(), "{equal}");
        }
    }

    #[test]
    fn the_gravest_action_is_the_first_of_equal_ones() {
        let gravest = |texts: &[&str]| RecommendedAction::gravest(texts.iter().map(|text| (*text).into()));
        assert_eq!(gravest(&[]), None);
        assert_eq!(gravest(&["CUSTOM", "REPLACE_VM", "RESTART_BM"]), Some(ReplaceVm));
        assert_eq!(gravest(&["WAIT", "CUSTOM", "UNKNOWN"]), Some(Other("WAIT".to_owned())));
    }
}
