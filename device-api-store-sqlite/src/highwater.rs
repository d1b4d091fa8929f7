// SPDX-License-Identifier: Apache-2.0
//! The file beside the database that says how far its versions have gone, whatever became of the database since.
//!
//! It has four lines, each in a sector of its own and with a checksum. Two say up to where versions may be handed out, in turns,
//! so that a power loss while one is written leaves the other. They are on the disk before a commit relies on them, and go ahead
//! of it in blocks. The third says what was acknowledged. It follows each commit and is not synced: so after a kill it is exact,
//! and after a power loss it may be old, but it is never ahead. The fourth says which files it spoke of.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::Pair;
use crate::lock::{open_private, with_suffix};
use crate::schema;

/// How many versions are reserved at once: a commit in many thousands waits for a sync more.
const BLOCK: u64 = 100_000;
/// Where a line begins is a multiple of this, in bytes.
const SECTOR: usize = 512;
/// How long the file is, in bytes.
const LENGTH: u64 = 4 * SECTOR as u64;

/// A line: its place, its first word, and how many numbers it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line(usize, &'static str, usize);

const RESERVED: [Line; 2] = [Line(0, "reserved", 1), Line(1, "reserved", 1)];
const ACKNOWLEDGED: Line = Line(2, "acknowledged", 1);
const FILES: Line = Line(3, "files", 4);

/// What the file said when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether there was one, and every line of it could be read.
    pub(crate) state: State,
    /// Versions up to this one may have been handed out.
    pub(crate) reserved: u64,
    /// Versions up to this one were acknowledged.
    pub(crate) acknowledged: u64,
    /// The database and its log, where the file system says when they were made.
    pub(crate) files: Option<Pair>,
    /// Which of the two lines of what is reserved says less, and may be written.
    lower: usize,
    /// Which of them cannot be read.
    garbled: [bool; 2],
}

/// Whether the file could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Missing,
    /// Not all of it.
    Damaged,
    Whole,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct HighWater {
    path: PathBuf,
    file: Arc<File>,
    /// What it said when it was opened.
    pub(crate) said: Said,
    /// Versions up to this one are reserved.
    reserved: u64,
    /// Which of the two lines is written next.
    turn: usize,
    /// Which files it names now.
    files: Option<Pair>,
    /// Whether the last write failed, so that a bad disk does not fill the log.
    failing: bool,
}

impl Said {
    /// Reads the file beside a database.
    pub(crate) fn read(database: &Path) -> Result<Self> {
        let path = with_suffix(database, ".mark");
        let mut bytes = Vec::new();
        match schema::open(&path).and_then(|file| file.take(LENGTH).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Error::File { doing: "read", path, source }),
        }
        Ok(parse(&bytes))
    }
}

impl HighWater {
    /// Opens the file beside a database, or makes it, where it said this before.
    pub(crate) fn open(database: &Path, said: Said) -> Result<Self> {
        let path = with_suffix(database, ".mark");
        let error = |source| Error::File { doing: "open", path: path.clone(), source };
        let file = open_private(&path).map_err(error)?;
        if file.metadata().map_err(error)?.len() < LENGTH {
            // This needs no room on a full disk, where what is stored is served all the same, and what is whole in one that was
            // cut stays: only what is reserved anew is written again.
            file.set_len(LENGTH).map_err(error)?;
            // Its name, too: a file that a power loss takes reserves nothing.
            let folder = path.parent().unwrap_or(Path::new("/"));
            file.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(error)?;
        }
        let (reserved, turn) = (said.reserved, said.lower);
        let mut mark = Self { path, file: Arc::new(file), said, reserved, turn, files: None, failing: false };
        for (line, garbled) in RESERVED.into_iter().zip(mark.said.garbled) {
            if garbled {
                // It would be long until its turn comes, and each start until then would say that the file is damaged.
                let written = write(&mark.file, line, &[reserved]);
                mark.note(written);
            }
        }
        Ok(mark)
    }

