//! A set of limits, compiled, with what is used of them.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use waypost_core::{
    CandidateId, DecisionContext, LimitId, NanoUsd, Pool, ProviderCandidate, SnapshotCell, Timestamp,
};

use crate::account::Lease;
use crate::applicable::Applicable;
use crate::contact::Contact;
use crate::dimension::{SubjectRef, ValueRef};
use crate::index::Index;
use crate::learned::Learned;
use crate::limit::{Bound, Budget, Limit};
use crate::meter::{self, Meter, Moment, State, Wanted};
use crate::meter_share::Replicated;
use crate::pace::Pace;
use crate::pool_limits::PoolLimits;
use crate::subjects::{Place, Subjects};
use crate::sync::{AtomicU64, Ordering};
use crate::{
    LimitChange, LimitError, LimitErrors, LimitEvent, LimitReport, LimitSpent, PriorityReserve, Replication,
    Reservation, Subject,
};

/// The most limits of one set.
pub const MAX_LIMITS: usize = 16_384;

/// How limits are kept.
///
/// ```
/// let config = waypost_limits::LimitsConfig::default();
/// assert_eq!((config.lease.as_secs(), config.max_subjects), (600, 65_536));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// How long money stays reserved for a request that does not end; then it is free again, and what the request cost
    /// counts when it ends after all. A lease is over at the latest half as long after. At least twice the longest time
    /// that a request may take. Default: 10 min.
    pub lease: Duration,
    /// The most subjects of one limit that have meters of their own, for limits per tenant, user and so on. Each takes
    /// some 300 bytes, and a kilobyte more where a rate is shared fairly. Who comes when there is no room takes the
    /// place of one whose meter is idle, or shares one meter with all who found none. Default: 65,536.
    pub max_subjects: usize,
    /// What candidates' own rates keep free from lesser priorities. Default: nothing.
    pub candidate_reserve: PriorityReserve,
    /// How several replicas share these limits. Default: this process has them to itself.
    pub replication: Option<Replication>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(600),
            max_subjects: 65_536,
            candidate_reserve: PriorityReserve::default(),
            replication: None,
        }
    }
}

type OnEvent = Box<dyn Fn(&LimitEvent<'_>) + Send + Sync>;

/// What versions of a set have in common.
pub(crate) struct Shared {
    pub(crate) config: LimitsConfig,
    pub(crate) lease: Lease,
    on_event: ArcSwapOption<OnEvent>,
    /// What candidates' own declarations limit, by candidate.
    own: Mutex<HashMap<CandidateId, Own>>,
    /// Nanoseconds: until then some candidate's provider may have said what is left.
    taught_until: AtomicU64,
    /// What is known of the store.
    pub(crate) contact: Contact,
}

/// What a candidate itself declares, and what its provider said.
#[derive(Debug, Clone)]
struct Own {
    limits: SmallVec<[Arc<Kept>; 2]>,
    learned: Arc<Learned>,
}

/// A limit with its meters.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) limit: Limit,
    /// The only meter, when it has one.
    pub(crate) sole: Option<Arc<Meter>>,
    pub(crate) subjects: Arc<Subjects>,
    pace: Option<Arc<SnapshotCell<Pace>>>,
}

/// A set of limits with what is used of them. Cheap to share: all that changes is inside, without locks where requests
/// pass.
///
/// ```
/// use waypost_core::{DecisionContext, GatewayRequest, LimitId, RoutingContext, Timestamp, TokenUsage};
/// use waypost_limits::{Limit, Limits, LimitsConfig, Rate};
///
/// let two_a_second = Limit::requests(LimitId::new("all")?, Rate::per_second(2)?);
/// let limits = Limits::new([two_a_second], LimitsConfig::default(), Timestamp::ORIGIN)?;
///
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// let first = limits.reserve(&decision, None, None).expect("one of two");
/// let _second = limits.reserve(&decision, None, None).expect("two of two");
/// let refused = limits.reserve(&decision, None, None).unwrap_err();
/// assert_eq!(refused.to_string(), "limit `all` is spent, more in 0.5 s");
///
/// first.release(Timestamp::ORIGIN); // It was not sent: there is room again.
/// assert!(limits.reserve(&decision, None, None).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Limits {
    pub(crate) kept: Box<[Arc<Kept>]>,
    /// Those of requests.
    index: Index,
    /// Those that are known only with the candidate.
    pub(crate) of_candidates: Box<[u32]>,
    looks_at_time: bool,
    pub(crate) shared: Arc<Shared>,
}

