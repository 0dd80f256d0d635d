//! Reads the sections `[sync.NAME]`, and checks them against each other.

use crate::reader::{Reader, Section, kind};
use crate::settings::{Field, Fields, Sync};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{DeleteLimit, DeletePolicy, Deletes, Direction, FirstLink, Side};
use toml::{Table, Value};

const SIDES: &[(&str, Side)] = &[("salesforce", Side::Salesforce), ("postgres", Side::Postgres)];
const DIRECTIONS: &[(&str, Direction)] = &[
    ("both", Direction::Both),
    ("to-postgres", Direction::ToPostgres),
    ("to-salesforce", Direction::ToSalesforce),
];

pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 30
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

const POLICIES: &[(&str, DeletePolicy)] =
    &[("keep", DeletePolicy::Keep), ("propagate", DeletePolicy::Propagate), ("review", DeletePolicy::Review)];

/// Reads `deletes`, which is one policy for both sides, or a table with one policy for each side.
fn deletes(reader: &mut Reader, path: &str, section: &mut Section<'_>, table: &Table) -> Deletes {
    if let Some(Value::Table(sides)) = table.get("deletes") {
        let _ = section.get("deletes");
        let path = format!("{path}.deletes");
        let mut section = Section::new(&path, sides);
        let from_salesforce = reader.choice(&mut section, "from_salesforce", POLICIES).unwrap_or_default();
        let from_postgres = reader.choice(&mut section, "from_postgres", POLICIES).unwrap_or_default();
        reader.close(&section);
        return Deletes { from_salesforce, from_postgres };
    }
    let policy = reader.choice(section, "deletes", POLICIES).unwrap_or_default();
    Deletes { from_salesforce: policy, from_postgres: policy }
}

fn delete_limit(reader: &mut Reader, path: &str, section: &mut Section<'_>) -> DeleteLimit {
    let mut limit = DeleteLimit::default();
    let path = format!("{path}.delete_limit");
    let table = match section.get("delete_limit") {
        None => return limit,
        Some(Value::Table(table)) => table,
        Some(_) => {
            reader.problem(&path, "must be a table such as { percent = 5, count = 100 }");
            return limit;
        }
    };
    let mut section = Section::new(&path, table);
    for (name, part, most) in
        [("percent", &mut limit.percent, 100), ("count", &mut limit.count, i64::from(u32::MAX))]
    {
        match section.get(name) {
            None => {}
            Some(Value::Integer(number)) if (0..=most).contains(number) => {
                *part = u32::try_from(*number).unwrap_or(*part);
            }
            Some(_) => {
                reader.problem(&format!("{path}.{name}"), format!("must be a number from 0 to {most}"));
            }
        }
    }
    reader.close(&section);
    limit
}

pub(crate) fn sync(reader: &mut Reader, name: &str, table: &Table) -> Option<Sync> {
    let path = format!("sync.{name}");
    let mut section = Section::new(&path, table);
    if !is_name(name) {
        reader.problem(
            &path,
            "the name of a sync must begin with a lower-case letter and contain only lower-case letters, digits and _, 30 characters at most",
        );
    }
    let object = reader.required(&mut section, "object", "\"Contact\"");
    let qualified = reader.required(&mut section, "table", "\"public.contacts\"");
    let (schema, bare) =
        match qualified.as_deref().map(|table| table.split_once('.').unwrap_or(("public", table))) {
            Some((schema, bare)) => (schema.to_owned(), bare.to_owned()),
            None => Default::default(),
        };
    let link = reader.text(&mut section, "link").unwrap_or_else(|| "salesforce_id".to_owned());
    let primary = reader.choice(&mut section, "primary", SIDES).unwrap_or(Side::Salesforce);
    let direction = reader.choice(&mut section, "direction", DIRECTIONS).unwrap_or_default();
    let policies = [("fill-empty", FirstLink::FillEmpty), ("primary", FirstLink::Primary)];
    let on_first_link = reader.choice(&mut section, "on_first_link", &policies).unwrap_or_default();
    let deletes = deletes(reader, &path, &mut section, table);
    let delete_limit = delete_limit(reader, &path, &mut section);
    let link_table = match section.get("link_table") {
        None => false,
        Some(Value::Boolean(yes)) => *yes,
        Some(_) => {
            reader.problem(&format!("{path}.link_table"), "must be true or false");
            false
        }
    };
    let poll_interval = reader.duration(&mut section, "poll_interval", SignedDuration::from_mins(1));
    let fields = fields(reader, &path, section.get("fields"));
    reader.close(&section);
    qualified.as_ref()?;
    Some(Sync {
        name: name.to_owned(),
        object: object?,
        schema,
        table: bare,
        link,
        primary,
        direction,
        on_first_link,
        deletes,
        delete_limit,
        link_table,
        poll_interval,
        fields: fields?,
    })
}

fn fields(reader: &mut Reader, path: &str, value: Option<&Value>) -> Option<Fields> {
    let problem = match value {
        Some(Value::String(text)) if text == "*" => return Some(Fields::All),
        Some(Value::Table(table)) => return Some(Fields::Named(named_fields(reader, path, table))),
        Some(_) => format!(
            "must be \"*\", or a section [{path}.fields] with lines such as FirstName = \"first_name\""
        ),
        None => format!(
            "is missing; add a section [{path}.fields] with lines such as FirstName = \"first_name\", or fields = \"*\" for all fields"
        ),
    };
    reader.problem(&format!("{path}.fields"), problem);
    None
}

fn named_fields(reader: &mut Reader, path: &str, table: &Table) -> Vec<Field> {
    let mut fields = Vec::new();
    for (name, value) in table {
        let path = format!("{path}.fields.{name}");
        match value {
            Value::String(column) if !column.is_empty() => fields.push(Field {
                field: name.clone(),
                column: column.clone(),
                direction: Direction::Both,
                lookup: None,
            }),
            Value::Table(table) => {
                let mut section = Section::new(&path, table);
                let column = reader.required(&mut section, "column", "\"first_name\"");
                let direction = reader.choice(&mut section, "direction", DIRECTIONS).unwrap_or_default();
                let lookup = reader.text(&mut section, "lookup");
                reader.close(&section);
                fields.extend(column.map(|column| Field { field: name.clone(), column, direction, lookup }));
            }
            other => reader.problem(
                &path,
                format!(
                    "is {}, but must be the name of a column in quotes, or a table such as {{ column = \"first_name\" }}",
                    kind(other)
                ),
            ),
        }
    }
    if fields.is_empty() && table.is_empty() {
        reader.problem(
            &format!("{path}.fields"),
            "no field is mapped; add a line such as FirstName = \"first_name\"",
        );
    }
    fields
}

pub(crate) fn check_syncs(reader: &mut Reader, syncs: &[Sync]) {
    for sync in syncs {
        let Fields::Named(fields) = &sync.fields else { continue };
        let mut columns: BTreeMap<&str, &str> = BTreeMap::new();
        for field in fields {
            let path = format!("sync.{}.fields.{}", sync.name, field.field);
            if let Some(other) = columns.insert(&field.column, &field.field) {
                reader.problem(
                    &path,
                    format!("column {} is already mapped to {other}; map each column once", field.column),
                );
            }
            if let Some(parent) = &field.lookup
                && !syncs.iter().any(|other| other.name == *parent)
            {
                reader.problem(
                    &path,
                    format!(
                        "lookup names the sync {parent:?}, but there is no [sync.{parent}]; add it, or name another sync"
                    ),
                );
            }
        }
    }
}
