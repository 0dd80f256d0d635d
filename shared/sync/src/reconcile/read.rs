//! Steps 1 to 3: load bases, read Salesforce, lock and read rows.

use super::work::{Remote, Work};
use super::{Backoff, PortError, Ports, Run, Touch};
use crate::ports::{
    Database, HistoryOutcome, Loaded, RecordRef, Rejected, Row, RowRef, Salesforce, State, Transaction,
};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Base, BaseKey, Op, PostgresKey, SalesforceId, Side, Stamp};

/// A read that looks older than our last write, or bears another marker, is believed once Salesforce's clock is this
/// far past that write.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// The transaction of an instance's database.
pub(super) type TransactionOf<'a, P> = <<P as Ports>::Database as Database>::Transaction<'a>;

/// Who a row without link belongs to.
#[derive(PartialEq, Eq)]
enum Claim {
    /// Nobody.
    None,
    /// That is not decided yet.
    Waits,
    /// The record of this Id, whose row had this key before.
    Holds(Option<SalesforceId>, Option<PostgresKey>),
}

/// The outcome of matching a record with the rows that were found.
enum Match {
    /// Matched, or there is none; the touches are of rows that turned out to be others'.
    Row(Vec<Touch>),
    Again(Vec<Touch>),
    Reject {
        code: &'static str,
        message: String,
    },
}

impl<'a, P: Ports> Run<'a, P> {
    /// Step 1. A record under another run's intent waits until that lease has ended.
    pub(super) async fn load(&mut self, touches: Vec<Touch>) -> Result<Vec<Work>, PortError> {
        let mut refs = Vec::new();
        let mut counts = Vec::new();
        for touch in &touches {
            let of_touch = [
                touch.id.clone().map(RecordRef::Id),
                touch.key.clone().map(RecordRef::Key),
                touch.old_key.clone().map(RecordRef::Key),
            ];
            let before = refs.len();
            refs.extend(of_touch.into_iter().flatten());
            counts.push(refs.len() - before);
        }
        let mut loaded = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut works: BTreeMap<(bool, String), Work> = BTreeMap::new();
        for (touch, count) in touches.into_iter().zip(counts) {
            let found: Vec<Loaded> = loaded.by_ref().take(count).filter(|one| one.base.is_some()).collect();
            let mut distinct: Vec<Loaded> = Vec::new();
            for one in found {
                let key = one.base.as_ref().map(|base| &base.key);
                if !distinct.iter().any(|known| known.base.as_ref().map(|base| &base.key) == key) {
                    distinct.push(one);
                }
            }
            // The touch's Id is another's than that of the base its key leads to: it stands for itself as well.
            let stranger = touch.id.clone().filter(|id| {
                !distinct.is_empty()
                    && distinct.iter().all(|one| {
                        let base = one.base.as_ref();
                        base.is_some_and(|base| match &base.salesforce_id {
                            Some(known) => known != id,
                            // Its row is being given to a new record, while the old one may stand again.
                            None => base.replaced.as_ref() == Some(id),
                        })
                    })
            });
            if distinct.is_empty() {
                distinct.push(Loaded::default());
            }
            let alone = distinct.len() == 1 && stranger.is_none();
            if let Some(id) = stranger {
                let touch = Touch { id: Some(id), key: None, old_key: None, ..touch.clone() };
                let work = Work::new(touch, None, None);
                works.entry((false, work.base_key().0)).or_insert(work);
            }
            // Two records by Id and former key, and neither bears the key: its row stands for itself as well.
            let nobodys = touch.key.clone().filter(|key| {
                distinct.len() > 1
                    && distinct.iter().all(|one| {
                        one.base.as_ref().is_some_and(|base| base.postgres_key.as_ref() != Some(key))
                    })
            });
            if let Some(key) = nobodys {
                let touch = Touch { id: None, key: Some(key), old_key: None, ..touch.clone() };
                let work = Work::new(touch, None, None);
                works.entry((false, work.base_key().0)).or_insert(work);
            }
            for Loaded { base, rejected } in distinct {
                let mut touch = touch.clone();
                if let (false, Some(base)) = (alone, &base) {
                    // The Id and the key lead to two records: each is looked at for itself.
                    touch.id.clone_from(&base.salesforce_id);
                    touch.key.clone_from(&base.postgres_key);
                }
                let work = Work::new(touch, base, rejected);
                // A base may be named after what a newcomer is now.
                let name = (work.base.is_some(), work.base_key().0);
                match works.get_mut(&name) {
                    // Two changes of its key are followed one after the other.
                    Some(known) if known.touch.names_another_row(&work.touch) => {
                        self.again(work.touch, Backoff::Contention);
                    }
                    Some(known) => known.touch.absorb(work.touch),
                    None => {
                        works.insert(name, work);
                    }
                }
            }
        }
        let now = self.now();
        let mut ready = Vec::new();
        for work in works.into_values() {
            match &work.base {
                Some(base) if base.form > syncline_engine::BASE_FORM => {
                    self.defer(work.touch, now + SignedDuration::from_mins(1));
                }
                Some(base) => match &base.intent {
                    Some(intent) if intent.lease_until > now => {
                        let until = intent.lease_until;
                        self.after_lease(work.touch, until);
                    }
                    None if self.seen_already(&work) => self.summary.skipped += 1,
                    _ => ready.push(work),
                },
                None => ready.push(work),
            }
        }
        self.load_rejected(ready).await
    }

