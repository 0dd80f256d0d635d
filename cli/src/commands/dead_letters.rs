//! `dead-letters`: messages whose runs crashed again and again.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::table;
use syncline_sync::Operator as _;

/// Prints the dead letters, and sends them again if `redrive` is true.
pub(crate) async fn dead_letters<H: Home>(target: &Target<H>, redrive: bool) -> Result<(), Failure> {
    let letters = target.operator().await?.dead_letters().await?;
    if letters.is_empty() {
        println!("no dead letters");
        return Ok(());
    }
    let mut shown = table(&["given up at (UTC)", "times received", "records"]);
    for letter in &letters {
        let at = letter.at.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
        shown.add_row([at, letter.receives.to_string(), letter.records.join(", ")]);
    }
    println!("{shown}");
    if redrive {
        println!("{} dead letters sent again", target.operator().await?.redrive().await?);
    } else {
        println!("`syncline dead-letters --redrive{}` sends all of them again.", target.home.option());
    }
    Ok(())
}
