//! Tests of rules: requests, and what rules should make of them.

use std::time::SystemTime;

use waypost_core::{
    GatewayRequest, LoadBalancingStrategy, MirrorTarget, ModelName, ProviderId, RejectionReason,
    RequestPriority, RoutingContext, RuleId, Tag, Tokens,
};

/// Tests of a rule set, in order.
///
/// With the feature `serde` it reads the form that operators write.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use waypost_rules::{ExpectedRule, RuleTests};
///
/// let tests = RuleTests::from_toml(r#"
///     [[tests]]
///     name = "strangers go anywhere"
///     request = { model = "gpt-4o", tenant = "initech" }
///     expect = { rule = false }
/// "#)?;
/// assert_eq!(tests.tests[0].expect.rule, Some(ExpectedRule::Nothing));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RuleTests {
    /// The tests.
    pub tests: Vec<RuleTest>,
}

/// One request, and what the rules should make of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RuleTest {
    /// What is tested, for people.
    pub name: Option<String>,
    /// The wall time at which it is tested. Default: it is not known, and no time window holds.
    pub at: Option<SystemTime>,
    /// The request.
    pub request: GatewayRequest,
    /// What is known besides.
    pub context: RoutingContext,
    /// The estimated tokens of the prompt. Default: 0.
    pub prompt_tokens: Tokens,
    /// What should come of it.
    pub expect: Expectation,
}

/// What should come of a request. Only what is said is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// Which rule decides.
    pub rule: Option<ExpectedRule>,
    /// The rules that matched before it and let the search go on, in order.
    pub continued: Option<Vec<RuleId>>,
    /// The strategy that chooses.
    pub strategy: Option<LoadBalancingStrategy>,
    /// The providers that may serve it.
    pub providers: Option<Vec<ProviderId>>,
    /// The providers that may not.
    pub excluded: Option<Vec<ProviderId>>,
    /// The priority that it has in the end.
    pub priority: Option<RequestPriority>,
    /// The model that it is served as.
    pub model: Option<ModelName>,
    /// The tags that were added.
    pub tags: Option<Vec<Tag>>,
    /// Where copies go.
    pub mirrors: Option<Vec<MirrorTarget>>,
    /// Why it is rejected.
    pub reject: Option<RejectionReason>,
}

/// Which rule should decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedRule {
    /// This one.
    Rule(RuleId),
    /// None.
    Nothing,
}

impl RuleTest {
    /// A test of a request of which nothing else is known.
    pub fn new(request: GatewayRequest, expect: Expectation) -> Self {
        let context = RoutingContext::default();
        Self { name: None, at: None, request, context, prompt_tokens: Tokens::ZERO, expect }
    }
}
