//! What engines said when they were asked.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use waypost_core::{CandidateId, Pool, Timestamp};

use crate::sync::{AtomicU64, Ordering};

/// Answers kept per pool, as in the paper.
const ANSWERS: usize = 16;
/// Milliseconds after which an answer is too old.
const AGE_LIMIT: u64 = 1_000;
/// How often one answer may be used: with three probes per request and one answer forgotten per request the paper's
/// formula gives 1.3 for large fleets and more for small ones.
const USES: u64 = 2;

const INDEX: Field = Field { shift: 0, bits: 10 };
const USES_LEFT: Field = Field { shift: 10, bits: 6 };
const IN_FLIGHT: Field = Field { shift: 16, bits: 14 };
/// In powers of two of a microsecond, a sixteenth apart.
const LATENCY: Field = Field { shift: 30, bits: 12 };
/// In milliseconds, wrapping after an hour.
const TIME: Field = Field { shift: 42, bits: 22 };

/// Some bits of a word.
#[derive(Debug, Clone, Copy)]
struct Field {
    shift: u32,
    bits: u32,
}

impl Field {
    const fn max(self) -> u64 {
        (1 << self.bits) - 1
    }

    const fn of(self, word: u64) -> u64 {
        word >> self.shift & self.max()
    }

    /// The value in its place; more than fits counts as the most.
    const fn put(self, value: u64) -> u64 {
        (if value < self.max() { value } else { self.max() }) << self.shift
    }
}

/// Where the answers of engines come in that a prober asks how busy they are, for [`Prequal`](crate::Prequal).
///
/// The prober runs beside the router: for each request, or some times a second, it asks a few engines at random and
/// [reports](Self::report) what they say. Sixteen answers are kept per pool; each is used twice at most and for a
/// second at most, and while there are sixteen, every choice forgets one, in turn the oldest and the worst, so that
/// what is left over is not only what nobody wanted.
///
/// ```
/// use core::time::Duration;
/// use waypost_balancers::{Prequal, Probes};
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence, Timestamp};
///
/// let probes = Probes::default();
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let balancer = Prequal::with_probes(&probes).build(&pool, &mut SeedSequence::new(7).generator());
/// // Elsewhere, when an engine has answered:
/// let id = pool.candidates()[0].id();
/// probes.report(id, 12, Duration::from_millis(180), Timestamp::ORIGIN);
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// The pools that answers go to. Locked when a balancer is built and when an answer comes in, never by a decision.
    pools: Arc<Mutex<Vec<Weak<ProbePool>>>>,
}

impl Probes {
    /// Takes an answer: the requests that the engine has in flight, and the latency that it expects at that load. Goes
    /// to every pool that has the candidate; an unknown candidate's goes nowhere.
    pub fn report(&self, candidate: &CandidateId, in_flight: u64, latency: Duration, now: Timestamp) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|pool| pool.report(candidate, in_flight, latency, now));
    }

    /// A place for the answers that concern a pool.
    pub(crate) fn for_pool(&self, pool: &Pool) -> Arc<ProbePool> {
        let new = Arc::new(ProbePool::new(pool));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&new));
        new
    }
}

/// The answers that concern one pool, each in one atomic word.
#[derive(Debug)]
pub(crate) struct ProbePool {
    places: HashMap<CandidateId, usize>,
    answers: [AtomicU64; ANSWERS],
}

/// An answer that may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Probed {
    pub(crate) index: usize,
    pub(crate) in_flight: u64,
    pub(crate) latency: Duration,
}

