//! Step 4: what each side holds, in canonical form.

use super::parents::Parents;
use super::record::{Read, Remote, was_deleted_from_postgres};
use super::{Ports, Run};
use std::collections::BTreeMap;
use syncline_engine::{
    Cell, FieldMapping, Fingerprint, Image, Parent, PostgresKey, Presence, Rule, RuleKind, SalesforceId,
    Side, Value, ValueError,
};

impl<P: Ports> Run<'_, P> {
    pub(super) fn salesforce_presence(&self, read: &Read, parents: &Parents) -> Presence {
        match &read.salesforce.remote {
            Remote::Present(record) => Presence::Present(self.image(|mapping| {
                let cell = match record.values.get(&mapping.field) {
                    Some(raw) => canonical(mapping, raw.as_deref()),
                    None if record.undecodable.contains(&mapping.field) => {
                        Cell::Unreadable(ValueError::Undecodable)
                    }
                    None => Cell::Unreadable(ValueError::NotInAnswer),
                };
                let (Some(lookup), Cell::Value(Value::Text(text))) = (&mapping.lookup, &cell) else {
                    return cell;
                };
                match SalesforceId::parse(text) {
                    Ok(id) if !parents.knows(&lookup.sync, &id) => {
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

    pub(super) fn postgres_presence(&self, read: &Read, parents: &Parents) -> Presence {
        match &read.row {
            Some(row) => Presence::Present(self.image(|mapping| {
                let raw = row.values.get(&mapping.field).and_then(Option::as_deref);
                let (Some(lookup), Some(text)) = (&mapping.lookup, raw) else {
                    return canonical(mapping, raw);
                };
                let key = PostgresKey::of_columns([text]);
                match parents.id_of(&lookup.sync, &key) {
                    Some(id) => Cell::Value(Value::Text(id.as_str().to_owned())),
                    None => Cell::Waiting(Parent::Postgres(lookup.sync.clone(), key)),
                }
            })),
            None if read.touch().evidence.pg_deleted => Presence::Deleted,
            None if read.base().is_some_and(was_deleted_from_postgres) => Presence::Deleted,
            None => Presence::Missing,
        }
    }

    fn image(&self, cell: impl Fn(&FieldMapping) -> Cell) -> Image {
        self.definition.fields.iter().map(|mapping| (mapping.field.clone(), cell(mapping))).collect()
    }

    /// One fingerprint per side over everything that it holds: found unchanged, a rejected record is not tried again.
    pub(super) fn image_fingerprints(
        &self,
        salesforce: &Presence,
        postgres: &Presence,
    ) -> BTreeMap<String, Fingerprint> {
        let rule = Rule { version: 1, kind: RuleKind::Text };
        let key = &self.ports.settings().key;
        [(Side::Salesforce, salesforce), (Side::Postgres, postgres)]
            .into_iter()
            .map(|(side, presence)| {
                let text = Value::Text(presence.fingerprinted_text());
                (side.word().to_owned(), key.fingerprint(&self.definition.name, side.word(), &rule, &text))
            })
            .collect()
    }

    /// The fingerprint of a field's value as a side gave it; `None` if the value has no canonical form or the field is
    /// not mapped.
    pub(super) fn fingerprint_of(&self, field: &str, raw: Option<&str>) -> Option<Fingerprint> {
        let mapping = self.definition.field(field)?;
        let value = mapping.rule.canonical(raw).ok()?;
        Some(self.ports.settings().key.fingerprint(&self.definition.name, field, &mapping.rule, &value))
    }

    /// Both texts of a column mean the same value. A lookup's column holds a key, which is compared as it is.
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
