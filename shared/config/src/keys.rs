//! Every key of `syncline.toml`, for people: a test holds this table to what the parser reads, and the page
//! `docs/configuration.md` is made from it.

use std::fmt::Write as _;

/// One key of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its full name; NAME stands for a sync's name, FIELD for a field's.
    pub name: &'static str,
    /// What its value is.
    pub kind: &'static str,
    /// What counts without it.
    pub default: &'static str,
    /// A value.
    pub example: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

/// Every key, in the order of the file.
pub const KEYS: &[Key] = &[
    Key {
        name: "instance",
        kind: "text",
        default: "`default`",
        example: "prod",
        meaning: "The name of this installation: a lower-case letter, then lower-case letters, digits and `_`, 30 characters at most. Two instances in one database need two names. It is a part of external Ids and, unless it is `default`, of the schema's name.",
    },
    Key {
        name: "salesforce.login_url",
        kind: "address",
        default: "required",
        example: "https://acme.my.salesforce.com",
        meaning: "Where Syncline signs in: your org's My Domain, `https://login.salesforce.com` or `https://test.salesforce.com`.",
    },
    Key {
        name: "salesforce.auth",
        kind: "one of `jwt`, `client-credentials`, `refresh-token`, `password`",
        default: "required",
        example: "jwt",
        meaning: "How Syncline signs in. `syncline validate --help` shows the JSON that each way asks for.",
    },
    Key {
        name: "salesforce.secret",
        kind: "reference to a secret",
        default: "required",
        example: "env:SALESFORCE_SECRET",
        meaning: "Where the JSON with the credentials is: `env:NAME`, `file:PATH` or `secretsmanager:NAME`. A stack in AWS uses the secret with which it was deployed.",
    },
    Key {
        name: "salesforce.api_version",
        kind: "text",
        default: "`62.0`",
        example: "62.0",
        meaning: "The version of Salesforce's API, 50.0 or later.",
    },
    Key {
        name: "salesforce.daily_calls",
        kind: "number of calls, or share",
        default: "`50%`",
        example: "30%",
        meaning: "How many of the org's daily API calls Syncline may use: a number such as `20000`, or a share of the org's allowance.",
    },
    Key {
        name: "salesforce.external_id",
        kind: "API name",
        default: "`Syncline_Id__c`",
        example: "Syncline_Id__c",
        meaning: "The external Id field, Text(255), *External ID*, *Unique*, *case sensitive*, on each object that is synced towards Salesforce. By it a record whose answer was lost is found again.",
    },
    Key {
        name: "salesforce.marker",
        kind: "API name",
        default: "`Syncline_Write__c`",
        example: "Syncline_Write__c",
        meaning: "The marker, a Text(64) field in which each write of Syncline leaves the id of its intent.",
    },
    Key {
        name: "salesforce.batch_size",
        kind: "number, 1 to 200",
        default: "`200`",
        example: "200",
        meaning: "The most records in one call that writes. Where Apex code in the org meets a limit, Syncline makes its calls smaller by itself, and larger again later.",
    },
    Key {
        name: "salesforce.duplicates",
        kind: "`save` or `refuse`",
        default: "`save`",
        example: "save",
        meaning: "What becomes of a record that a duplicate rule of the org finds, if the rule lets a user save it after an alert. A rule that blocks refuses the record either way.",
    },
    Key {
        name: "postgres.secret",
        kind: "reference to a secret",
        default: "required",
        example: "env:DATABASE_URL",
        meaning: "Where the database's address is: `postgres://user:password@host:5432/database`. A stack in AWS uses the secret with which it was deployed.",
    },
    Key {
        name: "postgres.sslmode",
        kind: "one of `disable`, `require`, `verify-ca`, `verify-full`",
        default: "the address's, else `verify-full`",
        example: "verify-full",
        meaning: "How the connection is protected. For a database on this machine the default is `disable`.",
    },
    Key {
        name: "postgres.host",
        kind: "text",
        default: "none",
        example: "database.internal.acme.com",
        meaning: "The database's host, for a stack in AWS whose secret does not contain one.",
    },
    Key {
        name: "postgres.port",
        kind: "number, 1 to 65535",
        default: "none",
        example: "5432",
        meaning: "The database's port, for a stack in AWS whose secret does not contain one.",
    },
    Key {
        name: "postgres.database",
        kind: "text",
        default: "none",
        example: "app",
        meaning: "The database's name, for a stack in AWS whose secret does not contain one.",
    },
    Key {
        name: "ingest.secret",
        kind: "reference to a secret",
        default: "required in `[ingest]`",
        example: "env:SYNCLINE_INGEST",
        meaning: "Where the secret part of the address is to which Salesforce sends outbound messages. Without the section `[ingest]`, `syncline serve` receives none, and catch-up alone finds changes. A stack in AWS ignores the section.",
    },
    Key {
        name: "serve.listen",
        kind: "IP address and port",
        default: "`127.0.0.1:8080`",
        example: "127.0.0.1:8080",
        meaning: "Where `syncline serve` listens for plain HTTP, behind your reverse proxy with TLS.",
    },
    Key {
        name: "serve.workers",
        kind: "number, 1 to 16",
        default: "`2`",
        example: "2",
        meaning: "How many runs of `syncline serve` reconcile at the same time.",
    },
    Key {
        name: "timing.lease",
        kind: "time",
        default: "`90s`",
        example: "90s",
        meaning: "How long an intent keeps other runs away from its record. In a stack it has to be at least 5 seconds shorter than the parameter `ApplierTimeout`.",
    },
    Key {
        name: "timing.look_back",
        kind: "time",
        default: "`10m`",
        example: "10m",
        meaning: "How far before its cursor catch-up reads Salesforce again, because a record may become visible only minutes after its stamp.",
    },
    Key {
        name: "sync.NAME.object",
        kind: "API name",
        default: "required",
        example: "Contact",
        meaning: "The Salesforce object.",
    },
    Key {
        name: "sync.NAME.table",
        kind: "text",
        default: "required",
        example: "public.contacts",
        meaning: "The table, with its schema if that is not `public`. `syncline apply` creates a table that does not exist.",
    },
    Key {
        name: "sync.NAME.link",
        kind: "column",
        default: "`salesforce_id`",
        example: "salesforce_id",
        meaning: "The link column, which holds the Salesforce Id of the row's record; `syncline apply` adds it.",
    },
    Key {
        name: "sync.NAME.primary",
        kind: "one of `salesforce`, `postgres`",
        default: "`salesforce`",
        example: "postgres",
        meaning: "The side that wins a conflict.",
    },
    Key {
        name: "sync.NAME.direction",
        kind: "one of `both`, `to-postgres`, `to-salesforce`",
        default: "`both`",
        example: "both",
        meaning: "Which side's changes are carried across.",
    },
    Key {
        name: "sync.NAME.on_first_link",
        kind: "one of `fill-empty`, `primary`",
        default: "`fill-empty`",
        example: "fill-empty",
        meaning: "What happens to two records that are linked for the first time. With `fill-empty` an empty value never overwrites a filled one; with `primary` the primary's values win even where they are empty.",
    },
    Key {
        name: "sync.NAME.deletes",
        kind: "one of `keep`, `propagate`, `review`, or a table with a policy for each side",
        default: "`review`",
        example: "propagate",
        meaning: "What a delete on one side leads to on the other: nothing, a delete, or a record that is held until a person decides.",
    },
    Key {
        name: "sync.NAME.deletes.from_salesforce",
        kind: "one of `keep`, `propagate`, `review`",
        default: "`review`",
        example: "propagate",
        meaning: "What a delete in Salesforce leads to in Postgres.",
    },
    Key {
        name: "sync.NAME.deletes.from_postgres",
        kind: "one of `keep`, `propagate`, `review`",
        default: "`review`",
        example: "keep",
        meaning: "What a delete in Postgres leads to in Salesforce.",
    },
    Key {
        name: "sync.NAME.delete_limit",
        kind: "table",
        default: "`{ percent = 5, count = 100 }`",
        example: "{ percent = 5, count = 100 }",
        meaning: "How many deletes are carried across within an hour before the sync pauses: the smaller of both limits.",
    },
    Key {
        name: "sync.NAME.delete_limit.percent",
        kind: "number, 0 to 100",
        default: "`5`",
        example: "5",
        meaning: "The share of the linked records, but at least ten deletes.",
    },
    Key {
        name: "sync.NAME.delete_limit.count",
        kind: "number",
        default: "`100`",
        example: "100",
        meaning: "The number of deletes.",
    },
    Key {
        name: "sync.NAME.link_table",
        kind: "`true` or `false`",
        default: "`false`",
        example: "true",
        meaning: "With `true` the links are in a table of Syncline's own, for a table that may not be altered.",
    },
    Key {
        name: "sync.NAME.poll_interval",
        kind: "time",
        default: "`1m`",
        example: "30s",
        meaning: "The time between two catch-ups, which find the changes in Salesforce that no outbound message brought.",
    },
    Key {
        name: "sync.NAME.fields",
        kind: "`*`, or a section with a line for each field",
        default: "required",
        example: "*",
        meaning: "The fields that are synced. `*` is every field that can be set in a create and whose type Syncline knows; the first `syncline apply` fixes the list. In a section, a line is `FIELD = \"column\"`, or `FIELD = { column = … }` with the keys below.",
    },
    Key {
        name: "sync.NAME.fields.FIELD.column",
        kind: "column",
        default: "required",
        example: "first_name",
        meaning: "The column of the field.",
    },
    Key {
        name: "sync.NAME.fields.FIELD.direction",
        kind: "one of `both`, `to-postgres`, `to-salesforce`",
        default: "`both`",
        example: "to-postgres",
        meaning: "Which side's changes of this field are carried across.",
    },
    Key {
        name: "sync.NAME.fields.FIELD.lookup",
        kind: "name of a sync",
        default: "none",
        example: "accounts",
        meaning: "The field is a lookup: the column holds the key of a row in that sync's table, and the field holds that record's Salesforce Id.",
    },
];

