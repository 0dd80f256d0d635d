//! Calls to one DynamoDB table: items, batches, conditions and transactions. Throttled keys and transactions
//! that met another transaction are tried again.
//!
//! Source: the API reference of Amazon DynamoDB.

use crate::item::{Condition, Item, ItemKey, names_in, text, token};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use syncline_sync::PortError;

/// The most keys in one call of BatchGetItem (API reference, `BatchGetItem`).
const BATCH_KEYS: usize = 100;
/// The most calls of [`each`] that are under way at the same time.
pub(crate) const AT_ONCE: usize = 32;
/// How often throttled keys, and transactions that met another transaction, are tried in all.
const TRIES: u32 = 8;
/// The wait after the first try; it doubles with each try.
const FIRST_WAIT: Duration = Duration::from_millis(25);
/// The name of the table's index, by which commands and poll find items by time.
pub(crate) const LISTED: &str = "listed";

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Puts the item in the place of any item with the same key, if the condition holds.
    Put(Item, Option<Condition>),
    /// Deletes the item with this key, if the condition holds.
    Delete(ItemKey, Option<Condition>),
}

/// The error of a call that the SDK has given up: which call (`what`), then the service's code and message,
/// or the SDK's own words where no answer came.
pub(crate) fn failed<E, R>(what: &str, error: SdkError<E, R>) -> PortError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    let message = match error.as_service_error().map(|error| (error.code(), error.message())) {
        Some((code, words)) => {
            format!("{what}: {}: {}", code.unwrap_or("refused"), words.unwrap_or("no message"))
        }
        None => format!("{what}: {}", DisplayErrorContext(&error)),
    };
    PortError::Store { message }
}

/// Waits 25 ms, doubled `tried` times (at most 6 times), multiplied by a random factor from 0.5 to 1.5, so
/// that two runs that met each other do not meet again.
pub(crate) async fn wait(tried: u32) {
    let mut byte = [0; 1];
    let _ = SystemRandom::new().fill(&mut byte);
    let wait = FIRST_WAIT * 2_u32.saturating_pow(tried.min(6));
    tokio::time::sleep(wait.mul_f64(0.5 + f64::from(byte[0]) / 255.0)).await;
}

