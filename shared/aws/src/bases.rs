//! Bases and the pointers that lead to them: loaded by consistent reads, saved by compare-and-set.
//!
//! A pointer is an item that maps a Salesforce Id, a row's key or an external Id to the key of a base.

use crate::item::{Condition, Item, ItemKey, json, moment, number, text};
use crate::table::{Table, Write, each};
use std::collections::HashMap;
use syncline_engine::Base;
use syncline_sync::{Conflict, KnownRecord, PortError, Put, RecordRef, Rejected};

/// How many days a conflict is kept; DynamoDB deletes the item after its `ttl`.
const CONFLICT_DAYS: i64 = 365;
/// The longest value that a conflict keeps, in bytes of JSON. Two such values and the conflict's other fields
/// stay below 400 KB, the limit of an item (DynamoDB's quotas).
const LONGEST_VALUE: usize = 180 * 1024;
/// The limit for all conflict values of one save together, in bytes of JSON: below 4 MB, the limit of a
/// transaction (API reference, `TransactWriteItems`).
const ALL_VALUES: usize = 3_500_000;
/// The most conflict items in one save. A transaction has at most 100 writes (API reference,
/// `TransactWriteItems`), and the base with its pointers needs fewer than 20 of them.
const MOST_CONFLICT_ITEMS: usize = 80;
/// The most ended bases of one list that one call of [`forget`] reads.
const FORGOTTEN_AT_ONCE: usize = 2_000;
/// How many lists of the index each kind of listed item is spread over, so that writes do not all meet in one
/// partition of the index.
pub(crate) const SHARDS: u64 = 4;

/// The list of the index for an item of this kind: one of [`SHARDS`], chosen by the hash of `of`.
pub(crate) fn list_of(kind: &str, of: &str) -> String {
    let hash = blake3::hash(of.as_bytes());
    format!("{kind}#{}", u64::from(hash.as_bytes()[0]) % SHARDS)
}

/// The names of all lists of this kind.
pub(crate) fn lists(kind: &str) -> impl Iterator<Item = String> {
    (0..SHARDS).map(move |shard| format!("{kind}#{shard}"))
}

pub(crate) fn base_place(sync: &str, key: &str) -> ItemKey {
    ItemKey::new(&["base", sync, key], "base")
}

pub(crate) fn rejected_place(sync: &str, key: &str) -> ItemKey {
    ItemKey::new(&["base", sync, key], "rejected")
}

fn pointer_place(sync: &str, wanted: &RecordRef) -> ItemKey {
    match wanted {
        RecordRef::Id(id) => ItemKey::new(&["id", sync, id.as_str()], "to"),
        RecordRef::Key(key) => ItemKey::new(&["key", sync, &key.0], "to"),
        RecordRef::ExternalId(external_id) => ItemKey::new(&["external-id", sync, external_id], "to"),
        RecordRef::Base(key) => base_place(sync, &key.0),
    }
}

fn pointers(base: &Base) -> Vec<RecordRef> {
    let id = base.salesforce_id.clone().map(RecordRef::Id);
    let key = base.postgres_key.clone().map(RecordRef::Key);
    let external_id = base.external_id.clone().map(RecordRef::ExternalId);
    [id, key, external_id].into_iter().flatten().collect()
}

fn pointer_places(sync: &str, base: &Base) -> Vec<ItemKey> {
    pointers(base).iter().map(|pointer| pointer_place(sync, pointer)).collect()
}

/// Loads the base and the rejected entry that each reference leads to, in the order of `refs`. The result is
/// empty where a reference leads to no base.
pub(crate) async fn load(
    table: &Table,
    sync: &str,
    refs: &[RecordRef],
) -> Result<Vec<KnownRecord>, PortError> {
    let pointed = table
        .get_many(
            refs.iter().filter(|one| !matches!(one, RecordRef::Base(_))).map(|one| pointer_place(sync, one)),
        )
        .await?;
    let keys: Vec<Option<String>> = refs
        .iter()
        .map(|wanted| match wanted {
            RecordRef::Base(key) => Some(key.0.clone()),
            wanted => pointed.get(&pointer_place(sync, wanted)).map(|item| item.text("base").to_owned()),
        })
        .collect();
    let item_keys = keys.iter().flatten().flat_map(|key| [base_place(sync, key), rejected_place(sync, key)]);
    let found = table.get_many(item_keys).await?;
    let of_ref = |(wanted, key): (&RecordRef, &Option<String>)| {
        let Some(key) = key else { return Ok(KnownRecord::default()) };
        let Some(item) = found.get(&base_place(sync, key)) else { return Ok(KnownRecord::default()) };
        let base: Base = item.body()?;
        // Pointer and base are read one after the other. If the base was given another Id or key in between,
        // this reference leads to it no longer.
        if !matches!(wanted, RecordRef::Base(_)) && !pointers(&base).contains(wanted) {
            return Ok(KnownRecord::default());
        }
        let rejected = found.get(&rejected_place(sync, key)).map(Item::body::<Rejected>).transpose()?;
        Ok(KnownRecord { base: Some(base), rejected })
    };
    refs.iter().zip(&keys).map(of_ref).collect()
}

