//! Randomness that is handed in.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// Turns a shard or draw number into a seed far from its neighbours' (2^64 over the golden ratio, Knuth).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Threads that count their draws without meeting; further ones share a count.
const LANES: usize = 8;
/// Where a lane's number stands in a draw's number: below it a thread has 2^56 draws.
const LANE_SHIFT: u32 = 56;

/// The next thread's token.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

std::thread_local! {
    /// Tells this thread from others; zero before its first draw.
    static TOKEN: Cell<u64> = const { Cell::new(0) };
}

/// Hands each decision a generator of its own, all from one seed.
///
/// The n-th draw of the first thread that draws is always the same generator, so one thread that makes the same
/// decisions gets the same answers. Up to eight threads count their draws on cache lines of their own.
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
    /// The token of the thread that has each lane, in the order in which threads came; zero is free. Read by every draw
    /// and hardly ever written.
    owners: CachePadded<[AtomicU64; LANES]>,
    /// Draws so far, by lane.
    drawn: [CachePadded<AtomicU64>; LANES],
}

impl SeedSequence {
    /// A sequence that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            owners: CachePadded::new([const { AtomicU64::new(0) }; LANES]),
            drawn: [const { CachePadded::new(AtomicU64::new(0)) }; LANES],
        }
    }

    /// The next decision's generator. Costs nothing until it is drawn from.
    #[inline]
    pub fn generator(&self) -> Generator<'_> {
        Generator { sequence: self, rng: None }
    }

    /// A generator like this thread's next decision's, which leaves that its own: for looking ahead.
    pub fn preview(&self) -> Generator<'_> {
        let lane = self.lane(|_, _| true);
        let next = self.drawn[lane].load(Ordering::Relaxed);
        Generator { sequence: self, rng: Some(self.rng(lane, next)) }
    }

    /// The generator of this thread's next draw.
    #[inline]
    fn draw(&self) -> Xoshiro256PlusPlus {
        // Relaxed: a lane is claimed for its count's sake, and counts publish nothing but themselves.
        let claim = |owner: &AtomicU64, token| {
            owner.compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let lane = self.lane(claim);
        self.rng(lane, self.drawn[lane].fetch_add(1, Ordering::Relaxed))
    }

    /// This thread's lane, else the first that `claim` says it can have, else one that it shares; the first is never
    /// shared.
    #[inline]
    fn lane(&self, claim: impl Fn(&AtomicU64, u64) -> bool) -> usize {
        let token = token();
        let own = self.owners.iter().position(|owner| match owner.load(Ordering::Relaxed) {
            // Only what was free a moment ago is worth an attempt: a failed one costs as much as a draw.
            0 => claim(owner, token),
            owner => owner == token,
        });
        own.unwrap_or(1 + token as usize % (LANES - 1))
    }

    fn rng(&self, lane: usize, draw: u64) -> Xoshiro256PlusPlus {
        let number = (lane as u64) << LANE_SHIFT | draw;
        Xoshiro256PlusPlus::seed_from_u64(self.seed ^ number.wrapping_mul(GOLDEN))
    }
}

/// The calling thread's token, dealt at its first draw.
#[inline]
fn token() -> u64 {
    TOKEN.with(|token| {
        if token.get() == 0 {
            token.set(NEXT_TOKEN.fetch_add(1, Ordering::Relaxed));
        }
        token.get()
    })
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
        self.rng.get_or_insert_with(|| sequence.draw()).next_u64()
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
    fn threads_draw_different_numbers_and_the_first_one_the_same_as_alone() {
        let draws =
            |sequence: &SeedSequence| (0..100).map(|_| sequence.generator().next_u64()).collect::<Vec<_>>();
        let (shared, alone) = (SeedSequence::new(7), SeedSequence::new(7));
        let first = shared.generator().next_u64();
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..11).map(|_| scope.spawn(|| draws(&shared))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let later = draws(&shared);
        assert_eq!([vec![first], later.clone()].concat()[..100], draws(&alone));
        all.extend(later);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1_200, "no two decisions share a generator");
    }

    #[test]
    fn looking_ahead_sees_what_comes() {
        let sequence = SeedSequence::new(7);
        for _ in 0..3 {
            let foreseen = sequence.preview().next_u64();
            assert_eq!(sequence.generator().next_u64(), foreseen);
        }
    }

    #[test]
    fn generators_of_one_sequence_differ() {
        let sequence = SeedSequence::new(0);
        assert_ne!(sequence.generator().next_u64(), sequence.generator().next_u64());
    }
}
