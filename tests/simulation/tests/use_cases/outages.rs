//! A day without one side, spent quotas, poisoned touches and a store that was restored: in memory, by a clock that
//! only these tests move.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{MemoryPorts, contact_definition};
use syncline_engine::{Definition, Side};
use syncline_sync::{Clock, MessageBody, PortError, Queue, State, consume, poll, watch};

const DAY_S: i64 = 86_400;

struct World {
    ports: MemoryPorts,
    definitions: [Definition; 1],
    receives: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let definition = contact_definition(Side::Salesforce);
        Self { ports: MemoryPorts::new(seed, true), definitions: [definition], receives: 0 }
    }

    fn insert(&self, name: &str) {
        let values = BTreeMap::from([("LastName".to_owned(), Some(name.to_owned()))]);
        self.ports.database.insert("contacts", values);
    }

    /// One look at everything, and all messages.
    async fn turn(&mut self) {
        let _ = watch(&self.ports, &self.definitions).await;
        let _ = poll::capture_log(&self.ports, &self.definitions).await;
        let _ = poll::due(&self.ports).await;
        let _ = poll::scan(&self.ports, &self.definitions[0]).await;
        for _ in 0..20 {
            let deliveries = self.ports.queue.receive(10).await.unwrap();
            if deliveries.is_empty() {
                break;
            }
            self.receives =
                self.receives.max(deliveries.iter().map(|one| one.receive_count).max().unwrap_or(0));
            let applied = consume::consume(&self.ports, &self.definitions, &deliveries, None);
            // An invocation that hangs is ended, and answers nothing.
            let Ok(applied) = tokio::time::timeout(Duration::from_millis(100), applied).await else {
                continue;
            };
            self.ports.queue.done(&applied.done).await.unwrap();
            self.ports.queue.release(&applied.release).await.unwrap();
        }
    }

    /// Turns every `step` for so long.
    async fn for_long(&mut self, seconds: i64, step: i64) {
        for _ in 0..seconds / step {
            self.ports.clock.advance(SignedDuration::from_secs(step));
            self.turn().await;
        }
    }

    fn equal(&self) -> bool {
        let names = |values: &BTreeMap<String, Option<String>>| values["LastName"].clone();
        let mut records: Vec<_> =
            self.ports.salesforce.records().values().map(|record| names(&record.values)).collect();
        let mut rows: Vec<_> = self.ports.database.rows().values().map(|row| names(&row.values)).collect();
        records.sort();
        rows.sort();
        records == rows
    }
}

fn away() -> PortError {
    PortError::Outage { side: Side::Salesforce, message: "SERVER_UNAVAILABLE".to_owned() }
}

#[tokio::test]
async fn after_a_day_without_salesforce_both_sides_are_equal_within_two_minutes() {
    let mut world = World::new(1);
    world.for_long(60, 1).await;
    world.insert("before");
    world.for_long(60, 1).await;
    world.ports.salesforce.set_down(Some(away()));
    let calls = world.ports.salesforce.calls();
    for hour in 0..24 {
        for n in 0..20 {
            world.insert(&format!("h{hour} {n}"));
        }
        world.for_long(3_600, 20).await;
    }
    let probes = world.ports.salesforce.calls() - calls;
    println!("{probes} calls in a day without an answer");
    assert!(probes < 3_000, "{probes} calls: less than two a minute");
    assert_eq!(world.receives, 1, "no message was failed for an outage");
    assert!(world.ports.state.deferred() <= 500, "touches are folded, one per record");
    world.ports.salesforce.set_down(None);
    let back = world.ports.clock.now();
    while !world.equal() {
        world.for_long(1, 1).await;
        assert!(world.ports.clock.now().duration_since(back).as_secs() < 120, "it takes too long");
    }
    println!("equal {} s after it was back", world.ports.clock.now().duration_since(back).as_secs());
    assert_eq!(world.ports.salesforce.writes().0, 481, "each record was created once");
    assert!(world.ports.state.conflicts().is_empty() && world.ports.state.all_rejected().is_empty());
}

