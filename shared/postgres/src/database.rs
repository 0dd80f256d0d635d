//! The `Database` port.

use crate::connect::{Connection, Pool};
use crate::error::{DatabaseError, port_error};
use crate::log::{Log, LowWater, take};
use crate::names::{Instance, quote};
use crate::transaction::{PostgresTransaction, key_columns};
use syncline_engine::{Definition, PostgresKey, SalesforceId, Side};
use syncline_sync::{Database, PortError};
use tokio_postgres::types::{ToSql, Type};

/// A user's database with an instance's schema in it.
pub struct PostgresDatabase {
    pool: Pool,
    instance: Instance,
    low_water: LowWater,
}

impl PostgresDatabase {
    /// The database that a pool leads to.
    #[must_use]
    pub fn new(pool: Pool, instance: Instance) -> Self {
        Self { pool, instance, low_water: LowWater::new() }
    }

    async fn connection(&self) -> Result<Connection, PortError> {
        self.pool.get().await.map_err(|error| match error {
            DatabaseError::Statement(_, error) => port_error(&error),
            other => PortError::Outage { side: Side::Postgres, message: other.to_string() },
        })
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
        let columns: Vec<String> = definition.key.iter().map(|(column, _)| quote(column)).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let texts = after.map(|key| key_columns(definition, key)).transpose()?;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&limit, Type::INT8)];
        let mut condition = String::new();
        if let Some(texts) = &texts {
            let places: Vec<String> = definition
                .key
                .iter()
                .enumerate()
                .map(|(place, (_, cast))| format!("${}::text::{cast}", place + 2))
                .collect();
            condition = format!("WHERE ({}) > ({})", columns.join(", "), places.join(", "));
            parameters.extend(texts.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)));
        }
        let key: Vec<String> = columns.iter().map(|column| format!("{column}::text")).collect();
        let sql = format!(
            "SELECT array[{}], {}::text FROM {}.{} {condition} ORDER BY {} LIMIT $1",
            key.join(", "),
            quote(&definition.link),
            quote(&definition.schema),
            quote(&definition.table),
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

    async fn begin(&self, definition: &Definition) -> Result<PostgresTransaction, PortError> {
        PostgresTransaction::begin(self.connection().await?, self.instance.clone(), definition.clone()).await
    }
}
