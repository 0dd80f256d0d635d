//! `conflicts`: fields that both sides changed.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::{record, shown, table};
use syncline_sync::Operator as _;

/// Prints the newest conflicts, at most `limit`.
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
