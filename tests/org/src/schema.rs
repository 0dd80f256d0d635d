//! Objects and their fields.

/// The type of a field, and what its values must keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// The record's own Id.
    Id,
    /// A lookup to records of this object.
    Reference(&'static str),
    /// Text of a describe type (string, textarea, email, phone, url and the like) and its greatest length in
    /// characters.
    Text(&'static str, u32),
    /// A picklist with its values. `true` if the picklist is restricted, so that it takes no other value.
    Picklist(&'static [&'static str], bool),
    /// A multi-select picklist.
    MultiPicklist(&'static [&'static str]),
    /// A checkbox.
    Boolean,
    /// A number of a describe type (int, double, currency, percent), with precision and scale.
    Number(&'static str, u32, u32),
    /// A date.
    Date,
    /// A moment in whole seconds.
    DateTime,
    /// A time of day in milliseconds.
    Time,
    /// A compound field of a describe type. Nobody writes it; its parts are fields of their own.
    Compound(&'static str),
    /// A formula, in which `{Field}` stands for a value of the record and `{Lookup.Field}` for one of its parent. It
    /// moves no stamp.
    Formula(&'static str),
}

/// A field.
#[derive(Clone, Debug)]
pub struct SchemaField {
    /// The API name.
    pub name: &'static str,
    /// The label.
    pub label: &'static str,
    /// The type.
    pub kind: FieldType,
    /// True if a record without a value is refused.
    pub required: bool,
    /// True if users can write the field.
    pub writable: bool,
    /// True if no two records may share a value. Case counts.
    pub unique: bool,
    /// True if only a create can set the field.
    pub create_only: bool,
}

impl SchemaField {
    pub(crate) fn new(name: &'static str, label: &'static str, kind: FieldType) -> Self {
        Self { name, label, kind, required: false, writable: true, unique: false, create_only: false }
    }

    pub(crate) fn system(name: &'static str, label: &'static str, kind: FieldType) -> Self {
        Self { writable: false, ..Self::new(name, label, kind) }
    }

    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The type as describe names it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            FieldType::Id => "id",
            FieldType::Reference(_) => "reference",
            FieldType::Text(name, _) | FieldType::Number(name, _, _) => name,
            FieldType::Picklist(..) => "picklist",
            FieldType::MultiPicklist(_) => "multipicklist",
            FieldType::Boolean => "boolean",
            FieldType::Date => "date",
            FieldType::DateTime => "datetime",
            FieldType::Time => "time",
            FieldType::Compound(name) => name,
            FieldType::Formula(_) => "string",
        }
    }
}

/// An object.
#[derive(Clone, Debug)]
pub struct ObjectSchema {
    /// The API name.
    pub name: &'static str,
    /// The label.
    pub label: &'static str,
    /// The first three characters of the Ids of its records.
    pub prefix: &'static str,
    /// The fields.
    pub fields: Vec<SchemaField>,
}

impl ObjectSchema {
    /// The field of this name, whatever its case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&SchemaField> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }
}