impl Limits {
    /// A set of which nothing is used yet.
    ///
    /// # Errors
    ///
    /// [`LimitErrors`] with everything that is wrong.
    pub fn new(
        limits: impl IntoIterator<Item = Limit>,
        config: LimitsConfig,
        now: Timestamp,
    ) -> Result<Self, LimitErrors> {
        let shared = Shared {
            lease: Lease::of(config.lease),
            config,
            on_event: ArcSwapOption::empty(),
            own: Mutex::default(),
            taught_until: AtomicU64::new(0),
            contact: Contact::new(),
        };
        Self::assemble(limits.into_iter().collect(), Arc::new(shared), None, now)
    }

    /// The same, and `on_event` is told of everything that happens to a limit, on the thread that made it happen. Must
    /// not block.
    pub fn on_event(self, on_event: impl Fn(&LimitEvent<'_>) + Send + Sync + 'static) -> Self {
        self.shared.on_event.store(Some(Arc::new(Box::new(on_event))));
        self
    }

    /// The version after this one. What is used carries over to a limit of the same name if it bounds the same kind of
    /// thing per the same dimensions, a budget the same period. A changed rate holds from now on, and what was taken
    /// stays taken; one that is more than some sixty times faster or slower, or is shared fairly, starts anew.
    ///
    /// # Errors
    ///
    /// [`LimitErrors`] with everything that is wrong; this version stays as it is.
    pub fn updated(
        &self,
        limits: impl IntoIterator<Item = Limit>,
        now: Timestamp,
    ) -> Result<Self, LimitErrors> {
        Self::assemble(limits.into_iter().collect(), Arc::clone(&self.shared), Some(self), now)
    }

    fn assemble(
        limits: Vec<Limit>,
        shared: Arc<Shared>,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, LimitErrors> {
        check(&limits)?;
        let known: HashMap<&LimitId, &Arc<Kept>> =
            before.iter().flat_map(|before| &before.kept).map(|kept| (&kept.limit.id, kept)).collect();
        let keep = |limit: Limit| {
            let before = known.get(&limit.id).copied().filter(|before| before.limit.carries_over_to(&limit));
            Arc::new(Kept::new(limit, before, &shared, now))
        };
        let kept: Box<[Arc<Kept>]> = limits.into_iter().map(keep).collect();
        let places = kept.iter().zip(0..).map(|(kept, place)| (&kept.limit, place));
        let of_requests = places.clone().filter(|(limit, _)| !limit.is_of_candidate());
        let index = Index::new(of_requests.map(|(limit, place)| (&limit.scope, place)));
        let of_candidates =
            places.filter(|(limit, _)| limit.is_of_candidate()).map(|(_, place)| place).collect();
        let looks_at_time = kept.iter().any(|kept| matches!(kept.limit.bound, Bound::Budget(_)));
        Ok(Self { kept, index, of_candidates, looks_at_time, shared })
    }

    /// Whether there is no limit, so that requests need not be asked about; candidates may have their own all the same.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether a limit looks at the wall time, so that decisions must be
    /// [at one](waypost_core::DecisionContext::at_wall_time).
    pub const fn look_at_time(&self) -> bool {
        self.looks_at_time
    }

    /// The limits, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.kept.iter().map(|kept| &kept.limit)
    }

    /// How limits are kept.
    pub fn config(&self) -> &LimitsConfig {
        &self.shared.config
    }

    /// No limits: where a request starts from.
    pub fn none(&self) -> Applicable<'_> {
        Applicable::new(self)
    }

