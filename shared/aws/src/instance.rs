//! What `apply` stores for the functions: how the instance is set up, what it is bound to, its definitions.

use crate::secret::Whereabouts;
use crate::state::DynamoState;
use crate::table::{Condition, Item, Place, Table, Write, each, json, moment, number, text, token};
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

/// How an instance is set up, as the functions need it: what `syncline.toml` says outside of the syncs, and what
/// the instance is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSettings {
    /// The form of this document.
    pub v: u8,
    /// The instance's name.
    pub instance: String,
    /// Where to sign in to Salesforce.
    pub login_url: String,
    /// How.
    pub auth: Auth,
    /// The API version.
    pub api_version: String,
    /// The daily calls.
    pub daily_calls: DailyCalls,
    /// How long an intent keeps others away, in seconds.
    pub lease_s: i64,
    /// How far catch-up looks back, in seconds.
    pub look_back_s: i64,
    /// `sslmode`, if given.
    pub sslmode: Option<String>,
    /// Where the database is, if the secret does not say.
    #[serde(default)]
    pub whereabouts: Whereabouts,
    /// The org that the instance is bound to.
    pub organization_id: String,
    /// The database that it is bound to.
    pub identity: Identity,
    /// The syncs that are served: one that is gone from the file is left alone, though its definition is kept.
    pub syncs: Vec<String>,
}

/// The form of [`InstanceSettings`] that this code writes.
pub const SETTINGS_FORM: u8 = 1;

/// What is applied, as it stood when it was read.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Changes whenever anything of this does.
    pub stamp: String,
    /// The settings.
    pub settings: InstanceSettings,
    /// The definitions, by name.
    pub definitions: Vec<Definition>,
}

fn place() -> Place {
    Place::new(&["instance"], "instance")
}

fn definition_place(sync: &str) -> Place {
    Place::new(&["instance"], &format!("definition#{sync}"))
}

