//! A sync's definition, from what its user wrote and what both sides say of themselves. Pure: every problem in one
//! answer.

use syncline_engine::{
    Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FieldMapping, FirstLink, Lookup, PostgresType,
    Rule, RuleKind, SalesforceType, Side, pair,
};

/// A field as Salesforce describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDescription {
    /// Its API name.
    pub name: String,
    /// Its type.
    pub salesforce_type: SalesforceType,
    /// A create without it is refused.
    pub required: bool,
    /// A create may set it.
    pub createable: bool,
    /// An update may set it.
    pub updateable: bool,
    /// Users without the permission View Encrypted Data see a mask in it.
    pub masked: bool,
    /// An external Id that no two records share.
    pub unique_external_id: bool,
    /// The objects that a lookup points to.
    pub reference_to: Vec<String>,
}

/// An object as Salesforce describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDescription {
    /// Its API name.
    pub name: String,
    /// Its fields, those that the user may see.
    pub fields: Vec<FieldDescription>,
}

impl ObjectDescription {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldDescription> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A column as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Its type.
    pub postgres_type: PostgresType,
    /// Its type as SQL casts to it.
    pub cast: String,
    /// It takes no null.
    pub not_null: bool,
    /// It has a default.
    pub has_default: bool,
    /// It cannot be written.
    pub generated: bool,
}

/// A table as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `relkind`: `r` is a plain table, `p` a partitioned one.
    pub kind: String,
    /// Row security hides rows from the role, or would if it asked for them.
    pub hides_rows: bool,
    /// The role may delete.
    pub may_delete: bool,
    /// The role may read, insert and update.
    pub may_write: bool,
    /// The role may create triggers.
    pub may_trigger: bool,
    /// Its owner.
    pub owner: String,
    /// The role that asks.
    pub role: String,
    /// The role owns it, or is a member of the role that does.
    pub owned: bool,
    /// Triggers of this role's are on it already.
    pub captured: bool,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
    /// Its primary key, in index order.
    pub key: Vec<String>,
    /// Columns that are unique on their own.
    pub unique_columns: Vec<String>,
}

impl TableDescription {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnDescription> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// One field of a sync as its user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedField {
    /// The Salesforce API name.
    pub field: String,
    /// The column.
    pub column: String,
    /// Which way.
    pub direction: Direction,
    /// The sync of the parents.
    pub lookup: Option<String>,
}

/// A sync as its user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The object.
    pub object: String,
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The link column.
    pub link: String,
    /// The winner of conflicts.
    pub primary: Side,
    /// Which way.
    pub direction: Direction,
    /// What happens where there is no base.
    pub on_first_link: FirstLink,
    /// What deletes lead to.
    pub deletes: Deletes,
    /// How many of them within an hour.
    pub delete_limit: DeleteLimit,
    /// The link is kept in a table of ours.
    pub link_table: bool,
    /// The external Id field.
    pub external_id: String,
    /// The marker field.
    pub marker: String,
    /// Seconds between two catch-ups.
    pub poll_interval_s: u32,
    /// The fields.
    pub fields: Vec<WantedField>,
    /// Another sync maps the same table.
    pub table_shared: bool,
    /// What each lookup's sync pairs: its object, and its table's key columns.
    pub parents: Vec<(String, String, usize)>,
}

/// Something in the way, or something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and what to do.
    pub message: String,
    /// False for something that only has to be known.
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

/// The definition, and what there is to know about it.
///
/// # Errors
/// Every problem that stands in the way, and whatever else there is to know.
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
        mergeable: object.field("MasterRecordId").is_some(),
        external_id: (external_id == Some(true)).then(|| wanted.external_id.clone()),
        marker: marker.map(|_| wanted.marker.clone()),
        poll_interval_s: wanted.poll_interval_s,
        fields,
    };
    Ok((definition, problems.list))
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
    let to_salesforce = wanted.direction.writes(Side::Salesforce) && field.direction.writes(Side::Salesforce);
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
        if direction == Direction::ToPostgres {
            problems.fatal(format!("column {} is generated and cannot be written", field.column));
        }
        direction = Direction::ToSalesforce;
    }
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
        lookup: field.lookup.clone().map(|sync| Lookup { sync }),
    })
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
mod tests {
    use super::*;

