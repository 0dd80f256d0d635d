//! Describes objects: which fields an object has, and of which types.

use crate::client::Client;
use crate::error::SalesforceError;
use crate::soql::quoted;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use syncline_engine::SalesforceType;
use syncline_sync::describe::{FieldDescription, ObjectDescription};

/// A field of an object, with the properties on which a mapping depends. Source: Describe Sobject in the REST
/// API guide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedField {
    /// The API name.
    pub name: String,
    /// The label.
    pub label: String,
    /// The name of the type, such as `string` or `reference`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The length of the longest value in characters; 0 for types without a length.
    #[serde(default)]
    pub length: u32,
    /// How many digits a number has in all; 0 for other types.
    #[serde(default)]
    pub precision: u32,
    /// How many digits a number has after the point; 0 for other types.
    #[serde(default)]
    pub scale: u32,
    /// True if the field may be null.
    pub nillable: bool,
    /// True if a create may set the field.
    pub createable: bool,
    /// True if an update may set the field.
    pub updateable: bool,
    /// True if a create that leaves out the field gives it a default value.
    #[serde(default)]
    pub defaulted_on_create: bool,
    /// True for a formula or roll-up field.
    #[serde(default)]
    pub calculated: bool,
    /// True if the field is an external Id.
    #[serde(default)]
    pub external_id: bool,
    /// True if no two records can have the same value in the field.
    #[serde(default)]
    pub unique: bool,
    /// The API names of the objects to which a lookup can point; empty for other types.
    #[serde(default)]
    pub reference_to: Vec<String>,
    /// The compound field of which the field is a part; `None` if it is no part of one.
    #[serde(default)]
    pub compound_field_name: Option<String>,
}

impl DescribedField {
    /// The type of the field.
    #[must_use]
    pub fn salesforce_type(&self) -> SalesforceType {
        SalesforceType::from_describe(&self.type_name, self.length, self.precision, self.scale)
    }

    /// True if Salesforce refuses a create without the field.
    #[must_use]
    pub fn required(&self) -> bool {
        !self.nillable && !self.defaulted_on_create && self.createable
    }
}

/// An object and its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedObject {
    /// The API name.
    pub name: String,
    /// The fields that the user may see.
    pub fields: Vec<DescribedField>,
}

impl DescribedObject {
    /// The field with this API name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&DescribedField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl From<&DescribedField> for FieldDescription {
    fn from(field: &DescribedField) -> Self {
        Self {
            name: field.name.clone(),
            id: None,
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

/// The prefix of the Ids of custom fields. Source: Standard Field Record ID Prefix Decoder (Salesforce Help).
const CUSTOM_FIELD: &str = "00N";

impl Client {
    /// The Ids of an object's custom fields, by API name. The durable Id of a custom field is the Id of its object and its
    /// own, separated by a point; those of standard fields do not last (FieldDefinition, Tooling API). Empty if Salesforce
    /// refuses the query.
    ///
    /// # Errors
    /// When Salesforce does not answer.
    pub async fn custom_field_ids(&self, object: &str) -> Result<BTreeMap<String, String>, SalesforceError> {
        let soql = format!(
            "SELECT QualifiedApiName, DurableId FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = {}",
            quoted(object)
        );
        let rows = match self.query(&soql).await {
            Err(SalesforceError::Refused { .. }) => return Ok(BTreeMap::new()),
            other => other?,
        };
        let id_of = |mut row: BTreeMap<String, String>| {
            let (name, durable) = (row.remove("QualifiedApiName")?, row.remove("DurableId")?);
            let id = durable.rsplit('.').next()?.get(..15)?.to_owned();
            id.starts_with(CUSTOM_FIELD).then_some((name, id))
        };
        Ok(rows.into_iter().filter_map(id_of).collect())
    }

    /// Describes an object.
    ///
    /// # Errors
    /// `NOT_FOUND` if the object does not exist or this user has no access to it.
    pub async fn describe(&self, object: &str) -> Result<DescribedObject, SalesforceError> {
        let path = self.path(&format!("sobjects/{object}/describe"));
        let answer = self.read(Method::GET, &path, &[], None).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| SalesforceError::Malformed(format!("describe of {object}: {error}")))
    }
}