impl DynamoState {
    /// What says whether anything was applied since: one small read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn applied_stamp(&self) -> Result<Option<String>, PortError> {
        Ok(self.table.get(&place()).await?.map(|item| item.text("stamp").to_owned()))
    }

    /// What is applied.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or a newer release has applied what this one does not understand.
    pub async fn applied(&self) -> Result<Option<Applied>, PortError> {
        let items = self.table.partition(&place().pk).await?;
        let Some(head) = items.iter().find(|item| item.text("sk") == "instance") else { return Ok(None) };
        let settings: InstanceSettings = head.body()?;
        if settings.v > SETTINGS_FORM {
            return Err(PortError::Store {
                message: "a newer release has applied this instance; deploy that release, or run its `syncline apply` again with this one".to_owned(),
            });
        }
        let definitions = items.iter().filter(|item| item.text("sk").starts_with("definition#"));
        let mut definitions: Vec<Definition> = definitions.map(Item::body).collect::<Result<_, _>>()?;
        definitions.retain(|definition| settings.syncs.contains(&definition.name));
        Ok(Some(Applied { stamp: head.text("stamp").to_owned(), settings, definitions }))
    }

    /// Stores how the instance is set up and what it is bound to.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn put_settings(&self, settings: &InstanceSettings) -> Result<(), PortError> {
        let item = Item::at(&place()).with("stamp", text(token())).with("body", text(json(settings)?));
        self.table.put(item, None).await.map(|_| ())
    }

    /// Binds the instance to another org or database from now on; the pulse begins anew.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn rebind(&self, organization_id: &str, identity: &Identity) -> Result<(), PortError> {
        let Some(applied) = self.applied().await? else {
            return Err(PortError::Store { message: "nothing is applied yet".to_owned() });
        };
        let settings = InstanceSettings {
            organization_id: organization_id.to_owned(),
            identity: identity.clone(),
            ..applied.settings
        };
        self.put_settings(&settings).await?;
        self.table.delete(&Place::new(&["pulse"], "-"), None).await.map(|_| ())
    }

    /// Stores a definition; one that differs from the stored one gets the next version, and every record is looked
    /// at again. Answers what stands.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or somebody else applies at the same moment.
    pub async fn put_definition(&self, definition: &Definition) -> Result<Definition, PortError> {
        let place = definition_place(&definition.name);
        let known: Option<Definition> = self.table.get(&place).await?.map(|item| item.body()).transpose()?;
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
        let item = Item::at(&place).with("version", number(next.version)).with("body", text(json(&next)?));
        let writes = vec![
            Write::Put(item, Some(condition)),
            Write::Delete(Place::new(&["cursor", &next.name], "-"), None),
        ];
        if !self.table.transact(writes).await? {
            return Err(PortError::Store {
                message: format!("sync {} is being applied by somebody else; apply again", next.name),
            });
        }
        // Only now: who reads the table in between must not take the old definition for the new one.
        let values = HashMap::from([(":stamp".to_owned(), text(token()))]);
        self.table
            .update(&self::place(), "SET #stamp = :stamp", values, Some("attribute_exists(pk)"))
            .await?;
        Ok(next)
    }

    /// Forgets what was agreed on, with its pointers; answers how many bases. No run may be under way. What is applied stays, and what is
    /// rejected, put off or in the conflict log.
    ///
    /// # Errors
    /// When DynamoDB does not answer; run again, it goes on.
    pub async fn rebuild(&self) -> Result<u64, PortError> {
        let mut forgotten = 0;
        let kinds = ["base#", "id#", "key#", "external-id#", "cursor#", "linked#", "pulse"];
        let places: Vec<Place> = self.table.everything().await?.iter().map(Item::place).collect();
        let places: Vec<Place> = places
            .into_iter()
            .filter(|place| kinds.iter().any(|kind| place.pk.starts_with(kind)) && place.sk != "rejected")
            .collect();
        for place in &places {
            forgotten += u64::from(place.pk.starts_with("base#") && place.sk == "base");
        }
        each(places.iter().map(|place| self.table.delete(place, None)).collect()).await?;
        Ok(forgotten)
    }

    /// Numbers of the instance, but for those of the queue and the capture log.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn overview(&self, syncs: &[String]) -> Result<Overview, PortError> {
        let mut overview = Overview::default();
        for sync in syncs {
            overview.linked.push((sync.clone(), self.linked(sync).await?));
            if let Some(reason) = self.paused(sync).await? {
                overview.paused.push((sync.clone(), reason));
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

    /// The newest items of a kind, newest first.
    async fn newest(&self, kind: &'static str, limit: usize) -> Result<Vec<Item>, PortError> {
        let found =
            each(crate::bases::lists(kind).map(|list| self.table.list(list, None, limit)).collect()).await?;
        let mut items: Vec<Item> = found.into_iter().flatten().collect();
        items.sort_by(|one, other| other.text("at").cmp(one.text("at")));
        items.truncate(limit);
        Ok(items)
    }

    /// The last conflicts, newest first.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn conflicts(&self, limit: usize) -> Result<Vec<ShownConflict>, PortError> {
        let items = self.newest("conflict", limit).await?;
        let groups: Vec<Vec<Conflict>> = items.iter().map(Item::body).collect::<Result<_, _>>()?;
        Ok(groups.into_iter().flatten().take(limit).map(ShownConflict::from).collect())
    }

    /// The last rejected records, newest first.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn last_rejected(&self, limit: usize) -> Result<Vec<Rejected>, PortError> {
        self.newest("rejected", limit).await?.iter().map(Item::body).collect()
    }

    /// The last held records, newest first, with the moment since when they are.
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

    /// Who may go on with scheduled work that one run at a time is enough for; `false` if another run had its turn
    /// within `every`.
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
        self.table.update(&Place::new(&["turn", work], "-"), "SET #done = :now", values.into(), due).await
    }
}

impl Table {
    /// Every item, without what stands in them.
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
