//! Steps 4 and 5: what an interrupted run left is resolved, and the plan is made.

use super::fate::{Exits, Fate, Leaving, Stepped};
use super::parents::Parents;
use super::record::{InRun, Planned, Read};
use super::refusal::cleared;
use super::{Backoff, PortError, Ports, Run};
use crate::delete_limit::take_deletes;
use crate::ports::{Deferred, RecordRef, Rejected};
use std::collections::BTreeMap;
use syncline_engine::{
    Base, Held, OSCILLATING, Presence, RecordPlan, Side, oscillating, plan, resolve, swings,
};

/// How often a record whose row has another key is tried before its base gives the old one up.
const SWAP_TRIES: u32 = 2;

impl<P: Ports> Run<'_, P> {
    /// Resolves what an interrupted run left, and plans. A record goes on if it has something to write.
    pub(super) async fn plan(&mut self, records: Vec<Read>) -> Result<Stepped<Planned>, PortError> {
        let mut exits = Exits::default();
        let parents = self.load_parents(&records).await?;
        let mut writing = Vec::new();
        let mut missing: u64 = 0;
        for read in records {
            let planned = self.plan_record(read, &parents);
            if self.blocks_another(&planned).await? {
                self.give_key_up(planned, &mut exits);
                continue;
            }
            if !planned.plan.waits_for.is_empty() {
                exits.touch(self.when_parents_are_linked(&planned));
            }
            let refused_the_same = self.was_refused_the_same(&planned);
            if has_unreadable(&planned) && !refused_the_same {
                // It may be shown, or become readable, without a new stamp.
                exits.touch(self.after_refusal(planned.retouch()));
            }
            if refused_the_same {
                exits.leave(planned, Fate::Skipped);
            } else if let Some(held) = planned.plan.held.clone() {
                missing += u64::from(planned.went_missing());
                if held == (Held::Missing { side: Side::Salesforce }) {
                    // It may show again without a new stamp.
                    exits.touch(self.after_refusal(planned.retouch()));
                }
                exits.leave_with(self.hold(planned, held));
            } else if planned.plan.writes_nothing() && planned.read.link.is_none() {
                exits.leave_with(self.at_rest(planned));
            } else if let Some(rejected) = self.oscillates(&planned) {
                exits.leave_with(self.reject_oscillating(planned, rejected));
            } else {
                writing.push(planned);
            }
        }
        let writing = exits.sort(self.within_delete_limit(writing, missing).await?);
        Ok(exits.with(writing))
    }

    fn plan_record(&self, read: Read, parents: &Parents) -> Planned {
        let resolved = read.base().map(|base| resolve(base, &read.evidence()));
        let salesforce = self.salesforce_presence(&read, parents);
        let postgres = self.postgres_presence(&read, parents);
        let images = self.image_fingerprints(&salesforce, &postgres);
        let known = resolved.as_ref().filter(|base| base.live);
        let plan = if known.is_none() && was_linked_before(&read, resolved.as_ref()) {
            let held = match salesforce {
                Presence::Deleted => Held::Deleted { side: Side::Salesforce },
                _ => Held::Missing { side: Side::Salesforce },
            };
            RecordPlan { held: Some(held), ..RecordPlan::default() }
        } else {
            plan(self.definition, &self.ports.settings().key, known, &salesforce, &postgres)
        };
        let texts = self.column_texts(&plan, parents);
        Planned { read, resolved, plan, images, texts }
    }

    /// What the column of each field that Postgres gets is to hold.
    fn column_texts(&self, plan: &RecordPlan, parents: &Parents) -> BTreeMap<String, String> {
        let fields = plan.postgres.fields().into_iter().flatten();
        fields
            .filter_map(|(name, write)| {
                let mapping = self.definition.field(name)?;
                let text = match &mapping.lookup {
                    Some(lookup) => parents.column_text(&lookup.sync, &write.after),
                    None => write.after.text(),
                };
                Some((name.clone(), text?))
            })
            .collect()
    }

    /// Two rows that swap their keys stand in each other's way: each base keeps the key that the other one needs. The
    /// record that meets this gives its old key up first. A touch that only waited long has nobody in its way, and a
    /// key that was given up needlessly is nobody's to claim.
    async fn blocks_another(&self, planned: &Planned) -> Result<bool, PortError> {
        let (Some(base), Some(row)) = (&planned.resolved, &planned.read.row) else { return Ok(false) };
        let moved = base.postgres_key.as_ref().is_some_and(|known| *known != row.key);
        if !moved || !base.live || planned.read.touch().attempt < SWAP_TRIES {
            return Ok(false);
        }
        let owner = self.base_of(RecordRef::Key(row.key.clone())).await?;
        Ok(owner.is_some_and(|owner| owner.key != base.key && (owner.live || owner.intent.is_some())))
    }

    fn give_key_up(&self, planned: Planned, exits: &mut Exits) {
        let base = planned.resolved.clone().unwrap_or_else(|| Base::new(planned.base_key()));
        let released = Base { postgres_key: None, intent: None, ..base };
        let touch = planned.retouch();
        exits.save_and_try_again(planned, released, touch);
    }

    /// The record is looked at again once a parent of it is linked, and from time to time until then.
    fn when_parents_are_linked(&self, planned: &Planned) -> Deferred {
        let waits_for = planned.plan.waits_for.iter().cloned().collect();
        Deferred { waits_for, ..self.again(planned.retouch(), Backoff::Outage) }
    }

    /// A side refused the record before, and nothing changed since.
    fn was_refused_the_same(&self, planned: &Planned) -> bool {
        let loaded = planned.loaded();
        loaded.rejected.as_ref().is_some_and(|rejected| {
            !loaded.was_interrupted()
                && loaded.moved_to().is_none()
                && !rejected.depends_on_others()
                && loaded.touch.refusals == 0
                && rejected.definition == self.definition.version
                && rejected.images == planned.images
        })
    }

    /// Nothing has to be written. The base is saved if it does not know all of this yet.
    fn at_rest(&self, planned: Planned) -> Leaving {
        let names = cleared(&planned);
        if planned.misses_both() {
            return Leaving { cleared: names, ..self.leave_with_lost_create(planned) };
        }
        let saves = match &planned.resolved {
            None => planned.plan.live,
            Some(base) => {
                let read = &planned.read;
                let stamp = read.salesforce.remote_stamp().map(syncline_engine::Stamp::Read);
                let row = read.row.as_ref().map(|row| &row.key);
                let plan = &planned.plan;
                planned.loaded().was_interrupted()
                    || stamp.is_some() && stamp != base.stamp
                    || base.live != plan.live
                    || base.gone != plan.gone
                    || row.is_some() && base.postgres_key.as_ref() != row
                    || read.touch().stamp.is_some()
                    || plan.agreed.iter().any(|(name, agreed)| base.fields.get(name) != Some(agreed))
            }
        };
        let fate = match planned.plan.unreadable.as_slice() {
            [] => Fate::Equal,
            fields => Fate::Rejected(self.rejected_for(&planned, fields)),
        };
        let mut leaving =
            if saves { self.leave_with_new_base(planned, fate) } else { Leaving::with_fate(planned, fate) };
        leaving.cleared = names;
        leaving
    }

    /// Two sides that correct each other: the field and the values, for a person.
    fn oscillates(&self, planned: &Planned) -> Option<Rejected> {
        let base = planned.resolved.as_ref()?;
        let swings = swings(base, &planned.plan, self.now());
        let field = oscillating(&swings)?;
        let plan = &planned.plan;
        let both = [&plan.salesforce, &plan.postgres].map(|action| action.fields()?.get(field));
        let (salesforce, postgres) = match both {
            [Some(write), _] => (&write.before, &write.after),
            [None, Some(write)] => (&write.after, &write.before),
            [None, None] => return None,
        };
        let message = format!(
            "{field} went back and forth {OSCILLATING} times within a minute each: Salesforce makes it {salesforce:?}, Postgres makes it {postgres:?}. An automation on either side changes what the other side writes; change one of them, or map the field one way",
            salesforce = salesforce.to_string(),
            postgres = postgres.to_string(),
        );
        let side = self.definition.primary.other();
        Some(self.rejected(planned, side, "OSCILLATING", message, vec![field.clone()]))
    }

    fn reject_oscillating(&self, planned: Planned, rejected: Rejected) -> Leaving {
        let fate = Fate::Rejected(rejected);
        if planned.loaded().was_interrupted() {
            self.leave_with_resolved_base(planned, fate)
        } else {
            Leaving::with_fate(planned, fate)
        }
    }

    /// Deletes that go across, and records that went missing, count within an hour. Past the limit the sync is paused
    /// before anything of this run is deleted.
    async fn within_delete_limit(
        &self,
        records: Vec<Planned>,
        missing: u64,
    ) -> Result<Stepped<Planned>, PortError> {
        let mut exits = Exits::default();
        let count = records.iter().filter(|planned| planned.deletes()).count();
        let count = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(missing);
        if count == 0 || take_deletes(self.ports, self.definition, count).await? {
            return Ok(exits.with(records));
        }
        let mut rest = Vec::new();
        for planned in records {
            if planned.deletes() {
                let again = self.again(planned.retouch(), Backoff::Outage);
                exits.leave(planned, Fate::Again(again));
            } else {
                rest.push(planned);
            }
        }
        Ok(exits.with(rest))
    }
}

/// A field of the record cannot be read on either side.
fn has_unreadable(planned: &Planned) -> bool {
    !planned.plan.unreadable.is_empty() || matches!(planned.plan.held, Some(Held::Unreadable(_)))
}

/// A row that names a record which is not there was linked once: it is no new row. A row that came back under its key
/// after its record's end, with its link column filled, is a new one.
fn was_linked_before(read: &Read, resolved: Option<&Base>) -> bool {
    let was_live = read.loaded().was_live();
    let reborn = resolved
        .is_some_and(|base| base.ended_at.is_some() || !base.replaced.is_empty() || was_live && !base.live);
    !reborn && read.record().is_none() && read.shown_link().is_some()
}
