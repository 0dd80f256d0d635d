//! What a process remembers between its runs. None of it is needed for correctness: a process that has
//! forgotten it offers a record once too often, or begins with small runs.

mod offered;
mod speed;

pub use offered::Offered;
pub use speed::Speed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process remembers between its runs. Clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    offered: Arc<Mutex<Offered>>,
    speed: Arc<Mutex<Speed>>,
}

impl Remembered {
    /// The records that catch-up has queued.
    pub fn offered(&self) -> MutexGuard<'_, Offered> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How fast this process reconciles.
    pub fn speed(&self) -> MutexGuard<'_, Speed> {
        self.speed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything, as the end of the process does.
    pub fn forget(&self) {
        *self.offered() = Offered::default();
        *self.speed() = Speed::default();
    }
}
