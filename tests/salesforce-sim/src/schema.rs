//! The objects of a new org, and their describe answers.

use serde_json::{Value, json};

/// A field's type with what its values must keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// The record's own Id.
    Id,
    /// A lookup to records of this object.
    Reference(&'static str),
    /// Text of a describe type with its longest length: string, textarea, email, phone, url.
    Text(&'static str, u32),
    /// A picklist with its values; restricted ones take no other.
    Picklist(&'static [&'static str], bool),
    /// A multi-select picklist.
    MultiPicklist(&'static [&'static str]),
    /// A checkbox.
    Boolean,
    /// A number of a describe type: int, double, currency, percent, with precision and scale.
    Number(&'static str, u32, u32),
    /// A date.
    Date,
    /// A moment in whole seconds.
    DateTime,
    /// A time of day in milliseconds.
    Time,
    /// A compound field of a describe type: nobody writes it, its parts are fields of their own.
    Compound(&'static str),
    /// A formula over fields of its own record, in which `{Field}` stands for a value. It moves no stamp.
    Formula(&'static str),
}

/// One field.
#[derive(Clone, Debug)]
pub struct SchemaField {
    /// Its API name.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// Its type.
    pub kind: FieldType,
    /// A create without it is refused.
    pub required: bool,
    /// Users write it.
    pub writable: bool,
    /// No two records share a value; case counts.
    pub unique: bool,
    /// Only a create sets it.
    pub create_only: bool,
}

impl SchemaField {
    fn new(name: &'static str, label: &'static str, kind: FieldType) -> Self {
        Self { name, label, kind, required: false, writable: true, unique: false, create_only: false }
    }

    fn system(name: &'static str, label: &'static str, kind: FieldType) -> Self {
        Self { writable: false, ..Self::new(name, label, kind) }
    }

    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The describe type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            FieldType::Id => "id",
            FieldType::Reference(_) => "reference",
            FieldType::Text(name, _) | FieldType::Number(name, _, _) => name,
            FieldType::Picklist(..) => "picklist",
            FieldType::MultiPicklist(_) => "multipicklist",
            FieldType::Boolean => "boolean",
            FieldType::Date => "date",
            FieldType::DateTime => "datetime",
            FieldType::Time => "time",
            FieldType::Compound(name) => name,
            FieldType::Formula(_) => "string",
        }
    }

    fn describe(&self) -> Value {
        let length = match &self.kind {
            FieldType::Id | FieldType::Reference(_) => 18,
            FieldType::Text(_, length) => *length,
            FieldType::Picklist(..) => 255,
            FieldType::Formula(_) => 1_300,
            FieldType::MultiPicklist(_) => 4099,
            _ => 0,
        };
        let (precision, scale, digits) = match &self.kind {
            FieldType::Number("int", precision, _) => (0, 0, *precision),
            FieldType::Number(_, precision, scale) => (*precision, *scale, 0),
            _ => (0, 0, 0),
        };
        let values: Vec<Value> = match &self.kind {
            FieldType::Picklist(values, _) | FieldType::MultiPicklist(values) => {
                values.iter().map(|value| json!({"active": true, "defaultValue": false, "label": value, "validFor": null, "value": value})).collect()
            }
            _ => vec![],
        };
        let soap_type = match &self.kind {
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
        let reference: Vec<&str> = match &self.kind {
            FieldType::Reference(object) => vec![*object],
            _ => vec![],
        };
        json!({
            "name": self.name, "label": self.label, "type": self.type_name(), "soapType": soap_type,
            "length": length, "byteLength": length * 3, "precision": precision, "scale": scale, "digits": digits,
            "nillable": !self.required && self.writable && self.kind != FieldType::Boolean,
            "createable": self.writable, "updateable": self.writable && !self.create_only,
            "defaultedOnCreate": !self.writable || self.kind == FieldType::Boolean,
            "calculated": matches!(self.kind, FieldType::Formula(_)), "autoNumber": false, "custom": self.name.ends_with("__c"),
            "externalId": self.unique, "unique": self.unique, "idLookup": self.unique || self.kind == FieldType::Id,
            "caseSensitive": self.unique, "compoundFieldName": null, "referenceTo": reference,
            "restrictedPicklist": matches!(self.kind, FieldType::Picklist(_, true)), "picklistValues": values,
            "polymorphicForeignKey": false, "filterable": true, "sortable": true, "htmlFormatted": self.type_name() == "html",
            "nameField": self.name == "Name", "groupable": true, "deprecatedAndHidden": false,
        })
    }
}

/// One object.
#[derive(Clone, Debug)]
pub struct ObjectSchema {
    /// Its API name.
    pub name: &'static str,
    /// Its label.
    pub label: &'static str,
    /// The first three characters of its Ids.
    pub prefix: &'static str,
    /// Its fields.
    pub fields: Vec<SchemaField>,
}

impl ObjectSchema {
    /// The field of this name, whatever its case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&SchemaField> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn describe(&self) -> Value {
        let mut described = self.describe_shortly();
        described["fields"] = self.fields.iter().map(SchemaField::describe).collect();
        described["childRelationships"] = json!([]);
        described["recordTypeInfos"] = json!([]);
        described
    }

    pub(crate) fn describe_shortly(&self) -> Value {
        json!({
            "name": self.name, "label": self.label, "labelPlural": format!("{}s", self.label), "keyPrefix": self.prefix,
            "custom": self.name.ends_with("__c"), "createable": true, "updateable": true, "deletable": true,
            "undeletable": true, "queryable": true, "retrieveable": true, "replicateable": true, "mergeable": false,
            "triggerable": true, "searchable": true, "layoutable": true, "customSetting": false,
            "urls": {"sobject": format!("/services/data/v62.0/sobjects/{}", self.name)},
        })
    }
}

