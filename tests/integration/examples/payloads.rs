//! Runs the parsers over a folder of recorded payloads: outbound messages (`outbound-messages/*.xml`) and
//! describe answers (`describe/*.json`).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::path::Path;
use std::process::ExitCode;
use syncline_salesforce::{DescribedObject, parse_notifications};
use syncline_sync::describe::ObjectDescription;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: payloads FOLDER");
        return ExitCode::from(2);
    };
    let (mut read, mut failed) = (0, 0);
    for (sub, ending) in [("outbound-messages", "xml"), ("describe", "json")] {
        let entries = std::fs::read_dir(Path::new(&folder).join(sub)).into_iter().flatten().flatten();
        for path in
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == ending))
        {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let outcome = match ending {
                "xml" => parse_notifications(&bytes)
                    .map(|parsed| parsed.notifications.len())
                    .map_err(|e| e.to_string()),
                _ => serde_json::from_slice::<DescribedObject>(&bytes)
                    .map(|object| ObjectDescription::from(&object).fields.len())
                    .map_err(|error| error.to_string()),
            };
            read += 1;
            match outcome {
                Ok(count) if count > 0 => {}
                other => {
                    failed += 1;
                    eprintln!("{}: {other:?}", path.display());
                }
            }
        }
    }
    println!("{read} payloads read, {failed} failed");
    if read > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
