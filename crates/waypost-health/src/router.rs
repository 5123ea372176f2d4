//! The health of all candidates of a table.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use waypost_core::{CandidateId, ModelName, Pool, ProviderCandidate, SeedSequence, Timestamp};

use crate::checks::{CheckOutcome, DueCheck};
use crate::condition::{CandidateHealth, Scope, Shared};
use crate::ejection::Place;
use crate::event::{HealthChange, HealthEvent, Subject};
use crate::pool_health::{PoolHealth, PoolState, Seat, Settings};
use crate::suspects::Suspects;
use crate::sync::Ordering;
use crate::{HealthConfig, HealthReport, Transition};

/// Keeps sick candidates out and lets recovered ones back in: makes a [`PoolHealth`] for each pool, and keeps what is
/// known of each candidate over all pools and their versions.
///
/// ```
/// use core::time::Duration;
/// use std::sync::Arc;
/// use waypost_core::{Directives, Pool, RequestResult, Timestamp};
/// use waypost_health::{Admission, HealthAwareRouter, HealthConfig};
///
/// let health = HealthAwareRouter::new(HealthConfig::default(), 7).on_event(|event| println!("{event}"));
/// let pool = Arc::new(Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?);
/// let pool_health = health.attach(&pool, Timestamp::ORIGIN);
/// let now = Timestamp::ORIGIN + Duration::from_secs(1);
///
/// let a = pool.index_of("a").unwrap();
/// for _ in 0..5 {
///     let admission = Admission::new(&pool_health, a, now, false).expect("the breaker is closed");
///     admission.settle(&RequestResult::failure(Duration::from_millis(3), "overloaded").status(529), now);
/// }
/// let (mut set, mut directives) = (pool.all(), Directives::default());
/// assert_eq!(pool_health.filter_healthy(&mut set, now, &mut directives), 1);
/// assert!(!set.contains(a) && !directives.panic);
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// Attaching, reports and an administrator's words take a lock and are linear in candidates: for the control path.
pub struct HealthAwareRouter {
    settings: Arc<Settings>,
    known: Mutex<Known>,
}

/// What is known, as long as some pool uses it.
#[derive(Debug, Default)]
struct Known {
    candidates: HashMap<CandidateId, KnownCandidate>,
    shared: HashMap<Scope, Weak<Shared>>,
    pools: HashMap<ModelName, KnownPool>,
}

#[derive(Debug)]
struct KnownCandidate {
    health: Weak<CandidateHealth>,
    /// As it was attached last.
    candidate: Arc<ProviderCandidate>,
}

/// A candidate and its place in a pool.
type Placed = (Arc<CandidateHealth>, Arc<Place>);

#[derive(Debug, Default)]
struct KnownPool {
    state: Weak<PoolState>,
    /// The places of the latest version, and whose they are.
    places: Vec<(Weak<CandidateHealth>, Weak<Place>)>,
}

impl HealthAwareRouter {
    /// A router without pools. `seed` is where all its randomness starts: jitter.
    pub fn new(config: HealthConfig, seed: u64) -> Self {
        let settings = Settings::new(config, SeedSequence::new(seed), None);
        Self { settings: Arc::new(settings), known: Mutex::default() }
    }

