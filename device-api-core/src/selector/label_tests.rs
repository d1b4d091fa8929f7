// SPDX-License-Identifier: Apache-2.0
//! Tests of label selectors.

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn canonical(text: &str) -> String {
    LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).to_string()
}

#[test]
fn every_form_of_kubernetes_grammar_parses_to_one_canonical_form() {
    for (text, expected) in [
        ("", ""),
        (" \t\r\n", ""),
        ("a", "a"),
        ("!a", "!a"),
        ("! a", "!a"),
        ("a=b", "a=b"),
        ("a==b", "a=b"),
        ("a!=b", "a!=b"),
        (" a \t=\n b ", "a=b"),
        ("a=", "a="),
        ("a= ,b", "a=,b"),
        ("a!=", "a!="),
        ("a in (b)", "a=b"),
        ("a in(b,c)", "a in (b,c)"),
        ("a in (c,b,c)", "a in (b,c)"),
        ("a notin (b, c)", "a notin (b,c)"),
        ("a notin ()", "a!="),
        ("a in ( , b)", "a in (,b)"),
        ("a in (b,)", "a in (,b)"),
        ("a in (b,,c)", "a in (,b,c)"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin=in", "notin=in"),
        ("in", "in"),
        ("a>1,b<02", "a>1,b<2"),
        ("a.b/c_D-e=F", "a.b/c_D-e=F"),
        ("b,a,a", "a,b"),
        ("!d,a!=c,a=b,a", "a,a=b,a!=c,!d"),
    ] {
        assert_eq!(canonical(text), expected, "{text:?}");
    }
}

#[test]
fn what_does_not_parse_is_refused_at_its_position() {
    for (text, position, found, expected) in [
        (",a", 0, "\",\"", "a label key or '!'"),
        ("a,", 2, "nothing", "a label key or '!'"),
        ("a, ,b", 3, "\",\"", "a label key or '!'"),
        ("!", 1, "nothing", "a label key"),
        ("!!a", 1, "\"!\"", "a label key"),
        ("!a=b", 2, "\"=\"", "',' or the end"),
        ("a b", 2, "\"b\"", "=, ==, !=, in, notin, >, <, ',' or the end"),
        ("a=b c", 4, "\"c\"", "',' or the end"),
        ("a===b", 3, "\"=\"", "a label value"),
        ("a==b==c", 4, "\"==\"", "',' or the end"),
        ("a in b", 5, "\"b\"", "'('"),
        ("a in (b", 7, "nothing", "',' or ')'"),
        ("a in (b c)", 8, "\"c\"", "',' or ')'"),
        ("a in (b=c)", 7, "\"=\"", "',' or ')'"),
        ("a in ((", 6, "\"(\"", "a label value"),
        ("a in (b))", 8, "\")\"", "',' or the end"),
        ("a>b", 2, "\"b\"", "an integer"),
        ("a>", 2, "nothing", "a label value"),
        ("a>9223372036854775808", 2, "\"9223372036854775808\"", "an integer"),
        ("a>-1", 2, "\"-1\"", "a label value: "),
        ("a=b||c", 2, "\"b||c\"", "a label value: "),
        ("ä=b", 0, "\"ä\"", "a label key: "),
        ("a\0=b", 0, "\"a\\0\"", "a label key: "),
        ("A.b/c", 0, "\"A.b/c\"", "a label key: prefix part"),
    ] {
        let error = LabelSelector::parse(text).unwrap_err();
        let expected = format!("labelSelector: found {found} at position {position}, expected {expected}");
        assert!(error.to_string().starts_with(&expected), "{text:?}: {error}");
    }
}

#[test]
fn requirements_match_as_in_kubernetes() {
    let with = |value| labels(&[("a", value), ("other", "x")]);
    let without = labels(&[("other", "x")]);
    for (text, yes, no, absent) in [
        ("a", "", None, false),
        ("a=b", "b", Some("c"), false),
        ("a=", "", Some("c"), false),
        ("a!=b", "c", Some("b"), true),
        ("a in (b,c)", "c", Some("d"), false),
        ("a notin (b,c)", "d", Some("c"), true),
        ("a>1", "2", Some("1"), false),
        ("a<10", "9", Some("10"), false),
        ("a>1", "10", Some("x"), false),
    ] {
        let selector = LabelSelector::parse(text).unwrap();
        assert!(selector.matches(&with(yes)), "{text} {yes}");
        assert!(no.is_none_or(|no| !selector.matches(&with(no))), "{text} {no:?}");
        assert_eq!(selector.matches(&without), absent, "{text}");
    }
    let not_there = LabelSelector::parse("!a").unwrap();
    assert!(!not_there.matches(&with("")) && not_there.matches(&without));
}

#[test]
fn all_requirements_must_hold_and_none_is_everything() {
    let both = LabelSelector::parse("a=b,other=x").unwrap();
    assert!(both.matches(&labels(&[("a", "b"), ("other", "x")])));
    assert!(!both.matches(&labels(&[("a", "b"), ("other", "y")])));
    assert!(!both.is_everything());
    let all = LabelSelector::parse(" ").unwrap();
    assert!(all.is_everything() && all.matches(&labels(&[])));
}

proptest! {
    #[test]
    fn parsing_any_text_never_panics(text in any::<String>()) {
        let _ = LabelSelector::parse(&text);
    }

    #[test]
    fn what_parses_is_displayed_in_a_form_that_parses_to_the_same(
        tokens in prop::collection::vec(
            prop::sample::select(vec!["a", "b", "x.y/z", "in", "notin", "=", "==", "!=", "!", "(", ")", ",", ">", "<", "7", " "]),
            0..12,
        ),
    ) {
        if let Ok(selector) = LabelSelector::parse(&tokens.concat()) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }

    #[test]
    fn well_formed_selectors_round_trip(
        parts in prop::collection::vec(
            ("[a-z]([a-z0-9.-]{0,8}[a-z0-9])?", 0_u8..8, prop::collection::vec("([A-Za-z0-9]([A-Za-z0-9_.-]{0,6}[A-Za-z0-9])?)?", 1..4), any::<u32>()),
            1..6,
        ),
    ) {
        let text: Vec<String> = parts
            .iter()
            .map(|(key, form, values, number)| match form {
                0 => key.clone(),
                1 => format!("! {key}"),
                2 => format!("{key} = {}", values[0]),
                3 => format!("{key}!={}", values[0]),
                4 => format!("{key} in ({})", values.join(" , ")),
                5 => format!("{key} notin({})", values.join(",")),
                6 => format!("{key}>{number}"),
                _ => format!("{key} < {number}"),
            })
            .collect();
        let selector = LabelSelector::parse(&text.join(",")).unwrap();
        let displayed = selector.to_string();
        prop_assert_eq!(LabelSelector::parse(&displayed).unwrap(), selector);
    }
}
