// SPDX-License-Identifier: Apache-2.0
//! Forgetting history, in small transactions, and giving the room back.

use std::path::Path;

use sqlx::sqlite::SqliteConnection;

use crate::error::{Error, Result};
use crate::rows::Mark;
use crate::transaction;

/// Revisions that one transaction sweeps.
const STEP: u32 = 1_000;
/// Free pages, 4 MiB, that stay in the file for the next writes.
const SPARE_PAGES: i64 = 1_024;
/// Pages given back in one call.
const VACUUM_PAGES: u32 = 512;

/// Marks history as compacted, and removes what may go. The first step sets the mark for all of it:
/// should a later one fail, the next call goes on sweeping from there.
pub(crate) async fn compact(connection: &mut SqliteConnection, path: &Path, through: i64) -> Result<()> {
    let mut mark = Mark::read(connection, path).await?;
    mark.compacted = mark.compacted.max(through);
    while mark.swept < mark.compacted {
        mark = step(connection, mark).await.map_err(|source| Error::writing("compact", path, source))?;
    }
    Ok(())
}

/// Sweeps some revisions. In ascending order, so that a deletion never goes before what it deleted.
async fn step(connection: &mut SqliteConnection, mark: Mark) -> sqlx::Result<Mark> {
    let edge: Option<i64> = sqlx::query_scalar(
        "SELECT revision FROM record WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT 1 OFFSET ?",
    )
    .bind(mark.swept)
    .bind(mark.compacted)
    .bind(STEP - 1)
    .fetch_optional(&mut *connection)
    .await?;
    let after = Mark { swept: edge.unwrap_or(mark.compacted), ..mark };
    transaction::begin(connection).await?;
    let swept = sweep(connection, mark, after).await;
    transaction::end(connection, swept).await?;
    Ok(after)
}

async fn sweep(connection: &mut SqliteConnection, before: Mark, after: Mark) -> sqlx::Result<()> {
    // What a record in the range supersedes is found by its `previous`: no index is needed.
    let superseded = "DELETE FROM record WHERE revision IN \
        (SELECT previous FROM record WHERE revision > ? AND revision <= ? AND previous > 0)";
    let deletions = "DELETE FROM record WHERE revision > ? AND revision <= ? AND object IS NULL";
    for sql in [superseded, deletions] {
        sqlx::query(sql).bind(before.swept).bind(after.swept).execute(&mut *connection).await?;
    }
    sqlx::query("UPDATE mark SET compacted = ?, swept = ?, checksum = ? WHERE id = 1")
        .bind(after.compacted)
        .bind(after.swept)
        .bind(i64::from(after.checksum()))
        .execute(connection)
        .await
        .map(drop)
}

/// Gives a bounded number of free pages back to the file system.
pub(crate) async fn vacuum(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    if free > SPARE_PAGES {
        let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
    }
    Ok(())
}

/// Moves the write-ahead log into the database and cuts it to nothing. SQLite does so by itself, too, but then says nothing when
/// it fails, as it does when the database cannot be synced.
pub(crate) async fn checkpoint(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let row: (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    match row {
        (0, _, _) => Ok(()),
        _ => Err(sqlx::Error::Protocol("the log is in use and stays".to_owned())),
    }
}
