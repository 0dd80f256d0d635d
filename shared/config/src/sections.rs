//! Reads the sections of the file but for the syncs: `[salesforce]`, `[postgres]`, `[ingest]`, `[serve]`, `[timing]`.

use crate::reader::{Reader, Section};
use crate::settings::{IngestConfig, PostgresConfig, SalesforceConfig, ServeConfig, TimingConfig};
use jiff::SignedDuration;
use std::net::SocketAddr;
use syncline_salesforce::{Auth, Duplicates, WriteOptions};
use syncline_sync::DailyCalls;
use toml::{Table, Value};
use url::{Host, Url};

pub(crate) fn salesforce(reader: &mut Reader, table: &Table) -> Option<SalesforceConfig> {
    let mut section = Section::new("salesforce", table);
    let login_url = reader.required(&mut section, "login_url", "\"https://acme.my.salesforce.com\"");
    let login_url = login_url.map(|url| url.trim_end_matches('/').to_owned());
    if let Some(problem) = login_url.as_deref().and_then(problem_of_address) {
        reader.problem("salesforce.login_url", problem);
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
    let duplicates = [("save", Duplicates::Save), ("refuse", Duplicates::Refuse)];
    let duplicates = reader.choice(&mut section, "duplicates", &duplicates).unwrap_or_default();
    let batch_size = batch_size(reader, section.get("batch_size"));
    reader.close(&section);
    Some(SalesforceConfig {
        login_url: login_url?,
        auth: auth?,
        secret: secret?,
        api_version,
        daily_calls,
        external_id,
        marker,
        writes: WriteOptions { batch_size, duplicates },
    })
}

/// Reads `batch_size`; what an sObject collection takes is the default.
fn batch_size(reader: &mut Reader, value: Option<&Value>) -> usize {
    let most = WriteOptions::default().batch_size;
    let wanted = match value {
        None => return most,
        Some(Value::Integer(count)) => {
            usize::try_from(*count).ok().filter(|count| (1..=most).contains(count))
        }
        Some(_) => None,
    };
    wanted.unwrap_or_else(|| {
        reader.problem("salesforce.batch_size", format!("must be a number of records, 1 to {most}"));
        most
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

pub(crate) fn postgres(reader: &mut Reader, table: &Table) -> Option<PostgresConfig> {
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

pub(crate) fn serve(reader: &mut Reader, table: Option<&Table>) -> ServeConfig {
    let mut serve = ServeConfig { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), workers: 2 };
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
    for (moved, default) in [("lease", "90s"), ("look_back", "10m")] {
        if section.get(moved).is_some() {
            reader.notices.push(format!(
                "serve.{moved} is now timing.{moved}; move it into a section [timing] with the line {moved} = \"{default}\", with your own time"
            ));
        }
    }
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

pub(crate) fn ingest(reader: &mut Reader, table: &Table) -> Option<IngestConfig> {
    let mut section = Section::new("ingest", table);
    let secret = reader.secret(&mut section, "secret", "\"env:SYNCLINE_INGEST\"");
    reader.close(&section);
    secret.map(|secret| IngestConfig { secret })
}

/// Reads `[timing]`. Both of its keys were in `[serve]` before, and are read there too.
pub(crate) fn timing(reader: &mut Reader, table: Option<&Table>, serve: Option<&Table>) -> TimingConfig {
    let mut timing =
        TimingConfig { lease: SignedDuration::from_secs(90), look_back: SignedDuration::from_mins(10) };
    for (path, table) in [("serve", serve), ("timing", table)] {
        let Some(table) = table else { continue };
        let mut section = Section::new(path, table);
        timing.lease = reader.duration(&mut section, "lease", timing.lease);
        timing.look_back = reader.duration(&mut section, "look_back", timing.look_back);
        if path == "timing" {
            reader.close(&section);
        }
    }
    timing
}

/// What is wrong with the address of an org; `None` if nothing is.
fn problem_of_address(address: &str) -> Option<String> {
    let url = match Url::parse(address) {
        Ok(url) => url,
        Err(error) => {
            return Some(format!(
                "is {address:?}, which is no address ({error}); write https:// and the host"
            ));
        }
    };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Some(format!(
            "is {address:?}, but must begin with https:// (http:// is for addresses of this machine only)"
        ));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let origin = url.origin().ascii_serialization();
        return Some(format!("is {address:?}, but must end after the host: {origin:?}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_org_is_https_or_of_this_machine_and_ends_after_the_host() {
        for good in [
            "https://acme.my.salesforce.com",
            "https://acme--qa.sandbox.my.salesforce.com",
            "http://127.0.0.1:4321",
            "http://localhost:4321",
            "http://[::1]:4321",
        ] {
            assert_eq!(problem_of_address(good), None, "{good}");
        }
        for (bad, words) in [
            ("acme.my.salesforce.com", "which is no address"),
            ("http://acme.my.salesforce.com", "must begin with https://"),
            ("http://localhost.acme.example", "must begin with https://"),
            ("ftp://127.0.0.1", "must begin with https://"),
            (
                "https://acme.my.salesforce.com/lightning",
                "must end after the host: \"https://acme.my.salesforce.com\"",
            ),
        ] {
            let problem = problem_of_address(bad).unwrap_or_default();
            assert!(problem.contains(words), "{bad}: {problem}");
        }
    }
}
