//! What a person's commands need: what the instance is bound to, its definitions, its lists and numbers.

use crate::applied::{InstanceSettings, definition_item_key};
use crate::deferred;
use crate::item::{Condition, Item, ItemKey, json, number, text};
use crate::queue::SqsQueue;
use crate::state::DynamoState;
use crate::table::{Table, Write, each};
use aws_sdk_dynamodb::types::AttributeValue;
use syncline_engine::Definition;
use syncline_sync::{
    Binding, Breaker, Conflict, DatabaseIdentity, DeadLetter, HeldRecord, Operator, Overview, PortError,
    Rejected, ShownConflict, State as _, WaitingRecord,
};

/// The state and the queues of a stack, as a person's commands see them.
#[derive(Clone)]
pub struct StackOperator {
    /// The state table.
    pub state: DynamoState,
    /// The queue of touches.
    pub queue: SqsQueue,
    /// The queue of dead letters.
    pub dead: SqsQueue,
}

fn nothing_applied() -> PortError {
    PortError::NotConfigured {
        message: "nothing is applied in this stack yet; run `syncline apply --stack NAME`".to_owned(),
    }
}

impl StackOperator {
    /// The newest `limit` items of a kind, the newest first.
    async fn newest(&self, kind: &'static str, limit: usize) -> Result<Vec<Item>, PortError> {
        let found =
            each(crate::bases::lists(kind).map(|list| self.state.table.list(list, None, limit)).collect())
                .await?;
        let mut items: Vec<Item> = found.into_iter().flatten().collect();
        items.sort_by(|one, other| other.text("at").cmp(one.text("at")));
        items.truncate(limit);
        Ok(items)
    }
}

impl Operator for StackOperator {
    async fn binding(&self) -> Result<Option<Binding>, PortError> {
        Ok(self.state.applied().await?.map(|applied| Binding {
            organization_id: applied.settings.organization_id,
            identity: Some(applied.settings.identity),
        }))
    }

    async fn definitions(&self) -> Result<Vec<Definition>, PortError> {
        Ok(self.state.applied().await?.map(|applied| applied.definitions).unwrap_or_default())
    }

    async fn rebind(&self, organization_id: &str, identity: &DatabaseIdentity) -> Result<(), PortError> {
        let Some(applied) = self.state.applied().await? else {
            return Err(nothing_applied());
        };
        let settings = InstanceSettings {
            organization_id: organization_id.to_owned(),
            identity: identity.clone(),
            ..applied.settings
        };
        self.state.put_settings(&settings).await?;
        self.state.table.delete(&ItemKey::new(&["pulse"], "-"), None).await.map(|_| ())
    }

    async fn put_definition(&self, definition: &Definition) -> Result<Definition, PortError> {
        let item_key = definition_item_key(&definition.name);
        let known: Option<Definition> =
            self.state.table.get(&item_key).await?.map(|item| item.body()).transpose()?;
        let mut next = definition.clone();
        let (mut condition, mut same_version) = (Condition::absent(), false);
        if let Some(known) = known {
            next = next.following(&known);
            if next == known {
                return Ok(known);
            }
            same_version = next.version == known.version;
            condition = Condition::equal("version", number(known.version));
        }
        let item = Item::at(&item_key).with("version", number(next.version)).with("body", text(json(&next)?));
        let mut writes = vec![Write::Put(item, Some(condition))];
        if !same_version {
            writes.push(Write::Delete(ItemKey::new(&["cursor", &next.name], "-"), None));
        }
        if !self.state.table.transact(writes).await? {
            return Err(PortError::Store {
                message: format!(
                    "another `syncline apply` stored sync {} at the same time; run \
                     `syncline apply --stack NAME` again",
                    next.name
                ),
            });
        }
        // `AppliedConfig::revision` changes after the definition, not before: a function that read the table in
        // between would keep the old definition together with the new revision.
        self.state.renew_revision().await?;
        Ok(next)
    }

