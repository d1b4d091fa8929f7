// SPDX-License-Identifier: Apache-2.0
//! The catalogue, row by row.

use super::table::ROWS;
use super::*;

/// The catalogue's immediate actions as NVIDIA groups them, copied apart from the table's rows: a slip in one shows.
const EXPECTED: &[(Action, &[std::ops::RangeInclusive<u32>])] = &[
    (
        Action::RestartApp,
        &[
            8..=8,
            11..=11,
            13..=13,
            25..=25,
            31..=32,
            39..=41,
            60..=60,
            68..=72,
            75..=77,
            80..=80,
            82..=86,
            88..=89,
            94..=94,
            96..=105,
            126..=135,
            139..=139,
        ],
    ),
    (
        Action::Ignore,
        &[
            14..=14,
            37..=38,
            43..=45,
            63..=63,
            66..=67,
            92..=93,
            106..=108,
            121..=121,
            137..=137,
            141..=141,
            152..=153,
            157..=157,
            160..=161,
        ],
    ),
    (
        Action::ResetGpu,
        &[
            46..=46,
            48..=48,
            62..=62,
            64..=64,
            74..=74,
            95..=95,
            109..=110,
            119..=120,
            136..=136,
            140..=140,
            143..=150,
            155..=156,
            158..=159,
        ],
    ),
    (Action::RebootNode, &[79..=79]),
    (Action::RestartVm, &[151..=151]),
    (Action::ContactSupport, &[61..=61, 142..=142]),
    (Action::CheckPower, &[54..=54]),
    (Action::UpdateSoftware, &[78..=78]),
    (Action::AskDriver, &[154..=154]),
];

fn expected(xid: u32) -> Action {
    let row = EXPECTED.iter().find(|(_, ranges)| ranges.iter().any(|range| range.contains(&xid)));
    row.map_or(Action::NonePublished, |(action, _)| *action)
}

#[test]
fn every_xid_has_the_action_of_the_catalogue() {
    for xid in 0..=1000 {
        assert_eq!(explain(xid).action, expected(xid), "XID {xid}");
    }
    assert_eq!(explain(u32::MAX).action, Action::NonePublished);
}

#[test]
fn every_xid_of_the_catalogue_has_a_row() {
    let named = ROWS.iter().filter(|row| row.action != Action::NonePublished).count();
    let expected = (0..=1000).filter(|xid| expected(*xid) != Action::NonePublished).count();
    assert_eq!(named, expected);
    assert!((162..=172).all(|xid| explain(xid).mnemonic.is_some()));
}

#[test]
fn the_table_is_sorted_and_names_each_xid_once() {
    assert!(ROWS.is_sorted_by(|before, after| before.xid < after.xid));
}

#[test]
fn an_explanation_says_what_it_is_what_to_do_and_where_that_is_from() {
    for row in ROWS {
        let text = explain(row.xid).to_string();
        assert!(text.starts_with(&format!("XID {} ({})\n", row.xid, row.mnemonic)), "{text}");
        assert!(text.contains(row.title) && text.contains(row.action.advice()), "{text}");
        assert!(text.ends_with("https://docs.nvidia.com/deploy/xid-errors"), "{text}");
    }
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

#[test]
fn the_document_lists_every_xid_by_its_action() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nvml.md");
    let document = std::fs::read_to_string(document).unwrap();
    for action in Action::ALL {
        let xids = ranges(ROWS.iter().filter(|row| row.action == action).map(|row| row.xid));
        let recommended = action.recommended().map_or("–".to_owned(), |action| format!("`{action}`"));
        let row = format!("| `{}` | {xids} | {recommended} |", action.as_str());
        assert!(document.lines().any(|line| line.starts_with(&row)), "docs/nvml.md lacks:\n{row}");
    }
}
