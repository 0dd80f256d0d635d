//! Quoted identifiers, and the names of an instance's schema, triggers and functions.

/// A quoted SQL identifier (PostgreSQL documentation, Identifiers and Key Words).
#[must_use]
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The name of an instance. The names of its schema and triggers contain it, so that two instances can share
/// a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(pub String);

impl Instance {
    /// The name of the instance's schema, not quoted: `syncline` for the instance `default`, else
    /// `syncline_NAME`.
    #[must_use]
    pub fn schema_name(&self) -> String {
        if self.0 == "default" { "syncline".to_owned() } else { format!("syncline_{}", self.0) }
    }

    /// The name of the instance's schema, quoted.
    #[must_use]
    pub fn schema(&self) -> String {
        quote(&self.schema_name())
    }
}
