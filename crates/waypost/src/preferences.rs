//! What a candidate should meet if some can: each preference narrows the set unless it would empty it.

use std::time::Duration;

use waypost_core::{CandidateMask, CandidateSet, DecisionContext, RoutingContext};

use crate::constraints::Constraints;

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// Narrows to preferred candidates; says how many were left aside. The preferences in order: the request's provider,
/// the tenant's providers, the context's regions, the caller's own region and zone, the latency target, the throughput
/// target. Of a list the first entry that is still in play counts.
pub(crate) fn apply(constraints: &Constraints<'_>, set: &mut CandidateSet<'_>) -> usize {
    let decision = constraints.decision;
    let DecisionContext { request, context, tenant, .. } = decision;
    let pool = set.pool();
    let tenant_providers = tenant.map_or(&[][..], |tenant| &tenant.preferred_providers);
    first_of(set, request.preferred_provider.iter().map(|provider| pool.of_provider(provider)))
        + first_of(set, tenant_providers.iter().map(|provider| pool.of_provider(provider)))
        + first_of(set, context.preferred_regions.iter().map(|region| pool.in_region(region)))
        + first_of(set, context.region.iter().map(|region| pool.in_region(region)))
        + first_of(set, context.zone.iter().map(|zone| pool.in_zone(zone)))
        + targets(context, set)
}

/// Whether a preference of the decision looks at latencies.
pub(crate) fn look_at_latency(decision: &DecisionContext<'_>) -> bool {
    decision.context.latency_target.is_some() || decision.context.throughput_target.is_some()
}

fn first_of<'m>(set: &mut CandidateSet<'_>, masks: impl IntoIterator<Item = &'m CandidateMask>) -> usize {
    masks.into_iter().find_map(|mask| set.prefer(mask)).unwrap_or(0)
}

fn targets(context: &RoutingContext, set: &mut CandidateSet<'_>) -> usize {
    let first_token = context.latency_target.and_then(|target| set.avoid_slower_to_first_token_than(target));
    let nanos = context.throughput_target.and_then(|rate| NANOS_PER_SEC.checked_div(rate));
    let per_token = nanos.map(|nanos| Duration::from_nanos(nanos.into()));
    first_token.unwrap_or(0)
        + per_token.and_then(|target| set.avoid_slower_per_token_than(target)).unwrap_or(0)
}
