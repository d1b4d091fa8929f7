// SPDX-License-Identifier: Apache-2.0
//! Each rule of the verdict, by name.

use super::{Polarities, Polarity, Verdict, health};
use crate::resource::{Condition, Gpu, RecommendedAction};

/// A GPU with these conditions, each `TYPE=STATUS`.
fn gpu(conditions: &[&str]) -> Gpu {
    let mut gpu = Gpu::default();
    gpu.status.conditions = conditions
        .iter()
        .map(|condition| {
            let (type_, status) = condition.split_once('=').unwrap();
            Condition::new(type_, status.into())
        })
        .collect();
    gpu
}

fn verdict(conditions: &[&str]) -> Verdict {
    health(&gpu(conditions)).verdict
}

fn reasons(conditions: &[&str]) -> Vec<String> {
    let reasons = health(&gpu(conditions)).reasons;
    reasons.into_iter().map(|condition| format!("{}={}", condition.type_, condition.status)).collect()
}

#[test]
fn all_known_conditions_good_is_healthy() {
    let good = ["NVMLReady=True", "XidHealthy=True", "ResetRequired=False", "GpuXidError=False"];
    assert_eq!(verdict(&good), Verdict::Healthy);
    assert_eq!(reasons(&good), [""; 0]);
}

#[test]
fn silence_is_not_health() {
    assert_eq!(verdict(&[]), Verdict::Unknown);
    assert_eq!(verdict(&["FanSpinning=True"]), Verdict::Unknown, "a type that is not known says nothing");
}

#[test]
fn each_type_has_its_polarity() {
    let good_when_true = ["Ready", "Healthy", "NVMLReady", "XidHealthy", "RowRemapHealthy", "EccHealthy"];
    let bad_when_true = [
        "ResetRequired",
        "RebootRequired",
        "DrainRequired",
        "GpuXidError",
        "GpuMemWatch",
        "GpuThermalWatch",
        "GpuPowerWatch",
        "GpuPcieWatch",
        "GpuNvlinkWatch",
        "GpuInforomWatch",
        "GpuSmWatch",
        "GpuMcuWatch",
        "GpuPmuWatch",
        "GpuDriverWatch",
        "GpuNvswitchFatalWatch",
        "GpuDcgmConnectivityFailure",
        "SysLogsXIDError",
        "SysLogsSXIDError",
        "SysLogsGPUFallenOff",
    ];
    for (types, is_true, is_false) in [
        (&good_when_true[..], Verdict::Healthy, Verdict::Unhealthy),
        (&bad_when_true[..], Verdict::Unhealthy, Verdict::Healthy),
    ] {
        for type_ in types {
            assert_eq!(verdict(&[&format!("{type_}=True")]), is_true, "{type_}");
            assert_eq!(verdict(&[&format!("{type_}=False")]), is_false, "{type_}");
            assert_eq!(verdict(&[&format!("{type_}=Unknown")]), Verdict::Unknown, "{type_}");
        }
    }
}

#[test]
fn types_are_looked_up_without_regard_to_case() {
    assert_eq!(verdict(&["nvmlready=True"]), Verdict::Healthy);
    assert_eq!(verdict(&["GPUXIDERROR=True"]), Verdict::Unhealthy);
    let table = Polarities::none().with("FanBroken", Polarity::TrueIsBad).with("fANbROKEN", Polarity::TrueIsGood);
    assert_eq!(table, Polarities::none().with("fanbroken", Polarity::TrueIsGood), "one type, and the last word wins");
}

#[test]
fn one_bad_condition_outweighs_all_others() {
    let mixed = ["NVMLReady=True", "EccHealthy=Unknown", "GpuThermalWatch=True", "XidHealthy=False"];
    assert_eq!(verdict(&mixed), Verdict::Unhealthy);
    assert_eq!(reasons(&mixed), ["GpuThermalWatch=True", "XidHealthy=False", "EccHealthy=Unknown"]);
}

#[test]
fn unknown_outweighs_good() {
    let mixed = ["NVMLReady=True", "XidHealthy=Unknown"];
    assert_eq!(verdict(&mixed), Verdict::Unknown);
    assert_eq!(reasons(&mixed), ["XidHealthy=Unknown"]);
    assert_eq!(verdict(&["NVMLReady=Perhaps"]), Verdict::Unknown, "no status that this version does not know is good");
}

#[test]
fn a_type_that_is_not_known_decides_nothing_and_is_named() {
    for status in ["True", "False", "Unknown"] {
        let found = health(&gpu(&["NVMLReady=True", &format!("FanSpinning={status}")]));
        assert_eq!(found.verdict, Verdict::Healthy);
        assert_eq!(found.unrecognized, ["FanSpinning"]);
        assert!(found.reasons.is_empty());
    }
}

#[test]
fn an_action_alone_is_no_verdict() {
    let mut gpu = gpu(&["NVMLReady=True"]);
    gpu.status.recommended_action = Some(RecommendedAction::ContactSupport);
    assert_eq!(health(&gpu).verdict, Verdict::Healthy);
}

#[test]
fn a_table_of_ones_own_decides_by_its_types_alone() {
    let conditions = gpu(&["FanBroken=True", "NVMLReady=False"]).status.conditions;
    assert_eq!(Polarities::none().judge(&conditions).verdict, Verdict::Unknown);
    let fans = Polarities::none().with("FanBroken", Polarity::TrueIsGood);
    assert_eq!(fans.judge(&conditions).verdict, Verdict::Healthy);
    assert_eq!(fans.judge(&conditions).unrecognized, ["NVMLReady"]);
    assert_eq!(Polarities::default().without("nvmlready").judge(&conditions).verdict, Verdict::Unknown);
}

#[test]
fn health_reads_as_one_line() {
    let mut sick = gpu(&["NVMLReady=True", "XidHealthy=False", "EccHealthy=Unknown"]);
    sick.status.conditions[1].reason = "Xid79".to_owned();
    assert_eq!(health(&sick).to_string(), "Unhealthy: XidHealthy is False (Xid79), EccHealthy is Unknown");
    assert_eq!(health(&gpu(&["NVMLReady=True"])).to_string(), "Healthy");
    assert_eq!(health(&gpu(&["NVMLReady=Unknown"])).to_string(), "Unknown: NVMLReady is Unknown");
    assert_eq!(health(&gpu(&[])).to_string(), "Unknown: no condition says how it is");
    assert_eq!(format!("{:>10}|", Verdict::Healthy), "   Healthy|");
}
