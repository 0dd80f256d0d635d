//! What a process remembers between its runs. None of it is needed for correctness: a process that has
//! forgotten it offers a record once too often, or begins with small runs.

mod looks;
mod queued_by_catch_up;
mod run_size;

pub use looks::Looks;
pub use queued_by_catch_up::QueuedByCatchUp;
pub use run_size::Speed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process remembers between its runs. Clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct ProcessMemory {
    queued_by_catch_up: Arc<Mutex<QueuedByCatchUp>>,
    speed: Arc<Mutex<Speed>>,
    looks: Arc<Mutex<Looks>>,
}

impl ProcessMemory {
    /// The records that catch-up has queued.
    pub fn queued_by_catch_up(&self) -> MutexGuard<'_, QueuedByCatchUp> {
        self.queued_by_catch_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast this process reconciles.
    pub fn speed(&self) -> MutexGuard<'_, Speed> {
        self.speed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When this process last looked at what needs a look only now and then.
    pub fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything, as the end of the process does.
    pub fn forget(&self) {
        *self.queued_by_catch_up() = QueuedByCatchUp::default();
        *self.speed() = Speed::default();
        *self.looks() = Looks::default();
    }
}
