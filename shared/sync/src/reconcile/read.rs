//! Steps 1 and 2: load bases, read Salesforce.

use super::work::{Remote, Work};
use super::{Backoff, PortError, Ports, Run, Touch};
use crate::ports::{Loaded, RecordRef, Salesforce, State};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Base, BaseKey, Op, SalesforceId, Side, Stamp};

/// A read that looks older than our last write, or bears another marker, is believed once Salesforce's clock is this
/// far past that write.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

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
                            None => base.replaced.contains(id),
                        })
                    })
            });
            // Two records by Id and former key, and neither bears the key: its row stands for itself as well.
            let nobodys = touch.key.clone().filter(|key| {
                distinct.len() > 1
                    && distinct.iter().all(|one| {
                        one.base.as_ref().is_some_and(|base| base.postgres_key.as_ref() != Some(key))
                    })
            });
            if distinct.is_empty() {
                distinct.push(Loaded::default());
            }
            let alone = distinct.len() == 1 && stranger.is_none();
            let apart =
                [stranger.map(|id| touch.alone_of_id(id)), nobodys.map(|key| touch.alone_of_row(key))];
            let apart = apart.into_iter().flatten().map(|touch| Work::new(touch, None, None));
            let of_bases = distinct.into_iter().map(|Loaded { base, rejected }| {
                let mut touch = touch.clone();
                if let (false, Some(base)) = (alone, &base) {
                    // The Id and the key lead to two records: each is looked at for itself.
                    touch.id.clone_from(&base.salesforce_id);
                    touch.key.clone_from(&base.postgres_key);
                }
                Work::new(touch, base, rejected)
            });
            for work in apart.chain(of_bases) {
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

    /// A touch that a stamp alone gave rise to ends here if what was read bears a later stamp, or this very one and was
    /// read well after it: whole seconds tie. A transaction that began in the second of an earlier save commits with
    /// that one's stamp, minutes later: towards the end of catch-up's look-back each record is read once more.
    fn seen_already(&self, work: &Work) -> bool {
        let Some(base) = work.base.as_ref().filter(|base| base.definition == self.definition.version) else {
            return false;
        };
        let gone = base.gone.is_some_and(|gone| gone.side == Side::Salesforce);
        match (work.touch.stamp, base.stamp, base.read_at) {
            // It was missed, and shows again: sharing moves no stamp.
            (Some(_), ..) if gone && base.live && !work.touch.evidence.sf_deleted => false,
            // A delete that the base does not know of yet.
            (Some(_), ..) if work.touch.evidence.sf_deleted && base.live && !gone => false,
            (Some(stamp), Some(Stamp::Read(seen)), Some(read_at)) => {
                let well_after = read_at >= stamp + SignedDuration::from_secs(2);
                let late = stamp + crate::poll::late(self.ports.settings());
                seen > stamp || seen == stamp && well_after && (read_at >= late || !work.touch.late)
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
                Some(base) if is_of(&base, &work) => {
                    self.again(work.touch, Backoff::Contention);
                    continue;
                }
                Some(_) => {
                    work.fresh_key = self.free_key(&work).await?;
                    if work.fresh_key.is_none() {
                        self.again(work.touch, Backoff::Contention);
                        continue;
                    }
                }
            }
            ready.push(work);
        }
        Ok(ready)
    }

    /// The first key of this name that no base has; none if one on the way is that of this very record, which another
    /// run has just saved.
    async fn free_key(&self, work: &Work) -> Result<Option<BaseKey>, PortError> {
        let taken = work.base_key();
        let mut number = 2_u32;
        loop {
            let key = BaseKey(format!("{taken}~{number}"));
            match self.base_of_ref(RecordRef::Base(key.clone())).await? {
                None => return Ok(Some(key)),
                Some(base) if is_of(&base, work) => return Ok(None),
                Some(_) => number += 1,
            }
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
        let (mut ready, mut nobodys) = (Vec::new(), Vec::new());
        for mut work in works {
            let base = ours(&work).and_then(|_| loaded.next()).and_then(|loaded| loaded.base);
            match base {
                // Nobody waits for that create any more, as after a restore: the record is that base's all the same.
                Some(base) if base.intent.is_none() && base.salesforce_id.is_none() && !base.live => {
                    let salesforce_id = work.id();
                    work.base = Some(Base { salesforce_id, ..base });
                    ready.push(work);
                }
                Some(base) => {
                    let mut touch = work.touch;
                    touch.id = base.salesforce_id;
                    touch.key = base.postgres_key;
                    match base.intent {
                        Some(intent) => self.after_lease(touch, intent.lease_until),
                        None => self.again(touch, Backoff::Contention),
                    }
                }
                None if ours(&work).is_some() => nobodys.push(work),
                None => ready.push(work),
            }
        }
        // Its base may have been given to another record since the read, because this one was deleted.
        let ids: Vec<SalesforceId> = nobodys.iter().filter_map(Work::id).collect();
        if !ids.is_empty() {
            let answer = self.ports.salesforce().read(self.definition, &ids).await?;
            for (mut work, outcome) in nobodys.into_iter().zip(answer.outcomes) {
                work.remote = Remote::from(outcome);
                work.read_at = Some(answer.date);
                ready.push(work);
            }
        }
        Ok(ready)
    }

    pub(super) async fn base_of_ref(&self, wanted: RecordRef) -> Result<Option<Base>, PortError> {
        let loaded = self.ports.state().load(&self.definition.name, &[wanted]).await?;
        Ok(loaded.into_iter().next().and_then(|loaded| loaded.base))
    }
}

/// The base is that of the record or row that the touch names.
fn is_of(base: &Base, work: &Work) -> bool {
    work.id().is_some() && base.salesforce_id == work.id()
        || work.key().is_some() && base.postgres_key == work.key()
}
