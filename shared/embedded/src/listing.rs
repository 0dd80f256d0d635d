//! What a person asks to see.

use crate::side_of;
use syncline_postgres::{Connection, DatabaseError, Instance};
use syncline_sync::{DeadLetter, HeldRecord, Overview, Rejected, ShownConflict};
use tokio_postgres::types::Type;

fn count(row: &tokio_postgres::Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    Ok(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0))
}

/// Numbers of an instance.
///
/// # Errors
/// When the database refuses.
pub async fn overview(connection: &Connection, instance: &Instance) -> Result<Overview, DatabaseError> {
    let schema = instance.schema();
    let sql = format!(
        "SELECT (SELECT count(*) FROM {schema}.log), (SELECT count(*) FROM {schema}.queue_message),
                (SELECT count(*) FROM {schema}.deferred), (SELECT count(*) FROM {schema}.conflict),
                (SELECT count(*) FROM {schema}.rejected), (SELECT count(*) FROM {schema}.held),
                (SELECT count(*) FROM {schema}.queue_dead)"
    );
    let rows = connection.query_typed(&sql, &[]).await?;
    let mut overview = Overview::default();
    if let Some(row) = rows.first() {
        overview.log = Some(count(row, 0)?);
        overview.queue = count(row, 1)?;
        overview.deferred = count(row, 2)?;
        overview.conflicts = count(row, 3)?;
        overview.rejected = count(row, 4)?;
        overview.held = count(row, 5)?;
        overview.dead = count(row, 6)?;
    }
    let sql = format!(
        "SELECT d.sync, count(b.key) FROM {schema}.definition d LEFT JOIN {schema}.base b ON b.sync = d.sync AND b.live
         GROUP BY d.sync ORDER BY d.sync"
    );
    for row in connection.query_typed(&sql, &[]).await? {
        overview.linked.push((row.try_get(0)?, count(&row, 1)?));
    }
    for row in connection
        .query_typed(&format!("SELECT sync, reason FROM {schema}.paused ORDER BY sync"), &[])
        .await?
    {
        overview.paused.push((row.try_get(0)?, row.try_get(1)?));
    }
    for row in
        connection.query_typed(&format!("SELECT side, body FROM {schema}.breaker ORDER BY side"), &[]).await?
    {
        let body: String = row.try_get(1)?;
        if let Ok(breaker) = serde_json::from_str::<syncline_sync::Breaker>(&body)
            && breaker.is_open()
        {
            overview.breakers.push((side_of(&row.try_get::<_, String>(0)?).to_string(), breaker.message));
        }
    }
    Ok(overview)
}

/// The last conflicts, newest first.
///
/// # Errors
/// When the database refuses.
pub async fn conflicts(
    connection: &Connection,
    instance: &Instance,
    limit: i64,
) -> Result<Vec<ShownConflict>, DatabaseError> {
    let sql = format!(
        "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), sync, salesforce_id, postgres_key, field,
                salesforce, postgres, winner, reason
         FROM {}.conflict ORDER BY at DESC, id LIMIT $1",
        instance.schema()
    );
    let rows = connection.query_typed(&sql, &[(&limit, Type::INT8)]).await?;
    rows.iter()
        .map(|row| {
            Ok(ShownConflict {
                at: row.try_get(0)?,
                sync: row.try_get(1)?,
                salesforce_id: row.try_get(2)?,
                postgres_key: row.try_get(3)?,
                field: row.try_get(4)?,
                salesforce: row.try_get(5)?,
                postgres: row.try_get(6)?,
                winner: side_of(&row.try_get::<_, String>(7)?),
                reason: row.try_get(8)?,
            })
        })
        .collect()
}

async fn listed<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    instance: &Instance,
    table: &str,
    limit: i64,
) -> Result<Vec<T>, DatabaseError> {
    let sql = format!("SELECT body FROM {}.{table} ORDER BY at DESC, record LIMIT $1", instance.schema());
    let rows = connection.query_typed(&sql, &[(&limit, Type::INT8)]).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get(0)?;
            serde_json::from_str(&body)
                .map_err(|error| DatabaseError::Missing(format!("an item of {table}: {error}")))
        })
        .collect()
}

/// The last rejected records, newest first.
///
/// # Errors
/// When the database refuses.
pub async fn rejected(
    connection: &Connection,
    instance: &Instance,
    limit: i64,
) -> Result<Vec<Rejected>, DatabaseError> {
    listed(connection, instance, "rejected", limit).await
}

/// The last held records, newest first.
///
/// # Errors
/// When the database refuses.
pub async fn held(
    connection: &Connection,
    instance: &Instance,
    limit: i64,
) -> Result<Vec<HeldRecord>, DatabaseError> {
    listed(connection, instance, "held", limit).await
}

/// The dead letters, oldest first.
///
/// # Errors
/// When the database refuses.
pub async fn dead_letters(
    connection: &Connection,
    instance: &Instance,
) -> Result<Vec<DeadLetter>, DatabaseError> {
    let sql = format!(
        "SELECT body, receive_count, dead_at::timestamptz FROM {}.queue_dead ORDER BY id",
        instance.schema()
    );
    let rows = connection.query_typed(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let (body, receives): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
            Ok(DeadLetter::of(&body, u32::try_from(receives).unwrap_or(0), Some(row.try_get(2)?)))
        })
        .collect()
}

/// Sends the dead letters again; answers how many.
///
/// # Errors
/// When the database refuses.
pub async fn redrive(connection: &Connection, instance: &Instance) -> Result<u64, DatabaseError> {
    let schema = instance.schema();
    let sql = format!(
        "WITH dead AS (DELETE FROM {schema}.queue_dead RETURNING queue_group, body)
         INSERT INTO {schema}.queue_message (queue_group, body) SELECT queue_group, body FROM dead"
    );
    Ok(connection.execute_typed(&sql, &[]).await?)
}