const INDUSTRIES: &[&str] = &["Agriculture", "Banking", "Energy", "Media", "Technology"];
const LEAD_SOURCES: &[&str] = &["Web", "Phone Inquiry", "Partner Referral", "Other"];
const LEAD_STATUS: &[&str] = &["Open - Not Contacted", "Working - Contacted", "Closed - Converted"];
const OPPORTUNITY_STAGES: &[&str] = &["Prospecting", "Negotiation/Review", "Closed Won", "Closed Lost"];
const STAGES: &[&str] = &["New", "Active", "Retired"];
const INTERESTS: &[&str] = &["Analytics", "Cloud", "Data", "Security"];

fn with_system_fields(merges: bool, mut fields: Vec<SchemaField>) -> Vec<SchemaField> {
    use FieldType::{Boolean, DateTime, Id, Reference, Text};
    let mut all = vec![
        SchemaField::system("Id", "Record ID", Id),
        SchemaField::system("IsDeleted", "Deleted", Boolean),
    ];
    if merges {
        all.push(SchemaField::system("MasterRecordId", "Master Record ID", Id));
    }
    all.append(&mut fields);
    all.extend([
        SchemaField::system("CreatedDate", "Created Date", DateTime),
        SchemaField::system("CreatedById", "Created By ID", Reference("User")),
        SchemaField::system("LastModifiedDate", "Last Modified Date", DateTime),
        SchemaField::system("LastModifiedById", "Last Modified By ID", Reference("User")),
        SchemaField::system("SystemModstamp", "System Modstamp", DateTime),
        SchemaField {
            unique: true,
            ..SchemaField::new("Syncline_Id__c", "Syncline Id", Text("string", 255))
        },
        SchemaField::new("Syncline_Write__c", "Syncline Write", Text("string", 64)),
    ]);
    all
}

