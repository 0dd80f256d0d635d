//! What a person asks to see.

use crate::side_of;
use syncline_postgres::{Connection, DatabaseError, Instance};
use syncline_sync::{HeldRecord, MessageBody, Rejected};
use tokio_postgres::types::Type;

/// A conflict as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownConflict {
    /// When.
    pub at: String,
    /// The sync.
    pub sync: String,
    /// Its Salesforce Id.
    pub salesforce_id: Option<String>,
    /// Its row's key.
    pub postgres_key: Option<String>,
    /// The field.
    pub field: String,
    /// What Salesforce held.
    pub salesforce: Option<String>,
    /// What Postgres held.
    pub postgres: Option<String>,
    /// Whose value stands.
    pub winner: syncline_engine::Side,
    /// Why.
    pub reason: String,
}

/// Numbers of an instance at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Linked records, by sync.
    pub linked: Vec<(String, i64)>,
    /// Rows in the capture log.
    pub log: i64,
    /// Messages in the queue.
    pub queue: i64,
    /// Touches put off.
    pub deferred: i64,
    /// Conflicts so far.
    pub conflicts: i64,
    /// Rejected records.
    pub rejected: i64,
    /// Held records.
    pub held: i64,
    /// Dead letters.
    pub dead: i64,
    /// Paused syncs and why.
    pub paused: Vec<(String, String)>,
    /// Sides that are left alone, in their last words.
    pub breakers: Vec<(String, String)>,
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
        overview.log = row.try_get(0)?;
        overview.queue = row.try_get(1)?;
        overview.deferred = row.try_get(2)?;
        overview.conflicts = row.try_get(3)?;
        overview.rejected = row.try_get(4)?;
        overview.held = row.try_get(5)?;
        overview.dead = row.try_get(6)?;
    }
    let sql = format!(
        "SELECT d.sync, count(b.key) FROM {schema}.definition d LEFT JOIN {schema}.base b ON b.sync = d.sync AND b.live
         GROUP BY d.sync ORDER BY d.sync"
    );
    for row in connection.query_typed(&sql, &[]).await? {
        overview.linked.push((row.try_get(0)?, row.try_get(1)?));
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

/// A message whose runs crashed too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// When it was given up.
    pub at: String,
    /// How often it was received.
    pub receives: i32,
    /// The records that it touches.
    pub records: Vec<String>,
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
        "SELECT id, to_char(dead_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), receive_count, body
         FROM {}.queue_dead ORDER BY id",
        instance.schema()
    );
    let rows = connection.query_typed(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get(3)?;
            let records = serde_json::from_str::<MessageBody>(&body).map_or_else(
                |_| vec!["a message of another version".to_owned()],
                |body| {
                    body.touches.iter().map(|touch| format!("{} {}", touch.sync, touch.record())).collect()
                },
            );
            Ok(DeadLetter { id: row.try_get(0)?, at: row.try_get(1)?, receives: row.try_get(2)?, records })
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
