//! Why a request would go where it would go.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use waypost_core::{
    Annotations, CandidateId, CandidateSet, Directives, LoadBalancingStrategy, ModelName, NanoUsd, Pool,
    RoutingError, RuleId, SelectContext, Stage,
};
use waypost_health::Exclusion;
use waypost_rules::{CompiledRules, RuleOutcome, RuleTrace};

use crate::pipeline::{Observer, Trail};
use crate::router::{Inquiry, Question};

/// What a router would decide for a request, and why: the answer of [`Router::explain`](crate::Router::explain).
///
/// Displays as a table with a line per stage.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The model or alias that was asked for.
    pub requested: ModelName,
    /// The model that it leads to; `None` when it is not known.
    pub model: Option<ModelName>,
    /// How many candidates the model has.
    pub candidates: usize,
    /// The version of the configuration: routing table, strategies and rules.
    pub generation: u64,
    /// What each stage did, in order, up to the one that left nothing.
    pub stages: Vec<StageReport>,
    /// What each rule made of the request, in the order in which they are asked.
    pub rules: Vec<RuleTrace>,
    /// The rule that matched.
    pub rule_matched: Option<RuleId>,
    /// What rules add for the caller; `None` when it is nothing.
    pub annotations: Option<Arc<Annotations>>,
    /// The model or alias that a rule puts in place of the request's.
    pub rewritten_to: Option<ModelName>,
    /// Too few candidates of the pool are healthy, so what was seen of their health is ignored.
    pub panic: bool,
    /// What would be selected, or why nothing would.
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_outcome"))]
    pub outcome: Result<Choice, RoutingError>,
}

/// What one stage did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// The candidates that it took out.
    pub dropped: Vec<CandidateId>,
    /// Why health took them out, in the same order; `None` for what a filter of one's own took out. Empty for other
    /// stages.
    pub exclusions: Vec<Option<Exclusion>>,
    /// How many were left after it.
    pub left: usize,
}

/// What would be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Choice {
    /// The strategy.
    pub strategy: LoadBalancingStrategy,
    /// The candidates that it chooses from.
    pub from: Vec<CandidateId>,
    /// The one that it would choose now; `None` when the strategy cannot tell without choosing.
    pub candidate: Option<CandidateId>,
    /// What the request should cost there.
    pub estimated_cost: Option<NanoUsd>,
    /// How long the answer should take there.
    pub expected_latency: Option<Duration>,
}

/// Keeps what every stage took out.
#[derive(Default)]
struct Reports(Vec<StageReport>);

impl Observer for Reports {
    const LOOKS: bool = true;

    fn stage(&mut self, stage: Stage, before: &CandidateSet<'_>, after: &CandidateSet<'_>) {
        let lost = before.iter().filter(|&index| !after.contains(index));
        let dropped = lost.map(|index| before.pool()[index].id().clone()).collect();
        self.0.push(StageReport { stage, dropped, exclusions: Vec::new(), left: after.len() });
    }
}

pub(crate) fn explain(question: Question<'_>) -> Explanation {
    let requested = &question.request.model;
    let mut explanation = Explanation {
        requested: requested.clone(),
        model: None,
        candidates: 0,
        generation: question.state.snapshot.generation(),
        stages: Vec::new(),
        rules: question.state.rules.explain(&question.decision()),
        rule_matched: None,
        annotations: None,
        rewritten_to: None,
        panic: false,
        outcome: Err(RoutingError::ModelNotSupported { model: requested.clone() }),
    };
    explanation.foresee(&question);
    match Inquiry::new(question, CompiledRules::peek) {
        Ok(inquiry) => explanation.run(&inquiry),
        Err(error) => explanation.outcome = Err(error),
    }
    explanation
}

impl Explanation {
    fn lead_to(&mut self, pool: &Pool) {
        self.model = Some(pool.model().clone());
        self.candidates = pool.len();
    }

    /// What rules make of the request, and the pool that it leads to, also where it is refused on the way.
    fn foresee(&mut self, question: &Question<'_>) {
        let (state, verdict) = (question.state, question.state.rules.peek(&question.decision()));
        self.rule_matched = verdict.rule().map(|rule| rule.id().clone());
        self.annotations = verdict.annotations();
        self.rewritten_to = verdict.model().cloned();
        let model = self.rewritten_to.as_ref().unwrap_or(&self.requested);
        if let Some(pool) = state.snapshot.resolve(model) {
            self.lead_to(state.snapshot.pool(pool));
        }
    }

    fn run(&mut self, inquiry: &Inquiry<'_>) {
        let pool = &*inquiry.runtime().pool;
        self.lead_to(pool);
        let mut set = pool.all();
        let drained = pool.candidates().iter().filter(|candidate| !candidate.is_available());
        let drained = drained.map(|candidate| candidate.id().clone()).collect();
        self.stages.push(StageReport {
            stage: Stage::Drained,
            dropped: drained,
            exclusions: Vec::new(),
            left: set.len(),
        });

        let decision = inquiry.decision();
        let mut directives = Directives::default();
        let mut reports = Reports::default();
        let mut trail = Trail::new(&inquiry.state().limits);
        let passed = inquiry.pipeline(&decision).run(&mut set, &mut directives, &mut reports, &mut trail);
        for mut report in reports.0 {
            if report.stage == Stage::Health {
                report.explain(inquiry);
            }
            match self.stages.last_mut() {
                // Filters may take out more at the stage that the pool itself began.
                Some(first) if first.stage == report.stage => {
                    first.dropped.extend(report.dropped);
                    first.left = report.left;
                }
                _ => self.stages.push(report),
            }
        }
        self.panic = directives.panic;
        self.rule_matched.clone_from(&directives.rule_matched);
        self.annotations.clone_from(&directives.annotations);
        self.outcome = passed.and_then(|()| choose(inquiry, &set, &trail, &mut directives));
    }
}

