//! Steps 4 and 5: what each side holds in canonical form, what an interrupted run left, and the plan.

use super::work::{Remote, Work};
use super::{Backoff, PortError, Ports, Put, Run};
use crate::limit::take_deletes;
use crate::ports::{Cleared, HeldRecord, RecordRef, State};
use std::collections::{BTreeMap, BTreeSet};
use syncline_engine::{
    Absence, Action, Cell, Evidence, FieldMapping, Fingerprint, Held, Image, OSCILLATING, Parent,
    PostgresKey, Presence, RecordPlan, Rule, RuleKind, SalesforceId, Side, Value, oscillating, plan, resolve,
    swings,
};

/// How often a record whose row has another key is tried before its base gives the old one up.
const SWAP_TRIES: u32 = 2;

/// A refusal that depends on other records, so that the record is tried again by itself: the SQLSTATE of a foreign key
/// that is not kept, and Salesforce's status code for a lookup to a record that is not there (any more).
pub(super) fn depends_on_others(code: &str) -> bool {
    matches!(code, "23503" | "INVALID_CROSS_REFERENCE_KEY")
}

/// Parents of other syncs, by either name.
#[derive(Default)]
pub(super) struct Parents {
    keys: BTreeMap<(String, SalesforceId), PostgresKey>,
    ids: BTreeMap<(String, PostgresKey), SalesforceId>,
}

impl Parents {
    /// The text of the column that points to a parent.
    pub(super) fn column_text(&self, sync: &str, id: &Value) -> Option<String> {
        let id = SalesforceId::parse(&id.text()?).ok()?;
        let key = self.keys.get(&(sync.to_owned(), id))?;
        serde_json::from_str::<Vec<String>>(&key.0).ok()?.into_iter().next()
    }
}

/// The key of the row that a lookup's column points to.
fn parent_key(text: &str) -> PostgresKey {
    PostgresKey(serde_json::Value::from(vec![text]).to_string())
}

