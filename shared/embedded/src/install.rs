//! The tables of state and queue, the instance's own row, and applied definitions.

use syncline_engine::{Definition, FingerprintKey};
use syncline_postgres::{Connection, DatabaseError, Identity, Instance, Migration, migrate};
use tokio_postgres::types::{ToSql, Type};

const MIGRATIONS: &[Migration] = &[
    Migration {
    sql: "
CREATE TABLE {schema}.instance (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    fingerprint_key   bytea NOT NULL,
    organization_id   text NOT NULL,
    system_identifier text NOT NULL,
    database_name     text NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now());
CREATE TABLE {schema}.definition (
    sync       text PRIMARY KEY,
    version    int NOT NULL,
    body       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now());

CREATE TABLE {schema}.base (
    sync          text NOT NULL,
    key           text NOT NULL,
    salesforce_id text,
    postgres_key  text,
    external_id   text,
    live          boolean NOT NULL,
    has_intent    boolean NOT NULL,
    version       bigint NOT NULL,
    body          text NOT NULL,
    PRIMARY KEY (sync, key)) WITH (fillfactor = 80);
CREATE UNIQUE INDEX base_salesforce_id ON {schema}.base (sync, salesforce_id) WHERE salesforce_id IS NOT NULL;
CREATE UNIQUE INDEX base_postgres_key ON {schema}.base (sync, postgres_key) WHERE postgres_key IS NOT NULL;
CREATE UNIQUE INDEX base_external_id ON {schema}.base (sync, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE {schema}.conflict (
    id            text PRIMARY KEY,
    sync          text NOT NULL,
    record        text NOT NULL,
    salesforce_id text,
    postgres_key  text,
    field         text NOT NULL,
    salesforce    text,
    postgres      text,
    winner        text NOT NULL,
    reason        text NOT NULL,
    at            timestamptz NOT NULL);
CREATE INDEX ON {schema}.conflict (at);
CREATE TABLE {schema}.rejected (
    sync text NOT NULL, record text NOT NULL, body text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (sync, record));
CREATE TABLE {schema}.held (
    sync text NOT NULL, record text NOT NULL, body text NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (sync, record));

CREATE SEQUENCE {schema}.deferred_token;
CREATE TABLE {schema}.deferred (
    sync      text NOT NULL,
    record    text NOT NULL,
    due       timestamptz NOT NULL,
    touch     text NOT NULL,
    waits_for text[] NOT NULL,
    token     bigint NOT NULL UNIQUE DEFAULT nextval('{schema}.deferred_token'),
    PRIMARY KEY (sync, record));
CREATE INDEX ON {schema}.deferred (due);
CREATE INDEX ON {schema}.deferred USING gin (waits_for);
CREATE TABLE {schema}.deferred_message (
    token bigint PRIMARY KEY DEFAULT nextval('{schema}.deferred_token'),
    queue_group text NOT NULL, body text NOT NULL, due timestamptz NOT NULL);

CREATE TABLE {schema}.cursor (sync text PRIMARY KEY, body text NOT NULL);
CREATE TABLE {schema}.breaker (side text PRIMARY KEY, body text NOT NULL);
CREATE TABLE {schema}.paused (sync text PRIMARY KEY, reason text NOT NULL, at timestamptz NOT NULL DEFAULT now());

CREATE TABLE {schema}.queue_group (
    name        text PRIMARY KEY,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    token       text);
CREATE TABLE {schema}.queue_message (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_group   text NOT NULL,
    body          text NOT NULL,
    receive_count int NOT NULL DEFAULT 0,
    token         text,
    sent_at       timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON {schema}.queue_message (queue_group, id);
",
    },
    Migration {
        sql: "
ALTER TABLE {schema}.instance ADD COLUMN timeline bigint, ADD COLUMN database_oid bigint, ADD COLUMN host text;
ALTER TABLE {schema}.base ADD COLUMN ended_at timestamptz;
CREATE INDEX base_ended_at ON {schema}.base (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE {schema}.counter (
    name text NOT NULL, minute timestamptz NOT NULL, count bigint NOT NULL, PRIMARY KEY (name, minute));
CREATE TABLE {schema}.pace (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), calls_left float8 NOT NULL, at timestamptz NOT NULL);
CREATE TABLE {schema}.pulse_seen (one boolean PRIMARY KEY DEFAULT true CHECK (one), beat bigint NOT NULL);
CREATE TABLE {schema}.queue_dead (
    id bigint PRIMARY KEY, queue_group text NOT NULL, body text NOT NULL, receive_count int NOT NULL,
    sent_at timestamptz NOT NULL, dead_at timestamptz NOT NULL DEFAULT clock_timestamp());
COMMENT ON TABLE {schema}.queue_dead IS 'Messages whose runs crashed five times; syncline dead-letters shows them and sends them again.';
",
    },
    Migration {
        sql: "
ALTER TABLE {schema}.paused ADD COLUMN cause text;
",
    },
];

/// What an instance is bound to.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    /// The fingerprint key.
    pub key: FingerprintKey,
    /// The org.
    pub organization_id: String,
    /// The database; `None` where an earlier release applied it and did not ask for all of it.
    pub identity: Option<Identity>,
}

/// Brings the tables to their last version and binds the instance, the first time, to this org and database.
/// `fresh_key` becomes the fingerprint key if there is none yet.
///
/// # Errors
/// When the database refuses.
pub async fn install(
    connection: &mut Connection,
    instance: &Instance,
    organization_id: &str,
    identity: &Identity,
    fresh_key: [u8; 32],
) -> Result<InstanceRow, DatabaseError> {
    migrate(connection, instance, "embedded", MIGRATIONS).await?;
    let schema = instance.schema();
    let fresh_key = fresh_key.to_vec();
    let sql = format!(
        "INSERT INTO {schema}.instance (fingerprint_key, organization_id, system_identifier, database_name)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&fresh_key, Type::BYTEA),
        (&organization_id, Type::TEXT),
        (&identity.system, Type::TEXT),
        (&identity.database, Type::TEXT),
    ];
    connection.execute_typed(&sql, &parameters).await?;
    let known = instance_row(connection, instance).await?;
    if known.is_some_and(|known| known.identity.is_none()) {
        rebind(connection, instance, organization_id, identity).await?;
    }
    instance_row(connection, instance).await?.ok_or_else(|| {
        DatabaseError::Missing(format!("schema {schema} has no instance row; run `syncline apply` again"))
    })
}

/// Binds the instance to this org and this database from now on.
///
/// # Errors
/// When the database refuses.
pub async fn rebind(
    connection: &Connection,
    instance: &Instance,
    organization_id: &str,
    identity: &Identity,
) -> Result<(), DatabaseError> {
    let schema = instance.schema();
    let sql = format!(
        "UPDATE {schema}.instance SET organization_id = $1, system_identifier = $2, timeline = $3,
                database_name = $4, database_oid = $5, host = $6"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&organization_id, Type::TEXT),
        (&identity.system, Type::TEXT),
        (&identity.timeline, Type::INT8),
        (&identity.database, Type::TEXT),
        (&identity.oid, Type::INT8),
        (&identity.host, Type::TEXT),
    ];
    connection.execute_typed(&sql, &parameters).await?;
    connection.execute_typed(&format!("DELETE FROM {schema}.pulse_seen"), &[]).await?;
    Ok(())
}

/// Forgets what was agreed on, in every sync that is not under way: each record is compared as at the first link,
/// found by its link. Answers how many bases were forgotten.
///
/// # Errors
/// When the database refuses.
pub async fn rebuild(connection: &Connection, instance: &Instance) -> Result<u64, DatabaseError> {
    let schema = instance.schema();
    let forgotten = connection.execute_typed(&format!("DELETE FROM {schema}.base"), &[]).await?;
    for table in ["cursor", "held", "pulse_seen"] {
        connection.execute_typed(&format!("DELETE FROM {schema}.{table}"), &[]).await?;
    }
    Ok(forgotten)
}

/// What the instance is bound to, or `None` where `apply` was never run.
///
/// # Errors
/// When the database refuses.
pub async fn instance_row(
    connection: &Connection,
    instance: &Instance,
) -> Result<Option<InstanceRow>, DatabaseError> {
    let schema = instance.schema();
    let table = format!("{schema}.instance");
    let there = connection.query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)]).await?;
    if !there.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok(None);
    }
    let rows = connection
        .query_typed(
            &format!(
                "SELECT fingerprint_key, organization_id, system_identifier, database_name, timeline, database_oid, host
                 FROM {schema}.instance"
            ),
            &[],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let bytes: Vec<u8> = row.try_get(0)?;
    let key = bytes.try_into().map_err(|_| {
        DatabaseError::Missing(format!("the fingerprint key in {schema}.instance has not 32 bytes"))
    })?;
    Ok(Some(InstanceRow {
        key: FingerprintKey::new(key),
        organization_id: row.try_get(1)?,
        identity: match (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?) {
            (Some(timeline), Some(oid), Some(host)) => {
                Some(Identity { system: row.try_get(2)?, database: row.try_get(3)?, timeline, oid, host })
            }
            _ => None,
        },
    }))
}

