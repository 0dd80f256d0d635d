//! One record on its way through a run: a type for each phase, which holds what is known by then.
//!
//! [`Loaded`] (its base is loaded) → [`SalesforceRead`] → [`Read`] (both sides are read) → [`Planned`] →
//! [`Intended`] (its intent is saved; it is being written).

use super::fate::{Fate, Ticket};
use crate::ports::{DeletedRecord, HistoryOutcome, ReadOutcome, Rejected, RemoteRecord, Row};
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_engine::{
    Absence, Action, Base, BaseKey, Evidence, Fingerprint, Op, PostgresKey, RecordPlan, SalesforceId, Side,
    Stamp,
};

/// A record in any phase of a run: what it is called, as far as that is known in this phase.
pub(super) trait InRun {
    /// What was known of it before either side was read.
    fn loaded(&self) -> &Loaded;

    /// Its Salesforce Id, as far as it is known.
    fn id(&self) -> Option<SalesforceId>;

    /// Its row's key, as far as it is known.
    fn key(&self) -> Option<PostgresKey>;

    /// The record leaves the run.
    fn into_ticket(self) -> Ticket;

    /// The record is to be created in Salesforce. If another record was there before, that one's Id is not this
    /// record's.
    fn is_created(&self) -> bool {
        false
    }

    /// A fingerprint over what each side holds, once that is known.
    fn images(&self) -> BTreeMap<String, Fingerprint> {
        BTreeMap::new()
    }

    /// The key of its base: the one that the base has, or the one that it is to be given.
    fn base_key(&self) -> BaseKey {
        let loaded = self.loaded();
        match (&loaded.base, &loaded.fresh_key) {
            (Some(base), _) => base.key.clone(),
            (None, Some(key)) => key.clone(),
            (None, None) => BaseKey::first(self.id().as_ref(), self.key().as_ref())
                .unwrap_or_else(|| BaseKey(String::new())),
        }
    }

    /// Its touch with everything learnt so far, for another try. The stamp is left out: the next try has to look,
    /// whatever the base knows by then.
    fn retouch(&self) -> Touch {
        let mut touch = self.loaded().touch.clone();
        touch.id = self.id();
        touch.key = self.key();
        touch.stamp = None;
        touch
    }
}

/// A record whose base was loaded, if it has one.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ticket: Ticket,
    pub(super) touch: Touch,
    /// As it was loaded, perhaps with the intent of an interrupted run.
    pub(super) base: Option<Base>,
    /// Why the record is rejected, if it is.
    pub(super) rejected: Option<Rejected>,
    /// The key of the base to be made, where the usual one is another base's.
    pub(super) fresh_key: Option<BaseKey>,
}

impl Loaded {
    pub(super) fn new(ticket: Ticket, touch: Touch, base: Option<Base>, rejected: Option<Rejected>) -> Self {
        Self { ticket, touch, base, rejected, fresh_key: None }
    }

    /// The key that the row was given, if the touch says so. A row without link is known by nothing else.
    pub(super) fn moved_to(&self) -> Option<PostgresKey> {
        let old = self.touch.old_key.as_ref()?;
        let known = self.base.as_ref()?.postgres_key.as_ref()?;
        self.touch.key.clone().filter(|_| known == old)
    }

    /// The base held the record on both sides when it was loaded.
    pub(super) fn was_live(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.live)
    }

    /// An earlier run left an intent.
    pub(super) fn was_interrupted(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.intent.is_some())
    }

    /// The row's link column may still show the Id of this record, which was deleted and replaced by another one.
    pub(super) fn has_replaced(&self, id: &SalesforceId) -> bool {
        self.base.as_ref().is_some_and(|base| base.replaced.contains(id))
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
}

impl InRun for Loaded {
    fn loaded(&self) -> &Loaded {
        self
    }

