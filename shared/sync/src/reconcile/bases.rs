//! What a base becomes: of a record on which nothing is written, of one that is about to be written, and of one that
//! was written.

use super::fate::{BaseToSave, Fate, Leaving};
use super::record::{InRun, Intended, Planned, was_deleted_from_postgres};
use super::refusal::cleared;
use super::{Ports, Put, Run};
use crate::ports::Random;
use jiff::Timestamp;
use syncline_engine::{Absence, Base, Evidence, Gone, Intent, Parent, Side, Stamp, resolve, swings};

impl<P: Ports> Run<'_, P> {
    /// The base that stands once this plan's writes are left aside: what both sides agree on already.
    fn base_without_writes(&self, planned: &Planned) -> Base {
        let read = &planned.read;
        let mut base = planned.resolved.clone().unwrap_or_else(|| Base::new(planned.base_key()));
        let both = planned.has_both();
        if !base.live && both {
            base.fields.clear();
        }
        base.live |= both && planned.plan.live;
        if both {
            base.fields.extend(planned.plan.agreed.clone());
            base.ended_at = None;
        }
        base.salesforce_id = base.salesforce_id.or_else(|| read.record().and_then(|_| planned.id()));
        let of_row = read.row.as_ref().map(|row| row.key.clone());
        base.postgres_key = of_row.or_else(|| planned.loaded().moved_to()).or(base.postgres_key);
        base.definition = self.definition.version;
        base.gone = planned.plan.gone;
        if let Some(stamp) = read.salesforce.remote_stamp() {
            base.stamp = Some(Stamp::Read(stamp));
            base.read_at = read.salesforce.read_at;
        }
        if let Some(record) = read.record() {
            base.marker.clone_from(&record.marker);
        }
        base
    }

    /// The base of a record that is about to be written, with the intent.
    pub(super) fn base_with_intent(&self, planned: &Planned, lease_until: Timestamp) -> Base {
        let mut base = self.base_without_writes(planned);
        let agreed = base.fields.clone();
        let plan = &planned.plan;
        let created = [Side::Salesforce, Side::Postgres]
            .into_iter()
            .find(|side| matches!(plan.action(*side), syncline_engine::Action::Create(_)));
        if let Some(created) = created {
            // What was agreed on ended with the record that is created anew, but for what that side derives: what
            // that side made of the other one is no edit there.
            base.live = false;
            base.fields.retain(|name, _| {
                let mapping = self.definition.field(name);
                mapping.is_some_and(|mapping| mapping.derived && !self.definition.writes(mapping, created))
            });
            base.ended_at = None;
        }
        if planned.is_created()
            && let Some(gone) = base.salesforce_id.take()
        {
            // An earlier record of this row is gone for good: the new one is another record.
            base.replaced.push(gone);
            base.earlier = agreed;
            base.external_id = None;
            base.stamp = None;
            base.marker = None;
        }
        base.swings = swings(&base, plan, self.now());
        let random = self.ports.random();
        if planned.is_created() && base.external_id.is_none() {
            let (instance, sync) = (&self.ports.settings().instance, &self.definition.name);
            base.external_id = Some(format!("{instance}:{sync}:{:032x}", random.bits()));
        }
        let key = &self.ports.settings().key;
        base.intent = Some(Intent {
            id: format!("{:032x}", random.bits()),
            lease_until,
            salesforce: plan.intent(self.definition, key, Side::Salesforce),
            postgres: plan.intent(self.definition, key, Side::Postgres),
        });
        base
    }

    /// A record on which nothing is written leaves, and its base gets what both sides agree on.
    pub(super) fn leave_with_new_base(&self, planned: Planned, fate: Fate) -> Leaving {
        let mut base = self.base_without_writes(&planned);
        if !planned.plan.live {
            base.live = false;
            base.fields.clear();
        }
        self.leave_with_base(planned, base, fate)
    }

    /// A record on which nothing is written leaves, and of its base only the intent is resolved.
    pub(super) fn leave_with_resolved_base(&self, planned: Planned, fate: Fate) -> Leaving {
        let base = planned.resolved.clone().unwrap_or_else(|| self.base_without_writes(&planned));
        self.leave_with_base(planned, base, fate)
    }

    /// Neither a row is to be found nor the record that was created for it: the create never landed, or sharing hides
    /// the record. The base remembers whether the row was deleted, should the record show.
    pub(super) fn leave_with_lost_create(&self, planned: Planned) -> Leaving {
        let known = planned.read.base().cloned();
        let deleted =
            planned.read.touch().evidence.pg_deleted || known.as_ref().is_some_and(was_deleted_from_postgres);
        let mut leaving = self.leave_with_resolved_base(planned, Fate::Equal);
        if let Some(saved) = leaving.base.as_mut().filter(|_| deleted) {
            saved.put.base.gone = Some(Gone { side: Side::Postgres, how: Absence::Deleted });
        }
        leaving.base = leaving.base.filter(|saved| Some(&saved.put.base) != known.as_ref());
        leaving
    }

    /// A record that was written leaves: the writes that landed are agreed on.
    pub(super) fn leave_written(&self, mut intended: Intended) -> Leaving {
        if intended.landed.salesforce.is_none() {
            // Whether it landed is known: it did not.
            intended.base.intent.iter_mut().for_each(|intent| intent.salesforce = None);
        }
        let Intended { base, landed, written, .. } = &intended;
        let plan = &intended.planned.plan;
        let mut saved = resolve(base, landed);
        saved.stamp = written.or(base.stamp);
        if written.is_none() {
            saved.marker.clone_from(&base.marker);
        }
        saved.live |= plan.live
            && saved.salesforce_id.is_some()
            && saved.postgres_key.is_some()
            && all_landed(plan, landed);
        let names = cleared(&intended);
        let mut intended = intended;
        let fate = match (intended.decided.take(), intended.planned.plan.unreadable.as_slice()) {
            (Some(decided), _) => decided,
            (None, []) => Fate::Written,
            (None, fields) => Fate::Rejected(self.rejected_for(&intended, fields)),
        };
        Leaving { cleared: names, ..self.leave_with_base(intended, saved, fate) }
    }

    fn leave_with_base(&self, record: impl InRun, mut base: Base, fate: Fate) -> Leaving {
        base.intent = None;
        if !base.live {
            base.gone = None;
            base.ended_at = base.ended_at.or_else(|| Some(self.now()));
        }
        let mut linked = Vec::new();
        if base.live
            && !record.loaded().was_live()
            && let (Some(id), Some(key)) = (&base.salesforce_id, &base.postgres_key)
        {
            let sync = &self.definition.name;
            linked.push(Parent::Salesforce(sync.clone(), id.clone()));
            linked.push(Parent::Postgres(sync.clone(), key.clone()));
        }
        let touch = record.retouch();
        let put = Put { expected: base.version, base, conflicts: Vec::new() };
        Leaving { base: Some(BaseToSave { put, touch }), linked, ..Leaving::with_fate(record, fate) }
    }
}

/// Everything that the plan wrote has landed.
fn all_landed(plan: &syncline_engine::RecordPlan, landed: &Evidence) -> bool {
    (plan.salesforce.is_none() || landed.salesforce.is_some())
        && (plan.postgres.is_none() || landed.postgres.is_some())
}
