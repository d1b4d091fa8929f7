// SPDX-License-Identifier: Apache-2.0
//! Finds what no order of the operations explains.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Committed, History, Operation, Reply, State};

/// What no order of the operations explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A revision is missing in the log, or there twice.
    #[error("the log goes on with {found:?} after revision {after}: each write is the next revision")]
    Gap {
        /// The revision before.
        after: u64,
        /// What came.
        found: Committed,
    },
    /// The log has a write that nobody asked for, or that its client was told had not happened.
    #[error("the log has {found:?}, but its client was answered {reply:?}")]
    Phantom {
        /// What the log has.
        found: Committed,
        /// What the client was answered; `None` when nobody asked.
        reply: Option<Reply>,
    },
    /// A write was acknowledged, and the log does not have it as it was acknowledged.
    #[error("acknowledged, but not in the log: {0:?}")]
    Lost(Operation),
    /// A write happened though what it asked for did not hold: a lost update.
    #[error("{operation:?} was committed on top of {before:?}, where what it asked for does not hold")]
    Precondition {
        /// The write.
        operation: Operation,
        /// What the object was.
        before: Option<State>,
    },
    /// An answer is not true at any moment from the request to the answer.
    #[error("{operation:?} is not true at any moment after revision {bound}, which was known before it began")]
    Stale {
        /// The operation.
        operation: Operation,
        /// The highest revision that an earlier operation proves.
        bound: u64,
    },
}

/// Checks that what the clients did at once is what they could have done one after the other.
///
/// # Errors
/// The first thing found that is not.
pub fn check(history: &History) -> Result<(), Box<Violation>> {
    let states = replay(history)?;
    let revisions = attribute(history, &states)?;
    in_time(history, &states, &revisions)
}

/// The objects after each revision, from `start` on.
struct States {
    start: u64,
    after: Vec<BTreeMap<String, State>>,
}

impl States {
    fn at(&self, revision: u64) -> Option<&BTreeMap<String, State>> {
        self.after.get(usize::try_from(revision.checked_sub(self.start)?).ok()?)
    }

    fn of(&self, key: &str, revision: u64) -> Option<&State> {
        self.at(revision)?.get(key)
    }

    fn last(&self) -> u64 {
        self.start + self.after.len() as u64 - 1
    }
}

fn replay(history: &History) -> Result<States, Box<Violation>> {
    let mut states = States { start: history.start, after: vec![BTreeMap::new()] };
    for committed in &history.log {
        let after = states.last();
        if committed.state.revision != after + 1 {
            return Err(Box::new(Violation::Gap { after, found: committed.clone() }));
        }
        let mut objects = states.at(after).cloned().unwrap_or_default();
        if committed.deleted {
            objects.remove(&committed.key);
        } else {
            objects.insert(committed.key.clone(), committed.state.clone());
        }
        states.after.push(objects);
    }
    Ok(states)
}

/// Finds the operation of each entry of the log, and checks that it was answered so and that what it
/// asked for held. Returns the revision of each operation that is a write in the log.
fn attribute(history: &History, states: &States) -> Result<BTreeMap<usize, u64>, Box<Violation>> {
    let mut revisions = BTreeMap::new();
    for committed in &history.log {
        let is_its = |operation: &Operation| {
            operation.key == committed.key
                && match &operation.call {
                    Call::Create { value } | Call::Replace { value, .. } => {
                        !committed.deleted && *value == committed.state.value
                    }
                    Call::Delete { uid } => {
                        committed.deleted && *uid == committed.state.uid && operation.reply == Reply::Deleted
                    }
                    Call::Get | Call::List => false,
                }
        };
        let found = history.operations.iter().position(is_its).or_else(|| {
            // Several may have asked for the same delete: it is one of those with an unclear answer.
            history.operations.iter().enumerate().position(|(index, operation)| {
                let asked = Call::Delete { uid: committed.state.uid.clone() };
                committed.deleted
                    && operation.call == asked
                    && operation.reply == Reply::Unclear
                    && !revisions.contains_key(&index)
            })
        });
        let phantom = |reply| Box::new(Violation::Phantom { found: committed.clone(), reply });
        let index = found.ok_or_else(|| phantom(None))?;
        let operation = &history.operations[index];
        let answered_so = match &operation.reply {
            Reply::Stored(state) => *state == committed.state,
            Reply::Deleted | Reply::Unclear => true,
            _ => false,
        };
        if !answered_so || revisions.insert(index, committed.state.revision).is_some() {
            return Err(phantom(Some(operation.reply.clone())));
        }
        let before = states.of(&committed.key, committed.state.revision - 1);
        let holds = match (&operation.call, before) {
            (Call::Create { .. }, None) => true,
            (Call::Replace { version, .. }, Some(before)) => {
                version.is_none_or(|version| version == before.revision) && before.uid == committed.state.uid
            }
            (Call::Delete { uid }, Some(before)) => before.uid == *uid,
            _ => false,
        };
        if !holds {
            return Err(Box::new(Violation::Precondition { operation: operation.clone(), before: before.cloned() }));
        }
    }
    let acknowledged = |operation: &Operation| matches!(operation.reply, Reply::Stored(_) | Reply::Deleted);
    match history.operations.iter().enumerate().find(|(index, o)| acknowledged(o) && !revisions.contains_key(index)) {
        Some((_, lost)) => Err(Box::new(Violation::Lost(lost.clone()))),
        None => Ok(revisions),
    }
}

/// Gives each operation a moment, that is a revision after which it happened, as early as what was
/// known before it began allows; and checks that there is one.
fn in_time(history: &History, states: &States, revisions: &BTreeMap<usize, u64>) -> Result<(), Box<Violation>> {
    let mut moments: BTreeSet<(u64, bool, usize)> = BTreeSet::new();
    for (index, operation) in history.operations.iter().enumerate() {
        moments.insert((operation.invoked, false, index));
        moments.insert((operation.responded, true, index));
    }
    let mut known = history.start;
    let mut points: BTreeMap<usize, u64> = BTreeMap::new();
    for (_, responded, index) in moments {
        let operation = &history.operations[index];
        if responded {
            // Nobody learns anything from an unclear answer.
            if operation.reply != Reply::Unclear {
                known = known.max(points.get(&index).copied().unwrap_or_default());
            }
            continue;
        }
        let point = match (revisions.get(&index), &operation.reply) {
            (Some(revision), _) => Some(*revision).filter(|revision| *revision > known),
            (None, Reply::Unclear) => Some(known),
            (None, Reply::Listed(revision, items)) => Some(*revision).filter(|revision| {
                let expected = items.iter().cloned().collect();
                *revision >= known && items.is_sorted_by_key(|(key, _)| key) && states.at(*revision) == Some(&expected)
            }),
            (None, _) => (known..=states.last()).find(|at| is_true(operation, states.of(&operation.key, *at))),
        };
        match point {
            Some(point) => points.insert(index, point),
            None => return Err(Box::new(Violation::Stale { operation: operation.clone(), bound: known })),
        };
    }
    Ok(())
}

/// Whether an answer that tells of a state is true of this one.
fn is_true(operation: &Operation, state: Option<&State>) -> bool {
    match (&operation.reply, state) {
        (Reply::Found(found), Some(state)) => found == state,
        (Reply::NotFound, None) | (Reply::AlreadyExists, Some(_)) => true,
        (Reply::Conflict, Some(state)) => match &operation.call {
            Call::Replace { version, .. } => version.is_some_and(|version| version != state.revision),
            Call::Delete { uid } => *uid != state.uid,
            _ => false,
        },
        _ => false,
    }
}
