//! What an action comes down to.

use std::sync::Arc;

use waypost_core::{
    Annotations, CandidateMask, CandidateSet, LoadBalancingStrategy, ModelName, PoolWeights, ProviderId,
    Region, RejectionReason, RequestPriority, RuleId, Tag, Weight,
};

use crate::{RouteConfig, RoutingAction};

/// An action with its chains laid out: who may serve the request, and what else is decided. Where actions of a chain say
/// the same thing differently the last counts; who may serve is narrowed by all of them.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    narrowings: Box<[Narrowing]>,
    pub(crate) strategy: Option<LoadBalancingStrategy>,
    pub(crate) weights: Option<PoolWeights>,
    pub(crate) priority: Option<RequestPriority>,
    pub(crate) model: Option<ModelName>,
    pub(crate) reject: Option<RejectionReason>,
    pub(crate) annotations: Option<Arc<Annotations>>,
}

#[derive(Debug)]
enum Narrowing {
    To(Members),
    Without(Box<[ProviderId]>),
}

/// Who is in a pool.
#[derive(Debug)]
struct Members {
    providers: Box<[ProviderId]>,
    regions: Box<[Region]>,
    tags: Box<[Tag]>,
}

/// Effects that are being gathered.
#[derive(Default)]
struct Gathering {
    effects: Effects,
    narrowings: Vec<Narrowing>,
    annotations: Annotations,
}

impl Gathering {
    fn add(&mut self, action: &RoutingAction) {
        let effects = &mut self.effects;
        if effects.reject.is_some() {
            return;
        }
        match action {
            RoutingAction::RouteToProvider(provider) => {
                self.route(&RouteConfig::providers([provider.clone()]));
            }
            RoutingAction::RouteToPool(route) => self.route(route),
            RoutingAction::ApplyStrategy(strategy) => effects.strategy = Some(strategy.clone()),
            RoutingAction::SetPriority(priority) => effects.priority = Some(*priority),
            RoutingAction::Reject { reason } => effects.reject = Some(reason.clone()),
            RoutingAction::Exclude(providers) => {
                self.narrowings.push(Narrowing::Without(providers.as_slice().into()));
            }
            RoutingAction::RewriteModel(model) => effects.model = Some(model.clone()),
            RoutingAction::AddTag(tag) => add_new(&mut self.annotations.tags, tag),
            RoutingAction::Mirror(target) => add_new(&mut self.annotations.mirrors, target),
            RoutingAction::Chain(actions) => actions.iter().for_each(|action| self.add(action)),
        }
    }

    fn route(&mut self, route: &RouteConfig) {
        if !route.is_everywhere() {
            self.narrowings.push(Narrowing::To(Members::of(route)));
        }
        let (effects, weights) = (&mut self.effects, route.weights());
        let by_weight = weights.is_some().then_some(LoadBalancingStrategy::WeightedRoundRobin);
        effects.strategy = route.strategy.clone().or(effects.strategy.take()).or(by_weight);
        effects.weights = weights.or(effects.weights.take());
    }

    fn finish(self) -> Effects {
        let annotations = (!self.annotations.is_empty()).then(|| Arc::new(self.annotations));
        Effects { narrowings: self.narrowings.into(), annotations, ..self.effects }
    }
}

impl Effects {
    /// The effects of a rule's action.
    pub(crate) fn of_rule(id: &RuleId, action: &RoutingAction, continues: bool) -> Self {
        let mut gathering = Gathering::default();
        if continues {
            gathering.annotations.rules.push(id.clone());
        }
        gathering.add(action);
        gathering.finish()
    }

    /// The effects of a default route.
    pub(crate) fn of_route(route: &RouteConfig) -> Self {
        let mut gathering = Gathering::default();
        gathering.route(route);
        gathering.finish()
    }

    /// The tags that are added.
    pub(crate) fn tags(&self) -> &[Tag] {
        self.annotations.as_ref().map_or(&[], |annotations| &annotations.tags)
    }

    /// Whether rules that come later may see another request.
    pub(crate) fn changes_the_request(&self) -> bool {
        self.priority.is_some() || self.model.is_some() || !self.tags().is_empty()
    }

    /// The providers of every pool that names some.
    pub(crate) fn pools(&self) -> impl Iterator<Item = Vec<ProviderId>> {
        let named = self.narrowings.iter().filter_map(|narrowing| match narrowing {
            Narrowing::To(members) if !members.providers.is_empty() => Some(&members.providers),
            _ => None,
        });
        named.map(|providers| providers.to_vec())
    }

    /// The providers that are excluded.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = &ProviderId> {
        let excluded = self.narrowings.iter().filter_map(|narrowing| match narrowing {
            Narrowing::To(_) => None,
            Narrowing::Without(providers) => Some(providers),
        });
        excluded.flatten()
    }

    /// Whether a provider is both named and excluded, so that nobody of it is left.
    pub(crate) fn contradiction(&self) -> Option<ProviderId> {
        self.pools().flatten().find(|provider| self.excluded().any(|excluded| excluded == provider))
    }

    /// Takes out who may not serve the request.
    pub(crate) fn narrow(&self, set: &mut CandidateSet<'_>) {
        self.narrowings.iter().for_each(|narrowing| narrowing.apply(set));
    }
}

impl Narrowing {
    fn apply(&self, set: &mut CandidateSet<'_>) {
        match self {
            Self::To(members) => members.keep(set),
            Self::Without(providers) => {
                for provider in providers {
                    set.drop_all(set.pool().of_provider(provider));
                }
            }
        }
    }
}

impl Members {
    /// The members of a route; those of weight 0 are none.
    fn of(route: &RouteConfig) -> Self {
        let members = route.provider_pool.iter().filter(|member| member.weight != Some(Weight::ZERO));
        Self {
            providers: members.map(|member| member.provider.clone()).collect(),
            regions: route.regions.as_slice().into(),
            tags: route.tags.as_slice().into(),
        }
    }

    /// Keeps who is of one of the providers, if any are named, in one of the regions, if any are named, and has all tags.
    fn keep(&self, set: &mut CandidateSet<'_>) {
        let pool = set.pool();
        if !self.providers.is_empty() {
            set.keep(&union(self.providers.iter().map(|provider| pool.of_provider(provider))));
        }
        if !self.regions.is_empty() {
            set.keep(&union(self.regions.iter().map(|region| pool.in_region(region))));
        }
        for tag in &self.tags {
            set.keep(pool.tagged(tag));
        }
    }
}

fn add_new<T: Clone + PartialEq>(known: &mut Vec<T>, item: &T) {
    if !known.contains(item) {
        known.push(item.clone());
    }
}

/// Everybody who is in one of the masks.
fn union<'a>(masks: impl Iterator<Item = &'a CandidateMask>) -> CandidateMask {
    masks.fold(CandidateMask::EMPTY, |mut all, mask| {
        all.union_with(mask);
        all
    })
}