    fn id(&self) -> Option<SalesforceId> {
        let of_base = self.base.as_ref().and_then(|base| base.salesforce_id.clone());
        of_base.or_else(|| self.touch.id.clone())
    }

    fn key(&self) -> Option<PostgresKey> {
        let of_base = self.base.as_ref().and_then(|base| base.postgres_key.clone());
        self.moved_to().or(of_base).or_else(|| self.touch.key.clone())
    }

    fn into_ticket(self) -> Ticket {
        self.ticket
    }
}

/// The base's row is known to be deleted; what becomes of its record is not decided yet, or a person decides it.
pub(super) fn was_deleted_from_postgres(base: &Base) -> bool {
    base.gone.is_some_and(|gone| gone.side == Side::Postgres && gone.how != Absence::Missing)
}

/// What was read of Salesforce.
#[derive(Debug)]
pub(super) enum Remote {
    /// There is no Id to ask for.
    Unknown,
    /// The record.
    Present(RemoteRecord),
    /// In the recycle bin.
    Deleted(DeletedRecord),
    /// Not found, and nothing says that it was deleted.
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

/// A record of which Salesforce was read.
#[derive(Debug)]
pub(super) struct SalesforceRead {
    pub(super) loaded: Loaded,
    pub(super) remote: Remote,
    /// The `Date` of Salesforce's answer.
    pub(super) read_at: Option<Timestamp>,
    /// The record to which the write of an interrupted run is known to have come.
    pub(super) landed: Option<SalesforceId>,
}

impl SalesforceRead {
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

    /// An interrupted run was about to write to a record that is not to be found: sharing hides it, and with it the
    /// marker that would tell whether the write landed.
    pub(super) fn hides_its_evidence(&self) -> bool {
        let intent = self.loaded.base.as_ref().and_then(|base| base.intent.as_ref());
        let writes = intent.and_then(|intent| intent.salesforce.as_ref());
        matches!(self.remote, Remote::Absent) && writes.is_some_and(|side| side.op != Op::Create)
    }
}

impl InRun for SalesforceRead {
    fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    fn id(&self) -> Option<SalesforceId> {
        self.landed.clone().or_else(|| self.loaded.id())
    }

    fn key(&self) -> Option<PostgresKey> {
        self.loaded.key()
    }

    fn into_ticket(self) -> Ticket {
        self.loaded.ticket
    }
}

/// A record of which both sides were read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) salesforce: SalesforceRead,
    pub(super) row: Option<Row>,
    /// What the link column is to be filled with.
    pub(super) link: Option<SalesforceId>,
    /// The row to which the write of an interrupted run is known to have come.
    pub(super) landed: Option<PostgresKey>,
}

impl Read {
    /// What is known of the writes of an interrupted run.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence { salesforce: self.salesforce.landed.clone(), postgres: self.landed.clone() }
    }

    pub(super) fn record(&self) -> Option<&RemoteRecord> {
        self.salesforce.record()
    }

    pub(super) fn base(&self) -> Option<&Base> {
        self.salesforce.loaded.base.as_ref()
    }

    pub(super) fn touch(&self) -> &Touch {
        &self.salesforce.loaded.touch
    }

    /// What stands in the row's link column.
    pub(super) fn shown_link(&self) -> Option<&str> {
        self.row.as_ref().and_then(|row| row.link.as_deref())
    }
}

impl InRun for Read {
    fn loaded(&self) -> &Loaded {
        &self.salesforce.loaded
    }

    fn id(&self) -> Option<SalesforceId> {
        self.salesforce.id()
    }

    fn key(&self) -> Option<PostgresKey> {
        self.row.as_ref().map(|row| row.key.clone()).or_else(|| self.salesforce.key())
    }

    fn into_ticket(self) -> Ticket {
        self.salesforce.loaded.ticket
    }
}

