// SPDX-License-Identifier: Apache-2.0
//! Rows that cannot be trusted: kept beside the journal until a person has looked at them.

use std::path::Path;

use device_api_core::resource::Timestamp;
use device_api_core::storage::{Quarantine, Quarantined, RecordKey, Revision};
use sqlx::{Row, SqliteConnection};

use crate::error::{Error, Result};
use crate::rows::{Mark, text, to_sql};
use crate::transaction;

/// Made when it is first needed. A version that does not know it leaves it alone, so it is no other format. Columns of any type,
/// since a damaged row is kept as it is.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS quarantine (
    id        INTEGER NOT NULL PRIMARY KEY,
    since     TEXT    NOT NULL,
    why       TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    previous  ANY,
    seconds   ANY,
    nanos     ANY,
    actor     ANY,
    resource  ANY,
    namespace ANY,
    name      ANY,
    object    ANY,
    checksum  ANY
) STRICT";

/// Moves rows there, and forgets history, in one transaction.
pub(crate) async fn put(connection: &mut SqliteConnection, path: &Path, quarantine: &Quarantine) -> Result<()> {
    let error = |source| Error::writing("put damaged rows of", path, source);
    let through = to_sql(quarantine.through)?;
    let mark = match Mark::read(connection, path).await {
        Ok(mark) => Mark { compacted: mark.compacted.max(through), ..mark },
        // It is what is damaged: all that may go is looked for anew.
        Err(Error::Row { .. }) => Mark { compacted: through, swept: 0 },
        Err(failure) => return Err(failure),
    };
    transaction::begin(connection).await.map_err(error)?;
    let moved = move_rows(connection, quarantine, mark).await;
    transaction::end(connection, moved).await.map_err(error)
}

async fn move_rows(connection: &mut SqliteConnection, quarantine: &Quarantine, mark: Mark) -> sqlx::Result<()> {
    sqlx::query(TABLE).execute(&mut *connection).await?;
    let since = quarantine.at.to_string();
    for (revision, why) in &quarantine.records {
        let copy = "INSERT INTO quarantine \
            (since, why, revision, previous, seconds, nanos, actor, resource, namespace, name, object, checksum) \
            SELECT ?, ?, revision, previous, seconds, nanos, actor, resource, namespace, name, object, checksum \
            FROM record WHERE revision = ?";
        let copy = sqlx::query(copy).bind(&since).bind(why).bind(revision.0.cast_signed());
        copy.execute(&mut *connection).await?;
    }
    let unsound = quarantine.records.iter().map(|(revision, _)| revision);
    for revision in unsound.chain(&quarantine.superseded) {
        let delete = sqlx::query("DELETE FROM record WHERE revision = ?").bind(revision.0.cast_signed());
        delete.execute(&mut *connection).await?;
    }
    sqlx::query("INSERT OR REPLACE INTO mark (id, compacted, swept, checksum) VALUES (1, ?, ?, ?)")
        .bind(mark.compacted)
        .bind(mark.swept)
        .bind(i64::from(mark.checksum()))
        .execute(connection)
        .await
        .map(drop)
}

/// What is there.
pub(crate) async fn read(connection: &mut SqliteConnection, path: &Path) -> Result<Vec<Quarantined>> {
    let error = |source| Error::reading("read the quarantine of", path, source);
    if !exists(connection).await.map_err(error)? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT revision, since, why, actor, resource, namespace, name, object FROM quarantine ORDER BY id",
    );
    let rows = rows.fetch_all(connection).await.map_err(error)?;
    let record = |row: &sqlx::sqlite::SqliteRow| -> sqlx::Result<Quarantined> {
        Ok(Quarantined {
            revision: Revision(row.try_get::<i64, _>(0)?.cast_unsigned()),
            since: text(row, 1).parse().unwrap_or(Timestamp::UNIX_EPOCH),
            why: text(row, 2),
            actor: text(row, 3),
            resource: text(row, 4),
            key: RecordKey { namespace: text(row, 5), name: text(row, 6) },
            object: row.try_get_unchecked(7)?,
        })
    };
    rows.iter().map(record).collect::<sqlx::Result<_>>().map_err(error)
}

/// Removes what is there of these revisions.
pub(crate) async fn discard(connection: &mut SqliteConnection, path: &Path, revisions: &[Revision]) -> Result<usize> {
    let error = |source| Error::writing("discard damaged rows of", path, source);
    if !exists(connection).await.map_err(error)? {
        return Ok(0);
    }
    transaction::begin(connection).await.map_err(error)?;
    let mut discarded = 0;
    let mut outcome = Ok(());
    for revision in revisions {
        let delete = sqlx::query("DELETE FROM quarantine WHERE revision = ?").bind(revision.0.cast_signed());
        match delete.execute(&mut *connection).await {
            Ok(done) => discarded += done.rows_affected(),
            Err(failure) => {
                outcome = Err(failure);
                break;
            }
        }
    }
    transaction::end(connection, outcome).await.map_err(error)?;
    Ok(usize::try_from(discarded).unwrap_or(usize::MAX))
}

async fn exists(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let found = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'quarantine'");
    Ok(found.fetch_optional(connection).await?.is_some())
}
