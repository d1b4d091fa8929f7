// SPDX-License-Identifier: Apache-2.0
//! An XID in words, for people.

use std::fmt;

use super::{Action, Explanation, nvlink5};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { xid, action, .. } = *self;
        match self.mnemonic {
            Some(mnemonic) => writeln!(f, "XID {xid} ({mnemonic})")?,
            None => writeln!(f, "XID {xid}")?,
        }
        writeln!(f, "  what:   {}", self.title)?;
        if self.is_unused && self.mnemonic.is_some() {
            writeln!(f, "  unused: the catalogue lists this number as unused on Ampere and newer")?;
        }
        writeln!(f, "  action: {} ({})", action.advice(), action.as_str())?;
        if self.action_without_driver != action {
            let other = self.action_without_driver;
            writeln!(f, "          where it says nothing: {} ({})", other.advice(), other.as_str())?;
        }
        writeln!(f, "  then:   {}", self.investigation.advice())?;
        if let Some(recommended) = action.recommended() {
            writeln!(f, "  status: recommendedAction {recommended}")?;
        }
        writeln!(f, "  health: XidHealthy {}", effect(action))?;
        if action.stands() {
            writeln!(f, "  ends:   {}", ends(action, xid, self.spoken_of_from))?;
        }
        if let Some(note) = self.note {
            writeln!(f, "  note:   {note}")?;
        }
        if let Some(table) = nvlink5::table(xid) {
            write!(f, "{table}")?;
        }
        write!(f, "  source: https://docs.nvidia.com/deploy/xid-errors")
    }
}

/// What an XID with this action makes of `XidHealthy`.
pub(in super::super) fn effect(action: Action) -> &'static str {
    match action {
        Action::Ignore | Action::RestartApp => "stays as it is",
        Action::NonePublished => "Unknown, until the driver says that nothing is to be done",
        Action::AskDriver => "Unknown, until the next reading tells what the driver wants: nothing, or it is False",
        _ => "False, until something shows that it is over",
    }
}

/// What shows that it is over; `spoken_of_from` is the first branch of the driver whose recovery action speaks of it.
pub(in super::super) fn ends(action: Action, xid: u32, spoken_of_from: Option<u32>) -> String {
    let driver = match (action, spoken_of_from) {
        (Action::NonePublished, _) => "the driver's word, twice, that nothing is to be done, ".to_owned(),
        (Action::AskDriver, Some(from)) => format!("the driver (from R{from} on) wants nothing done, "),
        (Action::AskDriver, None) => "the driver wants nothing done, ".to_owned(),
        (Action::ResetGpu | Action::RebootNode, Some(from)) => {
            format!("the driver (from R{from} on) says twice that nothing is to be done, ")
        }
        _ => String::new(),
    };
    let reset = match action {
        Action::ResetGpu | Action::NonePublished | Action::AskDriver => {
            "a reset that the driver or a memory row asked for, the driver loaded again, "
        }
        Action::UpdateSoftware => "the driver loaded again, ",
        _ => "",
    };
    let silence = match (action, spoken_of_from) {
        (Action::ResetGpu | Action::RebootNode, None) => "; the driver's recovery action says nothing of it",
        _ => "",
    };
    format!("{driver}{reset}the node booted again, or acknowledge-xids: \"{xid}\"{silence}")
}
