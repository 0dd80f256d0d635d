//! A Salesforce in memory: records, whole-second stamps, and writes that are under way until somebody lands them.

use crate::ports::SteppedClock;
use crate::yielding::yield_now;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncline_engine::{Definition, SalesforceId};
use syncline_sync::{
    Clock, DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome, RecordUpdate,
    RemoteRecord, Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer, WriteOutcome,
};

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgRecord {
    /// Its fields.
    pub values: BTreeMap<String, Option<String>>,
    /// In the recycle bin.
    pub deleted: bool,
    /// `SystemModstamp`.
    pub stamp: Timestamp,
    /// The marker field.
    pub marker: Option<String>,
    /// The external Id field.
    pub external_id: Option<String>,
}

/// A write under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it can land no more: its caller's time-out and the longest transaction have passed.
    pub deadline: Timestamp,
    creates: Vec<NewRecord>,
    updates: Vec<RecordUpdate>,
    deletes: Vec<SalesforceId>,
    sent: Timestamp,
    /// What the caller had read of these records.
    seen: BTreeMap<SalesforceId, BTreeMap<String, Option<String>>>,
    answer: Option<WriteAnswer>,
}

/// A value that stood in a field, in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The record.
    pub id: SalesforceId,
    /// The field.
    pub field: String,
    /// The value.
    pub value: Option<String>,
    /// Syncline wrote it.
    pub by_sync: bool,
}

/// What becomes of a write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It is written and answered.
    Answered,
    /// It is written, and the answer is lost.
    AnswerLost,
    /// It never arrives.
    Dropped,
}

/// The records and the writes under way.
#[derive(Default)]
struct Inner {
    records: BTreeMap<SalesforceId, OrgRecord>,
    requests: Vec<Request>,
    next: u32,
    creates: usize,
    updates: usize,
    deletes: usize,
    calls: u64,
    told: u64,
    hidden: std::collections::BTreeSet<SalesforceId>,
    down: Option<PortError>,
    task: usize,
    seen: BTreeMap<(usize, SalesforceId), BTreeMap<String, Option<String>>>,
    overwritten_unseen: Vec<Option<String>>,
    timeline: Vec<Held>,
}

impl Inner {
    fn note(&mut self, id: &SalesforceId, field: &str, value: Option<String>, by_sync: bool) {
        self.timeline.push(Held { id: id.clone(), field: field.to_owned(), value, by_sync });
    }
}

/// A Salesforce in memory.
#[derive(Clone)]
pub struct MemoryOrg {
    inner: Arc<Mutex<Inner>>,
    clock: SteppedClock,
    /// Writes land at once, without being scheduled.
    pub immediate: bool,
    /// How long a write may be under way.
    pub longest_call: jiff::SignedDuration,
}

impl MemoryOrg {
    /// An empty org.
    #[must_use]
    pub fn new(clock: SteppedClock, immediate: bool) -> Self {
        Self { inner: Arc::default(), clock, immediate, longest_call: jiff::SignedDuration::from_secs(20) }
    }

    fn second(&self) -> Timestamp {
        Timestamp::from_second(self.clock.now().as_second()).unwrap()
    }

    /// A user's new record.
    pub fn insert(&self, values: BTreeMap<String, Option<String>>) -> SalesforceId {
        let mut inner = self.inner.lock().unwrap();
        let id = next_id(&mut inner);
        for (field, value) in &values {
            inner.note(&id, field, value.clone(), false);
        }
        inner.records.insert(id.clone(), OrgRecord { values, stamp: self.second(), ..OrgRecord::default() });
        id
    }

    /// A user's edit of a living record; false if there is none.
    pub fn edit(&self, id: &SalesforceId, field: &str, value: Option<&str>) -> bool {
        let stamp = self.second();
        let mut inner = self.inner.lock().unwrap();
        let Some(record) = inner.records.get_mut(id).filter(|record| !record.deleted) else { return false };
        record.values.insert(field.to_owned(), value.map(str::to_owned));
        record.stamp = stamp;
        inner.note(id, field, value.map(str::to_owned), false);
        true
    }

    /// Who calls next.
    pub fn called_by(&self, task: usize) {
        self.inner.lock().unwrap().task = task;
    }

    /// Values that a write of Syncline's replaced although its run had read others: edits that fell into the
    /// window between its read and its write, which is the one thing that is not promised.
    #[must_use]
    pub fn overwritten_unseen(&self) -> Vec<Option<String>> {
        self.inner.lock().unwrap().overwritten_unseen.clone()
    }

    /// Every value that ever stood in a field.
    #[must_use]
    pub fn timeline(&self) -> Vec<Held> {
        self.inner.lock().unwrap().timeline.clone()
    }

