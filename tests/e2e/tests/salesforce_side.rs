//! `infra/salesforce` is well-formed, its parts fit each other, and it has what Syncline asks for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::local_aws::root;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    root().join("infra/salesforce")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The elements of a document that contain text: for each, the path of the element names, and the text.
fn leaves(path: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder().join("force-app/main/default").join(path)).unwrap();
    let mut reader = Reader::from_str(&text);
    let (mut names, mut leaves, mut content) = (Vec::<String>::new(), Vec::new(), String::new());
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{path}: {error}")) {
            Event::Start(start) => {
                names.push(String::from_utf8_lossy(start.local_name().as_ref().as_bytes()).into_owned());
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::End(_) => {
                if !content.trim().is_empty() {
                    leaves.push((names.join("/"), content.trim().to_owned()));
                }
                names.pop();
                content.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(names.is_empty() && !leaves.is_empty(), "{path}");
    leaves
}

fn one(leaves: &[(String, String)], path: &str) -> String {
    let found: Vec<&String> = leaves.iter().filter(|(name, _)| name == path).map(|(_, text)| text).collect();
    assert_eq!(found.len(), 1, "{path}: {found:?}");
    found[0].clone()
}

fn all(leaves: &[(String, String)], path: &str) -> Vec<String> {
    leaves.iter().filter(|(name, _)| name == path).map(|(_, text)| text.clone()).collect()
}

const FIELDS: &str = "objects/Contact/fields";
const SET: &str = "permissionsets/Syncline_Integration.permissionset-meta.xml";
const MESSAGE: &str = "workflows/Contact.workflow-meta.xml";
const FLOW: &str = "flows/Syncline_Contact.flow-meta.xml";

#[test]
fn every_file_is_well_formed_and_in_salesforces_namespace() {
    let base = folder().join("force-app/main/default");
    let found = files(&base);
    assert!(found.len() >= 11, "{found:?}");
    for path in found {
        let name = path.strip_prefix(&base).unwrap().display().to_string();
        leaves(&name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("xmlns=\"http://soap.sforce.com/2006/04/metadata\""), "{name}");
        assert!(!text.contains("consumerKey") && !text.contains("consumerSecret"), "{name} holds a secret");
    }
}

#[test]
fn the_fields_are_those_that_syncline_asks_for() {
    let id = leaves(&format!("{FIELDS}/Syncline_Id__c.field-meta.xml"));
    for (name, value) in [
        ("fullName", "Syncline_Id__c"),
        ("type", "Text"),
        ("length", "255"),
        ("externalId", "true"),
        ("unique", "true"),
        ("caseSensitive", "true"),
        ("required", "false"),
    ] {
        assert_eq!(one(&id, &format!("CustomField/{name}")), value, "{name}");
    }
    let marker = leaves(&format!("{FIELDS}/Syncline_Write__c.field-meta.xml"));
    // The marker holds the id of an intent, which has 32 hexadecimal digits.
    assert!(one(&marker, "CustomField/length").parse::<u32>().unwrap() >= 32);
    for (leaves, key) in [(&id, "salesforce.external_id"), (&marker, "salesforce.marker")] {
        let name = one(leaves, "CustomField/fullName");
        let key = syncline_config::KEYS.iter().find(|known| known.name == key).unwrap();
        assert_eq!(key.default, format!("`{name}`"), "the default of {}", key.name);
    }
}

#[test]
fn the_integration_user_may_do_what_is_needed_and_does_not_call_itself() {
    let set = leaves(SET);
    let fields = all(&set, "PermissionSet/fieldPermissions/field");
    for field in ["Contact.Syncline_Id__c", "Contact.Syncline_Write__c"] {
        assert!(fields.contains(&field.to_owned()), "{field}");
    }
    let mut sorted = fields.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted, fields, "Salesforce keeps them in order, each once");
    for refused in ["Contact.LastName", "Contact.FirstName", "Contact.Name", "Contact.OwnerId"] {
        assert!(!fields.contains(&refused.to_owned()), "Salesforce refuses permissions on {refused}");
    }
    let may = all(&set, "PermissionSet/userPermissions/name");
    assert_eq!(may, ["ApiEnabled"], "EnableNotifications, Send Outbound Messages, must not be among them");
    assert!(all(&set, "PermissionSet/objectPermissions/object").contains(&"Contact".to_owned()));
}

