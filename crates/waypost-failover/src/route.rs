//! Where the next attempt goes: a chain, with what failed so far taken out.

use std::borrow::Cow;
use std::sync::Arc;

use waypost_core::{
    Exclusion, FaultScope, GatewayRequest, ProviderCandidate, RoutingContext, Timestamp, Tokens,
};

use crate::{FailOver, FailoverChain, FallbackOn, ProviderSelector, Verdict};

/// Who failed and may be asked again.
#[derive(Debug)]
pub(crate) struct Resting {
    pub(crate) at: Arc<ProviderCandidate>,
    pub(crate) verdict: Verdict,
    /// When: what the provider asked for, and what its errors are known to last.
    pub(crate) ready: Timestamp,
}

/// Where the next attempt goes.
#[derive(Debug)]
pub(crate) struct Route<'c> {
    chain: &'c FailoverChain,
    /// The group: 0 is the primary.
    group: usize,
    /// Fallbacks that were gone to.
    used: Vec<usize>,
    /// What was learned for good.
    learned: Vec<Exclusion>,
    /// Who failed and may be asked again when nobody else is left.
    resting: Vec<Resting>,
    /// What fallbacks the failures so far allow.
    reason: FallbackOn,
}

impl<'c> Route<'c> {
    pub(crate) const fn new(chain: &'c FailoverChain) -> Self {
        Self {
            chain,
            group: 0,
            used: Vec::new(),
            learned: Vec::new(),
            resting: Vec::new(),
            reason: FallbackOn::Failure,
        }
    }

    /// What the router is asked.
    pub(crate) fn question<'q>(
        &self,
        request: &'q GatewayRequest,
        context: &'q RoutingContext,
        attempts: u32,
    ) -> (Cow<'q, GatewayRequest>, Cow<'q, RoutingContext>) {
        let (mut request, mut context) = (Cow::Borrowed(request), Cow::Borrowed(context));
        match self.selector() {
            ProviderSelector::Requested => {}
            ProviderSelector::AnyForModel(model) => request.to_mut().model = model.clone(),
            ProviderSelector::Specific(provider) => {
                let only = Exclusion::OtherThan(Arc::new([provider.clone()]));
                context.to_mut().exclusions.push(only);
            }
            ProviderSelector::Pool { provider_ids, strategy } => {
                let context = context.to_mut();
                context.exclusions.push(Exclusion::OtherThan(Arc::clone(provider_ids)));
                context.strategy.clone_from(strategy);
            }
        }
        if attempts > 0 {
            let context = context.to_mut();
            context.attempt_number = context.attempt_number.saturating_add(attempts);
            context.exclusions.extend(self.learned.iter().cloned());
            context.exclusions.extend(self.resting.iter().map(Resting::exclusion));
        }
        (request, context)
    }

    fn selector(&self) -> &'c ProviderSelector {
        match self.group.checked_sub(1) {
            None => &self.chain.primary,
            Some(place) => &self.chain.fallbacks[place].to,
        }
    }

    /// Whether nobody but the primary was asked.
    pub(crate) const fn is_primary(&self) -> bool {
        self.group == 0
    }

    /// Fallbacks that are still to come.
    pub(crate) fn fallbacks_left(&self) -> usize {
        self.left().count()
    }

    /// The places of fallbacks that were not gone to and that the failures so far allow, in order.
    fn left(&self) -> impl Iterator<Item = usize> {
        let allowed =
            |on| on == self.reason || (on == FallbackOn::Failure && self.reason != FallbackOn::ContentPolicy);
        let places = self.chain.fallbacks.iter().enumerate();
        let left = places.filter(move |(place, fallback)| allowed(fallback.on) && !self.used.contains(place));
        left.map(|(place, _)| place)
    }

    /// Goes on to the next fallback that the failures so far allow; whether there is one.
    pub(crate) fn next_group(&mut self) -> bool {
        let next = self.left().next();
        if let Some(place) = next {
            self.used.push(place);
            self.group = place + 1;
        }
        next.is_some()
    }

    /// The prompt is too long for everybody who was asked.
    pub(crate) const fn outgrown(&mut self) {
        self.reason = FallbackOn::ContextWindow;
    }

    /// A candidate failed. Whether anybody else may be asked.
    pub(crate) fn learn(&mut self, failed: Resting, prompt: Tokens, may_retry: bool) -> bool {
        let Resting { at, verdict, .. } = &failed;
        self.resting.retain(|resting| resting.at.id() != at.id());
        match verdict.fail_over {
            FailOver::Never if !may_retry => return false,
            FailOver::Never => {
                let only = Exclusion::OtherThan(Arc::new([at.provider().clone()]));
                self.learned.push(only);
                self.resting.push(failed);
            }
            FailOver::LargerContextWindow => return self.learn_window(&failed.at, prompt),
            FailOver::OtherContentPolicy => {
                self.reason = FallbackOn::ContentPolicy;
                self.exclude(at, FaultScope::Provider);
                return self.next_group();
            }
            _ if may_retry => self.resting.push(failed),
            _ => self.exclude(at, verdict.scope),
        }
        true
    }

    /// The prompt was too long for a candidate. If nobody said how long its window is, nobody's in its group is known to
    /// be longer: then it is for the fallbacks, which the operator names for this, if their windows hold the prompt.
    fn learn_window(&mut self, at: &Arc<ProviderCandidate>, prompt: Tokens) -> bool {
        self.outgrown();
        self.exclude(at, FaultScope::Deployment);
        let window = at.capabilities().context_window;
        let is_known = window < Tokens::MAX;
        self.learned.push(Exclusion::WindowUpTo(if is_known { window } else { prompt }));
        is_known || self.next_group()
    }

    /// Never less than the candidate itself.
    fn exclude(&mut self, at: &Arc<ProviderCandidate>, scope: FaultScope) {
        let scope = if scope == FaultScope::Request { FaultScope::Deployment } else { scope };
        self.learned.push(Exclusion::Fault { at: Arc::clone(at), scope });
    }

    /// Who may be asked again first.
    pub(crate) fn first_resting(&self) -> Option<&Resting> {
        self.resting.iter().min_by_key(|resting| resting.ready)
    }

    /// Whoever is ready by then may be asked again.
    pub(crate) fn wake(&mut self, by: Timestamp) {
        self.resting.retain(|resting| resting.ready > by);
    }

    /// Nobody is asked again.
    pub(crate) fn give_up_resting(&mut self) {
        for resting in core::mem::take(&mut self.resting) {
            self.exclude(&resting.at, resting.verdict.scope);
        }
    }
}

impl Resting {
    fn exclusion(&self) -> Exclusion {
        let scope = match self.verdict.scope {
            FaultScope::Request => FaultScope::Deployment,
            scope => scope,
        };
        Exclusion::Fault { at: Arc::clone(&self.at), scope }
    }
}
