//! Counters within a sliding window (the delete limit), and the bucket of Salesforce calls. Each counter and
//! the bucket is one item, changed by compare-and-set.

use crate::item::{Condition, Item, ItemKey, json, number, text};
use crate::table::{Table, wait};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use syncline_sync::PortError;

/// How often a change is tried while other runs change the same item at the same time.
const TRIES: u32 = 30;
/// How long counts are kept; no window may be longer.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// Counts by minute; the key is minutes since 1970. A negative count is an allowance.
type Minutes = BTreeMap<i64, i64>;

fn item_key(counter: &str) -> ItemKey {
    ItemKey::new(&["counter", counter], "-")
}

fn counted(minutes: &Minutes, now: Timestamp, window: SignedDuration) -> i64 {
    // The minute in which the window begins counts as a whole.
    let from = (now - window).as_second().div_euclid(60);
    minutes.range(from..).map(|(_, count)| count).sum()
}

/// Changes the document of an item by compare-and-set, and tries again while other runs change the item at
/// the same time. Where `change` answers `None` as the new document, nothing is written.
async fn change<T, R>(
    table: &Table,
    item_key: &ItemKey,
    change: impl Fn(T) -> (Option<T>, R),
) -> Result<R, PortError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Default,
{
    for tried in 0..TRIES {
        let known = table.get(item_key).await?;
        let version = known.as_ref().map_or(0, |item| item.number("version"));
        let (next, result) = change(known.map(|item| item.body()).transpose()?.unwrap_or_default());
        let Some(next) = next else { return Ok(result) };
        let item = Item::at(item_key).with("version", number(version + 1)).with("body", text(json(&next)?));
        let condition =
            if version == 0 { Condition::absent() } else { Condition::equal("version", number(version)) };
        if table.put(item, Some(condition)).await? {
            return Ok(result);
        }
        wait(tried.min(4)).await;
    }
    Err(PortError::Store {
        message: format!("item {}: other runs changed it during each of {TRIES} tries", item_key.pk),
    })
}

/// Adds `count` to the minute of `now`, and drops minutes older than [`KEPT`].
fn added(mut minutes: Minutes, count: i64, now: Timestamp) -> Minutes {
    let oldest = (now - KEPT).as_second().div_euclid(60);
    *minutes.entry(now.as_second().div_euclid(60)).or_default() += count;
    minutes.retain(|minute, _| *minute >= oldest);
    minutes
}

/// Counts `count` more, if the sum within the window stays at or below `limit`; else counts nothing and
/// answers `false`.
pub(crate) async fn take(
    table: &Table,
    counter: &str,
    count: u64,
    limit: u64,
    now: Timestamp,
    window: SignedDuration,
) -> Result<bool, PortError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    change(table, &item_key(counter), |minutes: Minutes| {
        let fits = counted(&minutes, now, window).saturating_add(count) <= limit;
        (fits.then(|| added(minutes, count, now)), fits)
    })
    .await
}

/// The sum within the window up to `now`; it is below 0 where more was allowed than counted.
pub(crate) async fn taken(
    table: &Table,
    counter: &str,
    now: Timestamp,
    window: SignedDuration,
) -> Result<i64, PortError> {
    let item = table.get(&item_key(counter)).await?;
    let minutes: Minutes = item.map(|item| item.body()).transpose()?.unwrap_or_default();
    Ok(counted(&minutes, now, window))
}

/// Lets `count` more through the counter, from the minute of `now` on for the length of a window.
pub(crate) async fn allow(table: &Table, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    change(table, &item_key(counter), |minutes: Minutes| (Some(added(minutes, -count, now)), ())).await
}

/// Takes calls from the bucket, and answers how many are left, which may be below 0. The bucket begins with
/// `capacity` calls and fills by `per_second` up to `capacity`.
pub(crate) async fn draw(
    table: &Table,
    calls: u64,
    per_second: f64,
    capacity: f64,
    now: Timestamp,
) -> Result<f64, PortError> {
    #[expect(clippy::cast_precision_loss, reason = "calls of a moment are far below 2^52")]
    let calls = calls as f64;
    let item_key = ItemKey::new(&["pace"], "-");
    change(table, &item_key, |known: Option<(f64, Timestamp)>| {
        let (left, at) = known.unwrap_or((capacity, now));
        let seconds = now.duration_since(at).as_secs_f64().max(0.0);
        let left = (left + per_second * seconds).min(capacity) - calls;
        // A call that only asks how many are left (`calls` is 0) writes nothing, except for the first item.
        (((calls > 0.0) || known.is_none()).then_some(Some((left, at.max(now)))), left)
    })
    .await
}
