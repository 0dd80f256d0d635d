//! The two sides of a run: their objects and tables, and what these do by themselves.

use crate::options::{Dice, Features, Options};
use org::{Automation, Org, Relation, ValidationRule};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{
    ForeignKey, MemoryPorts, OnDelete, RowRefusal, TableRules, Values, contact_definition, field, key_text,
};
use syncline_engine::{
    Definition, DeleteLimit, DeletePolicy, Deletes, Direction, FieldMapping, Lookup, Side,
};

/// The sync of contacts.
pub const CONTACTS: &str = "contacts";
/// The sync of accounts.
pub const ACCOUNTS: &str = "accounts";
/// The lookup of a contact.
pub const PARENT: &str = "AccountId";
/// The field that is dropped from the definition and mapped again.
pub const OPTIONAL: &str = "Department";

/// How the names of records begin that stood before there was a sync.
pub const ADOPTED: &str = "old";

/// What a record of a sync is called.
#[must_use]
pub fn name_field(sync: &str) -> &'static str {
    if sync == ACCOUNTS { "Name" } else { "LastName" }
}

/// The fields that people edit.
#[must_use]
pub fn edited_fields(sync: &str) -> &'static [&'static str] {
    if sync == ACCOUNTS { &["Industry"] } else { &["FirstName", "Title", "Phone", "Email", OPTIONAL] }
}

/// The definitions of a seed: every policy and primary comes up.
#[must_use]
pub fn definitions(seed: u64, features: &Features) -> Vec<Definition> {
    let primary = if seed.is_multiple_of(2) { Side::Salesforce } else { Side::Postgres };
    let policy = match seed / 2 % 4 {
        0 => DeletePolicy::Keep,
        1 => DeletePolicy::Review,
        _ => DeletePolicy::Propagate,
    };
    let common = |definition: Definition| Definition {
        deletes: Deletes { from_salesforce: policy, from_postgres: policy },
        delete_limit: DeleteLimit { percent: 100, count: features.delete_limit.unwrap_or(1000) },
        mergeable: true,
        // One in four catches up often.
        poll_interval_s: if seed / 16 % 4 == 3 { 10 } else { definition.poll_interval_s },
        ..definition
    };
    let mut contacts = common(contact_definition(primary));
    for (name, column) in
        [("Title", "title"), ("Phone", "phone"), ("Email", "email"), ("Department", "department")]
    {
        contacts.fields.push(field(name, column));
    }
    if features.flow {
        contacts.fields.push(field("Description", "description"));
    }
    if !features.accounts {
        return vec![contacts];
    }
    contacts.fields.push(FieldMapping {
        lookup: Some(Lookup { sync: ACCOUNTS.to_owned() }),
        salesforce_required: features.parent_required,
        ..field(PARENT, "account_id")
    });
    if features.formula {
        contacts.fields.push(FieldMapping {
            direction: Direction::ToPostgres,
            salesforce_updateable: false,
            derived: true,
            ..field("AccountName__c", "account_name")
        });
    }
    let mut accounts = common(contact_definition(primary));
    accounts.name = ACCOUNTS.to_owned();
    accounts.object = "Account".to_owned();
    accounts.table = ACCOUNTS.to_owned();
    accounts.fields = vec![field("Name", "name"), field("Industry", "industry"), field("Site", "site")];
    vec![accounts, contacts]
}

/// The object of a sync.
#[must_use]
pub fn object(sync: &str) -> &'static str {
    if sync == ACCOUNTS { "Account" } else { "Contact" }
}

fn text<'v>(values: &'v Values, field: &str) -> Option<&'v str> {
    values.get(field)?.as_deref()
}

/// Salesforce refuses first names that begin so.
pub const REFUSED_BY_RULE: &str = "!";
/// Salesforce refuses first names that begin so.
pub const REFUSED_BY_PICKLIST: &str = "#";
/// Postgres refuses titles that begin so.
pub const REFUSED_BY_CHECK: &str = "?";

