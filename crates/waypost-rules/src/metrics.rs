//! What rules count about themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use waypost_core::{RuleId, ThreadLocalCounter};

/// What was counted since the first version of the rules.
///
/// ```
/// use waypost_core::{DecisionContext, GatewayRequest, RoutingContext, Timestamp, TokenUsage};
/// use waypost_rules::{Rule, RoutingAction, RoutingRulesEngine};
///
/// let engine = RoutingRulesEngine::default();
/// engine.add_rule(Rule::new("all".parse()?, RoutingAction::AddTag("seen".parse()?)))?;
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// engine.rules().evaluate(&decision);
/// assert_eq!(engine.metrics().rule_evaluations, 1);
/// assert_eq!(engine.metrics().rule_matches[0].1, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RulesMetrics {
    /// Requests evaluated.
    pub rule_evaluations: u64,
    /// Verdicts that were kept and found.
    pub cache_hits: u64,
    /// Verdicts that were looked for and not found.
    pub cache_misses: u64,
    /// Requests that no rule decided.
    pub unmatched: u64,
    /// How often each rule of the current version matched, in order of definition. A rule that was removed is no longer
    /// counted.
    pub rule_matches: Vec<(RuleId, u64)>,
}

/// The counters behind [`RulesMetrics`] that all versions share.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    evaluations: ThreadLocalCounter,
    hits: ThreadLocalCounter,
    misses: ThreadLocalCounter,
    unmatched: ThreadLocalCounter,
}

impl Counters {
    pub(crate) fn evaluated(&self) {
        self.evaluations.add(1);
    }

    pub(crate) fn cached(&self, hit: bool) {
        if hit { self.hits.add(1) } else { self.misses.add(1) }
    }

    pub(crate) fn unmatched(&self) {
        self.unmatched.add(1);
    }

    pub(crate) fn snapshot<'a>(
        &self,
        rules: impl Iterator<Item = (&'a RuleId, &'a Matches)>,
    ) -> RulesMetrics {
        RulesMetrics {
            rule_evaluations: self.evaluations.sum(),
            cache_hits: self.hits.sum(),
            cache_misses: self.misses.sum(),
            unmatched: self.unmatched.sum(),
            rule_matches: rules.map(|(id, matches)| (id.clone(), matches.get())).collect(),
        }
    }
}

/// How often one rule matched; versions of the rule share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matches(Arc<AtomicU64>);

impl Matches {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
