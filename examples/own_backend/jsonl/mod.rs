// SPDX-License-Identifier: Apache-2.0
//! Storage in a file of JSON lines, each one commit and on the disk when it is acknowledged.

mod line;

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use device_api_core::storage::{
    Change, Quarantine, Quarantined, Record, Revision, Snapshot, Storage, StorageError, StorageErrorKind,
};

use self::line::{Line, kept, quarantined};

/// How much may be appended before a compaction writes the file anew: it keeps compactions short, and the
/// file within twice its size.
const SLACK: u64 = 64 << 10;
/// How many revisions are reserved at once.
const BLOCK: u64 = 10_000;

/// An open file, and its only owner.
#[derive(Debug)]
pub(crate) struct JsonLines {
    // Guards the file: a call that its caller gave up on may still run on its thread when the next one
    // comes. A blocking mutex, because only those threads take it.
    journal: Arc<Mutex<Journal>>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    /// What the file holds.
    snapshot: Snapshot,
    quarantine: Vec<Quarantined>,
    /// The file's size after it was last written as a whole, and now.
    sizes: (u64, u64),
    /// Whether the end of the file may be torn, or not be on the disk.
    suspect: bool,
    /// Held, not read: it goes when the last call has ended. A file of its own, since a rewrite replaces
    /// the other one.
    _lock: File,
}

impl JsonLines {
    /// Opens the file, or makes it.
    pub(crate) async fn open(path: &Path) -> Result<Self, StorageError> {
        let path = path.to_owned();
        blocking(move || {
            let lock = lock(&path)?;
            let file = File::options().read(true).append(true).create(true).open(&path).map_err(config)?;
            // Suspect: nobody knows how the last owner ended.
            let (snapshot, quarantine) = (Snapshot::default(), Vec::new());
            let mut journal = Journal { path, file, snapshot, quarantine, sizes: (0, 0), suspect: true, _lock: lock };
            // Now, since a rewrite before it would write down an empty store.
            journal.load()?;
            Ok(Self { journal: Arc::new(Mutex::new(journal)) })
        })
        .await
    }

