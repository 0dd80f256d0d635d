//! Batch writes: one statement per set of fields, halved under savepoints until refused rows stand alone.

use crate::error::{port_error, words};
use crate::names::quote;
use crate::transaction::PostgresTransaction;
use std::collections::BTreeMap;
use syncline_engine::{Definition, PostgresKey, SalesforceId};
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
    while let Some(places) = pending.pop() {
        let connection = transaction.connection()?;
        connection.batch_execute("SAVEPOINT syncline").await.map_err(|error| port_error(&error))?;
        match write_chunk(transaction, rows, &places).await {
            Ok(written) => {
                connection
                    .batch_execute("RELEASE SAVEPOINT syncline")
                    .await
                    .map_err(|error| port_error(&error))?;
                for (place, outcome) in written {
                    outcomes[place] = outcome;
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
                match places.as_slice() {
                    [place] => outcomes[*place] = refused(&error)?,
                    _ => {
                        let (one, other) = places.split_at(places.len() / 2);
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
    places: &[usize],
) -> Result<Vec<(usize, RowOutcome)>, tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(Vec::new()) };
    let free = lock_unmoved(transaction, rows, places).await?;
    let mut groups: BTreeMap<(bool, bool, Vec<&str>), Vec<usize>> = BTreeMap::new();
    for place in places {
        let row = &rows[*place];
        if row.row.is_some() && !free.contains(place) {
            continue;
        }
        let fields: Vec<&str> = row.fields.keys().map(String::as_str).collect();
        groups.entry((row.row.is_some(), row.link.is_some(), fields)).or_default().push(*place);
    }
    let mut written: Vec<(usize, PostgresKey)> = Vec::new();
    for ((updates, links, fields), places) in groups {
        written.extend(if updates {
            update(transaction, rows, &places, &fields, links).await?
        } else {
            insert(transaction, rows, &places, &fields).await?
        });
    }
    let history: Vec<HistoryRow> = written
        .iter()
        .flat_map(|(place, key)| {
            rows[*place].history.iter().cloned().map(|mut row| {
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
        free.iter().filter(|place| !written.iter().any(|(known, _)| known == *place)).map(|place| {
            let message =
                "the table took the update and changed nothing: a trigger or rule suppresses it".to_owned();
            (*place, RowOutcome::Refused { code: "SUPPRESSED".to_owned(), message, column: None })
        });
    let suppressed: Vec<(usize, RowOutcome)> = suppressed.collect();
    Ok(written.into_iter().map(|(place, key)| (place, RowOutcome::Written(key))).chain(suppressed).collect())
}

/// Locks the rows that stand as they were read. Locked by others or changed since: left alone.
async fn lock_unmoved(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    places: &[usize],
) -> Result<Vec<usize>, tokio_postgres::Error> {
    let mut numbers: Vec<i32> = Vec::new();
    let mut keys: Vec<&PostgresKey> = Vec::new();
    let mut versions: Vec<&str> = Vec::new();
    for place in places {
        if let Some((key, version)) = &rows[*place].row {
            numbers.push(i32::try_from(*place).unwrap_or(i32::MAX));
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
        "SELECT u.place FROM {} t JOIN {} ON {join}
         WHERE t.xmin::text = (${last}::text[])[array_position($1::int4[], u.place)]
         FOR NO KEY UPDATE OF t SKIP LOCKED",
        table(&transaction.definition),
        source
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&numbers, Type::INT4_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    parameters.push((&versions, Type::TEXT_ARRAY));
    let locked = connection.query_typed(&sql, &parameters).await?;
    locked.iter().map(|row| Ok(usize::try_from(row.try_get::<_, i32>(0)?).unwrap_or(usize::MAX))).collect()
}

fn table(definition: &Definition) -> String {
    format!("{}.{}", quote(&definition.schema), quote(&definition.table))
}

/// The text of a key of alias `t`, as an array.
fn returned_key(definition: &Definition) -> String {
    let key: Vec<String> =
        definition.key.iter().map(|(column, _)| format!("t.{}::text", quote(column))).collect();
    format!("array[{}]", key.join(", "))
}

/// One array of texts per field.
fn field_arrays(rows: &[RowWrite], places: &[usize], fields: &[&str]) -> Vec<Vec<Option<String>>> {
    fields
        .iter()
        .map(|field| places.iter().map(|place| rows[*place].fields.get(*field).cloned().flatten()).collect())
        .collect()
}

fn columns<'a>(definition: &'a Definition, fields: &[&str]) -> Vec<(&'a str, &'a str)> {
    fields
        .iter()
        .filter_map(|field| definition.field(field))
        .map(|mapping| (mapping.column.as_str(), mapping.cast.as_str()))
        .collect()
}

async fn insert(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    places: &[usize],
    fields: &[&str],
) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let Ok(connection) = transaction.connection() else { return Ok(Vec::new()) };
    let links: Vec<Option<&str>> =
        places.iter().map(|place| rows[*place].link.as_ref().map(SalesforceId::as_str)).collect();
    let arrays = field_arrays(rows, places, fields);
    let columns = columns(definition, fields);
    let link = quote(&definition.link);
    let names: Vec<String> = columns.iter().map(|(column, _)| quote(column)).collect();
    let sources: Vec<String> = (0..arrays.len()).map(|at| format!(", ${}::text[]", at + 2)).collect();
    let aliases: Vec<String> = (0..arrays.len()).map(|at| format!(", c{at}")).collect();
    let values: Vec<String> =
        columns.iter().enumerate().map(|(at, (_, cast))| format!(", u.c{at}::{cast}")).collect();
    let sql = format!(
        "INSERT INTO {} AS t ({link}{}{}) SELECT u.link{} FROM unnest($1::text[]{}) AS u(link{})
         ON CONFLICT ({link}) WHERE {link} IS NOT NULL DO NOTHING RETURNING {}, t.{link}::text",
        table(definition),
        if names.is_empty() { "" } else { ", " },
        names.join(", "),
        values.concat(),
        sources.concat(),
        aliases.concat(),
        returned_key(definition),
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&links, Type::TEXT_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    let inserted = connection.query_typed(&sql, &parameters).await?;
    let mut written = Vec::new();
    for row in inserted {
        let key: Vec<String> = row.try_get(0)?;
        let link: Option<String> = row.try_get(1)?;
        if let Some(at) = links.iter().position(|wanted| *wanted == link.as_deref()) {
            written.push((places[at], PostgresKey(serde_json::Value::from(key).to_string())));
        }
    }
    Ok(written)
}

async fn update(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    places: &[usize],
    fields: &[&str],
    with_link: bool,
) -> Result<Vec<(usize, PostgresKey)>, tokio_postgres::Error> {
    let definition = &transaction.definition;
    let keys: Vec<&PostgresKey> =
        places.iter().filter_map(|place| rows[*place].row.as_ref().map(|(key, _)| key)).collect();
    let (Ok(connection), Ok(key_arrays)) = (transaction.connection(), transaction.key_arrays(&keys)) else {
        return Ok(Vec::new());
    };
    let numbers: Vec<i32> = places.iter().map(|place| i32::try_from(*place).unwrap_or(i32::MAX)).collect();
    let arrays = field_arrays(rows, places, fields);
    let links: Vec<Option<&str>> =
        places.iter().map(|place| rows[*place].link.as_ref().map(SalesforceId::as_str)).collect();
    let mut sets: Vec<String> = columns(definition, fields)
        .iter()
        .enumerate()
        .map(|(at, (column, cast))| format!("{} = u.c{at}::{cast}", quote(column)))
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
    if with_link {
        parameters.push((&links, Type::TEXT_ARRAY));
        sources.push_str(&format!(", ${}::text[]", parameters.len()));
        aliases.push_str(", link");
        sets.push(format!("{} = u.link", quote(&definition.link)));
    }
    let (_, join) = transaction.key_join();
    let sql = format!(
        "UPDATE {} AS t SET {} FROM unnest($1::int4[]{sources}) AS u(place{aliases}) WHERE {join} RETURNING u.place, {}",
        table(definition),
        sets.join(", "),
        returned_key(definition),
    );
    let updated = connection.query_typed(&sql, &parameters).await?;
    updated
        .iter()
        .map(|row| {
            let place: i32 = row.try_get(0)?;
            let key: Vec<String> = row.try_get(1)?;
            let key = PostgresKey(serde_json::Value::from(key).to_string());
            Ok((usize::try_from(place).unwrap_or(usize::MAX), key))
        })
        .collect()
}