/// Stores a definition. One that differs from the stored one gets the next version; answers what stands.
///
/// # Errors
/// When the database refuses.
pub async fn put_definition(
    connection: &Connection,
    instance: &Instance,
    definition: &Definition,
) -> Result<Definition, DatabaseError> {
    let known = definitions(connection, instance).await?;
    let mut next = definition.clone();
    if let Some(known) = known.into_iter().find(|known| known.name == definition.name) {
        next.version = known.version;
        if next == known {
            return Ok(known);
        }
        next.version += 1;
    }
    let body = serde_json::to_string(&next).map_err(|error| DatabaseError::Missing(error.to_string()))?;
    let version = i32::try_from(next.version).unwrap_or(i32::MAX);
    // Every record is looked at again under the new definition.
    let forget = format!("DELETE FROM {}.cursor WHERE sync = $1", instance.schema());
    connection.execute_typed(&forget, &[(&next.name, Type::TEXT)]).await?;
    connection
        .execute_typed(
            &format!(
                "INSERT INTO {}.definition (sync, version, body) VALUES ($1, $2, $3)
                 ON CONFLICT (sync) DO UPDATE SET version = excluded.version, body = excluded.body, applied_at = now()",
                instance.schema()
            ),
            &[(&next.name, Type::TEXT), (&version, Type::INT4), (&body, Type::TEXT)],
        )
        .await?;
    Ok(next)
}

/// The definitions that were applied.
///
/// # Errors
/// When the database refuses, or one cannot be read.
pub async fn definitions(
    connection: &Connection,
    instance: &Instance,
) -> Result<Vec<Definition>, DatabaseError> {
    let sql = format!("SELECT body FROM {}.definition ORDER BY sync", instance.schema());
    let rows = connection.query_typed(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get(0)?;
            serde_json::from_str(&body).map_err(|error| {
                DatabaseError::Missing(format!(
                    "a stored definition cannot be read ({error}); run `syncline apply`"
                ))
            })
        })
        .collect()
}
