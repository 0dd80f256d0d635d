//! One record on its way through a run.

use crate::ports::{DeletedRecord, ReadOutcome, Rejected, RemoteRecord, Row};
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_engine::{
    Absence, Base, BaseKey, Evidence, Fingerprint, Op, PostgresKey, RecordPlan, SalesforceId, Side,
};

/// What was read of Salesforce.
#[derive(Clone, Debug, Default)]
pub(super) enum Remote {
    /// There is no Id to ask for.
    #[default]
    Unknown,
    /// The record.
    Present(RemoteRecord),
    /// In the recycle bin.
    Deleted(DeletedRecord),
    /// Not found, without evidence.
    Absent,
}

impl From<ReadOutcome> for Remote {
    fn from(outcome: ReadOutcome) -> Self {
        match outcome {
            ReadOutcome::Record(record) => Self::Present(record),
            ReadOutcome::Deleted(record) => Self::Deleted(record),
            ReadOutcome::Absent => Self::Absent,
        }
    }
}

/// The base's row is known to be deleted; what becomes of its record is not decided, or a person decides it.
pub(super) fn was_deleted_from_postgres(base: &Base) -> bool {
    base.gone.is_some_and(|gone| gone.side == Side::Postgres && gone.how != Absence::Missing)
}

/// One record on its way through a run.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) touch: Touch,
    /// As it was loaded.
    pub(super) base: Option<Base>,
    pub(super) rejected: Option<Rejected>,
    /// The key of a base to be made, where the usual one is taken.
    pub(super) fresh_key: Option<BaseKey>,
    pub(super) remote: Remote,
    pub(super) read_at: Option<Timestamp>,
    /// Of the intent that was loaded; once resolved, of this run's own.
    pub(super) evidence: Evidence,
    pub(super) row: Option<Row>,
    /// The base with its intent resolved; as saved with the intent of this run later on.
    pub(super) resolved: Option<Base>,
    pub(super) plan: RecordPlan,
    /// The link column is to be filled with this.
    pub(super) link: Option<SalesforceId>,
    pub(super) images: BTreeMap<String, Fingerprint>,
}

impl Work {
    pub(super) fn new(touch: Touch, base: Option<Base>, rejected: Option<Rejected>) -> Self {
        Self {
            touch,
            base,
            rejected,
            fresh_key: None,
            remote: Remote::Unknown,
            read_at: None,
            evidence: Evidence::default(),
            row: None,
            resolved: None,
            plan: RecordPlan::default(),
            link: None,
            images: BTreeMap::new(),
        }
    }

    /// The record's Id, as far as it is known.
    pub(super) fn id(&self) -> Option<SalesforceId> {
        let base = self.resolved.as_ref().or(self.base.as_ref());
        let of_base = base.and_then(|base| base.salesforce_id.clone());
        self.evidence.salesforce.clone().or(of_base).or_else(|| self.touch.id.clone())
    }

    /// The row's key, as far as it is known.
    pub(super) fn key(&self) -> Option<PostgresKey> {
        let base = self.resolved.as_ref().or(self.base.as_ref());
        let of_base = base.and_then(|base| base.postgres_key.clone());
        let of_row = self.row.as_ref().map(|row| row.key.clone());
        of_row.or_else(|| self.moved_to()).or(of_base).or_else(|| self.touch.key.clone())
    }

    /// The key that the row was given, if the touch says so: a row without link is known by nothing else.
    pub(super) fn moved_to(&self) -> Option<PostgresKey> {
        let old = self.touch.old_key.as_ref()?;
        let known = self.base.as_ref()?.postgres_key.as_ref()?;
        self.touch.key.clone().filter(|_| known == old)
    }

    /// The key of its base, given or to be given.
    pub(super) fn base_key(&self) -> BaseKey {
        match &self.base {
            Some(base) => base.key.clone(),
            None if let Some(key) = &self.fresh_key => key.clone(),
            None => BaseKey::first(self.id().as_ref(), self.key().as_ref())
                .unwrap_or_else(|| BaseKey(String::new())),
        }
    }

    /// The touch with everything learnt, for another try.
    pub(super) fn retouch(&self) -> Touch {
        let mut touch = self.touch.clone();
        touch.id = self.id();
        touch.key = self.key();
        touch.stamp = None;
        touch
    }

    /// The record as Salesforce answered it.
    pub(super) fn record(&self) -> Option<&RemoteRecord> {
        match &self.remote {
            Remote::Present(record) => Some(record),
            _ => None,
        }
    }

    /// The stamp that Salesforce answered, of a deleted record too.
    pub(super) fn remote_stamp(&self) -> Option<Timestamp> {
        match &self.remote {
            Remote::Present(record) => Some(record.stamp),
            Remote::Deleted(record) => Some(record.stamp),
            Remote::Unknown | Remote::Absent => None,
        }
    }

    /// An interrupted run was about to write to a record that is not to be found now: sharing hides it, and with it the
    /// marker that would tell whether the write landed.
    pub(super) fn hides_its_evidence(&self) -> bool {
        let intent = self.base.as_ref().and_then(|base| base.intent.as_ref());
        let writes = intent.and_then(|intent| intent.salesforce.as_ref());
        matches!(self.remote, Remote::Absent) && writes.is_some_and(|side| side.op != Op::Create)
    }

    /// A DELETE of the row that the record was linked to was captured, now or earlier.
    pub(super) fn row_was_deleted(&self) -> bool {
        self.base.as_ref().filter(|base| base.salesforce_id.is_some()).is_some_and(|base| {
            if base.live {
                self.touch.evidence.pg_deleted || was_deleted_from_postgres(base)
            } else {
                base.ended_at.is_some()
            }
        })
    }

    /// The row's link column may still show the Id of a record that is gone for good.
    pub(super) fn is_replaced(&self, id: &SalesforceId) -> bool {
        self.base.as_ref().is_some_and(|base| base.replaced.contains(id))
    }
}