/// Account, Contact, Lead, Opportunity and the custom object `Widget__c`, each with an external Id and a marker field.
pub(crate) fn objects() -> Vec<ObjectSchema> {
    use FieldType::{
        Boolean, Compound, Date, DateTime, Formula, MultiPicklist, Number, Picklist, Reference, Text, Time,
    };
    let field = SchemaField::new;
    vec![
        ObjectSchema {
            name: "Account",
            label: "Account",
            prefix: "001",
            fields: with_system_fields(
                true,
                vec![
                    field("Name", "Account Name", Text("string", 255)).required(),
                    field("BillingStreet", "Billing Street", Text("textarea", 255)),
                    field("BillingCity", "Billing City", Text("string", 40)),
                    SchemaField::system("BillingAddress", "Billing Address", Compound("address")),
                    field("Site", "Account Site", Text("string", 80)),
                    field("Industry", "Industry", Picklist(INDUSTRIES, false)),
                    field("AnnualRevenue", "Annual Revenue", Number("currency", 18, 0)),
                    field("NumberOfEmployees", "Employees", Number("int", 8, 0)),
                    field("Website", "Website", Text("url", 255)),
                    field("Phone", "Account Phone", Text("phone", 40)),
                    field("Description", "Account Description", Text("textarea", 32_000)),
                    field("ParentId", "Parent Account ID", Reference("Account")),
                    field("Editor_Id__c", "Editor Id", Text("string", 80)),
                ],
            ),
        },
        ObjectSchema {
            name: "Contact",
            label: "Contact",
            prefix: "003",
            fields: with_system_fields(
                true,
                vec![
                    field("AccountId", "Account ID", Reference("Account")),
                    field("FirstName", "First Name", Text("string", 40)),
                    field("LastName", "Last Name", Text("string", 80)).required(),
                    field("Email", "Email", Text("email", 80)),
                    field("Phone", "Business Phone", Text("phone", 40)),
                    field("Title", "Title", Text("string", 128)),
                    field("Department", "Department", Text("string", 80)),
                    field("LeadSource", "Lead Source", Picklist(LEAD_SOURCES, true)),
                    field("Birthdate", "Birthdate", Date),
                    field("DoNotCall", "Do Not Call", Boolean),
                    field("Description", "Contact Description", Text("textarea", 32_000)),
                    field("Level__c", "Level", Text("string", 80)),
                    SchemaField::system("FullName__c", "Full Name", Formula("{FirstName} {LastName}")),
                    field("Editor_Id__c", "Editor Id", Text("string", 80)),
                ],
            ),
        },
        ObjectSchema {
            name: "Lead",
            label: "Lead",
            prefix: "00Q",
            fields: with_system_fields(
                true,
                vec![
                    field("FirstName", "First Name", Text("string", 40)),
                    field("LastName", "Last Name", Text("string", 80)).required(),
                    field("Company", "Company", Text("string", 255)).required(),
                    field("Title", "Title", Text("string", 128)),
                    field("Email", "Email", Text("email", 80)),
                    field("Phone", "Phone", Text("phone", 40)),
                    field("Status", "Lead Status", Picklist(LEAD_STATUS, false)),
                    field("LeadSource", "Lead Source", Picklist(LEAD_SOURCES, true)),
                    field("AnnualRevenue", "Annual Revenue", Number("currency", 18, 0)),
                    field("Editor_Id__c", "Editor Id", Text("string", 80)),
                ],
            ),
        },
        ObjectSchema {
            name: "Opportunity",
            label: "Opportunity",
            prefix: "006",
            fields: with_system_fields(
                false,
                vec![
                    field("Name", "Name", Text("string", 120)).required(),
                    field("AccountId", "Account ID", Reference("Account")),
                    field("StageName", "Stage", Picklist(OPPORTUNITY_STAGES, false)).required(),
                    field("CloseDate", "Close Date", Date).required(),
                    field("Amount", "Amount", Number("currency", 18, 2)),
                    field("Probability", "Probability (%)", Number("percent", 3, 0)),
                    field("NextStep", "Next Step", Text("string", 255)),
                    field("Description", "Description", Text("textarea", 32_000)),
                    field("Editor_Id__c", "Editor Id", Text("string", 80)),
                ],
            ),
        },
        ObjectSchema {
            name: "Widget__c",
            label: "Widget",
            prefix: "a00",
            fields: with_system_fields(
                false,
                vec![
                    field("Name", "Widget Name", Text("string", 80)),
                    field("Code__c", "Code", Text("string", 36)).required(),
                    field("Stage__c", "Stage", Picklist(STAGES, true)),
                    field("Interests__c", "Interests", MultiPicklist(INTERESTS)),
                    field("Price__c", "Price", Number("currency", 18, 2)),
                    field("Discount__c", "Discount", Number("percent", 5, 2)),
                    field("Weight__c", "Weight", Number("double", 16, 4)),
                    field("Count__c", "Count", Number("double", 9, 0)),
                    field("Active__c", "Active", Boolean),
                    field("Due__c", "Due", Date),
                    field("Seen_At__c", "Seen At", DateTime),
                    field("Mail__c", "Mail", Text("email", 80)),
                    field("Link__c", "Link", Text("url", 255)),
                    field("Story__c", "Story", Text("html", 32_768)),
                    field("Shade__c", "Shade", Text("combobox", 80)),
                    field("Pin__c", "Pin", Text("encryptedstring", 32)),
                    field("Opens__c", "Opens", Time),
                    field("Extra__c", "Extra", Text("textarea", 131_072)),
                    field("Notes__c", "Notes", Text("textarea", 1_000)),
                    field("Contact__c", "Contact", Reference("Contact")),
                    field("Editor_Id__c", "Editor Id", Text("string", 80)),
                ],
            ),
        },
    ]
}
