//! What a rule does with a request.

use core::fmt;

use waypost_core::{
    LoadBalancingStrategy, MirrorTarget, ModelName, PoolWeights, ProviderId, Region, RejectionReason,
    RequestPriority, Tag, Weight,
};

use crate::names::one_of;

/// What happens to a request that a rule matches.
///
/// ```
/// use waypost_core::{LoadBalancingStrategy, ProviderId};
/// use waypost_rules::{RouteConfig, RoutingAction};
///
/// let eu = RouteConfig::providers([ProviderId::new("azure-eu")?, ProviderId::new("vertex-eu")?]);
/// let action = RoutingAction::Chain(vec![
///     RoutingAction::RouteToPool(eu),
///     RoutingAction::ApplyStrategy(LoadBalancingStrategy::LeastLatency),
/// ]);
/// assert_eq!(action.to_string(), "use azure-eu or vertex-eu, choose by least_latency");
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RoutingAction {
    /// Only this provider may serve it.
    RouteToProvider(ProviderId),
    /// Only these candidates may serve it.
    RouteToPool(RouteConfig),
    /// This strategy chooses. Of several the last counts.
    ApplyStrategy(LoadBalancingStrategy),
    /// It is treated with this priority from here on.
    SetPriority(RequestPriority),
    /// It is not served.
    Reject {
        /// Why, for the caller.
        reason: RejectionReason,
    },
    /// These providers may not serve it.
    Exclude(Vec<ProviderId>),
    /// It is served as if it had asked for this model or alias.
    RewriteModel(ModelName),
    /// Later rules and the caller see this tag. Candidates need not have it: that is a [`RouteConfig`] with tags.
    AddTag(Tag),
    /// The caller should send a copy there.
    Mirror(MirrorTarget),
    /// All of these, in order.
    Chain(Vec<RoutingAction>),
}

/// Where requests may go, and how one is chosen there: those of the providers, if any are named, that are in one of the
/// regions, if any are named, and have all of the tags. The default is every candidate, by the strategy that would choose
/// anyway.
///
/// ```
/// use waypost_core::Weight;
/// use waypost_rules::{PoolMember, RouteConfig};
///
/// let weighted = |name: &str, weight: i64| -> Result<_, Box<dyn std::error::Error>> {
///     Ok(PoolMember { provider: name.parse()?, weight: Some(Weight::try_from(weight)?) })
/// };
/// let route = RouteConfig::providers([weighted("azure-eu", 700)?, weighted("vertex-eu", 300)?])
///     .within_regions(["eu".parse()?]);
/// assert_eq!(route.to_string(), "azure-eu (weight 700) or vertex-eu (weight 300) in eu");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// The providers; empty for all.
    pub provider_pool: Vec<PoolMember>,
    /// The regions; empty for all.
    pub regions: Vec<Region>,
    /// Tags that a candidate must have, all of them.
    pub tags: Vec<Tag>,
    /// The strategy that chooses; `None` for the one that would choose anyway, or weighted round robin where members have
    /// weights.
    pub strategy: Option<LoadBalancingStrategy>,
}

/// One provider of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolMember {
    /// The provider.
    pub provider: ProviderId,
    /// Its candidates' weight in this pool. Once one member has one, the others have the default of 100; if none has,
    /// candidates keep their own.
    pub weight: Option<Weight>,
}

impl From<ProviderId> for PoolMember {
    fn from(provider: ProviderId) -> Self {
        Self { provider, weight: None }
    }
}

impl RouteConfig {
    /// The candidates of these providers, by their own weights.
    pub fn providers<M: Into<PoolMember>>(members: impl IntoIterator<Item = M>) -> Self {
        Self { provider_pool: members.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The candidates in these regions.
    pub fn within_regions(mut self, regions: impl IntoIterator<Item = Region>) -> Self {
        self.regions.extend(regions);
        self
    }

    /// The candidates with all of these tags.
    pub fn tagged(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Chosen by this strategy.
    pub fn by(mut self, strategy: LoadBalancingStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Whether it names no candidates: then all are meant.
    pub const fn is_everywhere(&self) -> bool {
        self.provider_pool.is_empty() && self.regions.is_empty() && self.tags.is_empty()
    }

    /// The weights, if a member has one.
    pub(crate) fn weights(&self) -> Option<PoolWeights> {
        let weighted = self.provider_pool.iter().any(|member| member.weight.is_some());
        let weight = |member: &PoolMember| (member.provider.clone(), member.weight.unwrap_or_default());
        weighted.then(|| PoolWeights::new(self.provider_pool.iter().map(weight)))
    }
}

impl fmt::Display for RoutingAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RouteToProvider(provider) => write!(f, "use {provider}"),
            Self::RouteToPool(route) => write!(f, "use {route}"),
            Self::ApplyStrategy(strategy) => write!(f, "choose by {strategy}"),
            Self::SetPriority(priority) => write!(f, "set the priority to {priority}"),
            Self::Reject { reason } => write!(f, "reject: {reason}"),
            Self::Exclude(providers) => {
                f.write_str("do not use ")?;
                one_of(providers, f)
            }
            Self::RewriteModel(model) => write!(f, "serve it as {model}"),
            Self::AddTag(tag) => write!(f, "add the tag {tag}"),
            Self::Mirror(target) => write!(f, "mirror to {target}"),
            Self::Chain(actions) => {
                let actions: Vec<_> = actions.iter().map(ToString::to_string).collect();
                f.write_str(if actions.is_empty() { "do nothing" } else { "" })?;
                f.write_str(&actions.join(", "))
            }
        }
    }
}

impl fmt::Display for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.provider_pool.is_empty() {
            f.write_str("all candidates")?;
        } else {
            one_of(&self.provider_pool, f)?;
        }
        if !self.regions.is_empty() {
            f.write_str(" in ")?;
            one_of(&self.regions, f)?;
        }
        for tag in &self.tags {
            write!(f, " tagged {tag}")?;
        }
        match &self.strategy {
            Some(strategy) => write!(f, " by {strategy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PoolMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)?;
        match self.weight {
            Some(weight) => write!(f, " (weight {})", weight.get()),
            None => Ok(()),
        }
    }
}
