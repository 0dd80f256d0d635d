//! Touches. A touch says "this record of this sync may have changed".

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use syncline_engine::{BaseKey, PostgresKey, SalesforceId, SyncName};

/// The version of the format in which this release writes a [`Touch`].
pub const TOUCH_FORM: u8 = 1;

/// What led to a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An outbound message of Salesforce.
    OutboundMessage,
    /// A row of the capture log.
    CaptureLog,
    /// A scan for changed `SystemModstamp`s.
    CatchUp,
    /// The first scan of a new sync.
    FirstScan,
    /// A command of a person.
    Person,
}

impl Source {
    /// The word for this source in the history and in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OutboundMessage => "outbound-message",
            Self::CaptureLog => "capture-log",
            Self::CatchUp => "catch-up",
            Self::FirstScan => "first-scan",
            Self::Person => "person",
        }
    }
}

/// What is known of a delete. It is kept when touches are folded or deferred. Evidence alone never leads to a
/// delete: both sides are read first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteEvidence {
    /// A DELETE of the row was captured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pg_deleted: bool,
    /// Salesforce answered `IsDeleted` for the record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sf_deleted: bool,
}

/// A record that may have changed. A touch never carries a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The version of this document's format, [`TOUCH_FORM`].
    #[serde(rename = "v")]
    pub form: u8,
    /// The name of the sync.
    pub sync: SyncName,
    /// The record's Salesforce Id, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PostgresKey>,
    /// The key of the row before the key changed. Absent if no change of the key is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_key: Option<PostgresKey>,
    /// What led to the touch.
    pub source: Source,
    /// What is known of a delete.
    #[serde(default)]
    pub evidence: DeleteEvidence,
    /// The `SystemModstamp` that led to the touch. Absent if anything else led to it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Timestamp>,
    /// The latest `SystemModstamp` with which a scan has seen the record. A read that answers an older one is
    /// out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Timestamp>,
    /// True if catch-up read the stamp near the end of its look-back. A transaction that began at this stamp
    /// has ended by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The person or app on whose behalf the row was changed, where the app says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When the change was first noticed.
    pub at: Timestamp,
    /// How many times the touch was deferred.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// How many times a side refused the record before this touch. A touch of a refused record tries it again although
    /// the record did not change, because others may have changed what it was refused for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Touch {
    /// A touch that names a Salesforce record.
    #[must_use]
    pub fn of_id(sync: &str, id: SalesforceId, source: Source, at: Timestamp) -> Self {
        Self { id: Some(id), ..Self::bare(sync, source, at) }
    }

    /// A touch that names a row.
    #[must_use]
    pub fn of_key(sync: &str, key: PostgresKey, source: Source, at: Timestamp) -> Self {
        Self { key: Some(key), ..Self::bare(sync, source, at) }
    }

    /// A touch that names neither a record nor a row yet.
    #[must_use]
    pub fn bare(sync: &str, source: Source, at: Timestamp) -> Self {
        Self {
            form: TOUCH_FORM,
            sync: sync.to_owned(),
            id: None,
            key: None,
            old_key: None,
            source,
            evidence: DeleteEvidence::default(),
            stamp: None,
            at_least: None,
            late: false,
            actor: None,
            at,
            attempt: 0,
            refusals: 0,
        }
    }

    /// The name of the record in this touch: its Salesforce Id if known, otherwise the key of its row.
    #[must_use]
    pub fn record(&self) -> String {
        match (&self.id, &self.key) {
            (Some(id), _) => id.as_str().to_owned(),
            (None, Some(key)) => BaseKey::of_row(key).0,
            (None, None) => String::new(),
        }
    }

    /// The key under which the touch is stored while it is deferred. Touches of one record that name
    /// different rows get different keys, because one of the rows may turn out to belong to another record.
    #[must_use]
    pub fn deferred_key(&self) -> String {
        match (&self.id, &self.key, &self.old_key) {
            (None, _, None) | (_, None, None) => self.record(),
            (_, key, old_key) => {
                let names = [old_key, key].into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
                format!("{} {}", self.record(), names.join(" "))
            }
        }
    }

    /// The queue group of this touch. Touches of one record are in the same group, so no two are worked on at
    /// once. Each sync has four groups, which are worked on in parallel.
    #[must_use]
    pub fn group(&self) -> String {
        // FNV-1a gives the same hash in every build. A message may be read by a later build than the one that
        // named its group.
        let hash = self.record().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{}.{}", self.sync, (hash >> 32) % 4)
    }

    /// True if both touches name a row and folding them would lose one: their rows differ, or they report
    /// different changes of the row's key.
    #[must_use]
    pub fn names_another_row(&self, other: &Self) -> bool {
        let rekeyed = self.old_key.is_some() && other.old_key.is_some() && self.old_key != other.old_key;
        self.key.is_some() && other.key.is_some() && (self.key != other.key || rekeyed)
    }

    /// A copy of this touch that names only the Salesforce record.
    #[must_use]
    pub fn alone_of_id(&self, id: SalesforceId) -> Self {
        Self { id: Some(id), key: None, old_key: None, ..self.clone() }
    }

    /// A copy of this touch that names only the row, whichever record the row belongs to.
    #[must_use]
    pub fn alone_of_row(&self, key: PostgresKey) -> Self {
        Self { id: None, key: Some(key), old_key: None, stamp: None, ..self.clone() }
    }

    /// Splits the touch into one that names the record and one that names the row, so that each is reconciled
    /// separately.
    #[must_use]
    pub fn apart(&self) -> Vec<Self> {
        let by_id = self.id.is_some().then(|| Self { key: None, ..self.clone() });
        let by_key = self.key.is_some().then(|| Self { id: None, ..self.clone() });
        by_id.into_iter().chain(by_key).collect()
    }

    /// Folds another touch of the same record into this one.
    pub fn absorb(&mut self, other: Self) {
        self.evidence.pg_deleted |= other.evidence.pg_deleted;
        self.evidence.sf_deleted |= other.evidence.sf_deleted;
        self.stamp = match (self.stamp, other.stamp) {
            (Some(one), Some(another)) => Some(one.max(another)),
            _ => None,
        };
        self.at_least = self.at_least.max(other.at_least);
        self.late |= other.late;
        if other.at < self.at {
            self.source = other.source;
        }
        self.at = self.at.min(other.at);
        self.id = self.id.take().or(other.id);
        // A key that the row was changed to takes precedence over a key under which the row was merely seen.
        if other.old_key.is_some() || self.old_key.is_none() {
            self.key = other.key.or(self.key.take());
        }
        self.old_key = other.old_key.or(self.old_key.take());
        self.actor = other.actor.or(self.actor.take());
        self.attempt = self.attempt.min(other.attempt);
        self.refusals = self.refusals.max(other.refusals);
    }
}

