// SPDX-License-Identifier: Apache-2.0
//! Silence is not health, and missing data is no fault.

use super::*;

fn full() -> Vitals {
    Vitals {
        recovery_action: Some(RecoveryAction::None),
        ecc_uncorrected_volatile: Some(0),
        remapping_pending: Some(false),
        remapping_failed: Some(false),
    }
}

#[test]
fn of_a_new_gpu_all_is_unknown() {
    let chart = Chart::new(Arc::default(), None);
    assert_eq!(of(&chart, NVML_READY), "Unknown Initialized");
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown Initialized");
    assert_eq!(action(&chart), None);
}

#[test]
fn a_reading_without_events_leaves_xids_unknown() {
    let mut chart = Chart::new(Arc::default(), None);
    chart.vitals(Ok(&full()));
    assert_eq!(
        (of(&chart, NVML_READY), of(&chart, XID_HEALTHY)),
        ("True Healthy".into(), "Unknown NotSubscribed".into())
    );
}

#[test]
fn events_that_cannot_be_had_are_not_health() {
    for (why, expected) in [
        (DriverError::NotSupported, "Unknown NotReported"),
        (DriverError::NoPermission, "Unknown NotSubscribed"),
        (DriverError::Hung { call: "subscribe" }, "Unknown NotSubscribed"),
    ] {
        let mut chart = healthy();
        chart.subscribed(Err(&why));
        assert_eq!(of(&chart, XID_HEALTHY), expected);
        assert!(message(&chart, XID_HEALTHY).contains(&why.to_string()));
        assert_eq!(of(&chart, NVML_READY), "True Healthy");
        chart.event(&xid(79), at(1));
        assert_eq!(of(&chart, XID_HEALTHY), "False Xid79");
    }
}

/// A GPU whose driver says that it reports no events of it, as on WSL.
fn mute() -> Chart {
    let mut chart = Chart::new(Arc::default(), None);
    chart.subscribed(Err(&DriverError::NotSupported));
    chart.vitals(Ok(&full()));
    chart
}

#[test]
fn of_a_gpu_that_never_reports_xids_nothing_is_said_of_them_and_that_is_said() {
    let mut chart = mute();
    assert_eq!((of(&chart, XID_HEALTHY), of(&chart, NVML_READY)), ("-".into(), "True NoXidReports".into()));
    assert!(message(&chart, NVML_READY).contains("reports no XIDs"));
    // What it says when it is asked still counts.
    chart.vitals(Ok(&verdict(RecoveryAction::GpuReset)));
    assert_eq!(of(&chart, RESET_REQUIRED), "True GpuReset");
    // It is so whatever happens meanwhile: a silence that is known does not become one that is in doubt.
    chart.unreachable(&DriverError::Hung { call: "vitals" });
    chart.subscribed(Err(&DriverError::Hung { call: "event wait" }));
    assert_eq!((of(&chart, XID_HEALTHY), of(&chart, NVML_READY)), ("-".into(), "Unknown NVMLHung".into()));
    chart.driver_reloaded();
    chart.vitals(Ok(&full()));
    assert_eq!((of(&chart, XID_HEALTHY), of(&chart, NVML_READY)), ("-".into(), "True Recovered".into()));
    assert!(message(&chart, NVML_READY).contains("reports no XIDs"));
    chart.subscribed(Ok(()));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
    assert!(!message(&chart, NVML_READY).contains("reports no XIDs"));
}

#[test]
fn a_gpu_that_was_heard_once_is_in_doubt_when_it_cannot_be_heard_also_after_our_restart() {
    let restarted = |before: &Chart| {
        let status = GpuStatus { conditions: before.conditions(None), ..GpuStatus::default() };
        let mut chart = Chart::new(Arc::default(), None);
        chart.adopt(&status);
        chart.unreachable(&DriverError::DriverNotLoaded);
        chart
    };
    let mut heard = restarted(&healthy());
    assert_eq!(of(&heard, XID_HEALTHY), "Unknown DriverNotLoaded");
    heard.subscribed(Err(&DriverError::NotSupported));
    heard.vitals(Ok(&full()));
    assert_eq!(of(&heard, XID_HEALTHY), "Unknown NotReported");
    let mut never = restarted(&restarted(&mute()));
    assert_eq!(of(&never, XID_HEALTHY), "-", "nor is it made up while the driver is away");
    never.subscribed(Err(&DriverError::NotSupported));
    never.vitals(Ok(&full()));
    assert_eq!(of(&never, XID_HEALTHY), "-");
}