    /// A touch that a stamp alone gave rise to ends here if what was read bears a later stamp, or this very one
    /// and was read well after it: whole seconds tie, and rows become visible long after their stamp.
    fn seen_already(&self, work: &Work) -> bool {
        let Some(base) = work.base.as_ref().filter(|base| base.definition == self.definition.version) else {
            return false;
        };
        match (work.touch.stamp, base.stamp, base.read_at) {
            // A delete that the base does not know of yet.
            (Some(_), ..)
                if work.touch.evidence.sf_deleted
                    && base.live
                    && base.gone.is_none_or(|gone| gone.side != Side::Salesforce) =>
            {
                false
            }
            (Some(stamp), Some(Stamp::Read(seen)), Some(read_at)) => {
                seen > stamp || seen == stamp && read_at >= stamp + SignedDuration::from_secs(2)
            }
            _ => false,
        }
    }

    async fn load_rejected(&mut self, works: Vec<Work>) -> Result<Vec<Work>, PortError> {
        let keys: Vec<BaseKey> =
            works.iter().filter(|work| work.base.is_none()).map(Work::base_key).collect();
        if keys.is_empty() {
            return Ok(works);
        }
        // A base keeps its key though its record or row becomes another: a newcomer by that name gets one of its own.
        let refs: Vec<RecordRef> = keys.iter().cloned().map(RecordRef::Base).collect();
        let mut taken = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut rejected = self.ports.state().rejected(&self.definition.name, &keys).await?.into_iter();
        let mut ready = Vec::new();
        for mut work in works {
            if work.base.is_some() {
                ready.push(work);
                continue;
            }
            let (taken, rejected) = (taken.next().and_then(|loaded| loaded.base), rejected.next().flatten());
            match taken {
                None => work.rejected = rejected,
                // Another run has just saved it.
                Some(base)
                    if work.id().is_some() && base.salesforce_id == work.id()
                        || work.key().is_some() && base.postgres_key == work.key() =>
                {
                    self.again(work.touch, Backoff::Contention);
                    continue;
                }
                Some(_) => work.fresh_key = Some(self.free_key(&work.base_key()).await?),
            }
            ready.push(work);
        }
        Ok(ready)
    }

    /// The first key of this name that no base has.
    async fn free_key(&self, taken: &BaseKey) -> Result<BaseKey, PortError> {
        let mut number = 2_u32;
        loop {
            let key = BaseKey(format!("{taken}~{number}"));
            if self.base_of_ref(RecordRef::Base(key.clone())).await?.is_none() {
                return Ok(key);
            }
            number += 1;
        }
    }

