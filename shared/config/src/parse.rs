//! The configuration in `syncline.toml`: its types, and how they are read from the file. A file with problems
//! is refused as a whole, with one message for each problem; a message begins with the name of its key.

use crate::reader::{Reader, Section, kind};
use crate::secret::SecretRef;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use syncline_engine::{DeleteLimit, DeletePolicy, Deletes, Direction, FirstLink, Side};
use syncline_salesforce::Auth;
use syncline_sync::DailyCalls;
use toml::{Table, Value};

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
    /// How long an intent keeps other runs away from its record.
    pub lease: SignedDuration,
    /// How far before its cursor catch-up reads Salesforce again, because a record may become visible only
    /// minutes after its stamp.
    pub look_back: SignedDuration,
    /// How many workers of `syncline serve` reconcile at the same time.
    pub workers: usize,
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
    /// The syncs, sorted by name.
    pub syncs: Vec<Sync>,
}

/// Every problem of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// One message for each problem, which begins with the name of the key.
    pub problems: Vec<String>,
}

const SIDES: &[(&str, Side)] = &[("salesforce", Side::Salesforce), ("postgres", Side::Postgres)];
const DIRECTIONS: &[(&str, Direction)] = &[
    ("both", Direction::Both),
    ("to-postgres", Direction::ToPostgres),
    ("to-salesforce", Direction::ToSalesforce),
];

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// When the text is not TOML, or is not a valid configuration: every problem at once.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError { problems: vec![error.to_string()] })?;
        let mut reader = Reader::default();
        let mut root = Section::new("", &table);
        let instance = reader.text(&mut root, "instance").unwrap_or_else(|| "default".to_owned());
        if !is_name(&instance) {
            reader.problem(
                "instance",
                "must begin with a lower-case letter and contain only lower-case letters, digits and _, 30 characters at most",
            );
        }
        let salesforce =
            reader.table(&mut root, "salesforce", true).and_then(|table| salesforce(&mut reader, table));
        let postgres =
            reader.table(&mut root, "postgres", true).and_then(|table| postgres(&mut reader, table));
        let ingest = reader.table(&mut root, "ingest", false).and_then(|table| {
            let mut section = Section::new("ingest", table);
            let secret = reader.secret(&mut section, "secret", "\"env:SYNCLINE_INGEST\"");
            reader.close(&section);
            secret.map(|secret| IngestConfig { secret })
        });
        let serve = reader.table(&mut root, "serve", false);
        let serve = serve_config(&mut reader, serve);
        let mut syncs = Vec::new();
        match reader.table(&mut root, "sync", false) {
            Some(tables) => {
                for (name, value) in tables {
                    match value {
                        Value::Table(table) => syncs.extend(sync(&mut reader, name, table)),
                        other => reader.problem(
                            &format!("sync.{name}"),
                            format!("must be a section [sync.{name}], not {}", kind(other)),
                        ),
                    }
                }
            }
            None => reader.problem("sync", "no sync is configured; add a section such as [sync.contacts]"),
        }
        reader.close(&root);
        check_syncs(&mut reader, &syncs);
        match (salesforce, postgres) {
            (Some(salesforce), Some(postgres)) if reader.problems.is_empty() => {
                Ok(Self { instance, salesforce, postgres, ingest, serve, syncs })
            }
            _ => Err(ConfigError { problems: reader.problems }),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 30
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn salesforce(reader: &mut Reader, table: &Table) -> Option<SalesforceConfig> {
    let mut section = Section::new("salesforce", table);
    let login_url = reader.required(&mut section, "login_url", "\"https://acme.my.salesforce.com\"");
    let login_url = login_url.map(|url| url.trim_end_matches('/').to_owned());
    if let Some(url) = &login_url {
        let loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|start| url.starts_with(start));
        if !url.starts_with("https://") && !loopback {
            reader.problem(
                "salesforce.login_url",
                format!(
                    "is {url:?}, but must begin with https:// (http:// is for addresses of this machine only)"
                ),
            );
        }
    }
    let auths = [Auth::Jwt, Auth::ClientCredentials, Auth::RefreshToken, Auth::Password]
        .map(|auth| (auth.word(), auth));
    if !table.contains_key("auth") {
        reader.problem(
            "salesforce.auth",
            "is missing; add one of: jwt, client-credentials, refresh-token, password",
        );
    }
    let auth = reader.choice(&mut section, "auth", &auths);
    let secret = reader.secret(&mut section, "secret", "\"env:SALESFORCE_SECRET\"");
    let api_version = reader.text(&mut section, "api_version").unwrap_or_else(|| "62.0".to_owned());
    let number = api_version.strip_suffix(".0").and_then(|number| number.parse::<u32>().ok());
    if !number.is_some_and(|number| (50..=99).contains(&number)) {
        reader.problem(
            "salesforce.api_version",
            format!("is {api_version:?}, but must be a version such as \"62.0\", 50.0 or later"),
        );
    }
    let daily_calls = daily_calls(reader, section.get("daily_calls"));
    let external_id = reader.text(&mut section, "external_id").unwrap_or_else(|| "Syncline_Id__c".to_owned());
    let marker = reader.text(&mut section, "marker").unwrap_or_else(|| "Syncline_Write__c".to_owned());
    reader.close(&section);
    Some(SalesforceConfig {
        login_url: login_url?,
        auth: auth?,
        secret: secret?,
        api_version,
        daily_calls,
        external_id,
        marker,
    })
}

