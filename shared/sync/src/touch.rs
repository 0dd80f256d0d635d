//! Touches: "this record of this sync may have changed".

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use syncline_engine::{PostgresKey, SalesforceId, SyncName};

/// The form of a [`Touch`] that this code writes.
pub const TOUCH_FORM: u8 = 1;

/// Where a touch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An outbound message.
    OutboundMessage,
    /// The capture log.
    CaptureLog,
    /// A scan on `SystemModstamp`.
    CatchUp,
    /// The first scan of a new sync.
    FirstScan,
    /// A person.
    Person,
}

impl Source {
    /// The word for this source in history and messages.
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

/// What is known of a delete. It survives folding and retries, and alone never deletes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteEvidence {
    /// A DELETE was captured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pg_deleted: bool,
    /// Salesforce said `IsDeleted`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sf_deleted: bool,
}

/// A record that may have changed. It never carries a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The form of this document, [`TOUCH_FORM`].
    pub v: u8,
    /// The sync.
    pub sync: SyncName,
    /// The record's Id, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SalesforceId>,
    /// The row's key, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PostgresKey>,
    /// The row's key before it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_key: Option<PostgresKey>,
    /// Where it comes from.
    pub source: Source,
    /// What is known of a delete.
    #[serde(default)]
    pub evidence: DeleteEvidence,
    /// The `SystemModstamp` that gave rise to it, if that is all that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Timestamp>,
    /// On whose behalf the row was changed, where an app says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When it was first noticed.
    pub at: Timestamp,
    /// How often it was put off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Touch {
    /// A touch of a Salesforce record.
    #[must_use]
    pub fn of_id(sync: &str, id: SalesforceId, source: Source, at: Timestamp) -> Self {
        Self { id: Some(id), ..Self::bare(sync, source, at) }
    }

    /// A touch of a row.
    #[must_use]
    pub fn of_key(sync: &str, key: PostgresKey, source: Source, at: Timestamp) -> Self {
        Self { key: Some(key), ..Self::bare(sync, source, at) }
    }

    fn bare(sync: &str, source: Source, at: Timestamp) -> Self {
        Self {
            v: TOUCH_FORM,
            sync: sync.to_owned(),
            id: None,
            key: None,
            old_key: None,
            source,
            evidence: DeleteEvidence::default(),
            stamp: None,
            actor: None,
            at,
            attempt: 0,
        }
    }

    /// What names the record in this touch: its Id if known, else its row's key.
    #[must_use]
    pub fn record(&self) -> String {
        match (&self.id, &self.key) {
            (Some(id), _) => id.as_str().to_owned(),
            (None, Some(key)) => format!("p:{key}"),
            (None, None) => String::new(),
        }
    }

    /// Under what it is put off. Touches of one record that name different rows stand side by side: one of the rows
    /// may turn out to be another's.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.id, &self.key, &self.old_key) {
            (None, _, None) | (_, None, None) => self.record(),
            (_, key, old_key) => {
                let names = [old_key, key].into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
                format!("{} {}", self.record(), names.join(" "))
            }
        }
    }

    /// The queue group of this touch: touches of one record exclude each other, four groups work side by side.
    #[must_use]
    pub fn group(&self) -> String {
        // FNV-1a: stable across builds, for a group outlives the process that names it.
        let hash = self.record().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{}.{}", self.sync, (hash >> 32) % 4)
    }

    /// True if each names a row, and not the same one, or not the same change of its key: one of them would be lost
    /// in the other.
    #[must_use]
    pub fn names_another_row(&self, other: &Self) -> bool {
        let rekeyed = self.old_key.is_some() && other.old_key.is_some() && self.old_key != other.old_key;
        self.key.is_some() && other.key.is_some() && (self.key != other.key || rekeyed)
    }

    /// The same occasion to look at this record alone.
    #[must_use]
    pub fn alone_of_id(&self, id: SalesforceId) -> Self {
        Self { id: Some(id), key: None, old_key: None, ..self.clone() }
    }

    /// The same occasion to look at this row alone, whoever's it is.
    #[must_use]
    pub fn alone_of_row(&self, key: PostgresKey) -> Self {
        Self { id: None, key: Some(key), old_key: None, stamp: None, ..self.clone() }
    }

    /// A touch of its record and one of its row, each to be looked at for itself.
    #[must_use]
    pub fn apart(&self) -> Vec<Self> {
        let by_id = self.id.is_some().then(|| Self { key: None, ..self.clone() });
        let by_key = self.key.is_some().then(|| Self { id: None, ..self.clone() });
        by_id.into_iter().chain(by_key).collect()
    }

    /// Takes in another touch of the same record.
    pub fn absorb(&mut self, other: Self) {
        self.evidence.pg_deleted |= other.evidence.pg_deleted;
        self.evidence.sf_deleted |= other.evidence.sf_deleted;
        self.stamp = match (self.stamp, other.stamp) {
            (Some(one), Some(another)) => Some(one.max(another)),
            _ => None,
        };
        if other.at < self.at {
            self.source = other.source;
        }
        self.at = self.at.min(other.at);
        self.id = self.id.take().or(other.id);
        // The key that a row was given counts, not one under which it was seen before.
        if other.old_key.is_some() || self.old_key.is_none() {
            self.key = other.key.or(self.key.take());
        }
        self.old_key = other.old_key.or(self.old_key.take());
        self.actor = other.actor.or(self.actor.take());
        self.attempt = self.attempt.min(other.attempt);
    }
}

/// Folds touches of one record into one, unless they name different rows; the order of first appearance stays.
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

    #[test]
    fn a_touch_is_small_and_reads_back() {
        let json = serde_json::to_string(&touch(1)).unwrap();
        assert!(json.len() < 1024);
        assert_eq!(serde_json::from_str::<Touch>(&json).unwrap(), touch(1));
    }
}
