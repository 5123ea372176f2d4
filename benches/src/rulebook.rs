//! Rules and requests as an operator of many tenants has them.

use waypost_core::{
    DecisionContext, GatewayRequest, ModelName, OrganizationId, Region, RequestPriority, RoutingContext,
    RuleId, TenantId, Timestamp, TokenUsage, Tokens, UserId, Zone,
};
use waypost_rules::{
    Bounds, CacheMode, CompiledRules, Condition, Priorities, RoutingAction, Rule, RuleLimits, RuleSet,
    RulesConfig, Surroundings, TextPattern,
};

/// The models that requests ask for.
pub(crate) const MODELS: [&str; 6] =
    ["gpt-4o", "gpt-4o-mini", "gpt-5", "claude-opus", "claude-haiku", "gemini-flash"];

/// Requests that are asked in turn.
const REQUESTS: usize = 64;

/// What one rule asks: of its tenant, of models, and of every second a little more.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) tenant: String,
    pub(crate) models: Models,
    pub(crate) region: Option<String>,
    pub(crate) high_priority: bool,
    pub(crate) min_tokens: Option<u64>,
}

/// Which models a rule is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Models {
    Any,
    Either(&'static str, &'static str),
    Beginning(&'static str),
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) tenant: String,
    pub(crate) model: &'static str,
    pub(crate) region: String,
    pub(crate) priority: RequestPriority,
    pub(crate) tokens: u64,
}

/// The lines of a rulebook: four rules a tenant, from special to general.
pub(crate) fn lines(rules: usize) -> Vec<Line> {
    let line = |i: usize| Line {
        tenant: format!("tenant-{}", i / 4),
        models: match i % 4 {
            0 => Models::Either(MODELS[i % 6], MODELS[(i + 1) % 6]),
            1 => Models::Beginning(["gpt-", "claude-"][i / 4 % 2]),
            2 => Models::Beginning("gpt-4o"),
            _ => Models::Any,
        },
        region: (i.is_multiple_of(2)).then(|| format!("region-{}", i % 4)),
        high_priority: i % 4 == 1,
        min_tokens: (i % 4 == 2).then_some(1_000 + (i as u64 % 50) * 100),
    };
    (0..rules).map(line).collect()
}

/// Requests of tenants spread over the rulebook; every eighth is of a tenant that no rule names.
pub(crate) fn asks(rules: usize) -> Vec<Ask> {
    let ask = |i: usize| Ask {
        tenant: if i % 8 == 7 {
            "stranger".into()
        } else {
            format!("tenant-{}", i * 7_919 % rules.div_ceil(4))
        },
        model: MODELS[i % 6],
        region: format!("region-{}", i % 3),
        priority: if i.is_multiple_of(3) { RequestPriority::High } else { RequestPriority::Normal },
        tokens: (i as u64 % 10) * 700,
    };
    (0..REQUESTS).map(ask).collect()
}

/// Our rules with requests, asked in turn.
#[derive(Debug)]
pub struct Rulebook {
    rules: CompiledRules,
    asks: Vec<(GatewayRequest, RoutingContext, TokenUsage)>,
    next: usize,
}

impl Rulebook {
    /// So many rules over what an index knows.
    pub fn new(rules: usize) -> Self {
        Self::of(
            lines(rules).iter().enumerate().map(|(i, line)| rule(i, condition(line))),
            rules,
            CacheMode::Never,
        )
    }

    /// So many rules of which each asks for one of ten users, regions, zones and organizations, drawn at random: no
    /// attribute tells much by itself. Of ten thousand rules each decides a request somewhere, and every third request none
    /// at all. The hardest case for an index over single attributes.
    pub fn crossed(rules: usize) -> Self {
        let digit = |i: usize, place: usize| format!("n{}", scattered(i * 4 + place) % 10);
        let condition = |i: usize| {
            Condition::all([
                Condition::User(id::<UserId>(&digit(i, 0)).into()),
                Condition::Region(id::<Region>(&digit(i, 1)).into()),
                Condition::Zone(id::<Zone>(&digit(i, 2)).into()),
                Condition::Organization(id::<OrganizationId>(&digit(i, 3)).into()),
            ])
        };
        let mut book = Self::of((0..rules).map(|i| rule(i, condition(i))), rules, CacheMode::Never);
        for (number, (_, context, _)) in book.asks.iter_mut().enumerate() {
            let i = rules + number;
            context.user_id = Some(id(&digit(i, 0)));
            context.region = Some(id(&digit(i, 1)));
            context.zone = Some(id(&digit(i, 2)));
            context.organization_id = Some(id(&digit(i, 3)));
        }
        book
    }

