//! Reads `syncline.toml`. A file with problems is refused as a whole, with one message for each problem; a message
//! begins with the name of its key.

use crate::reader::{Reader, Section, kind};
use crate::sections::{ingest, postgres, salesforce, serve, timing};
use crate::settings::Config;
use crate::syncs::{check_syncs, is_name, sync};
use toml::{Table, Value};

/// Every problem of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// One message for each problem, which begins with the name of the key.
    pub problems: Vec<String>,
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// When the text is not TOML, or is not a valid configuration: every problem at once.
    ///
    /// # Example
    ///
    /// ```
    /// use syncline_config::Config;
    ///
    /// let text = r#"
    ///     [salesforce]
    ///     login_url = "https://acme.my.salesforce.com"
    ///     auth = "client-credentials"
    ///     secret = "env:SALESFORCE_SECRET"
    ///     [postgres]
    ///     secret = "env:DATABASE_URL"
    ///     [sync.contacts]
    ///     object = "Contact"
    ///     table = "public.contacts"
    ///     [sync.contacts.fields]
    ///     LastName = "last_name"
    /// "#;
    /// let config = Config::parse(text)?;
    /// assert_eq!(config.syncs[0].name, "contacts");
    ///
    /// let error = Config::parse(&text.replace("table", "tabel")).unwrap_err();
    /// assert!(error.to_string().contains("did you mean table?"));
    /// # Ok::<(), syncline_config::ConfigError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError { problems: vec![error.to_string()] })?;
        Self::read(&mut Reader::default(), &table)
    }

    fn read(reader: &mut Reader, table: &Table) -> Result<Self, ConfigError> {
        let mut root = Section::new("", table);
        let instance = reader.text(&mut root, "instance").unwrap_or_else(|| "default".to_owned());
        if !is_name(&instance) {
            reader.problem(
                "instance",
                "must begin with a lower-case letter and contain only lower-case letters, digits and _, 30 characters at most",
            );
        }
        let salesforce =
            reader.table(&mut root, "salesforce", true).and_then(|table| salesforce(reader, table));
        let postgres = reader.table(&mut root, "postgres", true).and_then(|table| postgres(reader, table));
        let ingest = reader.table(&mut root, "ingest", false).and_then(|table| ingest(reader, table));
        let of_serve = reader.table(&mut root, "serve", false);
        let serve = serve(reader, of_serve);
        let of_timing = reader.table(&mut root, "timing", false);
        let timing = timing(reader, of_timing, of_serve);
        let mut syncs = Vec::new();
        match reader.table(&mut root, "sync", false) {
            Some(tables) => {
                for (name, value) in tables {
                    match value {
                        Value::Table(table) => syncs.extend(sync(reader, name, table)),
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
        check_syncs(reader, &syncs);
        match (salesforce, postgres) {
            (Some(salesforce), Some(postgres)) if reader.problems.is_empty() => {
                let notices = std::mem::take(&mut reader.notices);
                Ok(Self { instance, salesforce, postgres, ingest, serve, timing, syncs, notices })
            }
            _ => Err(ConfigError { problems: std::mem::take(&mut reader.problems) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KEYS;
    use crate::settings::Fields;
    use jiff::SignedDuration;
    use std::collections::BTreeSet;
    use syncline_engine::{DeleteLimit, DeletePolicy, Deletes, Side};
    use syncline_sync::DailyCalls;

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
        [timing]
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
        assert_eq!(config.timing.lease, SignedDuration::from_mins(2));
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
    fn keys_that_moved_are_read_under_their_old_name_with_a_notice() {
        assert_eq!(Config::parse(WHOLE).unwrap().notices, Vec::<String>::new());
        let old =
            WHOLE.replace("[timing]\n", "").replace("lease = \"2m\"", "lease = \"2m\"\nlook_back = \"20m\"");
        let config = Config::parse(&old).unwrap();
        assert_eq!(config.timing.lease, SignedDuration::from_mins(2));
        assert_eq!(config.timing.look_back, SignedDuration::from_mins(20));
        assert_eq!(config.notices.len(), 2);
        assert!(config.notices[0].contains("serve.lease is now timing.lease"), "{:?}", config.notices);
        let both = old.clone() + "\n[timing]\nlease = \"3m\"";
        assert_eq!(Config::parse(&both).unwrap().timing.lease, SignedDuration::from_mins(3));
    }

    #[test]
    fn the_example_file_is_right_and_so_is_each_key_that_it_leaves_out() {
        let example = include_str!("../../../syncline.example.toml");
        assert_eq!(Config::parse(example).unwrap().notices, Vec::<String>::new());
        let with_all = |line: &str| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphabetic()) => key.to_owned(),
            _ => line.to_owned(),
        };
        let all: Vec<String> = example.lines().map(with_all).collect();
        Config::parse(&all.join("\n")).unwrap();
    }

    #[test]
    fn every_key_that_is_read_is_documented_and_no_other() {
        let whole = r#"
            instance = "a"
            [salesforce]
            [postgres]
            [ingest]
            [serve]
            [timing]
            [sync.x]
            deletes = {}
            delete_limit = {}
            [sync.x.fields]
            F = {}
        "#;
        let mut reader = Reader::default();
        let _ = Config::read(&mut reader, &whole.parse().unwrap());
        let plain = |key: &str| key.replace("sync.x", "sync.NAME").replace("fields.F", "fields.FIELD");
        let read: BTreeSet<String> = reader.asked.iter().map(|key| plain(key)).collect();
        let moved = ["serve.lease", "serve.look_back"].map(str::to_owned);
        let sections = ["salesforce", "postgres", "ingest", "serve", "timing", "sync"].map(str::to_owned);
        let documented: BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        let read: BTreeSet<String> =
            read.into_iter().filter(|key| !moved.contains(key) && !sections.contains(key)).collect();
        assert_eq!(read, documented);
    }

    #[test]
    fn the_page_of_all_keys_is_the_one_made_from_the_table() {
        let page = include_str!("../../../docs/configuration.md");
        assert!(
            page == crate::keys::page(),
            "run `cargo run -p syncline-config --example configuration >docs/configuration.md`"
        );
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
