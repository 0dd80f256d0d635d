//! Nothing is left open at rest. Every touch has ended, every record that is still rejected or held has a
//! cause that explains it, and no intent is left.

use super::{
    missed_under_another_key, policy, refused_for_parent, shown_as_ambiguous, shown_with_a_dead_link,
};
use crate::schedule::Report;
use support::Event;
use syncline_engine::{DeletePolicy, Held};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let state = &report.ports.memory.state;
    for definition in &report.definitions {
        for base in state.bases(&definition.name) {
            if base.intent.is_some() {
                broken.push(format!("INTENT stands at rest: {}", base.key));
            }
        }
    }
    let names: std::collections::BTreeSet<&str> =
        report.events.iter().map(|event| event.name.as_str()).collect();
    let refused = names.into_iter().filter(|name| refused_for_parent(report, name)).count();
    for rejected in state.all_rejected() {
        if rejected.depends_on_others() && refused > 0 || shown_as_ambiguous(report, &rejected) {
            continue;
        }
        broken.push(format!("REJECTED: {} {} {}", rejected.record, rejected.code, rejected.message));
    }
    for held in state.held() {
        let review = policy(report) == DeletePolicy::Review;
        if review && matches!(held.held, Held::Deleted { .. } | Held::Missing { .. }) {
            continue;
        }
        let missed = |event: &Event| missed_under_another_key(report, &held, &event.name);
        if shown_with_a_dead_link(report, &held) || report.events.iter().any(missed) {
            continue;
        }
        // Whether the parent really is absent is checked by `waits_for_parent`, where the record itself would
        // be missed.
        if matches!(held.held, Held::Waiting { .. }) {
            continue;
        }
        broken.push(format!("HELD: {} {:?}", held.record, held.held));
    }
}
