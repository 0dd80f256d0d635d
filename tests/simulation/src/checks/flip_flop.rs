//! At every commit: no value returns to an earlier one without somebody's edit.

use crate::schedule::Report;
use crate::world::{ADOPTED, PARENT};
use std::collections::BTreeMap;
use support::{By, What};
use syncline_engine::{Reason, Side};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let mut held: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    // A row whose key changed takes its values along.
    for event in super::standing(report) {
        match &event.what {
            What::Born => held.retain(|(record, _), _| *record != event.record),
            What::Rekeyed(old) => {
                let moved: Vec<_> =
                    held.iter().filter(|((record, _), _)| record == old).map(|(at, values)| (at.1.clone(), values.clone())).collect();
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
                    conflict.reason == Reason::FirstLink && conflict.field == *field && winner.text() == *after
                });
                let filled = event.name.starts_with(ADOPTED) && values.iter().rev().nth(1) == Some(&None);
                if back && !first_link && !filled && event.by == By::Sync && event.edit().is_none() {
                    broken.push(format!("FLIP-FLOP: {field} of {} ({}) went {values:?}", event.record, event.name));
                }
            }
            _ => {}
        }
    }
}