impl StageReport {
    /// Asks health why.
    fn explain(&mut self, inquiry: &Inquiry<'_>) {
        let (runtime, now) = (inquiry.runtime(), inquiry.decision().now);
        let exclusion = |id: &CandidateId| {
            let place = runtime.pool.candidates().iter().position(|candidate| candidate.id() == id)?;
            runtime.health.exclusion(runtime.pool.index(place)?, now)
        };
        self.exclusions = self.dropped.iter().map(exclusion).collect();
    }
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exclusion = |place: usize| self.exclusions.get(place)?.as_ref();
        let why = |place| exclusion(place).map(|why| format!(" {why}")).unwrap_or_default();
        let dropped = self.dropped.iter().enumerate().map(|(place, id)| format!("{id}{}", why(place)));
        let dropped: Vec<_> = dropped.collect();
        write!(f, "{:<15} {:<30} − {}", self.stage, format!("{} left", self.left), dropped.join(", "))
    }
}

fn choose(
    inquiry: &Inquiry<'_>,
    set: &CandidateSet<'_>,
    trail: &Trail<'_>,
    directives: &mut Directives,
) -> Result<Choice, RoutingError> {
    let strategy = inquiry.strategy(directives);
    let weighted = directives.weights.as_ref().map(|weights| inquiry.runtime().peek_weighted(weights));
    let balancers = weighted.as_deref().unwrap_or_else(|| inquiry.runtime().balancers());
    let set = &if weighted.is_some() { set.in_pool(balancers.pool()) } else { *set };
    let balancer = balancers.balancer(&strategy);
    let balancer = balancer.ok_or_else(|| RoutingError::StrategyNotFound { strategy: strategy.clone() })?;
    let decision = inquiry.decision().with_priority(directives.priority);
    let rng = inquiry.shared().seeds.preview();
    let mut cx = SelectContext::new(&decision, rng);
    cx.eligible = trail.eligible.as_ref();
    cx.panic = directives.panic;
    let foreseen = balancer.peek(set, &mut cx);
    let candidate = foreseen.filter(|&index| set.contains(index)).map(|index| &set.pool()[index]);
    Ok(Choice {
        strategy,
        from: set.iter().map(|index| set.pool()[index].id().clone()).collect(),
        candidate: candidate.map(|candidate| candidate.id().clone()),
        estimated_cost: candidate.and_then(|candidate| candidate.cost(decision.usage)),
        expected_latency: candidate.and_then(|candidate| {
            candidate.live().latency().expected(decision.usage.completion, decision.now)
        }),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_ref().map_or("unknown", ModelName::as_str);
        let name =
            if self.requested == *model { model.into() } else { format!("{} → {model}", self.requested) };
        writeln!(f, "{:<15} {name:<30} {} candidates", "model", self.candidates)?;
        for report in &self.stages {
            if !report.dropped.is_empty() {
                writeln!(f, "{report}")?;
            }
        }
        if self.panic {
            writeln!(f, "{:<15} health is ignored: too few are healthy", "panic")?;
        }
        self.write_rules(f)?;
        match &self.outcome {
            Ok(choice) => write!(f, "{choice}"),
            Err(error) => write!(f, "→ nothing: {error}"),
        }
    }
}

impl Explanation {
    /// A line for each rule that matched; the others are only counted.
    fn write_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matched =
            |outcome: &RuleOutcome| matches!(outcome, RuleOutcome::Decided | RuleOutcome::Annotated);
        for trace in self.rules.iter().filter(|trace| matched(&trace.outcome)) {
            writeln!(f, "{:<15} {trace}", "rule")?;
        }
        let skipped = self.rules.iter().filter(|trace| matches!(trace.outcome, RuleOutcome::Skipped { .. }));
        let skipped = skipped.count();
        if skipped > 0 {
            writeln!(f, "{:<15} {skipped} skipped", "rules")?;
        }
        if let Some(model) = &self.rewritten_to {
            writeln!(f, "{:<15} served as {model}", "rewritten")?;
        }
        Ok(())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<15} {} among {}", "select", self.strategy, self.from.len())?;
        match &self.candidate {
            Some(candidate) => write!(f, "→ {candidate}")?,
            None => write!(f, "→ one of them: the strategy cannot tell which without choosing")?,
        }
        if let Some(cost) = self.estimated_cost {
            write!(f, "   estimated {cost}")?;
        }
        if let Some(latency) = self.expected_latency {
            write!(f, "   answer in about {:.2} s", latency.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
fn serialize_outcome<S: serde::Serializer>(
    outcome: &Result<Choice, RoutingError>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::Serialize;

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Outcome<'a> {
        Selected(&'a Choice),
        Failed { kind: &'static str, message: String, retry_after: Option<Duration> },
    }

    let outcome = match outcome {
        Ok(choice) => Outcome::Selected(choice),
        Err(error) => Outcome::Failed {
            kind: error.kind(),
            message: error.to_string(),
            retry_after: error.retry_after(),
        },
    };
    outcome.serialize(serializer)
}
