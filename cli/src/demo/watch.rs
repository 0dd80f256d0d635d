//! Watches Syncline's world, and tells the screen when an edit arrives on the other side and when there is a
//! conflict.

use super::screen::Screen;
use judge::Edit;
use salesforce_sim::{Org, Stored};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres::Client;

/// The time between two looks at both sides.
const INTERVAL: Duration = Duration::from_millis(15);

/// An edit that has not arrived on the other side yet.
struct Awaited {
    edit: Edit,
    /// The burst of which the edit is a part, if it is.
    burst: Option<Arc<Mutex<Burst>>>,
}

/// Up to a thousand edits at once, which are told of together.
struct Burst {
    what: String,
    /// How many edits of the burst have not arrived yet.
    left: usize,
    total: usize,
    /// When the first edit of the burst was confirmed.
    at_ms: i64,
}

/// Two edits of one record on different sides within this time, in milliseconds, count as made at the same
/// moment.
const MEETING_MS: i64 = 400;

/// The edits that are awaited.
pub(crate) struct Watch {
    /// The edits by the side at which they arrive, the field and the value.
    awaited: Mutex<HashMap<(&'static str, String, String), Awaited>>,
    /// The last single edit of each record on each side: when it was made, and of which field.
    last: Mutex<HashMap<(String, String), (i64, String)>>,
    screen: Arc<Screen>,
}

impl Watch {
    pub(crate) fn new(screen: Arc<Screen>) -> Self {
        Self { awaited: Mutex::default(), last: Mutex::default(), screen }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(&'static str, String, String), Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to await these edits. With `burst`, which says what the burst is, they are told of together.
    pub(crate) fn expect(&self, edits: &[Edit], burst: Option<&str>) {
        self.screen.edited(edits.len());
        let burst = burst.zip(edits.first()).map(|(what, first)| {
            let burst =
                Burst { what: what.to_owned(), left: edits.len(), total: edits.len(), at_ms: first.at_ms };
            self.screen.burst_begins(&first.side, &burst.what);
            Arc::new(Mutex::new(burst))
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut awaited = self.lock();
        for edit in edits {
            if edit.op == "update" && burst.is_none() {
                last.insert((edit.record.clone(), edit.side.clone()), (edit.at_ms, edit.field.clone()));
            }
            let key = (across(&edit.side), edit.field.clone(), edit.value.clone());
            awaited.insert(key, Awaited { edit: edit.clone(), burst: burst.clone() });
        }
    }

    fn arrived(&self, side: &'static str, field: &str, value: &str, at_ms: i64) {
        let Some(Awaited { edit, burst }) = self.lock().remove(&(side, field.to_owned(), value.to_owned()))
        else {
            return;
        };
        let Some(burst) = burst else {
            self.screen.arrived(&edit, (at_ms - edit.at_ms).max(0), self.merges(&edit));
            return;
        };
        let mut burst = burst.lock().unwrap_or_else(PoisonError::into_inner);
        burst.left -= 1;
        if burst.left == 0 {
            self.screen.burst_ends(&edit.side, &burst.what, burst.total, (at_ms - burst.at_ms).max(0));
        }
    }

    /// True if somebody edited another field of the same record on the other side at about the same time, so
    /// that both edits are merged.
    fn merges(&self, edit: &Edit) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let other = last.get(&(edit.record.clone(), across(&edit.side).to_owned()));
        other.is_some_and(|(at_ms, field)| (at_ms - edit.at_ms).abs() < MEETING_MS && *field != edit.field)
    }

    /// Looks at both sides and at the conflict log until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>, client: Client, org: Arc<Mutex<Org>>) {
        let (mut audit, mut history, mut conflicts) = (0_i64, 0_usize, 0_i64);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let changes: Vec<(String, String, i64)> = {
                let org = org.lock().unwrap_or_else(PoisonError::into_inner);
                let new = org.history.get(history..).unwrap_or_default();
                history += new.len();
                new.iter()
                    .filter(|change| change.user == "syncline")
                    .filter_map(|change| {
                        Some((change.field.to_owned(), Stored::text(change.after.as_ref()?), change.at_ms))
                    })
                    .collect()
            };
            for (field, value, at_ms) in changes {
                self.arrived("salesforce", &field, &value, at_ms);
            }
            let sql = "SELECT n, source, field, after, at_ms FROM judge.audit
                       WHERE n > $1 AND application = 'syncline' ORDER BY n";
            for row in client.query(sql, &[&audit]).await.unwrap_or_default() {
                audit = row.get(0);
                let (table, column): (String, String) = (row.get(1), row.get(2));
                if let (Some(field), Some(value)) =
                    (field_of(&table, &column), row.get::<_, Option<String>>(3))
                {
                    self.arrived("postgres", field, &value, row.get(4));
                }
            }
            let sql = "SELECT field, coalesce(salesforce, 'null'), coalesce(postgres, 'null'), winner
                       FROM syncline.conflict ORDER BY at, id OFFSET $1";
            for row in client.query(sql, &[&conflicts]).await.unwrap_or_default() {
                conflicts += 1;
                self.screen.conflict(row.get(0), row.get(1), row.get(2), row.get(3));
            }
        }
    }
}

fn across(side: &str) -> &'static str {
    if side == "salesforce" { "postgres" } else { "salesforce" }
}

fn field_of(table: &str, column: &str) -> Option<&'static str> {
    Some(match (table, column) {
        ("accounts", "name") => "Name",
        ("accounts", "website") => "Website",
        (_, "phone") => "Phone",
        ("contacts", "first_name") => "FirstName",
        ("contacts", "last_name") => "LastName",
        ("contacts", "title") => "Title",
        ("contacts", "department") => "Department",
        _ => return None,
    })
}
