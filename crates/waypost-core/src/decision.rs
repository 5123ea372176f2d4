//! What every stage of one decision may look at.

use core::fmt;
use std::time::SystemTime;

use crate::{
    Capability, CapabilitySet, GatewayRequest, ModelName, RequestPriority, RoutingContext, Tag, TenantId,
    TenantRoutingConfig, Timestamp, TokenUsage, UserId,
};

/// One decision's input, gathered once: request and context, the tenant's rules, the time, the token estimate.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DecisionContext<'a> {
    /// The request.
    pub request: &'a GatewayRequest,
    /// What is known besides.
    pub context: &'a RoutingContext,
    /// The tenant's rules; `None` when there is no tenant or it has none.
    pub tenant: Option<&'a TenantRoutingConfig>,
    /// When the decision began: the one clock reading that all stages share.
    pub now: Timestamp,
    /// The tokens that the request is expected to use.
    pub usage: TokenUsage,
    /// The wall time, for calendar rules; `None` when nothing that is configured looks at it.
    pub wall: Option<SystemTime>,
    /// The priority that a rule or a filter gave the request.
    priority: Option<RequestPriority>,
    /// The model that a rule put in place of the request's.
    model: Option<&'a ModelName>,
    /// The tags that rules added.
    added_tags: &'a [&'a [Tag]],
}

impl<'a> DecisionContext<'a> {
    /// Gathers a decision's input.
    pub const fn new(
        request: &'a GatewayRequest,
        context: &'a RoutingContext,
        tenant: Option<&'a TenantRoutingConfig>,
        now: Timestamp,
        usage: TokenUsage,
    ) -> Self {
        Self {
            request,
            context,
            tenant,
            now,
            usage,
            wall: None,
            priority: None,
            model: None,
            added_tags: &[],
        }
    }

    /// The tenant: the authenticated one, else the request's.
    pub fn tenant_id(&self) -> Option<&'a TenantId> {
        self.context.tenant_id.as_ref().or(self.request.tenant_id.as_ref())
    }

    /// The user: the authenticated one, else the request's.
    pub fn user_id(&self) -> Option<&'a UserId> {
        self.context.user_id.as_ref().or(self.request.user_id.as_ref())
    }

    /// The model: what a rule put in its place, else the request's.
    pub fn model(&self) -> &'a ModelName {
        self.model.unwrap_or(&self.request.model)
    }

    /// The tags that the request requires, and those that rules added.
    pub fn tags(&self) -> impl Iterator<Item = &'a Tag> {
        self.context.required_tags.iter().chain(self.added_tags.iter().copied().flatten())
    }

    /// Whether the request requires a tag, or a rule added it.
    pub fn has_tag(&self, tag: &Tag) -> bool {
        self.tags().any(|known| known == tag)
    }

    /// The capabilities that a candidate must have: those required, and streaming for a streamed answer.
    pub fn needed_capabilities(&self) -> CapabilitySet {
        let streaming = if self.request.stream { Capability::Streaming.into() } else { CapabilitySet::EMPTY };
        self.request.required_capabilities | streaming
    }

    /// The priority: what a rule or a filter said before, else the context's word, else the request's.
    pub fn priority(&self) -> RequestPriority {
        self.priority.or(self.context.priority).unwrap_or(self.request.priority)
    }

    /// The same with another priority, if there is one.
    pub const fn with_priority(mut self, priority: Option<RequestPriority>) -> Self {
        self.priority = priority;
        self
    }

    /// The same with another model in place of the request's, if there is one.
    pub const fn with_model(mut self, model: Option<&'a ModelName>) -> Self {
        self.model = model;
        self
    }

    /// The same with the tags that rules added, a slice for each rule.
    pub const fn with_added_tags(mut self, tags: &'a [&'a [Tag]]) -> Self {
        self.added_tags = tags;
        self
    }

    /// The same at a wall time.
    pub const fn at_wall_time(mut self, wall: SystemTime) -> Self {
        self.wall = Some(wall);
        self
    }
}

/// The steps of a decision that can take candidates out, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stage {
    /// Candidates that take no new requests: weight 0 or set unavailable.
    Drained,
    /// Providers that the request or the context excludes.
    Excluded,
    /// Providers that the tenant may not use.
    Tenant,
    /// Candidates without a needed capability.
    Capability,
    /// Candidates whose context window or output limit is too small.
    ContextWindow,
    /// Candidates outside the allowed regions.
    Region,
    /// Candidates without a required tag.
    Tag,
    /// Candidates expected to be slower than the maximum or the deadline allows.
    Latency,
    /// Candidates that a rule rules out.
    Rules,
    /// Candidates that are not healthy.
    Health,
    /// Candidates whose rate or concurrency limit is spent.
    Limits,
    /// Candidates expected to cost more than may be spent, or of unknown price when cost is bounded.
    Cost,
    /// Candidates left aside because preferred ones remain.
    Preference,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 13] = [
        Self::Drained,
        Self::Excluded,
        Self::Tenant,
        Self::Capability,
        Self::ContextWindow,
        Self::Region,
        Self::Tag,
        Self::Latency,
        Self::Rules,
        Self::Health,
        Self::Limits,
        Self::Cost,
        Self::Preference,
    ];

    /// The name in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Excluded => "excluded",
            Self::Tenant => "tenant",
            Self::Capability => "capability",
            Self::ContextWindow => "context window",
            Self::Region => "region",
            Self::Tag => "tag",
            Self::Latency => "latency",
            Self::Rules => "rules",
            Self::Health => "health",
            Self::Limits => "limits",
            Self::Cost => "cost",
            Self::Preference => "preference",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
