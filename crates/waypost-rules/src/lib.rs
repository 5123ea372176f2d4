//! Routing rules for LLM requests: conditions, actions, and an index that finds the first match.
//!
//! For authors of gateways who choose a provider themselves and want operators to say what goes where. To have the
//! whole decision, depend on the facade `waypost`, which has this crate as its third stage.
//!
//! ```
//! use waypost_core::{
//!     DecisionContext, Directives, GatewayRequest, LoadBalancingStrategy, Pool, ProviderId, RejectionReason,
//!     RoutingContext, RuleId, TenantId, Timestamp, TokenUsage,
//! };
//! use waypost_rules::{
//!     CompiledRules, Condition, RouteConfig, Rule, RuleOutcome, RuleSet, RoutingAction, RulesConfig, Surroundings,
//! };
//!
//! let retired = RoutingAction::Reject { reason: RejectionReason::Custom("gpt-3 is gone".to_owned()) };
//! let eu = RouteConfig::providers([ProviderId::new("azure-eu")?, ProviderId::new("vertex-eu")?]);
//! let rules = RuleSet::new([
//!     Rule::new(RuleId::new("retired")?, retired).when(Condition::Model(vec!["gpt-3*".parse()?])).priority(100),
//!     Rule::new(RuleId::new("eu")?, RoutingAction::RouteToPool(eu))
//!         .when(Condition::Tenant(TenantId::new("acme")?.into())),
//! ]);
//! let rules = rules.default_route(RouteConfig::default().by(LoadBalancingStrategy::LeastLatency));
//! let rules = CompiledRules::compile(rules, RulesConfig::default(), Surroundings::UNKNOWN)?;
//! assert!(rules.warnings().is_empty());
//!
//! // A request of acme's: two of three candidates are left.
//! let pool = Pool::from_weights([("openai", 1), ("azure-eu", 1), ("vertex-eu", 1)])?;
//! let request = GatewayRequest::new("gpt-4o")?;
//! let context = RoutingContext::default().with_tenant(TenantId::new("acme")?);
//! let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
//! let (mut set, mut directives) = (pool.all(), Directives::default());
//! let verdict = rules.evaluate(&decision);
//! verdict.apply(&mut set, &decision, &mut directives)?;
//! assert_eq!((set.len(), *verdict.rule().unwrap().id() == "eu"), (2, true));
//!
//! // Why not another rule? It was asked first, and skipped.
//! let traces = rules.explain(&decision);
//! assert_eq!(traces[0].to_string(), "retired skipped: it is not so that the model is gpt-3*");
//! assert_eq!(traces[1].outcome, RuleOutcome::Decided);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which rule decides
//!
//! Enabled rules are asked from the highest priority to the lowest, those of equal priority in order of definition. The
//! first whose time it is and whose condition the request meets decides. A rule that continues annotates: what it does
//! takes effect, what it changes about the request (model, priority, tags) is what later rules see, and the search goes
//! on. Where no rule decides, the default route does; its strategy stands back behind the tenant's, and behind that of
//! a rule that annotates. Where several rules say the same thing differently the last counts; who may serve is narrowed
//! by all of them.
//!
//! # The types to know
//!
//! - [`Rule`]: a [`Condition`] and a [`RoutingAction`]; [`RuleSet`]: rules in order, a default route, limits. Plain
//!   data, which the features read and print as files.
//! - [`CompiledRules`]: one version, checked ([`Finding`]), indexed and immutable.
//!   [`evaluate`](CompiledRules::evaluate) gives a [`Verdict`], [`peek`](CompiledRules::peek) the same without counting
//!   or keeping anything, [`explain`](CompiledRules::explain) what each rule made of a request.
//! - [`RoutingRulesEngine`]: rules that change while they are asked, by [`RuleUpdate`]s. It is a
//!   [`CandidateFilter`](waypost_core::CandidateFilter) too.
//! - [`RuleTests`]: requests and what should come of them; [`CompiledRules::test`] runs them.
//! - [`RequestMatcher`](waypost_core::RequestMatcher) of `waypost-core`: a condition of your own
//!   ([`Condition::Custom`]).
//!
//! # Guarantees
//!
//! - **The index is no guess.** Verdicts by index, by index and kept verdicts, and by asking the rules one by one are
//!   the same, for every request. A kept verdict is found by all that the rule set reads, and goes with its version.
//! - **Nothing is an error at run time.** What a request does not have equals nothing: a condition on it does not hold,
//!   its negation does. Only [`Verdict::apply`] fails, when a rule rejects.
//! - **Determinism.** The same rules, request and wall time give the same verdict, on every machine: stable shares are
//!   hashed alike everywhere, time zones are compiled in, and nobody reads a clock. A condition of your own must keep
//!   to that.
//! - **Consistency.** A request is evaluated by one version. An update is whole or nothing, and keeps the counts of the
//!   rules that stay.
//! - **Allocation, locks.** Evaluating takes no lock. It allocates when more than four annotating rules match, when a
//!   verdict is kept, and when a window of time opened or closed since the last request. Applying a verdict allocates
//!   when several rules annotate, to put together what they say.
//! - **Panics.** No rule set, document or request panics.
//! - **Complexity.** One look-up for each attribute that rules look at, then 64 rules at a time where one of them may
//!   match, up to the first match. Regular expressions run in time linear in the text, and only for rules that the
//!   index leaves possible. See [`CompiledRules::evaluate`] and [`CompiledRules::compile`].
//! - **Bounds.** Rules, conditions, nesting, lists, regular expressions, kept verdicts: [`RuleLimits`],
//!   [`RulesConfig`].
//!
//! # What it does not do
//!
//! It chooses nobody: it narrows a set and names a strategy. It sends nothing: a mirror is a request to the caller. It
//! has no language: conditions are data, without calls, loops, variables or templates. It looks at no prompt, only at
//! its estimated length. It rewrites nothing by itself: whoever asks serves the request as the model that
//! [`Verdict::model`] names, and checks whether the tenant may use it.
//!
//! # Crate features
//!
//! - `serde`: `Deserialize` and `Serialize` on rule sets in the form that operators write, `Deserialize` on tests,
//!   `Serialize` on what is told about rules. Costs serde.
//! - `toml`: `from_toml` and `to_toml`. Costs toml, and `serde`.
//! - `yaml`: `from_yaml` and `to_yaml`. Costs serde-saphyr, which needs Rust 1.89, and `serde`.
//! - `schemars`: the JSON Schema of rule files and test files, for editors. Costs schemars, `serde_json`, and `serde`.
//!
//! All are off by default.
//!
//! # MSRV
//!
//! Rust 1.88; with the feature `yaml` 1.89.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod action;
#[cfg(test)]
#[cfg(feature = "serde")]
mod arbitrary;
mod asked;
mod attribute;
mod bit_vectors;
mod bounds;
mod cache;
mod calendar;
mod changes;
mod check;
mod class_set;
mod compiled;
mod condition;
mod effects;
mod engine;
mod finding;
#[cfg(feature = "serde")]
mod form;
mod index;
mod metrics;
mod names;
mod nearest;
mod network;
mod pattern;
mod presence;
mod priorities;
mod product;
mod rule;
mod rule_test;
mod sample;
mod test_run;
mod time_window;
mod trace;
mod universe;
mod verdict;

