//! Pseudo-random numbers that follow from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A sequence of pseudo-random numbers for one purpose. Each purpose has its own sequence, so that leaving
/// one purpose out does not change the numbers of another.
#[derive(Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = self.0.next_u64() % (limit.max(1) as u64);
        usize::try_from(number).unwrap_or_default()
    }

    /// True with a probability of `in_a_thousand` in 1,000.
    pub fn often(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.0.next_u64() % 1000 < u64::from(in_a_thousand)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}
