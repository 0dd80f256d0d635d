//! A Salesforce in memory: records, stamps in whole seconds, rules that run with every save, and writes that
//! stay under way until a test lands them. This file holds what people and time do to the org;
//! [`org_api`](super::org_api) holds what Syncline does.

use crate::event::{By, EventLog, Sets, Values, What};
use crate::ports::SteppedClock;
use crate::yielding::yield_now;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use syncline_engine::{SalesforceId, Side};
use syncline_sync::{Clock, NewRecord, PortError, RecordUpdate, WriteAnswer, WriteOutcome};

/// A record of the org.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgRecord {
    /// The object of the record.
    pub object: String,
    /// The fields of the record.
    pub values: Values,
    /// True if the record is in the recycle bin.
    pub deleted: bool,
    /// The record into which it was merged, if it was.
    pub master: Option<SalesforceId>,
    /// The `SystemModstamp` of the record.
    pub stamp: Timestamp,
    /// The marker field.
    pub marker: Option<String>,
    /// The external Id field.
    pub external_id: Option<String>,
}

/// Why a save is refused: the status code, the message and the fields.
pub type Refusal = (String, String, Vec<String>);

/// A rule that runs before every save of a record. It is given the object, the values before the save (absent
/// for a new record) and the new values. It may change the new values or refuse the save.
pub type SaveRule = dyn Fn(&str, Option<&Values>, &mut Values) -> Result<(), Refusal> + Send + Sync;

/// A relation: the child object, its lookup field, and the parent object.
pub type Relation = (String, String, String);

/// What an org does by itself.
#[derive(Clone, Default)]
pub struct OrgRules {
    /// A rule on save: flows, normalisers, validation rules and restricted picklists.
    pub on_save: Option<Arc<SaveRule>>,
    /// If set, a change of a child moves the stamp of its parent.
    pub rollup: Option<Relation>,
    /// If set, children can refer to living parents only. When a parent is deleted, its children's lookups
    /// become empty.
    pub lookup: Option<Relation>,
    /// If set, children are deleted and undeleted with their parent.
    pub cascade: Option<Relation>,
    /// A formula field of the child that shows a field of the parent and moves no stamp: the relation, the
    /// child's field and the parent's field.
    pub formula: Option<(Relation, String, String)>,
}

/// A write under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// After this moment the write can no longer land: its caller's time-out and the longest transaction have
    /// passed.
    pub deadline: Timestamp,
    pub(crate) object: String,
    pub(crate) creates: Vec<NewRecord>,
    pub(crate) updates: Vec<RecordUpdate>,
    pub(crate) deletes: Vec<SalesforceId>,
    pub(crate) sent: Timestamp,
    /// What the caller had read of these records, and when.
    seen: BTreeMap<SalesforceId, (Values, Timestamp)>,
    pub(crate) answer: Option<WriteAnswer>,
}

impl Request {
    fn names(&self, id: &SalesforceId) -> bool {
        self.deletes.contains(id) || self.updates.iter().any(|update| update.id == *id)
    }
}

/// An edit that Syncline overwrote without having seen it. The edit came between the run's read and its
/// write. This is the one case that is not promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// The name of the record.
    pub name: String,
    /// The field.
    pub field: String,
    /// The value that was lost.
    pub value: Option<String>,
    /// When the run read the record.
    pub read: Timestamp,
    /// When the run's write landed.
    pub written: Timestamp,
}

/// What becomes of a write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// The write is carried out and answered.
    Answered,
    /// The write is carried out, and the answer is lost.
    AnswerLost,
    /// The write never arrives.
    Dropped,
}

/// The longest time that a transaction may take. Salesforce ends a transaction that takes longer.
const LONGEST_TRANSACTION: SignedDuration = SignedDuration::from_mins(5);

/// A long transaction of a user. Its record is locked, and the stamp will be that of the transaction's
/// beginning.
struct Slow {
    field: String,
    value: Option<String>,
    stamp: Timestamp,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) records: BTreeMap<SalesforceId, OrgRecord>,
    /// Each record as it was before the changes of its last second.
    pub(crate) earlier: BTreeMap<SalesforceId, OrgRecord>,
    pub(crate) requests: Vec<Request>,
    slow: BTreeMap<SalesforceId, Slow>,
    next: u32,
    creates: usize,
    updates: usize,
    deletes: usize,
    pub(crate) calls: u64,
    pub(crate) told: u64,
    pub(crate) hidden: BTreeSet<SalesforceId>,
    down: Option<PortError>,
    pub(crate) stale: bool,
    pub(crate) task: usize,
    pub(crate) seen: BTreeMap<(usize, SalesforceId), (Values, Timestamp)>,
    overwritten: Vec<Overwritten>,
}

