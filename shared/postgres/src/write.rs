//! Writes rows in batches: one statement for all rows that write the same fields. If Postgres refuses a
//! batch, the batch is rolled back to a savepoint and halved, until each refused row is alone and all others
//! are written.

use crate::column::column_value;
use crate::error::{port_error, words};
use crate::link::{key_text, link_table};
use crate::names::quote;
use crate::restore::restore;
use crate::transaction::PostgresTransaction;
use std::collections::BTreeMap;
use syncline_engine::{Definition, FieldMapping, PostgresKey, SalesforceId};
use syncline_sync::{HistoryRow, PortError, RowOutcome, RowWrite};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

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
    while let Some(ordinals) = pending.pop() {
        let connection = transaction.connection()?;
        connection.batch_execute("SAVEPOINT syncline").await.map_err(|error| port_error(&error))?;
        match write_chunk(transaction, rows, &ordinals).await {
            Ok(written) => {
                connection
                    .batch_execute("RELEASE SAVEPOINT syncline")
                    .await
                    .map_err(|error| port_error(&error))?;
                for (ordinal, outcome) in written {
                    outcomes[ordinal] = outcome;
                }
            }
            Err(error) => {
                if error.as_db_error().is_none() {
                    return Err(port_error(&error));
                }
                connection
                    .batch_execute("ROLLBACK TO SAVEPOINT syncline; RELEASE SAVEPOINT syncline")
                    .await
                    .map_err(|error| port_error(&error))?;
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
/// trigger or a rule suppressed; rows that are missing in the answer have moved.
async fn write_chunk(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
) -> Result<Vec<(usize, RowOutcome)>, tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(Vec::new()) };
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
    let mut written: Vec<(usize, PostgresKey)> = Vec::new();
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
                    restored.extend(match restore(transaction, &rows[ordinal]).await? {
                        Some(key) => vec![(ordinal, key)],
                        None => insert(transaction, rows, &[ordinal], &fields).await?,
                    });
                }
                restored
            }
        });
    }
    if transaction.definition.link_table {
        write_links(transaction, rows, &written).await?;
    }
    let history: Vec<HistoryRow> = written
        .iter()
        .flat_map(|(ordinal, key)| {
            rows[*ordinal].history.iter().cloned().map(|mut row| {
                row.postgres_key = Some(key.clone());
                row
            })
        })
        .collect();
    if !history.is_empty() {
        transaction.write_history(&history, "written").await?;
    }
    connection.batch_execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED").await?;
    let suppressed =
        free.iter().filter(|ordinal| !written.iter().any(|(known, _)| known == *ordinal)).map(|ordinal| {
            let message =
                "Postgres took the write and changed no row: a trigger or rule on the table suppresses it"
                    .to_owned();
            (*ordinal, RowOutcome::Refused { code: "SUPPRESSED".to_owned(), message, column: None })
        });
    let suppressed: Vec<(usize, RowOutcome)> = suppressed.collect();
    Ok(written
        .into_iter()
        .map(|(ordinal, key)| (ordinal, RowOutcome::Written(key)))
        .chain(suppressed)
        .collect())
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

/// Deletes rows, and keeps each as a tombstone. Answers the ordinals and keys of the rows that are deleted.
async fn delete(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let keys: Vec<&PostgresKey> =
        ordinals.iter().filter_map(|ordinal| rows[*ordinal].row.as_ref().map(|(key, _)| key)).collect();
    let (Ok(connection), Ok(arrays)) = (transaction.connection(), transaction.key_arrays(&keys)) else {
        return Ok(Vec::new());
    };
    let numbers: Vec<i32> =
        ordinals.iter().map(|ordinal| i32::try_from(*ordinal).unwrap_or(i32::MAX)).collect();
    let (source, join) = transaction.key_join();
    let sync = arrays.len() + 2;
    let sql = format!(
        "WITH gone AS (DELETE FROM {} AS t USING {source} WHERE {join}
                       RETURNING u.ordinal, {} AS key, {} AS key_text, to_jsonb(t) AS row),
              kept AS (INSERT INTO {}.tombstone (sync, postgres_key, row) SELECT ${sync}, key_text, row FROM gone
                       ON CONFLICT (sync, postgres_key) DO UPDATE SET row = excluded.row, deleted_at = clock_timestamp())
         SELECT ordinal, key FROM gone",
        table(definition),
        returned_key(definition),
        key_text(definition, "t"),
        transaction.instance.schema(),
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&numbers, Type::INT4_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    parameters.push((&definition.name, Type::TEXT));
    keys_by_ordinal(&connection.query_typed(&sql, &parameters).await?)
}

/// The ordinal and the key in each row of a result: first an integer, then the array of the key's texts.
fn keys_by_ordinal(rows: &[tokio_postgres::Row]) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    rows.iter()
        .map(|row| {
            let ordinal: i32 = row.try_get(0)?;
            let key: Vec<String> = row.try_get(1)?;
            let key = PostgresKey(serde_json::Value::from(key).to_string());
            Ok((usize::try_from(ordinal).unwrap_or(usize::MAX), key))
        })
        .collect()
}

