//! The deployed stack, driven from outside only: people in Salesforce, SQL in the app, an operator's commands. One
//! scenario after the other on one stack; the judge looks at all of it after each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::iam;
use e2e::recorder::Strikes;
use e2e::traffic::Traffic;
use e2e::world::{World, connect};
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployed_stack_loses_and_doubles_nothing() {
    let mut world = World::deploy().await;
    let mut traffic = world.traffic(1).await;
    // Two runs at once do no harm.
    world.poll_now().await;
    world.poll_now().await;
    world.by_hand(&["alerts", world.stack.output("AlertTopicArn").unwrap()]).await;
    edits_both_ways(&world, &mut traffic).await;
    a_conflict_of_one_field(&world, &mut traffic).await;
    outbound_messages_come_in_at_the_function_url(&world, &mut traffic).await;
    a_burst_of_two_thousand(&world, &mut traffic).await;
    the_applier_is_killed_in_mid_batch(&world, &mut traffic).await;
    postgres_is_restarted(&mut world, &mut traffic).await;
    sessions_expire_and_a_secret_is_rotated(&world, &mut traffic).await;
    aws_throttles_fails_in_part_and_loses_answers(&world, &mut traffic).await;
    a_truncate_and_many_deletes_pause_and_alert(&world, &mut traffic).await;
    salesforce_is_away_for_longer_than_five_receives(&world, &mut traffic).await;
    a_poisoned_message_leaves_its_one_touch_and_is_redriven(&world, &mut traffic).await;
    let problems = iam::problems(&world.recorder.calls(), &world.by_hand(&["policies"]).await);
    assert!(problems.is_empty(), "{problems:#?}");
}

async fn some(traffic: &mut Traffic, count: usize) {
    for _ in 0..count {
        traffic.something().await;
    }
}

async fn edits_both_ways(world: &World, traffic: &mut Traffic) {
    some(traffic, 60).await;
    world.holds(2 * MINUTE, "edits both ways").await;
}

async fn a_conflict_of_one_field(world: &World, traffic: &mut Traffic) {
    let record = traffic.records()[0].clone();
    assert!(world.run(&["pause", "contacts"]).await.contains("resume contacts --stack"));
    traffic.edit_both(&record, "Title").await;
    assert!(world.status().await.contains("paused"));
    world.run(&["resume", "contacts"]).await;
    world.holds(2 * MINUTE, "a conflict of one field").await;
    let conflicts = world.run(&["conflicts"]).await;
    assert!(conflicts.contains("Title") && conflicts.contains("Salesforce"), "{conflicts}");
    let record = world.app().await;
    let id: String =
        record.query_one("SELECT salesforce_id FROM contacts LIMIT 1", &[]).await.unwrap().get(0);
    assert!(world.run(&["history", &id]).await.contains("written"));
}

async fn outbound_messages_come_in_at_the_function_url(world: &World, traffic: &mut Traffic) {
    let printed = world.run(&["endpoint"]).await;
    let address = world.reachable(printed.trim());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let called = async |address: String, body: &'static str| {
        http.post(address).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(called(format!("{address}x"), "<a/>").await, 404, "a wrong secret");
    assert_eq!(called(address.replace("/outbound/", "/elsewhere/"), "<a/>").await, 404);
    assert_eq!(called(address.clone(), "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>").await, 400);
    let other_org = "<e><Body><notifications><OrganizationId>00D000000000001AAA</OrganizationId>\
        <ActionId>04k5e0000000001AAA</ActionId><Notification><Id>04l5e0000000001AAA</Id>\
        <sObject type='sf:Contact'><Id>0035e0000000001AAA</Id></sObject></Notification></notifications></Body></e>";
    assert_eq!(called(address.clone(), other_org).await, 403);
    assert_eq!(http.get(&address).send().await.unwrap().status().as_u16(), 404);
    world.send_messages().await;
    let before = world.simulator.org.lock().unwrap().outbox.acknowledged;
    some(traffic, 40).await;
    world.holds(2 * MINUTE, "outbound messages").await;
    let org = world.simulator.org.lock().unwrap();
    assert!(org.outbox.acknowledged > before && org.outbox.refused == 0);
}

async fn a_burst_of_two_thousand(world: &World, traffic: &mut Traffic) {
    traffic.insert_many(2_000).await;
    some(traffic, 20).await;
    world.holds(4 * MINUTE, "a burst of two thousand new rows").await;
    traffic.edit_all_in_postgres("Phone").await;
    world.holds(4 * MINUTE, "a burst of two thousand edits").await;
}

async fn the_applier_is_killed_in_mid_batch(world: &World, traffic: &mut Traffic) {
    let applier = world.function("ApplierFunction").await;
    traffic.edit_all_in_postgres("FirstName").await;
    let (started, mut killed) = (Instant::now(), 0);
    while killed < 4 && started.elapsed() < MINUTE {
        some(traffic, 1).await;
        if world.queue.depth().await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            killed += world.aws.kill(&applier);
        }
    }
    assert!(killed >= 4, "{killed} processes of the applier were killed");
    world.holds(4 * MINUTE, "the applier killed in mid-batch").await;
}

