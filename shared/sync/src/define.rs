//! Makes the definition of a sync from the user's configuration and from what both sides describe. This has
//! no I/O. All problems are reported in one answer.

use crate::describe::{ColumnDescription, FieldDescription, ObjectDescription, TableDescription};
use syncline_engine::{
    Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FieldMapping, FirstLink, Lookup, PostgresType,
    Rule, RuleKind, SalesforceType, Side, pair,
};

/// A field of a sync, as the user wrote it in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedField {
    /// The API name of the Salesforce field.
    pub field: String,
    /// The name of the column.
    pub column: String,
    /// The direction in which the field is synced.
    pub direction: Direction,
    /// For a lookup: the name of the sync of the parent records.
    pub lookup: Option<String>,
}

/// A sync, as the user wrote it in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The name of the sync.
    pub name: String,
    /// The API name of the Salesforce object.
    pub object: String,
    /// The schema of the table.
    pub schema: String,
    /// The name of the table.
    pub table: String,
    /// The name of the link column.
    pub link: String,
    /// The primary: the side that wins conflicts.
    pub primary: Side,
    /// The direction in which the sync writes.
    pub direction: Direction,
    /// What happens where both sides have the record and there is no base.
    pub on_first_link: FirstLink,
    /// What a delete on either side leads to.
    pub deletes: Deletes,
    /// How many deletes are allowed within an hour.
    pub delete_limit: DeleteLimit,
    /// True if the links are kept in a table of Syncline's own, and the user's table gets no link column.
    pub link_table: bool,
    /// The name of the external Id field in Salesforce.
    pub external_id: String,
    /// The name of the marker field in Salesforce.
    pub marker: String,
    /// The number of seconds between two catch-ups.
    pub poll_interval_s: u32,
    /// The fields to sync.
    pub fields: Vec<WantedField>,
    /// True if another sync uses the same table.
    pub table_shared: bool,
    /// For the syncs that lookups name: the name of the sync, its Salesforce object, and the number of key
    /// columns of its table.
    pub parents: Vec<(String, String, usize)>,
}

/// A problem that prevents a sync, or something that the user has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and what to do.
    pub message: String,
    /// True if the problem prevents the sync. False if the user only has to know of it.
    pub fatal: bool,
}

struct Problems<'a> {
    sync: &'a str,
    list: Vec<Problem>,
}

impl Problems<'_> {
    fn fatal(&mut self, message: impl AsRef<str>) {
        self.list.push(Problem { message: format!("sync.{}: {}", self.sync, message.as_ref()), fatal: true });
    }

    fn note(&mut self, message: impl AsRef<str>) {
        self.list
            .push(Problem { message: format!("sync.{}: {}", self.sync, message.as_ref()), fatal: false });
    }
}

/// Makes the definition, and lists what the user has to know about it.
///
/// # Errors
/// When there is a problem that prevents the sync. The answer lists every problem, with the notes as well.
pub fn define(
    wanted: &Wanted,
    object: &ObjectDescription,
    table: &TableDescription,
) -> Result<(Definition, Vec<Problem>), Vec<Problem>> {
    let mut problems = Problems { sync: &wanted.name, list: Vec::new() };
    check_table(wanted, table, &mut problems);
    let fields: Vec<FieldMapping> = wanted
        .fields
        .iter()
        .filter_map(|field| mapping(wanted, field, object, table, &mut problems))
        .collect();
    check_required(wanted, object, table, &mut problems);
    let external_id = installed(object, &wanted.external_id);
    let marker = object.field(&wanted.marker).filter(|field| field.updateable);
    if wanted.direction.writes(Side::Salesforce) {
        match external_id {
            None => problems.fatal(format!(
                "{} has no field {} that is a unique, case-sensitive external Id of type Text(255) and that this user may write; create it (without it a lost answer could create a record twice)",
                wanted.object, wanted.external_id
            )),
            Some(false) => problems.fatal(format!(
                "{}.{} has to be an external Id, unique, and writable by this user",
                wanted.object, wanted.external_id
            )),
            Some(true) => {}
        }
        if marker.is_none() {
            problems.note(format!(
                "{} has no writable text field {}; without it, a crash between a write and its base together with an edit of that very record can end in a false conflict",
                wanted.object, wanted.marker
            ));
        }
    }
    if problems.list.iter().any(|problem| problem.fatal) {
        return Err(problems.list);
    }
    let cast = |name: &String| {
        let cast = table.column(name).map_or_else(|| "text".to_owned(), |column| column.cast.clone());
        (name.clone(), cast)
    };
    let definition = Definition {
        form: 1,
        name: wanted.name.clone(),
        version: 1,
        object: wanted.object.clone(),
        schema: wanted.schema.clone(),
        table: wanted.table.clone(),
        key: table.key.iter().map(cast).collect(),
        link: wanted.link.clone(),
        table_shared: wanted.table_shared,
        primary: wanted.primary,
        direction: wanted.direction,
        on_first_link: wanted.on_first_link,
        deletes: wanted.deletes,
        delete_limit: wanted.delete_limit,
        link_table: wanted.link_table,
        partitioned: table.kind == "p",
        table_oid: table.oid,
        unmapped: Vec::new(),
        mergeable: object.field("MasterRecordId").is_some(),
        external_id: (external_id == Some(true)).then(|| wanted.external_id.clone()),
        marker: marker.map(|_| wanted.marker.clone()),
        poll_interval_s: wanted.poll_interval_s,
        fields,
    };
    Ok((definition, problems.list))
}

