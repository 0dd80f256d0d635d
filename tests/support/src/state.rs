//! A state store in memory.

use crate::yielding::yield_now;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncline_engine::{Base, BaseKey, Held, Side};
use syncline_sync::{
    Breaker, Conflict, Cursor, Deferred, Due, HeldRecord, KnownRecord, Outcomes, Pause, PortError, Put,
    RecordRef, Rejected, State, Touch,
};

#[derive(Clone, Default)]
struct Inner {
    bases: BTreeMap<(String, BaseKey), Base>,
    conflicts: BTreeMap<String, Conflict>,
    rejected: BTreeMap<(String, String), Rejected>,
    held: BTreeMap<(String, String), HeldRecord>,
    deferred: BTreeMap<(String, String), (Deferred, u64)>,
    messages: Vec<(u64, String, String, Timestamp)>,
    cursors: BTreeMap<String, Cursor>,
    breakers: BTreeMap<Side, Breaker>,
    paused: BTreeMap<String, Pause>,
    counters: BTreeMap<String, Vec<(Timestamp, i64)>>,
    pace: Option<(f64, Timestamp)>,
    pulse: u64,
    next: u64,
}

impl Inner {
    fn counted(&self, counter: &str, since: Timestamp) -> i64 {
        let counted = self.counters.get(counter).into_iter().flatten();
        counted.filter(|(at, _)| *at > since).map(|(_, count)| count).sum()
    }
}

/// A state store in memory.
#[derive(Clone, Default)]
pub struct MemoryState {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryState {
    /// All bases of a sync.
    #[must_use]
    pub fn bases(&self, sync: &str) -> Vec<Base> {
        let inner = self.inner.lock().unwrap();
        inner.bases.iter().filter(|((of, _), _)| of == sync).map(|(_, base)| base.clone()).collect()
    }

    /// Acts as another run that has just saved every base of the sync: each version grows by one.
    pub fn save_meanwhile(&self, sync: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.bases.iter_mut().filter(|((of, _), _)| of == sync).for_each(|(_, base)| base.version += 1);
    }

    /// The conflict log.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.inner.lock().unwrap().conflicts.values().cloned().collect()
    }

    /// The rejected records.
    #[must_use]
    pub fn all_rejected(&self) -> Vec<Rejected> {
        self.inner.lock().unwrap().rejected.values().cloned().collect()
    }

    /// The held records.
    #[must_use]
    pub fn held(&self) -> Vec<HeldRecord> {
        self.inner.lock().unwrap().held.values().cloned().collect()
    }

    /// A copy of everything, for a later `restore`.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.inner.lock().unwrap().clone())) }
    }

    /// Restores the state store to a copy.
    pub fn restore(&self, backup: &Self) {
        let mut inner = self.inner.lock().unwrap();
        let next = inner.next;
        *inner = backup.inner.lock().unwrap().clone();
        inner.next = next;
    }

    /// The number of deferred touches.
    #[must_use]
    pub fn deferred(&self) -> usize {
        self.inner.lock().unwrap().deferred.len()
    }

    /// The latest moment until which a breaker is open.
    #[must_use]
    pub fn left_alone_until(&self) -> Option<Timestamp> {
        self.inner.lock().unwrap().breakers.values().filter_map(|breaker| breaker.open_until).max()
    }

    /// True if every deferred touch waits for a parent or belongs to a record that a side refuses because of
    /// its parent, and no base has an intent.
    #[must_use]
    pub fn all_wait_for_parents(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        let refused = |touch: &Touch| {
            inner.rejected.values().any(|rejected| {
                rejected.depends_on_others()
                    && (touch.id.is_some() && rejected.salesforce_id == touch.id
                        || touch.key.is_some() && rejected.postgres_key == touch.key)
            })
        };
        let waits = |deferred: &Deferred| {
            !deferred.waits_for.is_empty() || deferred.touch.refusals > 0 || refused(&deferred.touch)
        };
        inner.deferred.values().all(|(deferred, _)| waits(deferred))
            && inner.bases.values().all(|base| base.intent.is_none())
    }

    /// True if the capture of some sync is not known to be whole.
    #[must_use]
    pub fn notes_a_capture_gap(&self) -> bool {
        self.inner.lock().unwrap().cursors.values().any(|cursor| cursor.capture_gap.is_some())
    }

    /// When the next deferred touch is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.inner.lock().unwrap().deferred.values().map(|(deferred, _)| deferred.due).min()
    }
}

fn leads_to(base: &Base, wanted: &RecordRef) -> bool {
    match wanted {
        RecordRef::Id(id) => base.salesforce_id.as_ref() == Some(id),
        RecordRef::Key(key) => base.postgres_key.as_ref() == Some(key),
        RecordRef::ExternalId(external_id) => base.external_id.as_ref() == Some(external_id),
        RecordRef::Base(key) => base.key == *key,
    }
}

