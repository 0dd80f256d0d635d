//! What the state store keeps: documents, and the references that lead to them.

use crate::touch::Touch;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use syncline_engine::{
    Base, BaseKey, FieldName, Fingerprint, Held, Parent, PostgresKey, Reason, SalesforceId, Side, SyncName,
    Value,
};

/// A reference that leads to a base.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordRef {
    /// The Salesforce Id of the record.
    Id(SalesforceId),
    /// The key of the record's row.
    Key(PostgresKey),
    /// The external Id under which Syncline created the record in Salesforce.
    ExternalId(String),
    /// The key of the base itself.
    Base(BaseKey),
}

/// What the state store knows of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRecord {
    /// The record's base. Absent if none is stored.
    pub base: Option<Base>,
    /// Why the record is rejected. Absent if it is not.
    pub rejected: Option<Rejected>,
}

/// A field on which both sides changed to different values, as the conflict log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Hash of sync, record, field and base version. A conflict that is saved twice is stored once.
    pub id: String,
    /// The name of the sync.
    pub sync: SyncName,
    /// The key of the record's base.
    pub record: String,
    /// The record's Salesforce Id, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<PostgresKey>,
    /// The field on which both sides differ.
    pub field: FieldName,
    /// The value that Salesforce held.
    pub salesforce: Value,
    /// The value that Postgres held.
    pub postgres: Value,
    /// The side whose value is kept.
    pub winner: Side,
    /// Why that side won.
    pub reason: Reason,
    /// When the conflict was found.
    pub at: Timestamp,
}

/// A record that needs a person, because a side refuses it or only a person can say what is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The version of this document's format.
    #[serde(rename = "v")]
    pub form: u8,
    /// The name of the sync.
    pub sync: SyncName,
    /// The key of the record's base, or the record's name while it has no base.
    pub record: String,
    /// The record's Salesforce Id, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<PostgresKey>,
    /// The side that refuses the record.
    pub side: Side,
    /// The error code of that side.
    pub code: String,
    /// The error message of that side.
    pub message: String,
    /// The fields that the error names.
    pub fields: Vec<String>,
    /// The fingerprints of both images when the record was refused. While both are unchanged, the record is tried again
    /// only at growing distance ([`crate::Backoff::Refusal`]).
    pub images: BTreeMap<String, Fingerprint>,
    /// The version of the definition when the record was refused.
    pub definition: u32,
    /// When the record was refused.
    pub at: Timestamp,
}

impl Rejected {
    /// True if the refusal depends on a record that is known to matter, such as a parent: then the record is tried again
    /// as often as after an outage.
    #[must_use]
    pub fn depends_on_others(&self) -> bool {
        depends_on_others(&self.code)
    }
}

/// True if a refusal with this code depends on other records. These are the SQLSTATE of a foreign key that is not kept,
/// and Salesforce's status codes for a lookup to a record that is not there or was deleted. Source: StatusCode in the
/// SOAP API Developer Guide ("You can't reference an object that has been deleted").
pub(crate) fn depends_on_others(code: &str) -> bool {
    matches!(code, "23503" | "INVALID_CROSS_REFERENCE_KEY" | "ENTITY_IS_DELETED")
}

/// A record on which nothing is written although the sides differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The version of this document's format.
    #[serde(rename = "v")]
    pub form: u8,
    /// The name of the sync.
    pub sync: SyncName,
    /// The key of the record's base, or the record's name while it has no base.
    pub record: String,
    /// The record's Salesforce Id, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<PostgresKey>,
    /// Why the record is held.
    pub held: Held,
    /// The Salesforce record into which this record was merged, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<SalesforceId>,
    /// When the record was first found to be held.
    pub at: Timestamp,
    /// When the record was last found to be held.
    #[serde(default)]
    pub seen: Timestamp,
}

/// A base to save, with conflicts that are saved only if the base is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The base. It is saved with the version `expected + 1`.
    pub base: Base,
    /// The version that has to be stored at present. 0 means that no base is stored.
    pub expected: u64,
    /// The conflicts, saved in the same transaction as the base.
    pub conflicts: Vec<Conflict>,
}

/// A touch that is deferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// The touch to try again.
    pub touch: Touch,
    /// When the touch is due.
    pub due: Timestamp,
    /// The parents that the touch waits for. The touch is due at once when one of them is linked.
    pub waits_for: Vec<Parent>,
}

impl Deferred {
    /// Folds an earlier deferred touch, `stored`, into this later one of the same record. The result is due
    /// at the earlier of the two moments and waits for the parents of both.
    #[must_use]
    pub fn over(mut self, stored: Self) -> Self {
        self.due = self.due.min(stored.due);
        self.waits_for.extend(stored.waits_for);
        self.touch.absorb(stored.touch);
        self
    }
}