    /// The limits that a request is asked about, whoever serves it. Newcomers get their meters.
    pub fn find(&self, decision: &DecisionContext<'_>) -> Applicable<'_> {
        let mut found = Applicable::new(self);
        self.each_meant(decision, |kept| {
            found.add(kept, self.meter(kept, decision, None));
        });
        found
    }

    /// The same by a look: newcomers get no meters.
    pub fn peek(&self, decision: &DecisionContext<'_>) -> Applicable<'_> {
        let mut found = Applicable::new(self);
        self.each_meant(decision, |kept| {
            found.add(kept, self.glance(kept, decision));
        });
        found
    }

    /// Reserves what a request is expected to take of all its limits, or nothing: one request, its tokens
    /// ([`DecisionContext::usage`]), and what it should cost. Of limits that are known only with the candidate, when
    /// there is one. For pools [`attach`](Self::attach) is faster, and knows what candidates declare themselves.
    ///
    /// # Errors
    ///
    /// [`LimitSpent`] names the first limit that does not admit it. A hard budget admits nothing of unknown cost.
    pub fn reserve(
        &self,
        decision: &DecisionContext<'_>,
        candidate: Option<&ProviderCandidate>,
        cost: Option<NanoUsd>,
    ) -> Result<Reservation, LimitSpent> {
        let mut found = self.find(decision);
        if let Some(candidate) = candidate {
            for &place in &self.of_candidates {
                let kept = &self.kept[place as usize];
                if kept.limit.scope.includes_candidate(candidate) && kept.limit.scope.includes(decision) {
                    found.add(kept, self.meter(kept, decision, Some(candidate)));
                }
            }
        }
        found.reserve(decision, cost)
    }

    /// The limits of a pool's candidates, found beforehand: of candidates, credentials and providers, what each
    /// candidate declares itself ([`CandidateRateLimits`](waypost_core::CandidateRateLimits)), and what providers say.
    pub fn attach(self: &Arc<Self>, pool: &Arc<Pool>, now: Timestamp) -> PoolLimits {
        PoolLimits::new(Arc::clone(self), Arc::clone(pool), now)
    }

    /// What is used and left of every meter of every limit, candidates' own included.
    ///
    /// # Complexity
    ///
    /// Linear in the meters.
    pub fn reports(&self, now: Timestamp, wall: std::time::SystemTime) -> Vec<LimitReport> {
        let moment = Moment { now, wall: Some(self.shared.contact.wall(wall)) };
        let mut reports = Vec::new();
        self.each_meter(|kept, meter, _| reports.push(LimitReport::of(kept, meter, moment)));
        reports.sort_by_cached_key(|report| (report.limit.clone(), report.subject.to_string()));
        reports
    }

    /// Calls `each` with every meter, and whether a candidate declares its limit.
    pub(crate) fn each_meter(&self, mut each: impl FnMut(&Arc<Kept>, &Arc<Meter>, bool)) {
        let own: Vec<_> = {
            let own = self.shared.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.values().flat_map(|own| own.limits.iter().cloned()).collect()
        };
        for (kept, is_declared) in
            self.kept.iter().map(|kept| (kept, false)).chain(own.iter().map(|own| (own, true)))
        {
            kept.for_each(|meter| each(kept, meter, is_declared));
        }
    }

    /// Calls `each` with the limits of requests that are about this one.
    fn each_meant<'a>(&'a self, decision: &DecisionContext<'_>, mut each: impl FnMut(&'a Arc<Kept>)) {
        self.index.each_of(decision, |place| {
            let kept = &self.kept[place as usize];
            if kept.limit.scope.includes(decision) {
                each(kept);
            }
        });
    }