/// The table and the client that calls it. Every error is a [`PortError::Store`].
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    fn what(&self, call: &str) -> String {
        format!("DynamoDB {call} on table {}", self.name)
    }

    /// Reads one item, consistently; `None` where there is none.
    pub(crate) async fn get(&self, item_key: &ItemKey) -> Result<Option<Item>, PortError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(item_key.attributes()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed(&self.what("GetItem"), error))?;
        Ok(answer.item.map(Item))
    }

    /// Reads the items with these keys, consistently. The result has no entry for a key without item.
    pub(crate) async fn get_many(
        &self,
        item_keys: impl IntoIterator<Item = ItemKey>,
    ) -> Result<HashMap<ItemKey, Item>, PortError> {
        let item_keys: Vec<ItemKey> = item_keys.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let found = each(item_keys.chunks(BATCH_KEYS).map(|chunk| self.get_batch(chunk)).collect()).await?;
        Ok(found.into_iter().flatten().map(|item| (item.item_key(), item)).collect())
    }

    async fn get_batch(&self, item_keys: &[ItemKey]) -> Result<Vec<Item>, PortError> {
        let mut found = Vec::new();
        let mut keys: Vec<HashMap<String, AttributeValue>> =
            item_keys.iter().map(ItemKey::attributes).collect();
        for tried in 0..TRIES {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted.map_err(|error| PortError::Store { message: error.to_string() })?;
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.name, wanted)
                .send()
                .await
                .map_err(|error| failed(&self.what("BatchGetItem"), error))?;
            let items = answer.responses.and_then(|mut of| of.remove(&self.name)).unwrap_or_default();
            found.extend(items.into_iter().map(Item));
            keys = match answer.unprocessed_keys.and_then(|mut of| of.remove(&self.name)) {
                Some(left) => left.keys,
                None => return Ok(found),
            };
            if keys.is_empty() {
                return Ok(found);
            }
            wait(tried).await;
        }
        Err(PortError::Store {
            message: format!(
                "{}: {} keys are still unprocessed after {TRIES} tries",
                self.what("BatchGetItem"),
                keys.len()
            ),
        })
    }

    /// Puts an item; `false` if the condition does not hold.
    ///
    /// The SDK repeats a call whose answer was lost. If the first try has put the item, the condition of the
    /// second does not hold, but the item counts as put: a random attribute `write` tells this call's item
    /// from one with the same content that another call put.
    pub(crate) async fn put(&self, item: Item, condition: Option<Condition>) -> Result<bool, PortError> {
        let conditional = condition.is_some();
        let item = if conditional { item.with("write", text(token())) } else { item };
        let condition = condition.unwrap_or_default();
        let answer = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item.0.clone()))
            .set_condition_expression(conditional.then(|| condition.expression.clone()))
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .set_return_values_on_condition_check_failure(
                conditional.then_some(ReturnValuesOnConditionCheckFailure::AllOld),
            )
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(
                    aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(
                        held,
                    ),
                ) => Ok(held.item.as_ref() == Some(&item.0)),
                _ => Err(failed(&self.what("PutItem"), error)),
            },
        }
    }

    /// Deletes the item with this key; `false` if the condition does not hold.
    pub(crate) async fn delete(
        &self,
        item_key: &ItemKey,
        condition: Option<Condition>,
    ) -> Result<bool, PortError> {
        let conditional = condition.is_some();
        let condition = condition.unwrap_or_default();
        let answer = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(item_key.attributes()))
            .set_condition_expression(conditional.then(|| condition.expression.clone()))
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(&self.what("DeleteItem"), error)),
        }
    }

    /// Updates the item with this key by an update expression, or creates it; `false` if the condition does
    /// not hold.
    pub(crate) async fn update(
        &self,
        item_key: &ItemKey,
        expression: &str,
        values: HashMap<String, AttributeValue>,
        condition: Option<&str>,
    ) -> Result<bool, PortError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(item_key.attributes()))
            .update_expression(expression)
            .set_expression_attribute_names(names_in(&format!(
                "{expression} {}",
                condition.unwrap_or_default()
            )))
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .set_condition_expression(condition.map(str::to_owned))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(&self.what("UpdateItem"), error)),
        }
    }

    /// Does all of the writes or none, in one transaction; `false` if a condition does not hold. A repeated
    /// call is done once, by its request token (API reference, `TransactWriteItems`). A single write is done
    /// without a transaction.
    pub(crate) async fn transact(&self, writes: Vec<Write>) -> Result<bool, PortError> {
        let mut writes = writes;
        if writes.len() == 1 {
            return match writes.swap_remove(0) {
                Write::Put(item, condition) => self.put(item, condition).await,
                Write::Delete(item_key, condition) => self.delete(&item_key, condition).await,
            };
        }
        let items = writes.iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>()?;
        let request = token() + &token();
        for tried in 0..TRIES {
            let answer = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&request)
                .send()
                .await;
            let Err(error) = answer else { return Ok(true) };
            match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    let codes: Vec<&str> =
                        canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
                    if codes.contains(&"ConditionalCheckFailed") {
                        return Ok(false);
                    }
                    let again = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
                    if !codes.iter().any(|code| again.contains(code)) {
                        return Err(failed(&self.what("TransactWriteItems"), error));
                    }
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => {}
                _ => return Err(failed(&self.what("TransactWriteItems"), error)),
            }
            wait(tried).await;
        }
        Err(PortError::Store {
            message: format!(
                "{}: another transaction was in the way in each of {TRIES} tries",
                self.what("TransactWriteItems")
            ),
        })
    }

    fn transact_item(&self, write: &Write) -> Result<TransactWriteItem, PortError> {
        let built = match write {
            Write::Put(item, condition) => {
                let condition = condition.as_ref();
                Put::builder()
                    .table_name(&self.name)
                    .set_item(Some(item.0.clone()))
                    .set_condition_expression(condition.map(|one| one.expression.clone()))
                    .set_expression_attribute_names(condition.and_then(Condition::names))
                    .set_expression_attribute_values(condition.and_then(Condition::values))
                    .build()
                    .map(|put| TransactWriteItem::builder().put(put).build())
            }
            Write::Delete(item_key, condition) => {
                let condition = condition.as_ref();
                Delete::builder()
                    .table_name(&self.name)
                    .set_key(Some(item_key.attributes()))
                    .set_condition_expression(condition.map(|one| one.expression.clone()))
                    .set_expression_attribute_names(condition.and_then(Condition::names))
                    .set_expression_attribute_values(condition.and_then(Condition::values))
                    .build()
                    .map(|delete| TransactWriteItem::builder().delete(delete).build())
            }
        };
        built.map_err(|error| PortError::Store { message: error.to_string() })
    }

    /// Reads all items with this partition key, consistently, in the order of their sort keys.
    pub(crate) async fn partition(&self, pk: &str) -> Result<Vec<Item>, PortError> {
        let mut items = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(pk))
            .consistent_read(true)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(&self.what("Query"), error))?;
            items.extend(page.items.unwrap_or_default().into_iter().map(Item));
        }
        Ok(items)
    }

    /// Reads up to `limit` items of a list of the index: with `until` those up to that moment, the oldest
    /// first; without it the newest first. The index lags a little behind the table, so use this only for
    /// items that are shown, or that can as well be taken up a little later.
    pub(crate) async fn list(
        &self,
        list: String,
        until: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, PortError> {
        let condition = if until.is_some() { "#list = :list AND #at <= :until" } else { "#list = :list" };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LISTED)
            .key_condition_expression(condition)
            .expression_attribute_names("#list", "list")
            .expression_attribute_values(":list", text(list))
            .scan_index_forward(until.is_some())
            .limit(i32::try_from(limit.clamp(1, 1_000)).unwrap_or(1_000));
        if let Some(until) = until {
            request = request
                .expression_attribute_names("#at", "at")
                .expression_attribute_values(":until", text(until));
        }
        let mut items = Vec::new();
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(&self.what("Query"), error))?;
            items.extend(page.items.unwrap_or_default().into_iter().map(Item));
            if items.len() >= limit {
                items.truncate(limit);
                break;
            }
        }
        Ok(items)
    }

    /// Reads one page of a list's items, those after a moment or all of them, and where the next page begins;
    /// `None` after the last page. A list may be larger than memory, so it is read page by page.
    pub(crate) async fn page(
        &self,
        list: &str,
        after: Option<&str>,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), PortError> {
        let condition = if after.is_some() { "#list = :list AND #at > :after" } else { "#list = :list" };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LISTED)
            .key_condition_expression(condition)
            .expression_attribute_names("#list", "list")
            .expression_attribute_values(":list", text(list))
            .set_exclusive_start_key(start.map(|start| start.0));
        if let Some(after) = after {
            request = request
                .expression_attribute_names("#at", "at")
                .expression_attribute_values(":after", text(after));
        }
        let page = request.send().await.map_err(|error| failed(&self.what("Query"), error))?;
        let items = page.items.unwrap_or_default().into_iter().map(Item).collect();
        Ok((items, page.last_evaluated_key.map(Item)))
    }

    /// Counts the items of a list, or those of them whose attribute has this value.
    pub(crate) async fn count(
        &self,
        list: String,
        only: Option<(&str, AttributeValue)>,
    ) -> Result<u64, PortError> {
        let mut count = 0_u64;
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(LISTED)
            .key_condition_expression("#list = :list")
            .expression_attribute_names("#list", "list")
            .expression_attribute_values(":list", text(list))
            .select(aws_sdk_dynamodb::types::Select::Count);
        if let Some((name, value)) = only {
            request = request
                .filter_expression("#only = :only")
                .expression_attribute_names("#only", name)
                .expression_attribute_values(":only", value);
        }
        let mut pages = request.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(&self.what("Query"), error))?;
            count += u64::try_from(page.count).unwrap_or(0);
        }
        Ok(count)
    }
}

/// Runs calls, [`AT_ONCE`] at a time. The results have the order of the calls. Ends with the first error.
pub(crate) async fn each<R, F>(calls: Vec<F>) -> Result<Vec<R>, PortError>
where
    F: Future<Output = Result<R, PortError>>,
{
    futures_util::stream::iter(calls).buffered(AT_ONCE).try_collect().await
}
