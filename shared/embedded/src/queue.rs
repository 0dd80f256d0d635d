//! The `Queue` port: a table of messages, and a table with one row for each group. A receive leases groups,
//! so that nobody else receives messages of these groups until the received messages are dealt with or the
//! lease ends.

use crate::connection;
use jiff::SignedDuration;
use std::sync::atomic::{AtomicU64, Ordering};
use syncline_postgres::{Connection, Instance, Pool, store_error};
use syncline_sync::{Delivery, PortError, Queue};
use tokio_postgres::types::{ToSql, Type};

/// A message that was received this many times and not dealt with counts as poisonous, and goes to the dead
/// letters.
const MOST_RECEIVES: i32 = 5;

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The queue of an instance in the synced database.
pub struct EmbeddedQueue {
    pool: Pool,
    schema: String,
    visibility_ms: i64,
    receiver: String,
    receives: AtomicU64,
}

impl EmbeddedQueue {
    /// The queue of an instance. `receiver` tells this process from every other process, so it must be
    /// unique. A message that is neither dealt with nor released can be received again after `visibility`.
    #[must_use]
    pub fn new(pool: Pool, instance: &Instance, receiver: String, visibility: SignedDuration) -> Self {
        let visibility_ms = i64::try_from(visibility.as_millis()).unwrap_or(i64::MAX);
        Self { pool, schema: instance.schema(), visibility_ms, receiver, receives: AtomicU64::new(0) }
    }