/// Reads `daily_calls`; half of the org's daily allowance is the default.
fn daily_calls(reader: &mut Reader, value: Option<&Value>) -> DailyCalls {
    let wanted = match value {
        None => return DailyCalls::Percent(50),
        Some(Value::Integer(count)) => {
            u64::try_from(*count).ok().filter(|count| *count > 0).map(DailyCalls::Count)
        }
        Some(Value::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
            percent.filter(|percent| (1..=100).contains(percent)).map(DailyCalls::Percent)
        }
        Some(_) => None,
    };
    wanted.unwrap_or_else(|| {
        reader.problem(
            "salesforce.daily_calls",
            "must be a number of calls, or a share of the org's daily allowance such as \"30%\"",
        );
        DailyCalls::Percent(50)
    })
}

const POLICIES: &[(&str, DeletePolicy)] =
    &[("keep", DeletePolicy::Keep), ("propagate", DeletePolicy::Propagate), ("review", DeletePolicy::Review)];

/// Reads `deletes`, which is one policy for both sides, or a table with one policy for each side.
fn deletes(reader: &mut Reader, path: &str, section: &mut Section<'_>, table: &Table) -> Deletes {
    if let Some(Value::Table(sides)) = table.get("deletes") {
        let _ = section.get("deletes");
        let path = format!("{path}.deletes");
        let mut section = Section::new(&path, sides);
        let from_salesforce = reader.choice(&mut section, "from_salesforce", POLICIES).unwrap_or_default();
        let from_postgres = reader.choice(&mut section, "from_postgres", POLICIES).unwrap_or_default();
        reader.close(&section);
        return Deletes { from_salesforce, from_postgres };
    }
    let policy = reader.choice(section, "deletes", POLICIES).unwrap_or_default();
    Deletes { from_salesforce: policy, from_postgres: policy }
}

