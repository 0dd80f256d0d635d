//! What `syncline apply --stack` stores for the functions: the instance's settings, the org and the database
//! that the instance is bound to, and its definitions. Also the numbers and lists that `syncline status` and
//! other commands show.

use crate::secret::Whereabouts;
use crate::state::DynamoState;
use crate::table::{Condition, Item, ItemKey, Table, Write, each, json, moment, number, text, token};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use syncline_engine::Definition;
use syncline_postgres::Identity;
use syncline_salesforce::Auth;
use syncline_sync::{
    Breaker, Conflict, DailyCalls, HeldRecord, Overview, PortError, Rejected, ShownConflict, State as _,
};

/// The settings of an instance, as the functions need them: what `syncline.toml` says outside of the syncs,
/// and the org and the database that the instance is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSettings {
    /// The form number of this document; [`SETTINGS_FORM`] when this release writes it.
    #[serde(rename = "v")]
    pub form: u8,
    /// The instance's name.
    pub instance: String,
    /// The URL where Syncline signs in to Salesforce.
    pub login_url: String,
    /// The way of signing in; the Salesforce secret has to have the JSON of that way.
    pub auth: Auth,
    /// The version of Salesforce's REST API, such as `62.0`.
    pub api_version: String,
    /// How many Salesforce calls a day Syncline may use.
    pub daily_calls: DailyCalls,
    /// How long an intent keeps other runs away from its record, in seconds.
    pub lease_s: i64,
    /// How far catch-up looks back behind its cursor, in seconds.
    pub look_back_s: i64,
    /// `postgres.sslmode`, where the file sets it.
    pub sslmode: Option<String>,
    /// Where the database is, as far as the secret does not say.
    #[serde(default)]
    pub whereabouts: Whereabouts,
    /// The Id of the org that the instance is bound to.
    pub organization_id: String,
    /// The database that the instance is bound to.
    pub identity: Identity,
    /// The names of the syncs that are served. A sync that is no longer in the file is not served; its
    /// definition stays stored.
    pub syncs: Vec<String>,
}

/// The attribute that holds the revision. Functions of earlier releases read it under this name.
const REVISION: &str = "stamp";

/// The form number of [`InstanceSettings`] that this release writes, and the newest that it reads.
pub const SETTINGS_FORM: u8 = 1;

/// What `syncline apply --stack` stored, as it was when it was read.
#[derive(Clone, Debug)]
pub struct AppliedConfig {
    /// A random text that changes each time settings or a definition are stored.
    pub revision: String,
    /// The instance's settings.
    pub settings: InstanceSettings,
    /// The definitions of the syncs that are served, in the order of their names.
    pub definitions: Vec<Definition>,
}

fn item_key() -> ItemKey {
    ItemKey::new(&["instance"], "instance")
}

fn definition_item_key(sync: &str) -> ItemKey {
    ItemKey::new(&["instance"], &format!("definition#{sync}"))
}