#[tokio::test]
async fn postgres_away_for_a_day_costs_nothing_but_the_day() {
    let mut world = World::new(2);
    world.for_long(60, 1).await;
    world.ports.database.set_down(true);
    for hour in 0..24 {
        for n in 0..20 {
            let values = BTreeMap::from([("LastName".to_owned(), Some(format!("h{hour} {n}")))]);
            world.ports.salesforce.insert(values);
        }
        world.for_long(3_600, 20).await;
    }
    assert_eq!(world.receives, 1);
    assert_eq!(world.ports.database.rows().len(), 0);
    world.ports.database.set_down(false);
    world.for_long(180, 1).await;
    assert!(world.equal());
    assert_eq!(world.ports.salesforce.writes(), (0, 0), "nothing was written to Salesforce for that");
}

#[tokio::test]
async fn a_spent_quota_is_asked_for_seldom_and_everything_goes_on_when_it_is_filled() {
    let mut world = World::new(3);
    world.for_long(60, 1).await;
    world
        .ports
        .salesforce
        .set_down(Some(PortError::QuotaSpent { message: "TotalRequests Limit exceeded.".to_owned() }));
    world.insert("meanwhile");
    let calls = world.ports.salesforce.calls();
    world.for_long(DAY_S / 2, 30).await;
    let asked = world.ports.salesforce.calls() - calls;
    println!("{asked} calls in twelve hours of a spent quota");
    assert!(asked < 70, "{asked} calls");
    assert!(world.ports.state.breaker(Side::Salesforce).await.unwrap().message.contains("limit"));
    world.ports.salesforce.set_down(None);
    world.for_long(1_200, 10).await;
    assert!(world.equal());
}

#[tokio::test]
async fn a_touch_whose_run_panics_stands_alone_and_the_others_go_through() {
    let mut world = World::new(4);
    world.for_long(60, 1).await;
    for n in 0..5 {
        world.insert(&format!("c{n}"));
    }
    let poisoned = world.ports.database.rows().into_keys().nth(2).unwrap();
    world.ports.database.poison(Some(poisoned));
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    world.for_long(60, 2).await;
    std::panic::set_hook(quiet);
    assert_eq!(world.ports.salesforce.records().len(), 4, "four of five");
    assert_eq!(world.ports.queue.len(), 1, "the one message is its own");
    assert!(world.receives >= 5, "a queue would give it up by now");
    world.ports.database.poison(None);
    world.for_long(60, 2).await;
    assert!(world.equal());
}

#[tokio::test]
async fn a_touch_whose_run_hangs_stands_alone_and_takes_no_other_message_with_it() {
    let mut world = World::new(6);
    world.for_long(60, 1).await;
    for n in 0..5 {
        world.insert(&format!("c{n}"));
    }
    let hung = world.ports.database.rows().into_keys().nth(2).unwrap();
    world.ports.database.hang(Some(hung.clone()));
    world.ports.queue.give_up_after(5);
    world.for_long(600, 15).await;
    assert_eq!(world.ports.salesforce.records().len(), 4, "four of five");
    let dead = world.ports.queue.dead_letters();
    assert!(!dead.is_empty(), "the queue has given it up by now");
    for letter in dead {
        let touches = serde_json::from_str::<MessageBody>(&letter).unwrap().touches;
        assert_eq!(touches.iter().map(|touch| touch.key.clone()).collect::<Vec<_>>(), [Some(hung.clone())]);
    }
    world.ports.database.hang(None);
    world.insert("afterwards");
    world.for_long(120, 2).await;
    assert_eq!(world.ports.salesforce.records().len(), 5, "nothing waits behind it");
}

