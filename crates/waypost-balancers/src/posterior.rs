//! What is believed of a candidate's reward.

use core::time::Duration;

use waypost_core::{Age, Generator, Stamp, Timestamp};

use crate::sync::{AtomicU64, Ordering};

/// The most evidence that is kept, in results. With 100 a change shows within some hundred results; more is steadier
/// and slower. Rescaling to a cap beat every discount factor and window that were tried, in settings that change and
/// that do not.
const MOST_EVIDENCE: f32 = 100.0;
/// How fast what is known of a candidate that gets no requests fades: one that has healed is tried again.
const IDLE_HALF_LIFE: Age = Age::of(Duration::from_secs(600));
/// Fixed-point units of evidence: 16 bits hold the cap with some room.
const UNITS: f32 = 512.0;

/// Evidence for and against a candidate: a Beta posterior over its reward, without the prior, in one atomic word of two
/// 16-bit fixed-point numbers and a 32-bit time.
///
/// New evidence is added in one compare-and-swap; beyond [`MOST_EVIDENCE`] both sides are scaled down, so old evidence
/// fades by new and nothing ever freezes. Without results evidence halves every ten minutes.
#[derive(Debug)]
pub(crate) struct Posterior {
    word: AtomicU64,
}

/// Evidence in results: how much for, how much against.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) good: f32,
    pub(crate) bad: f32,
}

impl Posterior {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// The evidence as it has faded by now.
    #[inline]
    pub(crate) fn get(&self, now: Timestamp) -> Evidence {
        read(self.word.load(Ordering::Relaxed), Stamp::of(now)).0
    }

    /// Takes a reward, 0 to 1.
    pub(crate) fn record(&self, reward: f32, now: Timestamp) {
        let now = Stamp::of(now);
        let reward = if reward.is_nan() { 0.0 } else { reward.clamp(0.0, 1.0) };
        let next = |word| {
            let (Evidence { good, bad }, age) = read(word, now);
            let (good, bad) = (good + reward, bad + 1.0 - reward);
            let scale = (MOST_EVIDENCE / (good + bad)).min(1.0);
            let time = if word != 0 && age == Age::ZERO { word as u32 } else { now.to_bits() };
            Some(pack(Evidence { good: good * scale, bad: bad * scale }, time))
        };
        // Relaxed: the word publishes nothing but itself. The closure never declines.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    pub(crate) fn copy_from(&self, other: &Self) {
        self.word.store(other.word.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Evidence {
    /// The posterior's mean and standard deviation under an even prior of two results. Requests under way count half
    /// a failure each, so that an unknown candidate is not flooded before its first answer.
    #[inline]
    pub(crate) fn belief(self, under_way: f32) -> Belief {
        let (good, bad) = (self.good + 1.0, self.bad + 1.0 + under_way / 2.0);
        let sum = good + bad;
        let mean = good / sum;
        Belief { mean, deviation: (mean * (1.0 - mean) / (sum + 1.0)).sqrt() }
    }
}

/// What is believed, for drawing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belief {
    mean: f32,
    deviation: f32,
}

impl Belief {
    pub(crate) const fn mean(self) -> f32 {
        self.mean
    }

    /// A reward that may be the true one, as likely as it is believed; `spread` scales how far it may be from the mean.
    /// The Beta's normal approximation, from a sum of four 16-bit numbers, within 3.46 deviations.
    #[inline]
    pub(crate) fn draw(self, spread: f32, rng: &mut Generator<'_>) -> f32 {
        let word = rng.next_u64();
        let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        // Each part is even over 65,536 values: mean 32,767.5, variance 65,536² / 12.
        let normal = (sum as f32 - 131_070.0) / 37_837.2;
        (self.mean + self.deviation * spread * normal).clamp(0.0, 1.0)
    }
}

/// The evidence as it has faded, and its age.
#[inline]
fn read(word: u64, now: Stamp) -> (Evidence, Age) {
    let age = Stamp::in_word(word).map_or(Age::ZERO, |stamp| stamp.age_at(now));
    let kept = age.decay(IDLE_HALF_LIFE);
    let side = |shift: u32| (word >> shift & 0xffff) as f32 / UNITS * kept;
    (Evidence { good: side(48), bad: side(32) }, age)
}

#[inline]
fn pack(evidence: Evidence, time: u32) -> u64 {
    let fixed = |value: f32| u64::from((value * UNITS).round() as u16);
    fixed(evidence.good) << 48 | fixed(evidence.bad) << 32 | u64::from(time)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use waypost_core::SeedSequence;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn mean(posterior: &Posterior, seconds: u64) -> f32 {
        posterior.get(at(seconds)).belief(0.0).mean
    }

    #[test]
    fn a_change_shows_within_a_hundred_results_however_long_the_past() {
        let posterior = Posterior::new();
        (0..100_000).for_each(|_| posterior.record(1.0, at(1)));
        assert!(mean(&posterior, 1) > 0.98);
        (0..150).for_each(|_| posterior.record(0.0, at(1)));
        assert!(mean(&posterior, 1) < 0.3, "{}", mean(&posterior, 1));
    }

    #[test]
    fn what_is_known_of_an_idle_candidate_fades() {
        let posterior = Posterior::new();
        (0..200).for_each(|_| posterior.record(0.0, at(1)));
        assert!(mean(&posterior, 1) < 0.02);
        assert!(mean(&posterior, 1 + 3_600) > 0.2, "six half-lives later nearly as unknown");
    }

    #[test]
    fn small_rewards_are_not_rounded_away() {
        let posterior = Posterior::new();
        (0..10_000).for_each(|_| posterior.record(0.1, at(1)));
        assert!((mean(&posterior, 1) - 0.108).abs() < 0.01, "{}", mean(&posterior, 1));
    }

    #[test]
    fn requests_under_way_make_the_unknown_less_inviting_and_the_known_hardly() {
        let known = Evidence { good: 80.0, bad: 20.0 };
        let drop = |evidence: Evidence| evidence.belief(0.0).mean - evidence.belief(4.0).mean;
        assert!(drop(Evidence::default()) > 0.2 && drop(known) < 0.02);
    }

    #[test]
    fn draws_spread_as_the_posterior_does() {
        // 20,000 draws: the mean's standard error is 0.0003, the deviation's 0.0002; bands are 6.8 of them and more.
        let belief = Evidence { good: 60.0, bad: 30.0 }.belief(0.0);
        let seeds = SeedSequence::new(42);
        let draws: Vec<f64> = (0..20_000).map(|_| belief.draw(1.0, &mut seeds.generator()).into()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - f64::from(belief.mean)).abs() < 0.003, "seed 42: {mean} {belief:?}");
        assert!(
            (variance.sqrt() - f64::from(belief.deviation)).abs() < 0.002,
            "seed 42: {variance} {belief:?}"
        );
    }

    #[test]
    fn ew_1_strange_rewards_store_numbers() {
        let posterior = Posterior::new();
        for reward in [f32::NAN, f32::INFINITY, -5.0, 5.0] {
            posterior.record(reward, Timestamp::MAX);
            posterior.record(reward, at(0));
        }
        let Evidence { good, bad } = posterior.get(at(0));
        assert!(good.is_finite() && bad.is_finite() && good >= 0.0 && bad >= 0.0);
    }
}
