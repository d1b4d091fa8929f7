// SPDX-License-Identifier: Apache-2.0
//! What the state machine does next, case by case.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::error::Cause;
use device_api_core::registry::{Bookmark, List, WatchEvent};
use device_api_core::resource::{Gpu, ListMeta, ObjectMeta};
use device_api_core::{Error, Result};

use super::{Backoff, Config, Event, Machine, Step};

fn gpu(name: &str, version: &str) -> Arc<Gpu> {
    let mut metadata = ObjectMeta::named(name);
    metadata.resource_version = version.to_owned();
    Arc::new(Gpu { metadata, ..Gpu::default() })
}

fn bookmark(version: &str, initial_events_end: bool) -> WatchEvent<Gpu> {
    WatchEvent::Bookmark(Bookmark { resource_version: version.to_owned(), initial_events_end })
}

fn page(names: &[&str], version: &str, continue_token: &str) -> List<Gpu> {
    let (resource_version, continue_token) = (version.to_owned(), continue_token.to_owned());
    let metadata = ListMeta { resource_version, continue_token, ..ListMeta::default() };
    List { metadata, items: names.iter().map(|name| gpu(name, "1")).collect() }
}

fn unavailable(retry_after: Duration) -> Error {
    Error::Unavailable { why: "x".to_owned(), retry_after: Some(retry_after), cause: Cause::unknown() }
}

fn told(machine: &mut Machine<Gpu>) -> Vec<Result<Event<Gpu>>> {
    std::iter::from_fn(|| machine.next_event()).collect()
}

/// A machine that follows from version 5 on.
fn following() -> Machine<Gpu> {
    let mut machine = Machine::new(Config::default());
    machine.opened(Ok(()));
    machine.received(Some(Ok(bookmark("5", true))));
    told(&mut machine);
    machine
}

/// The version that it resumes from, after the pause that it wants.
fn resumes_at(machine: &mut Machine<Gpu>) -> String {
    if matches!(machine.step(), Step::Pause(_)) {
        machine.paused();
    }
    match machine.step() {
        Step::Watch(params) if params.send_initial_events.is_none() => params.resource_version,
        Step::Watch(params) if params.resource_version.is_empty() => "all".to_owned(),
        other => panic!("{other:?} asks for no watch"),
    }
}

#[test]
fn the_whole_state_comes_first_and_then_what_follows_its_version() {
    let mut machine = Machine::new(Config::default().labels("a=b").fields("spec.uuid=c"));
    let Step::Watch(params) = machine.step() else { panic!("{:?}", machine.step()) };
    assert_eq!((params.label_selector.as_str(), params.field_selector.as_str()), ("a=b", "spec.uuid=c"));
    assert_eq!((params.send_initial_events, params.allow_bookmarks), (Some(true), true));
    machine.opened(Ok(()));
    assert_eq!(machine.step(), Step::Read);
    machine.received(Some(Ok(WatchEvent::Added(gpu("a", "3")))));
    assert_eq!(machine.resource_version(), "", "half of a state is nothing to resume from");
    machine.received(Some(Ok(bookmark("5", true))));
    assert_eq!(told(&mut machine), [Ok(Event::Init), Ok(Event::InitApply(gpu("a", "3"))), Ok(Event::InitDone)]);
    assert_eq!(machine.step(), Step::Read);

    machine.received(Some(Ok(WatchEvent::Modified(gpu("a", "6")))));
    machine.received(Some(Ok(WatchEvent::Deleted(gpu("a", "7")))));
    assert_eq!(told(&mut machine), [Ok(Event::Apply(gpu("a", "6"))), Ok(Event::Delete(gpu("a", "7")))]);
    machine.received(None);
    assert_eq!(resumes_at(&mut machine), "7");
}

