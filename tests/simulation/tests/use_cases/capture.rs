//! Capture that is not whole: it is noted, repaired, and every record is compared.

use super::values;
use jiff::SignedDuration;
use support::{MemoryPorts, contact_definition};
use syncline_engine::{Definition, Side};
use syncline_sync::{Cursor, Ports as _, Queue as _, State as _, consume, poll};

struct Scene {
    ports: MemoryPorts,
    definition: Definition,
}

impl Scene {
    /// A row that is linked, with scans that are complete.
    async fn new() -> Self {
        let scene =
            Self { ports: MemoryPorts::new(1, true), definition: contact_definition(Side::Salesforce) };
        scene.ports.database.insert("contacts", values("one"));
        scene.poll().await;
        assert_eq!(scene.names(), ["one"]);
        scene
    }

    /// A poll, as it is done once a minute, and everything that follows from it.
    async fn poll(&self) {
        let definitions = std::slice::from_ref(&self.definition);
        self.ports.clock.advance(SignedDuration::from_secs(60));
        poll::check_capture(&self.ports, definitions).await.unwrap();
        poll::capture_log(&self.ports, definitions).await.unwrap();
        while poll::scan(&self.ports, &self.definition).await.unwrap().1 {}
        loop {
            let deliveries = self.ports.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                return;
            }
            let outcome = consume::consume(&self.ports, definitions, &deliveries, None).await;
            self.ports.queue.done(&outcome.done).await.unwrap();
        }
    }

    async fn cursor(&self) -> Cursor {
        self.ports.state.cursor("contacts").await.unwrap()
    }

    fn edit(&self, name: &str) {
        let key = self.ports.database.rows().into_keys().next().unwrap();
        assert!(self.ports.database.edit("contacts", &key, "LastName", Some(name)));
    }

    /// The last names of all records.
    fn names(&self) -> Vec<String> {
        let records = self.ports.salesforce.records();
        records.values().map(|record| record.values["LastName"].clone().unwrap()).collect()
    }

    fn alerts(&self) -> Vec<String> {
        self.ports.alerts.raised().into_iter().map(|alert| alert.message).collect()
    }
}

#[tokio::test]
async fn what_was_edited_while_capture_was_gone_arrives_once_it_is_repaired() {
    let scene = Scene::new().await;
    scene.ports.database.drop_capture("contacts");
    scene.edit("two");
    scene.poll().await;
    assert_eq!(scene.names(), ["two"]);
    assert_eq!(scene.cursor().await.capture_gap, None);
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(
        alerts[0]
            .contains("the table of sync contacts, was not whole (the triggers are gone). It is repaired")
    );
    scene.edit("three");
    scene.poll().await;
    assert_eq!(scene.names(), ["three"]);
}

#[tokio::test]
async fn what_cannot_be_repaired_is_said_once_and_every_record_is_compared_when_it_is_whole() {
    let scene = Scene::new().await;
    scene.ports.database.refuse_triggers(true);
    scene.ports.database.drop_capture("contacts");
    // Catch-up finds no row that is not linked.
    scene.ports.database.insert("contacts", values("two"));
    for _ in 0..3 {
        scene.poll().await;
    }
    assert_eq!(scene.names(), ["one"]);
    let gap = scene.cursor().await.capture_gap.unwrap();
    assert!(gap.contains("it cannot be repaired: "), "{gap}");
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(alerts[0].contains("must be owner of the table") && alerts[0].contains("`syncline apply`"));
    scene.ports.database.refuse_triggers(false);
    scene.poll().await;
    assert_eq!(scene.names(), ["one", "two"]);
    assert_eq!(scene.cursor().await.capture_gap, None);
}

#[tokio::test]
async fn a_gap_that_another_process_repaired_or_that_was_left_half_repaired_is_still_looked_at() {
    let scene = Scene::new().await;
    scene.ports.database.drop_capture("contacts");
    scene.edit("two");
    // `syncline apply` noted the gap, repaired capture, and ended before it noted that.
    poll::note_gap(scene.ports.state(), &"contacts".to_owned(), "the triggers are gone").await.unwrap();
    syncline_sync::Database::repair_capture(&scene.ports.database, &scene.definition).await.unwrap();
    scene.poll().await;
    assert_eq!(scene.names(), ["two"]);
    assert_eq!(scene.cursor().await.capture_gap, None);
}

#[tokio::test]
async fn capture_is_looked_at_once_a_minute() {
    let scene = Scene::new().await;
    let definitions = std::slice::from_ref(&scene.definition);
    poll::check_capture(&scene.ports, definitions).await.unwrap();
    scene.ports.database.drop_capture("contacts");
    scene.ports.clock.advance(SignedDuration::from_secs(50));
    poll::check_capture(&scene.ports, definitions).await.unwrap();
    assert!(scene.alerts().is_empty());
    scene.ports.clock.advance(SignedDuration::from_secs(10));
    poll::check_capture(&scene.ports, definitions).await.unwrap();
    assert_eq!(scene.alerts().len(), 1);
}
