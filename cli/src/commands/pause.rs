//! `pause` and `resume`: a person stops a sync, and lets it go on.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use syncline_sync::{Pause, PauseCause, delete_counter};

/// Refuses a sync that the configuration does not have.
fn known<H: Home>(target: &Target<H>, sync: &str) -> Result<(), Failure> {
    if target.config.syncs.iter().any(|known| known.name == sync) {
        return Ok(());
    }
    Err(Failure::new(format!("there is no [sync.{sync}] in the configuration; name one of its syncs")))
}

/// Resumes a sync, and lets `deletes` more deletes through within the next hour.
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

/// Pauses a sync.
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
