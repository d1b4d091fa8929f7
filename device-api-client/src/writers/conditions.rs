// SPDX-License-Identifier: Apache-2.0
//! The patch that sets conditions.

use device_api_core::patch::Patch;
use device_api_core::resource::{Condition, Resource};
use device_api_core::{Error, Result};
use serde_json::{Value, json};

/// The patch that sets these conditions and takes those of the types `gone` away.
pub(crate) fn patch<R: Resource>(set: &[Condition], gone: &[String]) -> Result<Patch> {
    // Without the key the list would be replaced as a whole, with the conditions of all the others.
    if !R::MERGE_KEYS.contains(&("/status/conditions", "type")) {
        let why = format!("{} has no conditions that merge by type: use modify_status", R::PLURAL);
        return Err(Error::bad_request("status.conditions", why));
    }
    let gone = gone.iter().map(|type_| json!({"type": type_, "$patch": "delete"}));
    let items: Vec<Value> = set.iter().map(item).chain(gone).collect();
    Patch::strategic(&json!({"status": {"conditions": items}}))
}

/// A condition with nothing left out but its time: what a patch leaves out stays as it was.
fn item(condition: &Condition) -> Value {
    let Condition { type_, status, observed_generation, last_transition_time, reason, message } = condition;
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    let mut item = json!({
        "type": type_,
        "status": status,
        "observedGeneration": observed_generation,
        "reason": text(reason),
        "message": text(message),
    });
    if let (Some(time), Value::Object(item)) = (last_transition_time, &mut item) {
        item.insert("lastTransitionTime".to_owned(), json!(time));
    }
    item
}
