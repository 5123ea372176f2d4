//! What a candidate must meet, stage by stage: each stage is one mask operation where it can be.

use std::time::Duration;

use waypost_core::{
    CandidateMask, CandidateSet, DecisionContext, NanoUsd, PoolIndex, Pricing, RoutingSnapshot, Tenant,
    Tokens,
};

/// What the constraints of one decision are taken from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constraints<'a> {
    pub(crate) decision: &'a DecisionContext<'a>,
    pub(crate) snapshot: &'a RoutingSnapshot,
    pub(crate) pool: PoolIndex,
    pub(crate) tenant: Option<&'a Tenant>,
}

/// Each stage takes out what its constraint rules out, and says how many fell out; without a constraint, none.
impl Constraints<'_> {
    /// Whether the time for routing is over before it began.
    #[inline]
    pub(crate) fn is_too_late(&self) -> bool {
        self.decision.context.is_deadline_exceeded(self.decision.now)
    }

    /// The longest a candidate may be expected to take: what the request says, or what the deadline leaves.
    #[inline]
    pub(crate) fn latency_limit(&self) -> Option<Duration> {
        let remaining = self.decision.context.remaining_time(self.decision.now);
        match (self.decision.request.max_latency, remaining) {
            (Some(most), Some(remaining)) => Some(most.min(remaining)),
            (most, remaining) => most.or(remaining),
        }
    }

    #[inline]
    pub(crate) fn excluded(&self, set: &mut CandidateSet<'_>) -> usize {
        let DecisionContext { request, context, .. } = self.decision;
        let mut dropped = 0;
        for providers in [&request.excluded_providers, &context.excluded_providers] {
            for provider in providers {
                dropped += set.drop_all(set.pool().of_provider(provider));
            }
        }
        if !context.exclusions.is_empty() {
            set.retain(|_, candidate| {
                let stays = !context.exclusions.iter().any(|exclusion| exclusion.covers(candidate));
                dropped += usize::from(!stays);
                stays
            });
        }
        dropped
    }

    #[inline]
    pub(crate) fn tenant(&self, set: &mut CandidateSet<'_>) -> usize {
        let allowed = self.tenant.and_then(|tenant| self.snapshot.allowed(self.pool, tenant));
        allowed.map_or(0, |allowed| set.keep(allowed))
    }

    #[inline]
    pub(crate) fn capability(&self, set: &mut CandidateSet<'_>) -> usize {
        let needed = self.decision.needed_capabilities();
        needed.iter().map(|capability| set.keep(set.pool().capable(capability))).sum()
    }

    #[inline]
    pub(crate) fn context_window(&self, set: &mut CandidateSet<'_>) -> usize {
        let DecisionContext { request, context, .. } = self.decision;
        let answer = request.max_tokens.or(context.max_tokens_hint).unwrap_or(Tokens(1));
        let fits = set.keep(set.pool().context_window_at_least(self.decision.usage.prompt + answer));
        fits + set.keep(set.pool().max_output_at_least(answer))
    }

    #[inline]
    pub(crate) fn region(&self, set: &mut CandidateSet<'_>) -> usize {
        let pool = set.pool();
        match self.decision.context.allowed_regions.as_slice() {
            [] => 0,
            [only] => set.keep(pool.in_region(only)),
            several => {
                let mut allowed = CandidateMask::EMPTY;
                several.iter().for_each(|region| allowed.union_with(pool.in_region(region)));
                set.keep(&allowed)
            }
        }
    }

    #[inline]
    pub(crate) fn tag(&self, set: &mut CandidateSet<'_>) -> usize {
        self.decision.context.required_tags.iter().map(|tag| set.keep(set.pool().tagged(tag))).sum()
    }

    /// Time to first token bounds every request; the whole answer bounds those that are not streamed.
    #[inline]
    pub(crate) fn latency(&self, set: &mut CandidateSet<'_>) -> usize {
        let Some(limit) = self.latency_limit() else { return 0 };
        let late = set.drop_slower_to_first_token_than(limit);
        if self.decision.request.stream { late } else { late + self.total_latency(set, limit) }
    }

    fn total_latency(&self, set: &mut CandidateSet<'_>, limit: Duration) -> usize {
        let DecisionContext { usage, now, .. } = *self.decision;
        let mut dropped = 0;
        set.retain(|_, candidate| {
            let expected = candidate.live().latency().expected(usage.completion, now);
            let in_time = expected.is_none_or(|expected| expected <= limit);
            dropped += usize::from(!in_time);
            in_time
        });
        dropped
    }

    /// A price class at a time: a request costs the same at all its members.
    #[inline]
    pub(crate) fn cost(&self, set: &mut CandidateSet<'_>, limit: Option<NanoUsd>) -> usize {
        let Some(limit) = limit else { return 0 };
        if set.pool().costs_at_most(self.decision.usage, limit) {
            return 0;
        }
        let mut dropped = 0;
        for class in set.pool().price_classes() {
            let affordable = |pricing: &Pricing| pricing.cost(self.decision.usage) <= limit;
            if set.intersects(&class.members) && !class.pricing.as_ref().is_some_and(affordable) {
                dropped += set.drop_all(&class.members);
            }
        }
        dropped
    }

    /// The most that the request may cost by its own word, its tenant's and its context's.
    #[inline]
    pub(crate) fn cost_limit(&self) -> Option<NanoUsd> {
        let DecisionContext { request, context, tenant, .. } = self.decision;
        let tenant = tenant.and_then(|tenant| tenant.cost_limit_per_request);
        let budget = context.cost_budget.map(|budget| budget.limit());
        [request.max_cost, tenant, budget].into_iter().flatten().min()
    }
}

/// Takes out candidates at their own limit on requests in flight.
#[inline]
pub(crate) fn capacity(set: &mut CandidateSet<'_>) -> usize {
    if set.intersects(set.pool().capped()) { drop_full(set) } else { 0 }
}

fn drop_full(set: &mut CandidateSet<'_>) -> usize {
    let mut dropped = 0;
    set.retain(|_, candidate| {
        let full = candidate
            .rate_limits()
            .max_in_flight
            .is_some_and(|most| candidate.live().in_flight().requests >= most.get().into());
        dropped += usize::from(full);
        !full
    });
    dropped
}
