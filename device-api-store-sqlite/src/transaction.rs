// SPDX-License-Identifier: Apache-2.0
//! Transactions in plain SQL.
//!
//! Not sqlx's: where SQLite rolls back by itself, as it does on a full disk, sqlx 0.9 goes on
//! counting the transaction as open, and refuses the next one. A connection whose transaction did not
//! end is closed by its owner, which rolls back.

use sqlx::SqliteConnection;

/// Begins, with the write lock taken at once.
pub(crate) async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("BEGIN IMMEDIATE").execute(connection).await.map(drop)
}

/// Says whether a commit of some objects would be taken: one that writes pages of a table, and takes the table away again.
pub(crate) async fn probe(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    begin(connection).await?;
    let mut outcome = Ok(());
    for sql in
        ["CREATE TABLE probe (filler BLOB) STRICT", "INSERT INTO probe VALUES (zeroblob(16384))", "DROP TABLE probe"]
    {
        if outcome.is_ok() {
            outcome = sqlx::query(sql).execute(&mut *connection).await.map(drop);
        }
    }
    end(connection, outcome).await
}

/// Commits what went well and rolls back what did not. The error is the first one, unless it cannot
/// be told whether the transaction ended.
pub(crate) async fn end(connection: &mut SqliteConnection, outcome: sqlx::Result<()>) -> sqlx::Result<()> {
    let outcome = match outcome {
        Ok(()) => sqlx::query("COMMIT").execute(&mut *connection).await.map(drop),
        failed => failed,
    };
    if outcome.is_err()
        && let Err(error) = sqlx::query("ROLLBACK").execute(connection).await
        && !is_no_transaction(&error)
    {
        // It may still be open, and a later write that nobody commits would be acknowledged.
        return Err(error);
    }
    outcome
}

/// Whether there was nothing to roll back: SQLite did so by itself. `SQLITE_ERROR`, which ROLLBACK
/// gives for nothing else.
fn is_no_transaction(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("1")
}
