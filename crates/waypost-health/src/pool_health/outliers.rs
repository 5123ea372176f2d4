//! Who does worse than the others.

use core::time::Duration;

use waypost_core::{Ratio, RequestResult, Timestamp};

use super::{PoolHealth, Seat, Standing};
use crate::EjectionReason;
use crate::ejection::{EjectionCap, tail};
use crate::event::{HealthChange, Subject};
use crate::evidence::Evidence;
use crate::sync::Ordering;
use crate::window::Counts;

/// For so long after its return neither latencies nor the score, which has them in it, are held against a candidate: the
/// histograms remember those of before.
const LATENCY_MEMORY: Duration = Duration::from_secs(60);

/// How often a pool is looked at when there is no ejection to say so.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Candidates that one look ejects: each takes two rounds through the pool, on the thread of some request.
const MOST_PER_LOOK: usize = 4;

/// How a candidate does.
#[derive(Debug, Clone, Copy)]
struct Showing {
    counts: Counts,
    score: f64,
    p50: Option<Duration>,
    p95: Option<Duration>,
}

/// How all who take part do, added up.
#[derive(Debug, Clone, Copy, Default)]
struct Peers {
    taking_part: u32,
    failed: u32,
    total: u32,
    /// How many are known to have a good score, median and 95th percentile.
    scored_well: u32,
    p50_in_time: u32,
    p95_in_time: u32,
}

impl Peers {
    /// Whether so many are most of the others.
    const fn are_most(&self, good: u32) -> bool {
        2 * good > self.taking_part - 1
    }
}

impl PoolHealth {
    /// Counts a result of the present, and looks at the pool if it is time.
    pub(super) fn count(
        &self,
        seat: &Seat,
        era: u32,
        evidence: Evidence,
        result: &RequestResult,
        now: Timestamp,
    ) {
        let success = match evidence {
            Evidence::Success => true,
            Evidence::Failure(_) => false,
            _ => return,
        };
        let in_a_row = seat.health.count(era, success, &self.settings.config, now);
        if !success {
            seat.health.note_status(result.status_code);
        }
        let ejection = self.settings.config.ejection.as_ref();
        let most = ejection.and_then(|ejection| ejection.consecutive_failures).filter(|&most| most > 0);
        if most.is_some_and(|most| in_a_row >= most) {
            self.eject(seat, EjectionReason::ConsecutiveFailures(in_a_row), now);
        }
        let look_at = self.state.look_at.load(Ordering::Relaxed);
        if now.as_nanos() >= look_at {
            let interval = ejection.map_or(LOOK_INTERVAL, |ejection| ejection.interval);
            let next = (now + interval).as_nanos();
            // One of those who come at once looks for all.
            if self
                .state
                .look_at
                .compare_exchange(look_at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                self.look(now);
            }
        }
    }

    /// Brings back whose time is over, and ejects who does worst, as long as somebody stands out and there is room.
    #[cold]
    fn look(&self, now: Timestamp) {
        let config = &self.settings.config;
        for seat in &self.seats {
            self.restore_if_over(seat, now);
            // Whoever gets no requests publishes nothing: strategies would believe the last that was.
            if seat.health.score.idle(now).is_some_and(|idle| idle > config.health_window) {
                seat.health.publish(config, now);
            }
        }
        if config.ejection.is_none() {
            return;
        }
        let look = self.state.looks.fetch_add(1, Ordering::Relaxed) as u32 + 1;
        for _ in 0..MOST_PER_LOOK {
            match self.worst(look, now) {
                Some((seat, reason)) if self.eject(seat, reason, now) => {}
                _ => break,
            }
        }
    }

    fn eject(&self, seat: &Seat, reason: EjectionReason, now: Timestamp) -> bool {
        let Some(config) = &self.settings.config.ejection else { return false };
        let allowed = EjectionCap::allowed(self.eligible(now), config.max_ejected);
        let ejected = seat.place.eject(&self.state.cap, allowed, config, now, || self.draw());
        let Some((until, count)) = ejected else { return false };
        seat.health.begin_anew(&self.settings.config, now);
        seat.health.own.marks.set();
        let change = HealthChange::Ejected { reason, until, count };
        self.settings.tell(now, Subject::Candidate(seat.health.id()), change);
        true
    }

    /// Candidates that could serve, were they not ejected or their breakers open.
    fn eligible(&self, now: Timestamp) -> usize {
        let available = self.pool.all();
        let takes_part =
            |&place: &usize| self.pool.index(place).is_some_and(|index| available.contains(index));
        let could = |&place: &usize| !matches!(self.seats[place].standing(now), Standing::Out(..));
        (0..self.seats.len()).filter(takes_part).filter(could).count()
    }

