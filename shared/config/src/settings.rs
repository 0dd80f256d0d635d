//! What a configuration file says, as types.

use crate::secret::SecretRef;
use jiff::SignedDuration;
use std::net::SocketAddr;
use syncline_engine::{DeleteLimit, Deletes, Direction, FirstLink, Side};
use syncline_salesforce::{Auth, WriteOptions};
use syncline_sync::DailyCalls;

/// The section `[salesforce]`: how Syncline connects to Salesforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalesforceConfig {
    /// The address at which Syncline signs in, without a slash at its end: the org's My Domain, or
    /// `https://login.salesforce.com`, or `https://test.salesforce.com`.
    pub login_url: String,
    /// The way in which Syncline signs in.
    pub auth: Auth,
    /// Where the JSON with the credentials is; [`Auth::shape`] shows its form.
    pub secret: SecretRef,
    /// The version of Salesforce's API that Syncline uses, such as `62.0`.
    pub api_version: String,
    /// How many of the org's daily API calls Syncline may use.
    pub daily_calls: DailyCalls,
    /// The API name of the external Id field, by which a created record is found again.
    pub external_id: String,
    /// The API name of the marker: the field in which each write of Syncline leaves the id of its intent.
    pub marker: String,
    /// How records are written.
    pub writes: WriteOptions,
}

/// The section `[postgres]`: how Syncline connects to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Where the database's address is, which contains the password.
    pub secret: SecretRef,
    /// PostgreSQL's `sslmode`. `None` leaves the choice to the address; if the address has none either, it is
    /// `verify-full`, or `disable` for a database on this machine.
    pub sslmode: Option<String>,
    /// The database's host, for a stack in AWS whose secret does not contain one: the secret that RDS manages
    /// itself has user name and password only.
    pub host: Option<String>,
    /// The database's port, for a stack in AWS whose secret does not contain one.
    pub port: Option<u16>,
    /// The database's name, for a stack in AWS whose secret does not contain one.
    pub database: Option<String>,
}

/// The section `[ingest]`: how `syncline serve` receives Salesforce's outbound messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// Where the secret part of the address is to which Salesforce sends its outbound messages.
    pub secret: SecretRef,
}

/// The section `[serve]`: settings of the running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// The address and port on which `syncline serve` listens for HTTP.
    pub listen: SocketAddr,
    /// How many workers of `syncline serve` reconcile at the same time.
    pub workers: usize,
}

/// The section `[timing]`: how long things take, in the one-process mode and in a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimingConfig {
    /// How long an intent keeps other runs away from its record.
    pub lease: SignedDuration,
    /// How far before its cursor catch-up reads Salesforce again, because a record may become visible only
    /// minutes after its stamp.
    pub look_back: SignedDuration,
}

/// One field of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's API name in Salesforce.
    pub field: String,
    /// The column of the table.
    pub column: String,
    /// Which side's changes of this field are carried across.
    pub direction: Direction,
    /// For a lookup, the name of the sync that pairs the parents. The column holds the key of the parent's
    /// row, and the field holds the parent's Salesforce Id.
    pub lookup: Option<String>,
}

/// The fields of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fields {
    /// `"*"`: every field that can be set in a create and whose type Syncline knows. The first `apply` fixes
    /// the list of fields; a field that the object gets later is not synced.
    All,
    /// The fields that the file names.
    Named(Vec<Field>),
}

/// A section `[sync.NAME]`: one Salesforce object that is paired with one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The sync's name.
    pub name: String,
    /// The API name of the Salesforce object.
    pub object: String,
    /// The schema of the table; `public` if the file names none.
    pub schema: String,
    /// The name of the table, without its schema.
    pub table: String,
    /// The link column: the column that holds the Salesforce Id of the row's record.
    pub link: String,
    /// The primary: the side that wins a conflict.
    pub primary: Side,
    /// Which side's changes are carried across.
    pub direction: Direction,
    /// What happens where both sides hold a value and there is no base.
    pub on_first_link: FirstLink,
    /// What a delete on one side leads to on the other.
    pub deletes: Deletes,
    /// How many deletes are carried across within an hour before the sync pauses.
    pub delete_limit: DeleteLimit,
    /// True if the links are in a table of Syncline's own, so that the user's table needs no link column.
    pub link_table: bool,
    /// The time between two catch-ups in Salesforce.
    pub poll_interval: SignedDuration,
    /// The fields that are synced.
    pub fields: Fields,
}

/// The whole file `syncline.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The instance's name, `default` if the file names none. It is a part of external Ids and, unless it is
    /// `default`, of the schema's name.
    pub instance: String,
    /// The section `[salesforce]`.
    pub salesforce: SalesforceConfig,
    /// The section `[postgres]`.
    pub postgres: PostgresConfig,
    /// The section `[ingest]`; `None` if no outbound messages are received, so that catch-up alone finds
    /// changes.
    pub ingest: Option<IngestConfig>,
    /// The section `[serve]`, with defaults for what the file leaves out.
    pub serve: ServeConfig,
    /// The section `[timing]`, with defaults for what the file leaves out.
    pub timing: TimingConfig,
    /// The syncs, sorted by name.
    pub syncs: Vec<Sync>,
    /// Keys that are read although they have another name today, and what to write instead: one message each.
    pub notices: Vec<String>,
}
