//! Bases. A base is loaded by its own key, its Salesforce Id, the key of its row, or the external Id of its
//! create. It is saved by compare-and-set, together with its conflicts.

use crate::state::{EmbeddedState, Parameter, run, text};
use crate::unreadable;
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_engine::{Base, BaseKey};
use syncline_postgres::{Connection, store_error};
use syncline_sync::{Conflict, KnownRecord, PortError, Put, RecordRef, Rejected};
use tokio_postgres::types::{ToSql, Type};

impl EmbeddedState {
    /// Loads what is known of records, in the order of `refs`. A reference that leads to no base gets an
    /// empty [`KnownRecord`].
    pub(crate) async fn load_bases(
        &self,
        sync: &str,
        refs: &[RecordRef],
    ) -> Result<Vec<KnownRecord>, PortError> {
        let mut loaded = vec![KnownRecord::default(); refs.len()];
        if refs.is_empty() {
            return Ok(loaded);
        }
        let mut ordinals: Vec<Vec<i32>> = vec![Vec::new(); 4];
        let mut values: Vec<Vec<&str>> = vec![Vec::new(); 4];
        for (ordinal, wanted) in refs.iter().enumerate() {
            let (kind, value) = match wanted {
                RecordRef::Id(id) => (0, id.as_str()),
                RecordRef::Key(key) => (1, key.0.as_str()),
                RecordRef::ExternalId(external_id) => (2, external_id.as_str()),
                RecordRef::Base(key) => (3, key.0.as_str()),
            };
            ordinals[kind].push(i32::try_from(ordinal).unwrap_or(i32::MAX));
            values[kind].push(value);
        }
        let part = |column: &str, at: usize| {
            format!(
                "SELECT u.ordinal, b.body, r.body FROM unnest(${at}::int4[], ${}::text[]) AS u(ordinal, value)
                 JOIN {{schema}}.base b ON b.sync = $1 AND b.{column} = u.value
                 LEFT JOIN {{schema}}.rejected r ON r.sync = b.sync AND r.record = b.key",
                at + 1
            )
        };
        let parts =
            [part("salesforce_id", 2), part("postgres_key", 4), part("external_id", 6), part("key", 8)];
        let sql = parts.join(" UNION ALL ");
        let mut parameters: Vec<Parameter<'_>> = vec![(&sync, Type::TEXT)];
        for (ordinals, values) in ordinals.iter().zip(&values) {
            parameters.push((ordinals, Type::INT4_ARRAY));
            parameters.push((values, Type::TEXT_ARRAY));
        }
        for row in self.query(&sql, &parameters).await? {
            let ordinal: i32 = row.try_get(0).map_err(|error| store_error(&error))?;
            let base: Base = serde_json::from_str(&text(&row, 1)?).map_err(|error| unreadable(&error))?;
            let rejected: Option<String> = row.try_get(2).map_err(|error| store_error(&error))?;
            let rejected = rejected
                .map(|body| serde_json::from_str(&body))
                .transpose()
                .map_err(|error| unreadable(&error))?;
            if let Some(slot) = usize::try_from(ordinal).ok().and_then(|ordinal| loaded.get_mut(ordinal)) {
                *slot = KnownRecord { base: Some(base), rejected };
            }
        }
        Ok(loaded)
    }

