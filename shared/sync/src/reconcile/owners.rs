//! Step 3, whose row it is: rows that still name a record that is gone, and rows that are another record's.

use super::fate::{BaseToSave, Exits, Fate, Leaving, Stepped};
use super::read_postgres::{TransactionOf, read_again};
use super::record::{InRun, Read, SalesforceRead, was_deleted_from_postgres};
use super::{Backoff, PortError, Ports, Put, Run, Touch};
use crate::ports::{RecordRef, Row, RowRef, State};
use std::collections::BTreeMap;
use syncline_engine::{Absence, Base, Gone, SalesforceId, Side};

/// A base whose row is its earlier record's again, and the touch of that record.
pub(super) struct GivenBack {
    pub(super) owner: Base,
    pub(super) touch: Touch,
}

impl Exits {
    /// The row is an earlier record's again: the owner's base becomes that record's. What was agreed on with that
    /// record stands if no other record has been in its stead.
    pub(super) fn give_back(&mut self, given: GivenBack, read: Read) {
        let id = read.id();
        let GivenBack { owner: mut base, touch } = given;
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
        self.save_and_try_again(read, base, touch);
    }

    /// The record leaves, is tried again, and another record's base, or its own, is saved before that.
    pub(super) fn save_and_try_again(&mut self, record: impl InRun, base: Base, touch: Touch) {
        let put = Put { expected: base.version, base, conflicts: Vec::new() };
        let base = Some(BaseToSave { put, touch });
        self.leave_with(Leaving { base, ..Leaving::with_fate(record, Fate::AgainOnceSaved) });
    }
}

