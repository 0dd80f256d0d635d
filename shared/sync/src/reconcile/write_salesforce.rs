//! Step 8: records of Salesforce are created, updated and deleted.

use super::fate::{Exits, Fate, Stepped};
use super::record::{InRun, Intended};
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{
    HistoryOutcome, NewRecord, ReadOutcome, RecordUpdate, Salesforce, WriteAnswer, WriteOutcome,
    depends_on_others,
};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Action, SalesforceId, Side, Stamp, Value};

/// Records of one call, at most: what an sObject collection takes.
const RECORDS_PER_CALL: usize = 200;

/// How often a record that Salesforce calls deleted is read again before it counts as refused.
const DELETED_TRIES: u32 = 5;

/// A read of Salesforce that is older than this is repeated before a write.
const FRESH: SignedDuration = SignedDuration::from_millis(50);

/// The kind of a call that writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Update,
    Delete,
}

impl Call {
    const IN_ORDER: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    fn of(action: &Action) -> Self {
        match action {
            Action::Create(_) => Self::Create,
            Action::Delete => Self::Delete,
            Action::None | Action::Update(_) => Self::Update,
        }
    }
}

impl<P: Ports> Run<'_, P> {
    /// Step 8. Writes to Salesforce, up to 200 records in one call. An error here is an answer like any other: Postgres
    /// is written already, and each record goes on for itself. A call is begun only while the lease outlasts it. Every
    /// record goes on, with what became of its write; the touches are for records that are tried again beside that.
    pub(super) async fn write_salesforce(&mut self, records: Vec<Intended>) -> Stepped<Intended> {
        let mut exits = Exits::default();
        let mut done = Vec::new();
        let mut left = records;
        for call in Call::IN_ORDER {
            let (mut of_call, others): (Vec<Intended>, Vec<Intended>) =
                left.into_iter().partition(|intended| Call::of(&intended.planned.plan.salesforce) == call);
            left = others;
            while !of_call.is_empty() {
                let chunk = of_call.drain(..of_call.len().min(RECORDS_PER_CALL)).collect();
                done.extend(self.send(call, chunk, &mut exits).await);
            }
        }
        exits.with(done)
    }

    /// One call.
    async fn send(&mut self, call: Call, chunk: Vec<Intended>, exits: &mut Exits) -> Vec<Intended> {
        let mut done = Vec::new();
        let mut chunk = chunk;
        if call != Call::Create && !self.is_too_late_to_send(&chunk) {
            chunk = self.unmoved(chunk, &mut done).await;
            if chunk.is_empty() {
                return done;
            }
        }
        if self.is_too_late_to_send(&chunk) {
            done.extend(chunk.into_iter().map(Intended::not_sent));
            return done;
        }
        let salesforce = self.ports.salesforce();
        let answer = match call {
            Call::Create => {
                let records: Vec<NewRecord> = chunk.iter().map(new_record).collect();
                salesforce.create(self.definition, &records).await
            }
            Call::Update => {
                let records: Vec<RecordUpdate> = chunk.iter().filter_map(record_update).collect();
                salesforce.update(self.definition, &records).await
            }
            Call::Delete => {
                let ids: Vec<SalesforceId> = chunk.iter().filter_map(InRun::id).collect();
                salesforce.delete(self.definition, &ids).await
            }
        };
        match answer {
            Ok(answer) => self.note_answer(&mut chunk, answer, exits),
            Err(error) => self.note_outage(&mut chunk, error),
        }
        done.extend(chunk);
        done
    }

    /// Salesforce has no compare-and-set. In a run of many records the read is some time ago by now: so records are
    /// read once more, and a record whose fields somebody has edited meanwhile is left alone and tried again.
    async fn unmoved(&mut self, mut chunk: Vec<Intended>, done: &mut Vec<Intended>) -> Vec<Intended> {
        if self.read_begun.is_none_or(|begun| self.now() < begun + FRESH) {
            return chunk;
        }
        let ids: Vec<SalesforceId> = chunk.iter().filter_map(InRun::id).collect();
        let answer = match self.ports.salesforce().read(self.definition, &ids).await {
            Ok(answer) => answer,
            Err(error) => {
                self.note_outage(&mut chunk, error);
                done.extend(chunk);
                return Vec::new();
            }
        };
        let mut outcomes = answer.outcomes.into_iter();
        let mut unmoved = Vec::new();
        for intended in chunk {
            let outcome = outcomes.next().unwrap_or(ReadOutcome::Absent);
            if stands_as_it_was_read(&intended, &outcome) {
                unmoved.push(intended);
            } else {
                done.push(intended.not_sent());
            }
        }
        unmoved
    }

    /// A call takes at most the two thirds of a lease that [`crate::Settings::longest_call`] leaves it.
    fn is_too_late_to_send(&self, records: &[Intended]) -> bool {
        let ends = self.now() + self.ports.settings().longest_call();
        records.iter().filter_map(Intended::lease_until).any(|until| ends > until)
    }

    /// Nothing of the call was written.
    fn note_outage(&mut self, records: &mut [Intended], error: PortError) {
        for intended in records {
            intended.outcome = Some(HistoryOutcome::Refused);
            intended.decided = Some(Fate::Again(self.again(intended.retouch(), Backoff::Outage)));
        }
        self.summary.outage = Some(error);
    }

    fn note_answer(&mut self, records: &mut [Intended], answer: WriteAnswer, exits: &mut Exits) {
        self.summary.reached_salesforce = true;
        let written =
            Stamp::Written { after: answer.after, until: answer.date + SignedDuration::from_secs(2) };
        let mut outcomes = answer.outcomes.into_iter();
        for intended in records {
            match outcomes.next().unwrap_or(WriteOutcome::Unknown) {
                WriteOutcome::Written(id) => {
                    match intended.planned.plan.salesforce {
                        Action::Create(_) => self.summary.records_created += 1,
                        Action::Delete => self.summary.records_deleted += 1,
                        _ => self.summary.records_updated += 1,
                    }
                    intended.landed.salesforce = Some(id);
                    intended.written = Some(written);
                    intended.outcome = Some(HistoryOutcome::Written);
                }
                WriteOutcome::Refused { code, message, fields } => {
                    self.note_refusal(intended, code, message, fields, exits);
                }
                WriteOutcome::Busy { .. } => {
                    intended.outcome = Some(HistoryOutcome::Refused);
                    let again = self.again(intended.retouch(), Backoff::Outage);
                    intended.decided = Some(Fate::Again(again));
                }
                WriteOutcome::CreatedBefore => {
                    // Sharing hides the record. It is looked for again.
                    intended.outcome = Some(HistoryOutcome::Refused);
                    intended.decided = Some(Fate::Again(self.again(intended.retouch(), Backoff::Outage)));
                    if intended.base.lost_creates.is_empty() {
                        intended.base.lost_creates = intended.base.open_creates();
                    }
                }
                WriteOutcome::Unknown => {
                    intended.outcome = Some(HistoryOutcome::Unknown);
                    intended.decided = Some(Fate::Waiting(self.when_own_lease_ends(intended)));
                }
            }
        }
    }

    fn note_refusal(
        &mut self,
        intended: &mut Intended,
        code: String,
        message: String,
        fields: Vec<String>,
        exits: &mut Exits,
    ) {
        let action = &intended.planned.plan.salesforce;
        let is_gone = code == "ENTITY_IS_DELETED";
        if is_gone && *action == Action::Delete {
            // Somebody else deleted it first: it is gone either way.
            intended.landed.salesforce = intended.id();
            intended.outcome = Some(HistoryOutcome::Written);
            return;
        }
        intended.outcome = Some(HistoryOutcome::Refused);
        // Fields are named where the refusal is about another record, such as a deleted parent.
        let of_record_itself = is_gone && fields.is_empty() && matches!(action, Action::Update(_));
        if of_record_itself && intended.loaded().touch.attempt < DELETED_TRIES {
            intended.decided = Some(Fate::AgainOnceSaved);
            return;
        }
        exits.touch(match depends_on_others(&code) {
            true => self.again(intended.retouch(), Backoff::Outage),
            false => self.after_refusal(intended.retouch()),
        });
        self.summary.refused_deletes += u64::from(*action == Action::Delete);
        let rejected = self.rejected(intended, Side::Salesforce, &code, message, fields);
        intended.decided = Some(Fate::Rejected(rejected));
    }

    /// Whether the write landed is found out once this run's lease has ended.
    fn when_own_lease_ends(&self, intended: &Intended) -> crate::ports::Deferred {
        let due = intended.lease_until().unwrap_or_else(|| self.now());
        crate::ports::Deferred { touch: intended.retouch(), due, waits_for: vec![] }
    }
}