/// Folds touches of one record into one touch, unless they name different rows. The order of first appearance
/// is kept.
///
/// # Example
///
/// ```
/// use jiff::Timestamp;
/// use syncline_engine::PostgresKey;
/// use syncline_sync::{Source, Touch, fold};
///
/// let touch = |id: &str, second| {
///     let at = Timestamp::from_second(second).unwrap();
///     Touch::of_key("contacts", PostgresKey::of_columns([id]), Source::CaptureLog, at)
/// };
/// let mut deleted = touch("42", 9);
/// deleted.evidence.pg_deleted = true;
///
/// let folded = fold([touch("42", 7), touch("43", 8), deleted]);
///
/// assert_eq!(folded.len(), 2, "two records");
/// assert!(folded[0].evidence.pg_deleted, "evidence of a delete is never lost");
/// assert_eq!(folded[0].at.as_second(), 7, "the record waits since its first touch");
/// ```
#[must_use]
pub fn fold(touches: impl IntoIterator<Item = Touch>) -> Vec<Touch> {
    let mut places: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    let mut folded: Vec<Touch> = Vec::new();
    for touch in touches {
        let of_record = places.entry((touch.sync.clone(), touch.record())).or_default();
        match of_record.iter().find(|at| !folded[**at].names_another_row(&touch)) {
            Some(at) => folded[*at].absorb(touch),
            None => {
                of_record.push(folded.len());
                folded.push(touch);
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touch(at: i64) -> Touch {
        let id = SalesforceId::parse("001D000000IqhSL").unwrap();
        Touch::of_id("accounts", id, Source::CatchUp, Timestamp::from_second(at).unwrap())
    }

    #[test]
    fn folding_unions_evidence_and_keeps_the_oldest_moment() {
        let mut deleted = touch(5);
        deleted.evidence.pg_deleted = true;
        deleted.stamp = Some(Timestamp::from_second(4).unwrap());
        let folded = fold([deleted, touch(3), touch(9)]);
        assert_eq!(folded.len(), 1);
        assert!(folded[0].evidence.pg_deleted && !folded[0].evidence.sf_deleted);
        assert_eq!(folded[0].at.as_second(), 3);
        assert_eq!(folded[0].stamp, None, "one of them was not about a stamp");
    }

    fn key(number: u32) -> PostgresKey {
        PostgresKey(format!("[\"{number}\"]"))
    }

    /// Generates touches from few different values for each part, so that touches often share a value.
    fn touches() -> impl Strategy<Value = Touch> {
        let few_keys = || proptest::option::of((0..3_u32).prop_map(key));
        let ids = proptest::option::of(proptest::sample::select(vec!["001D000000IqhSL", "001D000000IqhSM"]));
        let source =
            proptest::sample::select(vec![Source::OutboundMessage, Source::CaptureLog, Source::CatchUp]);
        let moments = (0..4_i64, proptest::option::of(0..4_i64), 0..3_u32);
        let flags = (any::<bool>(), any::<bool>(), proptest::option::of("[ab]"));
        (ids, few_keys(), few_keys(), source, moments, flags).prop_map(
            |(id, key, old_key, source, (at, stamp, attempt), (pg_deleted, sf_deleted, actor))| Touch {
                id: id.map(|id| SalesforceId::parse(id).unwrap()),
                key,
                old_key,
                evidence: DeleteEvidence { pg_deleted, sf_deleted },
                stamp: stamp.map(|stamp| Timestamp::from_second(stamp).unwrap()),
                actor,
                attempt,
                ..Touch::bare("accounts", source, Timestamp::from_second(at).unwrap())
            },
        )
    }

    proptest! {
        #[test]
        fn a_touch_is_small_and_reads_back(touch in touches()) {
            let json = serde_json::to_string(&touch).unwrap();
            prop_assert!(json.len() < 1024);
            prop_assert_eq!(json.contains("attempt"), touch.attempt > 0);
            prop_assert_eq!(serde_json::from_str::<Touch>(&json).unwrap(), touch);
        }

        #[test]
        fn folding_loses_no_evidence_no_name_and_no_moment(many in proptest::collection::vec(touches(), 0..8)) {
            let folded = fold(many.clone());
            prop_assert!(folded.len() <= many.len());
            for touch in &many {
                let into = folded.iter().find(|one| {
                    let row = touch.key.is_none() || one.key.is_some() && !one.names_another_row(touch)
                        || one.old_key.is_some();
                    one.record() == touch.record()
                        && row
                        && (one.evidence.pg_deleted || !touch.evidence.pg_deleted)
                        && (one.evidence.sf_deleted || !touch.evidence.sf_deleted)
                        && one.at <= touch.at
                        && one.attempt <= touch.attempt
                        && (one.old_key.is_some() || touch.old_key.is_none())
                        && (one.stamp.is_none() || touch.stamp.is_some() && one.stamp >= touch.stamp)
                });
                prop_assert!(into.is_some(), "{:?} is not in {:?}", touch, folded);
            }
        }

        #[test]
        fn touches_that_name_different_rows_stand_side_by_side(one in touches(), other in touches()) {
            prop_assert_eq!(one.names_another_row(&other), other.names_another_row(&one));
            prop_assert!(!one.names_another_row(&one));
            if one.record() == other.record() {
                let apart = one.key.is_some() && other.key.is_some()
                    && (one.key != other.key
                        || one.old_key.is_some() && other.old_key.is_some() && one.old_key != other.old_key);
                prop_assert_eq!(fold([one.clone(), other.clone()]).len(), if apart { 2 } else { 1 });
                if one.deferred_key() == other.deferred_key() {
                    prop_assert_eq!(one.group(), other.group());
                }
            }
        }
    }

    #[test]
    fn a_touch_with_id_and_key_splits_into_one_of_the_record_and_one_of_the_row() {
        let mut both = touch(7);
        both.key = Some(key(1));
        both.old_key = Some(key(2));
        both.stamp = Some(both.at);
        let [of_record, of_row] = both.apart().try_into().unwrap();
        assert_eq!((of_record.id.clone(), of_record.key), (both.id.clone(), None));
        assert_eq!((of_row.id, of_row.key), (None, both.key.clone()));
        let id = SalesforceId::parse("001D000000IqhSM").unwrap();
        let alone = both.alone_of_id(id.clone());
        assert_eq!(alone, Touch { id: Some(id), key: None, old_key: None, ..both.clone() });
        let alone = both.alone_of_row(key(3));
        assert_eq!(alone, Touch { id: None, key: Some(key(3)), old_key: None, stamp: None, ..both.clone() });
        assert_eq!(touch(1).apart(), [touch(1)]);
    }

    #[test]
    fn a_touch_is_named_by_its_id_else_by_its_row_and_deferred_by_what_it_names() {
        let of_id = touch(1);
        let of_key = Touch::of_key("accounts", key(1), Source::CaptureLog, of_id.at);
        assert_eq!(
            (of_id.record(), of_id.deferred_key()),
            ("001D000000IqhSLIAZ".into(), "001D000000IqhSLIAZ".into())
        );
        assert_eq!((of_key.record(), of_key.deferred_key()), ("p:[\"1\"]".into(), "p:[\"1\"]".into()));
        let both = Touch { key: Some(key(1)), ..of_id.clone() };
        assert_eq!(both.deferred_key(), "001D000000IqhSLIAZ [\"1\"]");
        let rekeyed = Touch { old_key: Some(key(2)), ..both };
        assert_eq!(rekeyed.deferred_key(), "001D000000IqhSLIAZ [\"2\"] [\"1\"]");
        // The expected values were computed with the published FNV-1a elsewhere. A group name has to stay the
        // same across builds.
        assert_eq!((of_id.group(), of_key.group()), ("accounts.2".to_owned(), "accounts.0".to_owned()));
        let groups: std::collections::BTreeSet<String> =
            (0..50).map(|n| Touch { key: Some(key(n)), ..of_key.clone() }.group()).collect();
        assert_eq!(groups.len(), 4);
    }

    #[test]
    fn the_source_seen_first_names_a_folded_touch() {
        let at = |second, source| Touch { source, ..touch(second) };
        let source = |one, other| fold([one, other]).remove(0).source;
        assert_eq!(source(at(5, Source::CatchUp), at(3, Source::Person)), Source::Person);
        assert_eq!(source(at(3, Source::CatchUp), at(5, Source::Person)), Source::CatchUp);
        assert_eq!(source(at(3, Source::CatchUp), at(3, Source::Person)), Source::CatchUp);
    }

    #[test]
    fn two_stamps_fold_into_the_later_one() {
        let stamped = |second| Touch { stamp: Some(Timestamp::from_second(second).unwrap()), ..touch(1) };
        for order in [[4, 7], [7, 4]] {
            let folded = fold(order.map(stamped));
            assert_eq!((folded.len(), folded[0].stamp.map(Timestamp::as_second)), (1, Some(7)));
        }
    }

    #[test]
    fn what_a_scan_has_seen_stays_known_when_a_touch_without_stamp_is_folded_in() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let seen = |second| Touch { stamp: at(second), at_least: at(second), ..touch(1) };
        for order in [[seen(4), touch(1), seen(7)], [seen(7), seen(4), touch(1)]] {
            let folded = fold(order);
            assert_eq!((folded.len(), folded[0].stamp, folded[0].at_least), (1, None, at(7)));
        }
    }

    #[test]
    fn a_source_is_stored_under_the_word_that_it_shows() {
        for source in
            [Source::OutboundMessage, Source::CaptureLog, Source::CatchUp, Source::FirstScan, Source::Person]
        {
            assert_eq!(serde_json::to_string(&source).unwrap(), format!("\"{}\"", source.word()));
        }
    }

    #[test]
    fn folded_touches_of_a_row_keep_its_newest_key() {
        let named =
            |key: Option<PostgresKey>, old_key: Option<PostgresKey>| Touch { key, old_key, ..touch(1) };
        let absorbed = |mut one: Touch, other: Touch| {
            one.absorb(other);
            (one.key, one.old_key)
        };
        let (k1, k2) = (Some(key(1)), Some(key(2)));
        assert_eq!(
            absorbed(named(k2.clone(), k1.clone()), named(k1.clone(), None)),
            (k2.clone(), k1.clone())
        );
        assert_eq!(
            absorbed(named(k1.clone(), None), named(k2.clone(), k1.clone())),
            (k2.clone(), k1.clone())
        );
        assert_eq!(absorbed(named(None, None), named(k1.clone(), None)), (k1.clone(), None));
        assert_eq!(absorbed(named(k1.clone(), None), named(None, None)), (k1, None));
    }
}
