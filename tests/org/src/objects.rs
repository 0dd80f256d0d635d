//! The objects of a new org.

use crate::schema::{FieldType, ObjectSchema, SchemaField};
use std::sync::{Arc, LazyLock};

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
pub(crate) fn objects() -> Vec<Arc<ObjectSchema>> {
    static OBJECTS: LazyLock<Vec<Arc<ObjectSchema>>> =
        LazyLock::new(|| described().into_iter().map(Arc::new).collect());
    OBJECTS.clone()
}

fn described() -> Vec<ObjectSchema> {
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
                    SchemaField::system("AccountName__c", "Account Name", Formula("{AccountId.Name}")),
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
