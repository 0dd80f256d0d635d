//! The writes of Syncline that are under way, and how a test lands them.

use super::record::values_of;
use super::{Inner, MemoryOrg, Seen};
use crate::event::{By, Values};
use crate::yielding::yield_now;
use jiff::Timestamp;
use org::{Org, SaveError, Stored};
use std::collections::BTreeMap;
use syncline_engine::{Definition, FieldName, SalesforceId, Value};
use syncline_sync::{Clock, NewRecord, PortError, RecordUpdate, WriteAnswer, WriteOutcome};

/// The records of one write.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Create(Vec<NewRecord>),
    Update(Vec<RecordUpdate>),
    Delete(Vec<SalesforceId>),
}

impl Write {
    fn len(&self) -> usize {
        match self {
            Self::Create(records) => records.len(),
            Self::Update(records) => records.len(),
            Self::Delete(ids) => ids.len(),
        }
    }

    /// The Ids of the records that the write changes or deletes.
    fn ids(&self) -> Vec<&SalesforceId> {
        match self {
            Self::Create(_) => vec![],
            Self::Update(records) => records.iter().map(|record| &record.id).collect(),
            Self::Delete(ids) => ids.iter().collect(),
        }
    }
}

/// A write under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// After this moment the write can no longer land: its caller's time-out and the longest transaction have
    /// passed.
    pub deadline: Timestamp,
    definition: Definition,
    write: Write,
    sent: Timestamp,
    /// What the caller had read of these records, and when.
    seen: BTreeMap<SalesforceId, Seen>,
    answer: Option<WriteAnswer>,
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

impl MemoryOrg {
    /// Names the task that makes the next calls.
    pub fn called_by(&self, task: usize) {
        self.inner.lock().unwrap().task = task;
    }

    /// Says that the run of this task is over. The run makes no more writes based on what it has read.
    pub fn run_over(&self, task: usize) {
        self.inner.lock().unwrap().seen.retain(|(of, _), _| *of != task);
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
        let (task, skew) = (inner.task, inner.org.skew());
        inner.seen.insert((task, id.clone()), (values, stamp - skew));
    }

