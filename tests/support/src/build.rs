//! Builders of definitions for tests.

use syncline_engine::{
    Definition, Direction, FieldMapping, FingerprintKey, FirstLink, PostgresType, Rule, RuleKind,
    SalesforceType, Side,
};

/// The fingerprint key that tests use.
#[must_use]
pub fn fingerprint_key() -> FingerprintKey {
    FingerprintKey::new([42; 32])
}

/// A mapping of a text field and its column.
#[must_use]
pub fn field(name: &str, column: &str) -> FieldMapping {
    FieldMapping {
        field: name.to_owned(),
        column: column.to_owned(),
        salesforce_type: SalesforceType::Text { length: 80 },
        postgres_type: PostgresType::Text,
        cast: "text".to_owned(),
        rule: Rule { version: 1, kind: RuleKind::Text },
        direction: Direction::Both,
        salesforce_required: false,
        salesforce_updateable: true,
        postgres_required: false,
        derived: false,
        column_number: None,
        field_id: None,
        lookup: None,
    }
}

/// A definition that pairs Contact with the table `contacts` and maps the first and the last name.
#[must_use]
pub fn contact_definition(primary: Side) -> Definition {
    Definition {
        form: 1,
        name: "contacts".to_owned(),
        version: 1,
        object: "Contact".to_owned(),
        schema: "public".to_owned(),
        table: "contacts".to_owned(),
        key: vec![("id".to_owned(), "bigint".to_owned())],
        link: "salesforce_id".to_owned(),
        table_shared: false,
        primary,
        direction: Direction::Both,
        on_first_link: FirstLink::FillEmpty,
        deletes: Default::default(),
        delete_limit: Default::default(),
        link_table: false,
        partitioned: false,
        mergeable: false,
        table_oid: None,
        unmapped: vec![],
        external_id: Some("Syncline_Id__c".to_owned()),
        marker: Some("Syncline_Write__c".to_owned()),
        poll_interval_s: 60,
        fields: vec![field("FirstName", "first_name"), field("LastName", "last_name")],
    }
}
