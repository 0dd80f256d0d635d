//! Writes rows in batches: one statement for all rows that write the same fields. If Postgres refuses a
//! batch, the batch is rolled back to a savepoint and halved, until each refused row is alone and all others
//! are written.

use crate::connect::Connection;
use crate::error::{port_error, words};
use crate::kept::{WrittenRow, shortened};
use crate::restore::restore;
use crate::statements::{delete, insert, lock_unmoved, update, write_links};
use crate::transaction::PostgresTransaction;
use std::collections::BTreeMap;
use syncline_sync::{HistoryRow, PortError, RowOutcome, RowWrite};
use tokio_postgres::error::SqlState;

/// How long a statement waits for a lock, once one has waited for its whole time.
const SHORT_WAIT: &str = "SET LOCAL lock_timeout = '20ms'";

/// Writes rows with their history, and answers the outcome of each row in the order of `rows`. A row that is
/// skipped, because it is locked, has changed or was inserted by somebody else, is [`RowOutcome::Moved`].
///
/// # Errors
/// When an error concerns the connection, the server or the definition, and not a row.
pub(crate) async fn write(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
) -> Result<Vec<RowOutcome>, PortError> {
    let mut outcomes = vec![RowOutcome::Moved; rows.len()];
    let mut pending: Vec<Vec<usize>> = vec![(0..rows.len()).collect()];
    let mut waited = false;
    while let Some(ordinals) = pending.pop() {
        let connection = transaction.connection()?;
        connection.batch_execute("SAVEPOINT syncline").await.map_err(|error| port_error(&error))?;
        match write_chunk(transaction, rows, &ordinals).await {
            Ok(Chunk::Written(written)) => {
                connection
                    .batch_execute("RELEASE SAVEPOINT syncline")
                    .await
                    .map_err(|error| port_error(&error))?;
                for (ordinal, outcome) in written {
                    outcomes[ordinal] = outcome;
                }
            }
            Ok(Chunk::Shortened(refused)) => {
                roll_back(connection).await?;
                let mut others = ordinals;
                for (ordinal, outcome) in refused {
                    others.retain(|other| *other != ordinal);
                    outcomes[ordinal] = outcome;
                }
                pending.push(others);
            }
            Err(error) => {
                if error.as_db_error().is_none() {
                    return Err(port_error(&error));
                }
                roll_back(connection).await?;
                if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && !waited {
                    // A foreign key leads to a row that somebody has locked. The rows that wait for it are found one by
                    // one, and none of them is waited for again.
                    connection.batch_execute(SHORT_WAIT).await.map_err(|error| port_error(&error))?;
                    waited = true;
                }
                match ordinals.as_slice() {
                    [ordinal] => outcomes[*ordinal] = refused(&error)?,
                    _ => {
                        let (one, other) = ordinals.split_at(ordinals.len() / 2);
                        pending.push(other.to_vec());
                        pending.push(one.to_vec());
                    }
                }
            }
        }
    }
    Ok(outcomes)
}

async fn roll_back(connection: &Connection) -> Result<(), PortError> {
    let sql = "ROLLBACK TO SAVEPOINT syncline; RELEASE SAVEPOINT syncline";
    connection.batch_execute(sql).await.map_err(|error| port_error(&error))
}

/// What became of the rows of one chunk.
enum Chunk {
    /// The outcome of each row. A row that is missing here has moved.
    Written(Vec<(usize, RowOutcome)>),
    /// The table kept less of these rows' values than it was given. The chunk has to be rolled back.
    Shortened(Vec<(usize, RowOutcome)>),
}

/// The outcome of a single row whose write failed.
///
/// # Errors
/// When the error concerns the connection, the server or the definition, and not the row. The names and
/// classes are those of the PostgreSQL documentation, PostgreSQL Error Codes.
fn refused(error: &tokio_postgres::Error) -> Result<RowOutcome, PortError> {
    let Some(db) = error.as_db_error() else { return Err(port_error(error)) };
    match *db.code() {
        SqlState::LOCK_NOT_AVAILABLE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::T_R_SERIALIZATION_FAILURE => Ok(RowOutcome::Moved),
        SqlState::INSUFFICIENT_PRIVILEGE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_TABLE
        | SqlState::QUERY_CANCELED => Err(port_error(error)),
        // Connection exception, insufficient resources, operator intervention, system error, internal error:
        // these concern the server and not the row.
        ref code if ["08", "53", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class)) => {
            Err(port_error(error))
        }
        // The violated table is a link table: somebody else has linked the record meanwhile.
        SqlState::UNIQUE_VIOLATION
            if db.table().is_some_and(|table| table.starts_with("link_"))
                && db.schema().is_some_and(|schema| schema.starts_with("syncline")) =>
        {
            Ok(RowOutcome::Moved)
        }
        SqlState::NOT_NULL_VIOLATION => Ok(RowOutcome::Refused {
            code: db.code().code().to_owned(),
            message: format!(
                "{}. Salesforce has no value for this column: fill in the field in Salesforce, or let the column take NULL",
                words(error).trim_end_matches('.')
            ),
            column: db.column().map(str::to_owned),
        }),
        _ => Ok(RowOutcome::Refused {
            code: db.code().code().to_owned(),
            message: words(error),
            column: db.column().map(str::to_owned),
        }),
    }
}

