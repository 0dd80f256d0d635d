//! Commands by which an operator steers a running instance: `pause`, `resume` and `dead-letters`.

use crate::failure::Failure;
use crate::show::table;
use crate::target::{Home, Target};
use syncline_sync::{Operator as _, Pause, PauseCause, delete_counter};

fn known<H: Home>(target: &Target<H>, sync: &str) -> Result<(), Failure> {
    if target.config.syncs.iter().any(|known| known.name == sync) {
        return Ok(());
    }
    Err(Failure::new(format!("there is no [sync.{sync}] in the configuration; name one of its syncs")))
}

pub(crate) async fn resume<H: Home>(
    target: &Target<H>,
    sync: &str,
    deletes: Option<u64>,
) -> Result<(), Failure> {
    known(target, sync)?;
    if let Some(deletes) = deletes {
        target.allow(&delete_counter(sync), deletes).await?;
        println!(
            "sync {sync} may carry {deletes} more deletes across within the next hour than delete_limit allows"
        );
    }
    match target.paused(sync).await? {
        Some(pause) => {
            target.put_paused(sync, None).await?;
            println!("sync {sync} is resumed; it was paused because: {}", pause.message);
        }
        None => println!("sync {sync} is not paused, so there is nothing to resume"),
    }
    Ok(())
}

pub(crate) async fn pause<H: Home>(target: &Target<H>, sync: &str) -> Result<(), Failure> {
    known(target, sync)?;
    let message = "an operator paused it with `syncline pause`".to_owned();
    target.put_paused(sync, Some(&Pause { cause: PauseCause::Person, message })).await?;
    println!(
        "sync {sync} is paused, and its touches wait; `syncline resume {sync}{}` resumes it where it stopped",
        target.home.option()
    );
    Ok(())
}

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
