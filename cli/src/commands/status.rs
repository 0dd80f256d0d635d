//! `status`: the numbers of an instance, and which syncs are paused.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::table;
use syncline_sync::Overview;

/// Prints the numbers of an instance.
pub(crate) async fn status<H: Home>(target: &Target<H>) -> Result<(), Failure> {
    let Overview {
        linked,
        log,
        queue,
        deferred,
        waiting,
        capture_gaps,
        conflicts,
        rejected,
        held,
        dead,
        paused,
        breakers,
    } = target.overview().await?;
    let mut syncs = table(&["sync", "linked records", "state"]);
    for (sync, count) in linked {
        let paused = paused.iter().find(|(name, _)| *name == sync);
        let state = match (paused, capture_gaps.iter().any(|(name, _)| *name == sync)) {
            (Some((_, reason)), _) => format!("paused: {reason}"),
            (None, true) => "capture is not whole".to_owned(),
            (None, false) => "active".to_owned(),
        };
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
    if waiting > 0 {
        println!(
            "parents:      {waiting} of the deferred touches wait for a parent that is not linked; `syncline rejected{option}` shows them"
        );
    }
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
    for (sync, gap) in capture_gaps {
        println!(
            "Edits of the table of sync {sync} may go unnoticed: {gap}. `syncline apply{option}` repairs it; then every record is compared."
        );
    }
    for (side, message) in breakers {
        println!(
            "{side} gets no calls except probes; work resumes when a probe succeeds. The last error: {message}"
        );
    }
    Ok(())
}