    /// The outlier with the highest share of failures, and what makes it one.
    fn worst(&self, look: u32, now: Timestamp) -> Option<(&Seat, EjectionReason)> {
        let peers =
            self.showings(now).fold(Peers::default(), |peers, (_, showing)| self.joined(peers, showing));
        let outliers = self.showings(now).filter_map(|(seat, showing)| {
            Some((seat, self.stands_out(seat, showing, peers, look, now)?, showing.counts.failure_rate()))
        });
        let worst = outliers.max_by(|(.., a), (.., b)| a.total_cmp(b));
        worst.map(|(seat, reason, _)| (seat, reason))
    }

    /// How those do who are well and had enough requests.
    fn showings(&self, now: Timestamp) -> impl Iterator<Item = (&Seat, Showing)> {
        let config = &self.settings.config;
        let taking_part = self.pool.all();
        let seats = self.seats.iter().enumerate().filter(move |&(place, _)| {
            self.pool.index(place).is_some_and(|index| taking_part.contains(index))
        });
        seats.filter_map(move |(_, seat)| {
            let counts = seat.health.counts(now);
            if counts.total() < config.min_samples.max(1) || seat.standing(now) != Standing::Well {
                return None;
            }
            let score = &seat.health.score;
            let value = score.value(seat.health.failures_in_a_row(), config, now).get();
            Some((seat, Showing { counts, score: value, p50: score.p50_latency(), p95: score.p95_latency() }))
        })
    }

    fn joined(&self, peers: Peers, showing: Showing) -> Peers {
        Peers {
            taking_part: peers.taking_part + 1,
            failed: peers.failed + showing.counts.failed,
            total: peers.total + showing.counts.total(),
            scored_well: peers.scored_well + u32::from(self.scores_well(showing)),
            p50_in_time: peers.p50_in_time
                + u32::from(showing.p50.is_some() && self.p50_too_long(showing).is_none()),
            p95_in_time: peers.p95_in_time
                + u32::from(showing.p95.is_some() && self.p95_too_long(showing).is_none()),
        }
    }

    fn scores_well(&self, showing: Showing) -> bool {
        showing.score >= self.settings.config.min_health_threshold.get()
    }

    fn p50_too_long(&self, showing: Showing) -> Option<Duration> {
        showing.p50.filter(|&p50| p50 > self.settings.config.max_p50_latency)
    }

    fn p95_too_long(&self, showing: Showing) -> Option<Duration> {
        showing.p95.filter(|&p95| p95 > self.settings.config.max_p95_latency)
    }

    /// Why a candidate stands out, if it does. What most of the pool do is not the candidate's fault.
    fn stands_out(
        &self,
        seat: &Seat,
        showing: Showing,
        peers: Peers,
        look: u32,
        now: Timestamp,
    ) -> Option<EjectionReason> {
        if peers.taking_part < 2 {
            return None;
        }
        // Who failed, but not of late, is over it: others may have begun anew since, and look better for that.
        let reason = self.fails_more(showing.counts, peers).filter(|_| seat.health.fails_now(now));
        let lasting = || self.is_slower(showing, peers).or(self.scores_less(showing, peers));
        let judged = || !seat.place.is_just_back(LATENCY_MEMORY, now);
        reason.or_else(|| lasting().filter(|_| judged() && seat.place.stands_out_again(look)))
    }

    fn is_slower(&self, showing: Showing, peers: Peers) -> Option<EjectionReason> {
        let p50 = self.p50_too_long(showing).filter(|_| peers.are_most(peers.p50_in_time));
        let p95 = self.p95_too_long(showing).filter(|_| peers.are_most(peers.p95_in_time));
        p50.map(EjectionReason::P50Latency).or(p95.map(EjectionReason::P95Latency))
    }

    fn scores_less(&self, showing: Showing, peers: Peers) -> Option<EjectionReason> {
        let less = !self.scores_well(showing) && peers.are_most(peers.scored_well);
        less.then_some(EjectionReason::Score(showing.score))
    }

    fn fails_more(&self, counts: Counts, peers: Peers) -> Option<EjectionReason> {
        let config = &self.settings.config;
        let ejection = config.ejection.as_ref()?;
        let own = counts.failure_rate();
        // Results come in while all are added up: what is subtracted may be newer than the sum.
        let total = peers.total.saturating_sub(counts.total());
        let failed = peers.failed.saturating_sub(counts.failed).min(total);
        let others = f64::from(failed) / f64::from(total.max(1));
        if ejection.failure_percentage.is_some_and(|most| own >= most.get() && others < most.get()) {
            return Some(EjectionReason::FailurePercentage(own));
        }
        // One failure more and one success more: others who never failed may yet.
        let expected = f64::from(failed + 1) / f64::from(total + 2);
        let is_chance = |least: Ratio| tail(counts.failed, counts.total(), expected) >= least.get();
        let stands_out = ejection.success_rate.is_some_and(|least| !is_chance(least));
        (stands_out && 1.0 - own < config.min_success_rate.get())
            .then_some(EjectionReason::SuccessRate { own: 1.0 - own, others: 1.0 - others })
    }
}
