//! At every commit: no value returns to an earlier one without somebody's edit.

use crate::schedule::Report;
use crate::world::{ADOPTED, PARENT};
use std::collections::BTreeMap;
use support::{By, What};
use syncline_engine::{Reason, Side};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    // What a restore took back on one side comes from the other once more: yesterday's values are legal changes.
    if report.restored {
        return;
    }
    let mut held: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    // The last edit of each field, by what its record is called.
    let mut edits: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    // A row whose key changed takes its values along.
    for event in super::standing(report) {
        if let Some((field, _, after)) = event.edit() {
            edits.insert((event.name.clone(), field.to_owned()), after.clone());
        }
        match &event.what {
            What::Born => held.retain(|(record, _), _| *record != event.record),
            What::Rekeyed(old) => {
                let moved: Vec<_> = held
                    .iter()
                    .filter(|((record, _), _)| record == old)
                    .map(|(at, values)| (at.1.clone(), values.clone()))
                    .collect();
                for (field, values) in moved {
                    held.insert((event.record.clone(), field), values);
                }
            }
            What::Set { field, after, .. } if field != PARENT && field != "AccountName__c" => {
                let values = held.entry((event.record.clone(), field.clone())).or_default();
                let back = after.is_some() && values.last() != Some(after) && values.contains(after);
                values.push(after.clone());
                // At a first link the primary's value stands, and the other one is in the conflict log.
                let first_link = report.conflicts.iter().any(|conflict| {
                    let winner = match conflict.winner {
                        Side::Salesforce => &conflict.salesforce,
                        Side::Postgres => &conflict.postgres,
                    };
                    conflict.reason == Reason::FirstLink
                        && conflict.field == *field
                        && winner.text() == *after
                });
                // So is the end of a rule's version: an empty value fills up again.
                let unagreed = event.name.starts_with(ADOPTED) || report.redefined;
                let filled = unagreed && values.iter().rev().nth(1) == Some(&None);
                // What somebody or an automation made of it on the other side is an edit of theirs.
                let edited = edits.get(&(event.name.clone(), field.clone())) == Some(after);
                // A flow makes of the field it reads what it made of it before.
                let derived = field == "Description" && report.redefined;
                // What was filled in over an edit that fell into the window.
                let unseen = report
                    .ports
                    .memory
                    .org
                    .overwritten()
                    .iter()
                    .any(|lost| lost.name == event.name && lost.field == *field);
                if back
                    && !unseen
                    && !edited
                    && !first_link
                    && !filled
                    && !derived
                    && event.by == By::Sync
                    && event.edit().is_none()
                {
                    broken.push(format!(
                        "FLIP-FLOP: {field} of {} ({}) went {values:?}",
                        event.record, event.name
                    ));
                }
            }
            _ => {}
        }
    }
}