pub use action::{PoolMember, RouteConfig, RoutingAction};
pub use bounds::Bounds;
pub use compiled::{CacheMode, CompiledRule, CompiledRules, RulesConfig, Surroundings};
pub use condition::Condition;
pub use engine::{RoutingRulesEngine, RuleUpdate};
pub use finding::{Finding, RuleErrors, RuleProblem, Severity};
#[cfg(feature = "serde")]
pub use form::{FormErrors, FormProblem, PrintError};
pub use metrics::RulesMetrics;
pub use names::Names;
pub use network::{Network, NetworkError};
pub use pattern::{MAX_PATTERN_BYTES, PatternError, TextPattern};
pub use priorities::Priorities;
pub use rule::{Rule, RuleLimits, RuleSet};
pub use rule_test::{Expectation, ExpectedRule, RuleTest, RuleTests};
pub use sample::{Percent, PercentError, Sample, SampleKey};
pub use test_run::{Mismatch, TestReport, TestRow};
pub use time_window::{TimeOfDay, TimeWindow, TimeWindowError, Validity, Weekday};
pub use trace::{RuleOutcome, RuleTrace};
pub use verdict::Verdict;

/// The most different weights that the pools of one rule set may have: a router keeps balancers for each.
pub const MAX_WEIGHTINGS: usize = 64;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