/// A Salesforce in memory.
#[derive(Clone)]
pub struct MemoryOrg {
    pub(crate) inner: Arc<Mutex<Inner>>,
    pub(crate) clock: SteppedClock,
    events: EventLog,
    /// What the org does by itself.
    pub rules: OrgRules,
    /// How far the org's clock is ahead of Syncline's.
    pub skew: SignedDuration,
    /// A planted bug: an update of a deleted record takes the record out of the recycle bin.
    pub revives: bool,
    /// The number of rows in one page of a scan.
    pub page: usize,
    /// True if writes land at once, without being scheduled.
    pub immediate: bool,
    /// The daily allowance of calls that the org states with each answer.
    pub allowance: Option<u64>,
    /// How long a write may be under way.
    pub longest_call: SignedDuration,
}

impl MemoryOrg {
    /// An org without records.
    #[must_use]
    pub fn new(clock: SteppedClock, events: EventLog, immediate: bool) -> Self {
        Self {
            inner: Arc::default(),
            clock,
            events,
            rules: OrgRules::default(),
            skew: SignedDuration::ZERO,
            revives: false,
            page: usize::MAX,
            immediate,
            allowance: None,
            longest_call: SignedDuration::from_secs(20),
        }
    }

    /// The time of the org's clock, in whole seconds.
    pub(crate) fn second(&self) -> Timestamp {
        Timestamp::from_second((self.clock.now() + self.skew).as_second()).unwrap()
    }

    /// Creates a Contact, as a user.
    pub fn insert(&self, values: Values) -> SalesforceId {
        self.insert_into("Contact", values).unwrap()
    }

    /// Creates a record, as a user.
    ///
    /// # Errors
    /// When a rule refuses the record.
    pub fn insert_into(&self, object: &str, values: Values) -> Result<SalesforceId, Refusal> {
        let mut inner = self.inner.lock().unwrap();
        let new = OrgRecord { object: object.to_owned(), ..OrgRecord::default() };
        self.save(&mut inner, None, new, &values, By::User, self.second())
    }

    /// Edits a field of a living record, as a user. `false` if there is no such record, or it is locked or
    /// refused.
    pub fn edit(&self, id: &SalesforceId, field: &str, value: Option<&str>) -> bool {
        self.edit_all(id, &BTreeMap::from([(field.to_owned(), value.map(str::to_owned))]))
    }

