//! What becomes of each message: fresh ones together, those that came again one by one and in turning order, those
//! of a newer form and those that the budget or the time leaves no room for deferred.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use support::{MemoryPorts, contact_definition};
use syncline_engine::{Definition, PostgresKey, Side};
use syncline_sync::{
    Breaker, Clock, Delivery, MessageBody, Ports, Queue, Salesforce, Source, State, Touch, consume,
};

struct World {
    ports: MemoryPorts,
    definitions: [Definition; 1],
}

impl World {
    fn new() -> Self {
        Self { ports: MemoryPorts::new(1, true), definitions: [contact_definition(Side::Salesforce)] }
    }

    fn row(&self, name: &str) -> PostgresKey {
        self.ports
            .database
            .insert("contacts", BTreeMap::from([("LastName".to_owned(), Some(name.to_owned()))]))
    }

    /// A touch of a new row.
    fn touch(&self, name: &str) -> Touch {
        Touch::of_key("contacts", self.row(name), Source::CaptureLog, self.ports.clock.now())
    }

    async fn apply(&self, deliveries: &[Delivery]) -> consume::BatchOutcome {
        consume::consume(&self.ports, &self.definitions, deliveries, None).await
    }

    /// The names in Salesforce, in the order of their creation.
    fn created(&self) -> Vec<String> {
        let records = self.ports.salesforce.records();
        records.values().filter_map(|record| record.values["LastName"].clone()).collect()
    }
}

fn delivery(receipt: &str, receive_count: u32, touches: Vec<Touch>) -> Delivery {
    let body = serde_json::to_string(&MessageBody::new(touches)).unwrap();
    Delivery { receipt: receipt.to_owned(), group: "contacts.0".to_owned(), receive_count, body }
}

