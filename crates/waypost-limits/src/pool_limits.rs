//! The limits of a pool's candidates.

use core::time::Duration;
use std::sync::Arc;

use smallvec::SmallVec;
use waypost_core::{
    CandidateIndex, CandidateSet, DecisionContext, Directives, LeftOut, LeftOutReason, LimitId, NanoUsd,
    Pool, ProviderCandidate, ProviderLimits, Timestamp,
};

use crate::applicable::{Applicable, Asked};
use crate::learned::Learned;
use crate::limit::{Limit, PriorityReserve};
use crate::limits::{Kept, Limits};
use crate::meter::Meter;
use crate::{LimitSpent, MAX_PER_SECOND, Rate, Reservation, Subject, Why};

/// The limits of a pool's candidates, found beforehand: narrows the set of a decision, and reserves.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{DecisionContext, Directives, GatewayRequest, ModelName, Pool, ProviderCandidate};
/// use waypost_core::{RoutingContext, Timestamp, TokenUsage};
/// use waypost_limits::{Limits, LimitsConfig};
///
/// let candidates = [
///     ProviderCandidate::openai("a", "gpt-4o").requests_per_minute(1).build()?,
///     ProviderCandidate::openai("b", "gpt-4o").build()?,
/// ];
/// let pool = Arc::new(Pool::new(ModelName::new("gpt-4o")?, candidates.map(Arc::new).to_vec())?);
/// let limits = Arc::new(Limits::new([], LimitsConfig::default(), Timestamp::ORIGIN)?);
/// let of_pool = limits.attach(&pool, Timestamp::ORIGIN);
///
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// let a = pool.index_of("a").unwrap();
/// let reservation = of_pool.reserve(&limits.find(&decision), a, &decision, None)?;
///
/// let (mut set, mut directives) = (pool.all(), Directives::default());
/// assert_eq!(of_pool.filter(&mut set, &decision, &mut directives), 1);
/// assert!(!set.contains(a));
/// assert_eq!(directives.retry_after.unwrap().as_secs(), 60);
/// # drop(reservation);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PoolLimits {
    limits: Arc<Limits>,
    pool: Arc<Pool>,
    candidates: Box<[OfCandidate]>,
    /// Whether any candidate has a limit.
    is_limited: bool,
}

#[derive(Debug)]
struct OfCandidate {
    /// Whose meters the candidate alone tells.
    known: SmallVec<[(Arc<Kept>, Arc<Meter>); 2]>,
    /// Whose meters depend on the request too.
    dependent: Box<[Arc<Kept>]>,
    learned: Arc<Learned>,
}

/// The id of what a candidate declares as `requests_per_minute`.
const REQUESTS: &str = "requests_per_minute";
/// The id of what a candidate declares as `tokens_per_minute`.
const TOKENS: &str = "tokens_per_minute";
/// The id of what a provider says.
const LEARNED: &str = "said_by_provider";

impl PoolLimits {
    pub(crate) fn new(limits: Arc<Limits>, pool: Arc<Pool>, now: Timestamp) -> Self {
        let of = |candidate: &Arc<ProviderCandidate>| OfCandidate::new(&limits, candidate, now);
        let candidates: Box<[OfCandidate]> = pool.candidates().iter().map(of).collect();
        let is_limited = candidates.iter().any(|one| !one.known.is_empty() || !one.dependent.is_empty());
        Self { limits, pool, candidates, is_limited }
    }

    /// The set that it belongs to.
    pub const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Takes out the candidates whose rates or concurrency do not admit the request now, and says when the first will
    /// again, and by which limit it is out. Returns how many.
    ///
    /// # Complexity
    ///
    /// Linear in the candidates left, if any candidate of the pool has a limit or any provider said what is left.
    #[inline]
    pub fn filter(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> usize {
        if !self.is_limited && !self.limits.shared.is_taught(decision.now) {
            return 0;
        }
        self.filter_limited(set, decision, directives)
    }

    fn filter_limited(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> usize {
        let asked = self.asked(decision, None);
        let mut out: SmallVec<[CandidateIndex; 16]> = SmallVec::new();
        for index in set.iter() {
            if let Err(spent) = self.candidates[index.get()].would_admit(&asked, &self.pool[index]) {
                leave_out(index, &spent, decision.now, directives);
                out.push(index);
            }
        }
        out.iter().for_each(|&index| set.remove(index));
        out.len()
    }

    /// Why a candidate would be taken out; `None` when it would not.
    pub fn spent(&self, index: CandidateIndex, decision: &DecisionContext<'_>) -> Option<LimitSpent> {
        self.candidates[index.get()].would_admit(&self.asked(decision, None), &self.pool[index]).err()
    }

    /// Reserves of the request's limits and of a candidate's, of all or of none.
    ///
    /// # Errors
    ///
    /// [`LimitSpent`] names the first that does not admit it.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    pub fn reserve(
        &self,
        of_request: &Applicable<'_>,
        index: CandidateIndex,
        decision: &DecisionContext<'_>,
        cost: Option<NanoUsd>,
    ) -> Result<Reservation, LimitSpent> {
        let asked = self.asked(decision, cost);
        asked.reserve(|reservation| {
            of_request.reserve_into(&asked, reservation)?;
            self.reserve_of(&asked, reservation, index)
        })
    }

    /// Whether neither a request nor any candidate has a limit now, so that there is nothing to reserve.
    #[inline]
    pub fn is_unlimited(&self, of_request: &Applicable<'_>, now: Timestamp) -> bool {
        !self.is_limited && of_request.is_empty() && !self.limits.shared.is_taught(now)
    }

    fn reserve_of(
        &self,
        asked: &Asked<'_>,
        reservation: &mut Reservation,
        index: CandidateIndex,
    ) -> Result<(), LimitSpent> {
        let (decision, one, candidate) = (asked.decision, &self.candidates[index.get()], &self.pool[index]);
        for (kept, meter) in &one.known {
            asked.hold(reservation, kept, meter)?;
        }
        for kept in one.dependent.iter().filter(|kept| kept.limit.scope.includes(decision)) {
            let meter = self.limits.meter(kept, decision, Some(candidate));
            asked.hold(reservation, kept, meter.get())?;
        }
        if self.limits.shared.is_taught(decision.now) {
            let taken = one.learned.take(decision.usage, decision.now);
            taken.map_err(|wait| said_spent(candidate, wait))?;
            reservation.add_learned(&one.learned);
        }
        Ok(())
    }

    /// Takes a provider's word for what is left at a candidate: it restricts, and is never trusted beyond what is
    /// configured.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    pub fn observe(&self, index: CandidateIndex, said: &ProviderLimits, now: Timestamp) {
        let until = self.candidates[index.get()].learned.observe(said, now);
        self.limits.shared.taught(until);
    }