    /// Edits several fields in one save, as a user.
    pub fn edit_all(&self, id: &SalesforceId, values: &Values) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let Some(record) = inner.records.get(id).filter(|record| !record.deleted).cloned() else {
            return false;
        };
        if inner.slow.contains_key(id) {
            return false;
        }
        self.save(&mut inner, Some(id), record, values, By::User, self.second()).is_ok()
    }

    /// Edits a record in a long transaction, as a user. The edit is visible after the commit, with the stamp
    /// of the transaction's beginning.
    pub fn begin_edit(&self, id: &SalesforceId, field: &str, value: Option<&str>) -> bool {
        let stamp = self.second();
        let mut inner = self.inner.lock().unwrap();
        if inner.slow.contains_key(id) || inner.records.get(id).is_none_or(|record| record.deleted) {
            return false;
        }
        let slow = Slow { field: field.to_owned(), value: value.map(str::to_owned), stamp };
        inner.slow.insert(id.clone(), slow);
        true
    }

    /// Commits the long transactions, except those that took longer than Salesforce allows.
    pub fn commit_edits(&self) {
        let second = self.second();
        let mut inner = self.inner.lock().unwrap();
        for (id, slow) in std::mem::take(&mut inner.slow) {
            if second.duration_since(slow.stamp) > LONGEST_TRANSACTION {
                continue;
            }
            if let Some(record) = inner.records.get(&id).filter(|record| !record.deleted).cloned() {
                let values = BTreeMap::from([(slow.field, slow.value)]);
                let _ = self.save(&mut inner, Some(&id), record, &values, By::User, slow.stamp);
            }
        }
    }

    /// Saves a record: the rules run, the stamp moves, and the events are noted.
    fn save(
        &self,
        inner: &mut Inner,
        id: Option<&SalesforceId>,
        mut record: OrgRecord,
        asked: &Values,
        by: By,
        stamp: Timestamp,
    ) -> Result<SalesforceId, Refusal> {
        let before = id.map(|_| record.values.clone());
        record.values.extend(asked.clone());
        if let Some(rule) = &self.rules.on_save {
            rule(&record.object, before.as_ref(), &mut record.values)?;
        }
        if let Some((child, field, parent)) = &self.rules.lookup
            && *child == record.object
            && let Some(named) = asked.get(field).cloned().flatten()
        {
            let named = SalesforceId::parse(&named).ok().and_then(|id| inner.records.get(&id));
            if named.is_none_or(|named| named.deleted || named.object != *parent) {
                let words = "invalid cross reference id".to_owned();
                return Err(("INVALID_CROSS_REFERENCE_KEY".to_owned(), words, vec![field.clone()]));
            }
        }
        let id = id.cloned().unwrap_or_else(|| next_id(inner, &record.object));
        record.stamp = record.stamp.max(stamp);
        let born = before.is_none();
        let before = before.unwrap_or_default();
        if born {
            self.events.note(Side::Salesforce, id.as_str(), &record.values, by, What::Born);
        }
        let sets = Sets { before: &before, asked, after: &record.values };
        self.events.note_sets(Side::Salesforce, id.as_str(), by, &sets);
        let parents: Vec<Option<String>> = match &self.rules.rollup {
            Some((child, field, _)) if *child == record.object => {
                [&before, &record.values].map(|values| values.get(field).cloned().flatten()).into()
            }
            _ => vec![],
        };
        put_record(inner, &id, record);
        for parent in parents.into_iter().flatten().filter_map(|parent| SalesforceId::parse(&parent).ok()) {
            if let Some(mut parent_record) = inner.records.get(&parent).cloned() {
                parent_record.stamp = parent_record.stamp.max(self.second());
                put_record(inner, &parent, parent_record);
            }
        }
        Ok(id)
    }

    /// Names the task that makes the next calls.
    pub fn called_by(&self, task: usize) {
        self.inner.lock().unwrap().task = task;
    }

    /// Says that the run of this task is over. The run makes no more writes based on what it has read.
    pub fn run_over(&self, task: usize) {
        self.inner.lock().unwrap().seen.retain(|(of, _), _| *of != task);
    }

    /// True if a run has read this record and may still write to it.
    #[must_use]
    pub fn is_between_read_and_write(&self, id: &SalesforceId) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.seen.keys().any(|(_, seen)| seen == id)
            || inner.requests.iter().any(|request| request.answer.is_none() && request.names(id))
    }

    /// The edits that were overwritten in the way that is not promised.
    #[must_use]
    pub fn overwritten(&self) -> Vec<Overwritten> {
        self.inner.lock().unwrap().overwritten.clone()
    }

    /// Deletes a record, as a user. `false` if there is no such living record.
    pub fn delete(&self, id: &SalesforceId) -> bool {
        let mut inner = self.inner.lock().unwrap();
        self.set_deleted(&mut inner, id, By::User, None)
    }

    /// Takes a record out of the recycle bin, as a user. `false` if the record is not in it.
    pub fn undelete(&self, id: &SalesforceId) -> bool {
        let stamp = self.second();
        let mut inner = self.inner.lock().unwrap();
        let Some(record) = inner.records.get(id).filter(|record| record.deleted && record.master.is_none())
        else {
            return false;
        };
        let mut back = vec![id.clone()];
        if let Some((child, field, parent)) = &self.rules.cascade
            && *parent == record.object
        {
            let stamp = record.stamp;
            let went_with_it = inner.records.iter().filter(|(_, one)| {
                one.object == *child
                    && one.deleted
                    && one.stamp == stamp
                    && one.values.get(field).cloned().flatten().as_deref() == Some(id.as_str())
            });
            back.extend(went_with_it.map(|(id, _)| id.clone()));
        }
        for id in back {
            let Some(mut record) = inner.records.get(&id).cloned() else { continue };
            record.deleted = false;
            record.stamp = record.stamp.max(stamp);
            self.events.note(Side::Salesforce, id.as_str(), &record.values, By::User, What::Returned);
            put_record(&mut inner, &id, record);
        }
        true
    }

    /// Merges a record into another, as a user. The merged record is deleted and names its master.
    pub fn merge(&self, loser: &SalesforceId, master: &SalesforceId) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let living = |id| inner.records.get(id).is_some_and(|record: &OrgRecord| !record.deleted);
        if loser == master || !living(loser) || !living(master) {
            return false;
        }
        self.set_deleted(&mut inner, loser, By::User, Some(master))
    }

    fn set_deleted(
        &self,
        inner: &mut Inner,
        id: &SalesforceId,
        by: By,
        master: Option<&SalesforceId>,
    ) -> bool {
        let stamp = self.second();
        if inner.slow.contains_key(id) {
            return false;
        }
        let Some(record) = inner.records.get(id).filter(|record| !record.deleted) else { return false };
        let mut gone = vec![(id.clone(), by)];
        if let Some((child, field, parent)) = &self.rules.cascade
            && *parent == record.object
        {
            let with_it = inner.records.iter().filter(|(_, one)| {
                one.object == *child
                    && !one.deleted
                    && one.values.get(field).cloned().flatten().as_deref() == Some(id.as_str())
            });
            gone.extend(with_it.map(|(id, _)| (id.clone(), By::Automation)));
        }
        for (id, by) in gone {
            let Some(mut record) = inner.records.get(&id).cloned() else { continue };
            inner.slow.remove(&id);
            record.deleted = true;
            record.master = master.cloned();
            record.stamp = record.stamp.max(stamp);
            let died = What::Died(record.values.clone());
            self.events.note(Side::Salesforce, id.as_str(), &record.values, by, died);
            put_record(inner, &id, record);
        }
        self.clear_lookups(inner, id);
        true
    }

    fn clear_lookups(&self, inner: &mut Inner, parent: &SalesforceId) {
        let Some((child, field, _)) = &self.rules.lookup else { return };
        let names = |record: &&OrgRecord| {
            record.object == *child
                && !record.deleted
                && record.values.get(field).cloned().flatten().as_deref() == Some(parent.as_str())
        };
        let children: Vec<(SalesforceId, OrgRecord)> = inner
            .records
            .iter()
            .filter(|(_, record)| names(record))
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect();
        for (id, mut record) in children {
            let before = record.values.clone();
            record.values.insert(field.clone(), None);
            record.stamp = record.stamp.max(self.second());
            let sets = Sets { before: &before, asked: &Values::new(), after: &record.values };
            self.events.note_sets(Side::Salesforce, id.as_str(), By::Automation, &sets);
            put_record(inner, &id, record);
        }
    }

    /// What the caller had read of a record.
    #[must_use]
    pub fn seen(&self, id: &SalesforceId) -> Option<Values> {
        let inner = self.inner.lock().unwrap();
        inner.seen.get(&(inner.task, id.clone())).map(|(values, _)| values.clone())
    }

    /// Notes that the caller was given an older state of the record, so it has not seen the later changes.
    pub fn saw_earlier(&self, id: &SalesforceId, values: Values, stamp: Timestamp) {
        let mut inner = self.inner.lock().unwrap();
        let task = inner.task;
        inner.seen.insert((task, id.clone()), (values, stamp - self.skew));
    }

    fn revive(&self, inner: &mut Inner, id: &SalesforceId) {
        let Some(mut record) = inner.records.get(id).filter(|record| record.deleted).cloned() else { return };
        record.deleted = false;
        self.events.note(Side::Salesforce, id.as_str(), &record.values, By::Sync, What::Returned);
        put_record(inner, id, record);
    }

    /// Hides a record from Syncline as sharing does, or shows it again.
    pub fn hide(&self, id: &SalesforceId, hidden: bool) {
        let mut inner = self.inner.lock().unwrap();
        if hidden {
            inner.hidden.insert(id.clone())
        } else {
            inner.hidden.remove(id)
        };
    }

    /// True if sharing hides the record.
    #[must_use]
    pub fn is_hidden(&self, id: &SalesforceId) -> bool {
        self.inner.lock().unwrap().hidden.contains(id)
    }

    /// Makes every call fail with this error, until it is set to `None`.
    pub fn set_down(&self, error: Option<PortError>) {
        self.inner.lock().unwrap().down = error;
    }

    /// Makes reads answer records as they were before the changes of their last second, until it is set to
    /// `false`.
    pub fn set_stale(&self, stale: bool) {
        self.inner.lock().unwrap().stale = stale;
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().unwrap().calls
    }

    pub(crate) fn call(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        inner.down.clone().map_or(Ok(()), Err)
    }

    /// The number of deletes by Syncline that were carried out.
    #[must_use]
    pub fn deletes(&self) -> usize {
        self.inner.lock().unwrap().deletes
    }

    /// All records, as a read shows them.
    #[must_use]
    pub fn records(&self) -> BTreeMap<SalesforceId, OrgRecord> {
        let inner = self.inner.lock().unwrap();
        inner.records.iter().map(|(id, record)| (id.clone(), self.shown(&inner, record.clone()))).collect()
    }

    /// The record with its formula field filled in.
    pub(crate) fn shown(&self, inner: &Inner, mut record: OrgRecord) -> OrgRecord {
        if let Some(((child, lookup, _), field, of_parent)) = &self.rules.formula
            && record.object == *child
        {
            let parent = record.values.get(lookup).cloned().flatten();
            let parent = parent.and_then(|id| inner.records.get(&SalesforceId::parse(&id).ok()?));
            let value = parent.and_then(|parent| parent.values.get(of_parent).cloned().flatten());
            record.values.insert(field.clone(), value);
        }
        record
    }

    /// The number of creates and of updates by Syncline that were carried out.
    #[must_use]
    pub fn writes(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap();
        (inner.creates, inner.updates)
    }

    /// The writes under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<Request> {
        self.inner
            .lock()
            .unwrap()
            .requests
            .iter()
            .filter(|request| request.answer.is_none())
            .cloned()
            .collect()
    }

    /// Ends a write under way. The number counts from the oldest write.
    pub fn land(&self, place: usize, landing: Landing) {
        let date = self.second();
        let mut inner = self.inner.lock().unwrap();
        let open: Vec<usize> =
            (0..inner.requests.len()).filter(|at| inner.requests[*at].answer.is_none()).collect();
        let Some(&at) = open.get(place) else { return };
        let request = inner.requests[at].clone();
        let count = request.creates.len() + request.updates.len() + request.deletes.len();
        let mut outcomes = vec![WriteOutcome::Unknown; count];
        if landing != Landing::Dropped {
            let written = self.carry_out(&mut inner, &request, date);
            if landing == Landing::Answered {
                outcomes = written;
            }
        }
        inner.requests[at].answer = Some(WriteAnswer { outcomes, after: request.sent, date });
    }

    pub(crate) async fn send(
        &self,
        object: &str,
        creates: Vec<NewRecord>,
        updates: Vec<RecordUpdate>,
        deletes: Vec<SalesforceId>,
    ) -> Result<WriteAnswer, PortError> {
        // The time-out of a call is counted from the beginning of the call.
        let deadline = self.clock.now() + self.longest_call;
        yield_now().await;
        self.call()?;
        let sent = self.second();
        let place = {
            let mut inner = self.inner.lock().unwrap();
            let task = inner.task;
            let ids = updates.iter().map(|update| &update.id).chain(&deletes);
            let seen = ids
                .filter_map(|id| Some((id.clone(), inner.seen.get(&(task, id.clone()))?.clone())))
                .collect();
            let object = object.to_owned();
            inner.requests.push(Request {
                deadline,
                object,
                creates,
                updates,
                deletes,
                sent,
                seen,
                answer: None,
            });
            inner.requests.len() - 1
        };
        if self.clock.now() >= deadline {
            let open = self.under_way().len() - 1;
            self.land(open, Landing::Dropped);
        }
        if self.immediate {
            let open = self.under_way().len() - 1;
            self.land(open, Landing::Answered);
        }
        loop {
            if let Some(answer) = self.inner.lock().unwrap().requests[place].answer.clone() {
                return Ok(answer);
            }
            yield_now().await;
        }
    }

    fn carry_out(&self, inner: &mut Inner, request: &Request, stamp: Timestamp) -> Vec<WriteOutcome> {
        let creates = request.creates.iter().map(|new| self.carry_out_create(inner, request, new, stamp));
        let mut outcomes: Vec<WriteOutcome> = creates.collect();
        for update in &request.updates {
            outcomes.push(self.carry_out_update(inner, request, update, stamp));
        }
        for id in &request.deletes {
            outcomes.push(self.carry_out_delete(inner, request, id));
        }
        outcomes
    }

    fn carry_out_create(
        &self,
        inner: &mut Inner,
        request: &Request,
        new: &NewRecord,
        stamp: Timestamp,
    ) -> WriteOutcome {
        let taken =
            inner.records.values().any(|record| record.external_id.as_ref() == Some(&new.external_id));
        if taken {
            return WriteOutcome::Unknown;
        }
        let record = OrgRecord {
            object: request.object.clone(),
            marker: Some(new.marker.clone()),
            external_id: Some(new.external_id.clone()),
            ..OrgRecord::default()
        };
        match self.save(inner, None, record, &texts(&new.fields), By::Sync, stamp) {
            Ok(id) => {
                inner.creates += 1;
                WriteOutcome::Written(id)
            }
            Err(refusal) => refused(refusal),
        }
    }

    fn carry_out_update(
        &self,
        inner: &mut Inner,
        request: &Request,
        update: &RecordUpdate,
        stamp: Timestamp,
    ) -> WriteOutcome {
        if inner.slow.contains_key(&update.id) {
            return locked();
        }
        if self.revives {
            self.revive(inner, &update.id);
        }
        let Some(mut record) = inner.records.get(&update.id).filter(|record| !record.deleted).cloned() else {
            return is_deleted();
        };
        let before = record.values.clone();
        record.marker = Some(update.marker.clone());
        let fields = texts(&update.fields);
        if let Err(refusal) = self.save(inner, Some(&update.id), record, &fields, By::Sync, stamp) {
            return refused(refusal);
        }
        inner.updates += 1;
        self.note_overwritten(inner, request, &update.id, &before, &|field| fields.contains_key(field));
        WriteOutcome::Written(update.id.clone())
    }

    fn carry_out_delete(&self, inner: &mut Inner, request: &Request, id: &SalesforceId) -> WriteOutcome {
        if inner.slow.contains_key(id) {
            return locked();
        }
        let before = inner.records.get(id).map(|record| record.values.clone()).unwrap_or_default();
        if !self.set_deleted(inner, id, By::Sync, None) {
            return is_deleted();
        }
        inner.deletes += 1;
        self.note_overwritten(inner, request, id, &before, &|_| true);
        WriteOutcome::Written(id.clone())
    }

    fn note_overwritten(
        &self,
        inner: &mut Inner,
        request: &Request,
        id: &SalesforceId,
        before: &Values,
        written: &dyn Fn(&str) -> bool,
    ) {
        let Some((seen, read)) = request.seen.get(id) else { return };
        let lost = before.iter().filter(|(field, value)| {
            written(field) && seen.get(*field).cloned().flatten() != **value && value.is_some()
        });
        let lost: Vec<Overwritten> = lost
            .map(|(field, value)| Overwritten {
                name: crate::event::name_of(before),
                field: field.clone(),
                value: value.clone(),
                read: *read,
                written: self.clock.now(),
            })
            .collect();
        inner.overwritten.extend(lost);
    }
}

fn put_record(inner: &mut Inner, id: &SalesforceId, record: OrgRecord) {
    if let Some(before) = inner.records.insert(id.clone(), record)
        && inner.records[id].stamp > before.stamp
    {
        inner.earlier.insert(id.clone(), before);
    }
}

fn texts(fields: &BTreeMap<String, syncline_engine::Value>) -> Values {
    fields.iter().map(|(name, value)| (name.clone(), value.text())).collect()
}

fn refused((code, message, fields): Refusal) -> WriteOutcome {
    WriteOutcome::Refused { code, message, fields }
}

fn locked() -> WriteOutcome {
    WriteOutcome::Busy { message: "UNABLE_TO_LOCK_ROW: unable to obtain exclusive access".to_owned() }
}

fn is_deleted() -> WriteOutcome {
    refused(("ENTITY_IS_DELETED".into(), "entity is deleted".into(), vec![]))
}

fn next_id(inner: &mut Inner, object: &str) -> SalesforceId {
    inner.next += 1;
    let prefix = if object == "Account" { "001" } else { "003" };
    SalesforceId::parse(&format!("{prefix}{:012}", inner.next)).unwrap()
}