    /// Runs a call on a thread that may block, so that a slow disk does not stop the program.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let journal = Arc::clone(&self.journal);
        blocking(move || work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

#[async_trait]
impl Storage for JsonLines {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        self.call(Journal::load).await
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let records = records.to_vec();
        self.call(move |journal| {
            if let Some(last) = records.last() {
                journal.reserve(last.revision)?;
            }
            // A line of no records, too: it shows whether there is room for one.
            journal.append(&Line::commit(&records))?;
            let Some(last) = records.last() else { return Ok(()) };
            journal.snapshot.last = last.revision;
            journal.snapshot.records.extend(records);
            Ok(())
        })
        .await
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        self.call(move |journal| journal.compact(through)).await
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError> {
        let quarantine = quarantine.clone();
        self.call(move |journal| journal.quarantine(quarantine)).await
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        self.call(|journal| Ok(journal.quarantine.clone())).await
    }

    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError> {
        let revisions = revisions.to_vec();
        self.call(move |journal| {
            let before = journal.quarantine.len();
            journal.quarantine.retain(|record| !revisions.contains(&record.revision));
            journal.rewrite()?;
            Ok(before - journal.quarantine.len())
        })
        .await
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        self.call(Journal::check).await
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Journal {
    fn load(&mut self) -> Result<Snapshot, StorageError> {
        let mut text = Vec::new();
        self.file.rewind().and_then(|()| self.file.read_to_end(&mut text)).map_err(unclear)?;
        let (mut found, mut quarantine) = (Snapshot::default(), Vec::new());
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        for line in lines.by_ref().take_while(|line| Line::is_whole(line)) {
            match Line::decode(line)? {
                Line::Commit(entries) => {
                    for entry in entries {
                        let record = Record::try_from(entry)?;
                        found.last = record.revision;
                        found.records.push(record);
                    }
                }
                Line::Marks(last, compacted) => {
                    (found.last, found.compacted) = (Revision(last), Revision(compacted));
                }
                Line::Quarantine(entries) => {
                    quarantine = entries.into_iter().map(quarantined).collect::<Result<_, _>>()?;
                }
                Line::Reserved(through) => found.reserved = found.reserved.max(Revision(through)),
            }
        }
        found.reserved = found.reserved.max(found.last);
        // The last write may be torn, by a crash or a full disk: whatever is in its place, it was not acknowledged. But nothing was
        // written after it, so where more is whole, something else was damaged.
        if lines.any(Line::is_whole) {
            return Err(corrupt(io::Error::new(
                io::ErrorKind::InvalidData,
                "a checksum before the last one does not match",
            )));
        }
        (self.snapshot, self.quarantine) = (found, quarantine);
        self.sizes.1 = text.len() as u64;
        if self.suspect {
            // What we say that we hold must be on the disk, and after a failed sync nobody knows whether it is.
            self.rewrite()?;
        }
        Ok(self.snapshot.clone())
    }

    fn append(&mut self, line: &Line) -> Result<(), StorageError> {
        let bytes = line.encode()?;
        if self.suspect {
            // A line after a torn one would be lost with it.
            self.rewrite()?;
        }
        self.suspect = true;
        // Any failure may leave a part behind: unclear, so that the ledger loads before it goes on.
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).map_err(unclear)?;
        self.suspect = false;
        self.sizes.1 += bytes.len() as u64;
        Ok(())
    }

    /// Writes down that revisions up to this one may be handed out, before one of them is. It stands before the commits, so
    /// what tears the last of them leaves it. An older copy of the whole file takes it along: then the ledger has the clock.
    fn reserve(&mut self, last: Revision) -> Result<(), StorageError> {
        if last <= self.snapshot.reserved {
            return Ok(());
        }
        let through = Revision(last.0.saturating_add(BLOCK));
        self.append(&Line::Reserved(through.0))?;
        self.snapshot.reserved = through;
        Ok(())
    }

    /// Whether the path still names the file that is open.
    fn check(&mut self) -> Result<(), StorageError> {
        let open = self.file.metadata().map_err(unclear)?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (open.dev(), open.ino()) => Ok(()),
            Ok(_) => Err(StorageError::new("jsonl", StorageErrorKind::Lost, "the file was replaced while it was open")),
            Err(error) => Err(failure(StorageErrorKind::Lost, "the file was taken away while it was open", error)),
        }
    }

    fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        if through <= self.snapshot.compacted && !self.suspect {
            return Ok(());
        }
        let through = through.max(self.snapshot.compacted);
        self.snapshot.compacted = through;
        self.snapshot.last = self.snapshot.last.max(through);
        let records = &mut self.snapshot.records;
        let old = &records[..records.partition_point(|record| record.revision <= through)];
        let superseded: HashSet<Revision> = old.iter().map(|record| record.previous).collect();
        records.retain(|record| {
            record.revision > through || (record.change != Change::Delete && !superseded.contains(&record.revision))
        });
        let (written, size) = self.sizes;
        if size > written * 2 + SLACK {
            self.rewrite()
        } else {
            self.append(&Line::Marks(self.snapshot.last.0, through.0))
        }
    }

    fn quarantine(&mut self, quarantine: Quarantine) -> Result<(), StorageError> {
        let Quarantine { at, records: unsound, superseded, through } = quarantine;
        for (revision, why) in unsound {
            let Some(index) = self.snapshot.records.iter().position(|record| record.revision == revision) else {
                continue;
            };
            let Record { actor, resource, key, change, .. } = self.snapshot.records.remove(index);
            let object = match change {
                Change::Put(object) => Some(object),
                Change::Delete => None,
            };
            self.quarantine.push(Quarantined { revision, why, since: at, actor, resource, key, object });
        }
        self.snapshot.records.retain(|record| !superseded.contains(&record.revision));
        self.snapshot.compacted = self.snapshot.compacted.max(through);
        self.snapshot.last = self.snapshot.last.max(through);
        self.rewrite()
    }

    /// Writes a new file and puts it in the place of the old one, so that there is a whole one at any time.
    fn rewrite(&mut self) -> Result<(), StorageError> {
        self.suspect = true;
        let mut bytes = Line::Reserved(self.snapshot.reserved.0).encode()?;
        bytes.extend(Line::commit(&self.snapshot.records).encode()?);
        bytes.extend(Line::Marks(self.snapshot.last.0, self.snapshot.compacted.0).encode()?);
        if !self.quarantine.is_empty() {
            bytes.extend(Line::Quarantine(self.quarantine.iter().map(kept).collect()).encode()?);
        }
        let new = suffixed(&self.path, ".new");
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = (|| {
            let mut file = File::options().read(true).append(true).create(true).open(&new)?;
            // A crash may have left one behind.
            file.set_len(0)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // The rename itself is on the disk only after this.
            File::open(folder)?.sync_all()?;
            Ok(file)
        })();
        self.file = written.map_err(unclear)?;
        self.sizes = (bytes.len() as u64, bytes.len() as u64);
        self.suspect = false;
        Ok(())
    }
}

/// Takes the lock that makes us the only owner, and says there who we are.
fn lock(path: &Path) -> Result<File, StorageError> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(suffixed(path, ".lock"))
        .map_err(config)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(config)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            file.take(32).read_to_string(&mut owner).map_err(config)?;
            let what = format!("{} has an owner already: process {owner}; stop it first", path.display());
            Err(StorageError::new("jsonl", StorageErrorKind::Locked, what))
        }
        Err(TryLockError::Error(error)) => Err(config(error)),
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(failure(StorageErrorKind::Unclear, "a call did not end", error)),
    }
}

fn config(error: io::Error) -> StorageError {
    failure(StorageErrorKind::Config, "cannot open the file", error)
}

fn unclear(error: io::Error) -> StorageError {
    failure(StorageErrorKind::Unclear, "cannot read or write the file", error)
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    failure(StorageErrorKind::Corrupt, "a line is not what was written; restore the file from a copy", error)
}

fn failure(kind: StorageErrorKind, what: &str, source: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::new("jsonl", kind, what).with_source(source)
}
