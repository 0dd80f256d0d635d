//! The `Operator` port, for the commands of a person: what the instance is bound to, its definitions, and the
//! numbers and lists that commands show.

use crate::install::{instance_row, rebind};
use crate::state::{run, text};
use crate::{connection, side_of, unreadable};
use syncline_engine::{Definition, SyncName};
use syncline_postgres::{Connection, DatabaseError, Instance, Pool, store_error};
use syncline_sync::{
    Binding, Breaker, DatabaseIdentity, DeadLetter, HeldRecord, Operator, Overview, PortError, Rejected,
    ShownConflict, WaitingRecord,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// The [`Operator`] port on the state store and the queue in the synced database.
pub struct EmbeddedOperator {
    pool: Pool,
    instance: Instance,
    schema: String,
}

/// The error of a statement or a connection as one of the state store.
fn refused(error: DatabaseError) -> PortError {
    match error {
        DatabaseError::Statement(_, error) => store_error(&error),
        other => PortError::Store { message: other.to_string() },
    }
}

/// The value of a column of a result row.
fn column<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, PortError> {
    row.try_get(column).map_err(|error| store_error(&error))
}

/// A count in a column of a result row.
fn count(row: &Row, at: usize) -> Result<u64, PortError> {
    Ok(u64::try_from(column::<i64>(row, at)?).unwrap_or(0))
}

/// The value of a LIMIT clause.
fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl EmbeddedOperator {
    /// The port for an instance in the database to which the pool's connections lead.
    #[must_use]
    pub fn new(pool: Pool, instance: &Instance) -> Self {
        Self { pool, instance: instance.clone(), schema: instance.schema() }
    }

    /// A connection to the database.
    ///
    /// # Errors
    /// [`PortError::NotConfigured`] if the instance is not applied in this database.
    async fn applied(&self) -> Result<Connection, PortError> {
        let connection = connection(&self.pool).await?;
        match instance_row(&connection, &self.instance).await.map_err(refused)? {
            Some(_) => Ok(connection),
            None => Err(PortError::NotConfigured {
                message: format!(
                    "instance {} is not applied in this database yet; run `syncline apply`",
                    self.instance.0
                ),
            }),
        }
    }

    /// The documents of a table (`rejected` or `held`), newest first.
    async fn listed<T: serde::de::DeserializeOwned>(
        &self,
        table: &str,
        limit: usize,
    ) -> Result<Vec<T>, PortError> {
        let connection = self.applied().await?;
        let sql = format!("SELECT body FROM {{schema}}.{table} ORDER BY at DESC, record LIMIT $1");
        let rows = run(&connection, &self.schema, &sql, &[(&rows_of(limit), Type::INT8)]).await?;
        let document = |row: &Row| serde_json::from_str(&text(row, 0)?).map_err(|error| unreadable(&error));
        rows.iter().map(document).collect()
    }

    async fn query(&self, connection: &Connection, sql: &str) -> Result<Vec<Row>, PortError> {
        run(connection, &self.schema, sql, &[]).await
    }

    /// Serves these syncs only, from now on. The definitions of others stay stored.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn serve_only(&self, syncs: &[SyncName]) -> Result<(), PortError> {
        let sql = "UPDATE {schema}.definition SET served = sync = ANY($1) WHERE served <> (sync = ANY($1))";
        run(&self.applied().await?, &self.schema, sql, &[(&syncs, Type::TEXT_ARRAY)]).await.map(|_| ())
    }

    /// The stored definitions, by the names of their syncs, those of syncs that are not served included.
    async fn stored(&self, connection: &Connection) -> Result<Vec<Definition>, PortError> {
        self.read_definitions(connection, "SELECT body FROM {schema}.definition ORDER BY sync").await
    }

    /// The definitions of the syncs that are served.
    async fn served(&self, connection: &Connection) -> Result<Vec<Definition>, PortError> {
        // The column `served` is missing until `syncline apply` of a release that knows the column has run.
        let sql = "SELECT body FROM {schema}.definition d
                   WHERE coalesce((to_jsonb(d) ->> 'served')::boolean, true) ORDER BY sync";
        self.read_definitions(connection, sql).await
    }

    async fn read_definitions(
        &self,
        connection: &Connection,
        sql: &str,
    ) -> Result<Vec<Definition>, PortError> {
        let definition = |row: &Row| {
            serde_json::from_str(&text(row, 0)?).map_err(|error| PortError::NotConfigured {
                message: format!(
                    "a stored definition cannot be read ({error}); run the release of Syncline that stored it"
                ),
            })
        };
        self.query(connection, sql).await?.iter().map(definition).collect()
    }
}