#[tokio::test]
async fn touches_whose_run_could_outlast_the_deadline_are_deferred_before_it_begins() {
    let mut world = World::new(7);
    world.for_long(60, 1).await;
    for n in 0..3 {
        world.insert(&format!("c{n}"));
    }
    poll::capture_log(&world.ports, &world.definitions).await.unwrap();
    let deliveries = world.ports.queue.receive(10).await.unwrap();
    let deadline = Some(world.ports.clock.now() + SignedDuration::from_secs(1));
    let applied = consume::consume(&world.ports, &world.definitions, &deliveries, deadline).await;
    assert_eq!((applied.done.len(), applied.summary.deferred), (deliveries.len(), 3));
    assert_eq!((world.ports.state.deferred(), world.ports.salesforce.records().len()), (3, 0));
    world.for_long(60, 1).await;
    assert!(world.equal() && world.ports.state.deferred() == 0);
}

#[tokio::test]
async fn a_store_or_a_database_restored_alone_pauses_everything_before_a_write() {
    for restore_database in [true, false] {
        let mut world = World::new(5);
        world.for_long(60, 1).await;
        world.insert("one");
        world.for_long(60, 1).await;
        let (database, state) = (world.ports.database.backup(), world.ports.state.backup());
        let id = world.ports.salesforce.records().into_keys().next().unwrap();
        world.ports.salesforce.edit(&id, "FirstName", Some("later"));
        world.for_long(120, 1).await;
        if restore_database {
            world.ports.database.restore(&database);
        } else {
            world.ports.state.restore(&state);
        }
        let (records, rows) = (world.ports.salesforce.records(), world.ports.database.rows());
        world.for_long(120, 1).await;
        let reason = world.ports.state.paused("contacts").await.unwrap().unwrap().message;
        assert!(reason.contains("restored to an earlier time"), "{reason}");
        assert_eq!(world.ports.salesforce.records(), records, "nothing was written there");
        assert_eq!(world.ports.database.rows(), rows, "nor here");
        assert_eq!(world.ports.alerts.raised().len(), 1, "said once");
    }
}

#[tokio::test]
async fn a_cursor_older_than_the_recycle_bin_looks_at_everything_again() {
    let mut world = World::new(6);
    world.for_long(60, 1).await;
    let cursor = world.ports.state.cursor("contacts").await.unwrap();
    assert!(cursor.salesforce_scanned && cursor.postgres_scanned);
    world.ports.clock.advance(SignedDuration::from_hours(15 * 24));
    poll::scan(&world.ports, &world.definitions[0]).await.unwrap();
    let cursor = world.ports.state.cursor("contacts").await.unwrap();
    assert!(!cursor.salesforce_scanned, "{cursor:?}");
    world.for_long(10, 1).await;
    assert!(world.ports.state.cursor("contacts").await.unwrap().postgres_scanned);
}

#[tokio::test]
async fn an_empty_bucket_gathers_touches_and_keeps_to_the_budget() {
    let mut world = World::new(7);
    world.ports.set_daily_calls(Some(2_000));
    world.for_long(60, 1).await;
    world.insert("one");
    world.for_long(10, 1).await;
    let key = world.ports.database.rows().into_keys().next().unwrap();
    let began = world.ports.clock.now();
    let before = world.ports.salesforce.calls();
    // Somebody saves the same row twice a second, half a day long.
    for n in 0..DAY_S / 20 {
        world.ports.database.edit("contacts", &key, "FirstName", Some(&format!("v{n}")));
        world.ports.clock.advance(SignedDuration::from_secs(10));
        world.turn().await;
    }
    let days = world.ports.clock.now().duration_since(began).as_secs_f64() / 86_400.0;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let calls = (world.ports.salesforce.calls() - before) as f64;
    println!("{calls} calls in {days} days");
    assert!(calls < 2_000.0 * days + 260.0, "{calls} calls in {days} days");
    world.for_long(3_600, 30).await;
    let record = world.ports.salesforce.records().into_values().next().unwrap();
    assert_eq!(record.values["FirstName"], Some(format!("v{}", DAY_S / 20 - 1)), "the last value arrived");
    assert_ne!(Timestamp::UNIX_EPOCH, began);
}
