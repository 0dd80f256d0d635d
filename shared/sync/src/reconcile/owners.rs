//! Step 3, whose row it is: rows that changed their key, lost their link, or still name a record that is gone.

use super::rows::TransactionOf;
use super::work::{Work, was_deleted_from_postgres};
use super::{Backoff, PortError, Ports, Put, Run, Touch};
use crate::ports::{RecordRef, Row, RowRef, State, Transaction};
use std::collections::BTreeMap;
use syncline_engine::{Absence, Base, Gone, PostgresKey, SalesforceId, Side};

/// Who a row without link belongs to.
#[derive(PartialEq, Eq)]
enum Claim {
    /// Nobody.
    None,
    /// That is not decided yet.
    Waits,
    /// The record of this Id, whose row had this key before.
    Holds(Option<SalesforceId>, Option<PostgresKey>),
    /// This base's, whose record was not created in the stead of the one that came back.
    GivesBack(Box<Base>),
}

impl<'a, P: Ports> Run<'a, P> {
    /// A row whose key changed while its record was created anew still names the deleted one, and is known by nothing
    /// else.
    pub(super) async fn find_by_replaced(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        works: &[Work],
        rows: &mut [Vec<Row>],
    ) -> Result<(), PortError> {
        for (work, rows) in works.iter().zip(rows).filter(|(_, rows)| rows.is_empty()) {
            if let Some(base) = work.base.as_ref().filter(|base| !base.live && base.ended_at.is_none()) {
                rows.extend(self.linked_to_replaced(transaction, &base.key.0, &base.replaced).await?);
            }
        }
        Ok(())
    }

