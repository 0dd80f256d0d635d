//! Consumption of the capture log.

use crate::connect::Connection;
use crate::error::port_error;
use crate::names::Instance;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use syncline_engine::{PostgresKey, SalesforceId};
use syncline_sync::{LogBatch, PortError, Source, TOUCH_FORM, Touch, fold};
use tokio_postgres::types::Type;

/// Ids are given before their transactions commit: a look begins this far before the last one taken.
const SLACK: i64 = 5_000;
/// How often a look begins at the beginning, for transactions that were open longer.
const WHOLE_LOOK: Duration = Duration::from_secs(2);

/// Where the next look begins: rows that others left dead at the front make each look slower.
pub(crate) struct LowWater {
    state: Mutex<(i64, Option<Instant>)>,
}

impl LowWater {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new((0, None)) }
    }

    fn begin(&self) -> i64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = state.1.is_none_or(|last| last.elapsed() >= WHOLE_LOOK);
        if whole {
            state.1 = Some(Instant::now());
            return 0;
        }
        (state.0 - SLACK).max(0)
    }

    fn taken(&self, highest: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.max(highest);
    }
}

/// Log rows taken in a transaction that is still open: it commits once the queue has their touches. Dropped,
/// they stay in the log.
pub struct Log<'a> {
    connection: Option<Connection>,
    touches: Vec<Touch>,
    truncated: Vec<String>,
    deletes: BTreeMap<String, u64>,
    low_water: &'a LowWater,
    highest: i64,
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        // An open transaction does not go back into the pool.
        if let Some(connection) = self.connection.take() {
            drop(deadpool_postgres::Object::take(connection));
        }
    }
}

pub(crate) async fn take<'a>(
    connection: Connection,
    instance: &Instance,
    low_water: &'a LowWater,
    limit: usize,
) -> Result<Log<'a>, PortError> {
    let schema = instance.schema();
    let mut log = Log {
        connection: Some(connection),
        touches: Vec::new(),
        truncated: Vec::new(),
        deletes: BTreeMap::new(),
        low_water,
        highest: 0,
    };
    let Some(connection) = &log.connection else { return Ok(log) };
    let begin = low_water.begin();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.batch_execute("BEGIN").await.map_err(|error| port_error(&error))?;
    let rows = connection
        .query_typed(
            &format!(
                "DELETE FROM {schema}.log WHERE id = ANY (ARRAY(
                     SELECT id FROM {schema}.log WHERE id >= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING id, sync, operation, key, old_key, link, old_link, actor,
                           (extract(epoch FROM at) * 1000000)::int8"
            ),
            &[(&begin, Type::INT8), (&limit, Type::INT8)],
        )
        .await
        .map_err(|error| port_error(&error))?;
    let mut touches = Vec::with_capacity(rows.len());
    for row in rows {
        let read = || -> Result<(i64, Result<Touch, String>), tokio_postgres::Error> {
            let id: i64 = row.try_get(0)?;
            let operation: String = row.try_get(2)?;
            let (key, old_key): (Option<String>, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
            let (link, old_link): (Option<String>, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
            let at: i64 = row.try_get(8)?;
            if operation == "truncate" {
                return Ok((id, Err(row.try_get(1)?)));
            }
            let mut touch = Touch {
                form: TOUCH_FORM,
                sync: row.try_get(1)?,
                id: link.or(old_link).and_then(|link| SalesforceId::parse(&link).ok()),
                key: key.map(PostgresKey),
                old_key: old_key.map(PostgresKey),
                source: Source::CaptureLog,
                evidence: syncline_sync::DeleteEvidence::default(),
                stamp: None,
                late: false,
                actor: row.try_get::<_, Option<String>>(7)?.filter(|actor| !actor.is_empty()),
                at: Timestamp::from_microsecond(at).unwrap_or_default(),
                attempt: 0,
            };
            touch.evidence.pg_deleted = operation == "delete";
            Ok((id, Ok(touch)))
        };
        let (id, touch) = read().map_err(|error| port_error(&error))?;
        log.highest = log.highest.max(id);
        match touch {
            Ok(touch) => {
                if touch.evidence.pg_deleted {
                    *log.deletes.entry(touch.sync.clone()).or_default() += 1;
                }
                touches.push(touch);
            }
            Err(sync) => log.truncated.push(sync),
        }
    }
    log.touches = fold(touches);
    if !log.deletes.is_empty() {
        log.count_waiting_deletes(schema).await?;
    }
    Ok(log)
}

impl Log<'_> {
    /// The rest of a large delete is in the log still.
    async fn count_waiting_deletes(&mut self, schema: String) -> Result<(), PortError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let sql = format!("SELECT sync, count(*) FROM {schema}.log WHERE operation = 'delete' GROUP BY sync");
        for row in connection.query_typed(&sql, &[]).await.map_err(|error| port_error(&error))? {
            let sync: String = row.try_get(0).map_err(|error| port_error(&error))?;
            let count: i64 = row.try_get(1).map_err(|error| port_error(&error))?;
            if let Some(waiting) = self.deletes.get_mut(&sync) {
                *waiting += u64::try_from(count).unwrap_or(0);
            }
        }
        Ok(())
    }
}

impl LogBatch for Log<'_> {
    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn truncated(&self) -> &[String] {
        &self.truncated
    }

    fn deletes(&self) -> &BTreeMap<String, u64> {
        &self.deletes
    }

    async fn commit(mut self) -> Result<(), PortError> {
        if let Some(connection) = &self.connection {
            connection.batch_execute("COMMIT").await.map_err(|error| port_error(&error))?;
        }
        self.connection.take();
        self.low_water.taken(self.highest);
        Ok(())
    }
}