/// Writes some of the rows, under the caller's savepoint. Answers the written rows and the rows that a
/// trigger or a rule suppressed.
async fn write_chunk(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
) -> Result<Chunk, tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(Chunk::Written(Vec::new())) };
    let is_delete = |ordinal: &&usize| rows[**ordinal].delete;
    let (deleting, others): (Vec<usize>, Vec<usize>) =
        ordinals.iter().partition(|ordinal| is_delete(ordinal));
    // DELETE takes the lock FOR UPDATE, which is stronger than the FOR NO KEY UPDATE of most updates
    // (PostgreSQL documentation, Explicit Locking). With the stronger lock here, a delete skips a row that
    // others have locked, and does not wait for it later.
    let mut free = lock_unmoved(transaction, rows, &others, "NO KEY UPDATE").await?;
    free.extend(lock_unmoved(transaction, rows, &deleting, "UPDATE").await?);
    let mut groups: BTreeMap<(Kind, bool, Vec<&str>), Vec<usize>> = BTreeMap::new();
    for ordinal in ordinals {
        let row = &rows[*ordinal];
        if row.row.is_some() && !free.contains(ordinal) {
            continue;
        }
        let fields: Vec<&str> = row.fields.keys().map(String::as_str).collect();
        groups.entry((Kind::of(row), row.link.is_some(), fields)).or_default().push(*ordinal);
    }
    let mut written: Vec<WrittenRow> = Vec::new();
    for ((kind, links, fields), ordinals) in groups {
        written.extend(match kind {
            Kind::Delete => delete(transaction, rows, &ordinals).await?,
            Kind::Update => update(transaction, rows, &ordinals, &fields, links).await?,
            Kind::Insert if transaction.definition.link_table => {
                let mut inserted = Vec::new();
                for ordinal in ordinals {
                    inserted.extend(insert(transaction, rows, &[ordinal], &fields).await?);
                }
                inserted
            }
            Kind::Insert => insert(transaction, rows, &ordinals, &fields).await?,
            Kind::Restore => {
                let mut restored = Vec::new();
                for ordinal in ordinals {
                    restored.extend(match restore(transaction, ordinal, &rows[ordinal]).await? {
                        Some(row) => vec![row],
                        None => insert(transaction, rows, &[ordinal], &fields).await?,
                    });
                }
                restored
            }
        });
    }
    let shortened = shortened(&transaction.definition, rows, &written);
    if !shortened.is_empty() {
        return Ok(Chunk::Shortened(shortened));
    }
    if transaction.definition.link_table {
        write_links(transaction, rows, &written).await?;
    }
    let history = history_of(rows, &written);
    if !history.is_empty() {
        transaction.write_history(&history, "written").await?;
    }
    connection.batch_execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED").await?;
    let suppressed = free
        .iter()
        .filter(|ordinal| !written.iter().any(|known| known.ordinal == **ordinal))
        .map(|ordinal| {
            let message =
                "Postgres took the write and changed no row: a trigger or rule on the table suppresses it"
                    .to_owned();
            (*ordinal, RowOutcome::Refused { code: "SUPPRESSED".to_owned(), message, column: None })
        });
    let suppressed: Vec<(usize, RowOutcome)> = suppressed.collect();
    let written = written.into_iter().map(|row| (row.ordinal, RowOutcome::Written(row.key)));
    Ok(Chunk::Written(written.chain(suppressed).collect()))
}

/// The history of the rows that were written, with the keys that they have.
fn history_of(rows: &[RowWrite], written: &[WrittenRow]) -> Vec<HistoryRow> {
    let of_row = |written: &WrittenRow| {
        let key = Some(written.key.clone());
        let history = rows[written.ordinal].history.clone();
        history.into_iter().map(move |row| HistoryRow { postgres_key: key.clone(), ..row })
    };
    written.iter().flat_map(of_row).collect()
}

/// What a write does with its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Delete,
    Update,
    Insert,
    /// An insert under the key that the record's row had before its delete.
    Restore,
}

impl Kind {
    fn of(row: &RowWrite) -> Self {
        match (&row.row, row.delete, &row.key) {
            (Some(_), true, _) => Self::Delete,
            (Some(_), false, _) => Self::Update,
            (None, _, Some(_)) => Self::Restore,
            (None, _, None) => Self::Insert,
        }
    }
}