    /// A row that names one of these deleted records and is no other record's.
    pub(super) async fn linked_to_replaced(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        record: &str,
        replaced: &[SalesforceId],
    ) -> Result<Option<Row>, PortError> {
        for id in replaced {
            let rows = transaction.read(&[RowRef { key: None, id: Some(id.clone()) }]).await?;
            for row in rows.into_iter().flatten() {
                // The record may have come back, and stand for itself.
                let owners = [RecordRef::Id(id.clone()), RecordRef::Key(row.key.clone())];
                let owners = self.ports.state().load(&self.definition.name, &owners).await?;
                let mut others = owners.iter().filter_map(|loaded| loaded.base.as_ref());
                if others.all(|owner| owner.key.0 == record) {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// A row without link and base is new, or it is one whose key changed or whose link was emptied while its record
    /// was under way: nothing but the notes of that tell. The same goes for one that was deleted after that, and for
    /// one whose link still names the deleted record in whose stead another is created.
    pub(super) async fn follow_origins(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        works: Vec<Work>,
    ) -> Result<Vec<Work>, PortError> {
        let nameless = |work: &Work| match &work.row {
            _ if work.base.is_some() => None,
            Some(row) => Some(row.key.clone()),
            None if work.touch.evidence.pg_deleted && work.record().is_none() => work.touch.key.clone(),
            None => None,
        };
        let keys: Vec<PostgresKey> = works.iter().filter_map(nameless).collect();
        if keys.is_empty() {
            return Ok(works);
        }
        let mut origins = transaction.origins(&keys).await?.into_iter();
        let mut ready = Vec::new();
        for mut work in works {
            let Some(key) = nameless(&work) else {
                ready.push(work);
                continue;
            };
            let origin = origins.next().unwrap_or_default();
            // Its record may have been created since bases were loaded: the delete is that one's.
            if work.row.is_none()
                && let Some(base) = self.base_of_ref(RecordRef::Key(key.clone())).await?
                && (base.live || base.intent.is_some())
            {
                self.again(work.touch, Backoff::Contention);
                continue;
            }
            let inserted_for = origin.inserted_for.map(RecordRef::Id);
            let mut found = Claim::None;
            for wanted in inserted_for.into_iter().chain(origin.former_keys.into_iter().map(RecordRef::Key)) {
                let link = work.row.as_ref().and_then(|row| row.link.as_deref());
                let back = work.record().and_then(|_| work.id());
                found = self.claim(transaction, wanted, &key, link, back.is_some()).await?;
                if found != Claim::None {
                    break;
                }
            }
            match found {
                Claim::None => {
                    ready.push(work);
                    continue;
                }
                Claim::Waits => {}
                Claim::GivesBack(base) => {
                    let base = Base { postgres_key: Some(key), ..*base };
                    self.give_back(base, work.id(), work.retouch());
                    continue;
                }
                Claim::Holds(id, old) => {
                    // The record that the link names has come back: it stands for itself.
                    if work.record().is_some()
                        && let Some(back) = work.id().filter(|back| Some(back) != id.as_ref())
                    {
                        self.again(work.touch.alone_of_id(back), Backoff::Contention);
                    }
                    work.touch.id = id;
                    work.touch.old_key = old;
                }
            }
            let mut touch = work.touch;
            touch.key = Some(key);
            self.again(touch, Backoff::Contention);
        }
        Ok(ready)
    }

    /// Whether a row is that of a record that is known by another name, or about to be.
    async fn claim(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        wanted: RecordRef,
        key: &PostgresKey,
        link: Option<&str>,
        came_back: bool,
    ) -> Result<Claim, PortError> {
        if let RecordRef::Key(old) = &wanted {
            // Whoever creates the record under its old key holds this lock until its intent is saved.
            if transaction.lock(&[format!("p:{old}")]).await? != [true] {
                return Ok(Claim::Waits);
            }
        }
        let Some(base) = self.base_of_ref(wanted).await? else { return Ok(Claim::None) };
        if link.is_some_and(|link| !has_replaced(&base, link)) {
            return Ok(Claim::None);
        }
        if base.intent.is_some() {
            return Ok(Claim::Waits);
        }
        let known = base.postgres_key.clone().filter(|known| known != key);
        if let Some(known) = &known {
            let refs = [RowRef { key: Some(known.clone()), id: base.salesforce_id.clone() }];
            if transaction.read(&refs).await?.iter().any(|rows| !rows.is_empty()) {
                return Ok(Claim::None);
            }
        }
        if came_back && link.is_some() && stands_for_nothing(&base) {
            return Ok(Claim::GivesBack(Box::new(base)));
        }
        // One whose record was about to be created anew, and was not, is still waited for.
        if !base.live && link.is_none() {
            return Ok(Claim::None);
        }
        Ok(Claim::Holds(base.salesforce_id, known))
    }

    /// A row that was found by its link but whose key is another living record's: somebody wrote one record's Id
    /// into another's row.
    pub(super) async fn reject_rows_of_others(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        works: Vec<Work>,
    ) -> Result<Vec<Work>, PortError> {
        let strange = |work: &Work| {
            let key = &work.row.as_ref()?.key;
            let known = work.base.as_ref().and_then(|base| base.postgres_key.as_ref());
            (known != Some(key)).then(|| RecordRef::Key(key.clone()))
        };
        let refs: Vec<RecordRef> = works.iter().filter_map(strange).collect();
        if refs.is_empty() {
            return Ok(works);
        }
        let mut loaded = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut ready = Vec::new();
        for work in works {
            let owner = strange(&work).and_then(|_| loaded.next()).and_then(|loaded| loaded.base);
            let link = work.row.as_ref().and_then(|row| row.link.as_deref());
            let owner = owner.filter(|owner| {
                let replaced = link.is_some_and(|link| has_replaced(owner, link));
                owner.key != work.base_key() && (owner.live || owner.intent.is_some() || replaced)
            });
            let Some(owner) = owner else {
                ready.push(work);
                continue;
            };
            match link {
                // The record is gone for good; its row belongs to another one by now, or will once the run that creates
                // that one has ended, which this touch may be the last to look after.
                Some(link) if has_replaced(&owner, link) && work.record().is_none() => {
                    match (&owner.intent, &work.row) {
                        (Some(intent), Some(row)) => {
                            let mut touch = work.touch.alone_of_row(row.key.clone());
                            touch.evidence.pg_deleted = false;
                            self.after_lease(touch, intent.lease_until);
                        }
                        _ => self.summary.skipped += 1,
                    }
                }
                Some(link)
                    if has_replaced(&owner, link)
                        && stands_for_nothing(&owner)
                        && work.base.as_ref().is_none_or(|base| !base.live && base.intent.is_none()) =>
                {
                    let touch = Touch { key: None, old_key: None, ..work.retouch() };
                    self.give_back(owner, work.id(), touch);
                }
                Some(link) if has_replaced(&owner, link) => {
                    // Its row shows it until the new record is there, which a refusal may hold up for long.
                    let touch = Touch { key: None, old_key: None, ..work.retouch() };
                    self.again(touch, Backoff::Outage);
                }
                // Two rows swapped their keys: the owner's bears its link elsewhere.
                Some(_) if owner.live && self.stands_elsewhere(transaction, &owner, &work).await? => {
                    ready.push(work);
                }
                // Another run has just saved this very record's base.
                Some(_) if owner.salesforce_id.is_some() && owner.salesforce_id == work.id() => {
                    self.again(work.retouch(), Backoff::Contention);
                }
                // The owner's row is deleted, or being deleted: this one was given its key since.
                Some(_)
                    if owner.live
                        && let Some(intent) = &owner.intent =>
                {
                    self.after_lease(work.retouch(), intent.lease_until);
                }
                Some(_) if owner.live && was_deleted_from_postgres(&owner) => {
                    let base = Base { postgres_key: None, ..owner };
                    let put = Put { expected: base.version, base, conflicts: Vec::new() };
                    self.puts.push((put, work.retouch(), true));
                }
                Some(_) if owner.live => {
                    let row = work.row.as_ref().map(|row| row.key.to_string()).unwrap_or_default();
                    let whose = owner.salesforce_id.map(|id| id.to_string()).unwrap_or_default();
                    let message =
                        format!("row {row} belongs to {whose}, but its link column names this record");
                    self.reject(&work, Side::Postgres, "LINK", message, vec![]);
                }
                // Another run has just made the row somebody's.
                _ => self.again(work.retouch(), Backoff::Contention),
            }
        }
        Ok(ready)
    }

    /// The base's record is an earlier one of its row's again. What was agreed on with it stands if no other record
    /// has been in its stead.
    fn give_back(&mut self, owner: Base, id: Option<SalesforceId>, touch: Touch) {
        let mut base = owner;
        let was_last = base.salesforce_id.is_none() && base.replaced.last() == id.as_ref();
        base.replaced.retain(|replaced| Some(replaced) != id.as_ref());
        base.replaced.extend(base.salesforce_id.take());
        base.salesforce_id = id;
        let earlier = std::mem::take(&mut base.earlier);
        base.fields = if was_last { earlier } else { BTreeMap::new() };
        base.live = !base.fields.is_empty();
        if base.live {
            base.ended_at = None;
        }
        (base.gone, base.stamp, base.marker, base.external_id) = (None, None, None, None);
        let put = Put { expected: base.version, base, conflicts: Vec::new() };
        self.puts.push((put, touch, true));
    }

    async fn stands_elsewhere(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        owner: &Base,
        work: &Work,
    ) -> Result<bool, PortError> {
        let Some(id) = owner.salesforce_id.clone() else { return Ok(false) };
        let rows = transaction.read(&[RowRef { key: None, id: Some(id) }]).await?;
        let here = work.row.as_ref().map(|row| &row.key);
        Ok(rows.iter().flatten().any(|row| Some(&row.key) != here))
    }
}

/// The record that was created in an earlier one's stead is deleted, or could not be created: a row is the earlier one's
/// again, should that come back.
fn stands_for_nothing(base: &Base) -> bool {
    let deleted = |gone: Gone| gone.side == Side::Salesforce && gone.how != Absence::Missing;
    base.intent.is_none()
        && if base.live { base.gone.is_some_and(deleted) } else { base.salesforce_id.is_none() }
}

/// The Id is that of a deleted record in whose stead the base's record was created.
fn has_replaced(base: &Base, link: &str) -> bool {
    base.replaced.iter().any(|replaced| replaced.as_str() == link)
}