    /// Versions up to this one may have been handed out.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Sees to it that versions up to `last` are reserved, on the disk, before they are used.
    ///
    /// # Errors
    /// When it cannot be written. Nothing may be committed then, and nothing was.
    pub(crate) async fn reserve(&mut self, last: u64) -> Result<()> {
        if last <= self.reserved {
            return Ok(());
        }
        let through = last.saturating_add(BLOCK);
        let line = RESERVED[self.turn % RESERVED.len()];
        let file = Arc::clone(&self.file);
        // Not here: a disk that hangs must not keep others from this thread.
        let written = tokio::task::spawn_blocking(move || {
            write(&file, line, &[through])?;
            file.sync_data()
        });
        let written = written.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|source| Error::Mark { path: self.path.clone(), source })?;
        self.turn += 1;
        self.reserved = through;
        Ok(())
    }

    /// Notes what is to be acknowledged. A copy into the page cache, right after the same disk took a commit, so it is done here.
    pub(crate) fn acknowledge(&mut self, last: u64) {
        let written = write(&self.file, ACKNOWLEDGED, &[last]);
        self.note(written);
    }

    /// Notes which files it speaks of, where that has changed.
    pub(crate) fn speak_of(&mut self, files: Option<Pair>) {
        if self.files == files {
            return;
        }
        self.files = files;
        let written = write(&self.file, FILES, &files.map_or([0; 4], Pair::numbers));
        self.note(written);
    }

    /// Brings what was noted onto the disk.
    pub(crate) async fn sync(&self) -> Result<()> {
        let file = Arc::clone(&self.file);
        let synced = tokio::task::spawn_blocking(move || file.sync_data());
        let synced = synced.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        synced.map_err(|source| Error::Mark { path: self.path.clone(), source })
    }

    /// What was committed stays so: only a later loss might go unnoticed.
    fn note(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::error!(path = %self.path.display(), %error, "cannot note what is acknowledged");
            }
            Err(_) => {}
        }
    }
}

/// Writes a line. Its length never changes, so that nothing of an older one stays.
fn write(file: &File, Line(place, word, _): Line, numbers: &[u64]) -> io::Result<()> {
    let numbers: String = numbers.iter().map(|number| format!(" {number:020}")).collect();
    let body = format!("{word}{numbers}");
    let line = format!("{body} {:08x}\n", crc32fast::hash(body.as_bytes()));
    file.write_all_at(line.as_bytes(), (place * SECTOR) as u64)
}

fn parse(bytes: &[u8]) -> Said {
    // One that was made and not used yet says as little as none.
    if bytes.iter().all(|byte| *byte == b' ') {
        return Said::default();
    }
    let reserved = RESERVED.map(|line| numbers(bytes, line));
    let (acknowledged, files) = (numbers(bytes, ACKNOWLEDGED), numbers(bytes, FILES));
    // The last line is written before all others, and one of the first two before what is acknowledged.
    let is_written = |line: &Read| matches!(line, Ok(Some(_)));
    let any = reserved.iter().any(is_written) || (is_written(&files) && !is_written(&acknowledged));
    let garbled = reserved.each_ref().map(|line| line.is_err());
    let all = any && reserved.iter().chain([&acknowledged, &files]).all(|line| line.is_ok());
    let first = |line: &Read| line.as_ref().ok().and_then(Option::as_deref).map_or(0, |numbers| numbers[0]);
    let reserved = reserved.each_ref().map(first);
    Said {
        state: if all { State::Whole } else { State::Damaged },
        reserved: reserved[0].max(reserved[1]),
        lower: usize::from(reserved[1] < reserved[0]),
        garbled,
        acknowledged: first(&acknowledged),
        files: files.ok().flatten().and_then(|numbers| Pair::from_numbers(&numbers)),
    }
}

/// The numbers of a line: none in one that was never written, [`Garbled`] in one that is not what was written.
type Read = std::result::Result<Option<Vec<u64>>, Garbled>;

#[derive(Debug)]
struct Garbled;

