// SPDX-License-Identifier: Apache-2.0
//! What the driver's facts make of conditions and action.

use super::*;

#[test]
fn each_recovery_action_has_its_conditions_and_action() {
    use RecoveryAction::*;
    let bits = |text: &str| text.chars().map(|bit| bit == '1').collect::<Vec<_>>();
    for (wanted, reason, needs, expected) in [
        (None, "RecoveryActionNone", bits("000"), ""),
        (GpuReset, "GpuReset", bits("100"), "COMPONENT_RESET"),
        (NodeReboot, "NodeReboot", bits("010"), "RESTART_BM"),
        (DrainP2P, "DrainP2P", bits("001"), "CUSTOM"),
        (DrainAndReset, "DrainAndReset", bits("101"), "COMPONENT_RESET"),
        (Other(6), "BusReset", bits("100"), "COMPONENT_RESET"),
        (Other(7), "SystemReboot", bits("010"), "RESTART_BM"),
    ] {
        let chart = healthy_on(Policy::default(), &verdict(wanted));
        for (type_, need) in [RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED].into_iter().zip(needs) {
            let status = if need { "True" } else { "False" };
            assert_eq!(of(&chart, type_), format!("{status} {reason}"), "{type_}, {wanted:?}");
        }
        assert_eq!(action(&chart).unwrap_or_default(), expected, "{wanted:?}");
        assert_eq!(chart.needs_attention(), wanted != None);
    }
}

#[test]
fn a_recovery_action_of_tomorrow_is_unknown_and_not_nothing() {
    for (value, reason) in [(5, "RecoverImexDomain"), (99, "RecoveryAction99")] {
        let chart = healthy_on(Policy::default(), &verdict(RecoveryAction::Other(value)));
        for type_ in [RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED] {
            assert_eq!(of(&chart, type_), format!("Unknown {reason}"));
        }
        assert_eq!(action(&chart).as_deref(), Some("UNKNOWN"));
    }
}

#[test]
fn the_driver_knows_better_than_the_catalogue_what_is_needed() {
    for (number, wanted, expected) in [
        (79, RecoveryAction::GpuReset, "COMPONENT_RESET"),
        (48, RecoveryAction::NodeReboot, "RESTART_BM"),
        // But it does not know of what is none of its business.
        (142, RecoveryAction::GpuReset, "CONTACT_SUPPORT"),
    ] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(number), at(1));
        chart.vitals(Ok(&verdict(wanted)));
        assert_eq!(of(&chart, XID_HEALTHY), format!("False Xid{number}"));
        assert_eq!(action(&chart).as_deref(), Some(expected), "XID {number}, {wanted:?}");
    }
}

#[test]
fn remapping_has_its_conditions_and_actions() {
    for (pending, failed, expected, recommended) in [
        (false, false, "True Ok", None),
        (true, false, "False RemapPending", Some("COMPONENT_RESET")),
        (false, true, "False RemapFailed", Some("CONTACT_SUPPORT")),
        (true, true, "False RemapFailed", Some("CONTACT_SUPPORT")),
    ] {
        let reading = Vitals { remapping_pending: Some(pending), remapping_failed: Some(failed), ..Vitals::default() };
        let chart = healthy_on(Policy::default(), &reading);
        assert_eq!((of(&chart, ROW_REMAP_HEALTHY).as_str(), action(&chart).as_deref()), (expected, recommended));
        assert_eq!(chart.needs_attention(), recommended.is_some());
        assert_eq!(of(&chart, NVML_READY), "True Healthy");
    }
}