/// Saves each base with its pointers and conflicts in one transaction of its own. The answers have the order
/// of `puts`: `false` if another version of the base is stored, or a pointer belongs to another base that is
/// live or has an intent. Then updates the number of linked records.
pub(crate) async fn put(table: &Table, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
    let item_keys = puts.iter().flat_map(|put| {
        let mut item_keys = pointer_places(sync, &put.base);
        item_keys.push(base_place(sync, &put.base.key.0));
        item_keys
    });
    let standing = table.get_many(item_keys).await?;
    let standing = &standing;
    let owners = puts.iter().flat_map(|put| {
        let own = &put.base.key.0;
        pointer_places(sync, &put.base).into_iter().filter_map(move |item_key| {
            let owner = standing.get(&item_key)?.text("base");
            (owner != own).then(|| base_place(sync, owner))
        })
    });
    let others = table.get_many(owners).await?;
    let mut prepared = Vec::new();
    for put in puts {
        prepared.push(prepare(sync, put, standing, &others)?);
    }
    let save = async |prepared: Option<(Vec<Write>, i64)>| match prepared {
        None => Ok((false, 0)),
        Some((writes, linked)) => {
            let saved = table.transact(writes).await?;
            Ok((saved, if saved { linked } else { 0 }))
        }
    };
    let saved = each(prepared.into_iter().map(save).collect()).await?;
    let linked: i64 = saved.iter().map(|(_, linked)| linked).sum();
    if linked != 0 {
        let values = HashMap::from([(":more".to_owned(), number(linked))]);
        table.update(&ItemKey::new(&["linked", sync], "-"), "ADD #count :more", values, None).await?;
    }
    Ok(saved.into_iter().map(|(saved, _)| saved).collect())
}

/// Prepares one save: the writes, and by how much they change the number of linked records. `None` if the
/// save is known to fail.
///
/// `standing` holds the stored base and the stored pointers of every put, `others` the bases that own those
/// pointers.
fn prepare(
    sync: &str,
    put: Put,
    standing: &HashMap<ItemKey, Item>,
    others: &HashMap<ItemKey, Item>,
) -> Result<Option<(Vec<Write>, i64)>, PortError> {
    let item_key = base_place(sync, &put.base.key.0);
    let known = standing.get(&item_key);
    if known.map_or(0, |item| item.number("version")) != put.expected {
        return Ok(None);
    }
    let before: Option<Base> = known.map(Item::body).transpose()?;
    let base = Base { version: put.expected + 1, ..put.base };
    let mine = || Condition::equal("base", text(&base.key.0));
    let old = before.as_ref().map_or_else(Vec::new, |before| pointer_places(sync, before));
    let new = pointer_places(sync, &base);
    let mut item = Item::at(&item_key)
        .with("version", number(base.version))
        .with("live", aws_sdk_dynamodb::types::AttributeValue::Bool(base.live))
        .with("body", text(json(&base)?));
    if let (Some(ended), false, None) = (base.ended_at, base.live, &base.intent) {
        item = item.listed(list_of("ended", &item_key.pk), moment(ended));
    }
    let condition = if put.expected == 0 {
        Condition::absent()
    } else {
        Condition::equal("version", number(put.expected))
    };
    let mut writes = vec![Write::Put(item, Some(condition))];
    let mut linked = i64::from(base.live) - i64::from(before.as_ref().is_some_and(|before| before.live));
    let mut given_up: Vec<ItemKey> = Vec::new();
    for pointer in new.iter().filter(|pointer| !old.contains(pointer)) {
        let owner = standing.get(pointer).map(|item| item.text("base").to_owned());
        let condition = match owner.filter(|owner| *owner != base.key.0) {
            None => mine().or_absent(),
            Some(owner) => {
                let item_key = base_place(sync, &owner);
                if let Some(other) = others.get(&item_key) {
                    let body: Base = other.body()?;
                    if body.live || body.intent.is_some() {
                        return Ok(None);
                    }
                    // A base that is neither live nor has an intent is deleted, so that another record can
                    // take over its Id, key or external Id.
                    if !given_up.contains(&item_key) {
                        let version = Condition::equal("version", number(other.number("version")));
                        writes.push(Write::Delete(item_key.clone(), Some(version)));
                        let left = pointer_places(sync, &body).into_iter().filter(|one| !new.contains(one));
                        let its = || Some(Condition::equal("base", text(&owner)).or_absent());
                        writes.extend(left.map(|one| Write::Delete(one, its())));
                        linked -= i64::from(body.live);
                        given_up.push(item_key);
                    }
                }
                Condition::equal("base", text(owner)).or_absent()
            }
        };
        writes.push(Write::Put(Item::at(pointer).with("base", text(&base.key.0)), Some(condition)));
    }
    for pointer in old.into_iter().filter(|pointer| !new.contains(pointer)) {
        writes.push(Write::Delete(pointer, Some(mine().or_absent())));
    }
    for items in conflict_items(put.conflicts)? {
        writes.push(Write::Put(items, None));
    }
    Ok(Some((writes, linked)))
}