#[test]
fn a_gpu_that_answers_nothing_before_a_reset_says_that_it_needs_one() {
    let mut chart = healthy_on(Policy::default(), &full());
    chart.unreachable(&DriverError::ResetRequired);
    assert_eq!(of(&chart, NVML_READY), "False GPUResetRequired");
    assert_eq!(of(&chart, RESET_REQUIRED), "True GpuReset");
    assert_eq!(of(&chart, REBOOT_REQUIRED), "Unknown GPUResetRequired");
    assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
    chart.vitals(Ok(&full()));
    assert_eq!(
        (of(&chart, NVML_READY), of(&chart, RESET_REQUIRED)),
        ("True Recovered".into(), "False RecoveryActionNone".into())
    );
}

#[test]
fn every_failure_has_its_status_and_reason() {
    let other = || DriverError::Other { call: "vitals", why: "?".to_owned() };
    for (why, expected) in [
        (DriverError::GpuLost, "False GPULost"),
        (DriverError::NotFound, "False GPULost"),
        (DriverError::Hung { call: "vitals" }, "Unknown NVMLHung"),
        (DriverError::DriverNotLoaded, "Unknown DriverNotLoaded"),
        (DriverError::VersionMismatch, "Unknown DriverNotLoaded"),
        (DriverError::Uninitialized, "Unknown DriverNotLoaded"),
        (DriverError::LibraryNotFound { looked_for: "/usr".to_owned() }, "Unknown DriverNotLoaded"),
        (DriverError::NoSuchFunction { symbol: "nvmlInit".to_owned() }, "Unknown DriverNotLoaded"),
        (DriverError::NotSupported, "Unknown NVMLError"),
        (DriverError::NoPermission, "Unknown NVMLError"),
        (DriverError::Ambiguous { places: "1 and 2".to_owned() }, "Unknown DuplicateUUID"),
        (other(), "Unknown NVMLError"),
    ] {
        let mut told = healthy_on(Policy::default(), &full());
        told.unreachable(&why);
        let mut read = healthy_on(Policy::default(), &full());
        read.vitals(Err(&why));
        assert_eq!(told.conditions(None), read.conditions(None));
        assert_eq!(of(&told, NVML_READY), expected, "{why}");
        let (_, reason) = expected.split_once(' ').unwrap();
        for type_ in CONDITION_TYPES.iter().skip(1) {
            assert_eq!(of(&told, type_), format!("Unknown {reason}"), "{type_}, {why}");
        }
        assert!(told.needs_attention());
        assert_eq!(message(&told, NVML_READY), why.to_string());

        told.vitals(Ok(&full()));
        assert_eq!(of(&told, NVML_READY), "True Recovered");
        assert!(told.conditions(None).iter().all(|condition| condition.status != ConditionStatus::Unknown));
    }
}

#[test]
fn a_standing_xid_stays_false_while_nothing_answers() {
    for (why, ready) in
        [(DriverError::GpuLost, "False GPULost"), (DriverError::Hung { call: "vitals" }, "Unknown NVMLHung")]
    {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(79), at(1));
        chart.unreachable(&why);
        assert_eq!((of(&chart, NVML_READY).as_str(), of(&chart, XID_HEALTHY)), (ready, "False Xid79".into()));
        assert_eq!(of(&chart, REBOOT_REQUIRED), "True NodeReboot", "by the catalogue: the driver does not answer");
        assert!(of(&chart, RESET_REQUIRED).starts_with("Unknown "));
        assert_eq!(action(&chart).as_deref(), Some("RESTART_BM"));
    }
}

#[test]
fn what_a_gpu_never_tells_is_left_out() {
    let chart = healthy();
    for type_ in [RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED, ROW_REMAP_HEALTHY, ECC_HEALTHY] {
        assert_eq!(of(&chart, type_), "-");
    }
    assert!(chart.conditions(None).iter().all(|condition| condition.status == ConditionStatus::True));
}

