// SPDX-License-Identifier: Apache-2.0
//! The catalogue, row by row, against a copy of its facts.

use std::collections::BTreeMap;

use device_api_core::resource::RecommendedAction;

use super::table::ROWS;
use super::*;

/// A row of the facts.
struct Fact<'a> {
    xid: u32,
    immediate: &'a str,
    investigatory: &'a str,
    xid_154: &'a str,
    is_unused: bool,
}

/// NVIDIA's facts, copied apart from the table: a slip in one shows.
fn facts() -> Vec<Fact<'static>> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/xid-catalogue.tsv"));
    let rows = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let facts: Vec<_> = rows
        .map(|row| {
            let [xid, immediate, investigatory, xid_154, unused] = row.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            Fact { xid: xid.parse().unwrap(), immediate, investigatory, xid_154, is_unused: unused == "yes" }
        })
        .collect();
    assert_eq!(facts.len(), 172);
    facts
}

#[test]
fn every_xid_has_the_immediate_action_of_the_catalogue() {
    for Fact { xid, immediate, .. } in facts() {
        let expected = match immediate {
            "IGNORE" | "WORKFLOW_XID_45" => Action::Ignore,
            "RESTART_APP" => Action::RestartApp,
            "RESET_GPU" | "WORKFLOW_XID_48" => Action::ResetGpu,
            "RESTART_BM" => Action::RebootNode,
            "RESTART_VM" => Action::RestartVm,
            "CONTACT_SUPPORT" => Action::ContactSupport,
            "CHECK_MECHANICALS" => Action::CheckPower,
            "UPDATE_SWFW" => Action::UpdateSoftware,
            // What NVML does not tell the driver has to say.
            "XID_154" | "WORKFLOW_NVLINK_ERR" | "WORKFLOW_NVLINK5_ERR" | "CHECK_UVM" => Action::AskDriver,
            "" => Action::NonePublished,
            other => panic!("{other}"),
        };
        assert_eq!(explain(xid).action, expected, "XID {xid}");
    }
    for xid in (173..=1000).chain([0, u32::MAX]) {
        assert_eq!(explain(xid).action, Action::NonePublished, "XID {xid}");
    }
}

#[test]
fn every_xid_has_the_investigatory_action_of_the_catalogue() {
    use Investigation::*;
    for Fact { xid, investigatory, .. } in facts() {
        let expected = match investigatory {
            "" => Unpublished,
            "IGNORE" => Nothing,
            "IGNORE (sympathetic)" | "N/A Informational only regarding another Xid" => FollowOther,
            "CONTACT_SUPPORT" => Support,
            "CHECK_APP/CUDA" => Application,
            "INVESTIGATE_SW" | "INVESTIGATE_SW_USER" => Software,
            "UPDATE_SWFW" => Update,
            "INVESTIGATE_LINK_SI" => Link,
            "SYMPATHETIC_REPORT_SOLO" => ReportAlone,
            "Solo: RESTART_FM Not Solo: IGNORE (follow other Xid)" => FabricManager,
            workflow if workflow.contains("WORKFLOW") || workflow == "XID_137_FLOW" => Workflow,
            other => panic!("{other}"),
        };
        assert_eq!(explain(xid).investigation, expected, "XID {xid}");
    }
}

#[test]
fn of_every_xid_it_is_known_whether_the_drivers_recovery_action_speaks_of_it_and_since_when() {
    let mut seen = BTreeMap::new();
    for Fact { xid, xid_154, .. } in facts() {
        let expected = match xid_154.split_once("driver R") {
            Some((_, branch)) => Some(branch.parse().unwrap()),
            // Whenever the driver has both.
            None if xid_154.starts_with("yes") => Some(565),
            None => None,
        };
        assert_eq!(explain(xid).spoken_of_from, expected, "XID {xid}");
        *seen.entry(expected).or_insert(0) += 1;
    }
    assert_eq!(seen, BTreeMap::from([(None, 146), (Some(565), 22), (Some(570), 1), (Some(575), 3)]));
}

#[test]
fn what_the_catalogue_lists_as_unused_is_known() {
    for Fact { xid, is_unused, .. } in facts() {
        let explanation = explain(xid);
        assert_eq!(explanation.is_unused, is_unused, "XID {xid}");
        assert_eq!(explanation.to_string().contains("lists"), is_unused, "{explanation}");
    }
    assert_eq!(facts().iter().filter(|fact| fact.is_unused && explain(fact.xid).mnemonic.is_none()).count(), 60);
}