fn pointers(base: &Base) -> Vec<RecordRef> {
    let id = base.salesforce_id.clone().map(RecordRef::Id);
    let key = base.postgres_key.clone().map(RecordRef::Key);
    let external_id = base.external_id.clone().map(RecordRef::ExternalId);
    [id, key, external_id].into_iter().flatten().collect()
}

impl State for MemoryState {
    async fn load(&self, sync: &str, refs: &[RecordRef]) -> Result<Vec<KnownRecord>, PortError> {
        yield_now().await;
        let inner = self.inner.lock().unwrap();
        let of_ref = |wanted: &RecordRef| {
            let mut bases = inner.bases.iter().filter(|((of, _), _)| of == sync).map(|(_, base)| base);
            let base = bases.find(|base| leads_to(base, wanted)).cloned();
            let rejected = base
                .as_ref()
                .and_then(|base| inner.rejected.get(&(sync.to_owned(), base.key.0.clone())).cloned());
            KnownRecord { base, rejected }
        };
        Ok(refs.iter().map(of_ref).collect())
    }

    async fn put(&self, sync: &str, puts: Vec<Put>) -> Result<Vec<bool>, PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        let mut saved = Vec::new();
        for put in puts {
            let place = (sync.to_owned(), put.base.key.clone());
            let stands = inner.bases.get(&place).map_or(0, |base| base.version);
            let owners: Vec<(String, BaseKey)> = inner
                .bases
                .iter()
                .filter(|((of, key), base)| {
                    of == sync
                        && *key != put.base.key
                        && pointers(&put.base).iter().any(|pointer| leads_to(base, pointer))
                })
                .map(|(place, _)| place.clone())
                .collect();
            let free = owners
                .iter()
                .all(|place| inner.bases.get(place).is_none_or(|base| !base.live && base.intent.is_none()));
            if stands != put.expected || !free {
                saved.push(false);
                continue;
            }
            for place in owners {
                inner.bases.remove(&place);
            }
            let base = Base { version: put.expected + 1, ..put.base };
            inner.bases.insert(place, base);
            for conflict in put.conflicts {
                inner.conflicts.entry(conflict.id.clone()).or_insert(conflict);
            }
            saved.push(true);
        }
        Ok(saved)
    }

    async fn rejected(&self, sync: &str, keys: &[BaseKey]) -> Result<Vec<Option<Rejected>>, PortError> {
        yield_now().await;
        let inner = self.inner.lock().unwrap();
        Ok(keys.iter().map(|key| inner.rejected.get(&(sync.to_owned(), key.0.clone())).cloned()).collect())
    }

    async fn store(&self, sync: &str, outcomes: Outcomes) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        for cleared in outcomes.cleared {
            let place = (sync.to_owned(), cleared.record.clone());
            if inner.rejected.get(&place).is_some_and(|known| {
                known.at < outcomes.begun
                    && cleared.takes(known.salesforce_id.as_ref(), known.postgres_key.as_ref())
            }) {
                inner.rejected.remove(&place);
            }
            if inner.held.get(&place).is_some_and(|known| {
                known.seen < outcomes.begun
                    && cleared.takes(known.salesforce_id.as_ref(), known.postgres_key.as_ref())
            }) {
                inner.held.remove(&place);
            }
        }
        for rejected in outcomes.rejected {
            inner.rejected.insert((sync.to_owned(), rejected.record.clone()), rejected);
        }
        for mut held in outcomes.held {
            let place = (sync.to_owned(), held.record.clone());
            if let Some(known) = inner.held.get(&place) {
                held.at = known.at;
                if let (Held::Deleted { side }, Held::Missing { side: same }) = (&known.held, &held.held)
                    && side == same
                {
                    continue;
                }
            }
            inner.held.insert(place, held);
        }
        for mut deferred in outcomes.deferred {
            inner.next += 1;
            let number = inner.next;
            let place = (sync.to_owned(), deferred.touch.deferred_key());
            if let Some((stored, _)) = inner.deferred.remove(&place) {
                deferred = deferred.over(stored);
            }
            inner.deferred.insert(place, (deferred, number));
        }
        for parent in outcomes.linked {
            for (deferred, _) in inner.deferred.values_mut() {
                if deferred.waits_for.contains(&parent) {
                    deferred.due = Timestamp::UNIX_EPOCH;
                }
            }
        }
        Ok(())
    }

    async fn defer_message(&self, group: &str, body: &str, due: Timestamp) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.next += 1;
        let number = inner.next;
        inner.messages.push((number, group.to_owned(), body.to_owned(), due));
        Ok(())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, PortError> {
        yield_now().await;
        let inner = self.inner.lock().unwrap();
        let touches =
            inner.deferred.values().filter(|(deferred, _)| deferred.due <= now).map(|(deferred, number)| {
                Due { touch: Ok(deferred.touch.clone()), token: format!("t{number}") }
            });
        let messages =
            inner.messages.iter().filter(|(_, _, _, due)| *due <= now).map(|(number, group, body, _)| Due {
                touch: Err((group.clone(), body.clone())),
                token: format!("m{number}"),
            });
        Ok(touches.chain(messages).take(limit).collect())
    }

    async fn drop_due(&self, tokens: &[String]) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.deferred.retain(|_, (_, number)| !tokens.contains(&format!("t{number}")));
        inner.messages.retain(|(number, ..)| !tokens.contains(&format!("m{number}")));
        Ok(())
    }

    async fn cursor(&self, sync: &str) -> Result<Cursor, PortError> {
        yield_now().await;
        Ok(self.inner.lock().unwrap().cursors.get(sync).cloned().unwrap_or_default())
    }

    async fn put_cursor(&self, sync: &str, cursor: &Cursor) -> Result<Option<Cursor>, PortError> {
        yield_now().await;
        let cursors = &mut self.inner.lock().unwrap().cursors;
        if cursors.get(sync).map_or(0, |stored| stored.revision) != cursor.revision {
            return Ok(None);
        }
        let next = cursor.next_revision();
        cursors.insert(sync.to_owned(), next.clone());
        Ok(Some(next))
    }

    async fn breaker(&self, side: Side) -> Result<Breaker, PortError> {
        yield_now().await;
        Ok(self.inner.lock().unwrap().breakers.get(&side).cloned().unwrap_or_default())
    }

    async fn put_breaker(&self, side: Side, breaker: &Breaker) -> Result<(), PortError> {
        yield_now().await;
        self.inner.lock().unwrap().breakers.insert(side, breaker.clone());
        Ok(())
    }

    async fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> Result<bool, PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        let count = i64::try_from(count).unwrap();
        let fits = inner.counted(counter, now - window) + count <= i64::try_from(limit).unwrap();
        if fits {
            inner.counters.entry(counter.to_owned()).or_default().push((now, count));
        }
        Ok(fits)
    }

    async fn taken(&self, counter: &str, now: Timestamp, window: SignedDuration) -> Result<i64, PortError> {
        yield_now().await;
        Ok(self.inner.lock().unwrap().counted(counter, now - window))
    }

    async fn allow(&self, counter: &str, count: u64, now: Timestamp) -> Result<(), PortError> {
        yield_now().await;
        let count = -i64::try_from(count).unwrap();
        self.inner.lock().unwrap().counters.entry(counter.to_owned()).or_default().push((now, count));
        Ok(())
    }

    async fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> Result<f64, PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        let (left, at) = inner.pace.unwrap_or((capacity, now));
        let seconds = now.duration_since(at).as_secs_f64().max(0.0);
        #[expect(clippy::cast_precision_loss, reason = "a test's calls are few")]
        let left = (left + per_second * seconds).min(capacity) - calls as f64;
        inner.pace = Some((left, at.max(now)));
        Ok(left)
    }

    async fn linked(&self, sync: &str) -> Result<u64, PortError> {
        yield_now().await;
        Ok(self.bases(sync).iter().filter(|base| base.live).count() as u64)
    }

    async fn make_due(&self, now: Timestamp, spread: SignedDuration) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        let waiting = inner.deferred.values_mut().filter(|(deferred, _)| deferred.waits_for.is_empty());
        for (place, (deferred, _)) in waiting.enumerate() {
            let place = i32::try_from(place % 10).unwrap();
            deferred.due = deferred.due.min(now + spread * place / 10);
        }
        Ok(())
    }

    async fn pulse(&self) -> Result<u64, PortError> {
        yield_now().await;
        Ok(self.inner.lock().unwrap().pulse)
    }

    async fn put_pulse(&self, pulse: u64) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.pulse = inner.pulse.max(pulse);
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.bases.retain(|_, base| {
            base.live || base.intent.is_some() || base.ended_at.is_none_or(|ended| ended >= before)
        });
        for counted in inner.counters.values_mut() {
            counted.retain(|(at, _)| *at >= before);
        }
        Ok(())
    }

    async fn paused(&self, sync: &str) -> Result<Option<Pause>, PortError> {
        yield_now().await;
        Ok(self.inner.lock().unwrap().paused.get(sync).cloned())
    }

    async fn put_paused(&self, sync: &str, pause: Option<&Pause>) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        match pause {
            Some(pause) => inner.paused.insert(sync.to_owned(), pause.clone()),
            None => inner.paused.remove(sync),
        };
        Ok(())
    }
}
