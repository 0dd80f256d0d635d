//! Takes rows out of the capture log as touches.

use crate::connect::Connection;
use crate::error::port_error;
use crate::names::Instance;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use syncline_engine::{PostgresKey, SalesforceId};
use syncline_sync::{LogBatch, PortError, Source, Touch, fold};
use tokio_postgres::types::Type;

/// A read of the log begins this many ids below the highest id that was taken. A log row gets its id before
/// its transaction commits, so a lower id can become visible after a higher id was taken.
const SLACK: i64 = 5_000;
/// How often the log is read from its first id. Such a read finds the rows of transactions that stayed open
/// while more than [`SLACK`] ids were taken.
const WHOLE_LOOK: Duration = Duration::from_secs(2);

/// Where the next read of the log begins. Not every read begins at the first id, because deleted rows stay in
/// the index until a vacuum, and a read that passes over them is slower.
pub(crate) struct LowWater {
    state: Mutex<(i64, Option<Instant>)>,
}

impl LowWater {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new((0, None)) }
    }

    /// The lowest id that the next read takes.
    fn begin(&self) -> i64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = state.1.is_none_or(|last| last.elapsed() >= WHOLE_LOOK);
        if whole {
            state.1 = Some(Instant::now());
            return 0;
        }
        (state.0 - SLACK).max(0)
    }

    /// Notes the highest id of log rows that were taken and committed.
    fn taken(&self, highest: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.max(highest);
    }
}

/// Log rows that were taken in a transaction which is still open. The caller commits the transaction once the
/// queue has accepted their touches. If this value is dropped before, the rows stay in the log.
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
        // A transaction is open on the connection, so the connection is closed and does not go back to the
        // pool.
        if let Some(connection) = self.connection.take() {
            drop(deadpool_postgres::Object::take(connection));
        }
    }
}

/// Takes at most `limit` rows out of the log. Rows that another process is taking are skipped.
///
/// # Errors
/// When the database fails.
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
            let sync: String = row.try_get(1)?;
            let at = Timestamp::from_microsecond(at).unwrap_or_default();
            let mut touch = Touch {
                id: link.or(old_link).and_then(|link| SalesforceId::parse(&link).ok()),
                key: key.map(PostgresKey),
                old_key: old_key.map(PostgresKey),
                actor: row.try_get::<_, Option<String>>(7)?.filter(|actor| !actor.is_empty()),
                ..Touch::bare(&sync, Source::CaptureLog, at)
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
    /// Adds the deletes that are still in the log to those that were taken. Of a delete of many rows, one
    /// read takes only a part, and the delete limit has to count all of them.
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