    /// Step 2. An answer that is older than what the base knows is read again later, never merged.
    pub(super) async fn read_salesforce(&mut self, mut works: Vec<Work>) -> Result<Vec<Work>, PortError> {
        self.find_created(&mut works).await?;
        let ids: Vec<SalesforceId> = works.iter().filter_map(Work::id).collect();
        if ids.is_empty() {
            return Ok(works);
        }
        self.read_begun = Some(self.now());
        let answer = self.ports.salesforce().read(self.definition, &ids).await?;
        self.summary.reached_salesforce = true;
        let mut outcomes = answer.outcomes.into_iter();
        let mut ready = Vec::new();
        for mut work in works {
            if work.id().is_some() {
                work.remote = outcomes.next().map_or(Remote::Absent, Remote::from);
                work.read_at = Some(answer.date);
                self.note_evidence(&mut work);
                if self.is_stale(&work) {
                    let touch = work.retouch();
                    self.again(touch, Backoff::Contention);
                    continue;
                }
            }
            ready.push(work);
        }
        self.match_open_creates(ready).await
    }

    /// A create of ours whose answer was lost is looked for by its external Id, among deleted records too.
    async fn find_created(&mut self, works: &mut [Work]) -> Result<(), PortError> {
        let lost: Vec<(&mut Work, String)> = works
            .iter_mut()
            .filter_map(|work| {
                let base = work.base.as_ref()?;
                let side = base.intent.as_ref()?.salesforce.as_ref()?;
                let external_id = base.external_id.clone()?;
                (side.op == Op::Create).then_some((work, external_id))
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let external_ids: Vec<String> = lost.iter().map(|(_, external_id)| external_id.clone()).collect();
        let found = self.ports.salesforce().find(self.definition, &external_ids).await?;
        self.summary.reached_salesforce = true;
        for ((work, _), found) in lost.into_iter().zip(found) {
            work.evidence.salesforce = found.map(|found| found.id);
        }
        Ok(())
    }

    /// An update of ours landed if the record bears its marker; where no marker is installed, if a value that
    /// only we were about to write stands there.
    fn note_evidence(&self, work: &mut Work) {
        let Some(intent) = work.base.as_ref().and_then(|base| base.intent.as_ref()) else { return };
        let Some(side) = intent.salesforce.as_ref().filter(|side| side.op != Op::Create) else { return };
        let landed = match (&self.definition.marker, &work.remote) {
            (_, remote) if side.op == Op::Delete => matches!(remote, Remote::Deleted(_)),
            (Some(_), Remote::Present(record)) => record.marker.as_deref() == Some(&intent.id),
            (Some(_), Remote::Deleted(record)) => record.marker.as_deref() == Some(&intent.id),
            (None, Remote::Present(record)) => side.fields.iter().any(|(name, intended)| {
                let known = work.base.as_ref().and_then(|base| base.fields.get(name));
                known != Some(intended)
                    && self.definition.field(name).is_some_and(|mapping| {
                        let raw = record.values.get(name).and_then(Option::as_deref);
                        mapping.rule.canonical(raw).is_ok_and(|value| {
                            self.ports.settings().key.fingerprint(
                                &self.definition.name,
                                name,
                                &mapping.rule,
                                &value,
                            ) == intended.fingerprint
                        })
                    })
            }),
            _ => false,
        };
        if landed {
            work.evidence.salesforce = work.base.as_ref().and_then(|base| base.salesforce_id.clone());
        }
    }

    fn is_stale(&self, work: &Work) -> bool {
        let (Some(base), Some(stamp)) = (&work.base, work.remote_stamp()) else { return false };
        if work.evidence.salesforce.is_some() {
            return false;
        }
        match base.stamp {
            None => false,
            Some(Stamp::Read(seen)) => stamp < seen,
            Some(Stamp::Written { after, until }) => {
                let patience_over = work.read_at.is_some_and(|date| date > until + PATIENCE);
                let other_marker = self.definition.marker.is_some()
                    && base.live
                    && base.marker.is_some()
                    && work.record().is_some_and(|record| record.marker != base.marker)
                    && stamp <= until;
                (stamp < after || other_marker) && !patience_over
            }
        }
    }

    /// A Salesforce record without base that bears an external Id of ours is the child of an open create: it
    /// belongs to that create's row, not into a new one.
    async fn match_open_creates(&mut self, works: Vec<Work>) -> Result<Vec<Work>, PortError> {
        let prefix = format!("{}:{}:", self.ports.settings().instance, self.definition.name);
        let ours = |work: &Work| {
            let external_id = work.record().filter(|_| work.base.is_none())?.external_id.clone()?;
            external_id.starts_with(&prefix).then_some(RecordRef::ExternalId(external_id))
        };
        let refs: Vec<RecordRef> = works.iter().filter_map(ours).collect();
        if refs.is_empty() {
            return Ok(works);
        }
        let mut loaded = self.ports.state().load(&self.definition.name, &refs).await?.into_iter();
        let mut ready = Vec::new();
        for work in works {
            let base = ours(&work).and_then(|_| loaded.next()).and_then(|loaded| loaded.base);
            match base {
                Some(base) => {
                    let mut touch = work.touch;
                    touch.id = base.salesforce_id;
                    touch.key = base.postgres_key;
                    match base.intent {
                        Some(intent) => self.after_lease(touch, intent.lease_until),
                        None => self.again(touch, Backoff::Contention),
                    }
                }
                None => ready.push(work),
            }
        }
        Ok(ready)
    }

    /// Step 3. Records are locked, also such as have no row; a refused lock touches again.
    pub(super) async fn read_postgres(
        &mut self,
        works: Vec<Work>,
    ) -> Result<(TransactionOf<'a, P>, Vec<Work>), PortError> {
        let mut transaction = self.ports.database().begin(self.definition).await?;
        self.summary.reached_postgres = true;
        let names: Vec<String> = works.iter().map(|work| work.base_key().0).collect();
        let locked = transaction.lock(&names).await?;
        let mut works = self.retain_or_again(works, &locked);

        let intents: Vec<String> =
            works.iter().filter_map(|work| Some(work.base.as_ref()?.intent.as_ref()?.id.clone())).collect();
        if !intents.is_empty() {
            let landed = transaction.landed(&intents).await?;
            for work in &mut works {
                let intent = work.base.as_ref().and_then(|base| base.intent.as_ref());
                work.evidence.postgres = intent.and_then(|intent| landed.get(&intent.id).cloned());
            }
            let found: Vec<(String, HistoryOutcome, Option<SalesforceId>)> =
                works.iter().filter_map(outcome_of_interrupted).collect();
            if !found.is_empty() {
                transaction.close(&found).await?;
                self.history_closed = true;
            }
        }
        let refs: Vec<RowRef> = works
            .iter()
            .map(|work| RowRef { key: work.evidence.postgres.clone().or_else(|| work.key()), id: work.id() })
            .collect();
        let rows = transaction.read(&refs).await?;
        let mut ready = Vec::new();
        for ((mut work, rows), sought) in works.into_iter().zip(rows).zip(refs) {
            let found = rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
            match match_row(&mut work, rows) {
                Match::Row(mut others) => {
                    others.extend(unsought(&work, &sought, &found));
                    for touch in others {
                        self.again(touch, Backoff::Contention);
                    }
                    ready.push(work);
                }
                Match::Again(touches) => {
                    for touch in touches {
                        self.again(touch, Backoff::Contention);
                    }
                }
                Match::Reject { code, message } => self.reject(&work, Side::Postgres, code, message, vec![]),
            }
        }
        let ready = self.reject_rows_of_others(&mut transaction, ready).await?;
        let ready = self.follow_origins(&mut transaction, ready).await?;
        Ok((transaction, ready))
    }

    /// A row without link and base is new, or it is one whose key changed or whose link was emptied while its record
    /// was under way: nothing but the notes of that tell. The same goes for one that was deleted after that.
    async fn follow_origins(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        works: Vec<Work>,
    ) -> Result<Vec<Work>, PortError> {
        let nameless = |work: &Work| match &work.row {
            _ if work.base.is_some() => None,
            Some(row) => row.link.is_none().then(|| row.key.clone()),
            None if work.touch.evidence.pg_deleted && work.touch.id.is_none() => work.touch.key.clone(),
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
            let inserted_for = origin.inserted_for.map(RecordRef::Id);
            let mut found = Claim::None;
            for wanted in inserted_for.into_iter().chain(origin.former_keys.into_iter().map(RecordRef::Key)) {
                found = self.claim(transaction, wanted, &key).await?;
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
                Claim::Holds(id, old) => {
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
    ) -> Result<Claim, PortError> {
        if let RecordRef::Key(old) = &wanted {
            // Whoever creates the record under its old key holds this lock until its intent is saved.
            if transaction.lock(&[format!("p:{old}")]).await? != [true] {
                return Ok(Claim::Waits);
            }
        }
        let Some(base) = self.base_of_ref(wanted).await? else { return Ok(Claim::None) };
        if base.intent.is_some() {
            return Ok(Claim::Waits);
        }
        if !base.live {
            return Ok(Claim::None);
        }
        let Some(known) = base.postgres_key.filter(|known| known != key) else {
            return Ok(Claim::Holds(base.salesforce_id, None));
        };
        let refs = [RowRef { key: Some(known.clone()), id: base.salesforce_id.clone() }];
        let stands = transaction.read(&refs).await?.iter().any(|rows| !rows.is_empty());
        Ok(if stands { Claim::None } else { Claim::Holds(base.salesforce_id, Some(known)) })
    }

    pub(super) async fn base_of_ref(&self, wanted: RecordRef) -> Result<Option<Base>, PortError> {
        let loaded = self.ports.state().load(&self.definition.name, &[wanted]).await?;
        Ok(loaded.into_iter().next().and_then(|loaded| loaded.base))
    }

    /// A row that was found by its link but whose key is another living record's: somebody wrote one record's Id
    /// into another's row.
    async fn reject_rows_of_others(
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
                let replaced =
                    owner.replaced.as_ref().is_some_and(|replaced| link == Some(replaced.as_str()));
                owner.key != work.base_key() && (owner.live || owner.intent.is_some() || replaced)
            });
            let Some(owner) = owner else {
                ready.push(work);
                continue;
            };
            let replaced = owner.replaced.as_ref().map(SalesforceId::as_str);
            match link {
                // The record is gone for good; its row belongs to another one by now.
                Some(link) if Some(link) == replaced && work.record().is_none() => self.summary.skipped += 1,
                Some(link) if Some(link) == replaced => {
                    let touch = Touch { key: None, old_key: None, ..work.retouch() };
                    self.again(touch, Backoff::Contention);
                }
                // Two rows swapped their keys: the owner's bears its link elsewhere.
                Some(_) if owner.live && self.stands_elsewhere(transaction, &owner, &work).await? => {
                    ready.push(work);
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

    fn retain_or_again(&mut self, works: Vec<Work>, keep: &[bool]) -> Vec<Work> {
        let mut kept = Vec::new();
        for (work, keep) in works.into_iter().zip(keep) {
            if *keep { kept.push(work) } else { self.again(work.retouch(), Backoff::Contention) }
        }
        kept
    }

    /// Records that a person has to look at; it is tried again once either side or the definition changes.
    pub(super) fn reject(
        &mut self,
        work: &Work,
        side: Side,
        code: &str,
        message: String,
        fields: Vec<String>,
    ) {
        tracing::warn!(sync = %self.definition.name, record = %work.base_key(), %side, code, "rejected");
        self.summary.rejected += 1;
        let rejected = Rejected {
            v: 1,
            sync: self.definition.name.clone(),
            record: work.base_key().0,
            salesforce_id: work.id(),
            postgres_key: work.key(),
            side,
            code: code.to_owned(),
            message,
            fields,
            images: work.images.clone(),
            definition: self.definition.version,
            at: self.now(),
        };
        self.outcomes.rejected.push(rejected);
    }
}

/// What became of the write to Salesforce of a run that did not finish, for history.
fn outcome_of_interrupted(work: &Work) -> Option<(String, HistoryOutcome, Option<SalesforceId>)> {
    let intent = work.base.as_ref()?.intent.as_ref()?;
    intent.salesforce.as_ref()?;
    let landed = work.evidence.salesforce.is_some();
    let outcome = if landed { HistoryOutcome::Written } else { HistoryOutcome::Refused };
    Some((intent.id.clone(), outcome, work.evidence.salesforce.clone()))
}

/// The touch's key, where the record is known by another one and the row under it was not looked at: it may be
/// somebody else's by now.
fn unsought(work: &Work, sought: &RowRef, found: &[PostgresKey]) -> Option<Touch> {
    let known = work.base.as_ref()?.postgres_key.as_ref();
    let key = work
        .touch
        .key
        .clone()
        .filter(|key| Some(key) != known && Some(key) != sought.key.as_ref() && !found.contains(key))?;
    Some(Touch { id: None, key: Some(key), old_key: None, stamp: None, ..work.touch.clone() })
}

/// Finds the row of a record among those that match its key or its Id, and what its link column lacks.
fn match_row(work: &mut Work, mut rows: Vec<Row>) -> Match {
    let id = work.id();
    if rows.len() > 1 {
        if work.base.is_none() {
            // The touch's Id and key lead to two rows: each is looked at for itself.
            let (mut by_id, mut by_key) = (work.touch.clone(), work.touch.clone());
            by_id.key = None;
            by_key.id = None;
            return Match::Again(vec![by_id, by_key]);
        }
        // A row is sought by Salesforce Id before its key counts: the key may be another row's by now.
        let linked = |row: &Row| {
            let link = row.link.as_deref().and_then(|link| SalesforceId::parse(link).ok());
            link.is_some() && link == id
        };
        if rows.iter().filter(|row| linked(row)).count() == 1 {
            let (ours, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(linked);
            work.row = ours.into_iter().next();
            let touch_of = |row: Row| Touch {
                id: None,
                key: Some(row.key),
                old_key: None,
                stamp: None,
                ..work.touch.clone()
            };
            return Match::Row(others.into_iter().map(touch_of).collect());
        }
        let keys = rows.iter().map(|row| row.key.to_string()).collect::<Vec<_>>().join(" and ");
        return Match::Reject {
            code: "AMBIGUOUS",
            message: format!(
                "rows {keys} both stand for this record: one by its key, one by its Salesforce Id"
            ),
        };
    }
    // Another row may have the key by now that this one had before, also where this one's key moved on since.
    let stands_at = rows.first().map(|row| row.key.clone());
    let former =
        work.touch.old_key.clone().filter(|old| work.moved_to().is_some() && Some(old) != stands_at.as_ref());
    let touch_of = |key| Touch { id: None, key: Some(key), old_key: None, stamp: None, ..work.touch.clone() };
    let others: Vec<Touch> = former.map(touch_of).into_iter().collect();
    let Some(row) = rows.pop() else { return Match::Row(others) };
    let linked = match row.link.as_deref().map(SalesforceId::parse) {
        None => None,
        Some(Ok(linked)) => Some(linked),
        Some(Err(error)) => {
            return Match::Reject {
                code: "LINK",
                message: format!("row {}: the link column holds {error}", row.key),
            };
        }
    };
    match (linked, id) {
        (Some(linked), Some(id)) if linked == id => {}
        // The column still shows a record that is gone for good.
        (Some(linked), id) if work.is_replaced(&linked) => {
            if work.record().is_some() {
                work.link = id;
            }
        }
        (Some(linked), Some(id)) if work.base.as_ref().is_some_and(|base| base.salesforce_id.is_some()) => {
            return Match::Reject {
                code: "LINK",
                message: format!("row {} belongs to {id}, but its link column holds {linked}", row.key),
            };
        }
        (Some(linked), _) => {
            let mut touch = work.touch.clone();
            touch.id = Some(linked);
            touch.key = Some(row.key);
            touch.stamp = None;
            return Match::Again(vec![touch]);
        }
        (None, Some(id)) if work.base.is_some() => {
            if work.record().is_some() {
                work.link = Some(id);
            }
        }
        (None, Some(_)) => {
            let (mut by_id, mut by_key) = (work.touch.clone(), work.touch.clone());
            by_id.key = None;
            by_key.id = None;
            return Match::Again(vec![by_id, by_key]);
        }
        (None, None) => {}
    }
    work.row = Some(row);
    Match::Row(others)
}