    /// So many rules that all run a regular expression over the model.
    ///
    /// # Panics
    ///
    /// Never: the expressions are short and parse.
    pub fn of_regexes(rules: usize, cache: CacheMode) -> Self {
        let pattern =
            |i: usize| TextPattern::regex(format!("(mini|turbo)-{i}$")).expect("it is short and parses");
        Self::of((0..rules).map(|i| rule(i, Condition::Model(vec![pattern(i)]))), rules, cache)
    }

    fn of(rules: impl Iterator<Item = Rule>, count: usize, cache: CacheMode) -> Self {
        let set = RuleSet::new(rules).limits(RuleLimits::default().rules(count));
        let config = RulesConfig::default().cache(cache);
        let rules = CompiledRules::compile(set, config, Surroundings::UNKNOWN).expect("the rules make sense");
        Self { rules, asks: asks(count).iter().map(request).collect(), next: 0 }
    }

    /// Evaluates the next request; the place of the rule that decides.
    pub fn evaluate(&mut self) -> Option<usize> {
        self.next = (self.next + 1) % self.asks.len();
        let (request, context, usage) = &self.asks[self.next];
        let decision = DecisionContext::new(request, context, None, Timestamp::ORIGIN, *usage);
        let verdict = self.rules.evaluate(&decision);
        verdict.rule().map(|rule| rule.priority() as usize)
    }

    /// What all requests in turn come to, to compare with other evaluators.
    pub fn decisions(&mut self) -> Vec<Option<usize>> {
        (0..REQUESTS).map(|_| self.evaluate()).collect()
    }

    /// The rules, to be compiled again.
    pub fn set(&self) -> &RuleSet {
        self.rules.set()
    }
}

/// A number that tells nothing of the next (`SplitMix64`, Steele, Lea and Flood 2014).
const fn scattered(number: usize) -> u64 {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Rule `i` of a rulebook. Its priority tells its place: the first has the highest.
fn rule(i: usize, condition: Condition) -> Rule {
    let id = RuleId::new(format!("rule-{i}")).expect("it is an id");
    Rule::new(id, RoutingAction::SetPriority(RequestPriority::High))
        .when(condition)
        .priority(u32::MAX - i as u32)
}

fn condition(line: &Line) -> Condition {
    let mut parts = vec![Condition::Tenant(id::<TenantId>(&line.tenant).into())];
    let pattern = |text: &str| text.parse::<TextPattern>().expect("it is a pattern");
    match line.models {
        Models::Any => {}
        Models::Either(a, b) => parts.push(Condition::Model(vec![pattern(a), pattern(b)])),
        Models::Beginning(prefix) => parts.push(Condition::Model(vec![pattern(&format!("{prefix}*"))])),
    }
    parts.extend(line.region.as_ref().map(|region| Condition::Region(id::<Region>(region).into())));
    if line.high_priority {
        parts.push(Condition::Priority(Priorities::at_least(RequestPriority::High)));
    }
    parts.extend(line.min_tokens.map(|min| Condition::PromptTokens(Bounds::at_least(min))));
    Condition::All(parts)
}

fn request(ask: &Ask) -> (GatewayRequest, RoutingContext, TokenUsage) {
    let request = GatewayRequest::for_model(id::<ModelName>(ask.model)).priority(ask.priority);
    let context = RoutingContext::default().with_tenant(id(&ask.tenant)).with_region(id(&ask.region));
    (request, context, TokenUsage::new(Tokens(ask.tokens), Tokens(100)))
}

fn id<T: for<'a> TryFrom<&'a str, Error = waypost_core::IdError>>(text: &str) -> T {
    T::try_from(text).expect("it is an id")
}
