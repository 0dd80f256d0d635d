//! The base of a record: what both sides agreed on last, and the intent of a run that is about to write.

use crate::fingerprint::Fingerprint;
use crate::id::{BaseKey, FieldName, PostgresKey, SalesforceId, Side};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form number of the [`Base`] documents that this code writes. A document with a higher number was
/// written by a newer release and is left alone.
pub const BASE_FORM: u8 = 1;

/// What a base keeps of the agreed value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldBase {
    /// The fingerprint of the agreed value.
    #[serde(rename = "f")]
    pub fingerprint: Fingerprint,
    /// The version of the rule that made the value canonical.
    #[serde(rename = "r")]
    pub rule: u16,
}

/// What a base knows of the record's stamp, Salesforce's `SystemModstamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamp {
    /// The stamp that the last read found.
    Read(Timestamp),
    /// Syncline wrote the record after the last read. Salesforce does not answer a write with the new stamp,
    /// but the stamp lies between these two times of Salesforce's clock. A read whose stamp is before `after`
    /// shows the record as it was before the write.
    Written {
        /// The `Date` header of the last answer before the write.
        after: Timestamp,
        /// The `Date` header of the answer to the write, plus two seconds.
        until: Timestamp,
    },
}

/// What a run is about to do on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// It creates the record or row.
    Create,
    /// It gives fields of the record or row new values.
    Update,
    /// It deletes the record or row.
    Delete,
}

/// Why one side does not have a record that is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// The record is absent there, without evidence of a delete.
    Missing,
    /// There is evidence that the record was deleted there, and the delete has not been dealt with yet.
    Deleted,
    /// The record was deleted there. The delete policy, or the direction of the sync, leaves it on the other
    /// side alone.
    Kept,
}

/// What a base remembers of a side that does not have the record. Evidence of a delete that was seen once is
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The side that does not have the record.
    pub side: Side,
    /// Why that side does not have it.
    pub how: Absence,
}

/// The last write of one field. From it Syncline recognizes two sides that correct each other without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swing {
    /// The side that was written.
    pub to: Side,
    /// How many times in a row the field came back changed within a minute after it was written.
    pub rounds: u8,
    /// When the field was written.
    pub at: Timestamp,
}

/// The part of an intent that concerns one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentSide {
    /// What the run does on this side.
    pub op: Op,
    /// The fields that the run writes, with the fingerprints of their new values. For a create they also
    /// contain fields on which both sides agree without a write. Empty for a delete.
    pub fields: BTreeMap<FieldName, FieldBase>,
}

/// What one run is about to write. The run saves its intent before it writes. Until the lease has ended, the
/// intent keeps every other run away from the record. If the run does not finish, the intent lets the next
/// run find out which of the writes landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The intent's id: 32 hex digits. The writes of the run leave it in the marker field and in the history.
    pub id: String,
    /// The end of the lease. After this time the run commits nothing and sends nothing.
    pub lease_until: Timestamp,
    /// What the run writes to Salesforce; `None` if nothing.
    pub salesforce: Option<IntentSide>,
    /// What the run writes to Postgres; `None` if nothing.
    pub postgres: Option<IntentSide>,
}

/// The most creates of one record that a base remembers as lost.
const LOST_CREATES: usize = 8;

/// A create in Salesforce whose answer was lost, and whose record was not found since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCreate {
    /// The id of its intent. The record has it as its marker if this create landed.
    pub marker: String,
    /// The fields that it was to fill, with the fingerprints of their values.
    pub fields: BTreeMap<FieldName, FieldBase>,
}

