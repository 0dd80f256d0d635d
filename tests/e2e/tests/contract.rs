//! The state store on DynamoDB and the queue on SQS keep the contracts that every implementation keeps. They
//! are tested over the wire, against a local AWS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::bare::{queue, state};
use e2e::local_aws::LocalAws;
use jiff::SignedDuration;
use support::contract;
use syncline_aws::{InstanceSettings, SETTINGS_FORM, StackOperator, Whereabouts};
use syncline_sync::{DatabaseIdentity, Operator as _};

#[tokio::test]
async fn the_state_on_dynamodb_keeps_the_contract() {
    let aws = LocalAws::start(None, None);
    let state = state(&aws.config().await, "state").await;
    let queue = queue(&aws.config().await, "touches").await;
    let operator = StackOperator { state: state.clone(), dead: queue.clone(), queue };
    let conflicts = async || operator.conflicts(100).await.unwrap().len();
    let held = async || operator.last_held(100).await.unwrap().into_iter().map(|one| one.held).collect();
    contract::state(&state, conflicts, held).await;
}

#[tokio::test]
async fn the_operator_of_a_stack_keeps_the_contract() {
    let aws = LocalAws::start(None, None);
    let config = aws.config().await;
    let (state, queue) = (state(&config, "state").await, queue(&config, "touches").await);
    let dead = e2e::bare::queue(&config, "dead").await;
    let identity = DatabaseIdentity {
        system: "1".to_owned(),
        timeline: 1,
        database: "app".to_owned(),
        oid: 2,
        host: "127.0.0.1".to_owned(),
    };
    let settings = InstanceSettings {
        form: SETTINGS_FORM,
        instance: "default".to_owned(),
        login_url: "https://acme.my.salesforce.com".to_owned(),
        auth: syncline_salesforce::Auth::Jwt,
        api_version: "62.0".to_owned(),
        batch_size: None,
        duplicates: syncline_salesforce::Duplicates::Save,
        daily_calls: syncline_sync::DailyCalls::Percent(50),
        lease_s: 90,
        look_back_s: 600,
        sslmode: None,
        whereabouts: Whereabouts::default(),
        organization_id: "00D000000000001AAA".to_owned(),
        identity: identity.clone(),
        syncs: vec!["contacts".to_owned()],
    };
    state.put_settings(&settings).await.unwrap();
    let operator = StackOperator { state, queue, dead };
    contract::operator(&operator, &operator.state, "00D000000000001AAA", &identity).await;
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
