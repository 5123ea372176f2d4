//! Active checks: asking a candidate how it is, without a user's request.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{CandidateId, ProviderCandidate, SeedSequence, Timestamp};

use crate::config::CheckConfig;
use crate::sync::{AtomicU64, Ordering};

/// Asks one candidate how it is: a cheap call, such as a list of models or an answer of one token.
///
/// ```
/// use waypost_core::ProviderCandidate;
/// use waypost_health::{CheckOutcome, Probe};
///
/// struct Ping;
///
/// impl Probe for Ping {
///     async fn probe(&self, candidate: &ProviderCandidate) -> CheckOutcome {
///         // A call to `candidate.endpoint()` by the client of your choice.
///         if candidate.endpoint().is_some() { CheckOutcome::Passed } else { CheckOutcome::Failed }
///     }
/// }
/// ```
pub trait Probe: Send + Sync {
    /// Asks. Whoever drives the check ends it when it takes too long: dropping the future must be harmless.
    fn probe(&self, candidate: &ProviderCandidate) -> impl Future<Output = CheckOutcome> + Send;
}

/// How a check ended. One that took too long failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckOutcome {
    /// The candidate can serve.
    Passed,
    /// It cannot.
    Failed,
}

/// A check that is due: make it, and report how it ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DueCheck {
    /// Whom to ask.
    pub candidate: Arc<ProviderCandidate>,
    /// How long it may take.
    pub timeout: Duration,
}

impl DueCheck {
    pub(crate) fn new(candidate: Arc<ProviderCandidate>, config: &CheckConfig) -> Self {
        // Over before the next is due, so that a candidate is never asked twice at a time.
        let shortest = interval(config).mul_f64(1.0 - jitter(config));
        Self { candidate, timeout: config.timeout.min(shortest) }
    }

    /// The candidate's id, to report by.
    pub fn id(&self) -> &CandidateId {
        self.candidate.id()
    }
}

/// What checks of a candidate brought so far.
#[derive(Debug)]
pub(crate) struct CheckState {
    /// Down 1 bit, checks in a row that say otherwise 16.
    word: AtomicU64,
    /// When the next is due, in nanoseconds.
    due: AtomicU64,
}

const DOWN: u64 = 1 << 63;

impl CheckState {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), due: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.word.load(Ordering::Relaxed) & DOWN != 0
    }

    /// Takes how a check ended; says so when that took the candidate out or brought it back: whether it is down now.
    pub(crate) fn report(&self, outcome: CheckOutcome, config: &CheckConfig) -> Option<bool> {
        let next = |word: u64| {
            let down = word & DOWN != 0;
            let contrary = down == (outcome == CheckOutcome::Passed);
            let needed = if down { config.rise } else { config.fall }.max(1);
            let count = if contrary { (word & !DOWN) + 1 } else { 0 };
            let turned = count >= u64::from(needed);
            Some(if turned { (word & DOWN) ^ DOWN } else { word & DOWN | count })
        };
        let before = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        let after = next(before)?;
        ((before ^ after) & DOWN != 0).then_some(after & DOWN != 0)
    }

    /// Whether a check is due; if so, the next is after an interval, and nobody else is told.
    pub(crate) fn take_due(&self, config: &CheckConfig, seeds: &SeedSequence, now: Timestamp) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        if now.as_nanos() < due {
            return false;
        }
        let draw = seeds.generator().unit();
        // The first checks are spread over an interval: candidates that begin together are not asked together.
        let wait = match due {
            0 => interval(config).mul_f64(draw),
            _ => interval(config).mul_f64(1.0 + jitter(config) * (2.0 * draw - 1.0)),
        };
        let next = (now + wait).as_nanos().max(1);
        let taken = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        taken && due > 0
    }

    pub(crate) fn due(&self) -> Timestamp {
        Timestamp::from_nanos(self.due.load(Ordering::Relaxed))
    }
}

/// More would leave no time for a check between two.
fn jitter(config: &CheckConfig) -> f64 {
    config.jitter.get().min(0.5)
}

fn interval(config: &CheckConfig) -> Duration {
    config.interval.max(Duration::from_millis(1))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use waypost_core::Ratio;

    fn config() -> CheckConfig {
        CheckConfig { interval: Duration::from_secs(10), jitter: Ratio::of(1, 5), ..CheckConfig::default() }
    }

    #[test]
    fn falls_after_three_and_rises_after_two_in_a_row() {
        use CheckOutcome::{Failed, Passed};
        let state = CheckState::new();
        let report = |outcomes: &[CheckOutcome]| -> Vec<_> {
            outcomes.iter().filter_map(|&outcome| state.report(outcome, &config())).collect()
        };
        assert!(report(&[Passed, Failed, Failed, Passed, Failed, Failed]).is_empty());
        assert_eq!(report(&[Failed, Failed]), [true]);
        assert!(report(&[Failed, Passed, Failed, Passed]).is_empty() && state.is_down());
        assert_eq!(report(&[Passed, Passed]), [false]);
        assert!(!state.is_down());
    }

    #[test]
    fn however_much_jitter_a_check_has_half_an_interval() {
        let candidate = Arc::new(ProviderCandidate::openai("p", "m").build().expect("valid"));
        let wild = CheckConfig { jitter: Ratio::ONE, timeout: Duration::from_secs(9), ..config() };
        assert_eq!(DueCheck::new(candidate, &wild).timeout, Duration::from_secs(5));
        let (state, seeds) = (CheckState::new(), SeedSequence::new(3));
        let rare = CheckConfig { interval: Duration::from_secs(7_200), ..config() };
        let due = |minute: &u64| {
            state.take_due(&rare, &seeds, Timestamp::ORIGIN + Duration::from_secs(minute * 60))
        };
        let taken: Vec<u64> = (0..2_000).filter(due).collect();
        assert!(taken.windows(2).all(|pair| pair[1] - pair[0] >= 95), "hours stay hours: {taken:?}");
    }

    #[test]
    fn zero_counts_as_one() {
        let (state, config) = (CheckState::new(), CheckConfig { rise: 0, fall: 0, ..config() });
        assert_eq!(state.report(CheckOutcome::Failed, &config), Some(true));
        assert_eq!(state.report(CheckOutcome::Passed, &config), Some(false));
    }

    #[test]
    fn checks_are_due_once_per_interval_give_or_take_a_fifth() {
        let (state, seeds) = (CheckState::new(), SeedSequence::new(3));
        let taken: Vec<u64> = (0..1_000_u64)
            .filter(|&tenth| {
                state.take_due(&config(), &seeds, Timestamp::ORIGIN + Duration::from_millis(tenth * 100))
            })
            .collect();
        assert!((8..=13).contains(&taken.len()) && taken[0] <= 100, "seed 3: {taken:?}");
        assert!(taken.windows(2).all(|pair| (79..=121).contains(&(pair[1] - pair[0]))), "seed 3: {taken:?}");
        assert!(taken.windows(2).any(|pair| pair[1] - pair[0] != 100), "spread");
    }
}
