//! Commands that show something of an instance, as tables: `status`, `conflicts`, `rejected` and `history`.

use crate::failure::Failure;
use crate::target::{Home, Target};
use comfy_table::{ContentArrangement, Table, presets};
use syncline_engine::{Held, Parent};
use syncline_postgres::read_history;
use syncline_sync::{Operator as _, Overview};

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        table.set_width(160);
    }
    table
}

/// A row's key as a person writes it: the key `["42"]` becomes `42`, and several parts are joined by commas.
fn plain_key(key: &str) -> String {
    serde_json::from_str::<Vec<String>>(key).map_or_else(|_| key.to_owned(), |parts| parts.join(", "))
}

fn record(id: Option<&str>, key: Option<&str>) -> String {
    let id = id.unwrap_or("not in Salesforce yet");
    let key = key.map_or_else(|| "no row yet".to_owned(), |key| format!("row {}", plain_key(key)));
    format!("{id}\n{key}")
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "null".to_owned(), str::to_owned)
}

pub(crate) async fn status<H: Home>(target: &Target<H>) -> Result<(), Failure> {
    let Overview { linked, log, queue, deferred, conflicts, rejected, held, dead, paused, breakers } =
        target.overview().await?;
    let mut syncs = table(&["sync", "linked records", "state"]);
    for (sync, count) in linked {
        let paused = paused.iter().find(|(name, _)| *name == sync);
        let state = paused.map_or_else(|| "active".to_owned(), |(_, reason)| format!("paused: {reason}"));
        syncs.add_row([sync, count.to_string(), state]);
    }
    println!("{syncs}");
    let log = log.map_or_else(
        || {
            "an unknown number of rows in the capture log (the database cannot be reached from here)"
                .to_owned()
        },
        |log| format!("{log} rows in the capture log"),
    );
    let option = target.home.option();
    println!("waiting:      {log}, {queue} messages in the queue, {deferred} deferred touches");
    println!("conflicts:    {conflicts} so far; `syncline conflicts{option}` shows them");
    println!("records:      {rejected} rejected, {held} held; `syncline rejected{option}` shows them");
    if dead > 0 {
        println!(
            "dead letters: {dead} messages whose runs crashed five times; `syncline dead-letters{option}` shows them"
        );
    }
    if !paused.is_empty() {
        println!(
            "A paused sync writes nothing. Do what its reason says; `syncline resume SYNC{option}` resumes it."
        );
    }
    for (side, message) in breakers {
        println!(
            "{side} gets no calls except probes; work resumes when a probe succeeds. The last error: {message}"
        );
    }
    Ok(())
}

pub(crate) async fn conflicts<H: Home>(target: &Target<H>, limit: usize) -> Result<(), Failure> {
    let found = target.operator().await?.conflicts(limit).await?;
    if found.is_empty() {
        println!("no conflicts");
        return Ok(());
    }
    let mut table = table(&[
        "when (UTC)",
        "sync",
        "record",
        "field",
        "Salesforce had",
        "Postgres had",
        "winner",
        "reason",
    ]);
    for one in found {
        table.add_row([
            one.at,
            one.sync,
            record(one.salesforce_id.as_deref(), one.postgres_key.as_deref()),
            one.field,
            shown(one.salesforce.as_deref()),
            shown(one.postgres.as_deref()),
            one.winner.to_string(),
            one.reason,
        ]);
    }
    println!("{table}");
    Ok(())
}

pub(crate) async fn rejected<H: Home>(target: &Target<H>, limit: usize) -> Result<(), Failure> {
    let rejected = target.operator().await?.last_rejected(limit).await?;
    let held = target.operator().await?.last_held(limit).await?;
    if rejected.is_empty() && held.is_empty() {
        println!("nothing is rejected and nothing is held");
        return Ok(());
    }
    if !rejected.is_empty() {
        let mut table = table(&["sync", "record", "refused by", "error", "fields"]);
        for one in rejected {
            let id = one.salesforce_id.as_ref().map(syncline_engine::SalesforceId::as_str);
            table.add_row([
                one.sync,
                record(id, one.postgres_key.as_ref().map(|key| key.0.as_str())),
                one.side.to_string(),
                format!("{}: {}", one.code, one.message),
                one.fields.join(", "),
            ]);
        }
        println!("{table}");
        println!(
            "Correct the record on either side, or apply a changed definition: then Syncline tries the record again."
        );
    }
    if !held.is_empty() {
        let mut table = table(&["sync", "record", "held because", "since (UTC)"]);
        for one in held {
            let id = one.salesforce_id.as_ref().map(syncline_engine::SalesforceId::as_str);
            table.add_row([
                one.sync,
                record(id, one.postgres_key.as_ref().map(|key| key.0.as_str())),
                match &one.merged_into {
                    Some(master) => format!("{} (merged into {master})", reason(&one.held)),
                    None => reason(&one.held),
                },
                one.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        println!("{table}");
    }
    Ok(())
}

fn reason(held: &Held) -> String {
    match held {
        Held::Deleted { side } => {
            format!(
                "deleted in {side} and not on the other side: nothing is written. Delete it on the other side, restore it in {side}, or set deletes to \"propagate\" or \"keep\" and run `syncline apply`"
            )
        }
        Held::Missing { side } => format!(
            "not found in {side}, without evidence of a delete: nothing is written until it is found there again"
        ),
        Held::Unreadable { side, field, error } => {
            format!("the value of {field} in {side} is {error}; correct the value there")
        }
        Held::Waiting { field, parent } => {
            let parent = match parent {
                Parent::Salesforce(sync, id) => format!("{id} of sync {sync}"),
                Parent::Postgres(sync, key) => format!("row {} of sync {sync}", plain_key(&key.0)),
            };
            format!(
                "{field} is required, and its parent ({parent}) is not linked yet: it is written once the parent is linked"
            )
        }
    }
}

pub(crate) async fn history<H: Home>(target: &Target<H>, record: &str) -> Result<(), Failure> {
    let connection = target.connection().await?;
    let record =
        syncline_engine::SalesforceId::parse(record).map_or_else(|_| record.to_owned(), |id| id.to_string());
    let entries = read_history(&connection, &target.instance, &record).await?;
    if entries.is_empty() {
        println!(
            "Syncline has written nothing to {record}; name a record by its Salesforce Id or by the key of its row"
        );
        return Ok(());
    }
    let mut table =
        table(&["when (UTC)", "written to", "field", "before", "after", "reason", "touched by", "outcome"]);
    for entry in entries {
        let created = entry.field.is_none();
        let side = if entry.side == "postgres" { "Postgres" } else { "Salesforce" };
        let touched = match entry.actor {
            Some(actor) => format!("{} ({actor})", entry.source),
            None => entry.source,
        };
        table.add_row([
            entry.at,
            format!("{side} ({})", entry.sync),
            entry.field.unwrap_or_else(|| "(the record)".to_owned()),
            if created { String::new() } else { shown(entry.before.as_deref()) },
            if created { String::new() } else { shown(entry.after.as_deref()) },
            entry.reason,
            touched,
            entry.outcome,
        ]);
    }
    println!("{table}");
    Ok(())
}
