//! Draws from a number.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Draws for one purpose, apart from all others: leaving one out changes none of the rest.
#[derive(Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// From a number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `limit`, 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = self.0.next_u64() % (limit.max(1) as u64);
        usize::try_from(number).unwrap_or_default()
    }

    /// True so many times in a thousand.
    pub fn often(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.0.next_u64() % 1000 < u64::from(in_a_thousand)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}
