//! The deployed stack under adversity: AWS throttles, Salesforce is away, a message crashes its runs, people
//! delete too much. At the end, the calls of the functions are compared with what their roles allow.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::iam;
use e2e::recorder::Strikes;
use e2e::traffic::Traffic;
use e2e::world::World;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use syncline_engine::SalesforceId;
use syncline_sync::{Source, Touch};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "deploys a stack and takes minutes; infra/test.sh runs it beside the other tests"]
async fn adversity_loses_and_doubles_nothing() {
    let world = World::deploy().await;
    let mut traffic = world.traffic(2).await;
    world.poll_now().await;
    world.send_messages().await;
    world.by_hand(&["alerts", world.stack.output("AlertTopicArn").unwrap()]).await;
    some(&mut traffic, 40).await;
    world.holds(2 * MINUTE, "edits both ways").await;
    aws_throttles_fails_in_part_and_loses_answers(&world, &mut traffic).await;
    a_truncate_and_many_deletes_pause_and_alert(&world, &mut traffic).await;
    a_refused_record_is_shown_in_its_sides_words(&world, &mut traffic).await;
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

async fn aws_throttles_fails_in_part_and_loses_answers(world: &World, traffic: &mut Traffic) {
    let before = world.recorder.struck();
    world.recorder.strike(Strikes { throttled: 80, unprocessed: 10, half_sent: 5, answer_lost: 20 });
    some(traffic, 60).await;
    world.holds(3 * MINUTE, "AWS throttled, failed in part and lost answers").await;
    assert!(world.recorder.struck() >= before + 80, "{}", world.recorder.struck());
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
    // The table is truncated and filled again at once, so that only the capture log tells of the TRUNCATE.
    world.sql("CREATE TABLE kept AS TABLE contacts; TRUNCATE contacts; INSERT INTO contacts OVERRIDING SYSTEM VALUE TABLE kept; DROP TABLE kept").await;
    alerted("was truncated").await;
    world.run(&["resume", "contacts"]).await;
    world.holds(3 * MINUTE, "a TRUNCATE").await;
    world.configure("deletes = \"propagate\"\ndelete_limit = { percent = 100, count = 2 }");
    assert!(world.run(&["apply"]).await.contains("sync contacts is applied"));
    world.to_rest(3 * MINUTE).await;
    traffic.delete_in_salesforce(5).await;
    alerted("--deletes").await;
    assert!(world.status().await.contains("paused"));
    world.run(&["resume", "contacts", "--deletes", "100"]).await;
    traffic.delete_in_postgres(5).await;
    world.holds(3 * MINUTE, "more deletes than the limit").await;
}

async fn a_refused_record_is_shown_in_its_sides_words(world: &World, traffic: &mut Traffic) {
    let record = traffic.records()[0].clone();
    traffic.set_in_postgres(&record, "Phone", &"9".repeat(60)).await;
    world.to_rest(2 * MINUTE).await;
    let rejected = world.run(&["rejected"]).await;
    assert!(rejected.contains("STRING_TOO_LONG") && rejected.contains("Phone"), "{rejected}");
    traffic.edit_in_postgres(&record, "Phone").await;
    world.holds(2 * MINUTE, "a refused record, corrected").await;
}

async fn salesforce_is_away_for_longer_than_five_receives(world: &World, traffic: &mut Traffic) {
    // Five receives, 15 seconds apart, fit into 90 seconds.
    let time = SignedDuration::from_secs(90);
    world.simulator.org.lock().unwrap().faults.away = Some(("syncline".to_owned(), Timestamp::now() + time));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(92) {
        some(traffic, 1).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    world.holds(3 * MINUTE, "Salesforce away for longer than five receives").await;
    assert_eq!(world.operator.dead.depth().await.unwrap(), 0, "an outage makes no dead letters");
}

/// Two records whose touches are in one group of the queue, so that touches of one moment travel in one message.
async fn two_of_one_message(traffic: &mut Traffic) -> (String, String) {
    let mut of_group: BTreeMap<String, String> = BTreeMap::new();
    for record in traffic.records().to_vec() {
        let Some(id) = traffic.id_of(&record).await else { continue };
        let id = SalesforceId::parse(&id).unwrap();
        let group = Touch::of_id("contacts", id, Source::OutboundMessage, Timestamp::now()).group();
        if let Some(other) = of_group.insert(group, record.clone()) {
            return (other, record);
        }
    }
    panic!("no two records are in one group")
}

async fn a_poisoned_message_leaves_its_one_touch_and_is_redriven(world: &World, traffic: &mut Traffic) {
    // Writing this row takes 12.5 seconds: longer than the applier's time-out of 10 seconds, and shorter than
    // the 15 seconds for which its message is invisible.
    world
        .sql(
            "CREATE FUNCTION public.hang() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(12.5); RETURN NEW; END $$;
             CREATE TRIGGER hang BEFORE UPDATE ON contacts FOR EACH ROW WHEN (NEW.title = 'poison') EXECUTE FUNCTION public.hang()",
        )
        .await;
    let (record, neighbour) = two_of_one_message(traffic).await;
    let values = [(record.as_str(), "poison"), (neighbour.as_str(), "harmless")];
    traffic.set_together_in_salesforce("Title", &values).await;
    some(traffic, 20).await;
    let started = Instant::now();
    while world.operator.dead.depth().await.unwrap() == 0 {
        assert!(started.elapsed() < 4 * MINUTE, "no dead letter: {}", world.status().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let letters = world.run(&["dead-letters"]).await;
    // An outbound message and catch-up may both have touched the record, so there may be several dead
    // letters. All of them are of this record.
    let id = traffic.id_of(&record).await.unwrap();
    assert_eq!(letters.matches("contacts 003").count(), letters.matches(&id).count(), "{letters}");
    assert!(letters.contains(&id), "{letters}");
    world.sql("DROP TRIGGER hang ON contacts").await;
    let again = world.run(&["dead-letters", "--redrive"]).await;
    assert!(again.contains(" dead letters sent again") && !again.contains("\n0 dead letters"), "{again}");
    world.holds(3 * MINUTE, "a poisoned message, redriven").await;
    assert_eq!(world.operator.dead.depth().await.unwrap(), 0);
}