#[test]
fn only_what_waits_for_the_driver_means_something_else_without_its_word() {
    for xid in 0..200 {
        let Explanation { action, action_without_driver, .. } = explain(xid);
        assert!(action == action_without_driver || action == Action::AskDriver, "XID {xid}");
    }
    for (xid, expected) in [(74, Action::ResetGpu), (145, Action::AskDriver), (150, Action::ResetGpu)] {
        assert_eq!(explain(xid).action_without_driver, expected, "XID {xid}");
    }
}

#[test]
fn the_table_is_sorted_and_names_each_xid_once() {
    assert!(ROWS.is_sorted_by(|before, after| before.xid < after.xid));
    assert!((162..=172).all(|xid| explain(xid).mnemonic.is_some()));
}

/// A number that matches a pattern in which `-` is any bit.
fn number(pattern: &str, any: char) -> u32 {
    assert_eq!(pattern.len(), 32);
    u32::from_str_radix(&pattern.replace('-', &any.to_string()), 2).unwrap()
}

#[test]
fn every_row_of_the_catalogues_tables_of_144_to_150_is_decoded() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/xid-144-150.tsv"));
    let mut rows = 0;
    for row in text.lines().filter(|line| line.starts_with("14") || line.starts_with("15")) {
        let [xid, unit, before, from, status, bucket, severity] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let action = match bucket {
            "IGNORE" => Action::Ignore,
            "RESET_GPU" => Action::ResetGpu,
            "XID_154_EVAL" => Action::AskDriver,
            other => panic!("{other}"),
        };
        let statuses: Vec<u32> = match status {
            "" => vec![0, 7, u32::MAX],
            many => many.split('/').map(|one| u32::from_str_radix(&one[2..], 16).unwrap()).collect(),
        };
        for (pattern, branch) in [(before, 570), (from, 575), (from, 590)] {
            for (any, status) in ['0', '1'].into_iter().flat_map(|any| statuses.iter().map(move |at| (any, *at))) {
                let intr_info = number(pattern, any);
                let decoded = nvlink5::decode(xid.parse().unwrap(), intr_info, status, branch);
                let decoded = decoded.unwrap_or_else(|| panic!("{row}: {intr_info:#010x} {status:#x}"));
                assert_eq!(decoded.action, action, "{row}");
                // The two of 150 cannot be told apart, nor, before R575, the two pipes of a unit.
                let group = |unit: &'static str| unit.split('/').next();
                assert!(xid == "150" || group(decoded.unit) == group(unit), "{row}: {decoded:?}");
                assert_eq!(decoded.severity, severity, "{row}");
            }
        }
        rows += 1;
    }
    assert_eq!(rows, 95);
}

#[test]
fn what_the_catalogues_tables_do_not_have_is_not_decoded() {
    for (xid, intr_info, status) in [(145, 0x42, 0x80), (145, 0x62, 0x4000_0000), (143, 0, 0), (151, 0, 0)] {
        assert_eq!(nvlink5::decode(xid, intr_info, status, 570), None, "XID {xid}");
    }
    // The same numbers of the other numbering.
    let remap = 0b00_1000_0010;
    assert_eq!(nvlink5::decode(145, remap, 0x40, 570).unwrap().unit, "RLW_REMAP");
    assert_eq!(nvlink5::decode(145, remap, 0x40, 580), None);
}

#[test]
fn an_explanation_says_what_it_is_what_to_do_and_where_that_is_from() {
    for row in ROWS {
        let text = explain(row.xid).to_string();
        assert!(text.starts_with(&format!("XID {} ({})\n", row.xid, row.mnemonic)), "{text}");
        for words in [row.title, row.action.advice(), row.investigation.advice()] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.ends_with("https://docs.nvidia.com/deploy/xid-errors"), "{text}");
    }
}

