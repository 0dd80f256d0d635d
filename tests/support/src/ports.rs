//! All ports in memory, put together.

use crate::build::fingerprint_key;
use crate::event::EventLog;
use crate::yielding::yield_now;
use crate::{MemoryDatabase, MemoryOrg, MemoryQueue, MemoryState};
use jiff::{SignedDuration, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use syncline_sync::process_memory::ProcessMemory;
use syncline_sync::reconcile::Tally;
use syncline_sync::{Alert, Alerts, Clock, DailyCalls, HasPorts, PortSet, Random, Settings, Step, Steps};

/// A clock that moves only when a test moves it.
#[derive(Clone)]
pub struct SteppedClock(Arc<Mutex<Timestamp>>);

impl SteppedClock {
    /// A clock that shows this second.
    #[must_use]
    pub fn at(second: i64) -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_second(second).unwrap())))
    }

    /// Moves the clock forward by a duration.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now += by;
    }

    /// Moves the clock forward to a moment. The clock never goes back.
    pub fn advance_to(&self, moment: Timestamp) {
        let mut now = self.0.lock().unwrap();
        *now = (*now).max(moment);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        // Every call returns a different moment.
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::from_micros(1);
        *now
    }
}

/// Random numbers that follow from a seed.
#[derive(Clone)]
pub struct SeededRandom(Arc<Mutex<ChaCha8Rng>>);

impl SeededRandom {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// A number below `limit`.
    #[must_use]
    pub fn below(&self, limit: usize) -> usize {
        let number = self.0.lock().unwrap().next_u64();
        usize::try_from(number % limit as u64).unwrap()
    }
}

impl Random for SeededRandom {
    fn bits(&self) -> u128 {
        let mut random = self.0.lock().unwrap();
        u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
    }
}

/// A channel for alerts that keeps them for the test.
#[derive(Clone, Default)]
pub struct RecordedAlerts(Arc<Mutex<Vec<Alert>>>);

impl RecordedAlerts {
    /// The alerts that were raised.
    #[must_use]
    pub fn raised(&self) -> Vec<Alert> {
        self.0.lock().unwrap().clone()
    }
}

impl Alerts for RecordedAlerts {
    async fn raise(&self, alert: Alert) {
        yield_now().await;
        self.0.lock().unwrap().push(alert);
    }
}

/// Steps at which the run yields, so that a scheduler can crash the run or let another task go on. The last
/// step is kept.
#[derive(Clone, Default)]
pub struct YieldingSteps {
    last: Arc<Mutex<Option<Step>>>,
    tallies: Arc<Mutex<Tallies>>,
}

/// The tallies of the runs so far.
#[derive(Clone, Debug, Default)]
struct Tallies {
    last: Option<Tally>,
    uneven: Vec<Tally>,
}

impl YieldingSteps {
    /// The step that was reached last.
    #[must_use]
    pub fn last(&self) -> Option<Step> {
        *self.last.lock().unwrap()
    }

    /// The fates of the touches of the last run that came to its end.
    #[must_use]
    pub fn last_tally(&self) -> Option<Tally> {
        self.tallies.lock().unwrap().last.clone()
    }

    /// The tallies of runs in which a touch had two fates or none.
    #[must_use]
    pub fn uneven_tallies(&self) -> Vec<Tally> {
        self.tallies.lock().unwrap().uneven.clone()
    }
}

impl Steps for YieldingSteps {
    async fn at(&self, step: Step) {
        *self.last.lock().unwrap() = Some(step);
        yield_now().await;
    }

    fn tally(&self, tally: &Tally) {
        let mut tallies = self.tallies.lock().unwrap();
        if !tally.is_even() {
            tallies.uneven.push(tally.clone());
        }
        tallies.last = Some(tally.clone());
    }
}

/// All ports in memory, and the events on both sides.
#[derive(Clone)]
pub struct MemoryPorts {
    set: MemoryPortSet,
    /// The events on both sides.
    pub events: EventLog,
}

/// The ports in memory.
pub type MemoryPortSet = PortSet<
    MemoryOrg,
    MemoryDatabase,
    MemoryState,
    MemoryQueue,
    SteppedClock,
    SeededRandom,
    RecordedAlerts,
    YieldingSteps,
>;

impl MemoryPorts {
    /// Both sides empty, with random numbers from this seed.
    #[must_use]
    pub fn new(seed: u64, immediate: bool) -> Self {
        let clock = SteppedClock::at(1_700_000_000);
        let events = EventLog::new(clock.clone());
        let set = PortSet {
            salesforce: MemoryOrg::new(clock.clone(), events.clone(), immediate),
            database: MemoryDatabase::new(events.clone()),
            state: MemoryState::default(),
            // Shorter than many runs are. Two runs may then work on one group, and safety must not depend on
            // the groups.
            queue: MemoryQueue::new(clock.clone(), SignedDuration::from_secs(1)),
            clock,
            random: SeededRandom::new(seed),
            alerts: RecordedAlerts::default(),
            steps: YieldingSteps::default(),
            settings: Settings {
                instance: "test".to_owned(),
                lease: SignedDuration::from_secs(30),
                look_back: SignedDuration::from_mins(10),
                daily_calls: None,
                key: fingerprint_key(),
            },
            process_memory: ProcessMemory::default(),
        };
        Self { set, events }
    }

    /// Sets the number of calls that may be made in a day.
    pub fn set_daily_calls(&mut self, calls: Option<u64>) {
        self.set.settings.daily_calls = calls.map(DailyCalls::Count);
    }

    /// Sets the share of the org's daily calls that may be made.
    pub fn set_daily_share(&mut self, percent: u32) {
        self.set.settings.daily_calls = Some(DailyCalls::Percent(percent));
    }
}

impl Deref for MemoryPorts {
    type Target = MemoryPortSet;

    fn deref(&self) -> &MemoryPortSet {
        &self.set
    }
}

impl DerefMut for MemoryPorts {
    fn deref_mut(&mut self) -> &mut MemoryPortSet {
        &mut self.set
    }
}

impl MemoryPorts {
    /// True if changes of rows go unnoticed, or went unnoticed and are not looked for yet.
    #[must_use]
    pub fn is_capture_in_doubt(&self) -> bool {
        self.database.is_capture_lost() || self.state.notes_a_capture_gap()
    }
}

impl HasPorts for MemoryPorts {
    type Held = MemoryPortSet;

    fn ports(&self) -> &MemoryPortSet {
        &self.set
    }
}