fn delete_limit(reader: &mut Reader, path: &str, section: &mut Section<'_>) -> DeleteLimit {
    let mut limit = DeleteLimit::default();
    let path = format!("{path}.delete_limit");
    let table = match section.get("delete_limit") {
        None => return limit,
        Some(Value::Table(table)) => table,
        Some(_) => {
            reader.problem(&path, "must be a table such as { percent = 5, count = 100 }");
            return limit;
        }
    };
    let mut section = Section::new(&path, table);
    for (name, place, most) in
        [("percent", &mut limit.percent, 100), ("count", &mut limit.count, i64::from(u32::MAX))]
    {
        match section.get(name) {
            None => {}
            Some(Value::Integer(number)) if (0..=most).contains(number) => {
                *place = u32::try_from(*number).unwrap_or(*place);
            }
            Some(_) => {
                reader.problem(&format!("{path}.{name}"), format!("must be a number from 0 to {most}"));
            }
        }
    }
    reader.close(&section);
    limit
}

fn postgres(reader: &mut Reader, table: &Table) -> Option<PostgresConfig> {
    let mut section = Section::new("postgres", table);
    let secret = reader.secret(&mut section, "secret", "\"env:DATABASE_URL\"");
    let modes = ["disable", "require", "verify-ca", "verify-full"].map(|mode| (mode, mode));
    let sslmode = reader.choice(&mut section, "sslmode", &modes).map(str::to_owned);
    let host = reader.text(&mut section, "host");
    let database = reader.text(&mut section, "database");
    let port = match section.get("port") {
        None => None,
        Some(Value::Integer(port)) if (1..=65_535).contains(port) => u16::try_from(*port).ok(),
        Some(_) => {
            reader.problem("postgres.port", "must be a number from 1 to 65535");
            None
        }
    };
    reader.close(&section);
    Some(PostgresConfig { secret: secret?, sslmode, host, port, database })
}

fn serve_config(reader: &mut Reader, table: Option<&Table>) -> ServeConfig {
    let mut serve = ServeConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        lease: SignedDuration::from_secs(90),
        look_back: SignedDuration::from_mins(10),
        workers: 2,
    };
    let Some(table) = table else { return serve };
    let mut section = Section::new("serve", table);
    if let Some(text) = reader.text(&mut section, "listen") {
        match text.parse() {
            Ok(listen) => serve.listen = listen,
            Err(_) => reader.problem(
                "serve.listen",
                format!("is {text:?}, but must be an IP address and a port, such as \"127.0.0.1:8080\""),
            ),
        }
    }
    serve.lease = reader.duration(&mut section, "lease", serve.lease);
    serve.look_back = reader.duration(&mut section, "look_back", serve.look_back);
    match section.get("workers") {
        None => {}
        Some(Value::Integer(count)) if (1..=16).contains(count) => {
            serve.workers = usize::try_from(*count).unwrap_or(serve.workers);
        }
        Some(_) => reader.problem("serve.workers", "must be a number from 1 to 16"),
    }
    reader.close(&section);
    serve
}