    /// A user's delete; false if there is no such living record.
    pub fn delete(&self, id: &SalesforceId) -> bool {
        self.set_deleted(id, true)
    }

    /// A user takes a record out of the recycle bin; false if it is not in it.
    pub fn undelete(&self, id: &SalesforceId) -> bool {
        self.set_deleted(id, false)
    }

    fn set_deleted(&self, id: &SalesforceId, deleted: bool) -> bool {
        let stamp = self.second();
        let mut inner = self.inner.lock().unwrap();
        let Some(record) = inner.records.get_mut(id).filter(|record| record.deleted != deleted) else {
            return false;
        };
        record.deleted = deleted;
        record.stamp = stamp;
        true
    }

    /// Sharing hides a record from Syncline, or shows it again.
    pub fn hide(&self, id: &SalesforceId, hidden: bool) {
        let mut inner = self.inner.lock().unwrap();
        if hidden {
            inner.hidden.insert(id.clone())
        } else {
            inner.hidden.remove(id)
        };
    }

    /// Whether sharing hides a record.
    #[must_use]
    pub fn is_hidden(&self, id: &SalesforceId) -> bool {
        self.inner.lock().unwrap().hidden.contains(id)
    }

    /// Every call fails like this, until it is `None` again.
    pub fn set_down(&self, error: Option<PortError>) {
        self.inner.lock().unwrap().down = error;
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().unwrap().calls
    }

    fn call(&self) -> Result<(), PortError> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        inner.down.clone().map_or(Ok(()), Err)
    }

    /// Deletes of Syncline's that were carried out.
    #[must_use]
    pub fn deletes(&self) -> usize {
        self.inner.lock().unwrap().deletes
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> BTreeMap<SalesforceId, OrgRecord> {
        self.inner.lock().unwrap().records.clone()
    }

    /// Creates and updates of Syncline's that were carried out.
    #[must_use]
    pub fn writes(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap();
        (inner.creates, inner.updates)
    }

    /// Writes under way.
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

    /// Ends a write under way, counted from the oldest.
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
            let written = carry_out(&mut inner, &request, date);
            if landing == Landing::Answered {
                outcomes = written;
            }
        }
        inner.requests[at].answer = Some(WriteAnswer { outcomes, after: request.sent, date });
    }

    async fn send(
        &self,
        creates: Vec<NewRecord>,
        updates: Vec<RecordUpdate>,
        deletes: Vec<SalesforceId>,
    ) -> Result<WriteAnswer, PortError> {
        yield_now().await;
        self.call()?;
        let sent = self.second();
        let deadline = self.clock.now() + self.longest_call;
        let place = {
            let mut inner = self.inner.lock().unwrap();
            let task = inner.task;
            let ids = updates.iter().map(|update| &update.id).chain(&deletes);
            let seen = ids
                .filter_map(|id| Some((id.clone(), inner.seen.get(&(task, id.clone()))?.clone())))
                .collect();
            inner.requests.push(Request { deadline, creates, updates, deletes, sent, seen, answer: None });
            inner.requests.len() - 1
        };
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
}

fn next_id(inner: &mut Inner) -> SalesforceId {
    inner.next += 1;
    SalesforceId::parse(&format!("003{:012}", inner.next)).unwrap()
}

