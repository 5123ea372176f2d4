//! Who asks, from where, and under which conditions.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use crate::{
    CostBudget, Exclusion, FeatureName, LoadBalancingStrategy, MetadataKey, ModelName, OrganizationId,
    ProviderId, Region, RequestPriority, SessionId, Tag, TenantId, Timestamp, Tokens, TraceContext, UserId,
    Zone,
};

/// What the gateway knows about a request besides the request: authenticated identity, targets, constraints, place and
/// time. The default knows nothing and constrains nothing.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{Region, RoutingContext, TenantId};
///
/// let context = RoutingContext::default()
///     .with_tenant(TenantId::new("acme")?)
///     .within_region(Region::new("eu")?)
///     .with_latency_target(Duration::from_millis(800));
/// assert_eq!(context.allowed_regions.len(), 1);
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RoutingContext {
    /// The authenticated tenant; wins over the request's.
    pub tenant_id: Option<TenantId>,
    /// The authenticated user; wins over the request's. For filters, and for strategies that keep a user at one
    /// candidate.
    pub user_id: Option<UserId>,
    /// The organization. For filters and observers, and for strategies that keep it at one candidate.
    pub organization_id: Option<OrganizationId>,
    /// The conversation. For strategies that keep a conversation at one candidate.
    pub session_id: Option<SessionId>,
    /// How important the request is; wins over the request's own word. For filters and strategies.
    pub priority: Option<RequestPriority>,
    /// Which attempt this is, from 0. For rules and filters.
    pub attempt_number: u32,
    /// What may be spent.
    pub cost_budget: Option<CostBudget>,
    /// The time to first token to aim at: candidates that meet it are preferred. Candidates of unknown latency count
    /// as meeting it.
    pub latency_target: Option<Duration>,
    /// The tokens per second to aim at: candidates that reach it are preferred. Candidates of unknown speed count as
    /// reaching it.
    pub throughput_target: Option<u32>,
    /// Providers not to use, besides the request's.
    pub excluded_providers: Vec<ProviderId>,
    /// Candidates not to use: what earlier attempts taught, and what a failover chain names.
    pub exclusions: Vec<Exclusion>,
    /// The only models that may serve, by their names or the names that stand for them, besides what the tenant may use.
    /// `None`: all. Asked of the request's model and of what rules and fallbacks put in its place.
    pub allowed_models: Option<Arc<[ModelName]>>,
    /// The strategy to select with, whatever rules, tenant and settings name.
    pub strategy: Option<LoadBalancingStrategy>,
    /// The only regions that the request may go to. Empty: all.
    pub allowed_regions: Vec<Region>,
    /// Regions in order of preference: the first with a candidate still in play gets the request.
    pub preferred_regions: Vec<Region>,
    /// Tags that a candidate must have, all of them.
    pub required_tags: Vec<Tag>,
    /// How long the answer will be, if the request does not say.
    pub max_tokens_hint: Option<Tokens>,
    /// Where the caller is: candidates there are preferred after `preferred_regions`.
    pub region: Option<Region>,
    /// Where in the region the caller is: candidates there are preferred within the region.
    pub zone: Option<Zone>,
    /// The trace that the request belongs to. For the caller; the router itself does not look at it.
    pub trace_context: Option<TraceContext>,
    /// Feature flags. For rules and filters.
    pub features: Vec<(FeatureName, bool)>,
    /// What else is known of the request, by key. For rules and filters.
    pub metadata: Vec<(MetadataKey, Arc<str>)>,
    /// The caller's address. For rules and filters.
    pub source_ip: Option<IpAddr>,
    /// The caller's software. For rules and filters.
    pub user_agent: Option<Arc<str>>,
    /// When the caller began to wait. For filters and observers; the router itself does not look at it.
    pub request_start_time: Option<Timestamp>,
    /// When the answer is no longer of use: routing after it fails, and candidates drop out that are expected to begin
    /// later (streamed) or to end later (otherwise).
    pub deadline: Option<Timestamp>,
}

