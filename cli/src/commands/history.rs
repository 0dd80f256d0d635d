//! `history`: everything that Syncline wrote to one record.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::{shown, table};
use std::collections::BTreeSet;
use syncline_postgres::read_history;

/// Prints the history of the record with this Salesforce Id or row key, of this sync if one is named.
pub(crate) async fn history<H: Home>(
    target: &Target<H>,
    record: &str,
    sync: Option<&str>,
) -> Result<(), Failure> {
    let connection = target.connection().await?;
    let record =
        syncline_engine::SalesforceId::parse(record).map_or_else(|_| record.to_owned(), |id| id.to_string());
    let mut entries = read_history(&connection, &target.instance, &record).await?;
    if let Some(sync) = sync {
        entries.retain(|entry| entry.sync == sync);
    }
    let syncs: BTreeSet<String> = entries.iter().map(|entry| entry.sync.clone()).collect();
    if syncs.len() > 1 {
        let syncs: Vec<String> = syncs.into_iter().collect();
        return Err(Failure::new(format!(
            "several syncs have a row with the key {record}: {}; name one of them with --sync",
            syncs.join(", ")
        )));
    }
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
