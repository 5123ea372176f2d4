//! The health of one pool: who is left out of a decision, who may be sent a request, what results teach.

use core::fmt;
use std::collections::HashMap;
use std::sync::Arc;

use waypost_core::{CandidateIndex, CandidateSet, Directives, Pool, RequestResult, SeedSequence, Timestamp};

use crate::admission::{SharedPermits, Ticket};
use crate::condition::{Scope, Shared};
use crate::ejection::EjectionCap;
use crate::event::{HealthChange, HealthEvent, Subject};
use crate::suspects::{Kind, Suspects};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::{CircuitState, Exclusion, HealthConfig, HealthReport, Transition};

mod census;
mod learning;
mod outliers;
mod passing;
mod seat;

use seat::Standing;

pub(crate) use seat::Seat;

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

    /// Brings candidates back as long as more are out than may be: the pool has become smaller.
    pub(crate) fn restore_surplus(&self, now: Timestamp) {
        let Some(config) = &self.settings.config.ejection else { return };
        let allowed = EjectionCap::allowed(self.pool.all().len(), config.max_ejected);
        for seat in &self.seats {
            if self.state.cap.taken() > allowed && seat.place.restore(&self.state.cap, now) {
                self.is_back(seat, now);
            }
        }
    }

    /// The request ended without saying how.
    pub(crate) fn release(&self, index: CandidateIndex, ticket: Ticket) {
        self.seats[index.get()].give_back(ticket);
    }

    fn draw(&self) -> f64 {
        self.settings.seeds.generator().unit()
    }

    /// A breaker on the way to a candidate changed: it is written down where decisions look, and told.
    #[cold]
    fn changed(&self, seat: &Seat, place: usize, transition: Transition, now: Timestamp) {
        let health = &seat.health;
        if place > 0 {
            self.settings.shared_changes.fetch_add(1, Ordering::Relaxed);
        }
        match transition.to {
            CircuitState::Open => {
                seat.condition(place).into_iter().for_each(|condition| condition.marks.set());
            }
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
            self.is_back(seat, now);
        }
    }

    fn is_back(&self, seat: &Seat, now: Timestamp) {
        seat.health.live.serves_from(now);
        self.settings.tell(now, Subject::Candidate(seat.health.id()), HealthChange::Restored);
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
