//! What a candidate should meet if some can: each preference narrows the set unless it would empty it.

use std::time::Duration;

use waypost_core::{CandidateMask, CandidateSet, DecisionContext, Pool};

/// Narrows to preferred candidates; says how many were left aside. The preferences in order: the request's provider,
/// the tenant's providers, the context's regions, the caller's own zone and region, the latency target, the throughput
/// target. Of a list the first entry that is still in play counts.
pub(crate) fn apply(decision: &DecisionContext<'_>, set: &mut CandidateSet<'_>) -> usize {
    let DecisionContext { request, context, tenant, .. } = decision;
    let pool = set.pool();
    let tenant_providers = tenant.map_or(&[][..], |tenant| &tenant.preferred_providers);
    first_of(set, request.preferred_provider.iter().map(|provider| pool.of_provider(provider)))
        + first_of(set, tenant_providers.iter().map(|provider| pool.of_provider(provider)))
        + first_of(set, context.preferred_regions.iter().map(|region| pool.in_region(region)))
        + first_of(set, context.region.iter().map(|region| pool.in_region(region)))
        + first_of(set, context.zone.iter().map(|zone| pool.in_zone(zone)))
        + targets(decision, pool, set)
}

/// Whether a preference of the decision looks at latencies.
pub(crate) fn look_at_latency(decision: &DecisionContext<'_>) -> bool {
    decision.context.latency_target.is_some() || decision.context.throughput_target.is_some()
}

fn first_of<'m>(set: &mut CandidateSet<'_>, masks: impl IntoIterator<Item = &'m CandidateMask>) -> usize {
    masks.into_iter().find_map(|mask| set.prefer(mask)).unwrap_or(0)
}

fn targets(decision: &DecisionContext<'_>, pool: &Pool, set: &mut CandidateSet<'_>) -> usize {
    let late = decision.context.latency_target.map(|target| pool.slower_to_first_token_than(target));
    let per_token =
        decision.context.throughput_target.and_then(|rate| Duration::from_secs(1).checked_div(rate));
    let slow = per_token.map(|target| pool.slower_per_token_than(target));
    late.iter().chain(&slow).filter_map(|mask| set.avoid(mask)).sum()
}