#[test]
fn what_is_told_no_more_is_unknown_once_and_then_left_out() {
    let mut chart = healthy_on(Policy::default(), &full());
    chart.vitals(Ok(&Vitals::default()));
    for type_ in [RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED, ROW_REMAP_HEALTHY, ECC_HEALTHY] {
        assert_eq!(of(&chart, type_), "Unknown NotReported");
    }
    let mut back = chart.clone();
    back.vitals(Ok(&full()));
    assert_eq!(of(&back, ECC_HEALTHY), "True Ok");
    // As after ECC was switched off.
    chart.vitals(Ok(&Vitals::default()));
    assert_eq!(of(&chart, ECC_HEALTHY), "-");
}

#[test]
fn what_was_wrong_when_it_was_told_last_does_not_become_well_by_silence() {
    let errors = |action| Vitals { ecc_uncorrected_volatile: Some(1), recovery_action: action, ..Vitals::default() };
    let cases: [(&str, Vitals); 5] = [
        (RESET_REQUIRED, verdict(RecoveryAction::GpuReset)),
        (DRAIN_REQUIRED, verdict(RecoveryAction::Other(99))),
        (ROW_REMAP_HEALTHY, Vitals { remapping_failed: Some(true), ..Vitals::default() }),
        (ROW_REMAP_HEALTHY, Vitals { remapping_pending: Some(true), ..Vitals::default() }),
        (ECC_HEALTHY, errors(None)),
    ];
    for (type_, reading) in cases {
        let mut chart = healthy_on(Policy::default(), &reading);
        for _ in 0..5 {
            chart.vitals(Ok(&Vitals::default()));
            assert_eq!(of(&chart, type_), "Unknown NotReported", "{reading:?}");
        }
        chart.vitals(Ok(&full()));
        assert!(of(&chart, type_).ends_with(" Ok") || of(&chart, type_) == "False RecoveryActionNone");
        // Another driver may not have it.
        let mut chart = healthy_on(Policy::default(), &reading);
        chart.driver_reloaded();
        for _ in 0..2 {
            chart.vitals(Ok(&Vitals::default()));
        }
        assert_eq!(of(&chart, type_), "-");
    }
    // What was of no consequence may go, as where ECC was switched off.
    let mut chart = healthy_on(Policy::default(), &errors(Some(RecoveryAction::None)));
    chart.vitals(Ok(&errors(Some(RecoveryAction::None))));
    for _ in 0..2 {
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert_eq!(of(&chart, ECC_HEALTHY), "-");
}

#[test]
fn after_a_reload_all_is_unknown_until_it_is_told_again() {
    let mut chart = healthy_on(Policy::default(), &full());
    chart.driver_reloaded();
    for type_ in CONDITION_TYPES {
        assert_eq!(of(&chart, type_), "Unknown Initialized");
    }
    chart.vitals(Ok(&full()));
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown NotSubscribed", "the reload ended the subscription");
    chart.subscribed(Ok(()));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
}

#[test]
fn half_of_the_remapping_told_is_enough_and_half_of_it_missing_is_not() {
    let pending_only = Vitals { remapping_pending: Some(false), ..Vitals::default() };
    assert_eq!(of(&healthy_on(Policy::default(), &pending_only), ROW_REMAP_HEALTHY), "True Ok");
    let mut chart = healthy_on(Policy::default(), &full());
    chart.vitals(Ok(&pending_only));
    assert_eq!(of(&chart, ROW_REMAP_HEALTHY), "Unknown NotReported");
}

#[test]
fn what_was_told_before_a_reload_is_no_news_after_it() {
    let waits = Vitals { remapping_pending: Some(true), ..Vitals::default() };
    for reading in [
        verdict(RecoveryAction::GpuReset),
        Vitals { ecc_uncorrected_volatile: Some(1), ..Vitals::default() },
        Vitals { remapping_failed: Some(true), ..Vitals::default() },
        waits.clone(),
    ] {
        let mut chart = healthy_on(Policy::default(), &reading);
        assert!(chart.needs_attention());
        chart.driver_reloaded();
        assert!(!chart.needs_attention(), "{reading:?}");
    }
    // That the row waits no more is due to the reload, not to a reset after this XID.
    let mut chart = healthy_on(Policy::default(), &waits);
    chart.driver_reloaded();
    chart.event(&xid(48), at(2));
    chart.vitals(Ok(&Vitals { remapping_pending: Some(false), ..Vitals::default() }));
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid48");
}