/// Sets what the org of a world does by itself. The simulation and the tests on real parts set the same.
pub fn set_rules(org: &mut Org, features: &Features) {
    let contacts = || Relation { object: "Contact", field: PARENT };
    let flow = |when: &str, set: &str, to: &str| Automation {
        object: "Contact".to_owned(),
        when: when.to_owned(),
        set: set.to_owned(),
        to: to.to_owned(),
    };
    let rule = |begins: &str, message: &str, code: &str| ValidationRule {
        object: "Contact".to_owned(),
        field: "FirstName".to_owned(),
        begins: begins.to_owned(),
        message: message.to_owned(),
        code: code.to_owned(),
    };
    if features.validation {
        let (words, code) = ("First names begin with a letter", ValidationRule::CODE);
        org.rules.push(rule(REFUSED_BY_RULE, words, code));
        let (words, code) =
            ("bad value for restricted picklist field", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST");
        org.rules.push(rule(REFUSED_BY_PICKLIST, words, code));
    }
    if features.normaliser {
        org.automations.push(flow("Phone", "Phone", "{upper}"));
    }
    if features.flow {
        org.automations.push(flow("Title", "Description", "of {}"));
    }
    org.rollups.extend(features.rollup.then(contacts));
    org.cascades.extend(features.org_cascade.then(contacts));
}

fn table_rules(features: Features) -> TableRules {
    let before = move |sync: &str, _: Option<&Values>, values: &mut Values| {
        if sync != CONTACTS || !features.before_trigger {
            return Ok(());
        }
        if text(values, "Title").is_some_and(|title| title.starts_with(REFUSED_BY_CHECK)) {
            return Err(RowRefusal {
                code: "23514".to_owned(),
                message: "new row violates check constraint \"title_begins_with_a_letter\"".to_owned(),
                column: Some("title".to_owned()),
            });
        }
        let lower = text(values, "Email").map(str::to_lowercase);
        values.insert("Email".to_owned(), lower);
        Ok(())
    };
    let after = move |sync: &str, before: Option<&Values>, values: &Values| {
        let first = text(values, "FirstName");
        if sync != CONTACTS || first == before.and_then(|before| text(before, "FirstName")) {
            return vec![];
        }
        let Some(account) = text(values, PARENT) else { return vec![] };
        vec![(
            ACCOUNTS.to_owned(),
            account.to_owned(),
            "Site".to_owned(),
            first.map(|first| format!("of {first}")),
        )]
    };
    TableRules {
        before: Some(Arc::new(before)),
        after: features.after_trigger.then_some(Arc::new(after)),
        foreign_key: features.foreign_key.map(|cascades| ForeignKey {
            child: CONTACTS.to_owned(),
            field: PARENT.to_owned(),
            parent: ACCOUNTS.to_owned(),
            on_delete: if cascades { OnDelete::Cascade } else { OnDelete::SetNull },
        }),
    }
}

/// Both sides of a seed, before the first step.
#[must_use]
pub fn ports(seed: u64, options: &Options) -> MemoryPorts {
    let mut ports = MemoryPorts::new(seed, false);
    ports.salesforce.set_up(|org| {
        set_rules(org, &options.features);
        org.set_skew(jiff::SignedDuration::from_secs(options.features.skew_s));
    });
    ports.salesforce.page = options.features.page;
    ports.database.rules = table_rules(options.features);
    if options.features.adopted {
        adopt(&ports, &mut Dice::new(seed ^ 0xad09));
    }
    ports
}

/// Rows and records that stood on both sides and were linked before there was a sync: equal, empty on one side, or two
/// different values.
fn adopt(ports: &MemoryPorts, dice: &mut Dice) {
    for number in 0..1 + dice.below(2) {
        let mut sides = [Values::new(), Values::new()];
        for (place, field) in ["FirstName", "Title"].into_iter().enumerate() {
            let value = format!("a{number}{place}");
            let values = match dice.below(4) {
                0 => [Some(value.clone()), Some(value)],
                1 => [Some(value), None],
                2 => [None, Some(value)],
                _ => [Some(format!("{value}s")), Some(format!("{value}p"))],
            };
            for (side, value) in sides.iter_mut().zip(values) {
                side.insert(field.to_owned(), value);
            }
        }
        let [mut here, mut there] = sides;
        let name = Some(format!("{ADOPTED}{number}"));
        here.insert("LastName".to_owned(), name.clone());
        there.insert("LastName".to_owned(), name);
        let Ok(id) = ports.salesforce.insert_into("Contact", here) else { continue };
        let key = ports.database.free_key();
        let _ = ports.database.insert_as(CONTACTS, &key, Some(id.to_string()), there);
    }
}

/// Contacts by account on either side, for the checks: the lookup's value as the other side would name it.
#[must_use]
pub fn parent_key_of(ports: &MemoryPorts, id: Option<&str>) -> Option<String> {
    let id = id?;
    let rows: BTreeMap<_, _> = ports.database.rows();
    let row = rows.iter().find(|(_, row)| row.sync == ACCOUNTS && row.link.as_deref() == Some(id));
    row.map(|(key, _)| key_text(key))
}
