//! Versioned migrations of the tables in an instance's schema.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::names::Instance;

/// One migration of a component's tables. A component is one crate that keeps tables in the schema. Its list
/// of migrations only grows, because a database stores how many of them it has run.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The SQL. `{schema}` stands for the quoted name of the instance's schema.
    pub sql: &'static str,
}

/// Runs the migrations of a component that this database has not run yet, all in one transaction. The schema
/// is created if it is missing. Running this twice, or in two processes at once, does no harm: an advisory
/// lock lets one process at a time migrate.
///
/// # Errors
/// [`DatabaseError::Missing`] if a newer release of Syncline has migrated the tables already.
/// [`DatabaseError::Statement`] if a statement fails. In both cases the database is unchanged.
pub async fn migrate(
    connection: &mut Connection,
    instance: &Instance,
    component: &str,
    migrations: &[Migration],
) -> Result<(), DatabaseError> {
    let schema = instance.schema();
    let transaction = connection.transaction().await?;
    transaction
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = '10s';
             SELECT pg_advisory_xact_lock(hashtextextended('syncline migrate', 0));
             CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE IF NOT EXISTS {schema}.migration (
                 component text NOT NULL, version int NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),
                 PRIMARY KEY (component, version));"
        ))
        .await?;
    let row = transaction
        .query_typed(
            &format!("SELECT coalesce(max(version), 0) FROM {schema}.migration WHERE component = $1"),
            &[(&component, tokio_postgres::types::Type::TEXT)],
        )
        .await?;
    let version: i32 = row.first().map_or(Ok(0), |row| row.try_get(0))?;
    let known = usize::try_from(version).unwrap_or(0);
    if known > migrations.len() {
        return Err(DatabaseError::Missing(format!(
            "schema {schema} was migrated by a newer release of Syncline ({component} version {version}); run that release or a later one"
        )));
    }
    for (step, migration) in migrations.iter().enumerate().skip(known) {
        transaction.batch_execute(&migration.sql.replace("{schema}", &schema)).await?;
        let step = i32::try_from(step + 1).unwrap_or(i32::MAX);
        transaction
            .execute_typed(
                &format!("INSERT INTO {schema}.migration (component, version) VALUES ($1, $2)"),
                &[
                    (&component, tokio_postgres::types::Type::TEXT),
                    (&step, tokio_postgres::types::Type::INT4),
                ],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
