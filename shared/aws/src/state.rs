//! The `State` port of `syncline-sync` on DynamoDB. The crate's documentation has the items of the table.

use crate::bases::rejected_place;
use crate::item::{Condition, Item, ItemKey, json, moment, number, text};
use crate::table::{Table, each};
use crate::{bases, counters, deferred};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use syncline_engine::{BaseKey, Held, PostgresKey, SalesforceId, Side};
use syncline_sync::{
    Breaker, Cleared, Cursor, Due, HeldRecord, KnownRecord, Outcomes, Pause, PauseCause, PortError, Put,
    RecordRef, Rejected, State,
};

/// The part of a rejected or held entry that says which record it is about and when it was made. `seen` is
/// the moment at which a held record was last found held; rejected entries have none.
#[derive(serde::Deserialize)]
struct Noted {
    at: Timestamp,
    seen: Option<Timestamp>,
    salesforce_id: Option<SalesforceId>,
    postgres_key: Option<PostgresKey>,
}

/// The longest message of a side that a rejected entry keeps, in bytes; an item is at most 400 KB (DynamoDB's
/// quotas).
const LONGEST_MESSAGE: usize = 16 * 1024;

/// The state store of an instance in one DynamoDB table.
#[derive(Clone)]
pub struct DynamoState {
    pub(crate) table: Table,
}

impl DynamoState {
    /// The state store in the table with this name.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self { table: Table { client, name: table.into() } }
    }

    async fn document<T: serde::de::DeserializeOwned + Default>(
        &self,
        parts: &[&str],
    ) -> Result<T, PortError> {
        let item = self.table.get(&ItemKey::new(parts, "-")).await?;
        item.map_or_else(|| Ok(T::default()), |item| item.body())
    }

    async fn put_document<T: serde::Serialize>(&self, parts: &[&str], value: &T) -> Result<(), PortError> {
        let item = Item::at(&ItemKey::new(parts, "-")).with("body", text(json(value)?));
        self.table.put(item, None).await.map(|_| ())
    }

    async fn reject(&self, sync: &str, mut rejected: Rejected) -> Result<(), PortError> {
        if rejected.message.len() > LONGEST_MESSAGE {
            rejected.message.truncate(rejected.message.floor_char_boundary(LONGEST_MESSAGE));
        }
        let item_key = rejected_place(sync, &rejected.record);
        let item = Item::at(&item_key)
            .with("body", text(json(&rejected)?))
            .listed(bases::list_of("rejected", &item_key.pk), moment(rejected.at));
        self.table.put(item, None).await.map(|_| ())
    }

    /// Stores a held record. The moment at which the record was first held is kept. An entry that says
    /// "deleted" is not replaced by a later one that says "missing" of the same side: the delete was seen,
    /// and absence is no new evidence.
    async fn hold(&self, sync: &str, held: &HeldRecord) -> Result<(), PortError> {
        let item_key = held_place(sync, &held.record);
        let (how, condition) = match &held.held {
            Held::Deleted { side } => (format!("deleted {}", side.word()), None),
            Held::Missing { side } => (format!("missing {}", side.word()), Some(side)),
            _ => ("other".to_owned(), None),
        };
        let mut values = HashMap::from([
            (":at".to_owned(), text(moment(held.at))),
            (":list".to_owned(), text(bases::list_of("held", &item_key.pk))),
            (":body".to_owned(), text(json(held)?)),
            (":how".to_owned(), text(how)),
        ]);
        let condition = condition.map(|side| {
            values.insert(":seen".to_owned(), text(format!("deleted {}", side.word())));
            "attribute_not_exists(#how) OR #how <> :seen"
        });
        let set = "SET #at = if_not_exists(#at, :at), #list = :list, #body = :body, #how = :how";
        self.table.update(&item_key, set, values, condition).await.map(|_| ())
    }
}

pub(crate) fn held_place(sync: &str, record: &str) -> ItemKey {
    ItemKey::new(&["base", sync, record], "held")
}

impl State for DynamoState {
    async fn load(&self, sync: &str, refs: &[RecordRef]) -> Result<Vec<KnownRecord>, PortError> {
        bases::load(&self.table, sync, refs).await
    }

    async fn put(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
        bases::put(&self.table, sync, puts).await
    }

    async fn rejected(&self, sync: &str, keys: &[BaseKey]) -> Result<Vec<Option<Rejected>>, PortError> {
        let found = self.table.get_many(keys.iter().map(|key| rejected_place(sync, &key.0))).await?;
        keys.iter().map(|key| found.get(&rejected_place(sync, &key.0)).map(Item::body).transpose()).collect()
    }