/// The items of a save's conflicts: one item for each conflict, or several conflicts in one item where there
/// are more than [`MOST_CONFLICT_ITEMS`].
fn conflict_items(conflicts: Vec<Conflict>) -> Result<Vec<Item>, PortError> {
    let together = conflicts.len().div_ceil(MOST_CONFLICT_ITEMS).max(1);
    let longest = LONGEST_VALUE.min(ALL_VALUES / (2 * conflicts.len()).max(1));
    let conflicts: Vec<Conflict> = conflicts.into_iter().map(|one| shortened(one, longest)).collect();
    let mut items = Vec::new();
    for group in conflicts.chunks(together) {
        let Some(first) = group.first() else { continue };
        let item_key = ItemKey::new(&["conflict", &first.id], "conflict");
        let until = first.at.as_second() + CONFLICT_DAYS * 86_400;
        items.push(
            Item::at(&item_key)
                .with("body", text(json(&group)?))
                .with("ttl", number(until))
                .listed(list_of("conflict", &first.id), moment(first.at)),
        );
    }
    Ok(items)
}

/// The conflict with each text value cut to `longest` bytes of JSON. A cut value ends with a note of its full
/// length.
fn shortened(mut conflict: Conflict, longest: usize) -> Conflict {
    for value in [&mut conflict.salesforce, &mut conflict.postgres] {
        if let syncline_engine::Value::Text(whole) = value
            && escaped(whole) > longest
        {
            let mut cut = whole.floor_char_boundary(longest);
            while escaped(&whole[..cut]) > longest {
                cut = whole.floor_char_boundary(cut / 2);
            }
            *whole = format!("{}… (cut here: {} bytes in all)", &whole[..cut], whole.len());
        }
    }
    conflict
}

/// The length of a text as JSON, in bytes: quotes and control characters take more than one byte.
fn escaped(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

/// Deletes bases that ended before the moment `before` (in the form of [`moment`]), with their pointers: at
/// most [`FORGOTTEN_AT_ONCE`] for each list. A base that was saved again since the index was read stays.
pub(crate) async fn forget(table: &Table, before: &str) -> Result<(), PortError> {
    for list in lists("ended") {
        let items = table.list(list, Some(before), FORGOTTEN_AT_ONCE).await?;
        let forget = async |item: Item| {
            if item.text("at") >= before {
                return Ok(false);
            }
            let base: Base = item.body()?;
            let sync = item.text("pk").split('#').nth(1).unwrap_or_default().to_owned();
            let version = Condition::equal("version", number(item.number("version")));
            let mut writes = vec![Write::Delete(item.item_key(), Some(version))];
            for pointer in pointer_places(&sync, &base) {
                let mine = Condition::equal("base", text(&base.key.0)).or_absent();
                writes.push(Write::Delete(pointer, Some(mine)));
            }
            table.transact(writes).await
        };
        each(items.into_iter().map(forget).collect()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use syncline_engine::{Reason, Side, Value};

    fn conflict(number: usize, value: &str) -> Conflict {
        Conflict {
            id: format!("c{number}"),
            sync: "contacts".into(),
            record: "r".into(),
            salesforce_id: None,
            postgres_key: None,
            field: format!("F{number}"),
            salesforce: Value::Text(value.to_owned()),
            postgres: Value::Text(value.to_owned()),
            winner: Side::Salesforce,
            reason: Reason::Conflict,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn conflicts_of_one_record_fit_into_one_transaction_however_many_and_long() {
        let (long, worse) = ("ä".repeat(200_000), "\u{1}\"".repeat(100_000));
        for (count, value) in [(1, &long), (1, &worse), (80, &long), (81, &worse), (500, &long)] {
            let items = conflict_items((0..count).map(|number| conflict(number, value)).collect()).unwrap();
            assert!(items.len() <= MOST_CONFLICT_ITEMS);
            let sizes: Vec<usize> = items.iter().map(|item| item.text("body").len()).collect();
            assert!(sizes.iter().all(|size| *size < 390_000), "{count}: {sizes:?}");
            assert!(sizes.iter().sum::<usize>() < 4_000_000, "{count}: {sizes:?}");
            let kept: usize = items.iter().map(|item| item.body::<Vec<Conflict>>().unwrap().len()).sum();
            assert_eq!(kept, count);
        }
        let short = conflict_items(vec![conflict(1, "a"), conflict(2, "b")]).unwrap();
        assert_eq!(short[0].body::<Vec<Conflict>>().unwrap(), [conflict(1, "a")]);
    }
}
