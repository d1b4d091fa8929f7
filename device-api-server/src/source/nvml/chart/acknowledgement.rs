// SPDX-License-Identifier: Apache-2.0
//! What a person says of the XIDs that stand.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A person's word that XIDs are dealt with: all of them, or these. Its text is `all`, or numbers with commas between.
///
/// ```
/// use device_api_server::source::nvml::chart::Acknowledgement;
///
/// assert_eq!("all".parse(), Ok(Acknowledgement::All));
/// assert_eq!("79, 48".parse(), Ok(Acknowledgement::Xids([48, 79].into())));
/// assert!("the red one".parse::<Acknowledgement>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// All that stand.
    All,
    /// Those with these numbers.
    Xids(BTreeSet<u32>),
}

impl Acknowledgement {
    /// Whether it is about this XID.
    #[must_use]
    pub fn covers(&self, xid: u32) -> bool {
        match self {
            Self::All => true,
            Self::Xids(xids) => xids.contains(&xid),
        }
    }
}

/// A text that acknowledges nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} acknowledges no XIDs: say \"all\", or their numbers with commas between")]
pub struct AcknowledgementError {
    text: String,
}

impl FromStr for Acknowledgement {
    type Err = AcknowledgementError;

    fn from_str(text: &str) -> Result<Self, AcknowledgementError> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        let xids = text.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>();
        // The text may be somebody else's annotation: as long as it likes.
        xids.map(Self::Xids).map_err(|_| AcknowledgementError { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Xids(xids) => {
                let numbers: Vec<_> = xids.iter().map(u32::to_string).collect();
                f.write_str(&numbers.join(","))
            }
        }
    }
}