#[tokio::test]
async fn messages_received_again_run_before_fresh_ones_and_reverse_their_order_with_each_receive() {
    for (receives, order) in [([2, 2], ["one", "two", "fresh"]), ([2, 3], ["two", "one", "fresh"])] {
        let world = World::new();
        let touches = ["one", "two", "fresh"].map(|name| world.touch(name));
        let [one, two, fresh] = touches.clone().map(|touch| vec![touch]);
        let deliveries =
            [delivery("c", 1, fresh), delivery("b", receives[1], two), delivery("a", receives[0], one)];
        let applied = world.apply(&deliveries).await;
        assert_eq!(world.created(), order);
        assert_eq!(applied.done.len(), 3);
        assert_eq!(applied.summary.records_created, 3, "the counts of all runs are added up");
        assert_eq!(applied.oldest, touches.iter().map(|touch| touch.at).min());
        assert!(world.ports.queue.is_empty(), "none was sent again");
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

#[tokio::test]
async fn a_message_that_came_again_runs_alone_and_whole() {
    for receive_count in [1, 2] {
        let world = World::new();
        let touches = names(3).iter().map(|name| world.touch(name)).collect();
        let applied = world.apply(&[delivery("a", receive_count, touches)]).await;
        assert_eq!((applied.done, world.created().len()), (vec!["a".to_owned()], 3));
        assert!(world.ports.queue.is_empty(), "no further message was sent");
    }
}

/// The run before may have saved the base and ended before it stored what the record still waits for.
#[tokio::test]
async fn a_message_that_came_again_is_looked_at_though_the_base_knows_its_stamp() {
    for (receive_count, skipped) in [(1, 1), (2, 0)] {
        let world = World::new();
        let values = BTreeMap::from([("LastName".to_owned(), Some("one".to_owned()))]);
        let id = world.ports.salesforce.insert(values);
        let touch = Touch {
            stamp: Some(world.ports.salesforce.records()[&id].stamp),
            ..Touch::of_id("contacts", id, Source::CatchUp, world.ports.clock.now())
        };
        world.ports.clock.advance(SignedDuration::from_secs(10));
        assert_eq!(world.apply(&[delivery("a", 1, vec![touch.clone()])]).await.summary.rows_inserted, 1);
        let summary = world.apply(&[delivery("b", receive_count, vec![touch])]).await.summary;
        assert_eq!((summary.skipped, summary.equal), (skipped, 1 - skipped));
    }
}

#[tokio::test]
async fn a_message_that_came_a_third_time_is_sent_again_in_halves_that_run_alone() {
    let world = World::new();
    let touches: Vec<Touch> = names(5).iter().map(|name| world.touch(name)).collect();
    let applied = world.apply(&[delivery("a", 3, touches.clone())]).await;
    assert_eq!((applied.done, applied.release), (vec!["a".to_owned()], vec![]));
    assert_eq!(world.created(), Vec::<String>::new());
    let again = world.ports.queue.receive(10).await.unwrap();
    assert!(again.iter().all(|delivery| delivery.group == "contacts.0"));
    let bodies: Vec<MessageBody> =
        again.iter().map(|delivery| serde_json::from_str(&delivery.body).unwrap()).collect();
    assert!(bodies.iter().all(|body| body.suspect));
    let halves: Vec<usize> = bodies.iter().map(|body| body.touches.len()).collect();
    assert_eq!(halves, [3, 2]);
    assert_eq!(bodies.into_iter().flat_map(|body| body.touches).collect::<Vec<_>>(), touches);
}

/// A touch that ends every run it is in, among 200: how many messages there were in all until it is alone.
#[tokio::test]
async fn a_touch_that_ends_its_runs_is_found_by_halving_and_the_others_go_on() {
    let world = World::new();
    let touches: Vec<Touch> = names(200).iter().map(|name| world.touch(name)).collect();
    let poisonous = touches[137].clone();
    let mut waiting = vec![delivery("0", 1, touches)];
    let mut sent = 1;
    while let Some(next) = waiting.pop() {
        let body: MessageBody = serde_json::from_str(&next.body).unwrap();
        if body.touches == [poisonous.clone()] {
            continue;
        }
        let halves = next.receive_count > if body.suspect { 1 } else { 2 };
        if body.touches.contains(&poisonous) && !halves {
            // Its run is killed, so the message is received again.
            waiting.push(Delivery { receive_count: next.receive_count + 1, ..next });
            continue;
        }
        let applied = world.apply(std::slice::from_ref(&next)).await;
        assert_eq!(applied.done, [next.receipt]);
        for received in world.ports.queue.receive(10).await.unwrap() {
            sent += 1;
            world.ports.queue.done(std::slice::from_ref(&received.receipt)).await.unwrap();
            waiting.push(Delivery { receipt: sent.to_string(), ..received });
        }
    }
    assert_eq!(world.created().len(), 199);
    assert!(sent <= 17, "{sent} messages, which is more than two for each of eight halvings");
}

#[tokio::test]
async fn what_this_version_cannot_read_waits_a_minute_as_it_is() {
    let world = World::new();
    let touch = world.touch("one");
    let newer_touch = Touch { form: syncline_sync::TOUCH_FORM + 1, ..touch.clone() };
    let newer = MessageBody { form: MessageBody::FORM + 1, ..MessageBody::new(vec![touch]) };
    let bodies = [
        serde_json::to_string(&newer).unwrap(),
        serde_json::to_string(&MessageBody::new(vec![newer_touch])).unwrap(),
        "{\"another\": true}".to_owned(),
    ];
    let deliveries: Vec<Delivery> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| Delivery { body: body.clone(), ..delivery(&n.to_string(), 1, vec![]) })
        .collect();
    let now = world.ports.clock.now();
    let applied = world.apply(&deliveries).await;
    assert_eq!((applied.done, applied.release), (vec!["0".into(), "1".into(), "2".into()], vec![]));
    assert_eq!(world.created(), Vec::<String>::new(), "not reconciled by what it seems to say");
    let due = async |seconds: i64| {
        let at: Timestamp = now + SignedDuration::from_secs(seconds);
        world.ports.state.due(at, 10).await.unwrap()
    };
    assert!(due(59).await.is_empty());
    let waiting: Vec<String> = due(61).await.into_iter().map(|due| due.touch.unwrap_err().1).collect();
    assert_eq!(waiting, bodies);
}

#[tokio::test]
async fn touches_are_deferred_until_the_call_budget_has_a_call_again() {
    for by_share in [true, false] {
        let mut world = World::new();
        // One call in a hundred seconds, and 86.4 at once.
        if by_share {
            world.ports.salesforce.allowance = Some(8_640);
            world.ports.set_daily_share(10);
        } else {
            world.ports.set_daily_calls(Some(864));
        }
        for _ in 0..86 {
            world.ports.salesforce().probe().await.unwrap();
        }
        let touch = world.touch("one");
        let now = world.ports.clock.now();
        let applied = world.apply(&[delivery("a", 1, vec![touch])]).await;
        assert_eq!((applied.summary.deferred, applied.done.len(), world.created().len()), (1, 1, 0));
        let wait = world.ports.state.next_due().unwrap().duration_since(now).as_secs_f64();
        assert!((59.0..61.0).contains(&wait), "0.4 calls are left, so 60 s and not {wait} s");
    }
}

#[tokio::test]
async fn a_share_of_an_allowance_that_no_answer_names_is_a_share_of_the_smallest_one() {
    // A tenth of 15,000 calls a day, of which a tenth may be used at once.
    for (calls, created) in [(0, 1), (140, 1), (160, 0)] {
        let mut world = World::new();
        world.ports.set_daily_share(10);
        for _ in 0..calls {
            world.ports.salesforce().probe().await.unwrap();
        }
        let touch = world.touch("one");
        world.apply(&[delivery("a", 1, vec![touch])]).await;
        assert_eq!(world.created().len(), created, "after {calls} calls");
    }
}

#[tokio::test]
async fn a_small_budget_still_allows_twenty_calls_at_once() {
    for (calls, created) in [(18, 1), (20, 0)] {
        let mut world = World::new();
        world.ports.set_daily_calls(Some(24));
        for _ in 0..calls {
            world.ports.salesforce().probe().await.unwrap();
        }
        let touch = world.touch("one");
        world.apply(&[delivery("a", 1, vec![touch])]).await;
        assert_eq!(world.created().len(), created, "after {calls} calls");
    }
}

#[tokio::test]
async fn an_answer_of_a_side_resets_its_count_of_failures() {
    let world = World::new();
    let failed = Breaker { form: 1, failures: 2, open_until: None, message: "away".to_owned() };
    for side in [Side::Salesforce, Side::Postgres] {
        world.ports.state.put_breaker(side, &failed).await.unwrap();
    }
    world.apply(&[]).await;
    assert_eq!(world.ports.state.breaker(Side::Salesforce).await.unwrap(), failed, "nothing was asked");
    let touch = world.touch("one");
    world.apply(&[delivery("a", 1, vec![touch])]).await;
    for side in [Side::Salesforce, Side::Postgres] {
        assert_eq!(world.ports.state.breaker(side).await.unwrap(), Breaker::default());
    }
}

#[tokio::test]
async fn touches_of_a_paused_or_unknown_sync_wait() {
    let world = World::new();
    let touch = world.touch("one");
    let unknown = Touch { sync: "gone".to_owned(), ..touch.clone() };
    world.ports.state.put_paused("contacts", Some(&super::a_person_looks())).await.unwrap();
    let applied = world.apply(&[delivery("a", 1, vec![touch, unknown])]).await;
    assert_eq!((applied.summary.deferred, applied.done.len(), applied.release.len()), (2, 1, 0));
    assert_eq!((world.ports.state.deferred(), world.created().len()), (2, 0));
    assert!(world.ports.state.next_due().unwrap() > world.ports.clock.now());
}

#[tokio::test]
async fn a_run_begins_where_its_lease_ends_before_the_deadline_and_not_a_moment_later() {
    let world = World::new();
    let lease = world.ports.settings().lease;
    for (spare, created) in [(SignedDuration::from_secs(1), 1), (SignedDuration::from_secs(-1), 1)] {
        let touch = world.touch("one");
        let deadline = Some(world.ports.clock.now() + lease + spare);
        let deliveries = [delivery("a", 1, vec![touch])];
        let applied = consume::consume(&world.ports, &world.definitions, &deliveries, deadline).await;
        assert_eq!(world.created().len(), created);
        assert_eq!(applied.summary.deferred, usize::from(spare.is_negative()));
    }
}

#[tokio::test]
async fn what_a_run_leaves_at_the_deadline_is_sent_again_and_not_deferred() {
    let world = World::new();
    let touches: Vec<Touch> = names(450).iter().map(|name| world.touch(name)).collect();
    world.ports.process_memory.speed().measured(1, SignedDuration::from_secs(1));
    // By that speed a run takes ten touches. There is time for the first run only: the clock moves with each look.
    let lease = world.ports.settings().lease;
    let deadline = Some(world.ports.clock.now() + lease + SignedDuration::from_micros(3));
    let deliveries = [delivery("a", 1, touches)];
    let applied = consume::consume(&world.ports, &world.definitions, &deliveries, deadline).await;
    assert_eq!((applied.done, applied.summary.deferred), (vec!["a".to_owned()], 0));
    let created = world.created().len();
    assert!((1..450).contains(&created), "{created}");
    let left: usize = world
        .ports
        .queue
        .receive(1_000)
        .await
        .unwrap()
        .iter()
        .map(|delivery| serde_json::from_str::<MessageBody>(&delivery.body).unwrap().touches.len())
        .sum();
    assert_eq!(created + left, 450);
}
