//! The stages of a decision, in order: each narrows one set.

use waypost_core::{CandidateFilter, CandidateMask, CandidateSet, Directives, NanoUsd, RoutingError, Stage};
use waypost_health::PoolHealth;
use waypost_limits::{Applicable, Limits, PoolLimits};
use waypost_rules::Verdict;

use crate::constraints::{Constraints, capacity};
use crate::preferences;

/// How many candidates each stage took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped([u16; Stage::ALL.len()]);

impl Dropped {
    pub(crate) const fn at(&self, stage: Stage) -> usize {
        self.0[stage as usize] as usize
    }
}

/// What comes of the stages besides the set. Made by the caller and written in place: it is too large to be handed
/// back.
pub(crate) struct Trail<'a> {
    pub(crate) dropped: Dropped,
    /// The limits that the request is asked about, whoever serves it.
    pub(crate) of_request: Applicable<'a>,
    /// Who was in play before health and limits, where a strategy may ask.
    pub(crate) eligible: Option<CandidateMask>,
}

impl<'a> Trail<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self { dropped: Dropped::default(), of_request: limits.none(), eligible: None }
    }
}

/// Sees each stage's effect. Routing looks at nothing; an explanation keeps the sets.
pub(crate) trait Observer {
    /// Whether it looks; if not, no set is kept for it.
    const LOOKS: bool;

    fn stage(&mut self, stage: Stage, before: &CandidateSet<'_>, after: &CandidateSet<'_>);
}

/// Sees nothing, at no cost.
pub(crate) struct Nobody;

impl Observer for Nobody {
    const LOOKS: bool = false;

    fn stage(&mut self, _: Stage, _: &CandidateSet<'_>, _: &CandidateSet<'_>) {}
}

/// Everything that the stages of one decision read.
pub(crate) struct Pipeline<'a> {
    pub(crate) constraints: Constraints<'a>,
    /// What the rules say; `None` when there are none.
    pub(crate) verdict: Option<&'a Verdict<'a>>,
    pub(crate) health: &'a PoolHealth,
    pub(crate) limits: &'a PoolLimits,
    pub(crate) filters: &'a [Box<dyn CandidateFilter>],
}

impl<'a> Pipeline<'a> {
    /// Narrows `set`, which starts as everything that the pool has on offer.
    ///
    /// # Errors
    ///
    /// The error of the stage that took out the last candidate, or of the filter that rejected the request.
    pub(crate) fn run<O: Observer>(
        &self,
        set: &mut CandidateSet<'a>,
        directives: &mut Directives,
        observer: &mut O,
        trail: &mut Trail<'a>,
    ) -> Result<(), RoutingError> {
        if set.is_empty() {
            return Err(RoutingError::NoProvidersAvailable { model: set.pool().model().clone() });
        }
        if self.constraints.is_too_late() {
            return Err(RoutingError::Timeout);
        }
        trail.dropped.0[Stage::Drained as usize] = set.pool().drained() as u16;
        let mut run = Run { pipeline: self, set, directives, observer, trail, filters: self.filters };
        // One line per stage, in the order of `Stage::ALL`: a loop over stages costs a mispredicted jump for each.
        run.stage(Stage::Drained, only_filters)?;
        run.stage(Stage::Excluded, Constraints::excluded)?;
        run.stage(Stage::Tenant, Constraints::tenant)?;
        run.stage(Stage::Capability, Constraints::capability)?;
        run.stage(Stage::ContextWindow, Constraints::context_window)?;
        run.stage(Stage::Region, Constraints::region)?;
        run.stage(Stage::Tag, Constraints::tag)?;
        run.stage(Stage::Latency, Constraints::latency)?;
        run.rules()?;
        let well = run.set.pool().is_tiered().then_some(*run.set);
        run.health()?;
        run.limits()?;
        let cost_limit = run.cost()?;
        run.stage(Stage::Preference, preferences::apply)?;
        if let Some(well) = well {
            let eligible = self.narrowed_as(well, run.set, cost_limit);
            run.trail.eligible = Some(eligible);
        }
        Ok(())
    }

    /// Who would be in the set if all were well: what cost and preferences would leave of those who were in play before
    /// health and limits.
    fn narrowed_as(
        &self,
        mut well: CandidateSet<'a>,
        set: &CandidateSet<'a>,
        cost_limit: Option<NanoUsd>,
    ) -> CandidateMask {
        self.constraints.cost(&mut well, cost_limit);
        preferences::apply(&self.constraints, &mut well);
        let mut eligible = *well.mask();
        eligible.union_with(set.mask());
        eligible
    }
}

/// One run over the stages.
struct Run<'r, 'a, O> {
    pipeline: &'r Pipeline<'a>,
    set: &'r mut CandidateSet<'a>,
    directives: &'r mut Directives,
    observer: &'r mut O,
    trail: &'r mut Trail<'a>,
    /// The filters that did not run yet.
    filters: &'a [Box<dyn CandidateFilter>],
}

