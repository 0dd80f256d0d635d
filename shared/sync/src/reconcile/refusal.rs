//! Records that need a person, and the names under which a record is neither rejected nor held any more.

use super::record::InRun;
use super::{Ports, Run};
use crate::ports::{Cleared, Rejected};
use jiff::SignedDuration;
use syncline_engine::{BaseKey, Side};

impl<P: Ports> Run<'_, P> {
    /// A record that a person has to look at. It is tried again once either side or the definition changes, and what a
    /// side refused is also tried again by itself ([`Run::after_refusal`]).
    pub(super) fn rejected(
        &self,
        record: &impl InRun,
        side: Side,
        code: &str,
        message: String,
        fields: Vec<String>,
    ) -> Rejected {
        tracing::warn!(sync = %self.definition.name, record = %record.base_key(), %side, code, "rejected");
        Rejected {
            form: 1,
            sync: self.definition.name.clone(),
            record: record.base_key().0,
            salesforce_id: record.id().filter(|_| !record.is_created()),
            postgres_key: record.key(),
            side,
            code: code.to_owned(),
            message,
            fields,
            images: record.images(),
            definition: self.definition.version,
            // Also where the clock is set back meanwhile: a run does not clear what it refuses itself.
            at: self.now().max(self.begun + SignedDuration::from_micros(1)),
        }
    }
}

/// The record is neither rejected nor held any more, under whichever name it was.
pub(super) fn cleared(record: &impl InRun) -> Vec<Cleared> {
    let own = record.base_key().0;
    let (id, key) = (record.id(), record.key());
    let others = [id.as_ref().map(ToString::to_string), key.as_ref().map(|key| BaseKey::of_row(key).0)];
    let strays = others.into_iter().flatten().filter(|name| *name != own);
    let strays = strays.map(|record| Cleared { record, stray_of: Some((id.clone(), key.clone())) });
    let mut cleared: Vec<Cleared> = strays.collect();
    cleared.push(Cleared { record: own, stray_of: None });
    cleared
}