impl Operator for EmbeddedOperator {
    async fn binding(&self) -> Result<Option<Binding>, PortError> {
        let connection = connection(&self.pool).await?;
        let row = instance_row(&connection, &self.instance).await.map_err(refused)?;
        Ok(row.map(|row| Binding { organization_id: row.organization_id, identity: row.identity }))
    }

    async fn rebind(&self, organization_id: &str, identity: &DatabaseIdentity) -> Result<(), PortError> {
        let connection = self.applied().await?;
        rebind(&connection, &self.instance, organization_id, identity).await.map_err(refused)
    }

    async fn definitions(&self) -> Result<Vec<Definition>, PortError> {
        let connection = connection(&self.pool).await?;
        match instance_row(&connection, &self.instance).await.map_err(refused)? {
            Some(_) => self.served(&connection).await,
            None => Ok(Vec::new()),
        }
    }

    async fn put_definition(&self, definition: &Definition) -> Result<Definition, PortError> {
        let connection = self.applied().await?;
        let known = self.stored(&connection).await?.into_iter().find(|known| known.name == definition.name);
        let next =
            known.as_ref().map_or_else(|| definition.clone(), |known| definition.clone().following(known));
        let version_before = known.as_ref().map(|known| known.version);
        if known.is_some_and(|known| known == next) {
            return Ok(next);
        }
        let body = serde_json::to_string(&next).map_err(|error| unreadable(&error))?;
        let version = i32::try_from(next.version).unwrap_or(i32::MAX);
        let before = version_before.map(|version| i32::try_from(version).unwrap_or(i32::MAX));
        // Without its cursor, the sync scans both sides from the beginning, so every record is compared under
        // the new definition. One statement does both, so neither happens alone.
        let put = "WITH put AS (
                       INSERT INTO {schema}.definition AS d (sync, version, body) VALUES ($1, $2, $3)
                       ON CONFLICT (sync) DO UPDATE
                           SET version = excluded.version, body = excluded.body, applied_at = now()
                           WHERE d.version = $4
                       RETURNING version),
                   forgotten AS (
                       DELETE FROM {schema}.cursor WHERE sync = $1 AND EXISTS (SELECT FROM put WHERE version IS DISTINCT FROM $4))
                   SELECT version FROM put";
        let parameters: [crate::state::Parameter<'_>; 4] =
            [(&next.name, Type::TEXT), (&version, Type::INT4), (&body, Type::TEXT), (&before, Type::INT4)];
        if run(&connection, &self.schema, put, &parameters).await?.is_empty() {
            return Err(PortError::Store {
                message: format!(
                    "another `syncline apply` stored sync {} at the same time; run `syncline apply` again",
                    next.name
                ),
            });
        }
        Ok(next)
    }

    async fn forget_bases(&self) -> Result<u64, PortError> {
        let connection = self.applied().await?;
        let sql = format!("DELETE FROM {}.base", self.schema);
        let forgotten = connection.execute_typed(&sql, &[]).await.map_err(|error| store_error(&error))?;
        for table in ["cursor", "held", "pulse_seen"] {
            self.query(&connection, &format!("DELETE FROM {{schema}}.{table}")).await?;
        }
        Ok(forgotten)
    }

