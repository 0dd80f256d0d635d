//! How both sides describe themselves: an object of Salesforce, and a table of the PostgreSQL catalog.

use std::collections::BTreeMap;
use syncline_engine::{FieldName, PostgresType, SalesforceType};

/// A field as Salesforce describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDescription {
    /// The API name of the field.
    pub name: String,
    /// The Id of a custom field. `None` for a standard field, or if the user may not read it.
    pub id: Option<String>,
    /// The type of the field.
    pub salesforce_type: SalesforceType,
    /// True if Salesforce refuses a create without this field.
    pub required: bool,
    /// True if a create may set the field.
    pub createable: bool,
    /// True if an update may set the field.
    pub updateable: bool,
    /// True if the field is encrypted. A user without the permission View Encrypted Data reads a mask in its
    /// place.
    pub masked: bool,
    /// True if the field is a unique external Id.
    pub unique_external_id: bool,
    /// The objects that a lookup can point to. Empty for other fields.
    pub reference_to: Vec<String>,
}

/// An object as Salesforce describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDescription {
    /// The API name of the object.
    pub name: String,
    /// The fields of the object that the user may see.
    pub fields: Vec<FieldDescription>,
}

impl ObjectDescription {
    /// The description with the Ids of its custom fields, by API name.
    #[must_use]
    pub fn identified(mut self, ids: &BTreeMap<FieldName, String>) -> Self {
        for field in &mut self.fields {
            field.id = ids.get(&field.name).cloned();
        }
        self
    }

    /// The field with this name, if there is one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldDescription> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A column as the PostgreSQL catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    /// The name of the column.
    pub name: String,
    /// The number of the column in its table (`attnum`). `None` while the table does not exist.
    pub number: Option<i16>,
    /// The type of the column.
    pub postgres_type: PostgresType,
    /// The name of the type to which SQL casts a value for this column.
    pub cast: String,
    /// True if the column takes no null.
    pub not_null: bool,
    /// True if the column has a default.
    pub has_default: bool,
    /// True if the column is generated and cannot be written.
    pub generated: bool,
}

/// A table as the PostgreSQL catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// The schema of the table.
    pub schema: String,
    /// The name of the table.
    pub table: String,
    /// The oid of the table. `None` while the table does not exist.
    pub oid: Option<u32>,
    /// The `relkind` of the catalog: `r` is a plain table, `p` is a partitioned table.
    pub kind: String,
    /// True if row security hides rows from the role, or would hide them if the role read them.
    pub hides_rows: bool,
    /// True if the role may delete rows.
    pub may_delete: bool,
    /// True if the role may read, insert and update rows.
    pub may_write: bool,
    /// True if the role may create triggers.
    pub may_trigger: bool,
    /// The role that owns the table.
    pub owner: String,
    /// The role of the connection that read this description.
    pub role: String,
    /// True if the role owns the table, or is a member of the role that owns it.
    pub owned: bool,
    /// True if triggers of this role are on the table already.
    pub captured: bool,
    /// The columns of the table.
    pub columns: Vec<ColumnDescription>,
    /// The columns of the primary key, in index order. Empty if there is no primary key.
    pub key: Vec<String>,
    /// The columns that are unique by themselves.
    pub unique_columns: Vec<String>,
}

impl TableDescription {
    /// The column with this name, if there is one.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnDescription> {
        self.columns.iter().find(|column| column.name == name)
    }
}
