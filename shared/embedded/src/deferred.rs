//! Deferred touches and messages: those that wait for a later try.
//!
//! A token names one version of a deferred touch (`t` and a number) or a deferred message (`m` and a number).

use crate::state::{EmbeddedState, Parameter, run, text};
use crate::unreadable;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use syncline_postgres::{Connection, store_error};
use syncline_sync::{Deferred, Due, PortError, Touch};
use tokio_postgres::types::{ToSql, Type};

impl EmbeddedState {
    /// Defers a message whose form is not understood. The body is stored as it was received.
    pub(crate) async fn store_message(
        &self,
        group: &str,
        body: &str,
        due: Timestamp,
    ) -> Result<(), PortError> {
        let due = due.to_string();
        let sql = "INSERT INTO {schema}.deferred_message (queue_group, body, due) VALUES ($1, $2, $3::text::timestamptz)";
        self.query(sql, &[(&group, Type::TEXT), (&body, Type::TEXT), (&due, Type::TEXT)]).await?;
        Ok(())
    }

    /// At most `limit` touches and messages that are due. They stay stored until they are dropped.
    pub(crate) async fn due_touches(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
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

    /// Deletes the touches and messages of these tokens. A touch that has another token by now stays.
    pub(crate) async fn drop_due_touches(&self, tokens: &[String]) -> Result<(), PortError> {
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

    /// Makes all deferred touches due that wait for no parent. They become due at random moments from `now`
    /// on, about 100 each second, but all of them within `spread`.
    pub(crate) async fn make_touches_due(
        &self,
        now: Timestamp,
        spread: SignedDuration,
    ) -> Result<(), PortError> {
        let (now, seconds) = (now.to_string(), spread.as_secs_f64());
        let sql = "UPDATE {schema}.deferred SET due = $1::text::timestamptz + random()
                       * least($2, 0.01 * (SELECT count(*) FROM {schema}.deferred)) * interval '1 second'
                   WHERE waits_for = '{}' AND due > $1::text::timestamptz";
        self.query(sql, &[(&now, Type::TEXT), (&seconds, Type::FLOAT8)]).await?;
        Ok(())
    }
}

/// Stores deferred touches. A touch is folded into the one that is deferred already under the same
/// [`Touch::deferred_key`]. The stored touch gets a new token, so that a poll which took the older version
/// does not drop it.
pub(crate) async fn defer(
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
