//! What a run found: records that are rejected or held, records that are neither any more, deferred touches,
//! and linked records.

use crate::deferred::defer;
use crate::state::{EmbeddedState, Parameter, run};
use crate::unreadable;
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_postgres::Connection;
use syncline_sync::{Cleared, Outcomes, PortError};
use tokio_postgres::types::Type;

impl EmbeddedState {
    /// Stores what a run found, in one transaction. A cleared record loses its rejected and held documents,
    /// unless they were noted after the run began. Touches that wait for a linked record become due.
    pub(crate) async fn store_outcomes(&self, sync: &str, outcomes: Outcomes) -> Result<(), PortError> {
        let schema = &self.schema;
        self.transaction(async |connection| {
            if !outcomes.cleared.is_empty() {
                let begun = outcomes.begun.to_string();
                let cleared = || outcomes.cleared.iter();
                let stray = |one: &Cleared| one.stray_of.clone().unwrap_or_default();
                let records: Vec<&str> = cleared().map(|one| one.record.as_str()).collect();
                let own: Vec<bool> = cleared().map(|one| one.stray_of.is_none()).collect();
                let ids: Vec<Option<String>> =
                    cleared().map(|one| stray(one).0.map(|id| id.to_string())).collect();
                let keys: Vec<Option<String>> = cleared().map(|one| stray(one).1.map(|key| key.0)).collect();
                let parameters: [Parameter<'_>; 6] = [
                    (&sync, Type::TEXT),
                    (&records, Type::TEXT_ARRAY),
                    (&begun, Type::TEXT),
                    (&own, Type::BOOL_ARRAY),
                    (&ids, Type::TEXT_ARRAY),
                    (&keys, Type::TEXT_ARRAY),
                ];
                for (table, noted) in [("rejected", "at"), ("held", "coalesce((body::jsonb ->> 'seen')::timestamptz, at)")] {
                    let sql = format!(
                        "DELETE FROM {{schema}}.{table} noted
                         USING unnest($2, $4, $5, $6) AS cleared (record, own, id, key)
                         WHERE noted.sync = $1 AND noted.record = cleared.record
                           AND {noted} < $3::text::timestamptz
                           AND (own OR body::jsonb ->> 'salesforce_id' = id
                                OR body::jsonb ->> 'salesforce_id' IS NULL AND body::jsonb ->> 'postgres_key' = key)"
                    );
                    run(connection, schema, &sql, &parameters).await?;
                }
            }
            let rejected = bodies(outcomes.rejected.iter().map(|one| (one.record.as_str(), one, one.at)))?;
            let newer = "DO UPDATE SET at = excluded.at, body = excluded.body";
            put_bodies(connection, schema, sync, "rejected", newer, &rejected).await?;
            let held = bodies(outcomes.held.iter().map(|one| (one.record.as_str(), one, one.at)))?;
            // A record that is held as deleted on a side stays so, even if a later run finds it only missing
            // on that side.
            let known = "DO UPDATE SET body = excluded.body
                         WHERE held.body::jsonb #>> '{held,deleted,side}'
                               IS DISTINCT FROM excluded.body::jsonb #>> '{held,missing,side}'
                            OR held.body::jsonb #>> '{held,deleted,side}' IS NULL";
            put_bodies(connection, schema, sync, "held", known, &held).await?;
            defer(connection, schema, sync, &outcomes.deferred).await?;
            if !outcomes.linked.is_empty() {
                let linked = outcomes
                    .linked
                    .iter()
                    .map(serde_json::to_string)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| unreadable(&error))?;
                let sql = "UPDATE {schema}.deferred SET due = '-infinity', token = nextval('{schema}.deferred_token')
                           WHERE waits_for && $1";
                run(connection, schema, sql, &[(&linked, Type::TEXT_ARRAY)]).await?;
            }
            Ok(())
        })
        .await
    }
}

/// The columns `record`, `body` and `at` of documents.
type Bodies = (Vec<String>, Vec<String>, Vec<String>);

/// The columns of documents. `items` gives the record, the document and the moment of each.
fn bodies<'a, T: serde::Serialize + 'a>(
    items: impl Iterator<Item = (&'a str, &'a T, Timestamp)>,
) -> Result<Bodies, PortError> {
    // If a record has several documents, only the last one is stored.
    let mut of_record: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for (record, item, at) in items {
        let body = serde_json::to_string(item).map_err(|error| unreadable(&error))?;
        of_record.insert(record, (body, at.to_string()));
    }
    let mut columns: Bodies = Bodies::default();
    for (record, (body, at)) in of_record {
        columns.0.push(record.to_owned());
        columns.1.push(body);
        columns.2.push(at);
    }
    Ok(columns)
}

/// Stores documents in a table. `on_conflict` says what becomes of the document that is stored already.
async fn put_bodies(
    connection: &Connection,
    schema: &str,
    sync: &str,
    table: &str,
    on_conflict: &str,
    columns: &Bodies,
) -> Result<(), PortError> {
    if columns.0.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO {{schema}}.{table} AS {table} (sync, record, body, at)
         SELECT $1, u.record, u.body, u.at::timestamptz FROM unnest($2::text[], $3::text[], $4::text[]) AS u(record, body, at)
         ON CONFLICT (sync, record) {on_conflict}"
    );
    let parameters: [Parameter<'_>; 4] = [
        (&sync, Type::TEXT),
        (&columns.0, Type::TEXT_ARRAY),
        (&columns.1, Type::TEXT_ARRAY),
        (&columns.2, Type::TEXT_ARRAY),
    ];
    run(connection, schema, &sql, &parameters).await?;
    Ok(())
}
