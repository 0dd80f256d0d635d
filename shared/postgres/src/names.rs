//! Quoted identifiers, and the names of an instance's schema, triggers and functions.

use syncline_engine::Definition;

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

    /// The quoted name of a capture trigger. Triggers fire in the order of their names, and the trigger that looks at
    /// keys before an update has to be the last of them.
    #[must_use]
    pub fn trigger_name(&self, definition: &Definition, event: &str) -> String {
        let last = if definition.partitioned && event == "rekey" { "~" } else { "" };
        quote(&format!("{last}{}_{}_{event}", self.schema_name(), definition.name))
    }

    /// The quoted name of a trigger function, for a sync and an event such as `truncate`.
    #[must_use]
    pub fn capture_name(&self, sync: &str, event: &str) -> String {
        quote(&format!("{}_{sync}_{event}", self.schema_name()))
    }
}
