//! The `Database` port of `syncline-sync` on a PostgreSQL database.

use crate::capture::{gaps, install_capture};
use crate::catalog::columns_of;
use crate::connect::{Connection, Pool};
use crate::drift::as_it_is_now;
use crate::error::{DatabaseError, port_error};
use crate::identity::{identity_of, identity_sql};
use crate::link::{link_join, link_value};
use crate::log::{Log, LowWater, take};
use crate::names::{Instance, quote};
use crate::schema::make_partitions;
use crate::transaction::{PostgresTransaction, key_columns};
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_engine::{Definition, PostgresKey, SalesforceId, Side, SyncName};
use syncline_sync::{Database, DatabaseIdentity, PortError};
use tokio_postgres::types::{ToSql, Type};

/// A user's database in which an instance has its schema.
pub struct PostgresDatabase {
    pool: Pool,
    instance: Instance,
    low_water: LowWater,
    bound_to: Option<DatabaseIdentity>,
}

impl PostgresDatabase {
    /// The database to which the pool's connections lead. Its identity is not checked.
    #[must_use]
    pub fn new(pool: Pool, instance: Instance) -> Self {
        Self { pool, instance, low_water: LowWater::new(), bound_to: None }
    }

    /// The same database, checked: every transaction, pulse and housekeeping first compares the database with
    /// `identity`, to which the instance is bound, and fails with [`PortError::Identity`] if they differ. The
    /// host is not compared.
    #[must_use]
    pub fn bound_to(self, identity: DatabaseIdentity) -> Self {
        Self { bound_to: Some(identity), ..self }
    }

    async fn check_identity(&self, connection: &Connection) -> Result<(), PortError> {
        let Some(expected) = &self.bound_to else { return Ok(()) };
        let rows =
            connection.query_typed(identity_sql(expected), &[]).await.map_err(|error| port_error(&error))?;
        let Some(row) = rows.first() else { return Ok(()) };
        let here = identity_of(row, &expected.host).map_err(|error| port_error(&error))?;
        match here.mismatch(expected, &self.instance.0) {
            Some(message) => Err(PortError::Identity { message }),
            None => Ok(()),
        }
    }

    async fn connection(&self) -> Result<Connection, PortError> {
        self.pool.get().await.map_err(database_error)
    }
}

fn database_error(error: DatabaseError) -> PortError {
    match error {
        DatabaseError::Statement(_, error) => port_error(&error),
        other => PortError::Outage { side: Side::Postgres, message: other.to_string() },
    }
}

impl Database for PostgresDatabase {
    type Transaction<'a> = PostgresTransaction;
    type Log<'a> = Log<'a>;

    async fn take_log(&self, limit: usize) -> Result<Log<'_>, PortError> {
        take(self.connection().await?, &self.instance, &self.low_water, limit).await
    }

    async fn scan(
        &self,
        definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError> {
        let connection = self.connection().await?;
        let name = format!("{}.{}", quote(&definition.schema), quote(&definition.table));
        let (oid, columns) = columns_of(&connection, &name).await.map_err(|error| port_error(&error))?;
        let definition = &as_it_is_now(definition.clone(), oid, &columns)?;
        let columns: Vec<String> =
            definition.key.iter().map(|(column, _)| format!("t.{}", quote(column))).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let texts = after.map(|key| key_columns(definition, key)).transpose()?;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&limit, Type::INT8)];
        let mut condition = String::new();
        if let Some(texts) = &texts {
            let ordinals: Vec<String> = definition
                .key
                .iter()
                .enumerate()
                .map(|(ordinal, (_, cast))| format!("${}::text::{cast}", ordinal + 2))
                .collect();
            condition = format!(" WHERE ({}) > ({})", columns.join(", "), ordinals.join(", "));
            parameters.extend(texts.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)));
        }
        let key: Vec<String> = columns.iter().map(|column| format!("{column}::text")).collect();
        let sql = format!(
            "SELECT array[{}], {} FROM {}.{} t{}{condition} ORDER BY {} LIMIT $1",
            key.join(", "),
            link_value(definition),
            quote(&definition.schema),
            quote(&definition.table),
            link_join(&self.instance, definition),
            columns.join(", "),
        );
        let rows = connection.query_typed(&sql, &parameters).await.map_err(|error| port_error(&error))?;
        rows.iter()
            .map(|row| {
                let key: Vec<String> = row.try_get(0).map_err(|error| port_error(&error))?;
                let link: Option<String> = row.try_get(1).map_err(|error| port_error(&error))?;
                let key = PostgresKey(serde_json::Value::from(key).to_string());
                Ok((key, link.and_then(|link| SalesforceId::parse(&link).ok())))
            })
            .collect()
    }

    async fn beat(&self) -> Result<u64, PortError> {
        let connection = self.connection().await?;
        self.check_identity(&connection).await?;
        let sql = format!(
            "UPDATE {}.pulse SET beat = beat + 1, at = clock_timestamp() RETURNING beat",
            self.instance.schema()
        );
        let rows = connection.query_typed(&sql, &[]).await.map_err(|error| port_error(&error))?;
        let beat: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| port_error(&error))?;
        Ok(u64::try_from(beat).unwrap_or(0))
    }

    async fn capture_gaps(
        &self,
        definitions: &[Definition],
    ) -> Result<BTreeMap<SyncName, String>, PortError> {
        let connection = self.connection().await?;
        gaps(&connection, &self.instance, definitions).await.map_err(database_error)
    }

    async fn repair_capture(&self, definition: &Definition) -> Result<(), PortError> {
        let mut connection = self.connection().await?;
        self.check_identity(&connection).await?;
        install_capture(&mut connection, &self.instance, definition).await.map_err(database_error)
    }

    async fn housekeeping(&self, definitions: &[Definition], before: Timestamp) -> Result<(), PortError> {
        let mut connection = self.connection().await?;
        self.check_identity(&connection).await?;
        make_partitions(&mut connection, &self.instance).await.map_err(database_error)?;
        for definition in definitions.iter().filter(|definition| definition.partitioned) {
            install_capture(&mut connection, &self.instance, definition).await.map_err(database_error)?;
        }
        let before = before.to_string();
        let sql = format!(
            "DELETE FROM {}.tombstone WHERE deleted_at < $1::text::timestamptz",
            self.instance.schema()
        );
        connection.query_typed(&sql, &[(&before, Type::TEXT)]).await.map_err(|error| port_error(&error))?;
        let sql = format!("DELETE FROM {}.rekeyed WHERE at < $1::text::timestamptz", self.instance.schema());
        connection.query_typed(&sql, &[(&before, Type::TEXT)]).await.map_err(|error| port_error(&error))?;
        Ok(())
    }

    async fn begin(&self, definition: &Definition) -> Result<PostgresTransaction, PortError> {
        let connection = self.connection().await?;
        self.check_identity(&connection).await?;
        PostgresTransaction::begin(connection, self.instance.clone(), definition.clone()).await
    }
}
