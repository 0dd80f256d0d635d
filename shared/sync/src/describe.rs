//! What both sides say of themselves: an object of Salesforce, a table of the catalog.

use syncline_engine::{PostgresType, SalesforceType};

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
