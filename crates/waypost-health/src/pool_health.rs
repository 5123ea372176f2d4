//! The health of one pool: who is left out of a decision, who may be sent a request, what results teach.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use waypost_core::{
    CandidateIndex, CandidateMask, CandidateSet, Directives, FaultScope, LeftOut, LeftOutList, LeftOutReason,
    MAX_CANDIDATES, Pool, RequestResult, SeedSequence, Timestamp,
};

use crate::admission::{SharedPermits, Ticket};
use crate::circuit::{Gate, Permit};
use crate::condition::{CandidateHealth, Condition, Scope, Shared};
use crate::ejection::{EjectionCap, Place};
use crate::event::{HealthChange, HealthEvent, Subject};
use crate::evidence::Evidence;
use crate::suspects::{Kind, Suspects};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::{CallOutcome, CircuitBreaker, CircuitState, Exclusion, HealthConfig, HealthReport, Transition};

mod census;
mod outliers;

/// Told of every change of health.
pub(crate) type OnEvent = Box<dyn Fn(&HealthEvent<'_>) + Send + Sync>;

/// What all pools of a router share.
pub(crate) struct Settings {
    pub(crate) config: HealthConfig,
    pub(crate) seeds: SeedSequence,
    pub(crate) on_event: Option<OnEvent>,
    /// Changes of shared breakers so far: while there was none since its admission, a result needs no permits of them.
    pub(crate) shared_changes: AtomicU64,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn new(config: HealthConfig, seeds: SeedSequence, on_event: Option<OnEvent>) -> Self {
        Self { config, seeds, on_event, shared_changes: AtomicU64::new(0) }
    }

    pub(crate) fn tell(&self, now: Timestamp, subject: Subject<'_>, change: HealthChange) {
        if let Some(on_event) = &self.on_event {
            on_event(&HealthEvent::new(now, subject, change));
        }
    }
}

/// What versions of a model's pool share.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) cap: EjectionCap,
    panicking: AtomicBool,
    /// When outliers are looked for again, in nanoseconds.
    look_at: AtomicU64,
    looks: AtomicU64,
}

impl PoolState {
    pub(crate) fn new() -> Self {
        Self {
            cap: EjectionCap::new(),
            panicking: AtomicBool::new(false),
            look_at: AtomicU64::new(0),
            // So that the first look is not the one after a look that never was.
            looks: AtomicU64::new(1),
        }
    }
}

/// A candidate in the pool.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) health: Arc<CandidateHealth>,
    /// What it shares with others: credential, region, provider.
    pub(crate) shared: [Option<Arc<Shared>>; 3],
    pub(crate) place: Arc<Place>,
}

impl Seat {
    /// Its own condition and those that it shares.
    #[inline]
    fn conditions(&self) -> [Option<&Condition>; 4] {
        let [credential, region, provider] =
            self.shared.each_ref().map(|shared| shared.as_ref().map(|shared| &shared.condition));
        [Some(&self.health.own), credential, region, provider]
    }

    /// The condition of everybody that a fault reaches: its own if it shares nothing of that kind.
    fn reached(&self, reach: FaultScope) -> &Condition {
        let shared = self.shared.iter().flatten().find(|shared| shared.scope.is_reached_by(reach));
        shared.map_or(&self.health.own, |shared| &shared.condition)
    }

    fn standing(&self, now: Timestamp) -> Standing {
        self.standing_by(now, self.conditions())
    }

    /// How it stands by itself, whatever those do that it shares something with.
    fn standing_alone(&self, now: Timestamp) -> Standing {
        self.standing_by(now, [Some(&self.health.own)])
    }

    /// The first reason in the order of the introduction, until the last of them is over.
    #[inline]
    fn standing_by<const N: usize>(&self, now: Timestamp, conditions: [Option<&Condition>; N]) -> Standing {
        use LeftOutReason::{ChecksFailed, CoolingDown, CredentialRefused, Disabled};
        if self.health.is_disabled() {
            return Standing::Out(Disabled, Timestamp::MAX);
        }
        let conditions = || conditions.into_iter().flatten();
        let refused = conditions().filter_map(|condition| condition.refused.until(now)).max();
        let cooling = conditions().filter_map(|condition| condition.cool_down.until(now)).max();
        let passive = self.sickness(now, conditions());
        let until = |until: Timestamp| match passive {
            Standing::Sick(_, later) => until.max(later),
            _ => until,
        };
        match (refused, cooling) {
            (Some(end), _) => Standing::Out(CredentialRefused, until(end).max(cooling.unwrap_or(end))),
            _ if self.health.checks.is_down() => Standing::Out(ChecksFailed, Timestamp::MAX),
            (_, Some(end)) => Standing::Out(CoolingDown, until(end)),
            (None, None) => passive,
        }
    }