    /// The meter of a request, made if it is a newcomer's.
    #[inline]
    pub(crate) fn meter<'a>(
        &self,
        kept: &'a Arc<Kept>,
        decision: &DecisionContext<'_>,
        candidate: Option<&ProviderCandidate>,
    ) -> MeterRef<'a> {
        if let Some(sole) = &kept.sole {
            return MeterRef::Sole(sole);
        }
        let subject = SubjectRef::of(kept.limit.per, decision, candidate);
        let known = kept.subjects.get(&subject);
        MeterRef::Found(known.unwrap_or_else(|| self.add(kept, &subject, moment(&self.shared, decision))))
    }

    /// The meter of a request; for a newcomer one that is forgotten, or what those share who find no room.
    fn glance<'a>(&self, kept: &'a Arc<Kept>, decision: &DecisionContext<'_>) -> MeterRef<'a> {
        kept.known(decision, None).unwrap_or_else(|| {
            let moment = moment(&self.shared, decision);
            let new = || {
                Meter::new(
                    &kept.limit,
                    Subject::default(),
                    kept.pace.as_ref(),
                    self.shared.replicated(),
                    moment,
                )
            };
            MeterRef::Found(kept.subjects.overflow().unwrap_or_else(|| Arc::new(new())))
        })
    }

    /// The meter of a limit that tells candidates apart, and nothing else.
    pub(crate) fn meter_of_candidate(
        &self,
        kept: &Kept,
        candidate: &ProviderCandidate,
        now: Timestamp,
    ) -> Arc<Meter> {
        if let Some(sole) = &kept.sole {
            return Arc::clone(sole);
        }
        let subject = SubjectRef::of_candidate(kept.limit.per, candidate);
        let known = kept.subjects.get(&subject);
        known.unwrap_or_else(|| self.add(kept, &subject, Moment { now, wall: None }))
    }

    /// The meter of a subject whose own was put away.
    #[cold]
    pub(crate) fn successor(&self, kept: &Kept, subject: &Subject, moment: Moment) -> Arc<Meter> {
        let subject = subject.as_ref();
        kept.subjects.get(&subject).unwrap_or_else(|| self.add(kept, &subject, moment))
    }

    #[cold]
    fn add(&self, kept: &Kept, subject: &SubjectRef<'_>, moment: Moment) -> Arc<Meter> {
        let make =
            |subject| Meter::new(&kept.limit, subject, kept.pace.as_ref(), self.shared.replicated(), moment);
        let Place { meter, is_news } =
            kept.subjects.add(subject, make, |meter| self.retire(kept, meter, moment));
        if is_news {
            let change = LimitChange::SubjectsFull { subjects: kept.subjects.len() };
            self.shared.tell(&LimitEvent::new(&kept.limit.id, &meter.subject, change));
        }
        meter
    }

    /// Puts a meter away if it is idle, and tells of the period that this may begin.
    fn retire(&self, kept: &Kept, meter: &Meter, moment: Moment) -> bool {
        if let (State::Budget(state), Some(budget)) = (&meter.state, kept.budget())
            && let (_, Some(settled_before)) = state.account(budget, moment)
        {
            let change = LimitChange::PeriodBegan { settled_before };
            self.shared.tell(&LimitEvent::new(&kept.limit.id, &meter.subject, change));
        }
        meter.retire(&kept.limit, moment)
    }

    /// Forgets what is known of candidates that are no longer there.
    pub fn keep_candidates<'a>(&self, those: impl IntoIterator<Item = &'a CandidateId>) {
        let kept: std::collections::HashSet<&CandidateId> = those.into_iter().collect();
        let mut own = self.shared.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|id, _| kept.contains(id));
    }

    /// What a candidate declares itself, and what its provider said; made when it is not known.
    pub(crate) fn own(
        &self,
        candidate: &ProviderCandidate,
        now: Timestamp,
    ) -> (SmallVec<[Arc<Kept>; 2]>, Arc<Learned>) {
        let mut all = self.shared.own.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(candidate.id());
        let learned = before.map_or_else(|| Arc::new(Learned::new()), |own| Arc::clone(&own.learned));
        let keep = |limit: Limit| {
            let same = before.iter().flat_map(|own| &own.limits).find(|kept| kept.limit.id == limit.id);
            let same = same.filter(|same| same.limit.carries_over_to(&limit));
            match same {
                Some(same) if same.limit == limit => Arc::clone(same),
                same => Arc::new(Kept::new(limit, same, &self.shared, now)),
            }
        };
        let limits: SmallVec<_> =
            crate::pool_limits::declared(candidate, self.shared.config.candidate_reserve).map(keep).collect();
        let own = Own { limits: limits.clone(), learned: Arc::clone(&learned) };
        all.insert(candidate.id().clone(), own);
        (limits, learned)
    }
}

