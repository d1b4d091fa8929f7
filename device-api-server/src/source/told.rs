// SPDX-License-Identifier: Apache-2.0
//! What the log tells of devices: which were found, and each change of what their source thinks of them.

use std::sync::LazyLock;

use device_api_core::health::{Health, Polarities, Verdict};
use device_api_core::resource::{Condition, RecommendedAction};

use super::nvml::SIMULATED;
use super::observation::Observed;

/// So many devices are told of one by one when they are found: all GPUs of a large node, not each part of a divided one.
const FOUND: usize = 64;

/// What was told of a device last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    verdict: Verdict,
    action: Option<RecommendedAction>,
}

/// Tells what is new of a device: `whole` is the GPU that it is a part of, and what is so of that is told of that alone. To be
/// called once a second for each device at most. `found` counts those that were told of at all. Whether there was any news.
pub(super) fn tell(told: &mut Option<Told>, observed: &Observed, whole: Option<&Observed>, found: &mut usize) -> bool {
    let health = judge(observed);
    let new = Told { verdict: health.verdict, action: observed.recommended_action.clone() };
    if told.as_ref() == Some(&new) {
        return false;
    }
    let before = told.replace(new);
    let device = &observed.device;
    let (gpu, index, pci) = (observed.uuid.as_str(), device.index, device.pci_bus_id.as_deref());
    let action = word(observed.recommended_action.as_ref());
    let why = why(&health);
    let is_bad = health.verdict != Verdict::Healthy || observed.recommended_action.is_some();
    let Some(before) = before else {
        let simulated = observed.labels.contains_key(SIMULATED);
        let product = device.product_name.as_deref();
        *found += 1;
        match *found {
            // What is wrong with a whole GPU is not to be missed, however many parts came and went before it.
            _ if is_bad && (*found <= FOUND || device.mig.is_none()) => {
                tracing::warn!(gpu, index, pci, product, simulated, action, why, "found a GPU, {health}");
            }
            ..=FOUND => tracing::info!(gpu, index, pci, product, simulated, "found a GPU, {health}"),
            _ => {
                if *found == FOUND + 1 {
                    tracing::info!(
                        "found more GPUs or parts of them than these {FOUND}: they are told of at level debug"
                    );
                }
                tracing::debug!(gpu, index, pci, product, simulated, action, why, "found a GPU, {health}");
            }
        }
        return true;
    };
    let (from, to, action_before) = (before.verdict.as_str(), health.verdict.as_str(), word(before.action.as_ref()));
    let is_of_the_whole = whole.is_some_and(|whole| {
        judge(whole).verdict == health.verdict && whole.recommended_action == observed.recommended_action
    });
    if is_of_the_whole {
        tracing::debug!(gpu, index, pci, from, to, action, action_before, why, "{health}");
    } else if is_bad {
        tracing::warn!(gpu, index, pci, from, to, action, action_before, why, "{health}");
    } else {
        tracing::info!(gpu, index, pci, from, to, action, action_before, "{health}");
    }
    true
}

/// What the source's own conditions come to.
fn judge(observed: &Observed) -> Health {
    static KNOWN: LazyLock<Polarities> = LazyLock::new(Polarities::default);
    KNOWN.judge(&observed.conditions)
}

/// What the conditions say that stand against health, each once. Short, as their messages are.
fn why(health: &Health) -> String {
    let mut why: Vec<&str> = Vec::new();
    for Condition { message, .. } in &health.reasons {
        if !why.contains(&message.as_str()) {
            why.push(message);
        }
    }
    why.join("; ")
}

fn word(action: Option<&RecommendedAction>) -> &str {
    action.map_or("-", RecommendedAction::as_str)
}
