// SPDX-License-Identifier: Apache-2.0
//! Records as rows: written in batches, read back with their checksums verified.

use std::path::Path;

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Change, Claims, Record, RecordKey, Revision, Unreadable};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite};

use crate::error::{Error, Result};

/// Rows in one INSERT: each count is a statement of its own in the cache, and larger ones gain
/// little.
pub(crate) const CHUNK_ROWS: usize = 64;
/// Bytes of objects in one INSERT, unless one object is larger.
const CHUNK_BYTES: usize = 4 << 20;
/// A cached statement keeps what was last bound to it, so those that bound more than this are not
/// cached.
const CACHED_BYTES: usize = 128 << 10;
/// Rows read at once.
const PAGE_ROWS: u32 = 1_000;

/// How far history was compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// History is whole after this revision.
    pub(crate) compacted: i64,
    /// The rows that may go are gone up to this one.
    pub(crate) swept: i64,
}

impl Mark {
    pub(crate) fn checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.compacted.to_le_bytes());
        crc.update(&self.swept.to_le_bytes());
        crc.finalize()
    }

    pub(crate) async fn read(connection: &mut SqliteConnection, path: &Path) -> Result<Self> {
        let row =
            sqlx::query("SELECT compacted, swept, checksum FROM mark WHERE id = 1").fetch_optional(connection).await;
        let row = row.map_err(|source| Error::reading("load", path, source))?;
        let damaged = |why: String| Error::Row { path: path.to_owned(), row: "the compaction mark".to_owned(), why };
        let row = row.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let read = || -> sqlx::Result<(Self, i64)> {
            Ok((Self { compacted: row.try_get(0)?, swept: row.try_get(1)? }, row.try_get(2)?))
        };
        let (mark, checksum) = read().map_err(|error| damaged(error.to_string()))?;
        if i64::from(mark.checksum()) != checksum {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        Ok(mark)
    }
}

/// A revision as SQLite keeps it.
pub(crate) fn to_sql(revision: Revision) -> Result<i64> {
    i64::try_from(revision.0).map_err(|_| Error::Range { revision: revision.0 })
}

pub(crate) fn check_range(records: &[Record]) -> Result<()> {
    records.iter().try_for_each(|record| to_sql(record.revision).map(drop))
}

/// The pieces that one statement each can take.
pub(crate) fn chunks(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(CHUNK_ROWS).take_while(|record| {
            bytes += size(record);
            bytes <= CHUNK_BYTES
        });
        let count = fits.count().max(1).min(rest.len());
        let (chunk, after) = rest.split_at(count);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Writes one chunk with one statement.
pub(crate) async fn insert(connection: &mut SqliteConnection, chunk: &[Record]) -> sqlx::Result<()> {
    let rows = vec!["(?,?,?,?,?,?,?,?,?,?)"; chunk.len()].join(",");
    let sql = AssertSqlSafe(format!("INSERT INTO record VALUES {rows}"));
    let cached = chunk.iter().map(size).sum::<usize>() <= CACHED_BYTES;
    chunk.iter().fold(sqlx::query(sql).persistent(cached), bind).execute(connection).await.map(drop)
}

fn size(record: &Record) -> usize {
    match &record.change {
        Change::Put(object) => object.len(),
        Change::Delete => 0,
    }
}

fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, record: &Record) -> Query<'q, Sqlite, SqliteArguments> {
    let object = match &record.change {
        Change::Put(object) => Some(object.as_slice()),
        Change::Delete => None,
    };
    query
        // In range: the caller checked.
        .bind(record.revision.0.cast_signed())
        .bind(record.previous.0.cast_signed())
        .bind(record.at.unix_seconds())
        .bind(record.at.subsec_nanos())
        .bind(record.actor.as_str())
        .bind(record.resource.as_str())
        .bind(record.key.namespace.as_str())
        .bind(record.key.name.as_str())
        .bind(object)
        .bind(i64::from(checksum(record)))
}

/// Reads every record, in order: those that can be read, and what can be said of the others.
pub(crate) async fn load(connection: &mut SqliteConnection, path: &Path) -> Result<(Vec<Record>, Vec<Unreadable>)> {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    let mut after = i64::MIN;
    loop {
        // In pages, so that rows and records are not both in memory.
        let page = sqlx::query("SELECT * FROM record WHERE revision > ? ORDER BY revision LIMIT ?")
            .bind(after)
            .bind(PAGE_ROWS)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| Error::reading("load", path, source))?;
        for row in &page {
            let revision: i64 = row.try_get(0).map_err(|source| Error::reading("load", path, source))?;
            after = revision;
            let why = match read(row) {
                Ok((record, found)) if i64::from(checksum(&record)) == found => {
                    records.push(record);
                    continue;
                }
                Ok(_) => "its checksum does not match".to_owned(),
                Err(error) => error.to_string(),
            };
            let revision = Revision(revision.cast_unsigned());
            unreadable.push(Unreadable { revision, why, claims: claims(row) });
        }
        if page.len() < PAGE_ROWS as usize {
            return Ok((records, unreadable));
        }
    }
}

