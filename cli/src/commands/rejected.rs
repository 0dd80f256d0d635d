//! `rejected`: records that a side refused, and records that are held.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::{plain_key, record, table};
use syncline_engine::{Held, Parent, Unreadable};
use syncline_sync::Operator as _;

/// Prints the newest rejected records and the newest held records, at most `limit` of each.
pub(crate) async fn rejected<H: Home>(target: &Target<H>, limit: usize) -> Result<(), Failure> {
    let rejected = target.operator().await?.last_rejected(limit).await?;
    let held = target.operator().await?.last_held(limit).await?;
    let waiting = target.operator().await?.waiting(limit).await?;
    if rejected.is_empty() && held.is_empty() && waiting.is_empty() {
        println!("nothing is rejected, nothing is held, and nothing waits for a parent");
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
            "Correct the record on either side, or apply a changed definition: then Syncline tries the record again. What a side refused is also tried again by itself, after 30 seconds and then more and more seldom, up to once a day."
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
    if !waiting.is_empty() {
        let mut table = table(&["sync", "record", "waits for a parent", "since (UTC)"]);
        for one in waiting {
            let id = one.salesforce_id.as_ref().map(syncline_engine::SalesforceId::as_str);
            let parents: Vec<String> = one.parents.iter().map(parent).collect();
            table.add_row([
                one.sync,
                record(id, one.postgres_key.as_ref().map(|key| key.0.as_str())),
                parents.join("\n"),
                one.since.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        println!("{table}");
        println!(
            "The lookup stays empty on the other side until its parent is linked. If the parent does not exist, correct the lookup."
        );
    }
    Ok(())
}

/// A parent as a person knows it.
fn parent(parent: &Parent) -> String {
    match parent {
        Parent::Salesforce(sync, id) => format!("{id} of sync {sync}"),
        Parent::Postgres(sync, key) => format!("row {} of sync {sync}", plain_key(&key.0)),
    }
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
        Held::Unreadable(Unreadable { side, field, error }) => {
            format!("{field} in {side} is {error}; correct the value there")
        }
        Held::Waiting { field, parent: missing } => {
            format!(
                "{field} is required, and its parent ({}) is not linked yet: it is written once the parent is linked",
                parent(missing)
            )
        }
    }
}
