//! Reads rows in batches. If Postgres cannot read a batch for what a row or a key holds, the batch is halved, until each
//! row that cannot be read is alone and all others are read.

use crate::column::column_text;
use crate::error::{Concern, port_error, words};
use crate::link::{link_join, link_value, linked_rows};
use crate::names::quote;
use crate::transaction::{PostgresTransaction, key_columns};
use syncline_engine::PostgresKey;
use syncline_sync::{PortError, Row, RowRef, RowUnreadable};
use tokio_postgres::types::{ToSql, Type};

/// Why a batch was not read.
enum Failed {
    /// A row or a key of it cannot be read.
    Row(RowUnreadable),
    /// Something else than a row.
    Other(PortError),
}

/// The rows of a batch, each with the ordinal of the reference that it answers.
type Batch = Vec<(usize, Row)>;

/// Reads the rows that match each reference, one answer per reference.
///
/// # Errors
/// When an error concerns the connection, the server or the definition, and not a row.
pub(crate) async fn read_rows(
    transaction: &PostgresTransaction,
    refs: &[RowRef],
) -> Result<Vec<Result<Vec<Row>, RowUnreadable>>, PortError> {
    let mut answers: Vec<Result<Vec<Row>, RowUnreadable>> =
        refs.iter().map(|wanted| key_fits(transaction, wanted).map(|()| Vec::new())).collect();
    let fitting: Vec<usize> = (0..refs.len()).filter(|ordinal| answers[*ordinal].is_ok()).collect();
    let mut pending = vec![fitting];
    while let Some(ordinals) = pending.pop() {
        if ordinals.is_empty() {
            continue;
        }
        match transaction.batch(refs, &ordinals).await {
            Ok(rows) => {
                for (ordinal, row) in rows {
                    let Some(Ok(found)) = answers.get_mut(ordinal) else { continue };
                    if !found.iter().any(|known| known.key == row.key) {
                        found.push(row);
                    }
                }
            }
            Err(Failed::Other(error)) => return Err(error),
            Err(Failed::Row(unreadable)) => match ordinals.as_slice() {
                [ordinal] => answers[*ordinal] = Err(unreadable),
                _ => {
                    let (one, other) = ordinals.split_at(ordinals.len() / 2);
                    pending.push(other.to_vec());
                    pending.push(one.to_vec());
                }
            },
        }
    }
    Ok(answers)
}

/// A key of another number of columns than the table's key is no key of a row: it is from before the key changed.
fn key_fits(transaction: &PostgresTransaction, wanted: &RowRef) -> Result<(), RowUnreadable> {
    let Some(key) = &wanted.key else { return Ok(()) };
    match key_columns(&transaction.definition, key) {
        Ok(_) => Ok(()),
        Err(error) => Err(RowUnreadable { code: "KEY".to_owned(), message: error.to_string() }),
    }
}

impl PostgresTransaction {
    /// Reads one batch under a savepoint, to which the transaction returns if the batch cannot be read. All statements
    /// are sent at once, and the server carries them out in this order.
    async fn batch(&self, refs: &[RowRef], ordinals: &[usize]) -> Result<Batch, Failed> {
        let connection = self.connection().map_err(Failed::Other)?;
        let (saved, by_key, by_link, released) = tokio::join!(
            connection.batch_execute("SAVEPOINT syncline_read"),
            self.rows_by_key(refs, ordinals),
            self.rows_by_link(refs, ordinals),
            connection.batch_execute("RELEASE SAVEPOINT syncline_read"),
        );
        saved.map_err(|error| Failed::Other(port_error(&error)))?;
        let failed = match (by_key, by_link, released) {
            (Ok(mut rows), Ok(more), Ok(())) => {
                rows.extend(more);
                return Ok(rows);
            }
            (Err(failed), ..) | (Ok(_), Err(failed), _) => failed,
            (Ok(_), Ok(_), Err(error)) => Failed::Other(port_error(&error)),
        };
        if matches!(failed, Failed::Row(_)) {
            let back = "ROLLBACK TO SAVEPOINT syncline_read; RELEASE SAVEPOINT syncline_read";
            connection.batch_execute(back).await.map_err(|error| Failed::Other(port_error(&error)))?;
        }
        Err(failed)
    }

