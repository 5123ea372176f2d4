//! How long to wait before the same candidate is asked again.

use core::time::Duration;

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BackoffStrategy {
    /// No wait.
    None,
    /// The first wait, twice, three times as long.
    Linear {
        /// The first wait.
        increment: Duration,
    },
    /// Each wait a number of times the one before.
    Exponential {
        /// The first wait.
        base: Duration,
        /// That number. What is less than 1 or no number counts as 1.
        multiplier: f64,
    },
    /// 1, 1, 2, 3, 5 times the first wait.
    Fibonacci {
        /// The first wait.
        base: Duration,
    },
}

/// How waits are spread, so that those who failed together do not come back together.
///
/// Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all.
    None,
    /// Anything up to the wait.
    #[default]
    Full,
    /// Between half the wait and all of it.
    Equal,
    /// Anything from the first wait to three times the one before.
    Decorrelated,
}

/// How long to wait before the same candidate is asked again. Any values are valid.
///
/// ```
/// use core::time::Duration;
/// use waypost_failover::{Backoff, Jitter};
///
/// let backoff = Backoff { jitter: Jitter::None, ..Backoff::default() };
/// let waits = [1, 2, 3, 30].map(|retry| backoff.delay(retry, Duration::ZERO, 0.5).as_millis());
/// assert_eq!(waits, [100, 200, 400, 10_000]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Backoff {
    /// How waits grow. Default: exponentially from 100 ms, by 2.
    pub strategy: BackoffStrategy,
    /// The longest wait. Default: 10 s.
    pub cap: Duration,
    /// How waits are spread. Default: full jitter.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        let base = Duration::from_millis(100);
        let strategy = BackoffStrategy::Exponential { base, multiplier: 2.0 };
        Self { strategy, cap: Duration::from_secs(10), jitter: Jitter::Full }
    }
}

impl Backoff {
    /// The wait before a retry, counted from 1; none before the zeroth. `previous` is the wait before the last one,
    /// `draw` a random number from 0 to 1. Never more than the cap.
    pub fn delay(&self, retry: u32, previous: Duration, draw: f64) -> Duration {
        let draw = if draw.is_nan() { 0.5 } else { draw.clamp(0.0, 1.0) };
        let (first, wait) = (self.grown(retry.min(1)), self.grown(retry));
        let cap = self.cap.as_secs_f64();
        let seconds = match self.jitter {
            Jitter::None => wait,
            Jitter::Full => wait * draw,
            Jitter::Equal => wait * (0.5 + draw / 2.0),
            Jitter::Decorrelated => first + draw * (3.0 * previous.as_secs_f64().max(first) - first),
        };
        // Rounding may lift it over the cap.
        Duration::try_from_secs_f64(seconds.min(cap)).unwrap_or(self.cap).min(self.cap)
    }

    /// The wait without jitter, in seconds, at most the cap.
    fn grown(&self, retry: u32) -> f64 {
        let (first, times) = match self.strategy {
            _ if retry == 0 => return 0.0,
            BackoffStrategy::None => return 0.0,
            BackoffStrategy::Linear { increment } => (increment, f64::from(retry)),
            BackoffStrategy::Exponential { base, multiplier } => {
                let multiplier = if multiplier >= 1.0 { multiplier } else { 1.0 };
                (base, multiplier.powf(f64::from(retry - 1)))
            }
            BackoffStrategy::Fibonacci { base } => (base, fibonacci(retry)),
        };
        // Of no time, also endless times are no time.
        let seconds = if first.is_zero() { 0.0 } else { first.as_secs_f64() * times };
        seconds.min(self.cap.as_secs_f64())
    }
}

