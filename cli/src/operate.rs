//! Commands by which an operator steers a running instance: `pause`, `resume` and `dead-letters`.

use crate::failure::Failure;
use crate::place::Place;
use crate::show::table;
use syncline_sync::delete_counter;

fn known(place: &Place, sync: &str) -> Result<(), Failure> {
    if place.config.syncs.iter().any(|known| known.name == sync) {
        return Ok(());
    }
    Err(Failure::new(format!("there is no [sync.{sync}] in the configuration; name one of its syncs")))
}

pub(crate) async fn resume(place: &Place, sync: &str, deletes: Option<u64>) -> Result<(), Failure> {
    known(place, sync)?;
    if let Some(deletes) = deletes {
        place.allow(&delete_counter(sync), deletes).await?;
        println!(
            "sync {sync} may carry {deletes} more deletes across within the next hour than delete_limit allows"
        );
    }
    match place.paused(sync).await? {
        Some(reason) => {
            place.put_paused(sync, None).await?;
            println!("sync {sync} is resumed; it was paused because: {reason}");
        }
        None => println!("sync {sync} is not paused, so there is nothing to resume"),
    }
    Ok(())
}

pub(crate) async fn pause(place: &Place, sync: &str) -> Result<(), Failure> {
    known(place, sync)?;
    place.put_paused(sync, Some("an operator paused it with `syncline pause`")).await?;
    println!(
        "sync {sync} is paused, and its touches wait; `syncline resume {sync}{}` resumes it where it stopped",
        place.option()
    );
    Ok(())
}

pub(crate) async fn dead_letters(place: &Place, redrive: bool) -> Result<(), Failure> {
    let letters = place.dead_letters().await?;
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
        println!("{} dead letters sent again", place.redrive().await?);
    } else {
        println!("`syncline dead-letters --redrive{}` sends all of them again.", place.option());
    }
    Ok(())
}