/// Brings the sync's link table up to date with the rows that were written: deletes the links of deleted
/// rows, and stores new links.
async fn write_links(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    written: &[(usize, PostgresKey)],
) -> Result<(), tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(()) };
    let links = link_table(&transaction.instance, &transaction.definition);
    let gone: Vec<&str> =
        written.iter().filter(|(ordinal, _)| rows[*ordinal].delete).map(|(_, key)| key.0.as_str()).collect();
    if !gone.is_empty() {
        let sql = format!("DELETE FROM {links} WHERE key = ANY($1)");
        connection.execute_typed(&sql, &[(&gone, Type::TEXT_ARRAY)]).await?;
    }
    let new: Vec<(&str, &str)> = written
        .iter()
        .filter_map(|(ordinal, key)| Some((key.0.as_str(), rows[*ordinal].link.as_ref()?.as_str())))
        .collect();
    if !new.is_empty() {
        let (keys, ids): (Vec<&str>, Vec<&str>) = new.into_iter().unzip();
        let sql = format!(
            "INSERT INTO {links} (key, salesforce_id) SELECT * FROM unnest($1::text[], $2::text[])
             ON CONFLICT (key) DO UPDATE SET salesforce_id = excluded.salesforce_id"
        );
        connection.execute_typed(&sql, &[(&keys, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}

/// Locks the rows that have not changed since they were read, with the lock `strength` of a SELECT ... FOR
/// clause. Answers their ordinals. Rows that others have locked or changed are skipped (PostgreSQL
/// documentation, SELECT, The Locking Clause).
async fn lock_unmoved(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
    strength: &str,
) -> Result<Vec<usize>, tokio_postgres::Error> {
    let mut numbers: Vec<i32> = Vec::new();
    let mut keys: Vec<&PostgresKey> = Vec::new();
    let mut versions: Vec<&str> = Vec::new();
    for ordinal in ordinals {
        if let Some((key, version)) = &rows[*ordinal].row {
            numbers.push(i32::try_from(*ordinal).unwrap_or(i32::MAX));
            keys.push(key);
            versions.push(version);
        }
    }
    let (Ok(connection), Ok(arrays)) = (transaction.connection(), transaction.key_arrays(&keys)) else {
        return Ok(Vec::new());
    };
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let (source, join) = transaction.key_join();
    let last = arrays.len() + 2;
    let sql = format!(
        "SELECT u.ordinal FROM {} t JOIN {} ON {join}
         WHERE t.xmin::text = (${last}::text[])[array_position($1::int4[], u.ordinal)]
         FOR {strength} OF t SKIP LOCKED",
        table(&transaction.definition),
        source
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&numbers, Type::INT4_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    parameters.push((&versions, Type::TEXT_ARRAY));
    let locked = connection.query_typed(&sql, &parameters).await?;
    locked.iter().map(|row| Ok(usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(usize::MAX))).collect()
}

/// The quoted name of the sync's table, with its schema.
pub(crate) fn table(definition: &Definition) -> String {
    format!("{}.{}", quote(&definition.schema), quote(&definition.table))
}

/// A SQL expression for the key of the table alias `t`, as an array of texts.
pub(crate) fn returned_key(definition: &Definition) -> String {
    let key: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("t.{}::text", quote(column))).collect();
    format!("array[{}]", key.join(", "))
}

/// For each field, the array of the values that the rows write to it, as text. A null value is `None`.
fn field_arrays(rows: &[RowWrite], ordinals: &[usize], fields: &[&str]) -> Vec<Vec<Option<String>>> {
    fields
        .iter()
        .map(|field| {
            ordinals.iter().map(|ordinal| rows[*ordinal].fields.get(*field).cloned().flatten()).collect()
        })
        .collect()
}

/// The mappings of these fields. A field that the definition does not map is left out.
fn mappings<'a>(definition: &'a Definition, fields: &[&str]) -> Vec<&'a FieldMapping> {
    fields.iter().filter_map(|field| definition.field(field)).collect()
}

/// Inserts rows that all write the same fields. Answers the ordinals and keys of the rows that were inserted.
/// On a table with a unique link column, a row whose Salesforce Id is linked already is not inserted. With a
/// link table, the caller passes one row at a time, because the database's answer does not tell which row a
/// new key belongs to.
async fn insert(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
    fields: &[&str],
) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let Ok(connection) = transaction.connection() else { return Ok(Vec::new()) };
    let links: Vec<Option<&str>> =
        ordinals.iter().map(|ordinal| rows[*ordinal].link.as_ref().map(SalesforceId::as_str)).collect();
    let arrays = field_arrays(rows, ordinals, fields);
    let link = quote(&definition.link);
    let mappings = mappings(definition, fields);
    let mut names: Vec<String> = mappings.iter().map(|mapping| quote(&mapping.column)).collect();
    let mut values: Vec<String> =
        mappings.iter().enumerate().map(|(at, mapping)| column_value(mapping, &format!("u.c{at}"))).collect();
    let sources: Vec<String> = (0..arrays.len()).map(|at| format!(", ${}::text[]", at + 2)).collect();
    let aliases: Vec<String> = (0..arrays.len()).map(|at| format!(", c{at}")).collect();
    if !definition.link_table {
        names.push(link.clone());
        values.push("u.link".to_owned());
    }
    // A partitioned table has no unique index on the link. There, the lock on the record and the
    // record's base prevent a second insert.
    let conflict = if definition.link_table || definition.partitioned {
        String::new()
    } else {
        format!("ON CONFLICT ({link}) WHERE {link} IS NOT NULL DO NOTHING")
    };
    let returned_link =
        if definition.link_table { "NULL::text".to_owned() } else { format!("t.{link}::text") };
    let target = if names.is_empty() {
        "DEFAULT VALUES".to_owned()
    } else {
        format!(
            "({}) SELECT {} FROM unnest($1::text[]{}) AS u(link{})",
            names.join(", "),
            values.join(", "),
            sources.concat(),
            aliases.concat()
        )
    };
    let sql = format!(
        "INSERT INTO {} AS t {target} {conflict} RETURNING {}, {returned_link}",
        table(definition),
        returned_key(definition),
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&links, Type::TEXT_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    let inserted = connection.query_typed(&sql, &parameters).await?;
    let mut written = Vec::new();
    for row in inserted {
        let key: Vec<String> = row.try_get(0)?;
        let link: Option<String> = row.try_get(1)?;
        if definition.link_table {
            written.extend(
                ordinals
                    .first()
                    .map(|ordinal| (*ordinal, PostgresKey(serde_json::Value::from(key.clone()).to_string()))),
            );
        } else if let Some(at) = links.iter().position(|wanted| *wanted == link.as_deref()) {
            written.push((ordinals[at], PostgresKey(serde_json::Value::from(key).to_string())));
        }
    }
    Ok(written)
}

/// Updates rows that all write the same fields. Answers the ordinals and keys of the rows that were updated.
async fn update(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
    fields: &[&str],
    with_link: bool,
) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let keys: Vec<&PostgresKey> =
        ordinals.iter().filter_map(|ordinal| rows[*ordinal].row.as_ref().map(|(key, _)| key)).collect();
    let (Ok(connection), Ok(key_arrays)) = (transaction.connection(), transaction.key_arrays(&keys)) else {
        return Ok(Vec::new());
    };
    let numbers: Vec<i32> =
        ordinals.iter().map(|ordinal| i32::try_from(*ordinal).unwrap_or(i32::MAX)).collect();
    let arrays = field_arrays(rows, ordinals, fields);
    let links: Vec<Option<&str>> =
        ordinals.iter().map(|ordinal| rows[*ordinal].link.as_ref().map(SalesforceId::as_str)).collect();
    let mut sets: Vec<String> = mappings(definition, fields)
        .iter()
        .enumerate()
        .map(|(at, mapping)| {
            format!("{} = {}", quote(&mapping.column), column_value(mapping, &format!("u.c{at}")))
        })
        .collect();
    let mut parameters: Vec<Parameter<'_>> = vec![(&numbers, Type::INT4_ARRAY)];
    let mut sources = String::new();
    let mut aliases = String::new();
    for (at, array) in key_arrays.iter().enumerate() {
        parameters.push((array, Type::TEXT_ARRAY));
        sources.push_str(&format!(", ${}::text[]", parameters.len()));
        aliases.push_str(&format!(", k{at}"));
    }
    for (at, array) in arrays.iter().enumerate() {
        parameters.push((array, Type::TEXT_ARRAY));
        sources.push_str(&format!(", ${}::text[]", parameters.len()));
        aliases.push_str(&format!(", c{at}"));
    }
    if with_link && !definition.link_table {
        parameters.push((&links, Type::TEXT_ARRAY));
        sources.push_str(&format!(", ${}::text[]", parameters.len()));
        aliases.push_str(", link");
        sets.push(format!("{} = u.link", quote(&definition.link)));
    }
    if sets.is_empty() {
        // Nothing changes in this table: only the link changes, and the caller writes it to the link table.
        let keys = ordinals.iter().zip(keys).map(|(ordinal, key)| (*ordinal, key.clone()));
        return Ok(keys.collect());
    }
    let (_, join) = transaction.key_join();
    let sql = format!(
        "UPDATE {} AS t SET {} FROM unnest($1::int4[]{sources}) AS u(ordinal{aliases}) WHERE {join} RETURNING u.ordinal, {}",
        table(definition),
        sets.join(", "),
        returned_key(definition),
    );
    keys_by_ordinal(&connection.query_typed(&sql, &parameters).await?)
}
