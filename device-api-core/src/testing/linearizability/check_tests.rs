// SPDX-License-Identifier: Apache-2.0
//! The checker finds what it is for: each history here is wrong in one way, or right.

use super::{Call, Committed, History, Operation, Reply, State, Violation, check};

/// What is wrong with a history, if anything.
fn wrong(history: &History) -> Option<Violation> {
    check(history).err().map(|violation| *violation)
}

fn state(revision: u64, value: &str) -> State {
    State { revision, uid: "u".to_owned(), value: value.to_owned() }
}

fn committed(revision: u64, value: &str) -> Committed {
    Committed { key: "k".to_owned(), state: state(revision, value), deleted: false }
}

fn operation(times: (u64, u64), call: Call, reply: Reply) -> Operation {
    Operation { key: "k".to_owned(), call, reply, invoked: times.0, responded: times.1 }
}

fn create(times: (u64, u64), revision: u64, value: &str) -> Operation {
    operation(times, Call::Create { value: value.to_owned() }, Reply::Stored(state(revision, value)))
}

fn replace(times: (u64, u64), version: u64, revision: u64, value: &str) -> Operation {
    let call = Call::Replace { value: value.to_owned(), version: Some(version) };
    operation(times, call, Reply::Stored(state(revision, value)))
}

fn found(times: (u64, u64), revision: u64, value: &str) -> Operation {
    operation(times, Call::Get, Reply::Found(state(revision, value)))
}

/// A create and an update, one after the other, and then what else is given.
fn history(more: Vec<Operation>) -> History {
    let operations = [create((0, 1), 101, "a"), replace((2, 5), 101, 102, "b")].into_iter().chain(more).collect();
    History { start: 100, operations, log: vec![committed(101, "a"), committed(102, "b")] }
}

#[test]
fn what_happened_one_after_the_other_is_linearizable() {
    assert_eq!(wrong(&history(vec![found((6, 7), 102, "b")])), None);
}

#[test]
fn a_read_during_a_write_may_see_it_or_not() {
    for read in [found((3, 4), 101, "a"), found((3, 4), 102, "b")] {
        assert_eq!(wrong(&history(vec![read])), None);
    }
}

#[test]
fn a_stale_read_is_rejected() {
    let outcome = wrong(&history(vec![found((6, 7), 101, "a")]));
    assert!(matches!(outcome, Some(Violation::Stale { bound: 102, .. })), "{outcome:?}");
}

#[test]
fn a_reader_that_goes_back_is_rejected() {
    // Both are during the write, but the second began after the first had ended.
    let mut back = history(vec![found((6, 7), 102, "b"), found((8, 9), 101, "a")]);
    back.operations[1].responded = 20;
    assert!(matches!(wrong(&back), Some(Violation::Stale { .. })));
    let mut forth = history(vec![found((6, 7), 101, "a"), found((8, 9), 102, "b")]);
    forth.operations[1].responded = 20;
    assert_eq!(wrong(&forth), None);
}

#[test]
fn a_read_from_the_future_is_rejected() {
    let early = History { operations: vec![found((0, 1), 101, "a"), create((2, 3), 101, "a")], ..history(vec![]) };
    let early = History { log: vec![committed(101, "a")], ..early };
    assert!(matches!(wrong(&early), Some(Violation::Stale { .. })));
}

#[test]
fn a_lost_update_is_rejected() {
    let mut lost = history(vec![replace((3, 6), 101, 103, "c")]);
    lost.log.push(committed(103, "c"));
    assert!(matches!(wrong(&lost), Some(Violation::Precondition { .. })));
}

#[test]
fn a_reused_revision_is_rejected() {
    let mut reused = history(vec![replace((6, 7), 102, 102, "c")]);
    reused.log.push(committed(102, "c"));
    assert!(matches!(wrong(&reused), Some(Violation::Gap { after: 102, .. })));
    reused.log.pop();
    assert!(matches!(wrong(&reused), Some(Violation::Lost(_))));
}

#[test]
fn an_acknowledged_write_that_is_not_in_the_log_is_rejected() {
    let outcome = wrong(&history(vec![replace((6, 7), 102, 103, "c")]));
    assert!(matches!(outcome, Some(Violation::Lost(_))), "{outcome:?}");
}

#[test]
fn a_refused_write_that_is_in_the_log_is_rejected() {
    let call = Call::Replace { value: "c".to_owned(), version: None };
    let mut refused = history(vec![operation((6, 7), call.clone(), Reply::Conflict)]);
    refused.log.push(committed(103, "c"));
    assert!(matches!(wrong(&refused), Some(Violation::Phantom { .. })));
    refused.operations[2].reply = Reply::Unclear;
    assert_eq!(wrong(&refused), None, "an unclear write may have happened");
    refused.log.pop();
    assert_eq!(wrong(&refused), None, "or not");
}

#[test]
fn a_conflict_that_never_was_is_rejected() {
    let call = Call::Replace { value: "c".to_owned(), version: Some(102) };
    let outcome = wrong(&history(vec![operation((6, 7), call, Reply::Conflict)]));
    assert!(matches!(outcome, Some(Violation::Stale { .. })), "{outcome:?}");
}

#[test]
fn writes_in_another_order_than_that_of_time_are_rejected() {
    let value = |value: &str| Call::Replace { value: value.to_owned(), version: None };
    let mut swapped = history(vec![
        operation((6, 7), value("first"), Reply::Stored(state(104, "first"))),
        operation((8, 9), value("second"), Reply::Stored(state(103, "second"))),
    ]);
    swapped.log.extend([committed(103, "second"), committed(104, "first")]);
    assert!(matches!(wrong(&swapped), Some(Violation::Stale { .. })));
}

#[test]
fn a_list_is_the_state_of_its_revision_or_rejected() {
    let listed = |revision, items: &[State]| {
        let items = items.iter().map(|state| ("k".to_owned(), state.clone())).collect();
        wrong(&history(vec![operation((6, 7), Call::List, Reply::Listed(revision, items))]))
    };
    assert_eq!(listed(102, &[state(102, "b")]), None);
    for outcome in [
        listed(102, &[state(101, "a")]),
        listed(102, &[]),
        listed(101, &[state(101, "a")]),
        listed(103, &[state(102, "b")]),
    ] {
        assert!(matches!(outcome, Some(Violation::Stale { .. })), "{outcome:?}");
    }
}

#[test]
fn one_delete_acknowledged_to_two_clients_is_rejected() {
    let delete = |times| operation(times, Call::Delete { uid: "u".to_owned() }, Reply::Deleted);
    let mut once = history(vec![delete((6, 7))]);
    once.log.push(Committed { key: "k".to_owned(), state: state(103, "b"), deleted: true });
    assert_eq!(wrong(&once), None);
    once.operations.push(delete((8, 9)));
    assert!(matches!(wrong(&once), Some(Violation::Lost(_))));
}
