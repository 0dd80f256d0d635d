//! `status`: the numbers of an instance, and which syncs are paused.

use crate::failure::Failure;
use crate::instance::{Home, Target};
use crate::output::{harmless, table};
use serde_json::json;
use syncline_sync::Overview;

/// Prints the numbers of an instance, as tables or as JSON. Answers whether all is well: no sync is paused, both sides
/// answer, capture is whole, and there are no dead letters.
pub(crate) async fn status<H: Home>(target: &Target<H>, json: bool) -> Result<bool, Failure> {
    let overview = target.overview().await?;
    let Overview { paused, breakers, capture_gaps, dead, .. } = &overview;
    let all_is_well = paused.is_empty() && breakers.is_empty() && capture_gaps.is_empty() && *dead == 0;
    if json {
        println!("{}", as_json(&overview));
    } else {
        print(target, overview);
    }
    Ok(all_is_well)
}

/// The numbers as JSON, with one object for each sync.
fn as_json(overview: &Overview) -> serde_json::Value {
    let of = |list: &[(String, String)], name: &str| {
        list.iter().find(|(one, _)| one == name).map(|(_, words)| words.clone())
    };
    let sync = |(name, linked): &(String, u64)| {
        json!({
            "sync": name,
            "linked": linked,
            "paused": of(&overview.paused, name),
            "capture_gap": of(&overview.capture_gaps, name),
        })
    };
    let away = |(side, message): &(String, String)| json!({"side": side, "message": message});
    json!({
        "syncs": overview.linked.iter().map(sync).collect::<Vec<_>>(),
        "log": overview.log,
        "queue": overview.queue,
        "deferred": overview.deferred,
        "waiting_for_parents": overview.waiting,
        "conflicts": overview.conflicts,
        "rejected": overview.rejected,
        "held": overview.held,
        "dead_letters": overview.dead,
        "sides_away": overview.breakers.iter().map(away).collect::<Vec<_>>(),
    })
}

fn print<H: Home>(target: &Target<H>, overview: Overview) {
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
    } = overview;
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
            "Edits of the table of sync {sync} may go unnoticed: {}. `syncline apply{option}` repairs it; then every record is compared.",
            harmless(&gap)
        );
    }
    for (side, message) in breakers {
        println!(
            "{side} gets no calls except probes; work resumes when a probe succeeds. The last error: {}",
            harmless(&message)
        );
    }
}
