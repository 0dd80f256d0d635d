//! Recognizes two sides that correct each other without end: an automation on each side changes what the
//! other side wrote.

use crate::base::{Base, Swing};
use crate::id::{FieldName, Side};
use crate::record_plan::{Action, RecordPlan};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A field oscillates once it went back and forth for this many rounds in a row.
pub const OSCILLATING: u8 = 8;
/// A change that comes back within this time counts as a round. A later change is taken for somebody's edit.
const SOON: SignedDuration = SignedDuration::from_mins(1);

/// The writes of fields that the base has to remember once this plan is carried out at the time `now`. Writes
/// older than a minute are dropped. A field counts one more round if the plan writes it to the side opposite
/// to its last write, within a minute of that write. Any other write of the field starts again with 0 rounds.
#[must_use]
pub fn swings(base: &Base, plan: &RecordPlan, now: Timestamp) -> BTreeMap<FieldName, Swing> {
    let recent = |swing: &&Swing| now.duration_since(swing.at) <= SOON;
    let mut swings: BTreeMap<FieldName, Swing> = base
        .swings
        .iter()
        .filter(|(_, swing)| recent(swing))
        .map(|(field, swing)| (field.clone(), *swing))
        .collect();
    for (to, action) in [(Side::Salesforce, &plan.salesforce), (Side::Postgres, &plan.postgres)] {
        let Action::Update(fields) = action else { continue };
        for field in fields.keys() {
            let before = base.swings.get(field).filter(recent);
            let rounds =
                before.filter(|swing| swing.to != to).map_or(0, |swing| swing.rounds.saturating_add(1));
            swings.insert(field.clone(), Swing { to, rounds, at: now });
        }
    }
    swings
}

/// A field that oscillates, if there is one; see [`OSCILLATING`].
#[must_use]
pub fn oscillating(swings: &BTreeMap<FieldName, Swing>) -> Option<&FieldName> {
    swings.iter().find(|(_, swing)| swing.rounds >= OSCILLATING).map(|(field, _)| field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BaseKey;
    use crate::merge::Reason;
    use crate::record_plan::FieldWrite;
    use crate::value::Value;

    fn write(to: Side) -> RecordPlan {
        let write = FieldWrite { before: Value::Null, after: Value::Boolean(true), reason: Reason::Changed };
        let action = Action::Update(BTreeMap::from([("Title".to_owned(), write)]));
        match to {
            Side::Salesforce => RecordPlan { salesforce: action, ..RecordPlan::default() },
            Side::Postgres => RecordPlan { postgres: action, ..RecordPlan::default() },
        }
    }

    fn rounds(seconds: i64, to: impl Fn(i64) -> Side) -> Option<i64> {
        let mut base = Base::new(BaseKey("x".into()));
        (0..30).find(|round| {
            let now = Timestamp::from_second(round * seconds).unwrap();
            base.swings = swings(&base, &write(to(*round)), now);
            oscillating(&base.swings).is_some()
        })
    }

    #[test]
    fn eight_rounds_within_a_minute_each_are_an_oscillation() {
        let turns = |round| if round % 2 == 0 { Side::Salesforce } else { Side::Postgres };
        assert_eq!(rounds(2, turns), Some(8));
        assert_eq!(rounds(61, turns), None, "people take longer");
        assert_eq!(rounds(2, |_| Side::Postgres), None, "one busy side");
    }
}