#[test]
fn an_explanation_says_what_ends_the_fault() {
    for (xid, words) in [
        (79, "the driver (from R565 on) says twice that nothing is to be done"),
        (109, "from R570 on"),
        (143, "from R575 on"),
        (119, "the driver's recovery action says nothing of it"),
        (46, "the driver's recovery action says nothing of it"),
        (78, "the driver loaded again"),
        (54, "the node booted again, or acknowledge-xids: \"54\""),
    ] {
        let text = explain(xid).to_string();
        let ends = text.lines().find(|line| line.starts_with("  ends:   ")).unwrap();
        assert!(ends.contains(words), "{ends}");
    }
    assert!(!explain(31).to_string().contains("ends:"));
}

#[test]
fn an_explanation_of_144_to_150_has_the_catalogues_table() {
    for xid in 140..=155 {
        let text = explain(xid).to_string();
        assert_eq!(text.contains("error status"), (144..=148).contains(&xid) || xid == 149 || xid == 150, "{text}");
        assert!(text.lines().count() < 60, "{text}");
    }
    let text = explain(145).to_string();
    assert!(text.contains("RLW_REMAP") && text.contains("reset-gpu   Fatal       error status 0x40 0x80"), "{text}");
}

#[test]
fn an_unknown_number_is_explained_as_one_without_an_action() {
    let explanation = explain(4711);
    assert_eq!((explanation.action, explanation.mnemonic), (Action::NonePublished, None));
    assert!(explanation.to_string().contains("XidHealthy Unknown"), "{explanation}");
}

#[test]
fn actions_map_to_those_of_a_status() {
    use RecommendedAction::*;
    for (action, recommended) in [
        (Action::Ignore, None),
        (Action::RestartApp, None),
        (Action::NonePublished, None),
        (Action::AskDriver, None),
        (Action::CheckPower, Some(Custom)),
        (Action::UpdateSoftware, Some(Custom)),
        (Action::ResetGpu, Some(ComponentReset)),
        (Action::RestartVm, Some(RestartVm)),
        (Action::RebootNode, Some(RestartBm)),
        (Action::ContactSupport, Some(ContactSupport)),
    ] {
        assert_eq!(action.recommended(), recommended, "{action:?}");
    }
}

#[test]
fn actions_are_ordered_by_how_grave_they_are() {
    assert!(Action::ALL.is_sorted_by(|before, after| before < after));
    assert!(Action::ALL.iter().all(|action| action.stands() == (*action > Action::RestartApp)));
}

/// Such as `8 11 13 82–86`.
fn ranges(xids: impl IntoIterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for xid in xids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == xid => *last = xid,
            _ => ranges.push((xid, xid)),
        }
    }
    let texts: Vec<_> = ranges
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
        .collect();
    texts.join(" ")
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nvml.md")).unwrap()
}

#[test]
fn the_document_lists_every_xid_by_its_action() {
    let document = document();
    for action in Action::ALL {
        let xids = ranges((1..=172).filter(|xid| explain(*xid).action == action));
        let recommended = action.recommended().map_or("–".to_owned(), |action| format!("`{action}`"));
        let row = format!("| `{}` | {xids} | {recommended} |", action.as_str());
        assert!(document.lines().any(|line| line.starts_with(&row)), "docs/nvml.md lacks:\n{row}");
    }
}

#[test]
fn the_document_lists_what_the_driver_speaks_of() {
    let document = document();
    for branch in [565, 570, 575] {
        let xids = ranges((1..=172).filter(|xid| {
            let Explanation { action, spoken_of_from, .. } = explain(*xid);
            action.stands() && spoken_of_from == Some(branch)
        }));
        let row = format!("| R{branch} | {xids} |");
        assert!(document.lines().any(|line| line.starts_with(&row)), "docs/nvml.md lacks:\n{row}");
    }
    let silent = (1..=172).filter(|xid| {
        let Explanation { action, spoken_of_from, .. } = explain(*xid);
        matches!(action, Action::ResetGpu | Action::RebootNode) && spoken_of_from.is_none()
    });
    let row = format!("| never | {} |", ranges(silent));
    assert!(document.lines().any(|line| line.starts_with(&row)), "docs/nvml.md lacks:\n{row}");
}

#[test]
fn the_document_lists_what_concerns_the_chip() {
    let row = format!("`{}`", ranges((1..=172).filter(|xid| concerns_the_chip(*xid))));
    assert!(document().contains(&row), "docs/nvml.md lacks:\n{row}");
}
