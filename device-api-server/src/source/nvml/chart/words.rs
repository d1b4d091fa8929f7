// SPDX-License-Identifier: Apache-2.0
//! What a chart says to people.

use device_api_core::resource::{Condition, ConditionStatus};

use super::super::driver::DriverError;
use super::super::xid::{Action, explain};
use super::history::Entry;

/// The longest message, in bytes: people read it in a table.
const MAX_MESSAGE: usize = 1024;

/// A condition whose message is cut where it is too long.
pub(super) fn condition(type_: &str, status: ConditionStatus, reason: &str, mut message: String) -> Condition {
    const CUT: &str = "…";
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE - CUT.len()));
        message.push_str(CUT);
    }
    Condition::new(type_, status).with_reason(reason).with_message(message)
}

/// Three values everywhere.
pub(super) fn status(holds: Option<bool>) -> ConditionStatus {
    match holds {
        Some(true) => ConditionStatus::True,
        Some(false) => ConditionStatus::False,
        None => ConditionStatus::Unknown,
    }
}

/// What a GPU that does not answer is said to be, and why.
pub(super) fn broken(why: &DriverError) -> (ConditionStatus, &'static str) {
    use DriverError::*;
    match why {
        GpuLost | NotFound => (ConditionStatus::False, "GPULost"),
        ResetRequired => (ConditionStatus::False, "GPUResetRequired"),
        Hung { .. } => (ConditionStatus::Unknown, "NVMLHung"),
        LibraryNotFound { .. } | NoSuchFunction { .. } | DriverNotLoaded | VersionMismatch | Uninitialized => {
            (ConditionStatus::Unknown, "DriverNotLoaded")
        }
        Ambiguous { .. } => (ConditionStatus::Unknown, "DuplicateUUID"),
        NotSupported | NoPermission | Other { .. } => (ConditionStatus::Unknown, "NVMLError"),
    }
}

/// Each XID with what it means and what to do. No counts: they change with every event, and stand in the history.
pub(super) fn sentences(entries: &[&Entry]) -> String {
    let sentences: Vec<_> = entries.iter().map(|entry| sentence(entry)).collect();
    sentences.join("; ")
}

fn sentence(Entry { record, action, drain, heeds_driver, .. }: &Entry) -> String {
    let place = match (record.gpu_instance_id, record.compute_instance_id) {
        (Some(gpu), Some(compute)) => format!(" on GPU instance {gpu}, compute instance {compute}"),
        (Some(gpu), None) => format!(" on GPU instance {gpu}"),
        (None, _) => String::new(),
    };
    let place = if record.instance_gone { place + ", which is no more" } else { place };
    let advice = match action {
        _ if *drain => "drain all work from the GPU, then reset it",
        Action::AskDriver if *heeds_driver => "waits for what the driver's recovery action says",
        Action::AskDriver => "this driver does not tell what is to be done, only the kernel's log does",
        action => action.advice(),
    };
    format!("XID {}{place}: {}; {advice}", record.xid, explain(record.xid).title)
}
