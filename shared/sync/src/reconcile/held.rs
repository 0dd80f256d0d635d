//! Records on which nothing is written although the sides differ.

use super::fate::{BaseToSave, Fate, Leaving};
use super::record::{InRun, Planned, Remote};
use super::refusal::cleared;
use super::{Ports, Put, Run};
use crate::ports::{HeldRecord, Rejected};
use syncline_engine::{Absence, Held, Side, Unreadable};

impl Planned {
    /// The plan learnt that a side lacks the record, and the base does not know it yet.
    fn learnt_of_absence(&self) -> bool {
        self.resolved.as_ref().is_some_and(|base| base.live && base.gone != self.plan.gone)
    }

    /// The record was found missing in this run.
    pub(super) fn went_missing(&self) -> bool {
        self.learnt_of_absence() && self.plan.gone.is_some_and(|gone| gone.how == Absence::Missing)
    }

    /// The row has another key than the base knows. The next touch would look for the row where it no longer is.
    fn row_moved(&self) -> bool {
        let known = self.resolved.as_ref().filter(|base| base.live);
        self.read
            .row
            .as_ref()
            .is_some_and(|row| known.is_some_and(|base| base.postgres_key.as_ref() != Some(&row.key)))
    }
}

impl<P: Ports> Run<'_, P> {
    /// The record is held, or rejected where a value has no canonical form.
    pub(super) fn hold(&self, planned: Planned, held: Held) -> Leaving {
        let mut names = Vec::new();
        let fate = match held {
            Held::Unreadable(unreadable) => Fate::Rejected(self.rejected_for(&planned, &[unreadable])),
            held => {
                // What it waits for is not what it was refused for.
                if planned.loaded().rejected.is_some() {
                    names = cleared(&planned);
                }
                Fate::Held(self.held_record(&planned, held))
            }
        };
        let mut leaving = self.leave_held(planned, fate);
        leaving.cleared = names;
        leaving
    }

    /// The fields of the record whose values cannot be read, for a person. Everything else of the record goes on.
    pub(super) fn rejected_for(&self, record: &impl InRun, unreadable: &[Unreadable]) -> Rejected {
        let messages: Vec<String> =
            unreadable.iter().map(|one| format!("{} in {} is {}", one.field, one.side, one.error)).collect();
        let fields = unreadable.iter().map(|one| one.field.clone()).collect();
        let side = unreadable.first().map_or(Side::Salesforce, |one| one.side);
        self.rejected(record, side, "VALUE", messages.join("; "), fields)
    }

    fn held_record(&self, planned: &Planned, held: Held) -> HeldRecord {
        HeldRecord {
            form: 1,
            sync: self.definition.name.clone(),
            record: planned.base_key().0,
            salesforce_id: planned.id(),
            postgres_key: planned.key(),
            held,
            merged_into: match &planned.read.salesforce.remote {
                Remote::Deleted(record) => record.master.clone(),
                _ => None,
            },
            at: self.now(),
            seen: self.now(),
        }
    }

    /// What the base of a held record has to remember.
    fn leave_held(&self, planned: Planned, fate: Fate) -> Leaving {
        let changed = planned.learnt_of_absence() || planned.row_moved();
        let interrupted = planned.loaded().was_interrupted();
        if planned.read.salesforce.hides_its_evidence() {
            // Whether our write landed can be told once the record shows again. So the intent stays.
            match planned.read.base().cloned().filter(|_| changed) {
                None => Leaving::with_fate(planned, fate),
                Some(mut base) => {
                    base.gone = planned.plan.gone;
                    let row = planned.read.row.as_ref().map(|row| row.key.clone());
                    base.postgres_key = row.or(base.postgres_key);
                    let touch = planned.retouch();
                    let put = Put { expected: base.version, base, conflicts: Vec::new() };
                    Leaving { base: Some(BaseToSave { put, touch }), ..Leaving::with_fate(planned, fate) }
                }
            }
        } else if planned.plan.live && (interrupted || changed) {
            self.leave_with_new_base(planned, fate)
        } else if interrupted {
            self.leave_with_resolved_base(planned, fate)
        } else {
            Leaving::with_fate(planned, fate)
        }
    }
}
