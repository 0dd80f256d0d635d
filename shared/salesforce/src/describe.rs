//! Describe: what an object's fields are.

use crate::client::Client;
use crate::error::SalesforceError;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use syncline_engine::SalesforceType;
use syncline_sync::describe::{FieldDescription, ObjectDescription};

/// One field, with the keys that a mapping depends on. Source: Describe Sobject in the REST API guide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedField {
    /// Its API name.
    pub name: String,
    /// Its label.
    pub label: String,
    /// Its type's name.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its longest value in characters.
    #[serde(default)]
    pub length: u32,
    /// Its digits.
    #[serde(default)]
    pub precision: u32,
    /// Its digits after the point.
    #[serde(default)]
    pub scale: u32,
    /// It may be null.
    pub nillable: bool,
    /// A create may set it.
    pub createable: bool,
    /// An update may set it.
    pub updateable: bool,
    /// A create that leaves it out gets a default.
    #[serde(default)]
    pub defaulted_on_create: bool,
    /// A formula or roll-up.
    #[serde(default)]
    pub calculated: bool,
    /// An external Id.
    #[serde(default)]
    pub external_id: bool,
    /// No two records share a value.
    #[serde(default)]
    pub unique: bool,
    /// The objects that a lookup points to.
    #[serde(default)]
    pub reference_to: Vec<String>,
    /// The compound field that it is a part of.
    #[serde(default)]
    pub compound_field_name: Option<String>,
}

impl DescribedField {
    /// Its type.
    #[must_use]
    pub fn salesforce_type(&self) -> SalesforceType {
        SalesforceType::from_describe(&self.type_name, self.length, self.precision, self.scale)
    }

    /// A create without it is refused.
    #[must_use]
    pub fn required(&self) -> bool {
        !self.nillable && !self.defaulted_on_create && self.createable
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedObject {
    /// Its API name.
    pub name: String,
    /// Its fields, those that the user may see.
    pub fields: Vec<DescribedField>,
}

impl DescribedObject {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&DescribedField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl From<&DescribedField> for FieldDescription {
    fn from(field: &DescribedField) -> Self {
        Self {
            name: field.name.clone(),
            salesforce_type: field.salesforce_type(),
            required: field.required(),
            createable: field.createable,
            updateable: field.updateable,
            masked: field.type_name == "encryptedstring",
            unique_external_id: field.external_id && field.unique,
            reference_to: field.reference_to.clone(),
        }
    }
}

impl From<&DescribedObject> for ObjectDescription {
    fn from(object: &DescribedObject) -> Self {
        Self { name: object.name.clone(), fields: object.fields.iter().map(FieldDescription::from).collect() }
    }
}

impl Client {
    /// Describes an object.
    ///
    /// # Errors
    /// `NOT_FOUND` for an object that is not there or not for this user.
    pub async fn describe(&self, object: &str) -> Result<DescribedObject, SalesforceError> {
        let path = self.path(&format!("sobjects/{object}/describe"));
        let answer = self.read(Method::GET, &path, &[], None).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| SalesforceError::Malformed(format!("describe of {object}: {error}")))
    }
}