    async fn rows_by_key(&self, refs: &[RowRef], ordinals: &[usize]) -> Result<Batch, Failed> {
        let with_key = |ordinal: &usize| refs[*ordinal].key.as_ref().map(|key| (number(*ordinal), key));
        let (places, keys): (Vec<i32>, Vec<&PostgresKey>) = ordinals.iter().filter_map(with_key).unzip();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let arrays = self.key_arrays(&keys).map_err(Failed::Other)?;
        let (source, join) = self.key_join();
        let sql = format!(
            "SELECT u.ordinal, {} FROM {source} JOIN {} t ON {join}{}",
            self.selected(),
            self.table(),
            link_join(&self.instance, &self.definition)
        );
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&places, Type::INT4_ARRAY)];
        parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
        self.rows(&sql, &parameters).await
    }

    async fn rows_by_link(&self, refs: &[RowRef], ordinals: &[usize]) -> Result<Batch, Failed> {
        let with_link =
            |ordinal: &usize| refs[*ordinal].id.as_ref().map(|id| (number(*ordinal), id.as_str()));
        let (places, links): (Vec<i32>, Vec<&str>) = ordinals.iter().filter_map(with_link).unzip();
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT u.ordinal, {} FROM unnest($1::int4[], $2::text[]) AS u(ordinal, link) {}",
            self.selected(),
            linked_rows(&self.instance, &self.definition, &self.table())
        );
        self.rows(&sql, &[(&places, Type::INT4_ARRAY), (&links, Type::TEXT_ARRAY)]).await
    }

    async fn rows(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Batch, Failed> {
        let connection = self.connection().map_err(Failed::Other)?;
        let failed = |error: tokio_postgres::Error| match Concern::of(&error) {
            Concern::Row => Failed::Row(RowUnreadable {
                code: error.code().map(|code| code.code().to_owned()).unwrap_or_default(),
                message: words(&error),
            }),
            _ => Failed::Other(port_error(&error)),
        };
        let rows = connection.query_typed(sql, parameters).await.map_err(failed)?;
        rows.iter().map(|row| self.row(row).map_err(failed)).collect()
    }

    /// The columns that every read selects from the table alias `t`: the key's texts as an array, the link,
    /// `xmin`, and the texts of the mapped columns as an array. `xmin` changes with every version of the row
    /// (PostgreSQL documentation, System Columns).
    fn selected(&self) -> String {
        let key: Vec<String> =
            self.definition.key.iter().map(|(column, _)| format!("t.{}::text", quote(column))).collect();
        let columns: Vec<String> =
            self.definition.fields.iter().map(|field| column_text(field, "t")).collect();
        format!(
            "array[{}], {}, t.xmin::text, array[{}]::text[]",
            key.join(", "),
            link_value(&self.definition),
            columns.join(", ")
        )
    }

    /// The row in one line of a result, with the ordinal of the reference that it answers.
    fn row(&self, row: &tokio_postgres::Row) -> Result<(usize, Row), tokio_postgres::Error> {
        let ordinal: i32 = row.try_get(0)?;
        let key: Vec<String> = row.try_get(1)?;
        let values: Vec<Option<String>> = row.try_get(4)?;
        let fields = self.definition.fields.iter().map(|mapping| mapping.field.clone());
        Ok((
            usize::try_from(ordinal).unwrap_or(usize::MAX),
            Row {
                key: PostgresKey(serde_json::Value::from(key).to_string()),
                link: row.try_get(2)?,
                row_version: row.try_get(3)?,
                values: fields.zip(values).collect(),
            },
        ))
    }
}

fn number(ordinal: usize) -> i32 {
    i32::try_from(ordinal).unwrap_or(i32::MAX)
}
