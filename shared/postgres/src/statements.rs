//! The statements that lock, insert, update and delete rows of a sync's table, many rows at a time.

use crate::column::column_value;
use crate::kept::{WrittenRow, kept_texts, written_row};
use crate::link::{key_text, link_table};
use crate::names::quote;
use crate::transaction::PostgresTransaction;
use syncline_engine::{Definition, FieldMapping, PostgresKey, SalesforceId};
use syncline_sync::RowWrite;
use tokio_postgres::types::{ToSql, Type};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Locks the rows that have not changed since they were read, with the lock `strength` of a SELECT ... FOR
/// clause. Answers their ordinals. Rows that others have locked or changed are skipped (PostgreSQL
/// documentation, SELECT, The Locking Clause).
pub(crate) async fn lock_unmoved(
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
pub(crate) async fn insert(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
    fields: &[&str],
) -> Result<Vec<WrittenRow>, tokio_postgres::Error> {
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
        "INSERT INTO {} AS t {target} {conflict} RETURNING {}, {}, {returned_link}",
        table(definition),
        returned_key(definition),
        kept_texts(&mappings),
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&links, Type::TEXT_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    let inserted = connection.query_typed(&sql, &parameters).await?;
    let mut written = Vec::new();
    for row in &inserted {
        let link: Option<String> = row.try_get(2)?;
        let ordinal = if definition.link_table {
            ordinals.first()
        } else {
            links.iter().position(|wanted| *wanted == link.as_deref()).and_then(|at| ordinals.get(at))
        };
        if let Some(ordinal) = ordinal {
            written.push(written_row(*ordinal, row, 0, &mappings)?);
        }
    }
    Ok(written)
}

/// Updates rows that all write the same fields. Answers the ordinals and keys of the rows that were updated.
pub(crate) async fn update(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
    fields: &[&str],
    with_link: bool,
) -> Result<Vec<WrittenRow>, tokio_postgres::Error> {
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
    let mappings = mappings(definition, fields);
    let mut sets: Vec<String> = mappings
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
        let row = |(ordinal, key): (&usize, &PostgresKey)| WrittenRow {
            ordinal: *ordinal,
            key: key.clone(),
            kept: Vec::new(),
        };
        return Ok(ordinals.iter().zip(keys).map(row).collect());
    }
    let (_, join) = transaction.key_join();
    let sql = format!(
        "UPDATE {} AS t SET {} FROM unnest($1::int4[]{sources}) AS u(ordinal{aliases}) WHERE {join} RETURNING u.ordinal, {}, {}",
        table(definition),
        sets.join(", "),
        returned_key(definition),
        kept_texts(&mappings),
    );
    rows_by_ordinal(&connection.query_typed(&sql, &parameters).await?, &mappings)
}

/// Deletes rows, and keeps each as a tombstone. Answers the ordinals and keys of the rows that are deleted.
pub(crate) async fn delete(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    ordinals: &[usize],
) -> Result<Vec<WrittenRow>, tokio_postgres::Error> {
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
                       RETURNING u.ordinal, {} AS key, {} AS kept, {} AS key_text, to_jsonb(t) AS row),
              kept AS (INSERT INTO {}.tombstone (sync, postgres_key, row) SELECT ${sync}, key_text, row FROM gone
                       ON CONFLICT (sync, postgres_key) DO UPDATE SET row = excluded.row, deleted_at = clock_timestamp())
         SELECT ordinal, key, kept FROM gone",
        table(definition),
        returned_key(definition),
        kept_texts(&[]),
        key_text(definition, "t"),
        transaction.instance.schema(),
    );
    let mut parameters: Vec<Parameter<'_>> = vec![(&numbers, Type::INT4_ARRAY)];
    parameters.extend(arrays.iter().map(|array| (array as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    parameters.push((&definition.name, Type::TEXT));
    rows_by_ordinal(&connection.query_typed(&sql, &parameters).await?, &[])
}

/// The written rows of a result: each has its ordinal, the array of the key's texts, and what its columns kept.
fn rows_by_ordinal(
    rows: &[tokio_postgres::Row],
    mappings: &[&FieldMapping],
) -> Result<Vec<WrittenRow>, tokio_postgres::Error> {
    let ordinal = |row: &tokio_postgres::Row| row.try_get::<_, i32>(0);
    rows.iter()
        .map(|row| written_row(usize::try_from(ordinal(row)?).unwrap_or(usize::MAX), row, 1, mappings))
        .collect()
}

/// Brings the sync's link table up to date with the rows that were written: deletes the links of deleted
/// rows, and stores new links.
pub(crate) async fn write_links(
    transaction: &PostgresTransaction,
    rows: &[RowWrite],
    written: &[WrittenRow],
) -> Result<(), tokio_postgres::Error> {
    let Ok(connection) = transaction.connection() else { return Ok(()) };
    let links = link_table(&transaction.instance, &transaction.definition);
    let gone: Vec<&str> =
        written.iter().filter(|row| rows[row.ordinal].delete).map(|row| row.key.0.as_str()).collect();
    if !gone.is_empty() {
        let sql = format!("DELETE FROM {links} WHERE key = ANY($1)");
        connection.execute_typed(&sql, &[(&gone, Type::TEXT_ARRAY)]).await?;
    }
    let new: Vec<(&str, &str)> = written
        .iter()
        .filter_map(|row| Some((row.key.0.as_str(), rows[row.ordinal].link.as_ref()?.as_str())))
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