/// The definition with the oid of the table and the numbers of its columns. A table that `apply` creates has them only
/// after the definition was made.
#[must_use]
pub fn identified(mut definition: Definition, table: &TableDescription) -> Definition {
    definition.table_oid = table.oid;
    for mapping in &mut definition.fields {
        mapping.column_number = table.column(&mapping.column).and_then(|column| column.number);
    }
    definition
}

fn installed(object: &ObjectDescription, name: &str) -> Option<bool> {
    let field = object.field(name)?;
    Some(field.unique_external_id && field.createable)
}

fn check_table(wanted: &Wanted, table: &TableDescription, problems: &mut Problems<'_>) {
    let name = format!("{}.{}", wanted.schema, wanted.table);
    if !matches!(table.kind.as_str(), "r" | "p") {
        let kind = match table.kind.as_str() {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            _ => "no table",
        };
        problems.fatal(format!("{name} is {kind}; only tables are served"));
    }
    if table.key.is_empty() {
        problems.fatal(format!("{name} has no primary key; add one, for rows have to be told apart"));
    }
    if !table.may_write {
        problems.fatal(format!(
            "role {0} may not read, insert and update {name}; GRANT SELECT, INSERT, UPDATE ON {name} TO {0}",
            table.role
        ));
    }
    if !table.may_trigger {
        problems.fatal(format!(
            "role {0} may not create triggers on {name}; GRANT TRIGGER ON {name} TO {0}",
            table.role
        ));
    }
    if !table.may_delete && wanted.deletes.from_salesforce == DeletePolicy::Propagate {
        problems.fatal(format!(
            "deletes.from_salesforce = \"propagate\", and role {0} may not delete from {name}; GRANT DELETE ON {name} TO {0}",
            table.role
        ));
    }
    if table.hides_rows {
        problems.fatal(format!(
            "row security on {name} hides rows from role {0}, and a hidden row looks like a deleted one; ALTER ROLE {0} BYPASSRLS, or ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY if {0} owns it",
            table.role
        ));
    }
    match table.column(&wanted.link).filter(|_| !wanted.link_table) {
        Some(column) if !matches!(column.postgres_type, PostgresType::Text | PostgresType::Varchar(_)) => {
            problems.fatal(format!(
                "{name}.{} is {}; the link column has to be varchar(18) or text",
                wanted.link, column.postgres_type
            ));
        }
        _ => {}
    }
    let stands_already = table.captured && table.column(&wanted.link).is_some();
    if !table.owned && !wanted.link_table && !stands_already {
        problems.fatal(format!(
            "role {0} does not own {name}, which adding the link column and enabling its triggers takes, once; GRANT {1} TO {0} while you apply, or ALTER TABLE {name} OWNER TO {0}, or set link_table = true, which needs the right to create triggers only",
            table.role, table.owner
        ));
    }
    for key in &table.key {
        let mapped = wanted.fields.iter().any(|field| field.column == *key);
        let column = table.column(key);
        if wanted.direction.writes(Side::Postgres)
            && !mapped
            && !column.is_some_and(|column| column.has_default)
        {
            problems.fatal(format!(
                "{name}.{key} is part of the primary key and has no default, so rows from Salesforce could not be inserted; give it a default or set direction = \"to-salesforce\""
            ));
        }
    }
}

fn check_required(
    wanted: &Wanted,
    object: &ObjectDescription,
    table: &TableDescription,
    problems: &mut Problems<'_>,
) {
    if wanted.direction.writes(Side::Salesforce) {
        for field in object.fields.iter().filter(|field| field.required) {
            let mapped = wanted
                .fields
                .iter()
                .any(|mapped| mapped.field == field.name && mapped.direction.writes(Side::Salesforce));
            if !mapped {
                problems.fatal(format!(
                    "{}.{} is required by Salesforce and not mapped, so rows could not be created there; map it, or set direction = \"to-postgres\"",
                    wanted.object, field.name
                ));
            }
        }
    }
    if wanted.direction.writes(Side::Postgres) {
        for column in table.columns.iter().filter(|column| column.not_null && !column.has_default) {
            let mapped = wanted.fields.iter().any(|mapped| mapped.column == column.name);
            if !mapped && !table.key.contains(&column.name) && column.name != wanted.link {
                problems.fatal(format!(
                    "{}.{}.{} takes no null, has no default and is not mapped, so rows from Salesforce could not be inserted; map it, give it a default, or set direction = \"to-salesforce\"",
                    wanted.schema, wanted.table, column.name
                ));
            }
        }
    }
}