impl<'a, P: Ports> Run<'a, P> {
    /// A row whose key changed while its record was created anew still names the deleted record, and is known by
    /// nothing else.
    pub(super) async fn find_by_replaced(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: &[SalesforceRead],
        rows: &mut [Vec<Row>],
    ) -> Result<(), PortError> {
        for (record, rows) in records.iter().zip(rows).filter(|(_, rows)| rows.is_empty()) {
            let base = record.loaded.base.as_ref();
            if let Some(base) = base.filter(|base| !base.live && base.ended_at.is_none()) {
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
            let rows = read_again(transaction, &[RowRef { key: None, id: Some(id.clone()) }]).await?;
            for row in rows.into_iter().flatten() {
                // The record may have come back, and stand for itself.
                let owners = [RecordRef::Id(id.clone()), RecordRef::Key(row.key.clone())];
                let owners = self.ports.state().load(&self.definition.name, &owners).await?;
                let mut others = owners.iter().filter_map(|known| known.base.as_ref());
                if others.all(|owner| owner.key.0 == record) {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// A row that was found by its link, but whose key is another living record's: somebody wrote one record's Id
    /// into another record's row.
    pub(super) async fn reject_rows_of_others(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        records: Vec<Read>,
    ) -> Result<Stepped<Read>, PortError> {
        let mut exits = Exits::default();
        let strange = |read: &Read| {
            let key = &read.row.as_ref()?.key;
            let known = read.base().and_then(|base| base.postgres_key.as_ref());
            (known != Some(key)).then(|| RecordRef::Key(key.clone()))
        };
        let refs: Vec<RecordRef> = records.iter().filter_map(strange).collect();
        if refs.is_empty() {
            return Ok(exits.with(records));
        }
        let mut known = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut ready = Vec::new();
        for read in records {
            let owner = strange(&read).and_then(|_| known.next()).and_then(|known| known.base);
            let replaces = |owner: &Base| read.shown_link().is_some_and(|link| has_replaced(owner, link));
            // A living record is known by its external Id.
            let lost = |owner: &Base| read.record().is_none() && misses_its_record(owner);
            let stands = |owner: &Base| owner.live || owner.intent.is_some() || lost(owner);
            let owner =
                owner.filter(|owner| owner.key != read.base_key() && (stands(owner) || replaces(owner)));
            match owner {
                None => ready.push(read),
                Some(owner) if lost(&owner) => self.leave_to_row(read, &mut exits),
                Some(owner) if replaces(&owner) => self.leave_to_successor(read, owner, &mut exits),
                Some(owner) => {
                    ready.extend(self.leave_to_owner(transaction, read, owner, &mut exits).await?);
                }
            }
        }
        Ok(exits.with(ready))
    }

    /// The row's link names a deleted record, and the row is that of the record that was, or is being, created in the
    /// deleted one's stead.
    fn leave_to_successor(&self, read: Read, owner: Base, exits: &mut Exits) {
        if read.record().is_none() {
            // The record is gone for good. The run that creates the other one may end early, and then this touch may be
            // the last one to look after the row.
            let fate = match (&owner.intent, &read.row) {
                (Some(intent), Some(row)) => {
                    let mut touch = read.touch().alone_of_row(row.key.clone());
                    touch.evidence.pg_deleted = false;
                    Fate::Waiting(self.after_lease(touch, intent.lease_until))
                }
                _ => Fate::Skipped,
            };
            exits.leave(read, fate);
            return;
        }
        let touch = Touch { key: None, old_key: None, ..read.retouch() };
        if stands_for_nothing(&owner) && read.base().is_none_or(|base| !base.live && base.intent.is_none()) {
            exits.give_back(GivenBack { owner, touch }, read);
        } else {
            // The row shows the record until the new one is there, which a refusal may hold up for long.
            let again = self.again(touch, Backoff::Outage);
            exits.leave(read, Fate::Again(again));
        }
    }

    /// The row's base does not know its record yet, which was created and not found since. The row's touch finds it.
    fn leave_to_row(&self, read: Read, exits: &mut Exits) {
        let mut touch = read.retouch();
        if let Some(row) = &read.row {
            touch = touch.alone_of_row(row.key.clone());
            touch.evidence.pg_deleted = false;
        }
        let again = self.again(touch, Backoff::Contention);
        exits.leave(read, Fate::Again(again));
    }

    /// The row's key is that of another record's base.
    async fn leave_to_owner(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        read: Read,
        owner: Base,
        exits: &mut Exits,
    ) -> Result<Option<Read>, PortError> {
        let linked = read.shown_link().is_some();
        // Two rows swapped their keys: the owner's row bears its link elsewhere.
        if linked && owner.live && self.stands_elsewhere(transaction, &owner, &read).await? {
            return Ok(Some(read));
        }
        let same_record = owner.salesforce_id.is_some() && owner.salesforce_id == read.id();
        if !linked || same_record || !owner.live {
            // Another run has just saved this very record's base, or has just made the row somebody's.
            let again = self.again(read.retouch(), Backoff::Contention);
            exits.leave(read, Fate::Again(again));
        } else if let Some(intent) = &owner.intent {
            // The owner's row is deleted, or being deleted: this row was given its key since.
            let waits = self.after_lease(read.retouch(), intent.lease_until);
            exits.leave(read, Fate::Waiting(waits));
        } else if was_deleted_from_postgres(&owner) {
            let touch = read.retouch();
            exits.save_and_try_again(read, Base { postgres_key: None, ..owner }, touch);
        } else {
            let row = read.row.as_ref().map(|row| row.key.to_string()).unwrap_or_default();
            let whose = owner.salesforce_id.map(|id| id.to_string()).unwrap_or_default();
            let message = format!("row {row} belongs to {whose}, but its link column names this record");
            let rejected = self.rejected(&read, Side::Postgres, "LINK", message, vec![]);
            exits.leave(read, Fate::Rejected(rejected));
        }
        Ok(None)
    }

    async fn stands_elsewhere(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        owner: &Base,
        read: &Read,
    ) -> Result<bool, PortError> {
        let Some(id) = owner.salesforce_id.clone() else { return Ok(false) };
        let rows = read_again(transaction, &[RowRef { key: None, id: Some(id) }]).await?;
        let here = read.row.as_ref().map(|row| &row.key);
        Ok(rows.iter().flatten().any(|row| Some(&row.key) != here))
    }
}

/// The base's record was created, or may have been, and was not found since.
fn misses_its_record(base: &Base) -> bool {
    base.intent.is_none() && base.salesforce_id.is_none() && !base.lost_creates.is_empty()
}

/// The record that was created in an earlier one's stead is deleted, or could not be created: the row is the earlier
/// record's again, should that come back.
pub(super) fn stands_for_nothing(base: &Base) -> bool {
    let deleted = |gone: Gone| gone.side == Side::Salesforce && gone.how != Absence::Missing;
    base.intent.is_none()
        && if base.live { base.gone.is_some_and(deleted) } else { base.salesforce_id.is_none() }
}

/// The Id is that of a deleted record in whose stead the base's record was created.
pub(super) fn has_replaced(base: &Base, link: &str) -> bool {
    base.replaced.iter().any(|replaced| replaced.as_str() == link)
}