    /// Tells `on_event` of every change of health, on the thread that made it. It must not block. To be said before
    /// pools are attached: those attached before stay silent.
    pub fn on_event(mut self, on_event: impl Fn(&HealthEvent<'_>) + Send + Sync + 'static) -> Self {
        let (config, seeds) = match Arc::try_unwrap(self.settings) {
            Ok(Settings { config, seeds, .. }) => (config, seeds),
            Err(shared) => {
                let seed = shared.seeds.generator().next_u64();
                (shared.config.clone(), SeedSequence::new(seed))
            }
        };
        self.settings = Arc::new(Settings::new(config, seeds, Some(Box::new(on_event))));
        self
    }

    /// The settings.
    pub fn config(&self) -> &HealthConfig {
        &self.settings.config
    }

    /// The health of a pool, or of a new version of one: pools of one model name are versions of one pool, the latest
    /// counts. Candidates that are known go on as they are; those that are no longer in the model's pool free their places
    /// among the ejected.
    pub fn attach(&self, pool: &Arc<Pool>, now: Timestamp) -> PoolHealth {
        let mut known = self.known();
        known.forget_the_gone();
        let config = &self.settings.config;
        let suspects = Arc::new(Suspects::new(pool.len()));
        let healths: Vec<_> = (0..pool.len()).map(|place| known.candidate(pool, place, config)).collect();
        let (state, places) = known.pool(pool.model(), &healths);
        let shared: Vec<_> =
            pool.candidates().iter().map(|candidate| known.shared_by(candidate, config)).collect();
        let seats = healths.into_iter().zip(shared).zip(places);
        let seats = seats.map(|((health, shared), place)| Seat { health, shared, place }).collect();
        let attached = PoolHealth {
            pool: Arc::clone(pool),
            seats,
            suspects,
            state,
            settings: Arc::clone(&self.settings),
        };
        drop(known);
        attached.watch(now);
        attached.restore_surplus(now);
        attached
    }

    /// An administrator takes a candidate out: no detector, no check and no panic brings it back before
    /// [`enable`](Self::enable). Returns whether the candidate is known.
    pub fn disable(&self, candidate: &CandidateId) -> bool {
        self.with(candidate, |health| {
            health.disable(true);
            health.own.marks.set();
        })
    }

    /// Takes back a [`disable`](Self::disable). Returns whether the candidate is known.
    pub fn enable(&self, candidate: &CandidateId) -> bool {
        self.with(candidate, |health| health.disable(false))
    }

    /// An administrator knows that a candidate is well: its breaker closes, its cool-downs, refusals and ejections are
    /// over, those that it shares included, and it gets its whole share at once. Returns whether the candidate is known.
    pub fn reset(&self, candidate: &CandidateId, now: Timestamp) -> bool {
        let known = self.known();
        let Some(health) = known.find(candidate) else { return false };
        let scopes: Vec<_> = known.scopes(candidate).collect();
        let pools: Vec<_> = known.pools.values().map(KnownPool::alive).collect();
        // Listeners may ask about health.
        drop(known);

        for shared in scopes {
            let closed = shared.condition.reset(now);
            // After the change: what was admitted before the count belongs to the generation before.
            self.settings.shared_changes.fetch_add(1, Ordering::Relaxed);
            self.tell_circuit(now, Subject::Shared(&shared.scope), closed);
        }
        let subject = Subject::Candidate(health.id());
        self.tell_circuit(now, subject, health.own.reset(now));
        for (state, places) in pools {
            let own = places.iter().filter(|(of, _)| Arc::ptr_eq(of, &health));
            let restored = own.filter(|(_, place)| place.restore(&state.cap, now));
            restored.for_each(|_| self.settings.tell(now, subject, HealthChange::Restored));
        }
        health.begin_after_reset(&self.settings.config, now);
        // Well is well: no slow start.
        health.live.serves_from(Timestamp::ORIGIN);
        true
    }

    /// What is known of a candidate, without why it is left out, which is a pool's to tell: see [`PoolHealth::report`].
    /// `None` when it is not known.
    pub fn health_report(&self, candidate: &CandidateId, now: Timestamp) -> Option<HealthReport> {
        let health = self.find(candidate)?;
        Some(HealthReport::new(&health, None, &self.settings.config, now))
    }

    /// The score of a candidate, as [`HealthScore`](crate::HealthScore) says; `None` when it is not known.
    pub fn health_score(&self, candidate: &CandidateId, now: Timestamp) -> Option<waypost_core::Ratio> {
        let health = self.find(candidate)?;
        Some(health.score.value(health.failures_in_a_row(), &self.settings.config, now))
    }

    /// The active checks that are due. Each is named once; how it ended is to be [reported](Self::report_check). Without
    /// somebody who calls this, nothing is checked.
    pub fn due_checks(&self, now: Timestamp) -> Vec<DueCheck> {
        let Settings { config, seeds, .. } = &*self.settings;
        let due = |health: &Arc<CandidateHealth>| health.checks.take_due(&config.checks, seeds, now);
        let all = self.all().into_iter().filter(|(health, _)| due(health));
        all.map(|(_, candidate)| DueCheck::new(candidate, &config.checks)).collect()
    }

    /// When the next check is due; `None` when there is no candidate.
    pub fn next_check(&self) -> Option<Timestamp> {
        self.all().iter().map(|(health, _)| health.checks.due()).min()
    }

    /// Takes how a check ended. As many in a row as the settings say take a candidate out, or bring it back; then an open
    /// breaker may be tried at once. Returns whether the candidate is known.
    pub fn report_check(&self, candidate: &CandidateId, outcome: CheckOutcome, now: Timestamp) -> bool {
        self.with(candidate, |health| {
            let Some(down) = health.checks.report(outcome, &self.settings.config.checks) else { return };
            if down {
                health.own.marks.set();
            } else {
                health.live.serves_from(now);
            }
            let subject = Subject::Candidate(health.id());
            let change = if down { HealthChange::ChecksFailed } else { HealthChange::ChecksPassed };
            self.settings.tell(now, subject, change);
            let breaker = health.own.breaker.as_ref().filter(|_| !down);
            self.tell_circuit(now, subject, breaker.and_then(|breaker| breaker.let_try(now)));
        })
    }

    fn tell_circuit(&self, now: Timestamp, subject: Subject<'_>, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.settings.tell(now, subject, HealthChange::Circuit(transition));
        }
    }

