//! At every commit: no value returns to an earlier value unless somebody edited the field.

use crate::schedule::Report;
use crate::world::{ADOPTED, PARENT};
use std::collections::BTreeMap;
use support::{By, What};
use syncline_engine::{Reason, Side};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    // After a restore of one side, Syncline writes the values that the restore took back once more, from the
    // other side. Such a value is a legal change.
    if report.restored {
        return;
    }
    let mut held: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    // The value of the last edit of each field, by the name of the record.
    let mut edits: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    // A row whose key changed keeps the values that it had under its old key.
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
                // At a first link, the value of the primary is written, and the other value is in the
                // conflict log.
                let first_link = report.conflicts.iter().any(|conflict| {
                    let winner = match conflict.winner {
                        Side::Salesforce => &conflict.salesforce,
                        Side::Postgres => &conflict.postgres,
                    };
                    conflict.reason == Reason::FirstLink
                        && conflict.field == *field
                        && winner.text() == *after
                });
                // A record that was adopted, or whose rule got another version, has no agreed values. So an
                // empty field may be filled again.
                let unagreed = event.name.starts_with(ADOPTED) || report.redefined;
                let filled = unagreed && values.iter().rev().nth(1) == Some(&None);
                // An edit on the other side may set the field to an earlier value. Syncline only carries it
                // across.
                let edited = edits.get(&(event.name.clone(), field.clone())) == Some(after);
                // The flow derives Description from Title. If Title returns after the definition changed,
                // Description returns with it.
                let derived = field == "Description" && report.redefined;
                // Syncline may restore a value over an edit that it had not seen, because the edit fell into
                // the window between its read and its write.
                let unseen = report
                    .ports
                    .memory
                    .salesforce
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
