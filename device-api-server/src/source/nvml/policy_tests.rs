// SPDX-License-Identifier: Apache-2.0
//! What a policy file may say, and what it is told otherwise.

use super::*;

fn entry(number: &str, action: &str) -> String {
    format!("[[xid]]\nnumber = {number}\naction = \"{action}\"\n")
}

fn refusal(text: &str) -> String {
    Policy::parse("/etc/xids.toml", text).unwrap_err().to_string()
}

#[test]
fn without_a_file_the_catalogue_decides() {
    let policy = Policy::default();
    for xid in 0..200 {
        assert_eq!(policy.action(xid), explain(xid).action, "XID {xid}");
    }
    assert_eq!(Policy::parse("empty.toml", "# nothing\n").unwrap(), policy);
}

#[test]
fn a_file_overrides_single_xids_with_any_action() {
    for action in Action::ALL {
        let policy = Policy::parse("xids.toml", &entry("94", action.as_str())).unwrap();
        assert_eq!(policy, Policy::default().with_action(94, action));
        assert_eq!((policy.action(94), policy.action(79)), (action, Action::RebootNode));
    }
}

#[test]
fn an_ignored_xid_is_ignored_whatever_else_says_so() {
    let policy = Policy::default().with_action(79, Action::ContactSupport).with_ignored([79]);
    assert_eq!(policy.action(79), Action::Ignore);
}

#[test]
fn an_unknown_action_is_named_with_file_and_line() {
    let text = refusal(&format!("{}\n{}", entry("13", "ignore"), entry("48", "explode")));
    assert!(
        text.starts_with("XID policy /etc/xids.toml, line 7: unknown action \"explode\": use one of ignore,"),
        "{text}"
    );
}

#[test]
fn an_xid_with_two_actions_is_refused() {
    let text = refusal(&(entry("13", "ignore") + &entry("13", "reset-gpu")));
    assert_eq!(text, "XID policy /etc/xids.toml, line 5: XID 13 has an action already: keep one of them");
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    for (text, line) in [
        ("\n[[xid]\n", 2),
        ("xids = []\n", 1),
        ("[[xid]]\nnumber = 1\n", 1),
        ("[[xid]]\nnumber = -1\naction = \"ignore\"\n", 2),
        ("[[xid]]\nnumber = \"1\"\naction = \"ignore\"\n", 2),
        ("[[xid]]\nnumber = 1\naction = \"ignore\"\nseverity = 3\n", 4),
        ("[[xid]]\nnumber = 1\naction = \"ignore", 3),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(&format!("XID policy /etc/xids.toml, line {line}: ")), "{text:?}: {refusal}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Policy::load("/nowhere/xids.toml").unwrap_err();
    assert_eq!(error.to_string(), "cannot read the XID policy /nowhere/xids.toml");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_policy_explains_what_it_makes_of_an_xid_where_that_is_not_what_the_catalogue_does() {
    let policy =
        Policy::default().with_action(31, Action::ResetGpu).with_action(48, Action::ResetGpu).with_ignored([79]);
    let text = policy.explain(31);
    assert!(text.starts_with(&explain(31).to_string()), "{text}");
    for words in ["policy: reset the GPU (reset-gpu), in the place of the catalogue's restart-app", "COMPONENT_RESET"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(policy.explain(79).contains("policy: nothing is to be done (ignore)"), "{}", policy.explain(79));
    for xid in [48, 13] {
        assert_eq!(policy.explain(xid), explain(xid).to_string());
    }
}

#[test]
fn what_the_drivers_word_ends_depends_on_its_branch_and_on_nobody_wanting_something_else() {
    let policy = Policy::default().with_action(94, Action::ResetGpu).with_action(31, Action::AskDriver);
    for (xid, branch, action, heeds_driver) in [
        (48, Some(565), Action::ResetGpu, true),
        (48, Some(564), Action::ResetGpu, false),
        (48, None, Action::ResetGpu, false),
        (119, Some(600), Action::ResetGpu, false),
        (145, Some(580), Action::AskDriver, true),
        (145, None, Action::AskDriver, false),
        (74, None, Action::ResetGpu, false),
        (48, Some(0), Action::ResetGpu, false),
        (145, Some(0), Action::AskDriver, false),
        (154, Some(0), Action::AskDriver, true),
        (154, None, Action::AskDriver, false),
        (94, Some(580), Action::ResetGpu, false),
        (31, None, Action::AskDriver, true),
    ] {
        assert_eq!(policy.judge(xid, branch), Judgement { action, heeds_driver }, "XID {xid}, {branch:?}");
    }
}