fn numbers(bytes: &[u8], Line(place, word, count): Line) -> Read {
    let sector = bytes.get(place * SECTOR..(place + 1) * SECTOR).ok_or(Garbled)?;
    if sector.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let line = sector.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let (body, checksum) = line.and_then(|line| line.rsplit_once(' ')).ok_or(Garbled)?;
    if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(body.as_bytes())) {
        return Err(Garbled);
    }
    let numbers: Option<Vec<u64>> =
        body.strip_prefix(word).and_then(|rest| rest.split_whitespace().map(|number| number.parse().ok()).collect());
    numbers.filter(|numbers| numbers.len() == count).map(Some).ok_or(Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(database: &Path) -> Said {
        Said::read(database).unwrap()
    }

    #[tokio::test]
    async fn what_was_reserved_and_acknowledged_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        assert_eq!(said(&database).state, State::Missing);
        let mut mark = HighWater::open(&database, said(&database)).unwrap();
        // A kill before anything was reserved leaves nothing that could be taken for damage.
        mark.speak_of(Pair::from_numbers(&[1, 2, 3, 4]));
        let unused = said(&database);
        assert_eq!((unused.state, unused.reserved, unused.acknowledged), (State::Whole, 0, 0));
        let mut reserved = 0;
        for last in [1, 2, BLOCK, 3 * BLOCK, 9 * BLOCK] {
            mark.reserve(last).await.unwrap();
            mark.acknowledge(last);
            let said = said(&database);
            assert!(said.reserved >= last && said.reserved >= reserved, "{said:?}");
            assert_eq!((said.state, said.acknowledged), (State::Whole, last));
            reserved = said.reserved;
            // As after a kill.
            mark = HighWater::open(&database, said).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_whole_in_a_mark_that_was_cut_stays_and_the_rest_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        let mut mark = HighWater::open(&database, said(&database)).unwrap();
        mark.reserve(1).await.unwrap();
        mark.reserve(BLOCK + 2).await.unwrap();
        let path = with_suffix(&database, ".mark");
        let whole = std::fs::read(&path).unwrap();
        for length in (1..whole.len()).step_by(97) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let before = said(&database).reserved;
            assert!(before > BLOCK || length < 2 * SECTOR, "{length}: {before}");
            // As after a kill before anything else was reserved.
            drop(HighWater::open(&database, said(&database)).unwrap());
            let after = said(&database);
            assert_eq!((after.reserved, after.state), (before, State::Whole), "{length}");
        }
    }

    #[tokio::test]
    async fn a_mark_of_a_database_that_nobody_wrote_to_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        let mut mark = HighWater::open(&database, said(&database)).unwrap();
        mark.speak_of(Pair::from_numbers(&[1, 2, 3, 4]));
        assert_eq!(said(&database).state, State::Whole);
        std::fs::write(with_suffix(&database, ".mark"), [0; LENGTH as usize]).unwrap();
        assert_eq!(said(&database).state, State::Damaged, "as a power loss leaves it");
    }

    #[tokio::test]
    async fn a_line_that_was_torn_leaves_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state.db");
        let mut mark = HighWater::open(&database, said(&database)).unwrap();
        mark.reserve(1).await.unwrap();
        let before = said(&database).reserved;
        mark.reserve(before + 1).await.unwrap();
        mark.acknowledge(7);
        let path = with_suffix(&database, ".mark");
        let whole = std::fs::read(&path).unwrap();
        for line in 0..4 {
            for at in 0..30 {
                let mut torn = whole.clone();
                torn[line * SECTOR + at] ^= 1;
                std::fs::write(&path, &torn).unwrap();
                let said = said(&database);
                assert!(said.reserved >= before, "{line} {at}: {said:?}");
                assert!(said.acknowledged == 7 || line == 2, "{line} {at}: {said:?}");
                assert_eq!(said.state, State::Damaged, "{line} {at}");
            }
        }
        for length in 1..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(said(&database).state, State::Damaged, "{length}");
        }
    }
}