impl RoutingContext {
    /// Names the tenant.
    pub fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant_id = Some(tenant);
        self
    }

    /// Names the user.
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user_id = Some(user);
        self
    }

    /// Names the organization.
    pub fn with_organization(mut self, organization: OrganizationId) -> Self {
        self.organization_id = Some(organization);
        self
    }

    /// Names the conversation.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session_id = Some(session);
        self
    }

    /// Says how important the request is.
    pub fn with_priority(mut self, priority: RequestPriority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Says which attempt this is, from 0.
    pub fn with_attempt_number(mut self, attempt: u32) -> Self {
        self.attempt_number = attempt;
        self
    }

    /// Bounds the cost.
    pub fn with_cost_budget(mut self, budget: CostBudget) -> Self {
        self.cost_budget = Some(budget);
        self
    }

    /// Aims at a time to first token.
    pub fn with_latency_target(mut self, target: Duration) -> Self {
        self.latency_target = Some(target);
        self
    }

    /// Aims at tokens per second.
    pub fn with_throughput_target(mut self, tokens_per_second: u32) -> Self {
        self.throughput_target = Some(tokens_per_second);
        self
    }

    /// Names the only models that may serve.
    pub fn with_allowed_models(mut self, models: impl IntoIterator<Item = ModelName>) -> Self {
        self.allowed_models = Some(models.into_iter().collect());
        self
    }

    /// One more provider not to use.
    pub fn exclude_provider(mut self, provider: ProviderId) -> Self {
        self.excluded_providers.push(provider);
        self
    }

    /// One more group of candidates not to use.
    pub fn exclude(mut self, exclusion: Exclusion) -> Self {
        self.exclusions.push(exclusion);
        self
    }

    /// Names the strategy.
    pub fn with_strategy(mut self, strategy: LoadBalancingStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// One more region that the request may go to; without any, all are allowed.
    pub fn within_region(mut self, region: Region) -> Self {
        self.allowed_regions.push(region);
        self
    }

    /// One more preferred region, after those named before.
    pub fn prefer_region(mut self, region: Region) -> Self {
        self.preferred_regions.push(region);
        self
    }

    /// One more tag that a candidate must have.
    pub fn require_tag(mut self, tag: Tag) -> Self {
        self.required_tags.push(tag);
        self
    }

    /// Says how long the answer will be.
    pub fn with_max_tokens_hint(mut self, tokens: Tokens) -> Self {
        self.max_tokens_hint = Some(tokens);
        self
    }

    /// Says where the caller is.
    pub fn with_region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// Says where in the region the caller is.
    pub fn with_zone(mut self, zone: Zone) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Says which trace the request belongs to.
    pub fn with_trace_context(mut self, trace: TraceContext) -> Self {
        self.trace_context = Some(trace);
        self
    }

    /// Sets a feature flag.
    pub fn with_feature(mut self, name: FeatureName, on: bool) -> Self {
        self.features.retain(|(known, _)| *known != name);
        self.features.push((name, on));
        self
    }

    /// Says one more thing that is known of the request; a key that is said again is replaced.
    pub fn with_metadata(mut self, key: MetadataKey, value: impl Into<Arc<str>>) -> Self {
        self.metadata.retain(|(known, _)| *known != key);
        self.metadata.push((key, value.into()));
        self
    }

    /// Says the caller's address.
    pub fn with_source_ip(mut self, address: IpAddr) -> Self {
        self.source_ip = Some(address);
        self
    }

    /// Says the caller's software.
    pub fn with_user_agent(mut self, agent: impl Into<Arc<str>>) -> Self {
        self.user_agent = Some(agent.into());
        self
    }

    /// Says when the caller began to wait.
    pub fn with_request_start_time(mut self, start: Timestamp) -> Self {
        self.request_start_time = Some(start);
        self
    }

    /// Says when the answer is no longer of use.
    pub fn with_deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Whether a feature flag is set and on.
    pub fn feature(&self, name: &str) -> bool {
        self.features.iter().any(|(known, on)| *on && known.as_str() == name)
    }

    /// What is known of the request under a key.
    pub fn metadata(&self, key: &MetadataKey) -> Option<&Arc<str>> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// How long the caller has waited, or zero when nobody said since when.
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        self.request_start_time.map_or(Duration::ZERO, |start| now.since(start))
    }

    /// Whether the deadline has come.
    #[inline]
    pub fn is_deadline_exceeded(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// The time to the deadline: `None` without one, zero after it.
    #[inline]
    pub fn remaining_time(&self, now: Timestamp) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }
}