#[test]
fn pages_of_a_list_are_asked_for_until_the_last_one() {
    let mut machine = Machine::new(Config::default().labels("a=b").paged_lists(2));
    let mut asked = Vec::new();
    for page in [page(&["a", "b"], "5", "next"), page(&["c"], "5", "")] {
        let Step::List(params) = machine.step() else { panic!("{:?}", machine.step()) };
        asked.push((params.label_selector, params.limit, params.continue_token));
        machine.listed(Ok(page));
    }
    assert_eq!(asked, [("a=b".to_owned(), 2, String::new()), ("a=b".to_owned(), 2, "next".to_owned())]);
    let events: Vec<_> = told(&mut machine).into_iter().map(Result::unwrap).collect();
    let apply = |name| Event::InitApply(gpu(name, "1"));
    assert_eq!(events, [Event::Init, apply("a"), apply("b"), apply("c"), Event::InitDone]);
    assert_eq!(resumes_at(&mut machine), "5");
}

#[test]
fn a_list_that_breaks_off_begins_again_from_its_first_page() {
    let mut machine = Machine::new(Config::default().paged_lists(2));
    machine.listed(Ok(page(&["a", "b"], "5", "next")));
    machine.listed(Err(Error::Expired { requested: 5, oldest: 6 }));
    assert!(matches!(machine.step(), Step::Pause(_)));
    machine.paused();
    assert!(matches!(machine.step(), Step::List(params) if params.continue_token.is_empty()));
    machine.listed(Ok(page(&["b"], "7", "")));
    let events: Vec<_> = told(&mut machine).into_iter().filter_map(Result::ok).collect();
    assert_eq!(events[3..], [Event::Init, Event::InitApply(gpu("b", "1")), Event::InitDone]);
}

#[test]
fn a_token_that_the_server_does_not_know_begins_again_from_the_first_page() {
    let mut machine = Machine::new(Config::default().paged_lists(2));
    let refused = || Err(Error::bad_request("continue", "not one that the server returned"));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert!(matches!(machine.step(), Step::List(params) if params.continue_token.is_empty()));
        machine.listed(Ok(page(&["a", "b"], "5", "next")));
        machine.listed(refused());
        let Step::Pause(pause) = machine.step() else { panic!("{:?}", machine.step()) };
        machine.paused();
        pauses.push(pause);
    }
    assert!(pauses[4] > pauses[0] * 3, "{pauses:?}");
    machine.listed(Ok(page(&["b"], "7", "")));
    assert_eq!(resumes_at(&mut machine), "7");

    let mut machine = Machine::<Gpu>::new(Config::default().paged_lists(2));
    machine.listed(refused());
    assert_eq!(machine.step(), Step::Stop, "the first page has no token");
}

#[test]
fn a_broken_watch_is_resumed_and_an_expired_one_begins_anew() {
    let mut machine = following();
    machine.received(Some(Err(unavailable(Duration::ZERO))));
    assert_eq!(resumes_at(&mut machine), "5");
    machine.opened(Err(unavailable(Duration::ZERO)));
    assert_eq!(resumes_at(&mut machine), "5");
    machine.opened(Ok(()));
    machine.received(Some(Err(Error::Expired { requested: 5, oldest: 6 })));
    assert_eq!(resumes_at(&mut machine), "all");
    machine.opened(Ok(()));
    assert_eq!(told(&mut machine).pop(), Some(Ok(Event::Init)));
}

#[test]
fn a_version_that_the_server_does_not_know_yet_begins_anew_too() {
    let mut machine = following();
    machine.received(None);
    assert_eq!(resumes_at(&mut machine), "5");
    machine.opened(Err(Error::ResourceVersionTooLarge { requested: 5, current: 1 }));
    assert_eq!(resumes_at(&mut machine), "all");
}

#[test]
fn bookmarks_move_the_version_on_and_are_not_told() {
    let mut machine = following();
    machine.received(Some(Ok(bookmark("9", false))));
    assert_eq!(told(&mut machine), []);
    machine.received(None);
    assert_eq!(machine.step(), Step::Watch(Config::default().watch().at("9")), "it goes on without a pause");
}