    /// What breakers and ejection say.
    #[inline]
    fn sickness<'a>(&self, now: Timestamp, conditions: impl Iterator<Item = &'a Condition>) -> Standing {
        use LeftOutReason::{CircuitHalfOpen, CircuitOpen, Ejected};
        let mut standing = Standing::Well;
        for condition in conditions {
            standing = match condition.gate(now) {
                Gate::Closed => standing,
                Gate::Ready => standing.and(Standing::Trying),
                Gate::Open { until } => standing.and(Standing::Sick(CircuitOpen, until)),
                Gate::Busy => standing.and(Standing::Sick(CircuitHalfOpen, Timestamp::MAX)),
            };
        }
        match self.place.ejected_until(now) {
            Some(until) => standing.and(Standing::Sick(Ejected, until)),
            None => standing,
        }
    }

    /// The breaker at a place: the candidate's own, its credential's, its region's, its provider's.
    #[inline]
    fn breaker(&self, place: usize) -> Option<&CircuitBreaker> {
        let condition = match place.checked_sub(1) {
            None => &self.health.own,
            Some(place) => &self.shared[place].as_ref()?.condition,
        };
        condition.breaker.as_ref()
    }

    /// Permits of the shared breakers as they are.
    fn unasked(&self) -> [Option<Permit>; 3] {
        self.shared.each_ref().map(|shared| shared.as_ref()?.condition.unasked())
    }

    /// Brings every permit back without a result.
    fn give_back(&self, ticket: Ticket) {
        self.release(0, ticket.own);
        if let SharedPermits::Taken(permits) = ticket.shared {
            permits.into_iter().enumerate().for_each(|(place, permit)| self.release(place + 1, permit));
        }
    }

    fn release(&self, place: usize, permit: Option<Permit>) {
        if let (Some(breaker), Some(permit)) = (self.breaker(place), permit) {
            breaker.release(permit);
        }
    }

    /// Why it would be left out.
    #[cfg(all(test, loom))]
    pub(crate) fn exclusion(&self, now: Timestamp) -> Option<LeftOutReason> {
        match self.standing(now) {
            Standing::Sick(reason, _) | Standing::Out(reason, _) => Some(reason),
            Standing::Well | Standing::Trying => None,
        }
    }

    fn is_well(&self, now: Timestamp) -> bool {
        !self.health.is_disabled()
            && !self.health.checks.is_down()
            && self.place.ejected_until(now).is_none()
            && self.health.own.is_well(now)
            && self.shared.iter().flatten().all(|shared| shared.is_well(now))
    }
}

/// The health of one [`Pool`], in its order: made by [`HealthAwareRouter::attach`](crate::HealthAwareRouter::attach).
///
/// State is kept per candidate, not per pool: when a pool is replaced by a new version, attach that too, and what is
/// known goes on.
///
/// # Complexity
///
/// Filtering is linear in the pool's length over 64 and in the candidates that are not certain to be well. Nothing
/// here takes a lock or allocates.
#[derive(Debug)]
pub struct PoolHealth {
    pub(crate) pool: Arc<Pool>,
    pub(crate) seats: Box<[Seat]>,
    pub(crate) suspects: Arc<Suspects>,
    pub(crate) state: Arc<PoolState>,
    pub(crate) settings: Arc<Settings>,
}

/// A breaker let nobody pass.
struct Refused;

/// How a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Well,
    /// Whoever comes next may try.
    Trying,
    /// What was seen of it is bad; panic ignores that.
    Sick(LeftOutReason, Timestamp),
    /// Something that panic does not ignore.
    Out(LeftOutReason, Timestamp),
}

impl Standing {
    /// Both: the first that is sick is named, until the last is over.
    #[inline]
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Sick(reason, until), Self::Sick(_, later)) => Self::Sick(reason, until.max(later)),
            (Self::Sick(..), _) | (_, Self::Well) => self,
            (_, other) => other,
        }
    }
}

