//! One stored field value. Numbers keep the digits that they came with.

use serde::Serialize;
use serde_json::value::RawValue;

/// A value that is not null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Text, Ids, dates and moments.
    Text(String),
    /// A number, as a JSON literal.
    Number(String),
    /// A checkbox.
    Boolean(bool),
}

impl Stored {
    /// The value of a JSON scalar; null and empty text are nothing.
    pub(crate) fn from_json(raw: &RawValue) -> Result<Option<Self>, String> {
        let literal = raw.get().trim();
        Ok(match literal.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(literal).map_err(|error| error.to_string())?;
                let text = text.trim_matches(|c: char| c <= ' ');
                (!text.is_empty()).then(|| Self::Text(text.to_owned()))
            }
            Some(b't' | b'f') => Some(Self::Boolean(literal == "true")),
            Some(b'n') | None => None,
            Some(b'{' | b'[') => return Err(format!("Cannot deserialize instance of scalar from {literal}")),
            Some(_) => Some(Self::Number(literal.to_owned())),
        })
    }

    /// Its JSON.
    pub(crate) fn json(value: Option<&Self>) -> Box<RawValue> {
        let literal = match value {
            None => "null".to_owned(),
            Some(Self::Text(text)) => serde_json::to_string(text).unwrap(),
            Some(Self::Number(literal)) => literal.clone(),
            Some(Self::Boolean(yes)) => yes.to_string(),
        };
        RawValue::from_string(literal).unwrap()
    }

    /// Its text, as SOQL and XML compare and show it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(literal) => literal.clone(),
            Self::Boolean(yes) => yes.to_string(),
        }
    }
}

impl Serialize for Stored {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::json(Some(self)).serialize(serializer)
    }
}