/// The Fibonacci number of a place: 1, 1, 2, 3, 5. Endless from the place on that a float cannot say.
fn fibonacci(place: u32) -> f64 {
    if place > 1_476 {
        return f64::INFINITY;
    }
    (1..place).fold((0.0, 1.0), |(before, number), _| (number, before + number)).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use waypost_core::SeedSequence;

    const BASE: Duration = Duration::from_millis(100);

    fn waits(strategy: BackoffStrategy) -> [u128; 8] {
        let backoff = Backoff { strategy, jitter: Jitter::None, cap: Duration::from_secs(2) };
        core::array::from_fn(|retry| backoff.delay(retry as u32, Duration::ZERO, 0.5).as_millis())
    }

    /// How many draws tell a mean that is off by `effect` standard deviations: chance says so in one of 10^11 runs (6.8
    /// sigma), and it is missed in one of twenty (1.645 sigma).
    fn needed(effect: f64) -> u32 {
        ((6.8 + 1.645) / effect).powi(2).ceil() as u32
    }

    /// Whether the mean of so many waits, in units of their standard deviation, is further off the middle than chance is.
    fn is_off(draws: u32, biased_by: f64, seed: u64) -> bool {
        let backoff = Backoff { strategy: BackoffStrategy::Linear { increment: BASE }, ..Backoff::default() };
        let (seeds, deviation) = (SeedSequence::new(seed), 1.0 / 12_f64.sqrt());
        let mut sum = 0.0;
        for _ in 0..draws {
            let wait = backoff.delay(1, Duration::ZERO, seeds.generator().unit()).as_secs_f64();
            sum += wait / BASE.as_secs_f64() + biased_by * deviation;
        }
        let off = (sum / f64::from(draws) - 0.5).abs() / deviation;
        off * f64::from(draws).sqrt() > 6.8
    }

    /// DIST-1: a bias of a twentieth of the standard deviation is found with as many draws as its power needs; with a tenth
    /// of them, it would not be.
    #[test]
    fn dist_1_full_jitter_is_even_with_stated_power() {
        let draws = needed(0.05);
        assert_eq!(draws, 28_528);
        for seed in 1..=20 {
            assert!(!is_off(draws, 0.0, seed), "seed {seed}");
            assert!(!is_off(draws / 10, 0.05, seed), "seed {seed}: too few to tell");
        }
        let found = (1..=20).filter(|seed| is_off(draws, 0.05, *seed)).count();
        assert!(found >= 15, "{found} of 20, where 19 are expected");
    }

    #[test]
    fn waits_grow_as_named_up_to_the_cap() {
        use BackoffStrategy::{Exponential, Fibonacci, Linear, None};
        assert_eq!(waits(None), [0; 8]);
        assert_eq!(waits(Linear { increment: BASE }), [0, 100, 200, 300, 400, 500, 600, 700]);
        let doubling = Exponential { base: BASE, multiplier: 2.0 };
        assert_eq!(waits(doubling), [0, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(waits(Fibonacci { base: BASE }), [0, 100, 100, 200, 300, 500, 800, 1_300]);
        assert_eq!(
            waits(Exponential { base: BASE, multiplier: f64::NAN }),
            [0, 100, 100, 100, 100, 100, 100, 100]
        );
    }

    /// 10,000 draws of a uniform variable: its mean has a deviation of 0.29 % of the range, so 2 % are seven of them.
    #[test]
    fn full_jitter_is_half_on_average() {
        let (backoff, seeds) = (Backoff::default(), SeedSequence::new(7));
        let mut generator = seeds.generator();
        let draws = 10_000;
        let sum: f64 =
            (0..draws).map(|_| backoff.delay(4, Duration::ZERO, generator.unit()).as_secs_f64()).sum();
        assert!((sum / f64::from(draws) - 0.4).abs() < 0.016, "{sum}");
    }

    fn strategy() -> impl Strategy<Value = BackoffStrategy> {
        let time =
            || any::<u64>().prop_map(Duration::from_nanos).boxed().prop_union(Just(Duration::MAX).boxed());
        prop_oneof![
            Just(BackoffStrategy::None),
            time().prop_map(|increment| BackoffStrategy::Linear { increment }),
            (time(), any::<f64>())
                .prop_map(|(base, multiplier)| BackoffStrategy::Exponential { base, multiplier }),
            time().prop_map(|base| BackoffStrategy::Fibonacci { base }),
        ]
    }

    proptest! {
        #[test]
        fn no_input_panics_or_waits_longer_than_the_cap(
            strategy in strategy(),
            cap in any::<u64>(),
            retry in any::<u32>(),
            previous in any::<u64>(),
            draw in any::<f64>(),
            endless in any::<bool>(),
        ) {
            let cap = if endless { Duration::MAX } else { Duration::from_nanos(cap) };
            let mut without = Duration::ZERO;
            for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
                let backoff = Backoff { strategy, cap, jitter };
                let wait = backoff.delay(retry, Duration::from_nanos(previous), draw);
                prop_assert!(wait <= cap);
                match jitter {
                    Jitter::None => without = wait,
                    Jitter::Full => prop_assert!(wait <= without),
                    Jitter::Equal => prop_assert!(wait <= without && wait >= (without / 2).mul_f64(0.999)),
                    Jitter::Decorrelated => {}
                }
            }
        }

        #[test]
        fn waits_never_shrink_without_jitter(strategy in strategy(), retry in 0..100_000_u32) {
            let backoff = Backoff { strategy, jitter: Jitter::None, ..Backoff::default() };
            prop_assert!(backoff.delay(retry, Duration::ZERO, 0.0) <= backoff.delay(retry + 1, Duration::ZERO, 0.0));
        }
    }
}
