//! Deferred touches and messages: stored until they are due, with the parents that a touch waits for.

use crate::bases::{list_of, lists};
use crate::item::{Condition, Item, ItemKey, json, moment, number, text, token};
use crate::table::{Table, each};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use syncline_engine::Parent;
use syncline_sync::{Deferred, Due, PortError, Touch, WaitingRecord};

/// How often folding a touch into the stored one is tried while other runs change the stored touch at the
/// same time.
const FOLDS: u32 = 20;
/// How many days the items that say which touch waits for which parent are kept. DynamoDB deletes them after
/// their `ttl`.
const WAITS_DAYS: i64 = 30;

/// The document in `body` of a deferred touch.
#[derive(serde::Serialize, serde::Deserialize)]
struct DeferredItem {
    touch: Touch,
    waits_for: Vec<Parent>,
}

fn item_key_of(sync: &str, record: &str) -> ItemKey {
    ItemKey::new(&["put-off", sync, record], "put-off")
}

fn parent_item_key(parent: &Parent, sk: &str) -> Result<ItemKey, PortError> {
    Ok(ItemKey::new(&["waits", &json(parent)?], sk))
}

/// The sort key of a parent's mark: the item says that at least one touch waits for this parent.
const MARK: &str = "!";

/// Stores deferred touches. A touch is folded into the stored touch that names the same record and the same
/// row. The folded touch is due at the earlier of the two moments, and waits for the parents of both.
pub(crate) async fn store(table: &Table, sync: &str, deferred: Vec<Deferred>) -> Result<(), PortError> {
    let mut of_record: BTreeMap<String, Deferred> = BTreeMap::new();
    for one in deferred {
        let record = one.touch.deferred_key();
        match of_record.remove(&record) {
            Some(known) => of_record.insert(record, one.over(known)),
            None => of_record.insert(record, one),
        };
    }
    let store =
        |(record, deferred): (String, Deferred)| store_one(table, item_key_of(sync, &record), deferred);
    each(of_record.into_iter().map(store).collect()).await?;
    Ok(())
}

async fn store_one(table: &Table, item_key: ItemKey, deferred: Deferred) -> Result<(), PortError> {
    // The item that names this touch is written before the parent's mark, and both are written before the
    // touch. A run that links the parent deletes the mark first and reads the waiting touches after that, so
    // a run that saw this mark also finds the item that names this touch.
    let until = Timestamp::now().as_second() + WAITS_DAYS * 86_400;
    for parent in &deferred.waits_for {
        for sk in [item_key.pk.as_str(), MARK] {
            let item = Item::at(&parent_item_key(parent, sk)?)
                .with("child", text(&item_key.pk))
                .with("ttl", number(until));
            table.put(item, None).await?;
        }
    }
    for tried in 0..FOLDS {
        let known = table.get(&item_key).await?;
        let (next, condition) = match &known {
            None => (deferred.clone(), Condition::absent()),
            Some(item) => {
                let DeferredItem { touch, waits_for } = item.body()?;
                let due = item.text("at").parse().unwrap_or(deferred.due);
                let known = Deferred { touch, due, waits_for };
                (deferred.clone().over(known), Condition::equal("token", text(item.text("token"))))
            }
        };
        let (waits, refused) = (next.waits_for.is_empty(), next.touch.refusals > 0);
        let mut next = next;
        next.waits_for.sort();
        next.waits_for.dedup();
        let body = json(&DeferredItem { touch: next.touch, waits_for: next.waits_for })?;
        let item = Item::at(&item_key)
            .with("body", text(body))
            .with("token", text(token()))
            .with("free", AttributeValue::Bool(waits))
            .with("refused", AttributeValue::Bool(refused))
            .listed(list_of("due", &item_key.pk), moment(next.due));
        if table.put(item, Some(condition)).await? {
            return Ok(());
        }
        crate::table::wait(tried.min(3)).await;
    }
    Err(PortError::Store {
        message: format!("item {}: other runs changed it during each of {FOLDS} tries", item_key.pk),
    })
}

/// Makes every touch due that waits for one of these parents; the parents are linked by now.
pub(crate) async fn linked(table: &Table, parents: &[Parent]) -> Result<(), PortError> {
    let marks = parents.iter().map(|parent| parent_item_key(parent, MARK)).collect::<Result<Vec<_>, _>>()?;
    for (mark, _) in table.get_many(marks).await? {
        table.delete(&mark, None).await?;
        let wake = async |waiting: Item| {
            let child = ItemKey { pk: waiting.text("child").to_owned(), sk: "put-off".to_owned() };
            due_at(table, child, Timestamp::UNIX_EPOCH).await?;
            table.delete(&waiting.item_key(), None).await
        };
        each(table.partition(&mark.pk).await?.into_iter().map(wake).collect()).await?;
    }
    Ok(())
}

