//! Batch writes: one statement per set of fields, halved under savepoints until refused rows stand alone.

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

/// Writes rows; each has an outcome of its own.
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
        // Connection, resources, operator, system, internal: of the server, not of the row.
        ref code if ["08", "53", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class)) => {
            Err(port_error(error))
        }
        // Somebody else linked the record meanwhile.
        SqlState::UNIQUE_VIOLATION
            if db.table().is_some_and(|table| table.starts_with("link_"))
                && db.schema().is_some_and(|schema| schema.starts_with("syncline")) =>
        {
            Ok(RowOutcome::Moved)
        }
        SqlState::NOT_NULL_VIOLATION => Ok(RowOutcome::Refused {
            code: db.code().code().to_owned(),
            message: format!(
                "{}. Salesforce holds nothing there: fill it in, or let the column take null",
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

async fn write_chunk(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
) -> Result<Vec<(usize, RowOutcome)>, tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(Vec::new()) };
    let is_delete = |ordinal: &&usize| rows[**ordinal].delete;
    let (deleting, others): (Vec<usize>, Vec<usize>) =
        ordinals.iter().partition(|ordinal| is_delete(ordinal));
    // A delete takes a stronger lock than an update: asked for at once, it is skipped rather than waited for.
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
                "the table took the update and changed nothing: a trigger or rule suppresses it".to_owned();
            (*ordinal, RowOutcome::Refused { code: "SUPPRESSED".to_owned(), message, column: None })
        });
    let suppressed: Vec<(usize, RowOutcome)> = suppressed.collect();
    Ok(written
        .into_iter()
        .map(|(ordinal, key)| (ordinal, RowOutcome::Written(key)))
        .chain(suppressed)
        .collect())
}

/// What is done with a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Delete,
    Update,
    Insert,
    /// An insert under a key that was its row's before.
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

/// Deletes rows, each with its tombstone.
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

/// Keeps the links of rows that were written in the table of ours.
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

/// Locks the rows that stand as they were read. Locked by others or changed since: left alone.
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

pub(crate) fn table(definition: &Definition) -> String {
    format!("{}.{}", quote(&definition.schema), quote(&definition.table))
}

/// The text of a key of alias `t`, as an array.
pub(crate) fn returned_key(definition: &Definition) -> String {
    let key: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("t.{}::text", quote(column))).collect();
    format!("array[{}]", key.join(", "))
}

/// One array of texts per field.
fn field_arrays(rows: &[RowWrite], ordinals: &[usize], fields: &[&str]) -> Vec<Vec<Option<String>>> {
    fields
        .iter()
        .map(|field| {
            ordinals.iter().map(|ordinal| rows[*ordinal].fields.get(*field).cloned().flatten()).collect()
        })
        .collect()
}

fn mappings<'a>(definition: &'a Definition, fields: &[&str]) -> Vec<&'a FieldMapping> {
    fields.iter().filter_map(|field| definition.field(field)).collect()
}

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
    // A partitioned table has no unique index on the link: lock and base keep a record from being inserted twice.
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
        // Only the link is written, and not into this table.
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
