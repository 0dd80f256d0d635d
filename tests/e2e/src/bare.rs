//! A state table and a queue without a deployed stack, for tests of the adapters alone.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_sqs::types::QueueAttributeName;
use syncline_aws::{DynamoState, SdkConfig, SqsQueue};

/// Creates a table with the keys and the index that the state table of `template.yaml` has.
///
/// # Panics
/// When the table cannot be created.
pub async fn state(config: &SdkConfig, name: &str) -> DynamoState {
    let client = aws_sdk_dynamodb::Client::new(config);
    let attribute = |name: &str| {
        let kind = ScalarAttributeType::S;
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let listed = GlobalSecondaryIndex::builder()
        .index_name("listed")
        .key_schema(key("list", KeyType::Hash))
        .key_schema(key("at", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()
        .unwrap();
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["pk", "sk", "list", "at"].map(attribute).into()))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(listed)
        .send()
        .await
        .unwrap();
    DynamoState::new(client, name)
}

/// Creates a FIFO queue. A message that is not acknowledged is delivered again after one second.
///
/// # Panics
/// When the queue cannot be created.
pub async fn queue(config: &SdkConfig, name: &str) -> SqsQueue {
    let client = aws_sdk_sqs::Client::new(config);
    let made = client
        .create_queue()
        .queue_name(format!("{name}.fifo"))
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::VisibilityTimeout, "1")
        .send()
        .await
        .unwrap();
    SqsQueue::new(client, made.queue_url.unwrap())
}