    fn asked<'a>(&'a self, decision: &'a DecisionContext<'a>, cost: Option<NanoUsd>) -> Asked<'a> {
        Asked::new(&self.limits, decision, cost)
    }
}

impl OfCandidate {
    fn new(limits: &Limits, candidate: &ProviderCandidate, now: Timestamp) -> Self {
        let (own, learned) = limits.own(candidate, now);
        let own = own.into_iter().filter_map(|kept| {
            let meter = kept.sole.clone()?;
            Some((kept, meter))
        });
        let meant = limits.of_candidates.iter().map(|&place| &limits.kept[place as usize]);
        let meant = meant.filter(|kept| kept.limit.scope.includes_candidate(candidate));
        let (alone, dependent): (Vec<_>, Vec<_>) =
            meant.cloned().partition(|kept| kept.limit.is_of_candidate_alone());
        let shared = alone.into_iter().map(|kept| {
            let meter = limits.meter_of_candidate(&kept, candidate, now);
            (kept, meter)
        });
        Self { known: own.chain(shared).collect(), dependent: dependent.into(), learned }
    }

    #[inline]
    fn would_admit(&self, asked: &Asked<'_>, candidate: &ProviderCandidate) -> Result<(), LimitSpent> {
        for (kept, meter) in &self.known {
            asked.would_hold(kept, meter)?;
        }
        for kept in self.dependent.iter().filter(|kept| kept.limit.scope.includes(asked.decision)) {
            if let Some(meter) = kept.known(asked.decision, Some(candidate)) {
                asked.would_hold(kept, meter.get())?;
            }
        }
        let (usage, now) = (asked.decision.usage, asked.decision.now);
        self.learned.would_admit(usage, now).map_err(|wait| said_spent(candidate, wait))
    }
}

/// What a candidate declares of itself, as limits.
pub(crate) fn declared(
    candidate: &ProviderCandidate,
    reserve: PriorityReserve,
) -> impl Iterator<Item = Limit> {
    let declared = candidate.rate_limits();
    let id = |name| LimitId::new(name).expect("the name of a field is a limit id");
    // A declared rate that is too fast to be kept is kept at the fastest.
    let rate = |quota: u64| Rate::per_minute(quota.min(60 * MAX_PER_SECOND)).ok();
    let requests = declared.requests_per_minute.and_then(|quota| rate(quota.get().into()));
    let tokens = declared.tokens_per_minute.and_then(|quota| rate(quota.get()));
    let requests = requests.map(|rate| Limit::requests(id(REQUESTS), rate));
    let tokens = tokens.map(|rate| Limit::tokens(id(TOKENS), rate));
    let of = candidate.id().clone();
    requests.into_iter().chain(tokens).map(move |limit| limit.for_candidate(of.clone()).reserving(reserve))
}

#[cold]
fn leave_out(index: CandidateIndex, spent: &LimitSpent, now: Timestamp, directives: &mut Directives) {
    let until = spent.retry_after.map_or(Timestamp::MAX, |wait| now + wait);
    directives.left_out.add(LeftOut { index, reason: LeftOutReason::LimitSpent, until });
    let is_first =
        spent.retry_after.is_some_and(|wait| directives.retry_after.is_none_or(|known| wait < known));
    if is_first || directives.spent.is_none() {
        directives.spent = Some(spent.limit.clone());
    }
    if let Some(wait) = spent.retry_after {
        directives.retry_after(wait);
    }
}

#[cold]
fn said_spent(candidate: &ProviderCandidate, wait: Duration) -> LimitSpent {
    LimitSpent {
        limit: LimitId::new(LEARNED).expect("a constant is a limit id"),
        subject: Subject::of_candidate(candidate.id()),
        why: Why::Rate,
        retry_after: Some(wait),
    }
}