impl PoolHealth {
    /// Takes out of `set` who is not healthy, and says so in `directives`: who and until when, and when somebody may be
    /// back. Returns how many. Changes nothing else: a half-open breaker's places are taken by
    /// [`Admission::new`](crate::Admission::new), not here.
    ///
    /// When fewer of the pool's candidates are healthy than the panic threshold says, what was seen of their health is
    /// ignored: breakers and ejections. Not ignored are an administrator's word, refused credentials, failed active
    /// checks and cool-downs that providers asked for.
    #[inline]
    pub fn filter_healthy(
        &self,
        set: &mut CandidateSet<'_>,
        now: Timestamp,
        directives: &mut Directives,
    ) -> usize {
        if self.suspects.is_empty() { 0 } else { self.screen(set, now, directives) }
    }

    #[cold]
    fn screen(&self, set: &mut CandidateSet<'_>, now: Timestamp, directives: &mut Directives) -> usize {
        let census = self.census(set, now);
        directives.panic = census.is_panic(self.settings.config.panic_threshold);
        let mut dropped = census.out.take_from(set, now, directives);
        if !directives.panic {
            dropped += census.sick.take_from(set, now, directives);
        }
        dropped
    }

    /// How a candidate stands now, and what is known of it.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    pub fn report(&self, index: CandidateIndex, now: Timestamp) -> HealthReport {
        let seat = &self.seats[index.get()];
        HealthReport::new(&seat.health, self.exclusion(index, now), &self.settings.config, now)
    }

    /// Why a candidate would be left out of a decision now, unless too few others are healthy; `None` when it would not.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    pub fn exclusion(&self, index: CandidateIndex, now: Timestamp) -> Option<Exclusion> {
        let seat = &self.seats[index.get()];
        match seat.standing(now) {
            Standing::Well | Standing::Trying => None,
            Standing::Sick(reason, until) | Standing::Out(reason, until) => {
                Some(Exclusion::new(reason, until, &seat.health, seat.place.count(), now))
            }
        }
    }

    /// Takes a result that came without an [`Admission`](crate::Admission): it counts as if it were of a request that was
    /// admitted just now, but by a breaker that is open, which cannot tell whether it is of before.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    pub fn update_health(&self, index: CandidateIndex, result: &RequestResult, now: Timestamp) {
        if self.is_on() {
            let seat = &self.seats[index.get()];
            let own = seat.health.own.unasked();
            let shared = SharedPermits::Taken(seat.unasked());
            self.learn(index, Ticket { own, shared, era: seat.health.era() }, result, now);
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.settings.config.enabled
    }

    /// Lets everything that concerns a candidate write its bit.
    pub(crate) fn watch(&self, now: Timestamp) {
        let mut members: HashMap<&Scope, (&Arc<Shared>, Vec<usize>)> = HashMap::new();
        for (place, seat) in self.seats.iter().enumerate() {
            seat.health.own.marks.watch(&self.suspects, &Arc::from([place]), Kind::Own);
            for shared in seat.shared.iter().flatten() {
                members.entry(&shared.scope).or_insert_with(|| (shared, Vec::new())).1.push(place);
            }
        }
        for (shared, members) in members.into_values() {
            shared.condition.marks.watch(&self.suspects, &members.into(), Kind::Shared);
        }
        // What happened before somebody watched is looked at now.
        for (place, seat) in self.seats.iter().enumerate() {
            self.suspects.add(place, Kind::Shared);
            self.suspects.remove_if(place, || seat.is_well(now));
        }
    }

    /// Lets one request pass to a candidate, or not.
    #[inline]
    pub(crate) fn admit(&self, index: CandidateIndex, now: Timestamp, panic: bool) -> Option<Ticket> {
        let seat = &self.seats[index.get()];
        if panic != self.state.panicking.load(Ordering::Relaxed) {
            self.turn_panic(panic, now);
        }
        if self.suspects.has(index) {
            return self.admit_suspect(seat, index, now, panic);
        }
        if !self.is_on() {
            return Some(Ticket::default());
        }
        let shared = SharedPermits::Closed { changes: self.shared_changes() };
        let own = self.permit(seat, 0, now, false).ok()?;
        Some(Ticket { own, shared, era: seat.health.era() })
    }

    fn shared_changes(&self) -> u32 {
        self.settings.shared_changes.load(Ordering::Relaxed) as u32
    }

    #[cold]
    fn admit_suspect(
        &self,
        seat: &Seat,
        index: CandidateIndex,
        now: Timestamp,
        panic: bool,
    ) -> Option<Ticket> {
        self.restore_if_over(seat, now);
        match seat.standing(now) {
            Standing::Out(..) => return None,
            Standing::Sick(..) if !panic => return None,
            _ => {}
        }
        let ticket = self.permits(seat, now, panic);
        self.suspects.remove_if(index.get(), || seat.is_well(now));
        ticket
    }

    /// Asks every breaker on the way. If one refuses, all permits are given back.
    fn permits(&self, seat: &Seat, now: Timestamp, panic: bool) -> Option<Ticket> {
        let mut taken = [None, None, None];
        let own = self.permit(seat, 0, now, panic).ok()?;
        for place in 0..taken.len() {
            let Ok(permit) = self.permit(seat, place + 1, now, panic) else {
                seat.give_back(Ticket { own, shared: SharedPermits::Taken(taken), era: 0 });
                return None;
            };
            taken[place] = permit;
        }
        Some(Ticket { own, shared: SharedPermits::Taken(taken), era: seat.health.era() })
    }

    /// Asks one breaker, if there is one. In panic none refuses.
    #[inline]
    fn permit(
        &self,
        seat: &Seat,
        place: usize,
        now: Timestamp,
        panic: bool,
    ) -> Result<Option<Permit>, Refused> {
        let Some(breaker) = seat.breaker(place) else { return Ok(None) };
        let acquired = if panic { Some(breaker.acquire_anyway(now)) } else { breaker.try_acquire(now) };
        let (permit, transition) = acquired.ok_or(Refused)?;
        if transition.is_some() {
            self.changed(seat, place, transition, now);
        }
        Ok(Some(permit))
    }

    /// Brings candidates back as long as more are out than may be: the pool has become smaller.
    pub(crate) fn restore_surplus(&self, now: Timestamp) {
        let Some(config) = &self.settings.config.ejection else { return };
        let allowed = EjectionCap::allowed(self.pool.all().len(), config.max_ejected);
        for seat in &self.seats {
            if self.state.cap.taken() > allowed && seat.place.restore(&self.state.cap, now) {
                seat.health.live.serves_from(now);
                self.settings.tell(now, Subject::Candidate(seat.health.id()), HealthChange::Restored);
            }
        }
    }

    /// The request ended without saying how.
    pub(crate) fn release(&self, index: CandidateIndex, ticket: Ticket) {
        self.seats[index.get()].give_back(ticket);
    }

    /// Takes what a result says.
    pub(crate) fn learn(
        &self,
        index: CandidateIndex,
        ticket: Ticket,
        result: &RequestResult,
        now: Timestamp,
    ) {
        if !self.is_on() {
            return;
        }
        let seat = &self.seats[index.get()];
        let evidence = Evidence::of(result);
        let is_current = ticket.era == seat.health.era();
        self.record(seat, 0, ticket.own, evidence.outcome(self.is_slow(result)), now);
        // While all is well there, only a failure says anything of others.
        if self.suspects.has_shared(index) || matches!(evidence, Evidence::Failure(_)) {
            let permits = match ticket.shared {
                SharedPermits::Taken(permits) => permits,
                SharedPermits::Closed { changes } if changes == self.shared_changes() => seat.unasked(),
                // Some shared breaker changed meanwhile, perhaps one of these: the result may be of before. One count for
                // all of them costs a few results of others while one flaps, and admission one word instead of three.
                SharedPermits::Closed { .. } => [None, None, None],
            };
            self.record_shared(index, permits, evidence, now);
        }
        if !seat.health.is_before_reset(ticket.era) {
            self.rest(seat, evidence, result, now);
        }
        if is_current {
            self.count(seat, ticket.era, evidence, result, now);
        }
    }

    fn record_shared(
        &self,
        index: CandidateIndex,
        permits: [Option<Permit>; 3],
        evidence: Evidence,
        now: Timestamp,
    ) {
        let seat = &self.seats[index.get()];
        for (place, permit) in permits.into_iter().enumerate() {
            if let Some(shared) = &seat.shared[place] {
                let outcome = self.outcome_for(index, shared, evidence, now);
                self.record(seat, place + 1, permit, outcome, now);
            }
        }
    }

    fn is_slow(&self, result: &RequestResult) -> bool {
        let waited = result.time_to_first_token.unwrap_or(result.latency);
        self.settings.config.breaker.is_some_and(|breaker| waited >= breaker.slow_after)
    }

    /// What a result says of those that the candidate shares something with: only what reaches that far. Successes
    /// count while there were such failures.
    fn outcome_for(
        &self,
        index: CandidateIndex,
        shared: &Shared,
        evidence: Evidence,
        now: Timestamp,
    ) -> CallOutcome {
        match evidence {
            Evidence::Success if shared.is_armed(now) => CallOutcome::Success,
            Evidence::Failure(reach) if shared.scope.is_reached_by(reach) => {
                let window = self.settings.config.breaker.map_or(Duration::ZERO, |breaker| breaker.window);
                shared.arm(window, now);
                if !self.suspects.has_shared(index) {
                    shared.condition.marks.set();
                }
                CallOutcome::Failure
            }
            _ => CallOutcome::Ignored,
        }
    }

    fn record(
        &self,
        seat: &Seat,
        place: usize,
        permit: Option<Permit>,
        outcome: CallOutcome,
        now: Timestamp,
    ) {
        if let (Some(breaker), Some(permit)) = (seat.breaker(place), permit) {
            let transition = breaker.record(permit, outcome, now, || self.draw());
            if transition.is_some() {
                self.changed(seat, place, transition, now);
            }
        }
    }

    /// Whoever asked for a rest gets it, and everybody whom that concerns.
    fn rest(&self, seat: &Seat, evidence: Evidence, result: &RequestResult, now: Timestamp) {
        let config = &self.settings.config.cool_down;
        let (reach, asked) = match evidence {
            // Some providers say zero, or less: that is no hint.
            Evidence::RateLimited(reach) => (
                reach,
                Some(result.retry_after.filter(|wait| !wait.is_zero()).unwrap_or(config.without_hint)),
            ),
            Evidence::Failure(reach) => (reach, result.retry_after),
            Evidence::Refused(reach) => (reach, None),
            Evidence::Success | Evidence::Nothing => return,
        };
        let condition = seat.reached(reach);
        let longer = match (evidence, asked) {
            (Evidence::Refused(_), _) => {
                condition.refused.extend(config.refused_credential, config.refused_credential, now)
            }
            (_, Some(asked)) => condition.cool_down.extend(asked, config.at_most, now),
            (_, None) => false,
        };
        if longer {
            condition.marks.set();
        }
    }

    fn draw(&self) -> f64 {
        self.settings.seeds.generator().unit()
    }

    /// A breaker on the way to a candidate changed: it is written down where decisions look, and told.
    #[cold]
    fn changed(&self, seat: &Seat, place: usize, transition: Option<Transition>, now: Timestamp) {
        let Some(transition) = transition else { return };
        let health = &seat.health;
        let condition = seat.conditions()[place];
        if place > 0 {
            self.settings.shared_changes.fetch_add(1, Ordering::Relaxed);
        }
        match transition.to {
            CircuitState::Open => condition.into_iter().for_each(|condition| condition.marks.set()),
            CircuitState::Closed if place == 0 => {
                health.begin_anew(&self.settings.config, now);
                health.live.serves_from(now);
            }
            _ => {}
        }
        let subject = match place.checked_sub(1).and_then(|place| seat.shared[place].as_ref()) {
            Some(shared) => Subject::Shared(&shared.scope),
            None => Subject::Candidate(health.id()),
        };
        self.settings.tell(now, subject, HealthChange::Circuit(transition));
    }

    fn restore_if_over(&self, seat: &Seat, now: Timestamp) {
        if seat.place.restore_if_over(&self.state.cap, now) {
            seat.health.live.serves_from(now);
            self.settings.tell(now, Subject::Candidate(seat.health.id()), HealthChange::Restored);
        }
    }

    #[cold]
    fn turn_panic(&self, panic: bool, now: Timestamp) {
        let census = self.census(&self.pool.all(), now);
        // Decisions of before may come late: what is told is what is so now.
        let is_so = census.is_panic(self.settings.config.panic_threshold) == panic;
        if is_so && self.state.panicking.swap(panic, Ordering::Relaxed) != panic {
            let (healthy, of) = census.healthy();
            let change =
                if panic { HealthChange::PanicBegan { healthy, of } } else { HealthChange::PanicEnded };
            self.settings.tell(now, Subject::Pool(self.pool.model()), change);
        }
    }
}