/// A deferred touch or message that is due. It stays stored until its token is given to [`super::State::drop_due`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The touch; or the group and the body of a message of a newer form, exactly as it was received.
    pub touch: Result<Touch, (String, String)>,
    /// Names this version of the stored touch. If another touch was folded into the stored one since, the
    /// token no longer matches and nothing is dropped.
    pub token: String,
}

/// How far the scans of a sync have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The version of this document's format.
    #[serde(rename = "v")]
    pub form: u8,
    /// The version of the definition under which the scans run; 0 if an older version of Syncline stored the cursor.
    #[serde(default)]
    pub definition: u32,
    /// True once the first scan of Salesforce is complete.
    pub salesforce_scanned: bool,
    /// True once the first scan of the table is complete.
    pub postgres_scanned: bool,
    /// The last Id that the first scan of Salesforce has read.
    pub scan_id: Option<SalesforceId>,
    /// The last key that the first scan of the table has read.
    pub scan_key: Option<PostgresKey>,
    /// The `Date` of the first answer of the scan that is under way.
    pub scan_started: Option<Timestamp>,
    /// The stamp from which the next catch-up reads on.
    pub stamp: Option<Timestamp>,
    /// The last Id read with exactly that stamp. The next page begins after this Id.
    pub id: Option<SalesforceId>,
    /// When the next catch-up is due.
    pub next: Option<Timestamp>,
    /// How often the cursor was stored; 0 if none is stored. Only the cursor that was read is replaced.
    #[serde(default)]
    pub revision: u64,
    /// What was found wrong with the capture of the table, as long as it is not known to be whole again. Once it is,
    /// both sides are scanned from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_gap: Option<String>,
}

impl Cursor {
    /// The cursor with which the scans begin anew, in place of this one. What was found wrong with capture stays
    /// noted.
    #[must_use]
    pub fn anew(self, definition: u32) -> Self {
        Self {
            form: 1,
            definition,
            revision: self.revision,
            capture_gap: self.capture_gap,
            ..Self::default()
        }
    }

    /// The cursor as it is stored in place of the one that was read.
    #[must_use]
    pub fn next_revision(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }
}

/// How a side answers. An open breaker means that Syncline makes no calls to the side, except a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// The version of this document's format.
    #[serde(default)]
    #[serde(rename = "v")]
    pub form: u8,
    /// How many failures were counted in a row: outages, or answers that the quota is spent.
    pub failures: u32,
    /// Present while the breaker is open. From this moment on, a probe may ask whether the side answers.
    /// Until a probe succeeds, no other call is made to the side.
    pub open_until: Option<Timestamp>,
    /// The last error message of the side.
    pub message: String,
}

/// Why a sync is paused, for code that acts on the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// A person paused the sync.
    Person,
    /// More records would be deleted, or are missing, than `delete_limit` allows.
    DeleteLimit,
    /// The table was truncated.
    Truncated,
    /// The database or the org is not the one that the instance is bound to.
    OtherIdentity,
    /// The database or the state store was restored to an earlier time.
    Restored,
    /// The definition no longer fits a side.
    Definition,
    /// `syncline state rebuild` is under way.
    Rebuild,
    /// The cause is not known: an earlier release paused the sync and stored only a message, or a newer
    /// release stored a word that this release does not know.
    Unknown,
}

impl PauseCause {
    /// Every cause that can be stored.
    pub const ALL: [Self; 8] = [
        Self::Person,
        Self::DeleteLimit,
        Self::Truncated,
        Self::OtherIdentity,
        Self::Restored,
        Self::Definition,
        Self::Rebuild,
        Self::Unknown,
    ];

    /// The word under which the cause is stored.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::DeleteLimit => "delete-limit",
            Self::Truncated => "truncated",
            Self::OtherIdentity => "other-identity",
            Self::Restored => "restored",
            Self::Definition => "definition",
            Self::Rebuild => "rebuild",
            Self::Unknown => "unknown",
        }
    }

    /// The cause that belongs to a stored word. `Unknown` if there is no word, or if a newer release wrote
    /// the word.
    #[must_use]
    pub fn of_word(word: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|cause| Some(cause.word()) == word).unwrap_or(Self::Unknown)
    }

    /// True if `syncline state rebind` and `syncline state rebuild` end the pause. Such a sync was paused
    /// because its bases did not belong to the database or the org that Syncline found.
    #[must_use]
    pub fn ends_with_rebind(self) -> bool {
        matches!(self, Self::OtherIdentity | Self::Restored | Self::Rebuild)
    }
}

