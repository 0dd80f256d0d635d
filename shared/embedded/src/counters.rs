//! Counters within a sliding window, the bucket of Salesforce calls, and the pulse. Counters count by the
//! minute, so a window reaches up to one minute further back than asked for.

use crate::state::{EmbeddedState, Parameter, run, saturated};
use jiff::{SignedDuration, Timestamp};
use syncline_postgres::store_error;
use syncline_sync::PortError;
use tokio_postgres::types::Type;

impl EmbeddedState {
    /// Counts `count` more, unless the counter then exceeds `limit` within the window that ends at `now`.
    /// `false` if nothing was counted.
    pub(crate) async fn take_of_counter(
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
            // Only one transaction at a time may count. Otherwise two transactions could both see room that
            // is enough for only one of them.
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

    /// What the counter has counted within the window that ends at `now`. Negative if more was allowed than
    /// counted.
    pub(crate) async fn taken_of_counter(
        &self,
        counter: &str,
        now: Timestamp,
        window: SignedDuration,
    ) -> Result<i64, PortError> {
        let from = (now - window).to_string();
        let sql = "SELECT coalesce(sum(count), 0)::int8 FROM {schema}.counter
                   WHERE name = $1 AND minute > $2::text::timestamptz - interval '1 minute'";
        let rows = self.query(sql, &[(&counter, Type::TEXT), (&from, Type::TEXT)]).await?;
        rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))
    }

    /// Lowers the counter by `count`, so that `count` more fit under the limit.
    pub(crate) async fn allow_counter(
        &self,
        counter: &str,
        count: u64,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let (count, now) = (saturated(count), now.to_string());
        let sql = "INSERT INTO {schema}.counter AS c (name, minute, count)
                   VALUES ($1, date_trunc('minute', $3::text::timestamptz), -$2::int8)
                   ON CONFLICT (name, minute) DO UPDATE SET count = c.count + excluded.count";
        let parameters: [Parameter<'_>; 3] =
            [(&counter, Type::TEXT), (&count, Type::INT8), (&now, Type::TEXT)];
        self.query(sql, &parameters).await?;
        Ok(())
    }

    /// Takes calls from the bucket, and answers how many are left. The number is negative if more were taken
    /// than there were. The bucket gains `per_second` calls each second, up to `capacity`, and is full at
    /// first.
    pub(crate) async fn draw_calls(
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

    /// The pulse that was seen last. 0 if none was.
    pub(crate) async fn last_pulse(&self) -> Result<u64, PortError> {
        let rows = self.query("SELECT beat FROM {schema}.pulse_seen", &[]).await?;
        let beat: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| store_error(&error))?;
        Ok(u64::try_from(beat).unwrap_or(0))
    }

    /// Stores the pulse, unless a greater one is stored already.
    pub(crate) async fn save_pulse(&self, pulse: u64) -> Result<(), PortError> {
        let pulse = saturated(pulse);
        let sql = "INSERT INTO {schema}.pulse_seen AS p (beat) VALUES ($1)
                   ON CONFLICT (one) DO UPDATE SET beat = greatest(p.beat, excluded.beat)";
        self.query(sql, &[(&pulse, Type::INT8)]).await?;
        Ok(())
    }
}