/// Nobody edited what the plan is about to write, or, where it deletes, anything.
fn stands_as_it_was_read(intended: &Intended, outcome: &ReadOutcome) -> bool {
    let plan = &intended.planned.plan.salesforce;
    let before = intended.planned.read.record().map(|record| &record.values);
    match outcome {
        ReadOutcome::Record(record) if *plan == Action::Delete => before == Some(&record.values),
        ReadOutcome::Record(record) => {
            let mut fields = plan.fields().into_iter().flatten();
            fields.all(|(name, _)| before.and_then(|before| before.get(name)) == record.values.get(name))
        }
        _ => false,
    }
}

fn new_record(intended: &Intended) -> NewRecord {
    NewRecord {
        external_id: intended.base.external_id.clone().unwrap_or_default(),
        marker: intended.intent().to_owned(),
        fields: values(&intended.planned.plan.salesforce),
    }
}

fn record_update(intended: &Intended) -> Option<RecordUpdate> {
    Some(RecordUpdate {
        id: intended.id()?,
        marker: intended.intent().to_owned(),
        fields: values(&intended.planned.plan.salesforce),
    })
}

fn values(action: &Action) -> BTreeMap<String, Value> {
    let fields = action.fields().into_iter().flatten();
    fields.map(|(name, write)| (name.clone(), write.after.clone())).collect()
}
