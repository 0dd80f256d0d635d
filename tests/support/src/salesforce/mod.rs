//! A Salesforce in memory: the model of `org` under the port `Salesforce`, with writes that stay under way until
//! a test lands them. This file holds what people and time do to the org; `api.rs` holds what Syncline asks, and
//! `requests.rs` its writes under way.

mod api;
mod record;
mod requests;

pub use record::OrgRecord;
pub use requests::{Landing, Overwritten, Request};

use crate::event::{By, EventLog, Values, What};
use crate::ports::SteppedClock;
use jiff::{SignedDuration, Timestamp};
use org::{Org, SaveError, Stored, User};
use record::{is_of_people, values_of};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncline_engine::{SalesforceId, Side};
use syncline_sync::{Clock, PortError};

/// A save of a record: what somebody asked for.
struct Saved<'a> {
    object: &'a str,
    id: &'a str,
    asked: &'a BTreeMap<String, Option<Stored>>,
}

/// Values as the caller was given them, and when.
type Seen = (Values, Timestamp);

struct Inner {
    org: Org,
    requests: Vec<Request>,
    creates: usize,
    updates: usize,
    deletes: usize,
    calls: u64,
    told: u64,
    down: Option<PortError>,
    task: usize,
    seen: BTreeMap<(usize, SalesforceId), Seen>,
    overwritten: Vec<Overwritten>,
}

