//! What history says of a record's writes.

use super::record::{InRun, Intended};
use super::{Ports, Run};
use crate::ports::HistoryRow;
use syncline_engine::{Action, FieldWrite, Reason, Side, Value};

impl<P: Ports> Run<'_, P> {
    /// One row for each field that is written on a side, or one for a record that is created or deleted there.
    pub(super) fn history(&self, intended: &Intended, side: Side) -> Vec<HistoryRow> {
        let planned = &intended.planned;
        let touch = planned.read.touch();
        let row = |field: Option<String>, write: &FieldWrite| HistoryRow {
            record: intended.base.key.0.clone(),
            salesforce_id: intended.id(),
            postgres_key: intended.key(),
            side,
            field,
            before: write.before.clone(),
            after: write.after.clone(),
            source: touch.source.word().to_owned(),
            reason: write.reason.word().to_owned(),
            actor: touch.actor.clone(),
            intent: intended.intent().to_owned(),
            at: self.now(),
        };
        let whole = |reason| vec![row(None, &FieldWrite { before: Value::Null, after: Value::Null, reason })];
        match (planned.plan.action(side), &planned.read.link) {
            (Action::None, Some(link)) if side == Side::Postgres => {
                let after = Value::Text(link.to_string());
                let write = FieldWrite { before: Value::Null, after, reason: Reason::FilledEmpty };
                vec![row(Some(self.definition.link.clone()), &write)]
            }
            (Action::None, _) => vec![],
            (Action::Create(_), _) => whole(Reason::Created),
            (Action::Delete, _) => whole(Reason::Deleted),
            (Action::Update(fields), _) => {
                fields.iter().map(|(name, write)| row(Some(name.clone()), write)).collect()
            }
        }
    }
}
