//! The embedded state store and queue keep the contracts that every implementation keeps.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use jiff::SignedDuration;
use support::cluster::TestDatabase;
use support::contract;
use syncline_embedded::{EmbeddedOperator, EmbeddedQueue, EmbeddedState, install};
use syncline_postgres::{ConnectionSettings, Instance, Pool, install_schema, read_identity};
use syncline_sync::Operator as _;

async fn prepared() -> (TestDatabase, Pool, Instance) {
    let database = TestDatabase::new().await;
    let pool = Pool::new(&ConnectionSettings::parse(&database.url, None).unwrap(), 8).unwrap();
    let instance = Instance("default".into());
    let mut connection = pool.get().await.unwrap();
    for _ in 0..2 {
        install_schema(&mut connection, &instance).await.unwrap();
        let identity = read_identity(&connection, "127.0.0.1").await.unwrap();
        install(&mut connection, &instance, "00D5e000000SIMuEAO", &identity, [1; 32]).await.unwrap();
    }
    drop(connection);
    (database, pool, instance)
}

#[tokio::test]
async fn the_embedded_state_keeps_the_contract() {
    let (database, pool, instance) = prepared().await;
    let state = EmbeddedState::new(pool.clone(), &instance);
    let conflicts =
        async || usize::try_from(database.count("SELECT count(*) FROM syncline.conflict").await).unwrap();
    let operator = EmbeddedOperator::new(pool, &instance);
    let held = async || {
        let records = operator.last_held(10).await.unwrap();
        records.into_iter().map(|one| one.held).collect()
    };
    contract::state(&state, conflicts, held).await;
}

#[tokio::test]
async fn the_embedded_operator_keeps_the_contract() {
    let (_database, pool, instance) = prepared().await;
    let identity = read_identity(&pool.get().await.unwrap(), "127.0.0.1").await.unwrap();
    let state = EmbeddedState::new(pool.clone(), &instance);
    let operator = EmbeddedOperator::new(pool, &instance);
    contract::operator(&operator, &state, "00D5e000000SIMuEAO", &identity).await;
}

#[tokio::test]
async fn the_embedded_queue_keeps_the_contract() {
    let (_database, pool, instance) = prepared().await;
    let visibility = SignedDuration::from_millis(300);
    let queue = EmbeddedQueue::new(pool, &instance, "test".into(), visibility);
    contract::queue(&queue, visibility, async |wait| {
        tokio::time::sleep(std::time::Duration::from_millis(wait.as_millis().try_into().unwrap())).await;
    })
    .await;
}
