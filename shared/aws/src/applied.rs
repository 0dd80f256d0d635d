//! What `syncline apply --stack` stores for the functions: the instance's settings, the org and the database
//! that the instance is bound to, and its definitions. Also the numbers and lists that `syncline status` and
//! other commands show.

use crate::item::{Item, ItemKey, json, moment, text, token};
use crate::secret::Whereabouts;
use crate::state::DynamoState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use syncline_engine::Definition;
use syncline_postgres::DatabaseIdentity;
use syncline_salesforce::{Auth, Duplicates, WriteOptions};
use syncline_sync::{DailyCalls, PortError};

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
    /// The most records in one call that writes to Salesforce. Absent if an earlier release stored the settings.
    #[serde(default)]
    pub batch_size: Option<usize>,
    /// What becomes of a record that a duplicate rule finds.
    #[serde(default)]
    pub duplicates: Duplicates,
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
    pub identity: DatabaseIdentity,
    /// The names of the syncs that are served. A sync that is no longer in the file is not served; its
    /// definition stays stored.
    pub syncs: Vec<String>,
}

impl InstanceSettings {
    /// How records are written to Salesforce.
    #[must_use]
    pub fn writes(&self) -> WriteOptions {
        let WriteOptions { batch_size, .. } = WriteOptions::default();
        WriteOptions { batch_size: self.batch_size.unwrap_or(batch_size), duplicates: self.duplicates }
    }
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

pub(crate) fn definition_item_key(sync: &str) -> ItemKey {
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
            return Err(PortError::NotConfigured {
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

    /// Says that something was applied since, if anything ever was.
    pub(crate) async fn renew_revision(&self) -> Result<(), PortError> {
        let values = HashMap::from([(":revision".to_owned(), text(token()))]);
        let expression = format!("SET #{REVISION} = :revision");
        self.table.update(&item_key(), &expression, values, Some("attribute_exists(pk)")).await.map(|_| ())
    }

    /// Stores the settings, whatever was stored before.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn put_settings(&self, settings: &InstanceSettings) -> Result<(), PortError> {
        let item = Item::at(&item_key()).with(REVISION, text(token())).with("body", text(json(settings)?));
        self.table.put(item, None).await.map(|_| ())
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
