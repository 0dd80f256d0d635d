//! One stored field value. A number keeps the digits that it came with.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// A value that is not null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Text, an Id or a date.
    Text(String),
    /// A number, as a JSON literal.
    Number(String),
    /// The value of a checkbox.
    Boolean(bool),
    /// A moment in whole seconds.
    Moment(Timestamp),
}

impl Stored {
    /// The value of a text. Blanks around it are cut off, and an empty text is nothing.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_matches(|c: char| c <= ' ');
        (!text.is_empty()).then(|| Self::Text(text.to_owned()))
    }

    /// The value of a JSON scalar. `null` and an empty text are nothing.
    ///
    /// # Errors
    /// When the JSON is a list or an object, or is not valid.
    pub fn from_json(raw: &RawValue) -> Result<Option<Self>, String> {
        let literal = raw.get().trim();
        Ok(match literal.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(literal).map_err(|error| error.to_string())?;
                Self::from_text(&text)
            }
            Some(b't' | b'f') => Some(Self::Boolean(literal == "true")),
            Some(b'n') | None => None,
            Some(b'{' | b'[') => return Err(format!("Cannot deserialize instance of scalar from {literal}")),
            Some(_) => Some(Self::Number(literal.to_owned())),
        })
    }

    /// The JSON of a value, or `null`.
    #[must_use]
    pub fn json(value: Option<&Self>) -> Box<RawValue> {
        let literal = match value {
            None => "null".to_owned(),
            Some(Self::Text(text)) => serde_json::to_string(text).unwrap(),
            Some(Self::Number(literal)) => literal.clone(),
            Some(Self::Boolean(yes)) => yes.to_string(),
            Some(Self::Moment(at)) => format!("\"{}\"", moment(*at)),
        };
        RawValue::from_string(literal).unwrap()
    }

    /// The text of the value, as SOQL and XML compare and show it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(literal) => literal.clone(),
            Self::Boolean(yes) => yes.to_string(),
            Self::Moment(at) => moment(*at),
        }
    }
}

impl Serialize for Stored {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::json(Some(self)).serialize(serializer)
    }
}

/// A moment as REST writes it.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

/// A moment as REST and SOQL read it. Fractions of a second are cut off.
#[must_use]
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("+0000").map_or_else(|| text.to_owned(), |bare| format!("{bare}Z"));
    text.parse().ok().map(whole_second)
}

/// The moment without its fraction of a second.
pub(crate) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap()
}