impl<P: Ports> Run<'_, P> {
    /// Resolves what an interrupted run left and plans. What is left over has something to write.
    pub(super) async fn plan(
        &mut self,
        works: Vec<Work>,
    ) -> Result<Vec<(Work, BTreeMap<String, String>)>, PortError> {
        let parents = self.load_parents(&works).await?;
        let mut writing = Vec::new();
        let mut missing: u64 = 0;
        for mut work in works {
            let resolved = work.base.as_ref().map(|base| resolve(base, &work.evidence));
            let salesforce = self.salesforce_presence(&work, &parents);
            let postgres = self.postgres_presence(&work, &parents);
            work.images = self.image_fingerprints(&salesforce, &postgres);
            let interrupted = work.base.as_ref().is_some_and(|base| base.intent.is_some());
            let known = resolved.as_ref().filter(|base| base.live);
            work.plan = plan(self.definition, &self.ports.settings().key, known, &salesforce, &postgres);
            // A row that came back under its key after its record's end, its link column filled, is a new one.
            let was_live = work.base.as_ref().is_some_and(|base| base.live);
            let reborn = resolved.as_ref().is_some_and(|base| {
                base.ended_at.is_some() || !base.replaced.is_empty() || was_live && !base.live
            });
            if known.is_none()
                && !reborn
                && work.record().is_none()
                && work.row.as_ref().is_some_and(|row| row.link.is_some())
            {
                // A row that names a record which is not there was linked once: it is no new row.
                let held = match salesforce {
                    Presence::Deleted => Held::Deleted { side: Side::Salesforce },
                    _ => Held::Missing { side: Side::Salesforce },
                };
                work.plan = RecordPlan { held: Some(held), ..RecordPlan::default() };
            }
            work.resolved = resolved;
            work.evidence = Evidence::default();
            if self.gives_up_key(&work).await? {
                continue;
            }
            self.note_waiting(&work);
            if let Some(rejected) = &work.rejected
                && !interrupted
                && work.moved_to().is_none()
                && !depends_on_others(&rejected.code)
                && rejected.definition == self.definition.version
                && rejected.images == work.images
            {
                self.summary.skipped += 1;
                continue;
            }
            if let Some(held) = work.plan.held.clone() {
                self.hold(&work, held);
                let learnt =
                    work.resolved.as_ref().is_some_and(|base| base.live && base.gone != work.plan.gone);
                // Else the next touch would look for its row where it no longer is.
                let moved = work.row.as_ref().is_some_and(|row| {
                    let known = work.resolved.as_ref().filter(|base| base.live);
                    known.is_some_and(|base| base.postgres_key.as_ref() != Some(&row.key))
                });
                if learnt && work.plan.gone.is_some_and(|gone| gone.how == Absence::Missing) {
                    missing += 1;
                }
                if work.hides_its_evidence() {
                    // Whether our write landed can be told once the record shows again: the intent stays.
                    if (learnt || moved)
                        && let Some(mut base) = work.base.clone()
                    {
                        base.gone = work.plan.gone;
                        base.postgres_key =
                            work.row.as_ref().map(|row| row.key.clone()).or(base.postgres_key);
                        let put = Put { expected: base.version, base, conflicts: Vec::new() };
                        self.puts.push((put, work.retouch(), false));
                    }
                } else if work.plan.live && (interrupted || learnt || moved) {
                    self.save_resolved(work, true);
                } else if interrupted {
                    self.save_resolved(work, false);
                }
                continue;
            }
            if work.plan.writes_nothing() && work.link.is_none() {
                self.at_rest(work, interrupted);
                continue;
            }
            if self.oscillates(&work) {
                if interrupted {
                    self.save_resolved(work, false);
                }
                continue;
            }
            let texts = self.column_texts(&work, &parents);
            writing.push((work, texts));
        }
        self.within_delete_limit(writing, missing).await
    }

    /// Two rows that swap their keys stand in each other's way: each base keeps the key that the other one needs. One
    /// that meets this gives its old key up first.
    async fn gives_up_key(&mut self, work: &Work) -> Result<bool, PortError> {
        let (Some(base), Some(row)) = (&work.resolved, &work.row) else { return Ok(false) };
        let moved = base.postgres_key.as_ref().is_some_and(|known| *known != row.key);
        if !moved || !base.live || work.touch.attempt < SWAP_TRIES {
            return Ok(false);
        }
        // A touch that only waited long has nobody in its way, and a key given up needlessly is nobody's to claim.
        let owner = self.base_of_ref(RecordRef::Key(row.key.clone())).await?;
        if owner.is_none_or(|owner| owner.key == base.key || !owner.live && owner.intent.is_none()) {
            return Ok(false);
        }
        let mut released = base.clone();
        released.postgres_key = None;
        released.intent = None;
        let put = Put { expected: released.version, base: released, conflicts: Vec::new() };
        let touch = work.retouch();
        self.puts.push((put, touch, true));
        Ok(true)
    }

    /// Two sides that correct each other end as a rejected record, with the field and the values.
    fn oscillates(&mut self, work: &Work) -> bool {
        let Some(base) = &work.resolved else { return false };
        let swings = swings(base, &work.plan, self.now());
        let Some(field) = oscillating(&swings) else { return false };
        let both = [&work.plan.salesforce, &work.plan.postgres].map(|action| action.fields()?.get(field));
        let (salesforce, postgres) = match both {
            [Some(write), _] => (&write.before, &write.after),
            [None, Some(write)] => (&write.after, &write.before),
            [None, None] => return false,
        };
        let message = format!(
            "{field} went back and forth {OSCILLATING} times within a minute each: Salesforce makes it {salesforce:?}, Postgres makes it {postgres:?}. An automation on either side changes what the other side writes; change one of them, or map the field one way",
            salesforce = salesforce.to_string(),
            postgres = postgres.to_string(),
        );
        self.reject(work, self.definition.primary.other(), "OSCILLATING", message, vec![field.clone()]);
        true
    }

    /// Deletes that go across, and records that went missing, count within an hour; past the limit the sync is
    /// paused before anything of this run is deleted.
    async fn within_delete_limit(
        &mut self,
        writing: Vec<(Work, BTreeMap<String, String>)>,
        missing: u64,
    ) -> Result<Vec<(Work, BTreeMap<String, String>)>, PortError> {
        let deletes =
            |work: &Work| work.plan.salesforce == Action::Delete || work.plan.postgres == Action::Delete;
        let count = writing.iter().filter(|(work, _)| deletes(work)).count();
        let count = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(missing);
        if count == 0 || take_deletes(self.ports, self.definition, count).await? {
            return Ok(writing);
        }
        let (held_back, rest): (Vec<_>, Vec<_>) = writing.into_iter().partition(|(work, _)| deletes(work));
        for (work, _) in held_back {
            self.again(work.retouch(), Backoff::Outage);
        }
        Ok(rest)
    }

    /// The bases of the parents that any lookup of these records points to.
    async fn load_parents(&self, works: &[Work]) -> Result<Parents, PortError> {
        let mut refs: BTreeMap<String, BTreeSet<RecordRef>> = BTreeMap::new();
        for mapping in &self.definition.fields {
            let Some(lookup) = &mapping.lookup else { continue };
            let refs = refs.entry(lookup.sync.clone()).or_default();
            for work in works {
                let remote = work.record().and_then(|record| record.values.get(&mapping.field)?.as_deref());
                if let Some(Ok(id)) = remote.map(SalesforceId::parse) {
                    refs.insert(RecordRef::Id(id));
                }
                let row = work.row.as_ref().and_then(|row| row.values.get(&mapping.field)?.as_deref());
                if let Some(text) = row {
                    refs.insert(RecordRef::Key(parent_key(text)));
                }
            }
        }
        let mut parents = Parents::default();
        for (sync, refs) in refs {
            let refs: Vec<RecordRef> = refs.into_iter().collect();
            if refs.is_empty() {
                continue;
            }
            for loaded in self.ports.state().load(&sync, &refs).await? {
                let Some(base) = loaded.base.filter(|base| base.live) else { continue };
                if let (Some(id), Some(key)) = (base.salesforce_id, base.postgres_key) {
                    parents.keys.insert((sync.clone(), id.clone()), key.clone());
                    parents.ids.insert((sync.clone(), key), id);
                }
            }
        }
        Ok(parents)
    }

    fn salesforce_presence(&self, work: &Work, parents: &Parents) -> Presence {
        match &work.remote {
            Remote::Present(record) => Presence::Present(self.image(|mapping| {
                let raw = record.values.get(&mapping.field).and_then(Option::as_deref);
                let cell = canonical(mapping, raw);
                let (Some(lookup), Cell::Value(Value::Text(text))) = (&mapping.lookup, &cell) else {
                    return cell;
                };
                match SalesforceId::parse(text) {
                    Ok(id) if !parents.keys.contains_key(&(lookup.sync.clone(), id.clone())) => {
                        Cell::Waiting(Parent::Salesforce(lookup.sync.clone(), id))
                    }
                    _ => cell,
                }
            })),
            Remote::Deleted(_) => Presence::Deleted,
            // A record that has no Id yet is not missing from Salesforce: it never was there.
            Remote::Absent | Remote::Unknown => Presence::Missing,
        }
    }

    fn postgres_presence(&self, work: &Work, parents: &Parents) -> Presence {
        match &work.row {
            Some(row) => Presence::Present(self.image(|mapping| {
                let raw = row.values.get(&mapping.field).and_then(Option::as_deref);
                let (Some(lookup), Some(text)) = (&mapping.lookup, raw) else {
                    return canonical(mapping, raw);
                };
                let key = parent_key(text);
                match parents.ids.get(&(lookup.sync.clone(), key.clone())) {
                    Some(id) => Cell::Value(Value::Text(id.as_str().to_owned())),
                    None => Cell::Waiting(Parent::Postgres(lookup.sync.clone(), key)),
                }
            })),
            None if work.touch.evidence.pg_deleted => Presence::Deleted,
            None => Presence::Missing,
        }
    }

    fn image(&self, cell: impl Fn(&FieldMapping) -> Cell) -> Image {
        self.definition.fields.iter().map(|mapping| (mapping.field.clone(), cell(mapping))).collect()
    }

    /// One fingerprint per side over everything it holds.
    fn image_fingerprints(
        &self,
        salesforce: &Presence,
        postgres: &Presence,
    ) -> BTreeMap<String, Fingerprint> {
        let rule = Rule { version: 1, kind: RuleKind::Text };
        [(Side::Salesforce, salesforce), (Side::Postgres, postgres)]
            .into_iter()
            .map(|(side, presence)| {
                let text = Value::Text(format!("{presence:?}"));
                let key = &self.ports.settings().key;
                (side.word().to_owned(), key.fingerprint(&self.definition.name, side.word(), &rule, &text))
            })
            .collect()
    }

    /// What the column of each field that Postgres gets is to hold.
    fn column_texts(&self, work: &Work, parents: &Parents) -> BTreeMap<String, String> {
        let fields = work.plan.postgres.fields().into_iter().flatten();
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

    /// The record is neither rejected nor held any more, by whichever name it was.
    pub(super) fn clear(&mut self, work: &Work) {
        let own = work.base_key().0;
        let (id, key) = (work.id(), work.key());
        let others = [id.as_ref().map(ToString::to_string), key.as_ref().map(|key| format!("p:{key}"))];
        let strays = others.into_iter().flatten().filter(|name| *name != own);
        let strays = strays.map(|record| Cleared { record, stray_of: Some((id.clone(), key.clone())) });
        self.outcomes.cleared.extend(strays);
        self.outcomes.cleared.push(Cleared { record: own, stray_of: None });
    }

    fn note_waiting(&mut self, work: &Work) {
        if work.plan.waits_for.is_empty() {
            return;
        }
        let touch = work.retouch();
        let before = self.outcomes.deferred.len();
        self.again(touch, Backoff::Outage);
        for deferred in &mut self.outcomes.deferred[before..] {
            deferred.waits_for = work.plan.waits_for.iter().cloned().collect();
        }
    }

    fn hold(&mut self, work: &Work, held: Held) {
        self.summary.held += 1;
        if let Held::Unreadable { side, field, error } = &held {
            self.reject(work, *side, "VALUE", format!("{field} holds {error}"), vec![field.clone()]);
            return;
        }
        // It waits for something else by now than for what it was refused for.
        if work.rejected.is_some() {
            self.clear(work);
        }
        self.outcomes.held.push(HeldRecord {
            v: 1,
            sync: self.definition.name.clone(),
            record: work.base_key().0,
            salesforce_id: work.id(),
            postgres_key: work.key(),
            held,
            merged_into: match &work.remote {
                Remote::Deleted(record) => record.master.clone(),
                _ => None,
            },
            at: self.now(),
            seen: self.now(),
        });
    }

    /// Nothing to write: done if Salesforce's stamp is the base's, else the base moves with the stamp.
    fn at_rest(&mut self, work: Work, interrupted: bool) {
        self.summary.equal += 1;
        self.clear(&work);
        let Some(base) = &work.resolved else {
            if work.plan.live {
                self.save_resolved(work, true);
            }
            return;
        };
        let stamp = work.remote_stamp().map(syncline_engine::Stamp::Read);
        let moved = stamp.is_some() && stamp != base.stamp
            || base.live != work.plan.live
            || base.gone != work.plan.gone
            || base.postgres_key.as_ref() != work.row.as_ref().map(|row| &row.key) && work.row.is_some()
            || work.touch.stamp.is_some()
            || work.plan.agreed.iter().any(|(name, agreed)| base.fields.get(name) != Some(agreed));
        if interrupted || moved {
            self.save_resolved(work, true);
        }
    }

    /// The cell's canonical value of a column that was written, to compare with what was meant.
    pub(super) fn same_value(&self, field: &str, one: Option<&str>, other: Option<&str>) -> bool {
        self.definition.field(field).is_some_and(|mapping| match &mapping.lookup {
            Some(_) => one == other,
            None => {
                let (one, other) = (mapping.rule.canonical(one), mapping.rule.canonical(other));
                one.is_ok() && one == other
            }
        })
    }
}

fn canonical(mapping: &FieldMapping, raw: Option<&str>) -> Cell {
    match mapping.rule.canonical(raw) {
        Ok(value) => Cell::Value(value),
        Err(error) => Cell::Unreadable(error),
    }
}