    async fn overview(&self, _: &[SyncName]) -> Result<Overview, PortError> {
        let connection = self.applied().await?;
        let sql = "SELECT (SELECT count(*) FROM {schema}.log), (SELECT count(*) FROM {schema}.queue_message),
                (SELECT count(*) FROM {schema}.deferred WHERE coalesce((touch::jsonb ->> 'refusals')::int, 0) = 0),
                (SELECT count(*) FROM {schema}.conflict),
                (SELECT count(*) FROM {schema}.rejected), (SELECT count(*) FROM {schema}.held),
                (SELECT count(*) FROM {schema}.queue_dead),
                (SELECT count(*) FROM {schema}.deferred WHERE cardinality(waits_for) > 0)";
        let mut overview = Overview::default();
        if let Some(row) = self.query(&connection, sql).await?.first() {
            overview.log = Some(count(row, 0)?);
            overview.queue = count(row, 1)?;
            overview.deferred = count(row, 2)?;
            overview.conflicts = count(row, 3)?;
            overview.rejected = count(row, 4)?;
            overview.held = count(row, 5)?;
            overview.dead = count(row, 6)?;
            overview.waiting = count(row, 7)?;
        }
        let sql = "SELECT d.sync, count(b.key) FROM {schema}.definition d
             LEFT JOIN {schema}.base b ON b.sync = d.sync AND b.live
             WHERE coalesce((to_jsonb(d) ->> 'served')::boolean, true) GROUP BY d.sync ORDER BY d.sync";
        for row in self.query(&connection, sql).await? {
            overview.linked.push((column(&row, 0)?, count(&row, 1)?));
        }
        let sql = "SELECT sync, reason FROM {schema}.paused ORDER BY sync";
        for row in self.query(&connection, sql).await? {
            overview.paused.push((column(&row, 0)?, column(&row, 1)?));
        }
        let sql = "SELECT sync, body::jsonb ->> 'capture_gap' FROM {schema}.cursor
             WHERE body::jsonb ->> 'capture_gap' IS NOT NULL ORDER BY sync";
        for row in self.query(&connection, sql).await? {
            overview.capture_gaps.push((column(&row, 0)?, column(&row, 1)?));
        }
        for row in self.query(&connection, "SELECT side, body FROM {schema}.breaker ORDER BY side").await? {
            let breaker = serde_json::from_str::<Breaker>(&text(&row, 1)?);
            if let Some(breaker) = breaker.ok().filter(Breaker::is_open) {
                overview.breakers.push((side_of(&text(&row, 0)?).to_string(), breaker.message));
            }
        }
        Ok(overview)
    }

    async fn conflicts(&self, limit: usize) -> Result<Vec<ShownConflict>, PortError> {
        let connection = self.applied().await?;
        let sql = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), sync, salesforce_id, postgres_key,
                field, salesforce, postgres, winner, reason
             FROM {schema}.conflict ORDER BY at DESC, id LIMIT $1";
        let rows = run(&connection, &self.schema, sql, &[(&rows_of(limit), Type::INT8)]).await?;
        let conflict = |row: &Row| {
            Ok(ShownConflict {
                at: column(row, 0)?,
                sync: column(row, 1)?,
                salesforce_id: column(row, 2)?,
                postgres_key: column(row, 3)?,
                field: column(row, 4)?,
                salesforce: column(row, 5)?,
                postgres: column(row, 6)?,
                winner: side_of(&text(row, 7)?),
                reason: column(row, 8)?,
            })
        };
        rows.iter().map(conflict).collect()
    }

    async fn last_rejected(&self, limit: usize) -> Result<Vec<Rejected>, PortError> {
        self.listed("rejected", limit).await
    }

    async fn last_held(&self, limit: usize) -> Result<Vec<HeldRecord>, PortError> {
        self.listed("held", limit).await
    }

    async fn waiting(&self, limit: usize) -> Result<Vec<WaitingRecord>, PortError> {
        let connection = self.applied().await?;
        let sql = "SELECT touch, waits_for FROM {schema}.deferred WHERE cardinality(waits_for) > 0
                   ORDER BY sync, record LIMIT $1";
        let rows = run(&connection, &self.schema, sql, &[(&rows_of(limit), Type::INT8)]).await?;
        let waiting = |row: &Row| {
            let touch = serde_json::from_str(&text(row, 0)?).map_err(|error| unreadable(&error))?;
            let parents: Vec<String> = column(row, 1)?;
            let parents = parents.iter().map(|parent| serde_json::from_str(parent)).collect::<Result<_, _>>();
            Ok(WaitingRecord::of(touch, parents.map_err(|error| unreadable(&error))?))
        };
        rows.iter().map(waiting).collect()
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, PortError> {
        let connection = self.applied().await?;
        let sql = "SELECT body, receive_count, dead_at::timestamptz FROM {schema}.queue_dead ORDER BY id";
        let letter = |row: &Row| {
            let receives: i32 = column(row, 1)?;
            let receives = u32::try_from(receives).unwrap_or(0);
            Ok(DeadLetter::of(&text(row, 0)?, receives, Some(column(row, 2)?)))
        };
        self.query(&connection, sql).await?.iter().map(letter).collect()
    }

    async fn redrive(&self) -> Result<u64, PortError> {
        let connection = self.applied().await?;
        let sql = "WITH dead AS (DELETE FROM {schema}.queue_dead RETURNING queue_group, body)
             INSERT INTO {schema}.queue_message (queue_group, body) SELECT queue_group, body FROM dead RETURNING 1";
        Ok(self.query(&connection, sql).await?.len() as u64)
    }
}