    async fn store(&self, sync: &str, outcomes: Outcomes) -> Result<(), PortError> {
        let Outcomes { rejected, held, cleared, begun, deferred, linked } = outcomes;
        // Most cleared records were neither rejected nor held. A read costs less than a delete, so entries
        // are read first, and only those that exist are deleted.
        let item_keys = |one: &Cleared| [rejected_place(sync, &one.record), held_place(sync, &one.record)];
        let standing = self.table.get_many(cleared.iter().flat_map(item_keys)).await?;
        let mut older = Vec::new();
        for (item_key, item) in standing {
            let noted: Noted = item.body()?;
            let taken = cleared
                .iter()
                .filter(|one| item_keys(one).contains(&item_key))
                .any(|one| one.takes(noted.salesforce_id.as_ref(), noted.postgres_key.as_ref()));
            if taken && noted.seen.unwrap_or(noted.at) < begun {
                older.push((item_key, Condition::equal("body", text(item.text("body")))));
            }
        }
        each(
            older.iter().map(|(item_key, known)| self.table.delete(item_key, Some(known.clone()))).collect(),
        )
        .await?;
        // Where the outcomes hold two entries of one record, the last one counts.
        let rejected: BTreeMap<String, Rejected> =
            rejected.into_iter().map(|one| (one.record.clone(), one)).collect();
        each(rejected.into_values().map(|one| self.reject(sync, one)).collect()).await?;
        let held: BTreeMap<String, HeldRecord> =
            held.into_iter().map(|one| (one.record.clone(), one)).collect();
        each(held.values().map(|one| self.hold(sync, one)).collect()).await?;
        deferred::store(&self.table, sync, deferred).await?;
        deferred::linked(&self.table, &linked).await
    }

    async fn defer_message(&self, group: &str, body: &str, due: Timestamp) -> Result<(), PortError> {
        deferred::store_message(&self.table, group, body, due).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        deferred::due(&self.table, now, limit).await
    }

    async fn drop_due(&self, tokens: &[String]) -> Result<(), PortError> {
        deferred::drop_due(&self.table, tokens).await
    }

    async fn cursor(&self, sync: &str) -> Result<Cursor, PortError> {
        self.document(&["cursor", sync]).await
    }

    async fn put_cursor(&self, sync: &str, cursor: &Cursor) -> Result<Option<Cursor>, PortError> {
        // Releases before revisions stored cursors without one, which count as revision 0.
        let condition = match cursor.revision {
            0 => Condition::without("revision"),
            revision => Condition::equal("revision", number(revision)),
        };
        let next = cursor.next_revision();
        let item = Item::at(&ItemKey::new(&["cursor", sync], "-"))
            .with("revision", number(next.revision))
            .with("body", text(json(&next)?));
        Ok(self.table.put(item, Some(condition)).await?.then_some(next))
    }

    async fn breaker(&self, side: Side) -> Result<Breaker, PortError> {
        self.document(&["breaker", side.word()]).await
    }

    async fn put_breaker(&self, side: Side, breaker: &Breaker) -> Result<(), PortError> {
        self.put_document(&["breaker", side.word()], breaker).await
    }

    async fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> Result<bool, PortError> {
        counters::take(&self.table, counter, count, limit, now, window).await
    }

    async fn taken(&self, counter: &str, now: Timestamp, window: SignedDuration) -> Result<i64, PortError> {
        counters::taken(&self.table, counter, now, window).await
    }

    async fn allow(&self, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
        counters::allow(&self.table, counter, count, now).await
    }

    async fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> Result<f64, PortError> {
        counters::draw(&self.table, calls, per_second, capacity, now).await
    }

    async fn linked(&self, sync: &str) -> Result<u64, PortError> {
        let item = self.table.get(&ItemKey::new(&["linked", sync], "-")).await?;
        Ok(item.map_or(0, |item| item.number("count")))
    }

    async fn make_due(&self, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
        deferred::make_due(&self.table, now, spread).await
    }

    async fn pulse(&self) -> Result<u64, PortError> {
        let item = self.table.get(&ItemKey::new(&["pulse"], "-")).await?;
        Ok(item.map_or(0, |item| item.number("beat")))
    }

    async fn put_pulse(&self, pulse: u64) -> Result<(), PortError> {
        let values = HashMap::from([(":beat".to_owned(), number(pulse))]);
        let later = Some("attribute_not_exists(#beat) OR #beat < :beat");
        self.table
            .update(&ItemKey::new(&["pulse"], "-"), "SET #beat = :beat", values, later)
            .await
            .map(|_| ())
    }

    /// Forgets ended bases only: counters drop what is older than 48 hours whenever they count.
    async fn forget(&self, before: Timestamp) -> Result<(), PortError> {
        bases::forget(&self.table, &moment(before)).await
    }

    async fn paused(&self, sync: &str) -> Result<Option<Pause>, PortError> {
        let item = self.table.get(&ItemKey::new(&["paused", sync], "-")).await?;
        Ok(item.map(|item| Pause {
            cause: PauseCause::of_word(Some(item.text("cause"))),
            message: item.text("reason").to_owned(),
        }))
    }

    async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), PortError> {
        let item_key = ItemKey::new(&["paused", sync], "-");
        match pause {
            Some(Pause { cause, message }) => {
                let item =
                    Item::at(&item_key).with("reason", text(message)).with("cause", text(cause.word()));
                self.table.put(item, None).await
            }
            None => self.table.delete(&item_key, None).await,
        }
        .map(|_| ())
    }
}