    /// Saves bases by compare-and-set, with their conflicts, and answers for each whether it was saved. A
    /// base is not saved if another version of it is stored, or if its Salesforce Id, row key or external Id
    /// belongs to another base that is live or has an intent.
    pub(crate) async fn put_bases(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
        let mut bodies = Vec::with_capacity(puts.len());
        for put in &puts {
            let base = Base { version: put.expected + 1, ..put.base.clone() };
            bodies.push(serde_json::to_string(&base).map_err(|error| unreadable(&error))?);
        }
        let keys: Vec<&str> = puts.iter().map(|put| put.base.key.0.as_str()).collect();
        let ids: Vec<Option<&str>> = puts
            .iter()
            .map(|put| put.base.salesforce_id.as_ref().map(syncline_engine::SalesforceId::as_str))
            .collect();
        let rows: Vec<Option<&str>> =
            puts.iter().map(|put| put.base.postgres_key.as_ref().map(|key| key.0.as_str())).collect();
        let external_ids: Vec<Option<&str>> =
            puts.iter().map(|put| put.base.external_id.as_deref()).collect();
        let ended: Vec<Option<String>> =
            puts.iter().map(|put| put.base.ended_at.map(|at| at.to_string())).collect();
        let live: Vec<bool> = puts.iter().map(|put| put.base.live).collect();
        let intents: Vec<bool> = puts.iter().map(|put| put.base.intent.is_some()).collect();
        let expected: Vec<i64> =
            puts.iter().map(|put| i64::try_from(put.expected).unwrap_or(i64::MAX)).collect();
        let parameters: Vec<Parameter<'_>> = vec![
            (&sync, Type::TEXT),
            (&keys, Type::TEXT_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&rows, Type::TEXT_ARRAY),
            (&external_ids, Type::TEXT_ARRAY),
            (&live, Type::BOOL_ARRAY),
            (&intents, Type::BOOL_ARRAY),
            (&expected, Type::INT8_ARRAY),
            (&bodies, Type::TEXT_ARRAY),
            (&ended, Type::TEXT_ARRAY),
        ];
        let source = "unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bool[], $8::int8[], $9::text[], $10::text[])
                      AS u(key, salesforce_id, postgres_key, external_id, live, has_intent, expected, body, ended_at)";
        let owned = "o.sync = $1 AND o.key <> u.key AND (o.salesforce_id = u.salesforce_id
                     OR o.postgres_key = u.postgres_key OR o.external_id = u.external_id)";
        let schema = &self.schema;
        self.transaction(async |connection| {
            // Another base that has the Salesforce Id, the row key or the external Id of a base in `puts` is
            // deleted if it is not live and has no intent.
            let steal = format!("DELETE FROM {{schema}}.base o USING {source} WHERE {owned} AND NOT o.live AND NOT o.has_intent");
            run(connection, schema, &steal, &parameters).await?;
            let update = format!(
                "UPDATE {{schema}}.base b SET salesforce_id = u.salesforce_id, postgres_key = u.postgres_key,
                        external_id = u.external_id, live = u.live, has_intent = u.has_intent,
                        version = u.expected + 1, body = u.body, ended_at = u.ended_at::timestamptz
                 FROM {source}
                 WHERE b.sync = $1 AND b.key = u.key AND b.version = u.expected AND u.expected > 0
                   AND NOT EXISTS (SELECT FROM {{schema}}.base o WHERE {owned})
                 RETURNING b.key"
            );
            let mut saved: Vec<String> = Vec::new();
            for row in run(connection, schema, &update, &parameters).await? {
                saved.push(text(&row, 0)?);
            }
            let insert = format!(
                "INSERT INTO {{schema}}.base (sync, key, salesforce_id, postgres_key, external_id, live, has_intent, version, body, ended_at)
                 SELECT $1, u.key, u.salesforce_id, u.postgres_key, u.external_id, u.live, u.has_intent, 1, u.body, u.ended_at::timestamptz
                 FROM {source} WHERE u.expected = 0 ON CONFLICT DO NOTHING RETURNING key"
            );
            if expected.contains(&0) {
                for row in run(connection, schema, &insert, &parameters).await? {
                    saved.push(text(&row, 0)?);
                }
            }
            let saved: Vec<bool> = keys.iter().map(|key| saved.iter().any(|saved| saved == key)).collect();
            let conflicts: Vec<&Conflict> =
                puts.iter().zip(&saved).filter(|(_, saved)| **saved).flat_map(|(put, _)| &put.conflicts).collect();
            insert_conflicts(connection, schema, &conflicts).await?;
            Ok(saved)
        })
        .await
    }

    /// Why records without a base are rejected, in the order of `keys`. `None` for a record that is not
    /// rejected.
    pub(crate) async fn rejected_without_base(
        &self,
        sync: &str,
        keys: &[BaseKey],
    ) -> Result<Vec<Option<Rejected>>, PortError> {
        let records: Vec<&str> = keys.iter().map(|key| key.0.as_str()).collect();
        let sql = "SELECT record, body FROM {schema}.rejected WHERE sync = $1 AND record = ANY($2)";
        let mut found: BTreeMap<String, Rejected> = BTreeMap::new();
        for row in self.query(sql, &[(&sync, Type::TEXT), (&records, Type::TEXT_ARRAY)]).await? {
            found.insert(
                text(&row, 0)?,
                serde_json::from_str(&text(&row, 1)?).map_err(|error| unreadable(&error))?,
            );
        }
        Ok(records.iter().map(|record| found.get(*record).cloned()).collect())
    }

    /// How many bases of the sync are live.
    pub(crate) async fn count_linked(&self, sync: &str) -> Result<u64, PortError> {
        let sql = "SELECT count(*) FROM {schema}.base WHERE sync = $1 AND live";
        let rows = self.query(sql, &[(&sync, Type::TEXT)]).await?;
        let count: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Deletes bases that ended before the moment `before`, and what counters counted in the minutes before
    /// it.
    pub(crate) async fn forget_bases(&self, before: Timestamp) -> Result<(), PortError> {
        let before = before.to_string();
        for sql in [
            "DELETE FROM {schema}.base WHERE ended_at < $1::text::timestamptz AND NOT live AND NOT has_intent",
            "DELETE FROM {schema}.counter WHERE minute < $1::text::timestamptz",
        ] {
            self.query(sql, &[(&before, Type::TEXT)]).await?;
        }
        Ok(())
    }
}

/// Stores conflicts, in the transaction that saves their bases. A conflict whose id is stored already stays
/// as it is.
async fn insert_conflicts(
    connection: &Connection,
    schema: &str,
    conflicts: &[&Conflict],
) -> Result<(), PortError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let texts =
        |of: &dyn Fn(&Conflict) -> Option<String>| conflicts.iter().map(|one| of(one)).collect::<Vec<_>>();
    let columns = [
        texts(&|one| Some(one.id.clone())),
        texts(&|one| Some(one.sync.clone())),
        texts(&|one| Some(one.record.clone())),
        texts(&|one| one.salesforce_id.as_ref().map(ToString::to_string)),
        texts(&|one| one.postgres_key.as_ref().map(ToString::to_string)),
        texts(&|one| Some(one.field.clone())),
        texts(&|one| one.salesforce.text()),
        texts(&|one| one.postgres.text()),
        texts(&|one| Some(one.winner.word().to_owned())),
        texts(&|one| Some(one.reason.word().to_owned())),
        texts(&|one| Some(one.at.to_string())),
    ];
    let parameters: Vec<Parameter<'_>> =
        columns.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
    let sql = "INSERT INTO {schema}.conflict (id, sync, record, salesforce_id, postgres_key, field, salesforce, postgres, winner, reason, at)
               SELECT u.c1, u.c2, u.c3, u.c4, u.c5, u.c6, u.c7, u.c8, u.c9, u.c10, u.c11::timestamptz
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                           $9::text[], $10::text[], $11::text[]) AS u(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11)
               ON CONFLICT (id) DO NOTHING";
    run(connection, schema, sql, &parameters).await?;
    Ok(())
}