fn carry_out(inner: &mut Inner, request: &Request, stamp: Timestamp) -> Vec<WriteOutcome> {
    let mut outcomes = Vec::new();
    for new in &request.creates {
        let taken =
            inner.records.values().any(|record| record.external_id.as_ref() == Some(&new.external_id));
        if taken {
            outcomes.push(WriteOutcome::Unknown);
            continue;
        }
        let id = next_id(inner);
        let values: BTreeMap<_, _> =
            new.fields.iter().map(|(name, value)| (name.clone(), value.text())).collect();
        for (field, value) in &values {
            inner.note(&id, field, value.clone(), true);
        }
        let record = OrgRecord {
            values,
            deleted: false,
            stamp,
            marker: Some(new.marker.clone()),
            external_id: Some(new.external_id.clone()),
        };
        inner.records.insert(id.clone(), record);
        inner.creates += 1;
        outcomes.push(WriteOutcome::Written(id));
    }
    for update in &request.updates {
        let Some(record) = inner.records.get_mut(&update.id).filter(|record| !record.deleted) else {
            outcomes.push(WriteOutcome::Refused {
                code: "ENTITY_IS_DELETED".into(),
                message: "entity is deleted".into(),
                fields: vec![],
            });
            continue;
        };
        let mut replaced = Vec::new();
        for (name, value) in &update.fields {
            let before = record.values.insert(name.clone(), value.text()).flatten();
            let seen = request.seen.get(&update.id).and_then(|seen| seen.get(name)).cloned().flatten();
            if before != seen {
                replaced.push(before);
            }
        }
        record.marker = Some(update.marker.clone());
        record.stamp = stamp;
        inner.updates += 1;
        inner.overwritten_unseen.extend(replaced);
        for (name, value) in &update.fields {
            inner.note(&update.id, name, value.text(), true);
        }
        outcomes.push(WriteOutcome::Written(update.id.clone()));
    }
    for id in &request.deletes {
        let Some(record) = inner.records.get_mut(id).filter(|record| !record.deleted) else {
            outcomes.push(WriteOutcome::Refused {
                code: "ENTITY_IS_DELETED".into(),
                message: "entity is deleted".into(),
                fields: vec![],
            });
            continue;
        };
        let replaced: Vec<Option<String>> = match request.seen.get(id) {
            Some(seen) => {
                let moved = |name: &&String| record.values.get(*name) != seen.get(*name);
                record.values.keys().filter(moved).map(|name| record.values[name].clone()).collect()
            }
            None => vec![],
        };
        record.deleted = true;
        record.stamp = stamp;
        inner.deletes += 1;
        inner.overwritten_unseen.extend(replaced);
        outcomes.push(WriteOutcome::Written(id.clone()));
    }
    outcomes
}

impl Salesforce for MemoryOrg {
    async fn scan(&self, _object: &str, from: ScanFrom) -> Result<ScanPage, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let mut rows: Vec<ScannedRow> = inner
            .records
            .iter()
            .filter(|(id, _)| !inner.hidden.contains(id))
            .map(|(id, record)| ScannedRow { id: id.clone(), stamp: record.stamp, deleted: record.deleted })
            .collect();
        match from {
            ScanFrom::Id(after) => rows.retain(|row| after.as_ref().is_none_or(|after| row.id > *after)),
            ScanFrom::Stamp { stamp, id } => {
                rows.retain(|row| {
                    row.stamp > stamp || row.stamp == stamp && id.as_ref().is_none_or(|id| row.id > *id)
                });
                rows.sort_by(|a, b| (a.stamp, &a.id).cmp(&(b.stamp, &b.id)));
            }
        }
        Ok(ScanPage { rows, date: self.second(), last: true })
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        yield_now().await;
        self.call()?;
        let mut inner = self.inner.lock().unwrap();
        let task = inner.task;
        for id in ids {
            if let Some(values) = inner.records.get(id).map(|record| record.values.clone()) {
                inner.seen.insert((task, id.clone()), values);
            }
        }
        let outcomes = ids
            .iter()
            .map(|id| match inner.records.get(id) {
                None => ReadOutcome::Absent,
                Some(_) if inner.hidden.contains(id) => ReadOutcome::Absent,
                Some(record) if record.deleted => ReadOutcome::Deleted(DeletedRecord {
                    stamp: record.stamp,
                    marker: record.marker.clone(),
                    master: None,
                }),
                Some(record) => ReadOutcome::Record(RemoteRecord {
                    id: id.clone(),
                    stamp: record.stamp,
                    marker: record.marker.clone().filter(|_| definition.marker.is_some()),
                    external_id: record.external_id.clone(),
                    values: record.values.clone(),
                }),
            })
            .collect();
        Ok(ReadAnswer { outcomes, date: self.second() })
    }

    async fn find(
        &self,
        _definition: &Definition,
        external_ids: &[String],
    ) -> Result<Vec<Option<FoundRecord>>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let find = |external_id: &String| {
            let found =
                inner.records.iter().find(|(_, record)| record.external_id.as_ref() == Some(external_id));
            found.map(|(id, record)| FoundRecord { id: id.clone(), deleted: record.deleted })
        };
        Ok(external_ids.iter().map(find).collect())
    }

    async fn create(
        &self,
        _definition: &Definition,
        records: &[NewRecord],
    ) -> Result<WriteAnswer, PortError> {
        self.send(records.to_vec(), vec![], vec![]).await
    }

    async fn update(
        &self,
        _definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        self.send(vec![], records.to_vec(), vec![]).await
    }

    async fn delete(&self, _definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        self.send(vec![], vec![], ids.to_vec()).await
    }

    async fn probe(&self) -> Result<(), PortError> {
        yield_now().await;
        self.call()
    }

    fn take_usage(&self) -> (u64, Option<u64>) {
        let mut inner = self.inner.lock().unwrap();
        let (calls, told) = (inner.calls, inner.told);
        inner.told = calls;
        (calls - told, None)
    }
}