/// A record whose plan is made.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) read: Read,
    /// The loaded base, with what became of an interrupted run's intent.
    pub(super) resolved: Option<Base>,
    pub(super) plan: RecordPlan,
    /// A fingerprint over what each side holds.
    pub(super) images: BTreeMap<String, Fingerprint>,
    /// What the column of each field that Postgres gets is to hold.
    pub(super) texts: BTreeMap<String, String>,
}

impl Planned {
    /// Either side's record or row is deleted by the plan.
    pub(super) fn deletes(&self) -> bool {
        self.plan.salesforce == Action::Delete || self.plan.postgres == Action::Delete
    }

    /// Both the record and the row were read.
    pub(super) fn has_both(&self) -> bool {
        self.read.row.is_some() && self.read.record().is_some()
    }

    /// Neither the row is to be found nor the record that was created for it.
    pub(super) fn misses_both(&self) -> bool {
        let lost = |base: &Base| !base.lost_creates.is_empty();
        self.read.row.is_none() && self.resolved.as_ref().is_some_and(lost)
    }
}

impl InRun for Planned {
    fn loaded(&self) -> &Loaded {
        self.read.loaded()
    }

    fn id(&self) -> Option<SalesforceId> {
        let of_base = self.resolved.as_ref().and_then(|base| base.salesforce_id.clone());
        of_base.or_else(|| self.loaded().touch.id.clone())
    }

    fn key(&self) -> Option<PostgresKey> {
        let of_row = self.read.row.as_ref().map(|row| row.key.clone());
        let of_base = self.resolved.as_ref().and_then(|base| base.postgres_key.clone());
        of_row.or_else(|| self.loaded().moved_to()).or(of_base).or_else(|| self.loaded().touch.key.clone())
    }

    fn into_ticket(self) -> Ticket {
        self.read.into_ticket()
    }

    fn is_created(&self) -> bool {
        matches!(self.plan.salesforce, Action::Create(_))
    }

    fn images(&self) -> BTreeMap<String, Fingerprint> {
        self.images.clone()
    }
}

/// A record whose intent is saved, and what became of its writes so far.
#[derive(Debug)]
pub(super) struct Intended {
    pub(super) planned: Planned,
    /// As saved, with its intent.
    pub(super) base: Base,
    /// Where this run's writes came to.
    pub(super) landed: Evidence,
    /// What became of the write to Salesforce.
    pub(super) outcome: Option<HistoryOutcome>,
    /// The interval of Salesforce's clock in which that write lies.
    pub(super) written: Option<Stamp>,
    /// Its fate, where that is decided before its base can be saved.
    pub(super) decided: Option<Fate>,
}

impl Intended {
    pub(super) fn new(planned: Planned, base: Base) -> Self {
        let landed = Evidence::default();
        Self { planned, base, landed, outcome: None, written: None, decided: None }
    }

    /// The Id of its intent.
    pub(super) fn intent(&self) -> &str {
        self.base.intent.as_ref().map_or("", |intent| intent.id.as_str())
    }

    /// When the lease of its intent ends.
    pub(super) fn lease_until(&self) -> Option<Timestamp> {
        self.base.intent.as_ref().map(|intent| intent.lease_until)
    }

    /// Nothing was sent to Salesforce, and the record is tried again.
    pub(super) fn not_sent(mut self) -> Self {
        self.outcome = Some(HistoryOutcome::Refused);
        self.decided = Some(Fate::AgainOnceSaved);
        self
    }
}

impl InRun for Intended {
    fn loaded(&self) -> &Loaded {
        self.planned.loaded()
    }

    fn id(&self) -> Option<SalesforceId> {
        self.landed.salesforce.clone().or_else(|| self.planned.id())
    }

    fn key(&self) -> Option<PostgresKey> {
        self.planned.key()
    }

    fn into_ticket(self) -> Ticket {
        self.planned.into_ticket()
    }

    fn is_created(&self) -> bool {
        self.planned.is_created()
    }

    fn images(&self) -> BTreeMap<String, Fingerprint> {
        self.planned.images()
    }
}
