//! The `State` port: the state store in the synced database.

use crate::{connection, unreadable};
use jiff::{SignedDuration, Timestamp};
use syncline_engine::{BaseKey, Side};
use syncline_postgres::{Connection, Instance, Pool, store_error};
use syncline_sync::{
    Breaker, Cursor, Due, KnownRecord, Outcomes, Pause, PauseCause, PortError, Put, RecordRef, Rejected,
    State,
};
use tokio_postgres::types::{ToSql, Type};

pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The state store of an instance in the synced database.
pub struct EmbeddedState {
    pool: Pool,
    pub(crate) schema: String,
}

impl EmbeddedState {
    /// The state store of an instance, in the database to which the pool's connections lead.
    #[must_use]
    pub fn new(pool: Pool, instance: &Instance) -> Self {
        Self { pool, schema: instance.schema() }
    }

    /// Runs a statement on a connection of its own. `{schema}` in it stands for the instance's schema.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, PortError> {
        let sql = sql.replace("{schema}", &self.schema);
        connection(&self.pool).await?.query_typed(&sql, parameters).await.map_err(|error| store_error(&error))
    }

    /// The document that a statement finds under a name. The default document if there is none.
    pub(crate) async fn body<T: serde::de::DeserializeOwned + Default>(
        &self,
        sql: &str,
        name: &str,
    ) -> Result<T, PortError> {
        let rows = self.query(sql, &[(&name, Type::TEXT)]).await?;
        match rows.first() {
            None => Ok(T::default()),
            Some(row) => {
                let body: String = row.try_get(0).map_err(|error| store_error(&error))?;
                serde_json::from_str(&body).map_err(|error| unreadable(&error))
            }
        }
    }

    /// Stores a document under a name. The statement's parameters are the name and the document.
    pub(crate) async fn put_body<T: serde::Serialize + Sync>(
        &self,
        sql: &str,
        name: &str,
        value: &T,
    ) -> Result<(), PortError> {
        let body = serde_json::to_string(value).map_err(|error| unreadable(&error))?;
        self.query(sql, &[(&name, Type::TEXT), (&body, Type::TEXT)]).await?;
        Ok(())
    }

    /// Runs `work` in one transaction, which is committed if the work succeeds and rolled back if it fails.
    pub(crate) async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&Connection) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let connection = connection(&self.pool).await?;
        connection.batch_execute("BEGIN").await.map_err(|error| store_error(&error))?;
        match work(&connection).await {
            Ok(value) => match connection.batch_execute("COMMIT").await {
                Ok(()) => Ok(value),
                Err(error) => {
                    drop(Connection::take(connection));
                    Err(store_error(&error))
                }
            },
            Err(error) => {
                // The transaction is open, so the connection is closed and does not go back to the pool.
                drop(Connection::take(connection));
                Err(error)
            }
        }
    }
}

