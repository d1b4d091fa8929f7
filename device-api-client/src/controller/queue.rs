// SPDX-License-Identifier: Apache-2.0
//! What is to be reconciled, and when: each key once, and never twice at a time.

use std::collections::{BTreeMap, HashMap};

use device_api_core::resource::Key;
use tokio::time::Instant;

use crate::watcher::{Backoff, Pauses};

/// What is to be reconciled, and when. It reads no clock.
///
/// A key waits once, for the earliest time that was asked for. One that is being reconciled waits for that to end, so that
/// nothing that happens meanwhile is missed.
#[derive(Debug)]
pub(super) struct Queue {
    backoff: Backoff,
    /// By time, and of one time by when they were put there: what waits longest is next.
    order: BTreeMap<(Instant, u64), Key>,
    waiting: HashMap<Key, (Instant, u64)>,
    /// What is being reconciled, and when it is to be reconciled again.
    running: HashMap<Key, Option<Instant>>,
    failing: HashMap<Key, Pauses>,
    puts: u64,
}

impl Queue {
    pub(super) fn new(backoff: Backoff) -> Self {
        let (order, waiting) = (BTreeMap::new(), HashMap::new());
        Self { backoff, order, waiting, running: HashMap::new(), failing: HashMap::new(), puts: 0 }
    }

    /// Asks for a key to be reconciled at this time, or before.
    pub(super) fn put(&mut self, key: Key, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |earlier| earlier.min(at)));
            return;
        }
        match self.waiting.get(&key) {
            Some((earlier, _)) if *earlier <= at => return,
            Some(place) => drop(self.order.remove(place)),
            None => {}
        }
        let place = (at, self.puts);
        self.puts += 1;
        self.waiting.insert(key.clone(), place);
        self.order.insert(place, key);
    }

    /// The next key whose time has come: it is being reconciled from now on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        let first = self.order.first_entry().filter(|first| first.key().0 <= now)?;
        let key = first.remove();
        self.waiting.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    /// When the next key's time comes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.keys().next().map(|(at, _)| *at)
    }

    /// Whether nothing waits and nothing is being reconciled.
    pub(super) fn is_idle(&self) -> bool {
        self.order.is_empty() && self.running.is_empty()
    }

    /// A key was reconciled, and is to be so again at this time.
    pub(super) fn done(&mut self, key: Key, again: Option<Instant>) {
        self.failing.remove(&key);
        self.end(key, again);
    }

    /// A key could not be reconciled: it is to be tried again, later each time.
    pub(super) fn failed(&mut self, key: Key, now: Instant) {
        let pauses = self.failing.entry(key.clone()).or_insert_with(|| self.backoff.pauses());
        let again = now.checked_add(pauses.next_pause());
        self.end(key, again);
    }

    fn end(&mut self, key: Key, again: Option<Instant>) {
        let asked = self.running.remove(&key).flatten();
        for at in asked.into_iter().chain(again) {
            self.put(key.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use device_api_core::resource::Gpu;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Key {
        Key::of::<Gpu>("", name).unwrap()
    }

    fn queue() -> (Queue, Instant) {
        (Queue::new(Backoff::default().with_first(SECOND).with_longest(4 * SECOND)), Instant::now())
    }

    #[test]
    fn a_key_that_is_triggered_often_is_reconciled_once_and_in_turn() {
        let (mut queue, now) = queue();
        for name in ["b", "a", "b", "c", "a"] {
            queue.put(key(name), now);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
        assert_eq!(taken, ["b", "a", "c"].map(key));
    }

    #[test]
    fn what_is_triggered_while_it_is_reconciled_is_reconciled_again_after_that() {
        let (mut queue, now) = queue();
        queue.put(key("a"), now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.put(key("a"), now);
        assert_eq!(queue.take(now), None, "never twice at a time");
        queue.done(key("a"), Some(now + SECOND));
        assert_eq!(queue.take(now), Some(key("a")));
        queue.done(key("a"), None);
        assert!(queue.is_idle());
    }

    #[test]
    fn of_two_times_the_earlier_counts() {
        let (mut queue, now) = queue();
        for (first, second) in [(5, 3), (3, 5)] {
            queue.put(key("a"), now + first * SECOND);
            queue.put(key("a"), now + second * SECOND);
            assert_eq!(queue.next(), Some(now + 3 * SECOND));
            assert_eq!(queue.take(now + 2 * SECOND), None);
            assert_eq!(queue.take(now + 3 * SECOND), Some(key("a")));
            queue.done(key("a"), None);
            assert!(queue.is_idle());
        }
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_not_after_a_success() {
        let (mut queue, now) = queue();
        let fail = |queue: &mut Queue| {
            queue.put(key("a"), now);
            queue.take(now).unwrap();
            queue.failed(key("a"), now);
            queue.next().unwrap() - now
        };
        for (least, most) in [(500, 1000), (1000, 2000), (2000, 4000), (2000, 4000)] {
            let pause = fail(&mut queue).as_millis();
            assert!((least..=most).contains(&pause), "{pause} is not in {least}..={most}");
        }
        queue.put(key("a"), now);
        queue.take(now).unwrap();
        queue.done(key("a"), None);
        assert!(fail(&mut queue) <= SECOND);
    }
}
