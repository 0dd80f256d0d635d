//! The state store.

use super::PortError;
use crate::touch::Touch;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use syncline_engine::{
    Base, BaseKey, FieldName, Fingerprint, Held, Parent, PostgresKey, Reason, SalesforceId, Side, SyncName,
    Value,
};

/// What leads to a base.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordRef {
    /// The Salesforce Id.
    Id(SalesforceId),
    /// The row's key.
    Key(PostgresKey),
    /// The external Id of our create.
    ExternalId(String),
    /// Its own key.
    Base(BaseKey),
}

/// What is known of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRecord {
    /// Its base.
    pub base: Option<Base>,
    /// Why it was rejected, if it is.
    pub rejected: Option<Rejected>,
}

/// A field on which both sides changed to different values, as the conflict log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Hash of sync, record, field and base version: saved twice, it is one.
    pub id: String,
    /// The sync.
    pub sync: SyncName,
    /// The record: its base's key.
    pub record: String,
    /// Its Salesforce Id.
    pub salesforce_id: Option<SalesforceId>,
    /// Its row's key.
    pub postgres_key: Option<PostgresKey>,
    /// The field.
    pub field: FieldName,
    /// What Salesforce held.
    pub salesforce: Value,
    /// What Postgres held.
    pub postgres: Value,
    /// Whose value stands.
    pub winner: Side,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

/// A record that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The form of this document.
    #[serde(rename = "v")]
    pub form: u8,
    /// The sync.
    pub sync: SyncName,
    /// The record: its base's key.
    pub record: String,
    /// Its Salesforce Id.
    pub salesforce_id: Option<SalesforceId>,
    /// Its row's key.
    pub postgres_key: Option<PostgresKey>,
    /// The side that refuses.
    pub side: Side,
    /// Its code.
    pub code: String,
    /// Its own words.
    pub message: String,
    /// The fields it names.
    pub fields: Vec<String>,
    /// The fingerprints of both images at the time: found unchanged, the record is not tried again.
    pub images: BTreeMap<String, Fingerprint>,
    /// The definition's version at the time.
    pub definition: u32,
    /// When.
    pub at: Timestamp,
}

/// A record on which nothing is written although the sides differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRecord {
    /// The form of this document.
    #[serde(rename = "v")]
    pub form: u8,
    /// The sync.
    pub sync: SyncName,
    /// The record: its base's key.
    pub record: String,
    /// Its Salesforce Id.
    pub salesforce_id: Option<SalesforceId>,
    /// Its row's key.
    pub postgres_key: Option<PostgresKey>,
    /// Why.
    pub held: Held,
    /// The record that it was merged into in Salesforce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<SalesforceId>,
    /// When it was seen first.
    pub at: Timestamp,
    /// When it was seen last.
    #[serde(default)]
    pub seen: Timestamp,
}

/// A base to save, with the conflicts that count only if it is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The base; it is saved with `expected + 1` as its version.
    pub base: Base,
    /// The version that must stand; 0 for none.
    pub expected: u64,
    /// Conflicts, saved in the same transaction.
    pub conflicts: Vec<Conflict>,
}

/// A touch put off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// The touch.
    pub touch: Touch,
    /// When it is due.
    pub due: Timestamp,
    /// Linking one of these makes it due at once.
    pub waits_for: Vec<Parent>,
}

impl Deferred {
    /// One touch of two that stand for the same: this later one takes in the one that is stored already. It is due at
    /// the earlier of the two moments, and waits for the parents of both.
    #[must_use]
    pub fn over(mut self, stored: Self) -> Self {
        self.due = self.due.min(stored.due);
        self.waits_for.extend(stored.waits_for);
        self.touch.absorb(stored.touch);
        self
    }
}

/// A touch that is due. It stays stored until it is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The touch, or a message of a newer form as it was received.
    pub touch: Result<Touch, (String, String)>,
    /// Names this very version of the stored touch: one that took in another since is not dropped.
    pub token: String,
}

/// Where the scans of a sync stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The form of this document.
    #[serde(rename = "v")]
    pub form: u8,
    /// The first scan of Salesforce is done.
    pub salesforce_scanned: bool,
    /// The first scan of the table is done.
    pub postgres_scanned: bool,
    /// The last Id of the first scan.
    pub scan_id: Option<SalesforceId>,
    /// The last key of the first scan.
    pub scan_key: Option<PostgresKey>,
    /// The `Date` of the running scan's first answer.
    pub scan_started: Option<Timestamp>,
    /// Catch-up goes on from this stamp.
    pub stamp: Option<Timestamp>,
    /// And after this Id of the same stamp.
    pub id: Option<SalesforceId>,
    /// When the next catch-up is due.
    pub next: Option<Timestamp>,
}

/// What is known of a side's availability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// The form of this document.
    #[serde(default)]
    #[serde(rename = "v")]
    pub form: u8,
    /// Outage errors in a row.
    pub failures: u32,
    /// The side is left alone until then.
    pub open_until: Option<Timestamp>,
    /// Its last words.
    pub message: String,
}

/// Why a sync is paused, for code that acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// A person paused it.
    Person,
    /// More would be deleted, or is missing, than `delete_limit` allows.
    DeleteLimit,
    /// The table was truncated.
    Truncated,
    /// The database or the org is not the one that the instance is bound to.
    OtherIdentity,
    /// The database or the state store was restored to an earlier time.
    Restored,
    /// The definition does not fit a side any more.
    Definition,
    /// `syncline state rebuild` is under way.
    Rebuild,
    /// An earlier release paused it, which kept the words alone.
    Unknown,
}