/// The page `docs/configuration.md`.
#[must_use]
pub fn page() -> String {
    let mut page = "# Configuration\n\n\
        Every key of `syncline.toml`. [syncline.example.toml](../syncline.example.toml) shows them in a file. `syncline \
        validate` checks a file without connecting to anything, and names every problem at once.\n\n\
        A time is written like `30s`, `5m` or `1h 30m`. A secret never stands in the file: its key says where the secret \
        is, as `env:NAME` (an environment variable), `file:PATH` or `secretsmanager:NAME`.\n\n\
        This page is made from the table that a test holds the parser to: `cargo run -p syncline-config --example \
        configuration >docs/configuration.md`.\n"
        .to_owned();
    let mut section = None;
    for key in KEYS {
        let of_key = section_of(key.name);
        if section != Some(of_key) {
            section = Some(of_key);
            let title =
                if of_key.is_empty() { "At the top of the file".to_owned() } else { format!("`[{of_key}]`") };
            let _ = write!(
                page,
                "\n## {title}\n\n| key | value | default | example | |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        let name = key.name.strip_prefix(of_key).unwrap_or(key.name).trim_start_matches('.');
        let Key { kind, default, example, meaning, .. } = key;
        let _ = writeln!(page, "| `{name}` | {kind} | {default} | `{example}` | {meaning} |");
    }
    page
}

/// The section in which a key stands.
fn section_of(name: &str) -> &str {
    match name.split('.').collect::<Vec<_>>().as_slice() {
        [_] => "",
        ["sync", ..] => &name[.."sync.NAME".len()],
        [section, ..] => section,
        [] => "",
    }
}
