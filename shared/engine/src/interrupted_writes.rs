//! Resolves an intent: finds out from evidence which of its writes landed.

use crate::base::{Base, IntentSide, Op};
use crate::id::{PostgresKey, SalesforceId};

/// The evidence that was found of an intent's writes, per side. An intent landed on a side only if there is
/// evidence of it. In Postgres the evidence is a history row with the intent's id. In Salesforce it is the
/// intent's marker on the record, or the external Id for a create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The key of the row, if the history has a row with the intent's id. Otherwise `None`.
    pub postgres: Option<PostgresKey>,
    /// The Id of the record, if the intent's write landed in Salesforce. Otherwise `None`. An update landed
    /// if the record has the intent's marker. A create landed if a record has the external Id, deleted or
    /// not. A delete landed if the record is in the recycle bin.
    pub salesforce: Option<SalesforceId>,
}

/// Returns the base with its intent resolved. The values that landed become agreed values. For the other
/// values the base stays as it was. A create in Salesforce without evidence is remembered as lost, because
/// sharing may hide the record.
///
/// # Example
///
/// ```
/// use std::collections::BTreeMap;
/// use syncline_engine::{
///     Base, BaseKey, Evidence, FieldBase, FingerprintKey, Intent, IntentSide, Op, PostgresKey, Rule,
///     RuleKind, Value, resolve,
/// };
///
/// let rule = Rule { version: 1, kind: RuleKind::Text };
/// let name = Value::Text("Acme".into());
/// let fingerprint = FingerprintKey::new([7; 32]).fingerprint("accounts", "Name", &rule, &name);
/// let name = FieldBase { fingerprint, rule: rule.version };
/// let row = PostgresKey::of_columns(["42"]);
/// let mut base = Base::new(BaseKey::of_row(&row));
/// base.intent = Some(Intent {
///     id: "0123456789abcdef0123456789abcdef".into(),
///     lease_until: jiff::Timestamp::UNIX_EPOCH,
///     salesforce: None,
///     postgres: Some(IntentSide {
///         op: Op::Update,
///         fields: BTreeMap::from([("Name".to_owned(), name)]),
///     }),
/// });
///
/// // The history has a row with the intent's id: the write landed in Postgres.
/// let landed = resolve(&base, &Evidence { postgres: Some(row), salesforce: None });
/// assert!(landed.intent.is_none());
/// assert_eq!(landed.fields["Name"], name);
/// // There is no evidence: the write did not land.
/// assert!(resolve(&base, &Evidence::default()).fields.is_empty());
/// ```
#[must_use]
pub fn resolve(base: &Base, evidence: &Evidence) -> Base {
    let mut resolved = base.clone();
    let Some(intent) = resolved.intent.take() else { return resolved };
    resolved.lost_creates = if evidence.salesforce.is_some() { Vec::new() } else { base.open_creates() };
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