    fn find(&self, candidate: &CandidateId) -> Option<Arc<CandidateHealth>> {
        self.known().find(candidate)
    }

    fn with(&self, candidate: &CandidateId, act: impl FnOnce(&Arc<CandidateHealth>)) -> bool {
        let health = self.find(candidate);
        health.as_ref().map(act).is_some()
    }

    /// Everybody, in the order of their ids.
    fn all(&self) -> Vec<(Arc<CandidateHealth>, Arc<ProviderCandidate>)> {
        let known = self.known();
        let alive = known.candidates.values();
        let alive = alive.filter_map(|known| Some((known.health.upgrade()?, Arc::clone(&known.candidate))));
        let mut all: Vec<_> = alive.collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.id().cmp(b.id()));
        all
    }

    /// A thread that panicked while it held the lock left complete entries behind.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownPool {
    /// What is still in use of it.
    fn alive(&self) -> (Arc<PoolState>, Vec<Placed>) {
        let state = self.state.upgrade().unwrap_or_else(|| Arc::new(PoolState::new()));
        let alive = self.places.iter().filter_map(|(of, place)| Some((of.upgrade()?, place.upgrade()?)));
        (state, alive.collect())
    }
}

impl Known {
    fn find(&self, candidate: &CandidateId) -> Option<Arc<CandidateHealth>> {
        self.candidates.get(candidate)?.health.upgrade()
    }

    /// What a candidate shares with others.
    fn scopes(&self, candidate: &CandidateId) -> impl Iterator<Item = Arc<Shared>> + '_ {
        let scopes = self.candidates.get(candidate).map(|known| Scope::of(&known.candidate));
        let scopes = scopes.into_iter().flatten().flatten();
        scopes.filter_map(|scope| self.shared.get(&scope)?.upgrade())
    }

    fn forget_the_gone(&mut self) {
        self.candidates.retain(|_, candidate| candidate.health.strong_count() > 0);
        self.shared.retain(|_, shared| shared.strong_count() > 0);
        self.pools.retain(|_, pool| pool.state.strong_count() > 0);
    }

    /// What is known of a candidate, if it is the one that it is known of: one that was taken out and put in again has a
    /// live state of its own.
    fn candidate(&mut self, pool: &Pool, place: usize, config: &HealthConfig) -> Arc<CandidateHealth> {
        let (candidate, live) = (&pool.candidates()[place], &pool.live_slots()[place]);
        let known = self.candidates.get(candidate.id()).and_then(|known| known.health.upgrade());
        let health = known.filter(|known| Arc::ptr_eq(&known.live, live));
        let new = || Arc::new(CandidateHealth::new(candidate.id().clone(), Arc::clone(live), config));
        let health = health.unwrap_or_else(new);
        let known = KnownCandidate { health: Arc::downgrade(&health), candidate: Arc::clone(candidate) };
        self.candidates.insert(candidate.id().clone(), known);
        health
    }

    fn shared_by(
        &mut self,
        candidate: &ProviderCandidate,
        config: &HealthConfig,
    ) -> [Option<Arc<Shared>>; 3] {
        Scope::of(candidate).map(|scope| Some(self.shared(scope?, config)))
    }

    fn shared(&mut self, scope: Scope, config: &HealthConfig) -> Arc<Shared> {
        if let Some(known) = self.shared.get(&scope).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(Shared::new(scope.clone(), config));
        self.shared.insert(scope, Arc::downgrade(&new));
        new
    }

    /// The state of a model's pool and the places of its candidates. Places of candidates that left are free.
    fn pool(
        &mut self,
        model: &ModelName,
        healths: &[Arc<CandidateHealth>],
    ) -> (Arc<PoolState>, Vec<Arc<Place>>) {
        let (state, before) = self.pools.entry(model.clone()).or_default().alive();
        let stays = |health: &Arc<CandidateHealth>| healths.iter().any(|next| Arc::ptr_eq(next, health));
        before.iter().filter(|(health, _)| !stays(health)).for_each(|(_, place)| place.retire(&state.cap));
        let of = |health: &Arc<CandidateHealth>| {
            let known = before.iter().find(|(of, _)| Arc::ptr_eq(of, health));
            known.map_or_else(|| Arc::new(Place::new()), |(_, place)| Arc::clone(place))
        };
        let places: Vec<_> = healths.iter().map(of).collect();
        let weak = healths.iter().map(Arc::downgrade).zip(places.iter().map(Arc::downgrade)).collect();
        self.pools.insert(model.clone(), KnownPool { state: Arc::downgrade(&state), places: weak });
        (state, places)
    }
}

impl fmt::Debug for HealthAwareRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthAwareRouter").field("config", &self.settings.config).finish_non_exhaustive()
    }
}
