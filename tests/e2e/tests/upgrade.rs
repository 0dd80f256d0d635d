//! The previous release is deployed, then this release over it, then the previous release again, while people
//! edit both sides. Nothing is lost, and nothing is written twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::built::{binaries, package, template};
use e2e::local_aws::root;
use e2e::traffic::Traffic;
use e2e::world::World;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(180);

async fn some(traffic: &mut Traffic) {
    for _ in 0..60 {
        traffic.something().await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "deploys a stack and takes minutes; infra/test.sh runs it beside the other tests"]
async fn an_upgrade_and_a_rollback_under_traffic_lose_nothing() {
    let previous = root().join("target/previous");
    if !previous.join("commit").exists() {
        println!("there is no earlier release to upgrade from (infra/previous.sh)");
        return;
    }
    let folder = tempfile::Builder::new().prefix("syncline-e2e-").tempdir().unwrap();
    let old_template = std::fs::read_to_string(previous.join("template.yaml")).unwrap();
    let old = package(&previous, &old_template, &folder.path().join("previous"));
    let new = package(&binaries(), &template(), &folder.path().join("head"));
    let mut world = World::deploy_packaged(folder, &old, &previous.join("syncline")).await;
    world.send_messages().await;
    world.poll_now().await;
    let mut traffic = world.traffic(3).await;
    some(&mut traffic).await;
    world.holds(LONG, "the previous release").await;

    some(&mut traffic).await;
    world.deploy_again(&new).await;
    world.cli = binaries().join("syncline");
    world.run(&["apply"]).await;
    world.poll_now().await;
    some(&mut traffic).await;
    world.holds(LONG, "this release over it").await;
    let written = writes(&world);
    world.run(&["apply"]).await;
    world.to_rest(LONG).await;
    assert_eq!(
        writes(&world),
        written,
        "a new release over old state writes nothing where both sides are equal"
    );

    some(&mut traffic).await;
    world.deploy_again(&old).await;
    world.poll_now().await;
    some(&mut traffic).await;
    world.holds(LONG, "rolled back").await;
}

/// How many changes of fields Salesforce has recorded so far, whoever made them.
fn writes(world: &World) -> usize {
    world.simulator.org.lock().unwrap().history.len()
}
