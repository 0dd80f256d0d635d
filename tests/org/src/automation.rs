//! What an org does by itself when a record is saved or deleted.

use crate::record::Record;
use crate::save::Fields;
use crate::schema::ObjectSchema;
use crate::validate::SaveError;
use crate::value::Stored;
use serde::{Deserialize, Serialize};

/// A flow before a save: when a field changes, another one is set from it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Automation {
    /// The object.
    pub object: String,
    /// The field whose change starts the flow.
    pub when: String,
    /// The field that the flow sets. It may be the field `when` itself.
    pub set: String,
    /// The value, in which `{}` stands for the value of `when`, and `{upper}` for the same in capitals.
    pub to: String,
}

impl Automation {
    /// Lets the flow run over the fields of a save of `stands`.
    pub(crate) fn run(&self, schema: &ObjectSchema, stands: &Record, fields: &mut Fields) {
        let (Some(when), Some(set)) = (schema.field(&self.when), schema.field(&self.set)) else { return };
        let Some(value) = fields.get(when.name) else { return };
        if stands.values.get(when.name) == value.as_ref() {
            return;
        }
        let text = value.as_ref().map(|value| {
            let value = value.text();
            self.to.replace("{upper}", &value.to_uppercase()).replace("{}", &value)
        });
        fields.insert(set.name, text.as_deref().and_then(Stored::from_text));
    }
}

/// A validation rule: records whose field begins with a text are refused, whoever saves them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ValidationRule {
    /// The object.
    pub object: String,
    /// The field.
    pub field: String,
    /// How the field must not begin.
    pub begins: String,
    /// The error message.
    pub message: String,
    /// The status code. A trigger may refuse with any code; a validation rule has one of its own.
    #[serde(default = "validation")]
    pub code: String,
}

fn validation() -> String {
    ValidationRule::CODE.to_owned()
}

impl ValidationRule {
    /// The status code of a record that a validation rule refuses.
    pub const CODE: &str = "FIELD_CUSTOM_VALIDATION_EXCEPTION";

    /// The refusal of a record, looked at as the save would leave it.
    pub(crate) fn refuses(
        &self,
        schema: &ObjectSchema,
        fields: &Fields,
        stands: Option<&Record>,
    ) -> Option<SaveError> {
        if self.object != schema.name {
            return None;
        }
        let field = schema.field(&self.field)?.name;
        let value = match fields.get(field) {
            Some(value) => value.as_ref(),
            None => stands.and_then(|record| record.values.get(field)),
        };
        let begins = value.is_some_and(|value| value.text().starts_with(&self.begins));
        begins.then(|| SaveError::new(self.code.clone(), self.message.clone(), &[&self.field]))
    }
}

/// A lookup field of an object, to which the org ties more than an ordinary lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The child object.
    pub object: &'static str,
    /// Its lookup field.
    pub field: &'static str,
}