    /// True if a run has read this record and may still write to it.
    #[must_use]
    pub fn is_between_read_and_write(&self, id: &SalesforceId) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.seen.keys().any(|(_, seen)| seen == id)
            || inner.requests.iter().any(|one| one.answer.is_none() && one.write.ids().contains(&id))
    }

    /// The edits that were overwritten in the way that is not promised.
    #[must_use]
    pub fn overwritten(&self) -> Vec<Overwritten> {
        self.inner.lock().unwrap().overwritten.clone()
    }

    /// The writes under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<Request> {
        let inner = self.inner.lock().unwrap();
        inner.requests.iter().filter(|request| request.answer.is_none()).cloned().collect()
    }

    /// Ends a write under way. The number counts from the oldest write.
    pub fn land(&self, number: usize, landing: Landing) {
        let mut inner = self.inner.lock().unwrap();
        let open: Vec<usize> =
            (0..inner.requests.len()).filter(|at| inner.requests[*at].answer.is_none()).collect();
        let Some(&at) = open.get(number) else { return };
        let date = self.second(&inner.org);
        let request = inner.requests[at].clone();
        let mut outcomes = vec![WriteOutcome::Unknown; request.write.len()];
        if landing != Landing::Dropped {
            let written = self.carry_out(&mut inner, &request);
            if landing == Landing::Answered {
                outcomes = written;
            }
        }
        inner.requests[at].answer = Some(WriteAnswer { outcomes, after: request.sent, date });
    }

    /// Sends a write and waits until a test has landed it.
    pub(super) async fn send(&self, definition: &Definition, write: Write) -> Result<WriteAnswer, PortError> {
        // The time-out of a call is counted from the beginning of the call.
        let deadline = self.clock.now() + self.longest_call;
        yield_now().await;
        self.call()?;
        let at = {
            let mut inner = self.inner.lock().unwrap();
            let (task, sent) = (inner.task, self.second(&inner.org));
            let seen = write.ids().into_iter();
            let seen = seen
                .filter_map(|id| Some((id.clone(), inner.seen.get(&(task, id.clone()))?.clone())))
                .collect();
            let definition = definition.clone();
            inner.requests.push(Request { deadline, definition, write, sent, seen, answer: None });
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
            if let Some(answer) = self.inner.lock().unwrap().requests[at].answer.clone() {
                return Ok(answer);
            }
            yield_now().await;
        }
    }

    fn carry_out(&self, inner: &mut Inner, request: &Request) -> Vec<WriteOutcome> {
        let definition = &request.definition;
        let outcome = |result: Result<SalesforceId, Vec<SaveError>>| match result {
            Ok(id) => WriteOutcome::Written(id),
            Err(errors) => {
                let error = errors.into_iter().next().unwrap();
                WriteOutcome::of_error(definition, error.code.into_owned(), error.message, error.fields)
            }
        };
        match &request.write {
            Write::Create(records) => {
                records.iter().map(|new| outcome(self.carry_out_create(inner, definition, new))).collect()
            }
            Write::Update(records) => {
                records.iter().map(|update| outcome(self.carry_out_update(inner, request, update))).collect()
            }
            Write::Delete(ids) => {
                ids.iter().map(|id| outcome(self.carry_out_delete(inner, request, id))).collect()
            }
        }
    }

    fn carry_out_create(
        &self,
        inner: &mut Inner,
        definition: &Definition,
        new: &NewRecord,
    ) -> Result<SalesforceId, Vec<SaveError>> {
        let mut fields = stored(&new.fields);
        fields.extend(text(definition.marker.as_ref(), &new.marker));
        fields.extend(text(definition.external_id.as_ref(), &new.external_id));
        let id = self.save(&mut inner.org, By::Sync, &definition.object, None, &fields)?;
        inner.creates += 1;
        Ok(id)
    }

    fn carry_out_update(
        &self,
        inner: &mut Inner,
        request: &Request,
        update: &RecordUpdate,
    ) -> Result<SalesforceId, Vec<SaveError>> {
        let Definition { object, marker, .. } = &request.definition;
        let id = update.id.as_str();
        if self.revives {
            let _ = self.change(&mut inner.org, By::Sync, |org, user| org.undelete(object, id, user));
        }
        let before = before(&inner.org, object, id);
        let mut fields = stored(&update.fields);
        fields.extend(text(marker.as_ref(), &update.marker));
        let written = self.save(&mut inner.org, By::Sync, object, Some(id), &fields)?;
        inner.updates += 1;
        self.note_overwritten(inner, request, &update.id, &before, &|field| fields.contains_key(field));
        Ok(written)
    }

    fn carry_out_delete(
        &self,
        inner: &mut Inner,
        request: &Request,
        id: &SalesforceId,
    ) -> Result<SalesforceId, Vec<SaveError>> {
        let object = &request.definition.object;
        let before = before(&inner.org, object, id.as_str());
        self.change(&mut inner.org, By::Sync, |org, user| org.delete(object, id.as_str(), user))?;
        inner.deletes += 1;
        self.note_overwritten(inner, request, id, &before, &|_| true);
        Ok(id.clone())
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

fn before(org: &Org, object: &str, id: &str) -> Values {
    org.record(object, id).map(values_of).unwrap_or_default()
}

fn text(field: Option<&FieldName>, value: &str) -> Option<(FieldName, Option<Stored>)> {
    Some((field?.clone(), Some(Stored::Text(value.to_owned()))))
}

/// The fields of a write as their JSON would carry them.
fn stored(fields: &BTreeMap<FieldName, Value>) -> BTreeMap<String, Option<Stored>> {
    let stored = |value: &Value| match value {
        Value::Number(number) => Some(Stored::Number(number.to_string())),
        Value::Boolean(yes) => Some(Stored::Boolean(*yes)),
        other => other.text().as_deref().and_then(Stored::from_text),
    };
    fields.iter().map(|(field, value)| (field.clone(), stored(value))).collect()
}
