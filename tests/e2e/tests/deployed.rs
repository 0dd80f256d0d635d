//! The deployed stack, driven from outside only: by people in Salesforce, by SQL in the app's database, and
//! by an operator's commands. The scenarios run one after the other on one stack. After each scenario with
//! edits, the judge looks at everything so far.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::iam;
use e2e::traffic::Traffic;
use e2e::world::{STACK, World, connect, said};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "deploys a stack and takes minutes; infra/test.sh runs it beside the other tests"]
async fn the_deployed_stack_loses_and_doubles_nothing() {
    let mut world = World::deploy().await;
    let mut traffic = world.traffic(1).await;
    // Two runs of poll at the same time do no harm.
    world.poll_now().await;
    world.poll_now().await;
    edits_both_ways(&world, &mut traffic).await;
    a_conflict_of_one_field(&world, &mut traffic).await;
    outbound_messages_come_in_at_the_function_url(&world, &mut traffic).await;
    a_burst_of_two_thousand(&world, &mut traffic).await;
    the_applier_is_killed_in_mid_batch(&world, &mut traffic).await;
    postgres_is_restarted(&mut world, &mut traffic).await;
    sessions_expire_and_a_secret_is_rotated(&world, &mut traffic).await;
    an_operator_is_told_what_is_wrong(&world).await;
    the_same_file_works_in_one_process_and_deployed(&world).await;
    let not_allowed = iam::not_allowed(&world.recorder.calls(), &world.by_hand(&["policies"]).await);
    assert!(not_allowed.is_empty(), "{not_allowed:#?}");
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
    traffic.edit_many_in_postgres("Phone", 2_000).await;
    world.holds(4 * MINUTE, "a burst of two thousand edits").await;
}

async fn the_applier_is_killed_in_mid_batch(world: &World, traffic: &mut Traffic) {
    let applier = world.function("ApplierFunction").await;
    traffic.edit_many_in_postgres("FirstName", 300).await;
    let (started, mut killed) = (Instant::now(), 0);
    while killed < 4 && started.elapsed() < MINUTE {
        some(traffic, 1).await;
        if world.operator.queue.depth().await.unwrap() > 0 {
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
    // A rotation has stored a new version of the secret, which Salesforce does not know yet.
    let secret = world.stack.output("SalesforceSecret").unwrap();
    let next = r#"{"client_id": "syncline", "client_secret": "not yet"}"#;
    world.by_hand(&["rotate", secret, next]).await;
    world.fault("expired-session", 1).await;
    some(traffic, 20).await;
    world.holds(3 * MINUTE, "a secret rotated").await;
    let now = r#"{"client_id": "syncline", "client_secret": "syncline-secret"}"#;
    world.by_hand(&["rotate", secret, now]).await;
}

async fn an_operator_is_told_what_is_wrong(world: &World) {
    let right = std::fs::read_to_string(world.folder().join("syncline.toml")).unwrap();
    let refused = async |text: &str, arguments: &[&str]| {
        std::fs::write(world.folder().join("wrong.toml"), text).unwrap();
        let output = world.command(&[arguments, &["--config", "wrong.toml"]].concat()).await;
        assert!(!output.status.success(), "{arguments:?}");
        said(&output)
    };
    let words = refused(&right, &["status", "--stack", "nowhere"]).await;
    assert!(words.contains("nowhere"), "{words}");
    let words = refused(&format!("instance = \"other\"\n{right}"), &["apply", "--stack", STACK]).await;
    assert!(words.contains("instance default") && words.contains("instance other"), "{words}");
    let long = right.replace("lease = \"4s\"", "lease = \"60s\"");
    let words = refused(&long, &["apply", "--stack", STACK]).await;
    assert!(words.contains("timing.lease") && words.contains("ApplierTimeout"), "{words}");
    let words = refused(&right, &["resume", "nobody", "--stack", STACK]).await;
    assert!(words.contains("[sync.nobody]"), "{words}");
    assert!(world.run(&["dead-letters"]).await.contains("no dead letters"));
    assert!(world.run(&["rejected"]).await.contains("nothing is rejected"));
}

async fn the_same_file_works_in_one_process_and_deployed(world: &World) {
    let mut serve = world.serve_in_another_database().await;
    let one = connect(&world.cluster.url("one"), "observer").await;
    let wanted = world.app().await.query_one("SELECT count(*) FROM contacts", &[]).await.unwrap();
    let wanted: i64 = wanted.get(0);
    let started = Instant::now();
    loop {
        // The link column does not exist before `serve` has applied the file.
        let row = one.query_one("SELECT count(salesforce_id) FROM contacts", &[]).await;
        let linked: i64 = row.map_or(0, |row| row.get(0));
        if linked == wanted {
            break;
        }
        assert!(started.elapsed() < 2 * MINUTE, "{linked} of {wanted} rows");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    serve.kill().unwrap();
    serve.wait().unwrap();
}