#[test]
fn a_server_that_ends_every_watch_at_once_is_not_asked_without_a_pause() {
    let mut machine = following();
    machine.received(None);
    for _ in 0..3 {
        machine.opened(Ok(()));
        machine.received(Some(Ok(bookmark("5", false))));
        machine.received(None);
        assert!(matches!(machine.step(), Step::Pause(pause) if pause > Duration::ZERO), "{:?}", machine.step());
        machine.paused();
    }
}

/// How long it pauses after a failure in which the server asks for so much.
fn pause_asked(machine: &mut Machine<Gpu>, asked: Duration) -> Duration {
    machine.opened(Err(unavailable(asked)));
    let Step::Pause(pause) = machine.step() else { panic!("{:?}", machine.step()) };
    machine.paused();
    pause
}

#[test]
fn pauses_grow_until_something_is_heard() {
    let pause = |machine: &mut Machine<Gpu>| pause_asked(machine, Duration::ZERO);
    let mut machine = following();
    let first = Backoff::default().first;
    let grown = (0..10).map(|_| pause(&mut machine)).last().unwrap();
    assert!(grown > first * 10, "{grown:?}");
    machine.opened(Ok(()));
    machine.received(Some(Ok(bookmark("5", false))));
    assert!(pause(&mut machine) <= first);
}

#[test]
fn the_pause_is_as_long_as_the_server_asks_but_not_without_bound() {
    let Backoff { first, longest } = Backoff::default();
    for (asked, least) in [(Duration::from_secs(3), Duration::from_secs(3)), (Duration::MAX, longest)] {
        let paused = pause_asked(&mut following(), asked);
        assert!(paused > least && paused <= least + first, "{paused:?}");
    }
}

#[test]
fn those_who_failed_together_do_not_come_back_together_though_the_server_asks_all_for_the_same() {
    let pauses = || -> Vec<_> {
        let mut machine = following();
        (0..6).map(|_| pause_asked(&mut machine, Duration::from_secs(1))).collect()
    };
    let (one, other) = (pauses(), pauses());
    assert_ne!(one, other);
    assert!(one[5] > one[0] * 2, "and later each time: {one:?}");
}

#[test]
fn silence_is_an_error_and_the_watch_is_resumed() {
    let mut machine = following();
    machine.silent();
    assert!(matches!(told(&mut machine).as_slice(), [Err(error)] if error.is_unavailable()));
    assert_eq!(resumes_at(&mut machine), "5");
}

#[test]
fn a_bookmark_where_the_end_of_the_initial_events_should_be_means_a_list_this_time() {
    let mut machine = Machine::new(Config::default());
    machine.opened(Ok(()));
    machine.received(Some(Ok(WatchEvent::Added(gpu("a", "1")))));
    machine.received(Some(Ok(bookmark("5", false))));
    for error in [unavailable(Duration::ZERO), Error::Expired { requested: 5, oldest: 6 }] {
        assert!(matches!(machine.step(), Step::List(params) if params.limit > 0));
        machine.listed(Err(error));
        machine.paused();
    }
    machine.listed(Ok(page(&["a"], "6", "")));
    let events: Vec<_> = told(&mut machine).into_iter().filter_map(Result::ok).collect();
    let whole = [Event::Init, Event::InitApply(gpu("a", "1"))];
    assert_eq!(events, [&whole[..], &whole[..], &[Event::InitDone]].concat());
    assert_eq!(machine.step(), Step::Watch(Config::default().watch().at("6")));

    machine.opened(Err(Error::Expired { requested: 6, oldest: 7 }));
    assert_eq!(resumes_at(&mut machine), "all", "the server may be another one by now");
}

#[test]
fn it_stops_where_no_retry_helps_and_says_why() {
    let mut machine = Machine::<Gpu>::new(Config::default().labels("("));
    let error = Error::bad_request("labelSelector", "does not parse");
    machine.opened(Err(error.clone()));
    // It might have been the initial events that it does not know.
    assert!(matches!(machine.step(), Step::List(params) if params.label_selector == "("));
    machine.listed(Err(error.clone()));
    assert_eq!(told(&mut machine), [Err(error.clone()), Err(error)]);
    assert_eq!(machine.step(), Step::Stop);
}
