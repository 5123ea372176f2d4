//! The stages of a decision, in order: each narrows one set.

use waypost_core::{CandidateFilter, CandidateSet, DecisionContext, Directives, RoutingError, Stage};

use crate::constraints::{self, Constraints};
use crate::preferences;

/// How many candidates each stage took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped([u16; Stage::ALL.len()]);

impl Dropped {
    pub(crate) const fn at(&self, stage: Stage) -> usize {
        self.0[stage as usize] as usize
    }
}

/// Sees each stage's effect. Routing looks at nothing; an explanation keeps the sets.
pub(crate) trait Observer {
    fn stage(&mut self, stage: Stage, before: &CandidateSet<'_>, after: &CandidateSet<'_>);
}

/// Sees nothing, at no cost.
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn stage(&mut self, _: Stage, _: &CandidateSet<'_>, _: &CandidateSet<'_>) {}
}

/// Everything that the stages of one decision read.
pub(crate) struct Pipeline<'a> {
    pub(crate) constraints: Constraints<'a>,
    pub(crate) filters: &'a [Box<dyn CandidateFilter>],
}

impl<'a> Pipeline<'a> {
    /// Narrows `set`, which starts as everything that the pool has on offer.
    ///
    /// # Errors
    ///
    /// The error of the stage that took out the last candidate, or of the filter that rejected the request.
    pub(crate) fn run(
        &self,
        set: &mut CandidateSet<'a>,
        directives: &mut Directives,
        observer: &mut impl Observer,
    ) -> Result<Dropped, RoutingError> {
        let mut dropped = Dropped::default();
        let drained = set.pool().len() - set.len();
        dropped.0[Stage::Drained as usize] = drained as u16;
        if set.is_empty() {
            return Err(RoutingError::NoProvidersAvailable { model: set.pool().model().clone() });
        }
        if constraints::is_too_late(self.constraints.decision) {
            return Err(RoutingError::Timeout);
        }
        let mut filters = self.filters;
        for stage in Stage::ALL {
            let before = *set;
            let mut lost = self.stage(stage, set);
            while let Some((filter, rest)) =
                filters.split_first().filter(|(filter, _)| filter.stage() == stage)
            {
                lost += self.plugged(&**filter, set, directives)?;
                filters = rest;
            }
            dropped.0[stage as usize] += lost as u16;
            observer.stage(stage, &before, set);
            if lost > 0 && set.is_empty() {
                return Err(emptied(stage, directives));
            }
        }
        Ok(dropped)
    }

    fn stage(&self, stage: Stage, set: &mut CandidateSet<'a>) -> usize {
        match stage {
            Stage::Preference => preferences::apply(self.decision(), set),
            constraint => self.constraints.apply(constraint, set),
        }
    }

    /// A filter narrows, whatever it tries.
    fn plugged(
        &self,
        filter: &dyn CandidateFilter,
        set: &mut CandidateSet<'a>,
        directives: &mut Directives,
    ) -> Result<usize, RoutingError> {
        let before = *set;
        let mut narrowed = *set;
        filter.filter(&mut narrowed, self.decision(), directives)?;
        set.retain(|index, _| narrowed.contains(index));
        Ok(before.len() - set.len())
    }

    const fn decision(&self) -> &'a DecisionContext<'a> {
        self.constraints.decision
    }
}

fn emptied(stage: Stage, directives: &Directives) -> RoutingError {
    let retry_after = directives.retry_after;
    match stage {
        Stage::Health => RoutingError::AllProvidersUnhealthy { retry_after },
        Stage::Limits => RoutingError::LimitsExceeded { retry_after },
        Stage::Cost => RoutingError::BudgetExceeded,
        stage => RoutingError::AllProvidersFiltered { stage },
    }
}
