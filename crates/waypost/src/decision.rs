//! How a decision came about.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use waypost_core::{
    Annotations, LeftOutList, LoadBalancingStrategy, MirrorTarget, ModelName, RequestPriority, RuleId, Stage,
    Tag,
};

use crate::pipeline::Dropped;

/// How a decision came about: what every [`SelectedProvider`](crate::SelectedProvider) carries.
///
/// Displays as one sentence, such as `round_robin chose 1 of 2 left of 7 (tenant −2, region −3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutingDecision {
    /// The strategy that chose.
    pub strategy_used: LoadBalancingStrategy,
    /// The rule that matched.
    pub rule_matched: Option<RuleId>,
    /// What rules added for the caller: tags, mirrors, and the rules that only annotated. `None` when it is nothing.
    pub annotations: Option<Arc<Annotations>>,
    /// The model or alias that a rule put in place of the request's.
    pub rewritten_to: Option<ModelName>,
    /// The priority that the request was treated with.
    pub priority: RequestPriority,
    /// Candidates in the pool.
    pub candidates_considered: usize,
    /// Candidates that the strategy could choose from.
    pub candidates_left: usize,
    /// The version of the configuration: routing table, strategies and rules.
    pub generation: u64,
    /// How long the decision took; `None` when the caller handed in the time.
    pub selection_time: Option<Duration>,
    /// Too few candidates of the pool were healthy, so what was seen of their health was ignored.
    pub panic: bool,
    /// Who was left out for now, why, and until when: the first four. Their places are those in the pool;
    /// [`SelectedProvider::left_out`](crate::SelectedProvider::left_out) knows their names.
    pub left_out: LeftOutList,
    pub(crate) dropped: Dropped,
}

impl RoutingDecision {
    /// How many candidates a stage took out.
    pub const fn dropped_by(&self, stage: Stage) -> usize {
        self.dropped.at(stage)
    }

    /// The tags that rules added.
    pub fn tags(&self) -> &[Tag] {
        self.annotations.as_ref().map_or(&[], |annotations| &annotations.tags)
    }

    /// Where rules say that the caller should send a copy of the request.
    pub fn mirrors(&self) -> &[MirrorTarget] {
        self.annotations.as_ref().map_or(&[], |annotations| &annotations.mirrors)
    }
}

impl fmt::Display for RoutingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chose 1 of {} left", self.strategy_used, self.candidates_left)?;
        if self.candidates_left < self.candidates_considered {
            let stages = Stage::ALL.into_iter().filter(|&stage| self.dropped_by(stage) > 0);
            let losses: Vec<_> = stages.map(|stage| format!("{stage} −{}", self.dropped_by(stage))).collect();
            write!(f, " of {} ({})", self.candidates_considered, losses.join(", "))?;
        }
        if self.panic {
            write!(f, ", in panic")?;
        }
        if let Some(model) = &self.rewritten_to {
            write!(f, ", served as {model}")?;
        }
        match &self.rule_matched {
            Some(rule) => write!(f, ", by rule {rule}"),
            None => Ok(()),
        }
    }
}
