//! The state store, which may be throttled, lose its answers, and refuse a compare-and-set.

use super::Shared;
use crate::planted::Planted;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use support::MemoryPorts;
use syncline_engine::{Base, BaseKey, Evidence, Op, Side, Stamp, resolve};
use syncline_sync::{
    Breaker, Cursor, Due, KnownRecord, Outcomes, Pause, PortError, Put, RecordRef, Rejected, State,
};

/// The state store as a run meets it.
#[derive(Clone)]
pub struct SimState {
    pub(super) memory: Arc<MemoryPorts>,
    pub(super) shared: Arc<Shared>,
}

impl SimState {
    fn is(&self, planted: Planted) -> bool {
        self.shared.is_planted(planted)
    }

    fn stands(&self, sync: &str, key: &BaseKey) -> Option<Base> {
        self.memory.state.bases(sync).into_iter().find(|base| base.key == *key)
    }

    /// Bases never move backwards: neither their version nor what they know of Salesforce's stamp.
    fn check_forward(&self, before: Option<&Base>, after: Option<&Base>) {
        let (Some(before), Some(after)) = (before, after) else { return };
        let earlier = match (before.stamp, after.stamp) {
            (Some(Stamp::Read(one)), Some(Stamp::Read(other))) => {
                before.salesforce_id == after.salesforce_id && other < one
            }
            _ => false,
        };
        if earlier || after.version <= before.version {
            self.shared.broke(format!("BASE moved back: {before:?} became {after:?}"));
        }
    }

    fn change_loaded(&self, sync: &str, loaded: &mut KnownRecord) {
        let Some(base) = &mut loaded.base else { return };
        if self.is(Planted::EventuallyConsistentBase)
            && self.shared.draw(200)
            && let Some(before) = self.shared.planted().lagging.get(&(sync.to_owned(), base.key.clone()))
        {
            *base = before.clone();
        }
        if self.is(Planted::LeaseIgnored)
            && let Some(intent) = &mut base.intent
        {
            intent.lease_until = Timestamp::UNIX_EPOCH;
        }
        if self.is(Planted::RuleVersionIgnored) {
            let newest = u16::try_from(base.definition).unwrap_or(1).max(1);
            for field in base.fields.values_mut() {
                field.rule = field.rule.max(newest.min(2));
            }
        }
    }

    /// What a planted bug makes of what is to be saved.
    fn change_put(&self, sync: &str, put: &mut Put) {
        let key = put.base.key.clone();
        if self.is(Planted::ConflictStoredAfterTheWrite) {
            let mut memory = self.shared.planted();
            if put.base.intent.is_some() {
                memory.conflicts.insert(key.clone(), std::mem::take(&mut put.conflicts));
            } else {
                put.conflicts.extend(memory.conflicts.remove(&key).unwrap_or_default());
            }
        }
        if self.is(Planted::BaseSavedBeforeTheWrite)
            && let Some(intent) = &put.base.intent
            && [&intent.salesforce, &intent.postgres].into_iter().flatten().all(|side| side.op == Op::Update)
        {
            let evidence = Evidence {
                postgres: put.base.postgres_key.clone(),
                salesforce: put.base.salesforce_id.clone(),
            };
            let stamp = put.base.stamp;
            put.base = resolve(&put.base, &evidence);
            put.base.stamp = stamp;
            self.shared.planted().ahead.insert(key.clone());
        }
        if self.is(Planted::NoCompareAndSet) || self.is(Planted::EventuallyConsistentBase) {
            put.expected = self.stands(sync, &key).map_or(0, |base| base.version);
        }
        if let Some(before) = self.stands(sync, &key) {
            self.shared.planted().lagging.insert((sync.to_owned(), key), before);
        }
    }
}

impl State for SimState {
    async fn load(&self, sync: &str, refs: &[RecordRef]) -> Result<Vec<KnownRecord>, PortError> {
        self.shared.store("load")?;
        let mut loaded = self.memory.state.load(sync, refs).await?;
        for one in &mut loaded {
            self.change_loaded(sync, one);
        }
        self.shared.trace.say(|| format!("  {sync} load {refs:?}: {loaded:?}"));
        Ok(loaded)
    }

