//! What becomes of fields that travel one way when their record is deleted on one side, edited on the other, and created
//! anew by that: the new one holds nothing there, and that is nobody's edit.

use jiff::SignedDuration;
use std::collections::BTreeMap;
use support::{MemoryPorts, contact_definition, field};
use syncline_engine::{Definition, DeletePolicy, Deletes, Direction, FieldMapping, Side};
use syncline_sync::{Queue, Source, Touch, consume, enqueue, poll};

fn definition(primary: Side, direction: Direction) -> Definition {
    let mut definition = contact_definition(primary);
    let policy = DeletePolicy::Propagate;
    definition.deletes = Deletes { from_salesforce: policy, from_postgres: policy };
    definition.fields.push(FieldMapping { direction, ..field("Level__c", "level") });
    definition
}

/// Everything that is known is carried across, and each record is looked at once more.
async fn to_rest(ports: &MemoryPorts, definition: &Definition) {
    for _ in 0..40 {
        ports.clock.advance(SignedDuration::from_secs(61));
        let now = syncline_sync::Clock::now(&ports.clock);
        let touches = ports.salesforce.records().into_keys();
        let touches = touches.map(|id| Touch::of_id("contacts", id, Source::CatchUp, now));
        enqueue::enqueue(ports, touches.collect()).await.unwrap();
        poll::capture_log(ports, std::slice::from_ref(definition)).await.unwrap();
        poll::due(ports).await.unwrap();
        loop {
            let deliveries = ports.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                break;
            }
            let applied = consume::consume(ports, std::slice::from_ref(definition), &deliveries, None).await;
            ports.queue.done(&applied.done).await.unwrap();
        }
    }
}

fn levels(ports: &MemoryPorts) -> [Option<String>; 2] {
    let level = |values: &BTreeMap<String, Option<String>>| values.get("Level__c").cloned().flatten();
    let record = ports.salesforce.records().into_values().find(|record| !record.deleted).unwrap();
    let row = ports.database.rows().into_values().next().unwrap();
    [level(&record.values), level(&row.values)]
}

#[tokio::test]
async fn a_row_created_anew_does_not_empty_a_field_that_travels_to_salesforce_only() {
    let ports = MemoryPorts::new(1, true);
    let definition = definition(Side::Salesforce, Direction::ToSalesforce);
    let values = BTreeMap::from([("LastName", "n1"), ("Level__c", "high")]);
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let key = ports.database.insert("contacts", values.collect());
    to_rest(&ports, &definition).await;
    let id = ports.salesforce.records().into_keys().next().unwrap();
    ports.database.delete("contacts", &key);
    ports.salesforce.edit(&id, "FirstName", Some("edited"));
    to_rest(&ports, &definition).await;
    assert_eq!(ports.database.rows().len(), 1, "the edit won over the delete");
    assert_eq!(levels(&ports)[0].as_deref(), Some("high"), "nobody emptied it");
}

#[tokio::test]
async fn a_record_created_anew_empties_no_field_that_only_it_fills() {
    let ports = MemoryPorts::new(1, true);
    let definition = definition(Side::Postgres, Direction::ToPostgres);
    let values = BTreeMap::from([("LastName", "n1"), ("Level__c", "high")]);
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let id = ports.salesforce.insert(values.collect());
    to_rest(&ports, &definition).await;
    let key = ports.database.rows().into_keys().next().unwrap();
    ports.salesforce.delete(&id);
    ports.database.edit("contacts", &key, "FirstName", Some("edited"));
    to_rest(&ports, &definition).await;
    assert_eq!(ports.salesforce.records().values().filter(|record| !record.deleted).count(), 1);
    assert_eq!(levels(&ports)[1].as_deref(), Some("high"), "nobody emptied it");
}
