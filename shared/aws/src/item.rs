//! Items of the DynamoDB table: their keys, their attributes, and conditions on them.

use aws_sdk_dynamodb::types::AttributeValue;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use syncline_sync::PortError;

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ItemKey {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl ItemKey {
    /// The key of an item, from the parts of its partition key and its sort key. A part longer than 600 bytes
    /// is replaced by its hash: a partition key is at most 2,048 bytes long and a sort key at most 1,024
    /// (DynamoDB's quotas).
    pub(crate) fn new(parts: &[&str], sk: &str) -> Self {
        let parts: Vec<String> = parts.iter().map(|part| bounded(part)).collect();
        Self { pk: parts.join("#"), sk: bounded(sk) }
    }

    pub(crate) fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))])
    }
}

fn bounded(part: &str) -> String {
    if part.len() <= 600 {
        part.to_owned()
    } else {
        format!("blake3:{}", blake3::hash(part.as_bytes()).to_hex())
    }
}

/// A text attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The attributes of an item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item(pub(crate) HashMap<String, AttributeValue>);

impl Item {
    /// A new item with this key and no other attributes.
    pub(crate) fn at(item_key: &ItemKey) -> Self {
        Self(item_key.attributes())
    }

    pub(crate) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Adds the attributes by which the index `listed` finds the item: a list and a moment.
    pub(crate) fn listed(self, list: String, at: String) -> Self {
        self.with("list", text(list)).with("at", text(at))
    }

    pub(crate) fn item_key(&self) -> ItemKey {
        ItemKey { pk: self.text("pk").to_owned(), sk: self.text("sk").to_owned() }
    }

    /// A text attribute; empty where the item has none of this name.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
    }

    /// A number attribute; 0 where the item has none of this name.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// A boolean attribute; `false` where the item has none of this name.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
    }

    /// The document in `body`.
    pub(crate) fn body<T: serde::de::DeserializeOwned>(&self) -> Result<T, PortError> {
        serde_json::from_str(self.text("body")).map_err(|error| PortError::Store {
            message: format!("the document of item {} cannot be read: {error}", self.item_key().pk),
        })
    }
}

/// JSON of a document, for `body`.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, PortError> {
    serde_json::to_string(value).map_err(|error| PortError::Store { message: error.to_string() })
}

/// A condition expression with the values that it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    pub(crate) expression: String,
    pub(crate) values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// The condition that there is no item with this key.
    pub(crate) fn absent() -> Self {
        Self { expression: "attribute_not_exists(pk)".to_owned(), values: HashMap::new() }
    }

    /// The condition that there is no item with this key, or that it lacks this attribute.
    pub(crate) fn without(name: &str) -> Self {
        Self { expression: format!("attribute_not_exists(#{name})"), values: HashMap::new() }
    }

    /// The condition that an attribute has this value.
    pub(crate) fn equal(name: &str, value: AttributeValue) -> Self {
        Self {
            expression: format!("#{name} = :{name}"),
            values: HashMap::from([(format!(":{name}"), value)]),
        }
    }

    /// The condition that there is no item with this key, or that this condition holds.
    pub(crate) fn or_absent(self) -> Self {
        Self { expression: format!("attribute_not_exists(pk) OR {}", self.expression), ..self }
    }

    pub(crate) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        names_in(&self.expression)
    }
}

/// The attribute name for each `#name` in an expression. Expressions use `#name` everywhere, because any
/// attribute name may be, or become, a reserved word of DynamoDB.
pub(crate) fn names_in(expression: &str) -> Option<HashMap<String, String>> {
    let named = expression.split('#').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        (format!("#{}", &rest[..end]), rest[..end].to_owned())
    });
    let names: HashMap<String, String> = named.collect();
    (!names.is_empty()).then_some(names)
}

/// A moment as a text of fixed form (nine digits of the second), so that texts sort by time.
pub(crate) fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.9}")
}

/// 64 random bits as hex digits.
pub(crate) fn token() -> String {
    let mut bytes = [0; 8];
    // The system's source does not fail once the process runs. If it did, the token would be zeros, and two
    // tokens would be alike.
    let _ = SystemRandom::new().fill(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}
