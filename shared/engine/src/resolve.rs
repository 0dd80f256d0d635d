//! What became of an intent whose run did not finish.

use crate::base::{Base, IntentSide, Op};
use crate::id::{PostgresKey, SalesforceId};

/// What was found of an intent's writes. An intent landed on a side only on evidence: in Postgres a history
/// row with its id, in Salesforce its marker on the record or, for a create, its external Id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The row's key, if the history has a row with the intent's id.
    pub postgres: Option<PostgresKey>,
    /// The record's Id, if it bears the marker; for a create, the external Id, deleted or not; for a delete, if it
    /// is in the recycle bin.
    pub salesforce: Option<SalesforceId>,
}

/// The base with its intent resolved: values that landed are agreed on, the others are not.
#[must_use]
pub fn resolve(base: &Base, evidence: &Evidence) -> Base {
    let mut resolved = base.clone();
    let Some(intent) = resolved.intent.take() else { return resolved };
    if let (Some(side), Some(key)) = (&intent.postgres, &evidence.postgres) {
        land(&mut resolved, side);
        resolved.postgres_key = Some(key.clone());
    }
    if let (Some(side), Some(id)) = (&intent.salesforce, &evidence.salesforce) {
        land(&mut resolved, side);
        resolved.salesforce_id = Some(id.clone());
        resolved.marker = Some(intent.id);
        resolved.stamp = None;
    }
    resolved
}

fn land(base: &mut Base, side: &IntentSide) {
    match side.op {
        Op::Create => {
            base.live = true;
            base.gone = None;
            base.earlier.clear();
        }
        Op::Update => {}
        Op::Delete => {
            base.live = false;
            base.fields.clear();
        }
    }
    base.fields.extend(side.fields.iter().map(|(field, value)| (field.clone(), *value)));
}
