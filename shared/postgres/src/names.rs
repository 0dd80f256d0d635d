//! Names: identifiers, and what an instance calls its own.

/// An identifier as SQL takes it.
#[must_use]
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// An instance, which names schema and triggers, so that two never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(pub String);

impl Instance {
    /// The schema, unquoted.
    #[must_use]
    pub fn schema_name(&self) -> String {
        if self.0 == "default" { "syncline".to_owned() } else { format!("syncline_{}", self.0) }
    }

    /// The schema, quoted.
    #[must_use]
    pub fn schema(&self) -> String {
        quote(&self.schema_name())
    }

    /// The name of a trigger or function of a sync, quoted.
    #[must_use]
    pub fn capture_name(&self, sync: &str, event: &str) -> String {
        quote(&format!("{}_{sync}_{event}", self.schema_name()))
    }
}