    async fn put(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
        self.shared.store("put")?;
        let mut puts = puts;
        for put in &mut puts {
            self.change_put(sync, put);
        }
        self.shared.trace.say(|| format!("  {sync} put {puts:?}"));
        if self.is(Planted::BaseNotSaved) {
            return Ok(vec![true; puts.len()]);
        }
        let faults = &self.shared.options.faults;
        let refused: Vec<bool> = puts
            .iter()
            .map(|_| self.shared.strikes("fault: state conflict", faults.state_conflict))
            .collect();
        let sent: Vec<Put> =
            puts.into_iter().zip(&refused).filter(|(_, refused)| !**refused).map(|(put, _)| put).collect();
        let before: Vec<Option<Base>> = sent.iter().map(|put| self.stands(sync, &put.base.key)).collect();
        let keys: Vec<BaseKey> = sent.iter().map(|put| put.base.key.clone()).collect();
        let saved = self.memory.state.put(sync, sent).await?;
        for ((before, key), _) in before.iter().zip(&keys).zip(&saved).filter(|(_, saved)| **saved) {
            self.check_forward(before.as_ref(), self.stands(sync, key).as_ref());
        }
        let mut saved = saved.into_iter();
        let saved: Vec<bool> =
            refused.into_iter().map(|refused| !refused && saved.next().unwrap_or_default()).collect();
        self.shared.trace.say(|| format!("  {sync} saved {saved:?}"));
        self.shared.stored("put", saved)
    }

    async fn rejected(&self, sync: &str, keys: &[BaseKey]) -> Result<Vec<Option<Rejected>>, PortError> {
        self.shared.store("rejected")?;
        self.memory.state.rejected(sync, keys).await
    }

    async fn store(&self, sync: &str, mut outcomes: Outcomes) -> Result<(), PortError> {
        self.shared.store("store")?;
        if self.is(Planted::HiddenNeverLookedForAgain) {
            outcomes.deferred.retain(|deferred| deferred.touch.refusals == 0);
        }
        if outcomes.deferred.iter().any(|deferred| !deferred.waits_for.is_empty()) {
            self.shared.coverage.hit("case: a touch waited for its parent");
        }
        self.shared.coverage.hits("case: a record was held", outcomes.held.len() as u64);
        self.shared.coverage.hits("case: a record was rejected", outcomes.rejected.len() as u64);
        self.shared.trace.say(|| format!("  {sync} {outcomes:?}"));
        self.memory.state.store(sync, outcomes).await?;
        self.shared.stored("store", ())
    }

    async fn defer_message(&self, group: &str, body: &str, due: Timestamp) -> Result<(), PortError> {
        self.memory.state.defer_message(group, body, due).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        self.shared.store("due")?;
        self.memory.state.due(now, limit).await
    }

    async fn drop_due(&self, tokens: &[String]) -> Result<(), PortError> {
        self.shared.store("drop due")?;
        self.memory.state.drop_due(tokens).await?;
        self.shared.stored("drop due", ())
    }

    async fn cursor(&self, sync: &str) -> Result<Cursor, PortError> {
        self.shared.store("cursor")?;
        self.memory.state.cursor(sync).await
    }

    async fn put_cursor(&self, sync: &str, cursor: &Cursor) -> Result<Option<Cursor>, PortError> {
        self.shared.store("put cursor")?;
        let stored = self.memory.state.put_cursor(sync, cursor).await?;
        self.shared.stored("put cursor", stored)
    }

    async fn breaker(&self, side: Side) -> Result<Breaker, PortError> {
        self.shared.store("breaker")?;
        self.memory.state.breaker(side).await
    }

    async fn put_breaker(&self, side: Side, breaker: &Breaker) -> Result<(), PortError> {
        self.shared.store("put breaker")?;
        self.memory.state.put_breaker(side, breaker).await
    }

    async fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> Result<bool, PortError> {
        self.shared.store("take")?;
        if self.is(Planted::DeleteLimitIgnored) {
            return Ok(true);
        }
        let taken = self.memory.state.take(counter, count, limit, now, window).await?;
        self.shared.stored("take", taken)
    }

    async fn taken(&self, counter: &str, now: Timestamp, window: SignedDuration) -> Result<i64, PortError> {
        if self.is(Planted::DeleteLimitIgnored) {
            return Ok(i64::MIN / 2);
        }
        self.memory.state.taken(counter, now, window).await
    }

    async fn allow(&self, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
        self.memory.state.allow(counter, count, now).await
    }

    async fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> Result<f64, PortError> {
        self.memory.state.draw(calls, per_second, capacity, now).await
    }

    async fn linked(&self, sync: &str) -> Result<u64, PortError> {
        self.memory.state.linked(sync).await
    }

    async fn make_due(&self, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
        self.memory.state.make_due(now, spread).await
    }

    async fn pulse(&self) -> Result<u64, PortError> {
        self.memory.state.pulse().await
    }

    async fn put_pulse(&self, pulse: u64) -> Result<(), PortError> {
        self.memory.state.put_pulse(pulse).await
    }

    async fn forget(&self, before: Timestamp) -> Result<(), PortError> {
        self.memory.state.forget(before).await
    }

    async fn paused(&self, sync: &str) -> Result<Option<Pause>, PortError> {
        self.shared.store("paused")?;
        self.memory.state.paused(sync).await
    }

    async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), PortError> {
        self.shared.store("put paused")?;
        self.shared.coverage.hit("case: a sync was paused");
        self.shared.trace.say(|| format!("  {sync} paused: {pause:?}"));
        self.memory.state.put_paused(sync, pause).await
    }
}
