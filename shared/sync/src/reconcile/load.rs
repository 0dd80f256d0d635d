//! Step 1: which records the touches are of, and the bases of these.

use super::fate::{Entrance, Exits, Fate, Stepped};
use super::record::{InRun, Loaded};
use super::{Backoff, PortError, Ports, Run, Touch};
use crate::ports::{Deferred, KnownRecord, RecordRef, State};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Base, BaseKey, PostgresKey, SalesforceId, Side, Stamp};

/// How long a record waits whose base a newer release has written.
const NEWER_FORM_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// Records by what they are called: whether a base has that name, and the name. A base may bear the name of a newcomer.
type ByName = BTreeMap<(bool, String), Loaded>;

impl<P: Ports> Run<'_, P> {
    /// Step 1. Loads the bases of the touches' records. A record under another run's intent waits until that intent's
    /// lease has ended.
    pub(super) async fn load(
        &self,
        touches: Vec<Touch>,
        entrance: &mut Entrance,
    ) -> Result<Stepped<Loaded>, PortError> {
        let mut exits = Exits::default();
        let named: Vec<Vec<RecordRef>> = touches.iter().map(named_by).collect();
        let refs: Vec<RecordRef> = named.iter().flatten().cloned().collect();
        let mut known = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut records = ByName::new();
        for (touch, named) in touches.into_iter().zip(named) {
            let known: Vec<KnownRecord> = known.by_ref().take(named.len()).collect();
            for record in records_of(&touch, known, entrance) {
                self.fold_in(&mut records, record, &mut exits);
            }
        }
        let now = self.now();
        let mut ready = Vec::new();
        for record in records.into_values() {
            match &record.base {
                Some(base) if base.form > syncline_engine::BASE_FORM => {
                    let due = now + NEWER_FORM_WAIT;
                    let deferred = Deferred { touch: record.touch.clone(), due, waits_for: vec![] };
                    exits.leave(record, Fate::Waiting(deferred));
                }
                Some(Base { intent: Some(intent), .. }) if intent.lease_until > now => {
                    let deferred = self.after_lease(record.touch.clone(), intent.lease_until);
                    exits.leave(record, Fate::Waiting(deferred));
                }
                Some(Base { intent: None, .. }) if self.is_seen_already(&record) => {
                    exits.leave(record, Fate::Skipped);
                }
                _ => ready.push(record),
            }
        }
        let ready = exits.sort(self.load_rejected(ready).await?);
        Ok(exits.with(ready))
    }

    /// Touches of one record are looked at together, but for two changes of its key: these are followed one after the
    /// other.
    fn fold_in(&self, records: &mut ByName, record: Loaded, exits: &mut Exits) {
        let name = (record.base.is_some(), record.base_key().0);
        match records.get_mut(&name) {
            Some(known) if known.touch.names_another_row(&record.touch) => {
                let again = self.again(record.touch.clone(), Backoff::Contention);
                exits.leave(record, Fate::Again(again));
            }
            Some(known) => {
                known.touch.absorb(record.touch);
                known.ticket.take_in(record.ticket);
            }
            None => {
                records.insert(name, record);
            }
        }
    }

    /// The base knows what the touch tells of.
    ///
    /// A touch that a stamp alone gave rise to is seen already if the base's read bears a later stamp, or if it bears
    /// this very stamp and was made well after it, because whole seconds tie. A transaction that began in the second of
    /// an earlier save commits minutes later with the stamp of that save. So each record is read once more towards the
    /// end of catch-up's look-back.
    fn is_seen_already(&self, record: &Loaded) -> bool {
        let Some(base) = record.base.as_ref().filter(|base| base.definition == self.definition.version)
        else {
            return false;
        };
        let touch = &record.touch;
        let gone = base.gone.is_some_and(|gone| gone.side == Side::Salesforce);
        match (touch.stamp, base.stamp, base.read_at) {
            // The record was missing and shows again. Sharing moves no stamp.
            (Some(_), ..) if gone && base.live && !touch.evidence.sf_deleted => false,
            // The base does not know of this delete yet.
            (Some(_), ..) if touch.evidence.sf_deleted && base.live && !gone => false,
            (Some(stamp), Some(Stamp::Read(seen)), Some(read_at)) => {
                let well_after = read_at >= stamp + crate::poll::WELL_AFTER;
                let late = stamp + crate::poll::late(self.ports.settings());
                seen > stamp || seen == stamp && well_after && (read_at >= late || !touch.late)
            }
            _ => false,
        }
    }

    /// Loads why records without base are rejected, and finds out whether the name that such a record's base is to get
    /// is another base's: a base keeps its key though its record or row becomes another one.
    async fn load_rejected(&self, records: Vec<Loaded>) -> Result<Stepped<Loaded>, PortError> {
        let mut exits = Exits::default();
        let keys: Vec<BaseKey> =
            records.iter().filter(|record| record.base.is_none()).map(InRun::base_key).collect();
        if keys.is_empty() {
            return Ok(exits.with(records));
        }
        let refs: Vec<RecordRef> = keys.iter().cloned().map(RecordRef::Base).collect();
        let mut taken = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut rejected = self.ports.state().rejected(&self.definition.name, &keys).await?.into_iter();
        let mut ready = Vec::new();
        for mut record in records {
            if record.base.is_some() {
                ready.push(record);
                continue;
            }
            let (taken, rejected) = (taken.next().and_then(|known| known.base), rejected.next().flatten());
            let saved_meanwhile = match taken {
                None => {
                    record.rejected = rejected;
                    false
                }
                Some(base) if is_of(&base, &record) => true,
                Some(_) => {
                    record.fresh_key = self.free_key(&record).await?;
                    record.fresh_key.is_none()
                }
            };
            if saved_meanwhile {
                let again = self.again(record.touch.clone(), Backoff::Contention);
                exits.leave(record, Fate::Again(again));
            } else {
                ready.push(record);
            }
        }
        Ok(exits.with(ready))
    }

    /// The first key of this name that no base has. None if a base on the way there is that of this very record, which
    /// another run has just saved.
    async fn free_key(&self, record: &Loaded) -> Result<Option<BaseKey>, PortError> {
        let taken = record.base_key();
        let mut number = 2_u32;
        loop {
            let key = BaseKey(format!("{taken}~{number}"));
            match self.base_of(RecordRef::Base(key.clone())).await? {
                None => return Ok(Some(key)),
                Some(base) if is_of(&base, record) => return Ok(None),
                Some(_) => number += 1,
            }
        }
    }

    /// The base that a reference leads to.
    pub(super) async fn base_of(&self, wanted: RecordRef) -> Result<Option<Base>, PortError> {
        let known = self.ports.state().load(&self.definition.name, &[wanted]).await?;
        Ok(known.into_iter().next().and_then(|known| known.base))
    }
}