    fn described(name: &str, required: bool) -> FieldDescription {
        FieldDescription {
            name: name.into(),
            salesforce_type: SalesforceType::Text { length: 80 },
            required,
            createable: true,
            updateable: true,
            masked: false,
            unique_external_id: name == "Syncline_Id__c",
            reference_to: vec![],
        }
    }

    fn column(name: &str, kind: PostgresType) -> ColumnDescription {
        ColumnDescription {
            name: name.into(),
            cast: kind.to_string(),
            postgres_type: kind,
            not_null: name == "id" || name == "tenant",
            has_default: name == "id",
            generated: false,
        }
    }

    fn fixture() -> (Wanted, ObjectDescription, TableDescription) {
        let field = |field: &str, column: &str| WantedField {
            field: field.into(),
            column: column.into(),
            direction: Direction::Both,
            lookup: None,
        };
        let wanted = Wanted {
            name: "contacts".into(),
            object: "Contact".into(),
            schema: "public".into(),
            table: "contacts".into(),
            link: "salesforce_id".into(),
            primary: Side::Salesforce,
            direction: Direction::Both,
            on_first_link: FirstLink::FillEmpty,
            deletes: Deletes::default(),
            delete_limit: DeleteLimit::default(),
            link_table: false,
            external_id: "Syncline_Id__c".into(),
            marker: "Syncline_Write__c".into(),
            poll_interval_s: 60,
            fields: vec![field("LastName", "last_name"), field("Email", "email")],
            table_shared: false,
            parents: vec![],
        };
        let names =
            [("LastName", true), ("Email", false), ("Syncline_Id__c", false), ("Syncline_Write__c", false)];
        let object = ObjectDescription {
            name: "Contact".into(),
            fields: names.map(|(name, required)| described(name, required)).to_vec(),
        };
        let table = TableDescription {
            schema: "public".into(),
            table: "contacts".into(),
            kind: "r".into(),
            hides_rows: false,
            may_delete: true,
            may_write: true,
            may_trigger: true,
            owner: "app".into(),
            role: "app".into(),
            owned: true,
            captured: false,
            columns: vec![
                column("id", PostgresType::BigInt),
                column("last_name", PostgresType::Text),
                column("email", PostgresType::Varchar(Some(80))),
            ],
            key: vec!["id".into()],
            unique_columns: vec!["id".into()],
        };
        (wanted, object, table)
    }

    #[test]
    fn a_definition_that_fits_has_nothing_to_say() {
        let (wanted, object, table) = fixture();
        let (definition, notes) = define(&wanted, &object, &table).unwrap();
        assert_eq!(notes, []);
        assert_eq!(definition.key, [("id".to_owned(), "bigint".to_owned())]);
        assert!(definition.external_id.is_some() && definition.marker.is_some());
    }

    #[test]
    fn every_problem_is_in_one_answer() {
        let (mut wanted, mut object, mut table) = fixture();
        wanted.fields[0].field = "Nope".into();
        wanted.fields[1].column = "nope".into();
        object.fields.retain(|field| field.name != "Syncline_Id__c");
        table.columns.push(column("tenant", PostgresType::Uuid));
        table.may_write = false;
        let problems = define(&wanted, &object, &table).unwrap_err();
        let text: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        let text = text.join("\n");
        for words in [
            "no field Nope",
            "no column nope",
            "LastName is required by Salesforce and not mapped",
            "tenant takes no null",
            "GRANT SELECT, INSERT, UPDATE",
            "no field Syncline_Id__c",
        ] {
            assert!(text.contains(words), "{words:?} is missing from:\n{text}");
        }
    }

    #[test]
    fn a_missing_marker_is_said_and_does_not_stop() {
        let (wanted, mut object, table) = fixture();
        object.fields.retain(|field| field.name != "Syncline_Write__c");
        let (definition, notes) = define(&wanted, &object, &table).unwrap();
        assert_eq!(definition.marker, None);
        assert!(notes[0].message.contains("false conflict") && !notes[0].fatal);
    }
}
