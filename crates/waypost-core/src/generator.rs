//! Randomness that is handed in.

use core::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// Turns a shard or draw number into a seed far from its neighbours' (2^64 over the golden ratio, Knuth).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hands each decision a generator of its own, all from one seed.
///
/// The n-th draw from one seed is always the same generator, so one thread that makes the same decisions gets the
/// same answers. Threads share only a counter, and only decisions that draw touch it.
///
/// ```
/// use waypost_core::SeedSequence;
///
/// let (a, b) = (SeedSequence::new(7), SeedSequence::new(7));
/// assert_eq!(a.generator().next_u64(), b.generator().next_u64());
/// ```
#[derive(Debug)]
pub struct SeedSequence {
    seed: u64,
    drawn: CachePadded<AtomicU64>,
}

impl SeedSequence {
    /// A sequence that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: CachePadded::new(AtomicU64::new(0)) }
    }

    /// The next decision's generator. Costs nothing until it is drawn from.
    #[inline]
    pub fn generator(&self) -> Generator<'_> {
        Generator { sequence: self, rng: None }
    }

    /// A generator like the next decision's, which leaves the next decision its own: for looking ahead.
    pub fn preview(&self) -> Generator<'_> {
        let next = self.drawn.load(Ordering::Relaxed);
        Generator { sequence: self, rng: Some(self.rng(next)) }
    }

    fn rng(&self, draw: u64) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(self.seed ^ draw.wrapping_mul(GOLDEN))
    }
}

/// A random generator for one decision (xoshiro256++, Blackman and Vigna 2019). Not for secrets.
#[derive(Debug)]
pub struct Generator<'a> {
    sequence: &'a SeedSequence,
    rng: Option<Xoshiro256PlusPlus>,
}

impl Generator<'_> {
    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let sequence = self.sequence;
        let draw = || sequence.rng(sequence.drawn.fetch_add(1, Ordering::Relaxed));
        self.rng.get_or_insert_with(draw).next_u64()
    }

    /// A number below `bound`, each equally likely to within `bound / 2^64` (multiply-shift, Lemire 2019); zero when
    /// `bound` is zero.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Sixteen bytes of which at least one is not zero, as trace ids need.
    pub(crate) fn nonzero_u128(&mut self) -> u128 {
        loop {
            let value = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
            if value != 0 {
                return value;
            }
        }
    }

    /// A number that is not zero, as span ids need.
    pub(crate) fn nonzero_u64(&mut self) -> u64 {
        loop {
            let value = self.next_u64();
            if value != 0 {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_covers_its_range_evenly() {
        // 60,000 draws over 6 values: a fair value's count has sigma 91; the band of 500 is 5.5 sigma, so a fair
        // generator fails once in 10^7 runs, and a value 10 % too frequent (11 sigma away) is found every time.
        let seed = 42;
        let sequence = SeedSequence::new(seed);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[sequence.generator().below(6)] += 1;
        }
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 500), "seed {seed}: {counts:?}");
    }

    #[test]
    fn below_zero_is_zero() {
        assert_eq!(SeedSequence::new(1).generator().below(0), 0);
    }

    #[test]
    fn generators_of_one_sequence_differ() {
        let sequence = SeedSequence::new(0);
        assert_ne!(sequence.generator().next_u64(), sequence.generator().next_u64());
    }
}
