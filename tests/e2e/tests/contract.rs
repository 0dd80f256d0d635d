//! State on DynamoDB and queue on SQS keep the contracts, over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::bare::{queue, state};
use e2e::local_aws::LocalAws;
use jiff::SignedDuration;
use support::contract;

#[tokio::test]
async fn the_state_on_dynamodb_keeps_the_contract() {
    let aws = LocalAws::start(None, None);
    let state = state(&aws.config().await, "state").await;
    let conflicts = async || state.conflicts(100).await.unwrap().len();
    let held = async || state.last_held(100).await.unwrap().into_iter().map(|one| one.held).collect();
    contract::state(&state, conflicts, held).await;
}

#[tokio::test]
async fn the_queue_on_sqs_keeps_the_contract() {
    let aws = LocalAws::start(None, None);
    let queue = queue(&aws.config().await, "touches").await;
    let visibility = SignedDuration::from_secs(1);
    contract::queue(&queue, visibility, async |wait| {
        tokio::time::sleep(std::time::Duration::try_from(wait).unwrap()).await;
    })
    .await;
}
