//! What describe answers.

use org::{FieldType, ObjectSchema, SchemaField};
use serde_json::{Value, json};

/// An object with its fields.
pub(crate) fn describe(schema: &ObjectSchema) -> Value {
    let mut described = describe_shortly(schema);
    described["fields"] = schema.fields.iter().map(field).collect();
    described["childRelationships"] = json!([]);
    described["recordTypeInfos"] = json!([]);
    described
}

/// An object without its fields.
pub(crate) fn describe_shortly(schema: &ObjectSchema) -> Value {
    json!({
        "name": schema.name, "label": schema.label, "labelPlural": format!("{}s", schema.label), "keyPrefix": schema.prefix,
        "custom": schema.name.ends_with("__c"), "createable": true, "updateable": true, "deletable": true,
        "undeletable": true, "queryable": true, "retrieveable": true, "replicateable": true, "mergeable": false,
        "triggerable": true, "searchable": true, "layoutable": true, "customSetting": false,
        "urls": {"sobject": format!("/services/data/v62.0/sobjects/{}", schema.name)},
    })
}

fn field(field: &SchemaField) -> Value {
    let length = match &field.kind {
        FieldType::Id | FieldType::Reference(_) => 18,
        FieldType::Text(_, length) => *length,
        FieldType::Picklist(..) => 255,
        FieldType::Formula(_) => 1_300,
        FieldType::MultiPicklist(_) => 4099,
        _ => 0,
    };
    let (precision, scale, digits) = match &field.kind {
        FieldType::Number("int", precision, _) => (0, 0, *precision),
        FieldType::Number(_, precision, scale) => (*precision, *scale, 0),
        _ => (0, 0, 0),
    };
    let values: Vec<Value> = match &field.kind {
        FieldType::Picklist(values, _) | FieldType::MultiPicklist(values) => {
            values.iter().map(|value| json!({"active": true, "defaultValue": false, "label": value, "validFor": null, "value": value})).collect()
        }
        _ => vec![],
    };
    let soap_type = match &field.kind {
        FieldType::Id | FieldType::Reference(_) => "tns:ID",
        FieldType::Boolean => "xsd:boolean",
        FieldType::Number("int", ..) => "xsd:int",
        FieldType::Number(..) => "xsd:double",
        FieldType::Date => "xsd:date",
        FieldType::DateTime => "xsd:dateTime",
        FieldType::Time => "xsd:time",
        FieldType::Compound(_) => "urn:address",
        _ => "xsd:string",
    };
    let reference: Vec<&str> = match &field.kind {
        FieldType::Reference(object) => vec![*object],
        _ => vec![],
    };
    json!({
        "name": field.name, "label": field.label, "type": field.type_name(), "soapType": soap_type,
        "length": length, "byteLength": length * 3, "precision": precision, "scale": scale, "digits": digits,
        "nillable": !field.required && field.writable && field.kind != FieldType::Boolean,
        "createable": field.writable, "updateable": field.writable && !field.create_only,
        "defaultedOnCreate": !field.writable || field.kind == FieldType::Boolean,
        "calculated": matches!(field.kind, FieldType::Formula(_)), "autoNumber": false, "custom": field.name.ends_with("__c"),
        "externalId": field.unique, "unique": field.unique, "idLookup": field.unique || field.kind == FieldType::Id,
        "caseSensitive": field.unique, "compoundFieldName": null, "referenceTo": reference,
        "restrictedPicklist": matches!(field.kind, FieldType::Picklist(_, true)), "picklistValues": values,
        "polymorphicForeignKey": false, "filterable": true, "sortable": true, "htmlFormatted": field.type_name() == "html",
        "nameField": field.name == "Name", "groupable": true, "deprecatedAndHidden": false,
    })
}