impl PauseCause {
    /// Every cause that is stored.
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

    /// The word under which it is stored.
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

    /// The cause of a stored word; `Unknown` for none, and for a word of a newer release.
    #[must_use]
    pub fn of_word(word: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|cause| Some(cause.word()) == word).unwrap_or(Self::Unknown)
    }

    /// Whether `syncline state rebind` and `syncline state rebuild` end it: the sync stopped because what is agreed on
    /// did not belong to the database or the org that was met.
    #[must_use]
    pub fn ends_with_rebind(self) -> bool {
        matches!(self, Self::OtherIdentity | Self::Restored | Self::Rebuild)
    }
}

/// A sync is paused: its touches wait and fold until somebody resumes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why, for code.
    pub cause: PauseCause,
    /// Why, and how to go on, for people.
    pub message: String,
}

/// A name under which a record is neither rejected nor held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// The name.
    pub record: String,
    /// It is no base's own, but one that the record bore before it had a base; another record may bear it by now, so
    /// what is noted under it goes only if it names this Id, or no Id and this key.
    pub stray_of: Option<(Option<SalesforceId>, Option<PostgresKey>)>,
}

impl Cleared {
    /// Whether a note of this Id and key goes with the name.
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
    /// Records that need a person from now on.
    pub rejected: Vec<Rejected>,
    /// Records that are held. A delete that was seen stays one though a later look finds the record merely missing.
    pub held: Vec<HeldRecord>,
    /// Records that are neither rejected nor held any more, by what was seen since `begun`.
    pub cleared: Vec<Cleared>,
    /// When the run began: what was noted of a record after that, it has not seen, and does not clear.
    pub begun: Timestamp,
    /// Touches put off.
    pub deferred: Vec<Deferred>,
    /// Records that were linked: what waits for them is due.
    pub linked: Vec<Parent>,
}

impl Outcomes {
    /// True if there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rejected.is_empty()
            && self.held.is_empty()
            && self.cleared.is_empty()
            && self.deferred.is_empty()
            && self.linked.is_empty()
    }
}

/// The state store. Reads of bases are consistent.
pub trait State: Send + Sync {
    /// Loads what is known of records. References that lead to one base answer it each time.
    fn load(
        &self,
        sync: &str,
        refs: &[RecordRef],
    ) -> impl Future<Output = Result<Vec<KnownRecord>, PortError>> + Send;

    /// Saves bases by compare-and-set, each for itself. `false`: another version stands, or its Id, key or
    /// external Id leads to another base.
    fn put(&self, sync: &str, puts: Vec<Put>) -> impl Future<Output = Result<Vec<bool>, PortError>> + Send;

    /// The rejected entry of a record that has no base yet.
    fn rejected(
        &self,
        sync: &str,
        keys: &[BaseKey],
    ) -> impl Future<Output = Result<Vec<Option<Rejected>>, PortError>> + Send;

    /// Stores what a run found. A touch is folded into the one that is put off already.
    fn store(&self, sync: &str, outcomes: Outcomes) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Puts off a message whose form is not understood, as it is.
    fn defer_message(
        &self,
        group: &str,
        body: &str,
        due: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Touches that are due.
    fn due(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<Vec<Due>, PortError>> + Send;

    /// The queue has these.
    fn drop_due(&self, tokens: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Where the scans stand.
    fn cursor(&self, sync: &str) -> impl Future<Output = Result<Cursor, PortError>> + Send;

    /// Saves where the scans stand.
    fn put_cursor(&self, sync: &str, cursor: &Cursor) -> impl Future<Output = Result<(), PortError>> + Send;

    /// What is known of a side's availability.
    fn breaker(&self, side: Side) -> impl Future<Output = Result<Breaker, PortError>> + Send;

    /// Saves it.
    fn put_breaker(
        &self,
        side: Side,
        breaker: &Breaker,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Counts `count` more if no more than `limit` are counted within the window up to now; all or none, in one
    /// atomic step.
    fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> impl Future<Output = Result<bool, PortError>> + Send;

    /// What is counted within the window up to now, less what was allowed.
    fn taken(
        &self,
        counter: &str,
        now: Timestamp,
        window: SignedDuration,
    ) -> impl Future<Output = Result<i64, PortError>> + Send;

    /// Lets so many more through a counter within its window.
    fn allow(
        &self,
        counter: &str,
        count: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Takes calls from the bucket, which may go below nothing, and answers what is left. It fills by
    /// `per_second` up to `capacity`, with which it begins.
    fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> impl Future<Output = Result<f64, PortError>> + Send;

    /// How many records of the sync are linked.
    fn linked(&self, sync: &str) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Makes everything due that was put off and waits for no parent, a hundred a second, within a time from now.
    fn make_due(
        &self,
        now: Timestamp,
        spread: SignedDuration,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// The pulse that was seen last.
    fn pulse(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Sets the pulse.
    fn put_pulse(&self, pulse: u64) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Forgets bases that ended before, and what counters counted before that.
    fn forget(&self, before: Timestamp) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Why the sync is paused, if it is.
    fn paused(&self, sync: &str) -> impl Future<Output = Result<Option<Pause>, PortError>> + Send;

    /// Pauses or resumes a sync.
    fn put_paused(
        &self,
        sync: &str,
        pause: Option<&Pause>,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
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
