//! Actions: put together on a stack, as conditions are.

use arbitrary::Arbitrary;
use waypost_core::{LoadBalancingStrategy, MirrorTarget, RejectionReason, RequestPriority, Weight};
use waypost_rules::{PoolMember, RouteConfig, RoutingAction};

use super::last;
use crate::vocabulary::{MODELS, NAMES, Pick, Text};

/// The most steps of an action.
const MAX_STEPS: usize = 40;

const STRATEGIES: [&str; 4] = ["round_robin", "least-latency", "adaptive", "mine-own"];

/// What is done to the stack of actions.
#[derive(Debug, Arbitrary)]
pub(super) enum Act {
    Priority(Pick),
    Model(Pick),
    Tag(Pick),
    Provider(Pick),
    Pool(Route),
    Strategy(Pick),
    Exclude(Vec<Pick>),
    Mirror(Pick, Option<Pick>),
    Reject(Option<Text>),
    Chain(u8),
}

/// Where requests may go.
#[derive(Debug, Arbitrary)]
pub(super) struct Route {
    providers: Vec<(Pick, Option<u16>)>,
    regions: Vec<Pick>,
    tags: Vec<Pick>,
    strategy: Option<Pick>,
}

/// The action that is left in the end: one, or all in order.
pub(super) fn action(acts: &[Act]) -> RoutingAction {
    let mut stack = Vec::new();
    for act in acts.iter().take(MAX_STEPS) {
        let next = act.taken(&mut stack);
        stack.push(next);
    }
    let one = if stack.len() == 1 { stack.pop() } else { None };
    one.unwrap_or(RoutingAction::Chain(stack))
}

impl Act {
    fn taken(&self, stack: &mut Vec<RoutingAction>) -> RoutingAction {
        match self {
            Self::Priority(priority) => RoutingAction::SetPriority(priority.of(&RequestPriority::ALL)),
            Self::Model(model) => RoutingAction::RewriteModel(model.id(&MODELS)),
            Self::Tag(tag) => RoutingAction::AddTag(tag.id(&NAMES)),
            Self::Provider(provider) => RoutingAction::RouteToProvider(provider.id(&NAMES)),
            Self::Pool(route) => RoutingAction::RouteToPool(route.config()),
            Self::Strategy(strategy) => RoutingAction::ApplyStrategy(named(*strategy)),
            Self::Exclude(list) => RoutingAction::Exclude(list.iter().map(|name| name.id(&NAMES)).collect()),
            Self::Mirror(provider, model) => {
                let model = model.map(|model| model.id(&MODELS));
                RoutingAction::Mirror(MirrorTarget { provider: provider.id(&NAMES), model })
            }
            Self::Reject(own) => {
                let own = own.as_ref().map(|text| RejectionReason::Custom(text.text()));
                RoutingAction::Reject { reason: own.unwrap_or(RejectionReason::MaintenanceMode) }
            }
            Self::Chain(count) => RoutingAction::Chain(last(stack, *count)),
        }
    }
}

impl Route {
    pub(super) fn config(&self) -> RouteConfig {
        let member = |&(provider, weight): &(Pick, Option<u16>)| {
            let weight = weight.map(|weight| Weight::try_from(i64::from(weight % 1_001)));
            let weight = weight.transpose().expect("weights go up to 1,000");
            PoolMember { provider: provider.id(&NAMES), weight }
        };
        let mut config = RouteConfig::providers(self.providers.iter().map(member))
            .within_regions(self.regions.iter().map(|region| region.id(&NAMES)))
            .tagged(self.tags.iter().map(|tag| tag.id(&NAMES)));
        config.strategy = self.strategy.map(named);
        config
    }
}

fn named(strategy: Pick) -> LoadBalancingStrategy {
    strategy.id(&STRATEGIES)
}