impl Shared {
    pub(crate) fn tell(&self, event: &LimitEvent<'_>) {
        if let Some(on_event) = &*self.on_event.load() {
            on_event(event);
        }
    }

    /// What new meters need to know, when there are several replicas.
    pub(crate) fn replicated(&self) -> Option<Replicated<'_>> {
        let replication = self.config.replication.as_ref()?;
        Some(Replicated { replication, standing: self.contact.standing() })
    }

    /// Whether some provider may have said what is left, as of now.
    pub(crate) fn is_taught(&self, now: Timestamp) -> bool {
        self.taught_until.load(Ordering::Relaxed) > now.as_nanos()
    }

    pub(crate) fn taught(&self, until: Timestamp) {
        self.taught_until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }
}

/// A meter that is kept elsewhere, or that was looked up.
#[derive(Debug)]
pub(crate) enum MeterRef<'a> {
    Sole(&'a Arc<Meter>),
    Found(Arc<Meter>),
}

impl MeterRef<'_> {
    #[inline]
    pub(crate) const fn get(&self) -> &Arc<Meter> {
        match self {
            Self::Sole(meter) => meter,
            Self::Found(meter) => meter,
        }
    }
}

impl Kept {
    fn new(limit: Limit, before: Option<&Arc<Self>>, shared: &Shared, now: Timestamp) -> Self {
        let moment = Moment { now, wall: None };
        if let Some(before) = before {
            before.retune(&limit, now);
            let (sole, subjects) = (before.sole.clone(), Arc::clone(&before.subjects));
            return Self { limit, sole, subjects, pace: before.pace.clone() };
        }
        let pace = match &limit.bound {
            Bound::Requests(rate) | Bound::Tokens(rate) => Some(meter::pace(rate, now)),
            _ => None,
        };
        let subject = limit.scope.candidate.as_ref().map(Subject::of_candidate).unwrap_or_default();
        let meter = |subject| Meter::new(&limit, subject, pace.as_ref(), shared.replicated(), moment);
        let sole = limit.per.is_empty().then(|| Arc::new(meter(subject)));
        let subjects = Arc::new(Subjects::new(shared.config.max_subjects, meter(Subject::default())));
        Self { limit, sole, subjects, pace }
    }

    /// Makes the meters go by another version of the limit.
    fn retune(&self, limit: &Limit, now: Timestamp) {
        match (&limit.bound, &self.pace) {
            (Bound::Requests(rate) | Bound::Tokens(rate), Some(pace)) if self.limit.bound != limit.bound => {
                let _ = pace.update(|pace| Ok::<_, ()>(pace.continued(rate, now)));
                self.for_each(|meter| {
                    if let (State::Rate(state), Some(share)) = (&meter.state, &meter.share) {
                        state.set_share(rate, share.effective(), now);
                    }
                });
            }
            (Bound::Budget(budget), _) => self.for_each(|meter| {
                if let (State::Budget(state), None) = (&meter.state, &meter.share) {
                    state.current().set_granted(budget.amount);
                }
            }),
            _ => {}
        }
    }

    fn for_each(&self, mut each: impl FnMut(&Arc<Meter>)) {
        self.sole.iter().for_each(&mut each);
        if self.sole.is_none() {
            self.subjects.for_each(each);
        }
    }