/// The pause of a sync. While a sync is paused, its touches are deferred and folded, until somebody resumes
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The cause, for code.
    pub cause: PauseCause,
    /// The cause and the way out, for people.
    pub message: String,
}

/// A name whose rejected and held entries are to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The name: the key of a base, or a name that the record had before it had a base.
    pub record: String,
    /// Set if `record` is not the key of a base but a name that the record had before it had a base. Another
    /// record may have that name by now. So an entry under this name is removed only if the entry has this
    /// Salesforce Id, or has no Salesforce Id and this row key.
    pub stray_of: Option<(Option<SalesforceId>, Option<PostgresKey>)>,
}

impl Cleared {
    /// True if an entry with this Salesforce Id and this row key is to be removed with the name.
    #[must_use]
    pub fn takes(&self, id: Option<&SalesforceId>, key: Option<&PostgresKey>) -> bool {
        self.stray_of.as_ref().is_none_or(|(of_id, of_key)| match id {
            Some(id) => of_id.as_ref() == Some(id),
            None => key.is_some() && of_key.as_ref() == key,
        })
    }
}

/// What a run found, to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Records that need a person.
    pub rejected: Vec<Rejected>,
    /// Records that are held. If a delete was seen before, the stored entry keeps saying so, although a later
    /// run finds the record merely missing.
    pub held: Vec<HeldRecord>,
    /// Records that are no longer rejected or held, by what the run saw since `begun`.
    pub cleared: Vec<Cleared>,
    /// When the run began. An entry that was stored after this moment is not removed, because the run has not
    /// seen what led to it.
    pub begun: Timestamp,
    /// Touches to defer.
    pub deferred: Vec<Deferred>,
    /// Records that were linked. Touches that wait for them are due at once.
    pub linked: Vec<Parent>,
}

impl Outcomes {
    /// True if there is nothing to store. `begun` does not count.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rejected.is_empty()
            && self.held.is_empty()
            && self.cleared.is_empty()
            && self.deferred.is_empty()
            && self.linked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_under_another_records_name_clears_only_notes_of_the_own_record() {
        let id = |text: &str| SalesforceId::parse(text).unwrap();
        let (one, other) = (id("001D000000IqhSL"), id("001D000000IqhSM"));
        let (row, another) = (PostgresKey("[\"1\"]".into()), PostgresKey("[\"2\"]".into()));
        let own = Cleared { record: "x".into(), stray_of: None };
        assert!(own.takes(Some(&one), None) && own.takes(None, Some(&row)) && own.takes(None, None));
        let stray = |id: Option<&SalesforceId>, key: Option<&PostgresKey>| Cleared {
            record: "x".into(),
            stray_of: Some((id.cloned(), key.cloned())),
        };
        let both = stray(Some(&one), Some(&row));
        assert!(both.takes(Some(&one), Some(&another)), "the Id names it, whatever row it had");
        assert!(!both.takes(Some(&other), Some(&row)));
        assert!(both.takes(None, Some(&row)) && !both.takes(None, Some(&another)));
        assert!(!both.takes(None, None));
        assert!(!stray(None, None).takes(None, None) && !stray(None, None).takes(Some(&one), None));
    }

    #[test]
    fn every_cause_of_a_pause_is_read_back_from_its_word() {
        for cause in PauseCause::ALL {
            assert_eq!(PauseCause::of_word(Some(cause.word())), cause);
        }
        assert_eq!(PauseCause::of_word(None), PauseCause::Unknown);
        assert_eq!(PauseCause::of_word(Some("of a newer release")), PauseCause::Unknown);
    }

    #[test]
    fn outcomes_are_empty_only_with_nothing_of_any_kind() {
        let touch = Touch::of_key(
            "contacts",
            PostgresKey("[\"1\"]".into()),
            crate::Source::Person,
            Timestamp::UNIX_EPOCH,
        );
        assert!(Outcomes { begun: Timestamp::MAX, ..Outcomes::default() }.is_empty());
        let cleared = vec![Cleared { record: "x".into(), stray_of: None }];
        assert!(!Outcomes { cleared, ..Outcomes::default() }.is_empty());
        let deferred = vec![Deferred { touch, due: Timestamp::UNIX_EPOCH, waits_for: vec![] }];
        assert!(!Outcomes { deferred, ..Outcomes::default() }.is_empty());
        let linked = vec![Parent::Postgres("contacts".into(), PostgresKey("[\"1\"]".into()))];
        assert!(!Outcomes { linked, ..Outcomes::default() }.is_empty());
    }
}
