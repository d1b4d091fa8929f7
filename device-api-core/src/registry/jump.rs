// SPDX-License-Identifier: Apache-2.0
//! Versions that are left out, and the record that says so in the journal.

use crate::resource::Timestamp;
use crate::storage::{Change, Record, RecordKey, Revision};

/// The resource of the ledger's own records: no plural has parentheses.
const RESOURCE: &str = "(ledger)";
/// Who writes them.
const ACTOR: &str = "ledger";

/// A jump from one revision to a later one. Those between were never written, or are lost: what an earlier owner of the store
/// may have handed out and the store does not hold.
///
/// In the journal it is a deletion of nothing at the revision that it leads to, whose name says where it began. So any
/// backend keeps it as it keeps all records, it goes when history does, and a record that is missing is still told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// The last revision before it.
    pub(super) after: Revision,
    /// The revision that it leads to, with the same state.
    pub(super) to: Revision,
    /// Whether some of those between are known to be lost.
    pub(super) is_loss: bool,
}

impl Jump {
    pub(super) fn record(self, at: Timestamp) -> Record {
        Record {
            revision: self.to,
            previous: Revision::ZERO,
            at,
            actor: ACTOR.to_owned(),
            resource: RESOURCE.to_owned(),
            key: RecordKey { namespace: String::new(), name: format!("{}{}", prefix(self.is_loss), self.after) },
            change: Change::Delete,
        }
    }

    /// The jump that a record is, if it is one.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let is_ours = record.resource == RESOURCE && record.change == Change::Delete;
        [false, true].into_iter().filter(|_| is_ours).find_map(|is_loss| {
            let after = record.key.name.strip_prefix(prefix(is_loss))?.parse().ok()?;
            Some(Self { after: Revision(after), to: record.revision, is_loss })
        })
    }

    /// Whether a revision is one of those between.
    pub(super) fn leaves_out(self, revision: Revision) -> bool {
        self.after < revision && revision < self.to
    }
}

/// How the name of a jump's record begins.
fn prefix(is_loss: bool) -> &'static str {
    if is_loss { "loss-after-" } else { "after-" }
}

/// The jump that leaves a revision out, of jumps in ascending order.
pub(super) fn over(jumps: &[Jump], revision: Revision) -> Option<Jump> {
    let next = jumps.partition_point(|jump| jump.to <= revision);
    jumps.get(next).copied().filter(|jump| jump.leaves_out(revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_read_from_its_record_and_from_no_other() {
        let at = Timestamp::from_unix(1_800_000_000, 0).unwrap();
        let jump = Jump { after: Revision(7), to: Revision(1_800_000_000_000_000), is_loss: false };
        let record = jump.record(at);
        assert_eq!(Jump::of(&record), Some(jump));
        let loss = Jump { is_loss: true, ..jump };
        assert_eq!(Jump::of(&loss.record(at)), Some(loss));
        let key = |name: &str| RecordKey { namespace: String::new(), name: name.to_owned() };
        assert_eq!(Jump::of(&Record { resource: "gpus".to_owned(), ..record.clone() }), None);
        assert_eq!(Jump::of(&Record { change: Change::Put(Vec::new()), ..record.clone() }), None);
        for name in ["after-", "after-x", "7", "after--7", "loss-after-", "loss-7"] {
            assert_eq!(Jump::of(&Record { key: key(name), ..record.clone() }), None, "{name}");
        }
    }

    #[test]
    fn only_what_lies_between_is_left_out() {
        let jump = |after, to| Jump { after: Revision(after), to: Revision(to), is_loss: false };
        let jumps = [jump(3, 7), jump(7, 9), jump(12, 20)];
        let left_out: Vec<u64> = (0..25).filter(|revision| over(&jumps, Revision(*revision)).is_some()).collect();
        assert_eq!(left_out, [4, 5, 6, 8, 13, 14, 15, 16, 17, 18, 19]);
    }
}