/// The number for SQL. A number that is too great becomes the greatest one.
pub(crate) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Runs a statement on a connection. `{schema}` in the statement stands for `schema`.
pub(crate) async fn run(
    connection: &Connection,
    schema: &str,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<tokio_postgres::Row>, PortError> {
    connection
        .query_typed(&sql.replace("{schema}", schema), parameters)
        .await
        .map_err(|error| store_error(&error))
}

/// The text in a column of a result row.
pub(crate) fn text(row: &tokio_postgres::Row, column: usize) -> Result<String, PortError> {
    row.try_get(column).map_err(|error| store_error(&error))
}

impl State for EmbeddedState {
    async fn load(&self, sync: &str, refs: &[RecordRef]) -> Result<Vec<KnownRecord>, PortError> {
        self.load_bases(sync, refs).await
    }

    async fn put(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
        self.put_bases(sync, puts).await
    }

    async fn rejected(&self, sync: &str, keys: &[BaseKey]) -> Result<Vec<Option<Rejected>>, PortError> {
        self.rejected_without_base(sync, keys).await
    }

    async fn store(&self, sync: &str, outcomes: Outcomes) -> Result<(), PortError> {
        self.store_outcomes(sync, outcomes).await
    }

    async fn defer_message(&self, group: &str, body: &str, due: Timestamp) -> Result<(), PortError> {
        self.store_message(group, body, due).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        self.due_touches(now, limit).await
    }

    async fn drop_due(&self, tokens: &[String]) -> Result<(), PortError> {
        self.drop_due_touches(tokens).await
    }

    async fn cursor(&self, sync: &str) -> Result<Cursor, PortError> {
        self.body("SELECT body FROM {schema}.cursor WHERE sync = $1", sync).await
    }

    async fn put_cursor(&self, sync: &str, cursor: &Cursor) -> Result<Option<Cursor>, PortError> {
        // Releases before revisions stored cursors without one, which count as revision 0.
        let sql = "INSERT INTO {schema}.cursor AS c (sync, body)
                   SELECT $1, $2 WHERE $3 = 0 OR EXISTS (SELECT FROM {schema}.cursor WHERE sync = $1)
                   ON CONFLICT (sync) DO UPDATE SET body = excluded.body
                       WHERE coalesce((c.body::jsonb ->> 'revision')::int8, 0) = $3
                   RETURNING 1";
        let next = cursor.next_revision();
        let body = serde_json::to_string(&next).map_err(|error| unreadable(&error))?;
        let revision = saturated(cursor.revision);
        let parameters: [Parameter<'_>; 3] =
            [(&sync, Type::TEXT), (&body, Type::TEXT), (&revision, Type::INT8)];
        let stored = self.query(sql, &parameters).await?;
        Ok((!stored.is_empty()).then_some(next))
    }

    async fn breaker(&self, side: Side) -> Result<Breaker, PortError> {
        self.body("SELECT body FROM {schema}.breaker WHERE side = $1", side.word()).await
    }

    async fn put_breaker(&self, side: Side, breaker: &Breaker) -> Result<(), PortError> {
        let sql = "INSERT INTO {schema}.breaker (side, body) VALUES ($1, $2) ON CONFLICT (side) DO UPDATE SET body = excluded.body";
        self.put_body(sql, side.word(), breaker).await
    }

    async fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> Result<bool, PortError> {
        self.take_of_counter(counter, count, limit, now, window).await
    }

    async fn taken(&self, counter: &str, now: Timestamp, window: SignedDuration) -> Result<i64, PortError> {
        self.taken_of_counter(counter, now, window).await
    }

    async fn allow(&self, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
        self.allow_counter(counter, count, now).await
    }

    async fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> Result<f64, PortError> {
        self.draw_calls(calls, per_second, capacity, now).await
    }

    async fn linked(&self, sync: &str) -> Result<u64, PortError> {
        self.count_linked(sync).await
    }

    async fn make_due(&self, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
        self.make_touches_due(now, spread).await
    }

    async fn pulse(&self) -> Result<u64, PortError> {
        self.last_pulse().await
    }

    async fn put_pulse(&self, pulse: u64) -> Result<(), PortError> {
        self.save_pulse(pulse).await
    }

    async fn forget(&self, before: Timestamp) -> Result<(), PortError> {
        self.forget_bases(before).await
    }

    async fn paused(&self, sync: &str) -> Result<Option<Pause>, PortError> {
        // The column `cause` is missing until `syncline apply` of a release that knows the column has run.
        let sql = "SELECT reason, to_jsonb(p) ->> 'cause' FROM {schema}.paused p WHERE sync = $1";
        let rows = self.query(sql, &[(&sync, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let cause: Option<String> = row.try_get(1).map_err(|error| store_error(&error))?;
        Ok(Some(Pause { cause: PauseCause::of_word(cause.as_deref()), message: text(row, 0)? }))
    }

    async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), PortError> {
        match pause {
            Some(Pause { cause, message }) => {
                let sql = "INSERT INTO {schema}.paused (sync, reason, cause) VALUES ($1, $2, $3)
                           ON CONFLICT (sync) DO UPDATE SET reason = excluded.reason, cause = excluded.cause";
                let cause = cause.word();
                let parameters: [Parameter<'_>; 3] =
                    [(&sync, Type::TEXT), (message, Type::TEXT), (&cause, Type::TEXT)];
                self.query(sql, &parameters).await?;
            }
            None => {
                self.query("DELETE FROM {schema}.paused WHERE sync = $1", &[(&sync, Type::TEXT)]).await?;
            }
        }
        Ok(())
    }
}