impl DynamoState {
    /// The present value of [`AppliedConfig::revision`]; `None` where nothing was applied yet. It costs one read of a
    /// small item, and tells whether anything was applied since an [`AppliedConfig`] was read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn applied_revision(&self) -> Result<Option<String>, PortError> {
        Ok(self.table.get(&item_key()).await?.map(|item| item.text(REVISION).to_owned()))
    }

    /// Reads the settings and the definitions; `None` where nothing was applied yet.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or a newer release stored settings that this release cannot read.
    pub async fn applied(&self) -> Result<Option<AppliedConfig>, PortError> {
        let items = self.table.partition(&item_key().pk).await?;
        let Some(head) = items.iter().find(|item| item.text("sk") == "instance") else { return Ok(None) };
        let settings: InstanceSettings = head.body()?;
        if settings.form > SETTINGS_FORM {
            return Err(PortError::Store {
                message:
                    "a newer release of Syncline stored the settings of this instance, and this release \
                          cannot read them; deploy the newer release again"
                        .to_owned(),
            });
        }
        let definitions = items.iter().filter(|item| item.text("sk").starts_with("definition#"));
        let mut definitions: Vec<Definition> = definitions.map(Item::body).collect::<Result<_, _>>()?;
        definitions.retain(|definition| settings.syncs.contains(&definition.name));
        Ok(Some(AppliedConfig { revision: head.text(REVISION).to_owned(), settings, definitions }))
    }

    /// Stores the settings, whatever was stored before.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn put_settings(&self, settings: &InstanceSettings) -> Result<(), PortError> {
        let item = Item::at(&item_key()).with(REVISION, text(token())).with("body", text(json(settings)?));
        self.table.put(item, None).await.map(|_| ())
    }

    /// Binds the instance to this org and this database from now on. The pulse in the state store is deleted,
    /// so that the next beat of the database's pulse is accepted as it is.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or nothing was applied yet.
    pub async fn rebind(&self, organization_id: &str, identity: &Identity) -> Result<(), PortError> {
        let Some(applied) = self.applied().await? else {
            return Err(PortError::Store {
                message: "nothing is applied yet; run `syncline apply --stack NAME`".to_owned(),
            });
        };
        let settings = InstanceSettings {
            organization_id: organization_id.to_owned(),
            identity: identity.clone(),
            ..applied.settings
        };
        self.put_settings(&settings).await?;
        self.table.delete(&ItemKey::new(&["pulse"], "-"), None).await.map(|_| ())
    }

    /// Stores a definition and answers the stored one. A definition that differs from the stored one in
    /// anything but its version gets the next version. Its sync's cursor is deleted with it, so that poll
    /// looks at every record again.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or another `syncline apply` stores the same definition at the same
    /// time.
    pub async fn put_definition(&self, definition: &Definition) -> Result<Definition, PortError> {
        let item_key = definition_item_key(&definition.name);
        let known: Option<Definition> =
            self.table.get(&item_key).await?.map(|item| item.body()).transpose()?;
        let mut next = definition.clone();
        let mut condition = Condition::absent();
        if let Some(known) = known {
            next.version = known.version;
            if next == known {
                return Ok(known);
            }
            next.version += 1;
            condition = Condition::equal("version", number(known.version));
        }
        let item = Item::at(&item_key).with("version", number(next.version)).with("body", text(json(&next)?));
        let writes = vec![
            Write::Put(item, Some(condition)),
            Write::Delete(ItemKey::new(&["cursor", &next.name], "-"), None),
        ];
        if !self.table.transact(writes).await? {
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
        let values = HashMap::from([(":stamp".to_owned(), text(token()))]);
        self.table
            .update(&self::item_key(), "SET #stamp = :stamp", values, Some("attribute_exists(pk)"))
            .await?;
        Ok(next)
    }

    /// Deletes all bases with their pointers, held entries, cursors, numbers of linked records and the pulse,
    /// and answers how many bases that were. Settings, definitions, rejected entries, deferred touches and
    /// conflicts stay. No run may be under way while it works.
    ///
    /// # Errors
    /// When DynamoDB does not answer. Call it again: it goes on with what is left.
    pub async fn rebuild(&self) -> Result<u64, PortError> {
        let mut forgotten = 0;
        let kinds = ["base#", "id#", "key#", "external-id#", "cursor#", "linked#", "pulse"];
        let item_keys: Vec<ItemKey> = self.table.everything().await?.iter().map(Item::item_key).collect();
        let item_keys: Vec<ItemKey> = item_keys
            .into_iter()
            .filter(|item_key| {
                kinds.iter().any(|kind| item_key.pk.starts_with(kind)) && item_key.sk != "rejected"
            })
            .collect();
        for item_key in &item_keys {
            forgotten += u64::from(item_key.pk.starts_with("base#") && item_key.sk == "base");
        }
        each(item_keys.iter().map(|item_key| self.table.delete(item_key, None)).collect()).await?;
        Ok(forgotten)
    }

    /// The numbers that `syncline status` shows, without those of the queues and the capture log.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn overview(&self, syncs: &[String]) -> Result<Overview, PortError> {
        let mut overview = Overview::default();
        for sync in syncs {
            overview.linked.push((sync.clone(), self.linked(sync).await?));
            if let Some(pause) = self.paused(sync).await? {
                overview.paused.push((sync.clone(), pause.message));
            }
        }
        for side in [syncline_engine::Side::Salesforce, syncline_engine::Side::Postgres] {
            let breaker: Breaker = self.breaker(side).await?;
            if breaker.is_open() {
                overview.breakers.push((side.to_string(), breaker.message));
            }
        }
        let count = async |kind: &'static str| {
            let counts = each(crate::bases::lists(kind).map(|list| self.table.count(list)).collect()).await?;
            Ok::<u64, PortError>(counts.into_iter().sum())
        };
        overview.deferred = count("due").await?;
        overview.conflicts = count("conflict").await?;
        overview.rejected = count("rejected").await?;
        overview.held = count("held").await?;
        Ok(overview)
    }

    /// The newest `limit` items of a kind, the newest first.
    async fn newest(&self, kind: &'static str, limit: usize) -> Result<Vec<Item>, PortError> {
        let found =
            each(crate::bases::lists(kind).map(|list| self.table.list(list, None, limit)).collect()).await?;
        let mut items: Vec<Item> = found.into_iter().flatten().collect();
        items.sort_by(|one, other| other.text("at").cmp(one.text("at")));
        items.truncate(limit);
        Ok(items)
    }

    /// The newest `limit` conflicts, the newest first.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn conflicts(&self, limit: usize) -> Result<Vec<ShownConflict>, PortError> {
        let items = self.newest("conflict", limit).await?;
        let groups: Vec<Vec<Conflict>> = items.iter().map(Item::body).collect::<Result<_, _>>()?;
        Ok(groups.into_iter().flatten().take(limit).map(ShownConflict::from).collect())
    }

    /// The newest `limit` rejected records, the newest first.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn last_rejected(&self, limit: usize) -> Result<Vec<Rejected>, PortError> {
        self.newest("rejected", limit).await?.iter().map(Item::body).collect()
    }

    /// The newest `limit` held records, the newest first; `at` is the moment since when a record is held.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn last_held(&self, limit: usize) -> Result<Vec<HeldRecord>, PortError> {
        let of_item = |item: &Item| {
            let held: HeldRecord = item.body()?;
            Ok(HeldRecord { at: item.text("at").parse().unwrap_or(held.at), ..held })
        };
        self.newest("held", limit).await?.iter().map(of_item).collect()
    }

    /// Takes the turn for scheduled work of this name, so that one run does it: `true` if no other run took
    /// the turn within the time `every` before `now`. Else `false`: the work is done already.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn turn(
        &self,
        work: &str,
        now: Timestamp,
        every: jiff::SignedDuration,
    ) -> Result<bool, PortError> {
        let values =
            [(":now".to_owned(), text(moment(now))), (":before".to_owned(), text(moment(now - every)))];
        let due = Some("attribute_not_exists(#done) OR #done < :before");
        self.table.update(&ItemKey::new(&["turn", work], "-"), "SET #done = :now", values.into(), due).await
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
