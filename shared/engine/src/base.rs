//! The base of a record: what both sides agreed on last, and what a run is about to write.

use crate::fingerprint::Fingerprint;
use crate::id::{BaseKey, FieldName, PostgresKey, SalesforceId, Side};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form of a [`Base`] that this code writes. One with a higher number is left alone.
pub const BASE_FORM: u8 = 1;

/// The agreed value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldBase {
    /// Its fingerprint.
    #[serde(rename = "f")]
    pub fingerprint: Fingerprint,
    /// The version of the rule that made it.
    #[serde(rename = "r")]
    pub rule: u16,
}

/// What is known of the moment of Salesforce's current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamp {
    /// The `SystemModstamp` that was read.
    Read(Timestamp),
    /// A write of ours answered no stamp; it lies between these moments of Salesforce's clock. A read that is
    /// stamped before `after` is older than that write.
    Written {
        /// The `Date` of the last answer before the write.
        after: Timestamp,
        /// The `Date` of the write's own answer and two seconds.
        until: Timestamp,
    },
}

/// What a run is about to do on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// A new record or row.
    Create,
    /// Other values in one that stands.
    Update,
    /// The record or row is deleted.
    Delete,
}

/// How one side came to lack a record that is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// Nothing says that it was deleted.
    Missing,
    /// It was deleted, on evidence, and nothing was decided yet.
    Deleted,
    /// It was deleted, and by policy stands on the other side alone.
    Kept,
}

/// What is remembered of a side that lacks the record: evidence that was seen once stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The side.
    pub side: Side,
    /// How.
    pub how: Absence,
}

/// The last write of a field, for telling two sides that correct each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swing {
    /// The side that was written.
    pub to: Side,
    /// How often in a row the field came back changed within a minute.
    pub rounds: u8,
    /// When.
    pub at: Timestamp,
}

/// The part of an intent that concerns one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentSide {
    /// What is done.
    pub op: Op,
    /// The fields that are written, with their new values' fingerprints.
    pub fields: BTreeMap<FieldName, FieldBase>,
}

/// What one run is about to write, saved before it writes. It keeps every other run away until its lease has
/// ended, and lets the next one find out what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// 32 hex digits; stands in the marker field and in history.
    pub id: String,
    /// Until when the run may write; past it, it commits nothing and sends nothing.
    pub lease_until: Timestamp,
    /// What is written to Salesforce.
    pub salesforce: Option<IntentSide>,
    /// What is written to Postgres.
    pub postgres: Option<IntentSide>,
}

/// The base of one record of one sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The form of this document, [`BASE_FORM`].
    pub form: u8,
    /// Its own key, which never changes.
    pub key: BaseKey,
    /// The Salesforce Id, once known.
    pub salesforce_id: Option<SalesforceId>,
    /// The row's key, once known.
    pub postgres_key: Option<PostgresKey>,
    /// The external Id of our create, chosen before its first try.
    pub external_id: Option<String>,
    /// Both sides hold the record. False while a create is under way and after both sides lost it.
    pub live: bool,
    /// The agreed values.
    pub fields: BTreeMap<FieldName, FieldBase>,
    /// The definition's version at the last save.
    pub definition: u32,
    /// What is known of Salesforce's stamp.
    pub stamp: Option<Stamp>,
    /// Salesforce's `Date` when the record was read last.
    pub read_at: Option<Timestamp>,
    /// The marker that our last write left.
    pub marker: Option<String>,
    /// What a run is about to write.
    pub intent: Option<Intent>,
    /// The side that lacks the record, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// The Ids of deleted records that the row was linked to before, the latest last; its link column may still show
    /// any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    pub replaced: Vec<SalesforceId>,
    /// What was agreed on with the latest of `replaced`, until the record that is created in its stead is there: should
    /// the earlier one come back before that, it stands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<FieldName, FieldBase>,
    /// When both sides had lost the record. It is remembered for 30 days, so that an undelete finds its row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The last writes of fields, within a minute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub swings: BTreeMap<FieldName, Swing>,
    /// Counts up with every save; the compare-and-set compares it. 0 was never saved.
    pub version: u64,
}

/// One Id is written as itself, as before there could be more.
mod one_or_many {
    use super::SalesforceId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(SalesforceId),
        Many(Vec<SalesforceId>),
    }

    pub(super) fn serialize<S: Serializer>(ids: &[SalesforceId], serializer: S) -> Result<S::Ok, S::Error> {
        match ids {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<SalesforceId>, D::Error> {
        Ok(match Ids::deserialize(source)? {
            Ids::One(one) => vec![one],
            Ids::Many(many) => many,
        })
    }
}

impl Base {
    /// An empty base that was never saved.
    #[must_use]
    pub fn new(key: BaseKey) -> Self {
        Self {
            form: BASE_FORM,
            key,
            salesforce_id: None,
            postgres_key: None,
            external_id: None,
            live: false,
            fields: BTreeMap::new(),
            definition: 0,
            stamp: None,
            read_at: None,
            marker: None,
            intent: None,
            gone: None,
            replaced: Vec::new(),
            earlier: BTreeMap::new(),
            ended_at: None,
            swings: BTreeMap::new(),
            version: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_ids_read_back_and_one_is_written_as_itself() {
        let ids = ["003000000000001AAA", "003000000000002AAA"].map(|id| SalesforceId::parse(id).unwrap());
        for count in 0..=2 {
            let mut base = Base::new(BaseKey("p:[\"1\"]".to_owned()));
            base.replaced = ids[..count].to_vec();
            let json = serde_json::to_value(&base).unwrap();
            assert_eq!(json.get("replaced").is_some_and(serde_json::Value::is_string), count == 1);
            assert_eq!(serde_json::from_value::<Base>(json).unwrap(), base);
        }
    }
}
