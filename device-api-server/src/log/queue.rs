// SPDX-License-Identifier: Apache-2.0
//! Lines that wait to be written: few, short ones, and nobody waits for them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many lines wait at most, and how long all of them are, in bytes. A file or the journal takes some hundred
/// thousand lines a second: whoever is so far behind does not read.
const MOST: (usize, usize) = (4096, 4 << 20);
/// How often it is said that lines are lost while more of them are all the time.
const AGAIN: Duration = Duration::from_secs(10);

/// Lines that wait to be written by one thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    // A plain mutex: it is held to put a line in or to take one out, and never while one is written.
    waiting: Mutex<Waiting>,
    /// There is a line.
    more: Condvar,
    /// There is none, and none is being written.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
    /// How many lines were lost and not told of.
    lost: u64,
    told_at: Option<Instant>,
}

impl Queue {
    /// Puts a line in; without room for it, it is lost.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut waiting = self.waiting();
        if waiting.lines.len() < MOST.0 && waiting.bytes + line.len() <= MOST.1 {
            self.put(&mut waiting, line);
        } else {
            waiting.lost += 1;
        }
    }

    /// Puts a line in, for which there is always room: a process has few last words.
    pub(super) fn push_in_any_case(&self, line: Vec<u8>) {
        self.put(&mut self.waiting(), line);
    }

    fn put(&self, waiting: &mut Waiting, line: Vec<u8>) {
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        self.more.notify_one();
    }

    /// Waits for a line, which is then being written until [`Self::wrote`] or [`Self::told`] says otherwise.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut waiting = self.waiting();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.is_writing = true;
                return line;
            }
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A line was written, or was not. Says how many were lost, when it is time to tell: [`Self::told`] follows.
    pub(super) fn wrote(&self, is_written: bool) -> Option<u64> {
        let mut waiting = self.waiting();
        if !is_written {
            waiting.lost += 1;
        }
        let is_due = waiting.lines.is_empty() || waiting.told_at.is_none_or(|told_at| told_at.elapsed() >= AGAIN);
        if is_written && waiting.lost > 0 && is_due {
            return Some(waiting.lost);
        }
        self.rest(&mut waiting);
        None
    }

    /// So many lost lines were told of, unless that could not be written either.
    pub(super) fn told(&self, lost: u64, is_written: bool) {
        let mut waiting = self.waiting();
        if is_written {
            waiting.lost -= lost;
            waiting.told_at = Some(Instant::now());
        }
        self.rest(&mut waiting);
    }

    fn rest(&self, waiting: &mut Waiting) {
        waiting.is_writing = false;
        if waiting.lines.is_empty() {
            self.done.notify_all();
        }
    }

    /// Waits until all is written, but no longer than this.
    pub(super) fn drain(&self, patience: Duration) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // Whether it was in time matters to nobody: the process ends.
        let _ = self.done.wait_timeout_while(self.waiting(), patience, is_busy);
    }

    // The state is whole after every statement that can panic.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_counted_and_told_at_once_and_in_the_end() {
        for (length, room) in [(1, MOST.0), (MOST.1 / 8, 8)] {
            let queue = Queue::default();
            let push = |count| (0..count).for_each(|_| queue.push(vec![b'a'; length]));
            let write = || {
                queue.take();
                let lost = queue.wrote(true);
                lost.into_iter().for_each(|lost| queue.told(lost, true));
                lost.unwrap_or_default()
            };
            push(room + 3);
            assert_eq!(write(), 3, "somebody may wait for it");
            // There is room for one of these.
            push(5);
            let told: u64 = (0..room).map(|_| write()).sum();
            assert_eq!(told, 4);
            queue.drain(Duration::MAX);
        }
    }

    #[test]
    fn what_could_not_be_written_is_told_after_the_next_line_that_could() {
        let queue = Queue::default();
        for is_written in [false, false, true] {
            queue.push(vec![b'a']);
            queue.take();
            let lost = queue.wrote(is_written);
            assert_eq!(lost, is_written.then_some(2));
        }
        // Nor could the notice: it is said with the next one.
        queue.told(2, false);
        queue.push(vec![b'a']);
        queue.take();
        assert_eq!(queue.wrote(true), Some(2));
    }

    #[test]
    fn who_waits_for_the_end_does_not_wait_for_ever() {
        let queue = Queue::default();
        queue.push_in_any_case(vec![b'a'; MOST.1 + 1]);
        assert_eq!(queue.take().len(), MOST.1 + 1);
        queue.drain(Duration::from_millis(1));
    }
}