fn mapping(
    wanted: &Wanted,
    field: &WantedField,
    object: &ObjectDescription,
    table: &TableDescription,
    problems: &mut Problems<'_>,
) -> Option<FieldMapping> {
    let described = object.field(&field.field);
    let column = table.column(&field.column);
    if described.is_none() {
        problems
            .fatal(format!("{} has no field {}, or this user may not see it", wanted.object, field.field));
    }
    if column.is_none() {
        problems.fatal(format!("{}.{} has no column {}", wanted.schema, wanted.table, field.column));
    }
    let (described, column) = (described?, column?);
    if field.field == wanted.external_id || field.field == wanted.marker {
        problems.fatal(format!("{} is Syncline's own field and cannot be mapped", field.field));
    }
    if field.column == wanted.link || field.column == "id" && table.key == ["id"] && field.field == "Id" {
        problems
            .fatal(format!("column {} is Syncline's own link or the key and cannot be mapped", field.column));
    }
    if described.masked {
        problems.note(format!(
            "{}.{} is encrypted: the integration user needs the permission View Encrypted Data, or its column fills with masks",
            wanted.object, field.field
        ));
    }
    let direction = direction_of(wanted, field, described, column, problems);
    let rule = match &field.lookup {
        Some(parent) => {
            check_lookup(wanted, field, parent, described, problems);
            Rule { version: 1, kind: RuleKind::Id }
        }
        None => match pair(&described.salesforce_type, &column.postgres_type) {
            Ok(rule) => rule,
            Err(error) => {
                problems.fatal(format!("{} = {}: {error}", field.field, field.column));
                return None;
            }
        },
    };
    Some(FieldMapping {
        field: field.field.clone(),
        column: field.column.clone(),
        salesforce_type: described.salesforce_type.clone(),
        postgres_type: column.postgres_type.clone(),
        cast: column.cast.clone(),
        rule,
        direction,
        salesforce_required: described.required,
        salesforce_updateable: described.updateable || direction == Direction::ToPostgres,
        postgres_required: column.not_null && !column.has_default,
        derived: match direction {
            Direction::Both => false,
            Direction::ToPostgres => !described.createable && !described.updateable,
            Direction::ToSalesforce => column.generated,
        },
        column_number: column.number,
        field_id: described.id.clone(),
        lookup: field.lookup.clone().map(|sync| Lookup { sync }),
    })
}

/// The direction of a field: the one in the configuration, or a single direction where one side cannot be
/// written.
fn direction_of(
    wanted: &Wanted,
    field: &WantedField,
    described: &FieldDescription,
    column: &ColumnDescription,
    problems: &mut Problems<'_>,
) -> Direction {
    let writes = |side| wanted.direction.writes(side) && field.direction.writes(side);
    let to_salesforce = writes(Side::Salesforce);
    if !to_salesforce && !writes(Side::Postgres) {
        problems.fatal(format!(
            "{} = {} travels the other way than the sync does, so neither side would ever be written; leave out its direction, or the field",
            field.field, field.column
        ));
    }
    let mut direction = field.direction;
    if to_salesforce && !described.createable {
        if field.direction == Direction::ToSalesforce {
            problems.fatal(format!("Salesforce takes no value for {}.{}", wanted.object, field.field));
        }
        problems.note(format!(
            "{}.{} cannot be written in Salesforce: its column follows it",
            wanted.object, field.field
        ));
        direction = Direction::ToPostgres;
    }
    if column.generated && direction.writes(Side::Postgres) {
        if direction == Direction::ToPostgres || !to_salesforce {
            problems.fatal(format!("column {} is generated and cannot be written", field.column));
        }
        direction = Direction::ToSalesforce;
    }
    direction
}

fn check_lookup(
    wanted: &Wanted,
    field: &WantedField,
    parent: &str,
    described: &FieldDescription,
    problems: &mut Problems<'_>,
) {
    if described.salesforce_type != SalesforceType::Reference {
        problems.fatal(format!("{} is a {}, not a lookup", field.field, described.salesforce_type));
    }
    match wanted.parents.iter().find(|(sync, _, _)| sync == parent) {
        None => problems.fatal(format!("{}: there is no sync {parent:?} to look up", field.field)),
        Some((_, object, columns)) => {
            if !described.reference_to.is_empty() && !described.reference_to.contains(object) {
                problems.fatal(format!(
                    "{} points to {}, but sync {parent} is about {object}",
                    field.field,
                    described.reference_to.join(" or ")
                ));
            }
            if *columns != 1 {
                problems.fatal(format!(
                    "{}: the table of sync {parent} has a primary key of {columns} columns; a lookup needs one",
                    field.field
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