async fn due_at(table: &Table, item_key: ItemKey, due: Timestamp) -> Result<(), PortError> {
    // The token changes, so that a run which read the touch before this moment can neither fold into the
    // touch nor drop it: that run did not see that the touch is due.
    let values =
        HashMap::from([(":due".to_owned(), text(moment(due))), (":token".to_owned(), text(token()))]);
    table.update(&item_key, "SET #at = :due, #token = :token", values, Some("attribute_exists(pk)")).await?;
    Ok(())
}

/// Makes the touches due that wait for no parent: 100 for each second of `spread` from now on. A touch that
/// is due earlier stays as it is.
pub(crate) async fn make_due(table: &Table, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
    let spread_ms = i64::try_from(spread.as_millis()).unwrap_or(i64::MAX).max(1);
    let mut moved: i64 = 0;
    for list in lists("due") {
        let mut start = None;
        loop {
            let (items, next) = table.page(&list, Some(&moment(now)), start).await?;
            let mut calls = Vec::new();
            for item in items.iter().filter(|item| item.flag("free")) {
                // Where more than 100 a second are waiting, the times start again at the beginning of the
                // spread.
                let due = now + SignedDuration::from_millis(10 * moved % spread_ms);
                moved += 1;
                if *moment(due) < *item.text("at") {
                    calls.push(due_at(table, item.item_key(), due));
                }
            }
            each(calls).await?;
            start = next;
            if start.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// The number of touches of a list that wait for a parent.
pub(crate) async fn count_waiting(table: &Table, list: String) -> Result<u64, PortError> {
    table.count(list, Some(("free", AttributeValue::Bool(false)))).await
}

/// The number of touches of a list whose record a side refused or hides. They are tried again from time to time.
pub(crate) async fn count_refused(table: &Table, list: String) -> Result<u64, PortError> {
    table.count(list, Some(("refused", AttributeValue::Bool(true)))).await
}

/// Records that wait for a parent, at most `limit`.
pub(crate) async fn waiting(table: &Table, limit: usize) -> Result<Vec<WaitingRecord>, PortError> {
    let mut waiting = Vec::new();
    for list in lists("due") {
        let mut start = None;
        loop {
            let (items, next) = table.page(&list, None, start).await?;
            for item in items.iter().filter(|item| item.text("group").is_empty() && !item.flag("free")) {
                let DeferredItem { touch, waits_for } = item.body()?;
                waiting.push(WaitingRecord::of(touch, waits_for));
            }
            start = next;
            if start.is_none() || waiting.len() >= limit {
                break;
            }
        }
    }
    waiting.truncate(limit);
    Ok(waiting)
}

/// Stores a message unopened, with its group, until it is due.
pub(crate) async fn store_message(
    table: &Table,
    group: &str,
    body: &str,
    due: Timestamp,
) -> Result<(), PortError> {
    let token = token();
    let item_key = ItemKey::new(&["message", &token], "put-off");
    let item = Item::at(&item_key)
        .with("body", text(body))
        .with("group", text(group))
        .with("token", text(token))
        .listed(list_of("due", &item_key.pk), moment(due));
    table.put(item, None).await?;
    Ok(())
}

/// Up to `limit` deferred touches and messages that are due at `now`, the one that was due earliest first. A
/// token holds the version and the partition key of its item, separated by a line feed.
pub(crate) async fn due(table: &Table, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
    let until = moment(now);
    let found = each(lists("due").map(|list| table.list(list, Some(&until), limit)).collect()).await?;
    let mut items: Vec<Item> = found.into_iter().flatten().collect();
    items.sort_by(|one, other| one.text("at").cmp(other.text("at")));
    items.truncate(limit);
    let of_item = |item: Item| {
        let token = format!("{}\n{}", item.text("token"), item.item_key().pk);
        let touch = match item.text("group") {
            "" => Ok(item.body::<DeferredItem>()?.touch),
            group => Err((group.to_owned(), item.text("body").to_owned())),
        };
        Ok(Due { touch, token })
    };
    items.into_iter().map(of_item).collect()
}

/// Deletes the deferred touches and messages that these tokens name; the queue has them. An item that changed
/// since the token was read, for example because another touch was folded into it, stays.
pub(crate) async fn drop_due(table: &Table, tokens: &[String]) -> Result<(), PortError> {
    let named = tokens.iter().filter_map(|token| token.split_once('\n'));
    let drop_one = async |(token, pk): (&str, &str)| {
        let item_key = ItemKey { pk: pk.to_owned(), sk: "put-off".to_owned() };
        table.delete(&item_key, Some(Condition::equal("token", text(token)))).await
    };
    each(named.map(drop_one).collect()).await?;
    Ok(())
}