/// What a touch names its record by.
fn named_by(touch: &Touch) -> Vec<RecordRef> {
    let names = [
        touch.id.clone().map(RecordRef::Id),
        touch.key.clone().map(RecordRef::Key),
        touch.old_key.clone().map(RecordRef::Key),
    ];
    names.into_iter().flatten().collect()
}

/// The records that a touch is of: one, unless its Id and its keys lead to several.
fn records_of(touch: &Touch, known: Vec<KnownRecord>, entrance: &mut Entrance) -> Vec<Loaded> {
    let mut bases: Vec<(Base, Option<crate::Rejected>)> = Vec::new();
    for KnownRecord { base, rejected } in known {
        let Some(base) = base else { continue };
        if !bases.iter().any(|(known, _)| known.key == base.key) {
            bases.push((base, rejected));
        }
    }
    let mut record = |touch, base, rejected| Loaded::new(entrance.ticket(), touch, base, rejected);
    if bases.is_empty() {
        return vec![record(touch.clone(), None, None)];
    }
    let stranger = id_of_none(touch, &bases);
    let nobodys = key_of_none(touch, &bases);
    let alone = bases.len() == 1 && stranger.is_none();
    let mut records = Vec::new();
    records.extend(stranger.map(|id| record(touch.alone_of_id(id), None, None)));
    records.extend(nobodys.map(|key| record(touch.alone_of_row(key), None, None)));
    for (base, rejected) in bases {
        let mut touch = touch.clone();
        if !alone {
            // The Id and the key lead to different records: each record is looked at for itself.
            touch.id.clone_from(&base.salesforce_id);
            touch.key.clone_from(&base.postgres_key);
        }
        records.push(record(touch, Some(base), rejected));
    }
    records
}

/// The touch's Id, if it is that of none of the bases to which the touch leads: that record is looked at as well.
fn id_of_none(touch: &Touch, bases: &[(Base, Option<crate::Rejected>)]) -> Option<SalesforceId> {
    let id = touch.id.as_ref()?;
    let another = bases.iter().all(|(base, _)| match &base.salesforce_id {
        Some(known) => known != id,
        // The row is being given to a new record, while the earlier one may stand again.
        None => base.replaced.contains(id),
    });
    another.then(|| id.clone())
}

/// The touch's key, if the Id and the former key lead to two bases and neither has this key: the row is looked at as
/// well.
fn key_of_none(touch: &Touch, bases: &[(Base, Option<crate::Rejected>)]) -> Option<PostgresKey> {
    let key = touch.key.as_ref()?;
    let nobodys = bases.len() > 1 && bases.iter().all(|(base, _)| base.postgres_key.as_ref() != Some(key));
    nobodys.then(|| key.clone())
}

/// The base is that of the record or row that the touch names.
fn is_of(base: &Base, record: &Loaded) -> bool {
    record.id().is_some() && base.salesforce_id == record.id()
        || record.key().is_some() && base.postgres_key == record.key()
}