impl ProbePool {
    fn new(pool: &Pool) -> Self {
        let ids = pool.candidates().iter().enumerate();
        Self {
            places: ids.map(|(place, candidate)| (candidate.id().clone(), place)).collect(),
            answers: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Keeps an answer in the place of one that is used up or else of the oldest.
    fn report(&self, candidate: &CandidateId, in_flight: u64, latency: Duration, now: Timestamp) {
        let Some(&index) = self.places.get(candidate) else { return };
        let word = INDEX.put(index as u64)
            | USES_LEFT.put(USES)
            | IN_FLIGHT.put(in_flight)
            | LATENCY.put(log_micros(latency))
            | TIME.put(millis(now));
        if let Some(oldest) =
            self.answers.iter().max_by_key(|answer| age(answer.load(Ordering::Relaxed), now))
        {
            oldest.store(word, Ordering::Relaxed);
        }
    }

    /// The answers that are not too old.
    pub(crate) fn fresh(&self, now: Timestamp) -> impl Iterator<Item = Probed> + '_ {
        let words = self.answers.iter().map(|answer| answer.load(Ordering::Relaxed));
        words.filter(move |&word| age(word, now) <= AGE_LIMIT).map(|word| Probed {
            index: INDEX.of(word) as usize,
            in_flight: IN_FLIGHT.of(word),
            latency: from_log_micros(LATENCY.of(word)),
        })
    }

    /// Says that an answer of a candidate was used, which now has a request more, and forgets one other: the worst,
    /// else the oldest.
    pub(crate) fn used(&self, index: usize, worst: bool, now: Timestamp) {
        let of_index = |word: u64| age(word, now) <= AGE_LIMIT && INDEX.of(word) as usize == index;
        for answer in &self.answers {
            let spend = |word: u64| {
                of_index(word).then(|| if USES_LEFT.of(word) > 1 { after_one_use(word) } else { 0 })
            };
            if answer.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
                break;
            }
        }
        let badness = |answer: &&AtomicU64| {
            let word = answer.load(Ordering::Relaxed);
            let age = age(word, now);
            if age > AGE_LIMIT {
                (0, 0)
            } else if worst {
                (IN_FLIGHT.of(word) + 1, LATENCY.of(word))
            } else {
                (age + 1, 0)
            }
        };
        let is_full = self.fresh(now).count() == ANSWERS;
        if let Some(forgotten) = self.answers.iter().max_by_key(badness).filter(|_| is_full) {
            forgotten.store(0, Ordering::Relaxed);
        }
    }
}

/// One use less and one request more.
const fn after_one_use(word: u64) -> u64 {
    let more = if IN_FLIGHT.of(word) < IN_FLIGHT.max() { IN_FLIGHT.put(1) } else { 0 };
    word - USES_LEFT.put(1) + more
}

fn millis(time: Timestamp) -> u64 {
    (time.as_nanos() / 1_000_000) & TIME.max()
}

/// Milliseconds since an answer came; a place that is free is older than any.
fn age(word: u64, now: Timestamp) -> u64 {
    if USES_LEFT.of(word) == 0 {
        return u64::MAX;
    }
    let age = millis(now).wrapping_sub(TIME.of(word)) & TIME.max();
    // A second ago, round the range, is the future: an answer that came while this decision ran.
    if age > TIME.max() - AGE_LIMIT { 0 } else { age }
}

/// Sixteenths of a power of two of a microsecond: 4 % apart.
fn log_micros(latency: Duration) -> u64 {
    ((latency.as_secs_f64() * 1e6).max(1.0).log2() * 16.0).round() as u64
}

fn from_log_micros(log: u64) -> Duration {
    Duration::from_secs_f64((log as f64 / 16.0).min(50.0).exp2() / 1e6)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::test_pools::pool_of;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn trap_2_an_answer_is_used_twice_and_knows_of_the_first_use() {
        let (pool, probes) = (pool_of(&[1, 1]), Probes::default());
        let kept = probes.for_pool(&pool);
        probes.report(pool.candidates()[1].id(), 4, Duration::from_millis(100), at(50));
        let seen = |millis| {
            kept.fresh(at(millis)).map(|answer| (answer.index, answer.in_flight)).collect::<Vec<_>>()
        };
        assert_eq!(seen(60), [(1, 4)]);
        let latency = kept.fresh(at(60)).next().unwrap().latency.as_secs_f64();
        assert!((latency / 0.1 - 1.0).abs() < 0.025, "{latency}");
        kept.used(1, false, at(60));
        assert_eq!(seen(60), [(1, 5)]);
        kept.used(1, false, at(60));
        assert_eq!(seen(60), []);
    }

    #[test]
    fn trap_30_good_answers_do_not_all_go_first() {
        // Sixteen answers, one of them bad. As choices use the good ones and new ones come, the bad one must go.
        let (pool, probes) = (pool_of(&[1; 17]), Probes::default());
        let kept = probes.for_pool(&pool);
        let report = |place: usize, in_flight| {
            probes.report(pool.candidates()[place].id(), in_flight, Duration::from_millis(10), at(10));
        };
        (0..15).for_each(|place| report(place, 1));
        report(15, 900);
        kept.used(0, true, at(11));
        assert!(kept.fresh(at(11)).all(|answer| answer.index != 15), "the worst was forgotten");
    }

    #[test]
    fn a_late_or_unknown_report_harms_nothing() {
        let (pool, probes) = (pool_of(&[1]), Probes::default());
        let kept = probes.for_pool(&pool);
        probes.report(pool_of(&[1, 1]).candidates()[1].id(), 4, Duration::from_millis(100), at(50));
        assert_eq!(kept.fresh(at(50)).count(), 0);
        probes.report(pool.candidates()[0].id(), u64::MAX, Duration::MAX, Timestamp::MAX);
        assert_eq!(kept.fresh(Timestamp::MAX).count(), 1);
        drop(kept);
        probes.report(pool.candidates()[0].id(), 1, Duration::ZERO, at(60));
    }
}