    async fn run(
        &self,
        connection: &Connection,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, PortError> {
        let sql = sql.replace("{schema}", &self.schema);
        connection.query_typed(&sql, parameters).await.map_err(|error| store_error(&error))
    }

    /// Runs a statement on the messages of these receipts, and ends the leases of groups that are then left
    /// without received messages. A receipt is `ID.TOKEN`: the message's id and the token of the receive.
    async fn end(&self, receipts: &[String], sql: &str) -> Result<(), PortError> {
        let (mut numbers, mut tokens) = (Vec::new(), Vec::new());
        for receipt in receipts {
            if let Some((number, token)) = receipt.split_once('.')
                && let Ok(number) = number.parse::<i64>()
            {
                numbers.push(number);
                tokens.push(token);
            }
        }
        if numbers.is_empty() {
            return Ok(());
        }
        let connection = connection(&self.pool).await?;
        let parameters: [Parameter<'_>; 2] = [(&numbers, Type::INT8_ARRAY), (&tokens, Type::TEXT_ARRAY)];
        self.run(&connection, sql, &parameters).await?;
        self.free_groups(&connection, &tokens).await
    }

    /// Moves messages that were received [`MOST_RECEIVES`] times, and that nobody holds any more, to the dead
    /// letters. There they delay no other message.
    async fn bury(&self, connection: &Connection) -> Result<(), PortError> {
        let sql = "WITH dead AS (
                       DELETE FROM {schema}.queue_message m USING {schema}.queue_group g
                       WHERE g.name = m.queue_group AND m.receive_count >= $1
                         AND (m.token IS NULL OR m.token IS DISTINCT FROM g.token OR g.lease_until <= clock_timestamp())
                       RETURNING m.id, m.queue_group, m.body, m.receive_count, m.sent_at)
                   INSERT INTO {schema}.queue_dead (id, queue_group, body, receive_count, sent_at)
                   SELECT * FROM dead ON CONFLICT DO NOTHING RETURNING id";
        let dead = self.run(connection, sql, &[(&MOST_RECEIVES, Type::INT4)]).await?;
        if !dead.is_empty() {
            tracing::error!(
                messages = dead.len(),
                "messages were received {MOST_RECEIVES} times and never dealt with; they are dead letters now: run `syncline dead-letters` to see them"
            );
        }
        Ok(())
    }

    /// Ends the leases of these receives, named by their tokens, on groups of which they hold no message any
    /// more.
    async fn free_groups(&self, connection: &Connection, tokens: &[&str]) -> Result<(), PortError> {
        let sql = "UPDATE {schema}.queue_group g SET lease_until = '-infinity', token = NULL
                   WHERE g.token = ANY($1)
                     AND NOT EXISTS (SELECT FROM {schema}.queue_message m WHERE m.queue_group = g.name AND m.token = g.token)";
        self.run(connection, sql, &[(&tokens, Type::TEXT_ARRAY)]).await?;
        Ok(())
    }
}

impl Queue for EmbeddedQueue {
    async fn send(&self, messages: Vec<(String, String)>) -> Vec<Result<(), PortError>> {
        let (groups, bodies): (Vec<&str>, Vec<&str>) =
            messages.iter().map(|(group, body)| (group.as_str(), body.as_str())).unzip();
        let sent = async {
            let connection = connection(&self.pool).await?;
            let sql = "WITH sent AS (
                           INSERT INTO {schema}.queue_message (queue_group, body)
                           SELECT u.name, u.body FROM unnest($1::text[], $2::text[]) AS u(name, body))
                       INSERT INTO {schema}.queue_group (name) SELECT DISTINCT unnest($1::text[]) ON CONFLICT DO NOTHING";
            self.run(&connection, sql, &[(&groups, Type::TEXT_ARRAY), (&bodies, Type::TEXT_ARRAY)]).await
        }
        .await;
        messages.iter().map(|_| sent.as_ref().map(|_| ()).map_err(Clone::clone)).collect()
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, PortError> {
        let number = self.receives.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}-{number}", self.receiver);
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let connection = connection(&self.pool).await?;
        self.bury(&connection).await?;
        let sql = "WITH free AS (
                       SELECT g.name FROM {schema}.queue_group g
                       WHERE g.lease_until <= clock_timestamp()
                         AND EXISTS (SELECT FROM {schema}.queue_message m WHERE m.queue_group = g.name)
                       ORDER BY g.lease_until, g.name LIMIT $1 FOR UPDATE SKIP LOCKED),
                   leased AS (
                       UPDATE {schema}.queue_group g
                       SET lease_until = clock_timestamp() + $2::int8 * interval '1 millisecond', token = $3
                       FROM free WHERE g.name = free.name RETURNING g.name),
                   chosen AS (
                       SELECT m.id FROM {schema}.queue_message m JOIN leased ON leased.name = m.queue_group
                       ORDER BY m.id LIMIT $1)
                   UPDATE {schema}.queue_message m SET receive_count = m.receive_count + 1, token = $3
                   FROM chosen WHERE m.id = chosen.id
                   RETURNING m.id, m.queue_group, m.receive_count, m.body";
        let parameters: [Parameter<'_>; 3] =
            [(&limit, Type::INT8), (&self.visibility_ms, Type::INT8), (&token, Type::TEXT)];
        let rows = self.run(&connection, sql, &parameters).await?;
        if !rows.is_empty() {
            self.free_groups(&connection, &[&token]).await?;
        }
        rows.iter()
            .map(|row| {
                let number: i64 = row.try_get(0)?;
                let count: i32 = row.try_get(2)?;
                Ok(Delivery {
                    receipt: format!("{number}.{token}"),
                    group: row.try_get(1)?,
                    receive_count: u32::try_from(count).unwrap_or(u32::MAX),
                    body: row.try_get(3)?,
                })
            })
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| store_error(&error))
    }

    async fn done(&self, receipts: &[String]) -> Result<(), PortError> {
        let sql = "DELETE FROM {schema}.queue_message m USING unnest($1::int8[], $2::text[]) AS u(id, token)
                   WHERE m.id = u.id AND m.token = u.token";
        self.end(receipts, sql).await
    }

    async fn release(&self, receipts: &[String]) -> Result<(), PortError> {
        let sql = "UPDATE {schema}.queue_message m SET token = NULL FROM unnest($1::int8[], $2::text[]) AS u(id, token)
                   WHERE m.id = u.id AND m.token = u.token";
        self.end(receipts, sql).await
    }
}