    async fn forget_bases(&self) -> Result<u64, PortError> {
        let mut forgotten = 0;
        let kinds = ["base#", "id#", "key#", "external-id#", "cursor#", "linked#", "pulse"];
        let item_keys: Vec<ItemKey> =
            self.state.table.everything().await?.iter().map(Item::item_key).collect();
        let item_keys: Vec<ItemKey> = item_keys
            .into_iter()
            .filter(|item_key| {
                kinds.iter().any(|kind| item_key.pk.starts_with(kind)) && item_key.sk != "rejected"
            })
            .collect();
        for item_key in &item_keys {
            forgotten += u64::from(item_key.pk.starts_with("base#") && item_key.sk == "base");
        }
        each(item_keys.iter().map(|item_key| self.state.table.delete(item_key, None)).collect()).await?;
        Ok(forgotten)
    }

    async fn overview(&self, syncs: &[String]) -> Result<Overview, PortError> {
        let mut overview = Overview::default();
        for sync in syncs {
            overview.linked.push((sync.clone(), self.state.linked(sync).await?));
            if let Some(pause) = self.state.paused(sync).await? {
                overview.paused.push((sync.clone(), pause.message));
            }
            if let Some(gap) = self.state.cursor(sync).await?.capture_gap {
                overview.capture_gaps.push((sync.clone(), gap));
            }
        }
        for side in [syncline_engine::Side::Salesforce, syncline_engine::Side::Postgres] {
            let breaker: Breaker = self.state.breaker(side).await?;
            if breaker.is_open() {
                overview.breakers.push((side.to_string(), breaker.message));
            }
        }
        let count = async |kind: &'static str| {
            let counts =
                each(crate::bases::lists(kind).map(|list| self.state.table.count(list, None)).collect())
                    .await?;
            Ok::<u64, PortError>(counts.into_iter().sum())
        };
        let refused = each(
            crate::bases::lists("due").map(|list| deferred::count_refused(&self.state.table, list)).collect(),
        );
        overview.deferred = count("due").await?.saturating_sub(refused.await?.into_iter().sum());
        let waiting = each(
            crate::bases::lists("due").map(|list| deferred::count_waiting(&self.state.table, list)).collect(),
        );
        overview.waiting = waiting.await?.into_iter().sum();
        overview.conflicts = count("conflict").await?;
        overview.rejected = count("rejected").await?;
        overview.held = count("held").await?;
        overview.queue = self.queue.depth().await?;
        overview.dead = self.dead.depth().await?;
        Ok(overview)
    }

    async fn conflicts(&self, limit: usize) -> Result<Vec<ShownConflict>, PortError> {
        let items = self.newest("conflict", limit).await?;
        let groups: Vec<Vec<Conflict>> = items.iter().map(Item::body).collect::<Result<_, _>>()?;
        Ok(groups.into_iter().flatten().take(limit).map(ShownConflict::from).collect())
    }

    async fn last_rejected(&self, limit: usize) -> Result<Vec<Rejected>, PortError> {
        self.newest("rejected", limit).await?.iter().map(Item::body).collect()
    }

    async fn last_held(&self, limit: usize) -> Result<Vec<HeldRecord>, PortError> {
        let of_item = |item: &Item| {
            let held: HeldRecord = item.body()?;
            Ok(HeldRecord { at: item.text("at").parse().unwrap_or(held.at), ..held })
        };
        self.newest("held", limit).await?.iter().map(of_item).collect()
    }

    async fn waiting(&self, limit: usize) -> Result<Vec<WaitingRecord>, PortError> {
        deferred::waiting(&self.state.table, limit).await
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, PortError> {
        self.dead.dead_letters().await
    }

    async fn redrive(&self) -> Result<u64, PortError> {
        self.dead.redrive(&self.queue).await
    }
}

impl Table {
    /// The keys of every item of the table.
    async fn everything(&self) -> Result<Vec<Item>, PortError> {
        let mut items = Vec::new();
        let mut pages =
            self.client.scan().table_name(&self.name).projection_expression("pk, sk").into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                crate::table::failed(&format!("DynamoDB Scan on table {}", self.name), error)
            })?;
            items.extend(
                page.items
                    .unwrap_or_default()
                    .into_iter()
                    .map(|item: std::collections::HashMap<String, AttributeValue>| Item(item)),
            );
        }
        Ok(items)
    }
}
