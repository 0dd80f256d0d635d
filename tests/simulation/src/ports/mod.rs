//! The ports as a run meets them: those in memory, with what goes wrong between, and with a planted bug where one is
//! switched on.

mod database;
mod queue;
mod salesforce;
mod state;

use crate::coverage::Coverage;
use crate::options::{Dice, Options};
use crate::planted::Planted;
use crate::trace::Trace;
pub use database::SimDatabase;
use jiff::SignedDuration;
pub use queue::SimQueue;
pub use salesforce::SimSalesforce;
pub use state::SimState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use support::{MemoryPorts, RecordedAlerts, SeededRandom, SteppedClock, YieldingSteps};
use syncline_engine::{Base, BaseKey};
use syncline_sync::{Conflict, HasPorts, PortError, PortSet};

/// What all ports of a run share.
pub struct Shared {
    /// What the run is made of.
    pub options: Options,
    /// What happened.
    pub coverage: Coverage,
    /// What is told of it.
    pub trace: Trace,
    /// The database was restored alone: it is another one than the instance is bound to.
    pub restored_alone: AtomicBool,
    /// Faults have ended.
    pub calm: AtomicBool,
    dice: Mutex<Dice>,
    memory: Mutex<PlantedMemory>,
    broken: Mutex<Vec<String>>,
}

/// What planted bugs remember.
#[derive(Default)]
pub(crate) struct PlantedMemory {
    /// Bases as they were before their last save.
    pub(crate) lagging: BTreeMap<(String, BaseKey), Base>,
    /// Conflicts that wait for the end of their run.
    pub(crate) conflicts: BTreeMap<BaseKey, Vec<Conflict>>,
    /// The last number of the capture log that was seen.
    pub(crate) last_number: u64,
    /// What was sent when, by content.
    pub(crate) sent: BTreeMap<String, jiff::Timestamp>,
    /// External Ids of creates that were sent before.
    pub(crate) created: BTreeSet<String>,
    /// Bases that were saved before their write.
    pub(crate) ahead: BTreeSet<BaseKey>,
}

impl Shared {
    fn new(seed: u64, options: Options, trace: Trace) -> Self {
        Self {
            options,
            coverage: Coverage::default(),
            trace,
            restored_alone: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            dice: Mutex::new(Dice::new(seed ^ 0xfa17)),
            memory: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// Whether this fault strikes now.
    pub(crate) fn strikes(&self, what: &'static str, in_a_thousand: u32) -> bool {
        let struck = self.dice.lock().unwrap().often(in_a_thousand) && !self.calm.load(Ordering::Relaxed);
        if struck {
            self.coverage.hit(what);
            self.trace.say(|| format!("  {what}"));
        }
        struck
    }

    pub(crate) fn is_planted(&self, planted: Planted) -> bool {
        self.options.planted == Some(planted)
    }

    pub(crate) fn planted(&self) -> std::sync::MutexGuard<'_, PlantedMemory> {
        self.memory.lock().unwrap()
    }

    /// A draw of a planted bug.
    pub(crate) fn draw(&self, in_a_thousand: u32) -> bool {
        self.dice.lock().unwrap().often(in_a_thousand)
    }

    /// Something that no port should ever be asked for.
    pub(crate) fn broke(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }

    /// What was asked for and should never be.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    fn store(&self, done: &str) -> Result<(), PortError> {
        if self.strikes("fault: state failed", self.options.faults.state_failed) {
            return Err(PortError::Store { message: format!("{done}: throttled") });
        }
        Ok(())
    }

    fn stored<T>(&self, done: &str, value: T) -> Result<T, PortError> {
        if self.strikes("fault: state answer lost", self.options.faults.state_answer_lost) {
            return Err(PortError::Store { message: format!("{done}: the answer is lost") });
        }
        Ok(value)
    }
}

/// All ports of a run.
#[derive(Clone)]
pub struct SimPorts {
    /// The sides, the store and the queue themselves.
    pub memory: Arc<MemoryPorts>,
    /// What the ports share.
    pub shared: Arc<Shared>,
    set: SimPortSet,
}

/// The ports with what goes wrong between.
pub type SimPortSet = PortSet<
    SimSalesforce,
    SimDatabase,
    SimState,
    SimQueue,
    SteppedClock,
    SeededRandom,
    RecordedAlerts,
    YieldingSteps,
>;

impl SimPorts {
    /// The ports of a seed.
    #[must_use]
    pub fn new(seed: u64, options: Options, memory: MemoryPorts, trace: Trace) -> Self {
        let shared = Arc::new(Shared::new(seed, options, trace));
        let mut settings = memory.settings.clone();
        if shared.is_planted(Planted::CursorWithoutLookBack) {
            settings.look_back = SignedDuration::ZERO;
        }
        let mut memory = memory;
        memory.salesforce.revives = shared.is_planted(Planted::UpdateRevivesTheDeleted);
        memory.database.silent = shared.is_planted(Planted::CascadesNotCaptured);
        let memory = Arc::new(memory);
        let set = PortSet {
            salesforce: SimSalesforce { memory: memory.clone(), shared: shared.clone() },
            database: SimDatabase { memory: memory.clone(), shared: shared.clone() },
            state: SimState { memory: memory.clone(), shared: shared.clone() },
            queue: SimQueue { memory: memory.clone(), shared: shared.clone() },
            clock: memory.clock.clone(),
            random: memory.random.clone(),
            alerts: memory.alerts.clone(),
            steps: memory.steps.clone(),
            settings,
            process_memory: memory.process_memory.clone(),
        };
        Self { memory, shared, set }
    }
}

impl HasPorts for SimPorts {
    type Held = SimPortSet;

    fn ports(&self) -> &SimPortSet {
        &self.set
    }
}