/// The base of one record of one sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The form number of this document; see [`BASE_FORM`].
    pub form: u8,
    /// The key under which the base is stored. It never changes.
    pub key: BaseKey,
    /// The Id of the Salesforce record; `None` until it is known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the row; `None` until it is known.
    pub postgres_key: Option<PostgresKey>,
    /// The external Id with which Syncline creates the Salesforce record. It is chosen before the first try,
    /// so that a create whose answer is lost can be found again. `None` if Syncline has not created the
    /// record.
    pub external_id: Option<String>,
    /// True while the record is linked: both sides have it, or `gone` names the side that does not. False
    /// while a create is under way, and after the record is gone from both sides.
    pub live: bool,
    /// The agreed values, by field.
    pub fields: BTreeMap<FieldName, FieldBase>,
    /// The version of the definition by which the base was last saved.
    pub definition: u32,
    /// What is known of the record's stamp; `None` if nothing is known.
    pub stamp: Option<Stamp>,
    /// The time of the last read of the record, by the `Date` header of Salesforce's answer.
    pub read_at: Option<Timestamp>,
    /// The marker of the record, as the last read found it or as the last write of Syncline left it.
    pub marker: Option<String>,
    /// What a run is about to write; `None` if no run has left an intent.
    pub intent: Option<Intent>,
    /// The creates of the record that may have landed, although the record was not found: sharing may hide it. At
    /// most one of them landed. Empty once the record is found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_creates: Vec<LostCreate>,
    /// The side that does not have the record, and why; `None` if both sides have it. While the base is not
    /// live, it tells that the row was deleted before the record that was created for it could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
    /// The Ids of earlier records to which the row was linked and which were replaced by another record. The
    /// latest one comes last. The link column of the row may still show any of these Ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    pub replaced: Vec<SalesforceId>,
    /// The agreed values of the last record in `replaced`, while the record that replaces it is being
    /// created. If the earlier record comes back before the new record exists, these become the agreed values
    /// again. Empty at all other times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<FieldName, FieldBase>,
    /// When the record was gone from both sides. After that the base is kept for 30 days, so that an undelete
    /// finds the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The last write of each field that was written in the minute before the latest intent, or by that
    /// intent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub swings: BTreeMap<FieldName, Swing>,
    /// The number of saves, which the compare-and-set compares. 0 means that the base was never saved.
    pub version: u64,
}

/// Writes a list of one Id as a plain string, and reads both forms: older documents hold one Id and no list.
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
    /// The record of one of the open creates was found. The marker tells which of them landed, and so what is agreed
    /// on. If it tells nothing, nothing is agreed on.
    pub fn recall_create(&mut self, id: SalesforceId, marker: Option<&str>) {
        let landed = self.open_creates().into_iter().find(|create| Some(create.marker.as_str()) == marker);
        let fields = landed.map(|create| create.fields).unwrap_or_default();
        self.lost_creates.clear();
        let side = self.intent.as_mut().and_then(|intent| intent.salesforce.as_mut());
        match side.filter(|side| side.op == Op::Create) {
            // The intent is resolved as landed.
            Some(side) => side.fields = fields,
            None => {
                self.salesforce_id = Some(id);
                self.live = true;
                self.fields = fields;
            }
        }
    }

    /// The creates in Salesforce of which one may have landed although the record is not known yet: the lost ones,
    /// and that of the intent.
    #[must_use]
    pub fn open_creates(&self) -> Vec<LostCreate> {
        let create = self.intent.as_ref().and_then(|intent| {
            let side = intent.salesforce.as_ref().filter(|side| side.op == Op::Create)?;
            Some(LostCreate { marker: intent.id.clone(), fields: side.fields.clone() })
        });
        self.lost_creates.iter().cloned().chain(create).take(LOST_CREATES).collect()
    }

    /// Makes an empty base, which was never saved.
    ///
    /// # Example
    ///
    /// ```
    /// use syncline_engine::{Base, BaseKey, SalesforceId};
    ///
    /// let id = SalesforceId::parse("001D000000IqhSLIAZ").unwrap();
    /// let base = Base::new(BaseKey::first(Some(&id), None).unwrap());
    /// assert_eq!(base.key.0, "001D000000IqhSLIAZ");
    /// assert!(!base.live && base.fields.is_empty() && base.intent.is_none());
    /// ```
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
            lost_creates: Vec::new(),
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