fn sync(reader: &mut Reader, name: &str, table: &Table) -> Option<Sync> {
    let path = format!("sync.{name}");
    let mut section = Section::new(&path, table);
    if !is_name(name) {
        reader.problem(
            &path,
            "the name of a sync must begin with a lower-case letter and contain only lower-case letters, digits and _, 30 characters at most",
        );
    }
    let object = reader.required(&mut section, "object", "\"Contact\"");
    let qualified = reader.required(&mut section, "table", "\"public.contacts\"");
    let (schema, bare) =
        match qualified.as_deref().map(|table| table.split_once('.').unwrap_or(("public", table))) {
            Some((schema, bare)) => (schema.to_owned(), bare.to_owned()),
            None => Default::default(),
        };
    let link = reader.text(&mut section, "link").unwrap_or_else(|| "salesforce_id".to_owned());
    let primary = reader.choice(&mut section, "primary", SIDES).unwrap_or(Side::Salesforce);
    let direction = reader.choice(&mut section, "direction", DIRECTIONS).unwrap_or_default();
    let policies = [("fill-empty", FirstLink::FillEmpty), ("primary", FirstLink::Primary)];
    let on_first_link = reader.choice(&mut section, "on_first_link", &policies).unwrap_or_default();
    let deletes = deletes(reader, &path, &mut section, table);
    let delete_limit = delete_limit(reader, &path, &mut section);
    let link_table = match section.get("link_table") {
        None => false,
        Some(Value::Boolean(yes)) => *yes,
        Some(_) => {
            reader.problem(&format!("{path}.link_table"), "must be true or false");
            false
        }
    };
    let poll_interval = reader.duration(&mut section, "poll_interval", SignedDuration::from_mins(1));
    let fields = match section.get("fields") {
        Some(Value::String(text)) if text == "*" => Some(Fields::All),
        Some(Value::Table(table)) => Some(Fields::Named(fields(reader, &path, table))),
        Some(_) => {
            reader.problem(
                &format!("{path}.fields"),
                format!(
                    "must be \"*\", or a section [{path}.fields] with lines such as FirstName = \"first_name\""
                ),
            );
            None
        }
        None => {
            reader.problem(
                &format!("{path}.fields"),
                format!(
                    "is missing; add a section [{path}.fields] with lines such as FirstName = \"first_name\", or fields = \"*\" for all fields"
                ),
            );
            None
        }
    };
    reader.close(&section);
    qualified.as_ref()?;
    Some(Sync {
        name: name.to_owned(),
        object: object?,
        schema,
        table: bare,
        link,
        primary,
        direction,
        on_first_link,
        deletes,
        delete_limit,
        link_table,
        poll_interval,
        fields: fields?,
    })
}

fn fields(reader: &mut Reader, path: &str, table: &Table) -> Vec<Field> {
    let mut fields = Vec::new();
    for (name, value) in table {
        let path = format!("{path}.fields.{name}");
        match value {
            Value::String(column) if !column.is_empty() => fields.push(Field {
                field: name.clone(),
                column: column.clone(),
                direction: Direction::Both,
                lookup: None,
            }),
            Value::Table(table) => {
                let mut section = Section::new(&path, table);
                let column = reader.required(&mut section, "column", "\"first_name\"");
                let direction = reader.choice(&mut section, "direction", DIRECTIONS).unwrap_or_default();
                let lookup = reader.text(&mut section, "lookup");
                reader.close(&section);
                fields.extend(column.map(|column| Field { field: name.clone(), column, direction, lookup }));
            }
            other => reader.problem(
                &path,
                format!(
                    "is {}, but must be the name of a column in quotes, or a table such as {{ column = \"first_name\" }}",
                    kind(other)
                ),
            ),
        }
    }
    if fields.is_empty() && table.is_empty() {
        reader.problem(
            &format!("{path}.fields"),
            "no field is mapped; add a line such as FirstName = \"first_name\"",
        );
    }
    fields
}

