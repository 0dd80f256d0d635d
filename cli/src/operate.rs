//! What a person tells a running instance.

use crate::failure::Failure;
use crate::show::{connect, table};
use syncline_config::Config;
use syncline_embedded::{EmbeddedState, dead_letters as read_dead_letters, redrive as send_again};
use syncline_sync::{State, delete_counter};

async fn state_of(config: &Config, sync: &str) -> Result<EmbeddedState, Failure> {
    if !config.syncs.iter().any(|known| known.name == sync) {
        return Err(Failure::new(format!("there is no [sync.{sync}] in the configuration")));
    }
    let (pool, _, instance) = connect(config).await?;
    Ok(EmbeddedState::new(pool, &instance))
}

pub(crate) async fn resume(config: &Config, sync: &str, deletes: Option<u64>) -> Result<(), Failure> {
    let state = state_of(config, sync).await?;
    let now = jiff::Timestamp::now();
    if let Some(deletes) = deletes {
        state.allow(&delete_counter(sync), deletes, now).await?;
        println!("{deletes} more deletes are let through within the next hour");
    }
    match state.paused(sync).await? {
        Some(reason) => {
            state.put_paused(sync, None).await?;
            state.make_due(now, jiff::SignedDuration::from_secs(5)).await?;
            println!("sync {sync} goes on; it was paused because: {reason}");
        }
        None => println!("sync {sync} was not paused"),
    }
    Ok(())
}

pub(crate) async fn pause(config: &Config, sync: &str) -> Result<(), Failure> {
    let state = state_of(config, sync).await?;
    state.put_paused(sync, Some("a person paused it with `syncline pause`")).await?;
    println!("sync {sync} is paused; `syncline resume {sync}` goes on where it stopped");
    Ok(())
}

pub(crate) async fn dead_letters(config: &Config, redrive: bool) -> Result<(), Failure> {
    let (_, connection, instance) = connect(config).await?;
    let letters = read_dead_letters(&connection, &instance).await?;
    if letters.is_empty() {
        println!("no dead letters");
        return Ok(());
    }
    let mut shown = table(&["given up (UTC)", "received", "records"]);
    for letter in &letters {
        shown.add_row([letter.at.clone(), letter.receives.to_string(), letter.records.join(", ")]);
    }
    println!("{shown}");
    if redrive {
        println!("{} sent again", send_again(&connection, &instance).await?);
    } else {
        println!("`syncline dead-letters --redrive` sends them again.");
    }
    Ok(())
}