/// A Salesforce in memory.
#[derive(Clone)]
pub struct MemoryOrg {
    inner: Arc<Mutex<Inner>>,
    clock: SteppedClock,
    events: EventLog,
    syncline: User,
    sales: User,
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
        let org = Org::new({
            let clock = clock.clone();
            move || clock.now()
        });
        let (syncline, sales) = (org.users[0].clone(), org.users[1].clone());
        let inner = Inner {
            org,
            requests: Vec::new(),
            creates: 0,
            updates: 0,
            deletes: 0,
            calls: 0,
            told: 0,
            down: None,
            task: 0,
            seen: BTreeMap::new(),
            overwritten: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock,
            events,
            syncline,
            sales,
            revives: false,
            page: usize::MAX,
            immediate,
            allowance: None,
            longest_call: SignedDuration::from_secs(20),
        }
    }

    /// Gives access to the model, to set what the org does by itself and what goes wrong.
    pub fn set_up<T>(&self, set: impl FnOnce(&mut Org) -> T) -> T {
        set(&mut self.inner.lock().unwrap().org)
    }

    /// The time of the org's clock, in whole seconds.
    fn second(&self, org: &Org) -> Timestamp {
        Timestamp::from_second(org.now().as_second()).unwrap()
    }

    /// Changes the org as a user or as Syncline, and notes every change as an event.
    fn change<T>(
        &self,
        org: &mut Org,
        by: By,
        change: impl FnOnce(&mut Org, &User) -> Result<T, Vec<SaveError>>,
    ) -> Result<T, Vec<SaveError>> {
        let result = change(org, if by == By::Sync { &self.syncline } else { &self.sales });
        self.note(org, by, None);
        result
    }

    /// Saves values of a record, or creates one, and notes every change as an event.
    fn save(
        &self,
        org: &mut Org,
        by: By,
        object: &str,
        id: Option<&str>,
        fields: &BTreeMap<String, Option<Stored>>,
    ) -> Result<SalesforceId, Vec<SaveError>> {
        let user = if by == By::Sync { &self.syncline } else { &self.sales };
        let saved = match id {
            Some(id) => org.update(object, id, fields, user)?,
            None => org.create(object, fields, user)?,
        };
        if id.is_none() {
            let values = org.record(object, &saved).map(values_of).unwrap_or_default();
            self.events.note(Side::Salesforce, &saved, &values, by, What::Born);
        }
        self.note(org, by, Some(&Saved { object, id: &saved, asked: fields }));
        Ok(SalesforceId::parse(&saved).unwrap())
    }

    /// Notes what the org's history has become since the last call. A field that was asked for and is as it was
    /// is noted if it is not as it was asked for.
    fn note(&self, org: &mut Org, by: By, saved: Option<&Saved<'_>>) {
        let text = |value: Option<&Stored>| value.map(Stored::text);
        let asked_for = |id: &str, field: &str| {
            let asked = saved.filter(|saved| saved.id == id)?.asked;
            asked.get(field).map(|value| text(value.as_ref()))
        };
        let changes = std::mem::take(&mut org.history);
        for change in &changes {
            let values = org.record(change.object, &change.id).map(values_of).unwrap_or_default();
            let by = if change.cascaded { By::Automation } else { by };
            let what = match (change.field, &change.after) {
                ("IsDeleted", Some(Stored::Boolean(true))) => What::Died(values.clone()),
                ("IsDeleted", _) => What::Returned,
                (field, after) if is_of_people(field) => What::Set {
                    field: field.to_owned(),
                    before: text(change.before.as_ref()),
                    asked: if change.cascaded { None } else { asked_for(&change.id, field) },
                    after: text(after.as_ref()),
                },
                _ => continue,
            };
            self.events.note(Side::Salesforce, &change.id, &values, by, what);
        }
        let Some(Saved { object, id, asked: fields }) = saved else { return };
        let values = org.record(object, id).map(values_of).unwrap_or_default();
        for (field, asked) in fields.iter().filter(|(field, _)| is_of_people(field)) {
            let (asked, after) = (text(asked.as_ref()), values.get(field).cloned().flatten());
            let noted = changes.iter().any(|change| change.id == *id && change.field == field);
            if !noted && asked != after {
                let what =
                    What::Set { field: field.clone(), before: after.clone(), asked: Some(asked), after };
                self.events.note(Side::Salesforce, id, &values, by, what);
            }
        }
    }

    /// Creates a Contact, as a user.
    pub fn insert(&self, values: Values) -> SalesforceId {
        self.insert_into("Contact", values).unwrap()
    }

    /// Creates a record, as a user.
    ///
    /// # Errors
    /// When Salesforce refuses the record.
    pub fn insert_into(&self, object: &str, values: Values) -> Result<SalesforceId, Vec<SaveError>> {
        let org = &mut self.inner.lock().unwrap().org;
        self.save(org, By::User, object, None, &stored(&values))
    }

    /// Edits a field of a living record, as a user. `false` if there is no such record, or it is locked or
    /// refused.
    pub fn edit(&self, id: &SalesforceId, field: &str, value: Option<&str>) -> bool {
        self.edit_all(id, &BTreeMap::from([(field.to_owned(), value.map(str::to_owned))]))
    }

    /// Edits several fields in one save, as a user.
    pub fn edit_all(&self, id: &SalesforceId, values: &Values) -> bool {
        let org = &mut self.inner.lock().unwrap().org;
        let Some(object) = org.object_of(id.as_str()) else { return false };
        self.save(org, By::User, object, Some(id.as_str()), &stored(values)).is_ok()
    }

    /// Edits a record in a long transaction, as a user. The edit is visible after the commit, with the stamp
    /// of the transaction's beginning.
    pub fn begin_edit(&self, id: &SalesforceId, field: &str, value: Option<&str>) -> bool {
        let org = &mut self.inner.lock().unwrap().org;
        let Some(object) = org.object_of(id.as_str()) else { return false };
        let fields = BTreeMap::from([(field.to_owned(), value.and_then(Stored::from_text))]);
        org.begin(object, id.as_str(), &fields, &self.sales).is_ok()
    }

    /// Commits the long transactions, except those that took longer than Salesforce allows.
    pub fn commit_edits(&self) {
        let org = &mut self.inner.lock().unwrap().org;
        org.commit();
        self.note(org, By::User, None);
    }

    /// Deletes a record, as a user. `false` if there is no such living record.
    pub fn delete(&self, id: &SalesforceId) -> bool {
        let org = &mut self.inner.lock().unwrap().org;
        let Some(object) = org.object_of(id.as_str()) else { return false };
        self.change(org, By::User, |org, user| org.delete(object, id.as_str(), user)).is_ok()
    }

    /// Takes a record out of the recycle bin, as a user. `false` if the record is not in it.
    pub fn undelete(&self, id: &SalesforceId) -> bool {
        let org = &mut self.inner.lock().unwrap().org;
        let Some(object) = org.object_of(id.as_str()) else { return false };
        self.change(org, By::User, |org, user| org.undelete(object, id.as_str(), user)).is_ok()
    }

    /// Merges a record into another, as a user. The merged record is deleted and names its master.
    pub fn merge(&self, loser: &SalesforceId, master: &SalesforceId) -> bool {
        let org = &mut self.inner.lock().unwrap().org;
        let Some(object) = org.object_of(master.as_str()).filter(|_| loser != master) else { return false };
        let losers = [loser.to_string()];
        self.change(org, By::User, |org, user| org.merge(object, master.as_str(), &losers, user)).is_ok()
    }

    /// Hides a record from Syncline as sharing does, or shows it again.
    pub fn hide(&self, id: &SalesforceId, hidden: bool) {
        let hiding = &mut self.inner.lock().unwrap().org.hidden;
        if hidden {
            hiding.insert(id.to_string())
        } else {
            hiding.remove(id.as_str())
        };
    }

    /// True if sharing hides the record.
    #[must_use]
    pub fn is_hidden(&self, id: &SalesforceId) -> bool {
        self.inner.lock().unwrap().org.hidden.contains(id.as_str())
    }

    /// Makes every call fail with this error, until it is set to `None`.
    pub fn set_down(&self, error: Option<PortError>) {
        self.inner.lock().unwrap().down = error;
    }

    /// Makes reads answer records as they were before the changes of their last second, until it is set to
    /// `false`.
    pub fn set_stale(&self, stale: bool) {
        let for_long = SignedDuration::from_hours(24 * 365);
        self.set_up(|org| org.stale_reads = if stale { for_long } else { SignedDuration::ZERO });
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().unwrap().calls
    }

    /// The number of deletes by Syncline that were carried out.
    #[must_use]
    pub fn deletes(&self) -> usize {
        self.inner.lock().unwrap().deletes
    }

    /// The number of creates and of updates by Syncline that were carried out.
    #[must_use]
    pub fn writes(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap();
        (inner.creates, inner.updates)
    }

    /// All records as they are now, those in the recycle bin included.
    #[must_use]
    pub fn records(&self) -> BTreeMap<SalesforceId, OrgRecord> {
        let inner = self.inner.lock().unwrap();
        let objects = inner.org.records.iter();
        objects
            .flat_map(|(object, records)| records.iter().map(|(id, record)| (*object, id, record)))
            .map(|(object, id, record)| (SalesforceId::parse(id).unwrap(), OrgRecord::new(object, record)))
            .collect()
    }
}

fn stored(values: &Values) -> BTreeMap<String, Option<Stored>> {
    let stored = |value: &Option<String>| value.as_deref().and_then(Stored::from_text);
    values.iter().map(|(field, value)| (field.clone(), stored(value))).collect()
}