    /// The meter of a request, if it is known.
    pub(crate) fn known(
        &self,
        decision: &DecisionContext<'_>,
        candidate: Option<&ProviderCandidate>,
    ) -> Option<MeterRef<'_>> {
        if let Some(sole) = &self.sole {
            return Some(MeterRef::Sole(sole));
        }
        self.subjects.get(&SubjectRef::of(self.limit.per, decision, candidate)).map(MeterRef::Found)
    }

    /// How much of the limit's rate a request wants.
    #[inline]
    pub(crate) fn wanted(&self, decision: &DecisionContext<'_>) -> Wanted {
        let amount = if matches!(self.limit.bound, Bound::Tokens(_)) { decision.usage.total().0 } else { 1 };
        let party = self.limit.fair.map(|dimension| party(dimension, decision));
        Wanted { amount, priority: decision.priority(), party }
    }

    /// The budget, if it is one.
    pub(crate) const fn budget(&self) -> Option<&Budget> {
        match &self.limit.bound {
            Bound::Budget(budget) => Some(budget),
            _ => None,
        }
    }
}

/// The same in every process, so that the same requests are treated the same.
fn party(dimension: crate::Dimension, decision: &DecisionContext<'_>) -> u64 {
    use core::hash::BuildHasher;
    foldhash::quality::FixedState::default().hash_one(ValueRef::of(dimension, decision, None))
}

impl Limit {
    /// Whether what is used of this one counts for another of the same name.
    fn carries_over_to(&self, next: &Self) -> bool {
        let same_kind = match (&self.bound, &next.bound) {
            (Bound::Budget(before), Bound::Budget(next)) => before.period == next.period,
            (Bound::Requests(before), Bound::Requests(next))
            | (Bound::Tokens(before), Bound::Tokens(next)) => Pace::may_become(before, next),
            (Bound::Concurrency(_), Bound::Concurrency(_)) => true,
            _ => false,
        };
        // What parties used is kept in proportion to the rate.
        let same_shares = self.fair == next.fair && (self.fair.is_none() || self.bound == next.bound);
        same_kind && same_shares && self.per == next.per
    }
}

/// The moment of a decision.
#[inline]
pub(crate) fn moment(shared: &Shared, decision: &DecisionContext<'_>) -> Moment {
    Moment { now: decision.now, wall: decision.wall.map(|wall| shared.contact.wall(wall)) }
}

fn check(limits: &[Limit]) -> Result<(), LimitErrors> {
    let mut errors = Vec::new();
    if limits.len() > MAX_LIMITS {
        errors.push(LimitError::TooMany(limits.len()));
    }
    let mut names = std::collections::HashSet::new();
    for limit in limits {
        if !names.insert(&limit.id) {
            errors.push(LimitError::Duplicate(limit.id.clone()));
        }
        errors.extend(wrong_with(limit));
    }
    if errors.is_empty() { Ok(()) } else { Err(LimitErrors(errors)) }
}

fn wrong_with(limit: &Limit) -> impl Iterator<Item = LimitError> {
    let id = || limit.id.clone();
    let mut errors = Vec::new();
    if let Bound::Budget(budget) = &limit.bound {
        if budget.amount == NanoUsd::ZERO {
            errors.push(LimitError::NoMoney(id()));
        }
        let wrong = budget.thresholds.iter().filter(|&&percent| percent == 0 || percent > 100);
        errors.extend(wrong.map(|&percent| LimitError::Threshold { limit: id(), percent }));
    }
    let PriorityReserve { low, normal, high } = limit.reserve;
    let of_budget = limit.reserve != PriorityReserve::default() && matches!(limit.bound, Bound::Budget(_));
    if low.get() > 0.5 || low < normal || normal < high || of_budget {
        errors.push(LimitError::Reserve(id()));
    }
    if let Some(dimension) = limit.fair {
        let is_rate = matches!(limit.bound, Bound::Requests(_) | Bound::Tokens(_));
        if !is_rate || dimension.is_of_candidate() {
            errors.push(LimitError::Fair { limit: id(), dimension });
        }
    }
    errors.into_iter()
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