async fn postgres_is_restarted(world: &mut World, traffic: &mut Traffic) {
    some(traffic, 20).await;
    world.cluster.restart().unwrap();
    traffic.reconnect(connect(&world.cluster.url("app"), "editors").await);
    some(traffic, 20).await;
    world.holds(3 * MINUTE, "PostgreSQL restarted").await;
}

async fn sessions_expire_and_a_secret_is_rotated(world: &World, traffic: &mut Traffic) {
    world.fault("expired-session", 1).await;
    some(traffic, 20).await;
    world.holds(2 * MINUTE, "sessions expired").await;
    // A rotation that has made a new version, which Salesforce does not know yet.
    let secret = world.stack.output("SalesforceSecret").unwrap();
    let next = r#"{"client_id": "syncline", "client_secret": "not yet"}"#;
    world.by_hand(&["rotate", secret, next]).await;
    world.fault("expired-session", 1).await;
    some(traffic, 20).await;
    world.holds(3 * MINUTE, "a secret rotated").await;
    let now = r#"{"client_id": "syncline", "client_secret": "syncline-secret"}"#;
    world.by_hand(&["rotate", secret, now]).await;
}

async fn aws_throttles_fails_in_part_and_loses_answers(world: &World, traffic: &mut Traffic) {
    let before = world.recorder.struck();
    world.recorder.strike(Strikes { throttled: 150, unprocessed: 10, half_sent: 5, answer_lost: 20 });
    some(traffic, 60).await;
    world.holds(3 * MINUTE, "AWS throttled, failed in part and lost answers").await;
    assert!(world.recorder.struck() >= before + 150, "{}", world.recorder.struck());
}

async fn a_truncate_and_many_deletes_pause_and_alert(world: &World, traffic: &mut Traffic) {
    let alerted = async |words: &str| {
        let started = Instant::now();
        while started.elapsed() < MINUTE {
            if world.by_hand(&["alerts"]).await.contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("no alert of {words}");
    };
    // The app's table is truncated and restored in one moment, which only the capture log tells.
    world.sql("CREATE TABLE kept AS TABLE contacts; TRUNCATE contacts; INSERT INTO contacts OVERRIDING SYSTEM VALUE TABLE kept; DROP TABLE kept").await;
    alerted("was truncated").await;
    world.run(&["resume", "contacts"]).await;
    world.holds(3 * MINUTE, "a TRUNCATE").await;
    world.configure("deletes = \"propagate\"\ndelete_limit = { percent = 100, count = 2 }");
    assert!(world.run(&["apply"]).await.contains("sync contacts is applied"));
    world.to_rest(3 * MINUTE).await;
    traffic.delete_in_postgres(5).await;
    alerted("--deletes").await;
    assert!(world.status().await.contains("paused"));
    world.run(&["resume", "contacts", "--deletes", "100"]).await;
    world.holds(3 * MINUTE, "more deletes than the limit").await;
}

async fn salesforce_is_away_for_longer_than_five_receives(world: &World, traffic: &mut Traffic) {
    // Five receives of 15 seconds each.
    let time = SignedDuration::from_secs(90);
    world.simulator.org.lock().unwrap().faults.away = Some(("syncline".to_owned(), Timestamp::now() + time));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(92) {
        some(traffic, 1).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    world.holds(3 * MINUTE, "Salesforce away for longer than five receives").await;
    assert_eq!(world.dead.depth().await.unwrap(), 0, "an outage makes no dead letters");
}

async fn a_poisoned_message_leaves_its_one_touch_and_is_redriven(world: &World, traffic: &mut Traffic) {
    // Writing this one row takes longer than the applier may run.
    world
        .sql(
            "CREATE FUNCTION public.hang() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$;
             CREATE TRIGGER hang BEFORE UPDATE ON contacts FOR EACH ROW WHEN (NEW.title = 'poison') EXECUTE FUNCTION public.hang()",
        )
        .await;
    let record = traffic.records()[0].clone();
    traffic.set_in_salesforce(&record, "Title", "poison").await;
    some(traffic, 20).await;
    let started = Instant::now();
    while world.dead.depth().await.unwrap() == 0 {
        assert!(started.elapsed() < 4 * MINUTE, "no dead letter: {}", world.status().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let letters = world.run(&["dead-letters"]).await;
    assert_eq!(letters.matches("contacts 003").count(), 1, "{letters}");
    world.sql("DROP TRIGGER hang ON contacts").await;
    let again = world.run(&["dead-letters", "--redrive"]).await;
    assert!(again.contains("1 sent again"), "{again}");
    world.holds(3 * MINUTE, "a poisoned message, redriven").await;
    assert_eq!(world.dead.depth().await.unwrap(), 0);
}
