//! Where the next attempt goes: a chain, with what failed so far taken out.

use std::borrow::Cow;
use std::sync::Arc;

use waypost_core::{Exclusion, FaultScope, GatewayRequest, ProviderCandidate, RoutingContext};

use crate::{FailOver, FailoverChain, FallbackOn, ProviderSelector, Verdict};

/// Who failed and may be asked again.
#[derive(Debug)]
pub(crate) struct Resting {
    pub(crate) at: Arc<ProviderCandidate>,
    pub(crate) verdict: Verdict,
}

/// Where the next attempt goes.
#[derive(Debug)]
pub(crate) struct Route<'c> {
    chain: &'c FailoverChain,
    /// The group: 0 is the primary.
    group: usize,
    /// What was learned for good.
    learned: Vec<Exclusion>,
    /// Who failed and may be asked again when nobody else is left.
    resting: Vec<Resting>,
    /// What fallbacks the failures so far allow.
    reason: FallbackOn,
}

impl<'c> Route<'c> {
    pub(crate) const fn new(chain: &'c FailoverChain) -> Self {
        Self { chain, group: 0, learned: Vec::new(), resting: Vec::new(), reason: FallbackOn::Failure }
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
            context.attempt_number += attempts;
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

    /// Fallbacks that are still to come.
    pub(crate) fn fallbacks_left(&self) -> usize {
        let left = self.chain.fallbacks.iter().skip(self.group);
        left.filter(|fallback| self.is_allowed(fallback.on)).count()
    }

    fn is_allowed(&self, on: FallbackOn) -> bool {
        on == self.reason || (on == FallbackOn::Failure && self.reason == FallbackOn::ContextWindow)
    }

    /// Goes on to the next fallback that the failures so far allow; whether there is one.
    pub(crate) fn next_group(&mut self) -> bool {
        let left = self.chain.fallbacks.iter().enumerate().skip(self.group);
        let next =
            left.into_iter().find(|(_, fallback)| self.is_allowed(fallback.on)).map(|(place, _)| place);
        next.map(|place| self.group = place + 1).is_some()
    }

    /// A candidate failed. Whether anybody else may be asked.
    pub(crate) fn learn(&mut self, at: &Arc<ProviderCandidate>, verdict: Verdict, may_retry: bool) -> bool {
        self.resting.retain(|resting| resting.at.id() != at.id());
        match verdict.fail_over {
            FailOver::Never if !may_retry => return false,
            FailOver::LargerContextWindow => {
                self.reason = FallbackOn::ContextWindow;
                self.learned.push(Exclusion::WindowUpTo(at.capabilities().context_window));
                self.exclude(at, FaultScope::Deployment);
            }
            FailOver::OtherContentPolicy => {
                self.reason = FallbackOn::ContentPolicy;
                self.exclude(at, FaultScope::Provider);
                return self.next_group();
            }
            _ if may_retry => self.resting.push(Resting { at: Arc::clone(at), verdict }),
            _ => self.exclude(at, verdict.scope),
        }
        true
    }

    /// Never less than the candidate itself.
    fn exclude(&mut self, at: &Arc<ProviderCandidate>, scope: FaultScope) {
        let scope = if scope == FaultScope::Request { FaultScope::Deployment } else { scope };
        self.learned.push(Exclusion::Fault { at: Arc::clone(at), scope });
    }

    /// Who may be asked again: whoever failed first.
    pub(crate) fn first_resting(&self) -> Option<&Resting> {
        self.resting.first()
    }

    /// Everybody who may be asked again, may be now.
    pub(crate) fn wake(&mut self) {
        self.resting.clear();
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