fn check_syncs(reader: &mut Reader, syncs: &[Sync]) {
    for sync in syncs {
        let Fields::Named(fields) = &sync.fields else { continue };
        let mut columns: BTreeMap<&str, &str> = BTreeMap::new();
        for field in fields {
            let path = format!("sync.{}.fields.{}", sync.name, field.field);
            if let Some(other) = columns.insert(&field.column, &field.field) {
                reader.problem(
                    &path,
                    format!("column {} is already mapped to {other}; map each column once", field.column),
                );
            }
            if let Some(parent) = &field.lookup
                && !syncs.iter().any(|other| other.name == *parent)
            {
                reader.problem(
                    &path,
                    format!(
                        "lookup names the sync {parent:?}, but there is no [sync.{parent}]; add it, or name another sync"
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        instance = "prod"
        [salesforce]
        login_url = "https://acme.my.salesforce.com/"
        auth = "jwt"
        secret = "env:SALESFORCE_SECRET"
        [postgres]
        secret = "env:DATABASE_URL"
        sslmode = "verify-full"
        [ingest]
        secret = "env:SYNCLINE_INGEST"
        [serve]
        listen = "127.0.0.1:9000"
        lease = "2m"
        [sync.accounts]
        object = "Account"
        table = "accounts"
        fields = "*"
        [sync.contacts]
        object = "Contact"
        table = "crm.contacts"
        primary = "postgres"
        poll_interval = "30s"
        deletes = { from_salesforce = "propagate", from_postgres = "keep" }
        delete_limit = { count = 7 }
        [sync.contacts.fields]
        LastName = "last_name"
        AccountId = { column = "account_id", lookup = "accounts" }
        Level__c = { column = "level", direction = "to-postgres" }
    "#;

    #[test]
    fn a_whole_file_is_read() {
        let config = Config::parse(WHOLE).unwrap();
        assert_eq!(config.salesforce.login_url, "https://acme.my.salesforce.com");
        assert_eq!(config.serve.lease, SignedDuration::from_mins(2));
        let contacts = &config.syncs[1];
        assert_eq!((contacts.schema.as_str(), contacts.table.as_str()), ("crm", "contacts"));
        assert_eq!(contacts.primary, Side::Postgres);
        assert_eq!(contacts.deletes.from(Side::Salesforce), DeletePolicy::Propagate);
        assert_eq!(contacts.deletes.from(Side::Postgres), DeletePolicy::Keep);
        assert_eq!(contacts.delete_limit, DeleteLimit { percent: 5, count: 7 });
        assert_eq!(config.syncs[0].deletes, Deletes::default());
        assert_eq!(config.salesforce.daily_calls, DailyCalls::Percent(50));
        let Fields::Named(fields) = &contacts.fields else { panic!() };
        assert_eq!(fields.len(), 3);
        assert_eq!(config.syncs[0].fields, Fields::All);
    }

    #[test]
    fn every_problem_is_in_one_answer() {
        let text = r#"
            instnace = "prod"
            [salesforce]
            login_url = "http://acme.my.salesforce.com"
            auth = "token"
            secret = "hunter2"
            daily_calls = "a lot"
            [postgres]
            sslmode = "prefer"
            [serve]
            listen = "everywhere"
            workers = 0
            [sync.Contacts]
            object = "Contact"
            primry = "postgres"
            poll_interval = "soon"
            deletes = "never"
            delete_limit = { count = -1 }
            [sync.Contacts.fields]
            A = "a"
            B = "a"
            C = 5
            D = { column = "d", lookup = "nobody" }
        "#;
        let error = Config::parse(text).unwrap_err().to_string();
        for words in [
            "instnace: there is no such setting; did you mean instance?",
            "salesforce.login_url: is \"http://acme",
            "salesforce.auth: is \"token\", but must be one of: jwt, client-credentials",
            "salesforce.secret: must be env:NAME, file:PATH or secretsmanager:NAME",
            "postgres.secret: is missing",
            "postgres.sslmode: is \"prefer\"",
            "serve.listen",
            "serve.workers",
            "sync.Contacts: the name of a sync must begin with a lower-case letter",
            "sync.Contacts.table: is missing",
            "sync.Contacts.primry: there is no such setting; did you mean primary?",
            "sync.Contacts.poll_interval: is \"soon\"",
            "sync.Contacts.deletes: is \"never\"",
            "sync.Contacts.delete_limit.count",
            "salesforce.daily_calls",
            "sync.Contacts.fields.C: is a number",
        ] {
            assert!(error.contains(words), "{words:?} is missing from:\n{error}");
        }
        assert!(!error.contains("hunter2"), "a secret is never shown:\n{error}");
    }

    #[test]
    fn columns_and_lookups_are_checked_across_syncs() {
        let text = WHOLE
            .replace("lookup = \"accounts\"", "lookup = \"nobody\"")
            .replace("\"level\"", "\"last_name\"");
        let error = Config::parse(&text).unwrap_err().to_string();
        assert!(
            error.contains("there is no [sync.nobody]") && error.contains("is already mapped to"),
            "{error}"
        );
    }

    #[test]
    fn text_that_is_no_toml_says_where() {
        let error = Config::parse("instance = ").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