/// What a damaged row says of itself.
fn claims(row: &SqliteRow) -> Option<Claims> {
    Some(Claims {
        previous: Revision(row.try_get::<i64, _>(1).ok()?.cast_unsigned()),
        resource: text(row, 5),
        key: RecordKey { namespace: text(row, 6), name: text(row, 7) },
    })
}

/// A column as text, whatever is in it.
pub(crate) fn text(row: &SqliteRow, column: usize) -> String {
    let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(column).unwrap_or_default();
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// A record and the checksum that was stored with it.
fn read(row: &SqliteRow) -> sqlx::Result<(Record, i64)> {
    let decode = |error| sqlx::Error::Decode(Box::new(error));
    let object: Option<Vec<u8>> = row.try_get(8)?;
    let record = Record {
        revision: Revision(row.try_get::<i64, _>(0)?.cast_unsigned()),
        previous: Revision(row.try_get::<i64, _>(1)?.cast_unsigned()),
        at: Timestamp::from_unix(row.try_get(2)?, row.try_get(3)?).map_err(decode)?,
        actor: row.try_get(4)?,
        resource: row.try_get(5)?,
        key: RecordKey { namespace: row.try_get(6)?, name: row.try_get(7)? },
        change: object.map_or(Change::Delete, Change::Put),
    };
    Ok((record, row.try_get(9)?))
}

/// The CRC-32 of all fields. Lengths come before what has one, so that no two records are written
/// alike.
fn checksum(record: &Record) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut field = |bytes: &[u8]| {
        crc.update(&(bytes.len() as u64).to_le_bytes());
        crc.update(bytes);
    };
    field(&record.revision.0.to_le_bytes());
    field(&record.previous.0.to_le_bytes());
    field(&record.at.unix_seconds().to_le_bytes());
    field(&record.at.subsec_nanos().to_le_bytes());
    for text in [&record.actor, &record.resource, &record.key.namespace, &record.key.name] {
        field(text.as_bytes());
    }
    match &record.change {
        Change::Put(object) => field(object),
        Change::Delete => crc.update(b"deleted"),
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Record {
        Record {
            revision: Revision(7),
            previous: Revision(6),
            at: Timestamp::from_unix(1, 2).unwrap(),
            actor: "ab".to_owned(),
            resource: "c".to_owned(),
            key: RecordKey { namespace: "d".to_owned(), name: "e".to_owned() },
            change: Change::Put(vec![0; bytes]),
        }
    }

    #[test]
    fn every_field_counts_in_the_checksum() {
        let base = record(4);
        let changes: [fn(&mut Record); 10] = [
            |record| record.revision = Revision(8),
            |record| record.previous = Revision(5),
            |record| record.at = Timestamp::from_unix(2, 2).unwrap(),
            |record| record.at = Timestamp::from_unix(1, 3).unwrap(),
            |record| record.actor = "a".to_owned(),
            |record| (record.actor, record.resource) = ("a".to_owned(), "bc".to_owned()),
            |record| record.key.namespace = "e".to_owned(),
            |record| record.key.name = "d".to_owned(),
            |record| record.change = Change::Put(vec![0, 0, 0]),
            |record| record.change = Change::Delete,
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = base.clone();
            change(&mut changed);
            assert_ne!(checksum(&changed), checksum(&base), "change {index}");
        }
        assert_ne!(checksum(&record(0)), checksum(&Record { change: Change::Delete, ..record(0) }));
    }

    #[test]
    fn chunks_hold_every_record_once_and_keep_their_limits() {
        for (records, bytes, first) in [(0, 0, 0), (1, 10 << 20, 1), (300, 1, CHUNK_ROWS), (9, 1 << 20, 4)] {
            let records = vec![record(bytes); records];
            let lengths: Vec<_> = chunks(&records).map(<[Record]>::len).collect();
            assert_eq!(lengths.iter().sum::<usize>(), records.len());
            assert_eq!(lengths.first().copied().unwrap_or_default(), first);
        }
    }
}
