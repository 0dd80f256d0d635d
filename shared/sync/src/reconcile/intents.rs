//! Step 6: intents, saved by compare-and-set with their conflicts; and what a base becomes.

use super::work::Work;
use super::{Backoff, PortError, Ports, Put, Run};
use crate::ports::{Conflict, Deferred, HistoryOutcome, Outcomes, Random, State};
use jiff::Timestamp;
use std::collections::BTreeMap;
use syncline_engine::{
    Action, Base, Evidence, Intent, Parent, Rule, RuleKind, Side, Stamp, Value, resolve, swings,
};

/// A record whose intent is saved.
pub(super) struct Writing {
    pub(super) work: Work,
    /// As saved, with its intent.
    pub(super) base: Base,
    /// What each field's column is to hold.
    pub(super) texts: BTreeMap<String, String>,
    /// What became of the write to Salesforce.
    pub(super) outcome: Option<HistoryOutcome>,
    /// The interval in which that write lies.
    pub(super) written: Option<Stamp>,
    /// Touch again once the base is saved.
    pub(super) again: bool,
}

impl Writing {
    pub(super) fn intent(&self) -> &str {
        self.base.intent.as_ref().map_or("", |intent| intent.id.as_str())
    }
}

impl<P: Ports> Run<'_, P> {
    /// Step 6. One compare-and-set per record, with its conflicts; whoever loses touches again.
    pub(super) async fn save_intents(
        &mut self,
        works: Vec<(Work, BTreeMap<String, String>)>,
    ) -> Result<Vec<Writing>, PortError> {
        if works.is_empty() {
            return Ok(Vec::new());
        }
        let lease_until = self.now() + self.ports.settings().lease;
        let mut puts = Vec::new();
        let mut writings = Vec::new();
        for (work, texts) in works {
            let base = self.base_with_intent(&work, lease_until);
            let conflicts = self.conflicts(&work, &base);
            puts.push(Put { base: base.clone(), expected: base.version, conflicts });
            writings.push(Writing { work, base, texts, outcome: None, written: None, again: false });
        }
        self.look_after(&writings, lease_until).await?;
        let saved = self.ports.state().put(&self.definition.name, puts).await?;
        let mut ready = Vec::new();
        for (mut writing, saved) in writings.into_iter().zip(saved) {
            if saved {
                self.summary.conflicts += writing.work.plan.conflicts.len();
                writing.base.version += 1;
                ready.push(writing);
            } else {
                self.again(writing.work.retouch(), Backoff::Contention);
            }
        }
        Ok(ready)
    }

    /// A record that is created anew has no Id any more, and the touch of the deleted one does not lead to it: should
    /// this run end, its row's touch does.
    async fn look_after(&self, writings: &[Writing], due: Timestamp) -> Result<(), PortError> {
        let anew = writings.iter().filter(|writing| {
            let known = writing.work.resolved.as_ref().and_then(|base| base.salesforce_id.as_ref());
            known.is_some() && writing.base.salesforce_id.is_none()
        });
        let deferred: Vec<Deferred> = anew
            .filter_map(|writing| {
                let mut touch = writing.work.touch.alone_of_row(writing.base.postgres_key.clone()?);
                // It stands.
                touch.evidence.pg_deleted = false;
                Some(Deferred { touch, due, waits_for: Vec::new() })
            })
            .collect();
        if deferred.is_empty() {
            return Ok(());
        }
        let outcomes = Outcomes { deferred, ..Outcomes::default() };
        self.ports.state().store(&self.definition.name, outcomes).await
    }

    fn base_with_intent(&self, work: &Work, lease_until: Timestamp) -> Base {
        let mut base = self.base_of(work);
        let agreed = base.fields.clone();
        let key = &self.ports.settings().key;
        let created = [Side::Salesforce, Side::Postgres]
            .into_iter()
            .find(|side| matches!(work.plan.action(*side), Action::Create(_)));
        if let Some(created) = created {
            // What was agreed on ended with the record that is created anew, but for what that side derives: what
            // it made of the other one is no edit there.
            base.live = false;
            base.fields.retain(|name, _| {
                self.definition
                    .field(name)
                    .is_some_and(|mapping| mapping.derived && !self.definition.writes(mapping, created))
            });
            base.ended_at = None;
        }
        if matches!(work.plan.salesforce, Action::Create(_))
            && let Some(gone) = base.salesforce_id.take()
        {
            // An earlier record of this row is gone for good: the new one is another.
            base.replaced.push(gone);
            base.earlier = agreed;
            base.external_id = None;
            base.stamp = None;
            base.marker = None;
        }
        base.swings = swings(&base, &work.plan, self.now());
        if matches!(work.plan.salesforce, Action::Create(_)) && base.external_id.is_none() {
            let random = self.ports.random().bits();
            let (instance, sync) = (&self.ports.settings().instance, &self.definition.name);
            base.external_id = Some(format!("{instance}:{sync}:{random:032x}"));
        }
        base.intent = Some(Intent {
            id: format!("{:032x}", self.ports.random().bits()),
            lease_until,
            salesforce: work.plan.intent(self.definition, key, Side::Salesforce),
            postgres: work.plan.intent(self.definition, key, Side::Postgres),
        });
        base
    }

    /// The base that stands once this plan's writes are left aside: what both sides agree on already.
    fn base_of(&self, work: &Work) -> Base {
        let mut base = work.resolved.clone().unwrap_or_else(|| Base::new(work.base_key()));
        let both = work.row.is_some() && work.record().is_some();
        if !base.live && both {
            base.fields.clear();
        }
        base.live |= both && work.plan.live;
        if both {
            base.fields.extend(work.plan.agreed.clone());
        }
        base.salesforce_id = base.salesforce_id.or_else(|| work.record().and_then(|_| work.id()));
        let of_row = work.row.as_ref().map(|row| row.key.clone());
        base.postgres_key = of_row.or_else(|| work.moved_to()).or(base.postgres_key);
        base.definition = self.definition.version;
        base.gone = work.plan.gone;
        if both {
            base.ended_at = None;
        }
        if let Some(stamp) = work.remote_stamp() {
            base.stamp = Some(Stamp::Read(stamp));
            base.read_at = work.read_at;
        }
        if let Some(record) = work.record() {
            base.marker.clone_from(&record.marker);
        }
        base
    }

    /// Saves the base of a record that is not written, or whose writing ended here.
    pub(super) fn save_resolved(&mut self, work: Work, advance: bool) {
        let mut base = if advance {
            self.base_of(&work)
        } else {
            work.resolved.clone().unwrap_or_else(|| self.base_of(&work))
        };
        if advance && !work.plan.live {
            base.live = false;
            base.fields.clear();
        }
        let was_live = work.base.as_ref().is_some_and(|base| base.live);
        self.push_base(base, &work, was_live, false);
    }

    fn push_base(&mut self, mut base: Base, work: &Work, was_live: bool, again: bool) {
        base.intent = None;
        if !base.live {
            base.gone = None;
            base.ended_at = base.ended_at.or_else(|| Some(self.now()));
        }
        if base.live
            && !was_live
            && let (Some(id), Some(key)) = (&base.salesforce_id, &base.postgres_key)
        {
            let sync = &self.definition.name;
            self.outcomes.linked.push(Parent::Salesforce(sync.clone(), id.clone()));
            self.outcomes.linked.push(Parent::Postgres(sync.clone(), key.clone()));
        }
        let expected = base.version;
        let put = Put { base, expected, conflicts: Vec::new() };
        self.puts.push((put, work.retouch(), again));
    }

    fn conflicts(&self, work: &Work, base: &Base) -> Vec<Conflict> {
        let conflict = |found: &syncline_engine::FieldConflict| {
            let named = format!("{}/{}/{}", base.key, found.field, base.version);
            let rule = Rule { version: 1, kind: RuleKind::Text };
            let key = &self.ports.settings().key;
            let id = key.fingerprint(&self.definition.name, "conflict", &rule, &Value::Text(named));
            Conflict {
                id: format!("{:016x}", id.0),
                sync: self.definition.name.clone(),
                record: base.key.0.clone(),
                salesforce_id: work.id(),
                postgres_key: work.key(),
                field: found.field.clone(),
                salesforce: found.salesforce.clone(),
                postgres: found.postgres.clone(),
                winner: found.winner,
                reason: found.reason,
                at: self.now(),
            }
        };
        work.plan.conflicts.iter().map(conflict).collect()
    }

    /// The base once the writes that landed are agreed on.
    pub(super) fn end(&mut self, writing: Writing) {
        let Writing { work, base, written, again, .. } = writing;
        let evidence = &work.evidence;
        let was_live = work.base.as_ref().is_some_and(|base| base.live);
        let stamp = base.stamp;
        let marker = base.marker.clone();
        let mut saved = resolve(&base, evidence);
        saved.stamp = written.or(stamp);
        if written.is_none() {
            saved.marker = marker;
        }
        saved.live |= work.plan.live
            && saved.salesforce_id.is_some()
            && saved.postgres_key.is_some()
            && landed_all(&work, evidence);
        self.clear(&work);
        self.push_base(saved, &work, was_live, again);
    }
}

/// Everything that the plan wrote has landed.
fn landed_all(work: &Work, evidence: &Evidence) -> bool {
    (work.plan.salesforce.is_none() || evidence.salesforce.is_some())
        && (work.plan.postgres.is_none() || evidence.postgres.is_some())
}
