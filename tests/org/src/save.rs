//! What a save of a record brings about: flows run, fields change, the stamp moves, formulas and parents follow.

use crate::id::lengthen;
use crate::org::{Change, Org, User};
use crate::record::Record;
use crate::schema::{FieldType, ObjectSchema};
use crate::validate::SaveError;
use crate::value::{Stored, whole_second};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The fields of a save. An empty one is set to null.
pub type Fields = BTreeMap<&'static str, Option<Stored>>;

impl Org {
    /// Creates a record and returns its Id.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn create(
        &mut self,
        object: &str,
        fields: &BTreeMap<String, Option<Stored>>,
        user: &User,
    ) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let fields = self.checked(&schema, fields, None)?;
        self.strike_lock(&schema)?;
        let number = self.next.entry(schema.name).or_default();
        *number += 1;
        let id = lengthen(&format!("{}5e{:010}", schema.prefix, *number));
        let now = self.now();
        let mut record = Record::new(now);
        for field in schema.fields.iter().filter(|field| field.kind == FieldType::Boolean) {
            record.values.insert(field.name, Stored::Boolean(false));
        }
        for name in ["CreatedById", "LastModifiedById"] {
            record.values.insert(name, Stored::Text(user.id.clone()));
        }
        record.values.insert("Id", Stored::Text(id.clone()));
        self.records.entry(schema.name).or_default().insert(id.clone(), record);
        self.set(&schema, &id, fields, user, now);
        Ok(id)
    }

    /// Updates a record and returns its Id.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn update(
        &mut self,
        object: &str,
        id: &str,
        fields: &BTreeMap<String, Option<Stored>>,
        user: &User,
    ) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let id = self.living(&schema, id)?;
        let fields = self.checked(&schema, fields, Some(&id))?;
        self.check_lock(&schema, &id)?;
        let now = self.now();
        self.set(&schema, &id, fields, user, now);
        Ok(id)
    }

    /// Sets checked fields of a record, with the stamp of a transaction that began at `begun`.
    pub(crate) fn set(
        &mut self,
        schema: &ObjectSchema,
        id: &str,
        mut fields: Fields,
        user: &User,
        begun: Timestamp,
    ) {
        let now = self.now();
        let Some(record) = self.records.get(schema.name).and_then(|records| records.get(id)) else { return };
        for automation in self.automations.iter().filter(|automation| automation.object == schema.name) {
            automation.run(schema, record, &mut fields);
        }
        let mut parents = self.parents(schema, id);
        let read_at = self.reads.get(&(user.client_id.clone(), id.to_owned())).copied();
        let Some(record) = self.record_mut(schema.name, id) else { return };
        record.begin_change(begun, now);
        record.values.insert("LastModifiedDate", Stored::Moment(whole_second(begun)));
        record.values.insert("LastModifiedById", Stored::Text(user.id.clone()));
        for (field, after) in fields {
            let Some(record) = self.record_mut(schema.name, id) else { return };
            let before = match &after {
                Some(value) => record.values.insert(field, value.clone()),
                None => record.values.remove(field),
            };
            if before != after {
                let change = self.change(schema.name, id, field, now, user);
                self.history.push(Change { before, after, read_at_ms: read_at, ..change });
            }
        }
        self.show_formulas(schema, id);
        self.show_in_children(schema, id);
        parents.extend(self.parents(schema, id));
        for (parent, parent_id) in parents {
            if let Some(record) = self.record_mut(parent, &parent_id) {
                record.begin_change(now, now);
            }
        }
        if user.sends_messages {
            self.outbox.record_saved(schema.name, id, now);
        }
    }

    /// The parents that have a roll-up field over this record.
    fn parents(&self, schema: &ObjectSchema, id: &str) -> Vec<(&'static str, String)> {
        let relations = self.rollups.iter().filter(|relation| relation.object == schema.name);
        let parent = |relation: &crate::Relation| {
            let FieldType::Reference(parent) = schema.field(relation.field)?.kind else { return None };
            Some((parent, self.record(schema.name, id)?.text(relation.field)?))
        };
        relations.filter_map(parent).collect()
    }

    /// Works out the formulas of a record. They move no stamp.
    pub(crate) fn show_formulas(&mut self, schema: &ObjectSchema, id: &str) {
        for field in &schema.fields {
            let FieldType::Formula(formula) = field.kind else { continue };
            let text = self.formula(schema, id, formula);
            let Some(record) = self.record_mut(schema.name, id) else { return };
            match Stored::from_text(&text) {
                Some(value) => record.values.insert(field.name, value),
                None => record.values.remove(field.name),
            };
        }
    }

    /// Works out the formulas of the records that look up to a record and show a field of it.
    pub(crate) fn show_in_children(&mut self, parent: &ObjectSchema, id: &str) {
        for child in self.schemas.clone() {
            let shows = |field: &crate::SchemaField| matches!(field.kind, FieldType::Formula(formula) if formula.contains('.'));
            if !child.fields.iter().any(shows) {
                continue;
            }
            let lookups: Vec<&str> = child
                .fields
                .iter()
                .filter(|field| field.kind == FieldType::Reference(parent.name))
                .map(|field| field.name)
                .collect();
            let records = self.records.get(child.name).into_iter().flatten();
            let children: Vec<String> = records
                .filter(|(_, record)| {
                    lookups.iter().any(
                        |field| matches!(record.values.get(field), Some(Stored::Text(named)) if named == id),
                    )
                })
                .map(|(id, _)| id.clone())
                .collect();
            for one in children {
                self.show_formulas(&child, &one);
            }
        }
    }

    /// A formula in which `{Field}` stands for a value of the record, and `{Lookup.Field}` for one of its parent.
    fn formula(&self, schema: &ObjectSchema, id: &str, formula: &str) -> String {
        let Some(record) = self.record(schema.name, id) else { return String::new() };
        let mut text = String::new();
        for part in formula.split('{') {
            let Some((name, rest)) = part.split_once('}') else {
                text.push_str(part);
                continue;
            };
            let value = match name.split_once('.') {
                None => record.text(name),
                Some((lookup, field)) => schema.field(lookup).and_then(|lookup| {
                    let FieldType::Reference(parent) = lookup.kind else { return None };
                    self.record(parent, &record.text(lookup.name)?)?.text(field)
                }),
            };
            text.push_str(&value.unwrap_or_default());
            text.push_str(rest);
        }
        text
    }
}