impl<'a, O: Observer> Run<'_, 'a, O> {
    /// Rules were asked before the pool was known; here what they said takes effect.
    #[inline]
    fn rules(&mut self) -> Result<(), RoutingError> {
        let before = O::LOOKS.then_some(*self.set);
        let lost = match self.pipeline.verdict {
            None => 0,
            Some(verdict) => {
                let candidates = self.set.len();
                verdict.apply(self.set, self.pipeline.constraints.decision, self.directives)?;
                candidates - self.set.len()
            }
        };
        self.finish_stage(Stage::Rules, lost, before.as_ref())
    }

    /// Health says who is left out and until when, which the other stages have no need to.
    #[inline]
    fn health(&mut self) -> Result<(), RoutingError> {
        let before = O::LOOKS.then_some(*self.set);
        let now = self.pipeline.constraints.decision.now;
        let lost = self.pipeline.health.filter_healthy(self.set, now, self.directives);
        self.finish_stage(Stage::Health, lost, before.as_ref())
    }

    /// Limits of the request take out everybody at once; those of candidates, one by one. They are looked for when
    /// rules and filters have said what they say of tags and priority.
    #[inline]
    fn limits(&mut self) -> Result<(), RoutingError> {
        let before = O::LOOKS.then_some(*self.set);
        let (pool, annotations) = (self.pipeline.limits, self.directives.annotations.clone());
        let added = [annotations.as_ref().map_or(&[][..], |annotations| &annotations.tags)];
        let decision = self.pipeline.constraints.decision.with_priority(self.directives.priority);
        let decision = decision.with_added_tags(&added);
        let mut lost = capacity(self.set);
        if !pool.limits().is_empty() {
            let limits = pool.limits();
            self.trail.of_request = if O::LOOKS { limits.peek(&decision) } else { limits.find(&decision) };
            self.trail.of_request.check(&decision)?;
        }
        lost += pool.filter(self.set, &decision, self.directives);
        self.finish_stage(Stage::Limits, lost, before.as_ref())
    }

    /// Who costs more than the request may, or than is left of a budget. Returns what it may cost.
    #[inline]
    fn cost(&mut self) -> Result<Option<NanoUsd>, RoutingError> {
        let before = O::LOOKS.then_some(*self.set);
        let constraints = &self.pipeline.constraints;
        let bound = constraints.cost_limit();
        let left = self.trail.of_request.money_left(constraints.decision);
        let left = left.filter(|left| bound.is_none_or(|bound| left.amount < bound));
        let limit = left.map(|left| left.amount).or(bound);
        let lost = constraints.cost(self.set, limit);
        let passed = self.finish_stage(Stage::Cost, lost, before.as_ref());
        passed.map(|()| limit).map_err(|error| match (error, left) {
            (RoutingError::BudgetExceeded { .. }, Some(left)) => RoutingError::BudgetExceeded {
                limit: Some(left.limit.clone()),
                retry_after: left.retry_after,
            },
            (error, _) => error,
        })
    }

    /// What is built in, then what is plugged in.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a line per stage only pays when each is straight-line code")]
    fn stage(
        &mut self,
        stage: Stage,
        narrow: impl FnOnce(&Constraints<'a>, &mut CandidateSet<'a>) -> usize,
    ) -> Result<(), RoutingError> {
        let before = O::LOOKS.then_some(*self.set);
        let lost = narrow(&self.pipeline.constraints, self.set);
        self.finish_stage(stage, lost, before.as_ref())
    }

    /// After what is built in, what is plugged in; then the account of both.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `stage`")]
    fn finish_stage(
        &mut self,
        stage: Stage,
        mut lost: usize,
        before: Option<&CandidateSet<'a>>,
    ) -> Result<(), RoutingError> {
        if !self.filters.is_empty() {
            lost += self.plugged(stage)?;
        }
        if let Some(before) = before {
            self.observer.stage(stage, before, self.set);
        }
        if lost > 0 {
            self.trail.dropped.0[stage as usize] += lost as u16;
            if self.set.is_empty() {
                return Err(emptied(stage, self.directives));
            }
        }
        Ok(())
    }

    /// Runs the stage's filters. A filter narrows, whatever it tries.
    fn plugged(&mut self, stage: Stage) -> Result<usize, RoutingError> {
        let mut lost = 0;
        while let Some((filter, rest)) =
            self.filters.split_first().filter(|(filter, _)| filter.stage() <= stage)
        {
            let mut narrowed = *self.set;
            let decision = self.pipeline.constraints.decision.with_priority(self.directives.priority);
            filter.filter(&mut narrowed, &decision, self.directives)?;
            lost += self.set.keep(narrowed.mask());
            self.filters = rest;
        }
        Ok(lost)
    }
}

/// A stage that takes nothing out itself: everything in it is plugged in.
const fn only_filters(_: &Constraints<'_>, _: &mut CandidateSet<'_>) -> usize {
    0
}

fn emptied(stage: Stage, directives: &Directives) -> RoutingError {
    let retry_after = directives.retry_after;
    match stage {
        Stage::Health => RoutingError::AllProvidersUnhealthy { retry_after },
        Stage::Limits => RoutingError::LimitsExceeded { limit: directives.spent.clone(), retry_after },
        Stage::Cost => RoutingError::BudgetExceeded { limit: None, retry_after: None },
        stage => RoutingError::AllProvidersFiltered { stage },
    }
}
