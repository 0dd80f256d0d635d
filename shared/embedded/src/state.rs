//! The state store.

use crate::{connection, unreadable};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use syncline_engine::{Base, BaseKey, Side};
use syncline_postgres::{Connection, Instance, Pool, store_error};
use syncline_sync::{
    Breaker, Cleared, Conflict, Cursor, Deferred, Due, KnownRecord, Outcomes, Pause, PauseCause, PortError,
    Put, RecordRef, Rejected, State, Touch,
};
use tokio_postgres::types::{ToSql, Type};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// State in the synced database.
pub struct EmbeddedState {
    pool: Pool,
    schema: String,
}

impl EmbeddedState {
    /// The state of an instance.
    #[must_use]
    pub fn new(pool: Pool, instance: &Instance) -> Self {
        Self { pool, schema: instance.schema() }
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, PortError> {
        let sql = sql.replace("{schema}", &self.schema);
        connection(&self.pool).await?.query_typed(&sql, parameters).await.map_err(|error| store_error(&error))
    }

    async fn body<T: serde::de::DeserializeOwned + Default>(
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

    async fn put_body<T: serde::Serialize + Sync>(
        &self,
        sql: &str,
        name: &str,
        value: &T,
    ) -> Result<(), PortError> {
        let body = serde_json::to_string(value).map_err(|error| unreadable(&error))?;
        self.query(sql, &[(&name, Type::TEXT), (&body, Type::TEXT)]).await?;
        Ok(())
    }

    /// Runs work in one transaction.
    async fn transaction<T>(
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
                // A connection with something open is closed rather than given back.
                drop(Connection::take(connection));
                Err(error)
            }
        }
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn run(
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

fn text(row: &tokio_postgres::Row, column: usize) -> Result<String, PortError> {
    row.try_get(column).map_err(|error| store_error(&error))
}

impl State for EmbeddedState {
    async fn load(&self, sync: &str, refs: &[RecordRef]) -> Result<Vec<KnownRecord>, PortError> {
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

    async fn put(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
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
            // A base that is neither live nor under way gives its pointers up.
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

    async fn rejected(&self, sync: &str, keys: &[BaseKey]) -> Result<Vec<Option<Rejected>>, PortError> {
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

    async fn store(&self, sync: &str, outcomes: Outcomes) -> Result<(), PortError> {
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
            // A delete that was seen stays one though a later look finds the record merely missing.
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

    async fn defer_message(&self, group: &str, body: &str, due: Timestamp) -> Result<(), PortError> {
        let due = due.to_string();
        let sql = "INSERT INTO {schema}.deferred_message (queue_group, body, due) VALUES ($1, $2, $3::text::timestamptz)";
        self.query(sql, &[(&group, Type::TEXT), (&body, Type::TEXT), (&due, Type::TEXT)]).await?;
        Ok(())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        let (now, limit) = (now.to_string(), i64::try_from(limit).unwrap_or(i64::MAX));
        let parameters: [Parameter<'_>; 2] = [(&now, Type::TEXT), (&limit, Type::INT8)];
        let sql = "SELECT 't' || token, touch, NULL FROM {schema}.deferred WHERE due <= $1::text::timestamptz
                   UNION ALL
                   SELECT 'm' || token, body, queue_group FROM {schema}.deferred_message WHERE due <= $1::text::timestamptz
                   LIMIT $2";
        let mut due = Vec::new();
        for row in self.query(sql, &parameters).await? {
            let group: Option<String> = row.try_get(2).map_err(|error| store_error(&error))?;
            let body = text(&row, 1)?;
            let touch = match group {
                Some(group) => Err((group, body)),
                None => Ok(serde_json::from_str::<Touch>(&body).map_err(|error| unreadable(&error))?),
            };
            due.push(Due { touch, token: text(&row, 0)? });
        }
        Ok(due)
    }

    async fn drop_due(&self, tokens: &[String]) -> Result<(), PortError> {
        for (kind, table) in [("t", "deferred"), ("m", "deferred_message")] {
            let numbers: Vec<i64> =
                tokens.iter().filter_map(|token| token.strip_prefix(kind)?.parse().ok()).collect();
            if !numbers.is_empty() {
                let sql = format!("DELETE FROM {{schema}}.{table} WHERE token = ANY($1)");
                self.query(&sql, &[(&numbers, Type::INT8_ARRAY)]).await?;
            }
        }
        Ok(())
    }

    async fn cursor(&self, sync: &str) -> Result<Cursor, PortError> {
        self.body("SELECT body FROM {schema}.cursor WHERE sync = $1", sync).await
    }

    async fn put_cursor(&self, sync: &str, cursor: &Cursor) -> Result<(), PortError> {
        let sql = "INSERT INTO {schema}.cursor (sync, body) VALUES ($1, $2) ON CONFLICT (sync) DO UPDATE SET body = excluded.body";
        self.put_body(sql, sync, cursor).await
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
        let (count, limit) = (saturated(count), saturated(limit));
        let (from, now) = ((now - window).to_string(), now.to_string());
        let schema = &self.schema;
        self.transaction(async |connection| {
            // One at a time counts, so that none of two sees room for both.
            let lock = "SELECT pg_advisory_xact_lock(hashtextextended('{schema}/counter/' || $1, 0))";
            run(connection, schema, lock, &[(&counter, Type::TEXT)]).await?;
            let parameters: [Parameter<'_>; 5] = [
                (&counter, Type::TEXT),
                (&count, Type::INT8),
                (&limit, Type::INT8),
                (&from, Type::TEXT),
                (&now, Type::TEXT),
            ];
            let sql = "INSERT INTO {schema}.counter AS c (name, minute, count)
                       SELECT $1, date_trunc('minute', $5::text::timestamptz), $2
                       WHERE $2 + coalesce((SELECT sum(count) FROM {schema}.counter
                                            WHERE name = $1 AND minute > $4::text::timestamptz - interval '1 minute'), 0) <= $3
                       ON CONFLICT (name, minute) DO UPDATE SET count = c.count + excluded.count
                       RETURNING 1";
            Ok(!run(connection, schema, sql, &parameters).await?.is_empty())
        })
        .await
    }

    async fn taken(&self, counter: &str, now: Timestamp, window: SignedDuration) -> Result<i64, PortError> {
        let from = (now - window).to_string();
        let sql = "SELECT coalesce(sum(count), 0)::int8 FROM {schema}.counter
                   WHERE name = $1 AND minute > $2::text::timestamptz - interval '1 minute'";
        let rows = self.query(sql, &[(&counter, Type::TEXT), (&from, Type::TEXT)]).await?;
        rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))
    }

    async fn allow(&self, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
        let (count, now) = (saturated(count), now.to_string());
        let sql = "INSERT INTO {schema}.counter AS c (name, minute, count)
                   VALUES ($1, date_trunc('minute', $3::text::timestamptz), -$2::int8)
                   ON CONFLICT (name, minute) DO UPDATE SET count = c.count + excluded.count";
        let parameters: [Parameter<'_>; 3] =
            [(&counter, Type::TEXT), (&count, Type::INT8), (&now, Type::TEXT)];
        self.query(sql, &parameters).await?;
        Ok(())
    }

    async fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> Result<f64, PortError> {
        #[expect(clippy::cast_precision_loss, reason = "calls of a moment are far below 2^52")]
        let calls = calls as f64;
        let now = now.to_string();
        let parameters: [Parameter<'_>; 4] = [
            (&calls, Type::FLOAT8),
            (&per_second, Type::FLOAT8),
            (&capacity, Type::FLOAT8),
            (&now, Type::TEXT),
        ];
        let sql = "INSERT INTO {schema}.pace AS p (calls_left, at) VALUES ($3 - $1, $4::text::timestamptz)
                   ON CONFLICT (one) DO UPDATE SET at = greatest(p.at, excluded.at), calls_left = least($3,
                       p.calls_left + $2 * greatest(extract(epoch FROM excluded.at - p.at), 0)::float8) - $1
                   RETURNING calls_left";
        let rows = self.query(sql, &parameters).await?;
        rows.first().map_or(Ok(capacity), |row| row.try_get(0)).map_err(|error| store_error(&error))
    }

    async fn linked(&self, sync: &str) -> Result<u64, PortError> {
        let sql = "SELECT count(*) FROM {schema}.base WHERE sync = $1 AND live";
        let rows = self.query(sql, &[(&sync, Type::TEXT)]).await?;
        let count: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn make_due(&self, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
        let (now, seconds) = (now.to_string(), spread.as_secs_f64());
        let sql = "UPDATE {schema}.deferred SET due = $1::text::timestamptz + random()
                       * least($2, 0.01 * (SELECT count(*) FROM {schema}.deferred)) * interval '1 second'
                   WHERE waits_for = '{}' AND due > $1::text::timestamptz";
        self.query(sql, &[(&now, Type::TEXT), (&seconds, Type::FLOAT8)]).await?;
        Ok(())
    }

    async fn pulse(&self) -> Result<u64, PortError> {
        let rows = self.query("SELECT beat FROM {schema}.pulse_seen", &[]).await?;
        let beat: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))?;
        Ok(u64::try_from(beat).unwrap_or(0))
    }

    async fn put_pulse(&self, pulse: u64) -> Result<(), PortError> {
        let pulse = saturated(pulse);
        let sql = "INSERT INTO {schema}.pulse_seen AS p (beat) VALUES ($1)
                   ON CONFLICT (one) DO UPDATE SET beat = greatest(p.beat, excluded.beat)";
        self.query(sql, &[(&pulse, Type::INT8)]).await?;
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> Result<(), PortError> {
        let before = before.to_string();
        for sql in [
            "DELETE FROM {schema}.base WHERE ended_at < $1::text::timestamptz AND NOT live AND NOT has_intent",
            "DELETE FROM {schema}.counter WHERE minute < $1::text::timestamptz",
        ] {
            self.query(sql, &[(&before, Type::TEXT)]).await?;
        }
        Ok(())
    }

    async fn paused(&self, sync: &str) -> Result<Option<Pause>, PortError> {
        // The column `cause` is missing until `syncline apply` of this release has run.
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

type Bodies = (Vec<String>, Vec<String>, Vec<String>);

fn bodies<'a, T: serde::Serialize + 'a>(
    items: impl Iterator<Item = (&'a str, &'a T, Timestamp)>,
) -> Result<Bodies, PortError> {
    // Of two for one record the last one counts.
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

/// Folds what is put off with what is put off already.
async fn defer(
    connection: &Connection,
    schema: &str,
    sync: &str,
    deferred: &[Deferred],
) -> Result<(), PortError> {
    if deferred.is_empty() {
        return Ok(());
    }
    let mut folded: BTreeMap<String, Deferred> = BTreeMap::new();
    let records: Vec<String> = deferred.iter().map(|one| one.touch.deferred_key()).collect();
    let sql =
        "SELECT record, touch, waits_for, greatest(extract(epoch FROM due), 0)::float8 FROM {schema}.deferred
               WHERE sync = $1 AND record = ANY($2) ORDER BY record FOR UPDATE";
    for row in run(connection, schema, sql, &[(&sync, Type::TEXT), (&records, Type::TEXT_ARRAY)]).await? {
        let touch: Touch = serde_json::from_str(&text(&row, 1)?).map_err(|error| unreadable(&error))?;
        let waits: Vec<String> = row.try_get(2).map_err(|error| store_error(&error))?;
        let due: f64 = row.try_get(3).map_err(|error| store_error(&error))?;
        let due = jiff::SignedDuration::try_from_secs_f64(due).unwrap_or_default();
        let waits_for = waits.iter().filter_map(|parent| serde_json::from_str(parent).ok()).collect();
        folded.insert(text(&row, 0)?, Deferred { touch, due: Timestamp::UNIX_EPOCH + due, waits_for });
    }
    for (record, next) in records.into_iter().zip(deferred.iter().cloned()) {
        let next = match folded.remove(&record) {
            Some(stored) => next.over(stored),
            None => next,
        };
        folded.insert(record, next);
    }
    let mut columns: [Vec<String>; 4] = Default::default();
    for (record, deferred) in folded {
        let mut waits = deferred.waits_for;
        waits.sort();
        waits.dedup();
        let waits = waits.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        columns[0].push(record);
        columns[1].push(deferred.due.to_string());
        columns[2].push(serde_json::to_string(&deferred.touch).map_err(|error| unreadable(&error))?);
        let waits = waits.map_err(|error| unreadable(&error))?;
        columns[3].push(serde_json::to_string(&waits).map_err(|error| unreadable(&error))?);
    }
    let sql = "INSERT INTO {schema}.deferred (sync, record, due, touch, waits_for)
               SELECT $1, u.record, u.due::timestamptz, u.touch, array(SELECT jsonb_array_elements_text(u.waits::jsonb))
               FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS u(record, due, touch, waits)
               ON CONFLICT (sync, record) DO UPDATE SET due = excluded.due, touch = excluded.touch,
                   waits_for = excluded.waits_for, token = excluded.token";
    let mut parameters: Vec<Parameter<'_>> = vec![(&sync, Type::TEXT)];
    parameters.extend(columns.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
    run(connection, schema, sql, &parameters).await?;
    Ok(())
}
