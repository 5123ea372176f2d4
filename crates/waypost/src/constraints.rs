//! What a candidate must meet, stage by stage: each stage is one mask operation where it can be.

use std::time::Duration;

use waypost_core::{
    CandidateMask, CandidateSet, DecisionContext, NanoUsd, PoolIndex, ProviderId, RoutingSnapshot, Stage,
    Tenant, Timestamp, Tokens,
};

/// What the constraints of one decision are taken from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constraints<'a> {
    pub(crate) decision: &'a DecisionContext<'a>,
    pub(crate) snapshot: &'a RoutingSnapshot,
    pub(crate) pool: PoolIndex,
    pub(crate) tenant: Option<&'a Tenant>,
}

impl Constraints<'_> {
    /// Takes out what the stage's constraint rules out; says how many fell out. Stages without a constraint of
    /// request, context or tenant take nothing out.
    pub(crate) fn apply(&self, stage: Stage, set: &mut CandidateSet<'_>) -> usize {
        match stage {
            Stage::Excluded => self.excluded(set),
            Stage::Tenant => self.tenant(set),
            Stage::Capability => self.capability(set),
            Stage::ContextWindow => self.context_window(set),
            Stage::Region => self.region(set),
            Stage::Tag => self.tag(set),
            Stage::Latency => self.latency(set),
            Stage::Cost => self.cost(set),
            _ => 0,
        }
    }

    fn excluded(&self, set: &mut CandidateSet<'_>) -> usize {
        let drop = |set: &mut CandidateSet<'_>, provider: &ProviderId| {
            set.drop_all(set.pool().of_provider(provider))
        };
        let DecisionContext { request, context, .. } = self.decision;
        request
            .excluded_providers
            .iter()
            .chain(&context.excluded_providers)
            .map(|provider| drop(set, provider))
            .sum()
    }

    fn tenant(&self, set: &mut CandidateSet<'_>) -> usize {
        let allowed = self.tenant.and_then(|tenant| self.snapshot.allowed(self.pool, tenant));
        allowed.map_or(0, |allowed| set.keep(allowed))
    }

    fn capability(&self, set: &mut CandidateSet<'_>) -> usize {
        let needed = self.decision.needed_capabilities();
        needed.iter().map(|capability| set.keep(set.pool().capable(capability))).sum()
    }

    fn context_window(&self, set: &mut CandidateSet<'_>) -> usize {
        let answer = self.decision.request.max_tokens.unwrap_or(Tokens(1));
        let fits = set.keep(set.pool().context_window_at_least(self.decision.usage.prompt + answer));
        fits + set.keep(set.pool().max_output_at_least(answer))
    }

    fn region(&self, set: &mut CandidateSet<'_>) -> usize {
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

    fn tag(&self, set: &mut CandidateSet<'_>) -> usize {
        self.decision.context.required_tags.iter().map(|tag| set.keep(set.pool().tagged(tag))).sum()
    }

    /// Time to first token bounds every request; the whole answer bounds those that are not streamed.
    fn latency(&self, set: &mut CandidateSet<'_>) -> usize {
        let Some(limit) = latency_limit(self.decision) else { return 0 };
        let late = set.drop_all(&set.pool().slower_to_first_token_than(limit));
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
    fn cost(&self, set: &mut CandidateSet<'_>) -> usize {
        let Some(limit) = self.cost_limit() else { return 0 };
        let affordable = |pricing: &waypost_core::Pricing| pricing.cost(self.decision.usage) <= limit;
        let pool = set.pool();
        let too_dear =
            pool.price_classes().iter().filter(|class| !class.pricing.as_ref().is_some_and(affordable));
        too_dear.map(|class| set.drop_all(&class.members)).sum()
    }

    fn cost_limit(&self) -> Option<NanoUsd> {
        let DecisionContext { request, context, tenant, .. } = self.decision;
        let limits = [
            request.max_cost,
            tenant.and_then(|tenant| tenant.cost_limit_per_request),
            context.cost_budget.map(|budget| budget.limit()),
        ];
        limits.into_iter().flatten().min()
    }
}

/// The longest a candidate may be expected to take: what the request says, or what the deadline leaves.
pub(crate) fn latency_limit(decision: &DecisionContext<'_>) -> Option<Duration> {
    let remaining = decision.context.remaining_time(decision.now);
    decision.request.max_latency.into_iter().chain(remaining).min()
}

/// Whether the time for routing is over before it began.
pub(crate) fn is_too_late(decision: &DecisionContext<'_>) -> bool {
    decision.context.deadline.is_some_and(|deadline: Timestamp| decision.now >= deadline)
}