#[test]
fn the_flow_sends_the_message_that_there_is_to_where_ingest_listens() {
    let (message, flow) = (leaves(MESSAGE), leaves(FLOW));
    let name = one(&message, "Workflow/outboundMessages/fullName");
    assert_eq!(one(&flow, "Flow/actionCalls/actionName"), format!("Contact.{name}"));
    assert_eq!(one(&flow, "Flow/actionCalls/actionType"), "outboundMessage");
    let action = one(&flow, "Flow/actionCalls/name");
    assert_eq!(one(&flow, "Flow/start/connector/targetReference"), action);
    assert_eq!(one(&flow, "Flow/start/object"), "Contact");
    assert_eq!(one(&flow, "Flow/start/recordTriggerType"), "CreateAndUpdate");
    assert_eq!(one(&flow, "Flow/start/triggerType"), "RecordAfterSave");
    let permission = all(&leaves(SET), "PermissionSet/customPermissions/name");
    assert_eq!(one(&flow, "Flow/start/filterFormula"), format!("NOT({{!$Permission.{}}})", permission[0]));
    assert!(
        folder()
            .join(format!(
                "force-app/main/default/customPermissions/{}.customPermission-meta.xml",
                permission[0]
            ))
            .exists()
    );
    // The parser reads the record's Id, and the stamp if it is sent. No other value leaves the org.
    assert_eq!(all(&message, "Workflow/outboundMessages/fields"), ["Id", "SystemModstamp"]);
    assert_eq!(one(&message, "Workflow/outboundMessages/includeSessionId"), "false");
}

#[test]
fn what_differs_from_org_to_org_is_put_in_by_the_environment() {
    let text = std::fs::read_to_string(folder().join("sfdx-project.json")).unwrap();
    let project: serde_json::Value = serde_json::from_str(&text).unwrap();
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let replacements = project["replacements"].as_array().unwrap();
    for replacement in replacements {
        let path = folder().join(replacement["filename"].as_str().unwrap());
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(replacement["stringToReplace"].as_str().unwrap()), "{replacement}");
        let variable = replacement["replaceWithEnv"].as_str().unwrap();
        assert!(readme.contains(&format!("export {variable}=")), "the README does not say {variable}");
    }
    for path in files(&folder().join("force-app")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let bare = path.strip_prefix(folder()).unwrap().display().to_string();
        for placeholder in text.split("__SYNCLINE_").skip(1).map(|rest| rest.split("__").next().unwrap()) {
            let known = replacements.iter().any(|one| {
                one["filename"] == bare.as_str()
                    && one["stringToReplace"] == format!("__SYNCLINE_{placeholder}__")
            });
            assert!(known, "nothing replaces {placeholder} in {bare}");
        }
    }
}

#[test]
fn every_part_of_the_external_client_app_names_the_same_app() {
    let app = "Syncline";
    for part in [
        "extlClntAppGlobalOauthSets/Syncline_glbloauth.ecaGlblOauth-meta.xml",
        "extlClntAppOauthSettings/Syncline_oauth.ecaOauth-meta.xml",
        "extlClntAppOauthPolicies/Syncline_oauthPlcy.ecaOauthPlcy-meta.xml",
        "extlClntAppPolicies/Syncline_plcy.ecaPlcy-meta.xml",
    ] {
        let found = leaves(part);
        let (root, _) = found[0].0.split_once('/').unwrap();
        assert_eq!(one(&found, &format!("{root}/externalClientApplication")), app, "{part}");
    }
    let policies = leaves("extlClntAppOauthPolicies/Syncline_oauthPlcy.ecaOauthPlcy-meta.xml");
    let of = |name: &str| one(&policies, &format!("ExtlClntAppOauthConfigurablePolicies/{name}"));
    assert_eq!(of("commaSeparatedPermissionSet"), "Syncline_Integration");
    assert_eq!(of("isClientCredentialsFlowEnabled"), "true");
}
