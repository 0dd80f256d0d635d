//! What the demo syncs: the objects with their tables, and the fields with their columns. Syncline and the script
//! sync the same.

/// The fields of Contact, each with its column of the table `contacts`.
pub(super) const CONTACT_FIELDS: &[(&str, &str)] = &[
    ("FirstName", "first_name"),
    ("LastName", "last_name"),
    ("Title", "title"),
    ("Phone", "phone"),
    ("Department", "department"),
    ("Editor_Id__c", "editor_id"),
];

/// The fields of Account, each with its column of the table `accounts`.
pub(super) const ACCOUNT_FIELDS: &[(&str, &str)] =
    &[("Name", "name"), ("Website", "website"), ("Phone", "phone"), ("Editor_Id__c", "editor_id")];
