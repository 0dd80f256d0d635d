//! Step 6: intents are saved by compare-and-set, together with their conflicts.

use super::fate::{Exits, Fate, Stepped};
use super::record::{InRun, Intended, Planned};
use super::{Backoff, PortError, Ports, Put, Run};
use crate::ports::{Conflict, Deferred, Outcomes, State};
use jiff::Timestamp;
use syncline_engine::{Base, Rule, RuleKind, Value};

impl<P: Ports> Run<'_, P> {
    /// Step 6. Saves each record's intent with its conflicts by one compare-and-set. A record whose base another run
    /// saved first is tried again.
    pub(super) async fn save_intents(
        &mut self,
        records: Vec<Planned>,
    ) -> Result<Stepped<Intended>, PortError> {
        let mut exits = Exits::default();
        if records.is_empty() {
            return Ok(exits.with(Vec::new()));
        }
        let lease_until = self.now() + self.ports.settings().lease;
        let mut puts = Vec::new();
        let mut intended = Vec::new();
        for planned in records {
            let base = self.base_with_intent(&planned, lease_until);
            let conflicts = self.conflicts(&planned, &base);
            puts.push(Put { base: base.clone(), expected: base.version, conflicts });
            intended.push(Intended::new(planned, base));
        }
        self.look_after_replaced(&intended, lease_until).await?;
        let saved = self.ports.state().put(&self.definition.name, puts).await?;
        let mut ready = Vec::new();
        for (mut intended, saved) in intended.into_iter().zip(saved) {
            if saved {
                self.summary.conflicts += intended.planned.plan.conflicts.len();
                intended.base.version += 1;
                ready.push(intended);
            } else {
                let again = self.again(intended.retouch(), Backoff::Contention);
                exits.leave(intended, Fate::Again(again));
            }
        }
        Ok(exits.with(ready))
    }

    /// A record that is created anew has no Id any more, and a touch of the deleted record does not lead to it. If this
    /// run ends early, a touch of its row, stored before, leads to it.
    async fn look_after_replaced(&self, records: &[Intended], due: Timestamp) -> Result<(), PortError> {
        let row_of = |intended: &Intended| {
            intended.planned.resolved.as_ref()?.salesforce_id.as_ref()?;
            intended.base.postgres_key.clone().filter(|_| intended.base.salesforce_id.is_none())
        };
        let deferred: Vec<Deferred> = records
            .iter()
            .filter_map(|intended| {
                let mut touch = intended.loaded().touch.alone_of_row(row_of(intended)?);
                // The row stands.
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

    fn conflicts(&self, planned: &Planned, base: &Base) -> Vec<Conflict> {
        let conflict = |found: &syncline_engine::FieldConflict| {
            let named = format!("{}/{}/{}", base.key, found.field, base.version);
            let rule = Rule { version: 1, kind: RuleKind::Text };
            let key = &self.ports.settings().key;
            let id = key.fingerprint(&self.definition.name, "conflict", &rule, &Value::Text(named));
            Conflict {
                id: format!("{:016x}", id.0),
                sync: self.definition.name.clone(),
                record: base.key.0.clone(),
                salesforce_id: planned.id(),
                postgres_key: planned.key(),
                field: found.field.clone(),
                salesforce: found.salesforce.clone(),
                postgres: found.postgres.clone(),
                winner: found.winner,
                reason: found.reason,
                at: self.now(),
            }
        };
        planned.plan.conflicts.iter().map(conflict).collect()
    }
}
