// SPDX-License-Identifier: Apache-2.0
//! The tables, and how a file is told to be one of ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::error::{Error, Result};
use crate::highwater::Said;
use crate::lock::with_suffix;
use crate::rows::Mark;

/// `DevA` in ASCII: what `PRAGMA application_id` says of our files.
pub(crate) const APPLICATION_ID: u32 = 0x4465_7641;
/// The format: what `PRAGMA user_version` says.
pub(crate) const FORMAT: u32 = 1;
/// The size of a page in bytes, SQLite's default since 3.12.
pub(crate) const PAGE_SIZE: u32 = 4096;

/// No AUTOINCREMENT: revisions come in, and it would advance on a failed insert too. The revision
/// is the row id, so a commit appends to the tree's last page.
const TABLES: &str = "
CREATE TABLE record (
    revision  INTEGER NOT NULL PRIMARY KEY,
    previous  INTEGER NOT NULL, -- the revision that this one supersedes, or 0
    seconds   INTEGER NOT NULL, -- when, since 1970
    nanos     INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    resource  TEXT    NOT NULL,
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    object    BLOB,             -- Kubernetes-shaped JSON; NULL when it was deleted
    checksum  INTEGER NOT NULL  -- CRC-32 of all of the above
) STRICT;
CREATE TABLE mark (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    compacted INTEGER NOT NULL, -- history is whole after this revision
    swept     INTEGER NOT NULL, -- and rows that may go are gone up to this one
    checksum  INTEGER NOT NULL
) STRICT;
";

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Ours,
}

/// The tables of our files, and all that there may be in them: a trigger or an index of somebody else's would be ours to run.
const OBJECTS: &[&str] = &["record", "mark", "quarantine"];

/// Makes the folder where there is none, and follows links to it, so that one database has one lock. One that is a link itself is
/// refused: under another name it would have another lock and another log.
pub(crate) fn prepare_folder(path: &Path) -> Result<PathBuf> {
    let error = |source| Error::File { doing: "prepare the folder of", path: path.to_owned(), source };
    let not_a_file = || error(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    if let Ok(found) = path.symlink_metadata() {
        let link = |what| Err(Error::Link { path: path.to_owned(), what });
        if found.is_symlink() {
            return link("is a symbolic link".to_owned());
        }
        if found.is_dir() {
            return Err(not_a_file());
        }
        if found.nlink() != 1 {
            return link(format!("is one of {} hard links to a file", found.nlink()));
        }
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(not_a_file()) };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(error)?;
    Ok(folder.canonicalize().map_err(error)?.join(name))
}

/// Looks at the header without SQLite, which might touch a file that is not ours. Only to be called
/// under the lock, with no connection open: closing the file drops SQLite's locks in this process.
///
/// The header's format: <https://www.sqlite.org/fileformat.html>, section 1.3.
pub(crate) fn inspect(path: &Path, said: &Said) -> Result<Found> {
    let error = |source| Error::File { doing: "read", path: path.to_owned(), source };
    let foreign = |why| Error::Foreign { path: path.to_owned(), why };
    let mut header = Vec::new();
    match open(path) {
        Ok(file) => file.take(100).read_to_end(&mut header).map_err(error)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(error(source)),
    };
    if header.is_empty() {
        return match said.acknowledged {
            0 => Ok(Found::Nothing),
            acknowledged => Err(Error::Emptied { path: path.to_owned(), acknowledged }),
        };
    }
    let number = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it is not an SQLite database"));
    }
    if number(68) != Some(APPLICATION_ID) {
        return Err(foreign("it is of another application"));
    }
    match number(60) {
        Some(FORMAT) => Ok(Found::Ours),
        found => Err(Error::Newer { path: path.to_owned(), found: found.unwrap_or_default(), known: FORMAT }),
    }
}

/// Opens a file to read it, if it is one: a pipe that nobody writes to would hang, and a device may do anything.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file: move it away, or name another")
}

/// Checks that there is nothing in a database but what this program made.
pub(crate) async fn check_objects(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    // SQLite's own, such as statistics, begin with its name; nobody else's can.
    let sql = "SELECT type, name FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'";
    let found: Vec<(String, String)> =
        sqlx::query_as(sql).fetch_all(connection).await.map_err(|source| Error::reading("check", path, source))?;
    match found.iter().find(|(kind, name)| kind != "table" || !OBJECTS.contains(&name.as_str())) {
        Some((kind, name)) => Err(Error::Object { path: path.to_owned(), object: format!("the {kind} {name:?}") }),
        None => Ok(()),
    }
}

/// Puts aside what an earlier database left beside a path that has none any more: SQLite would play it into the new one.
pub(crate) fn put_leftovers_aside(path: &Path) -> Result<()> {
    let error = |source| Error::File { doing: "move away what is beside", path: path.to_owned(), source };
    for suffix in ["-wal", "-journal"] {
        let leftover = with_suffix(path, suffix);
        if leftover.symlink_metadata().is_ok_and(|found| found.len() > 0) {
            let aside = with_suffix(&leftover, ".orphan");
            std::fs::rename(&leftover, &aside).map_err(error)?;
            tracing::error!(
                path = %aside.display(),
                "a log without its database was put aside: it may hold the last writes of one that is gone"
            );
        }
    }
    Ok(())
}

/// Checks that SQLite will find files or nothing where it looks for its own beside the database.
pub(crate) fn inspect_companions(path: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = with_suffix(path, suffix);
        let checked = match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => Err(no_file()),
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
            _ => Ok(()),
        };
        checked.map_err(|source| Error::File { doing: "use", path, source })?;
    }
    Ok(())
}

/// Makes a database beside the path and moves it there, so that a crash leaves all of it or nothing.
pub(crate) async fn create(path: &Path) -> Result<()> {
    let draft = with_suffix(path, ".new");
    let error = |source| Error::File { doing: "create", path: path.to_owned(), source };
    for leftover in [draft.clone(), with_suffix(&draft, "-journal")] {
        match std::fs::remove_file(leftover) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(error(source)),
            _ => {}
        }
    }
    // SQLite gives its journal and its log the mode of the database.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(error)?;
    fill(&draft).await.map_err(|source| Error::reading("create", path, source))?;
    File::open(&draft).and_then(|file| file.sync_all()).map_err(error)?;
    std::fs::rename(&draft, path).map_err(error)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)
}

async fn fill(draft: &Path) -> sqlx::Result<()> {
    let mut connection = SqliteConnectOptions::new()
        .filename(draft)
        .page_size(PAGE_SIZE)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .disable_statement_logging()
        .connect()
        .await?;
    let mark = Mark::default();
    let sql = format!(
        "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; \
         INSERT INTO mark VALUES (1, 0, 0, {}); COMMIT",
        mark.checksum()
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}
