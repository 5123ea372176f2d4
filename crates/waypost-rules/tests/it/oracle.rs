//! Random rule sets and requests, and an evaluator that asks the rules one by one.
//!
//! The evaluator has a model of its own: plain strings and numbers, from which the crate's types are made. It shares no
//! code with the crate but the hash of samples.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use waypost_core::{
    Capability, DecisionContext, GatewayRequest, RequestPriority, RoutingContext, RuleId, Timestamp,
    TokenUsage, Tokens,
};
use waypost_rules::{
    Bounds, Condition, Percent, Priorities, RoutingAction, Rule, RuleSet, Sample, SampleKey, TextPattern,
    TimeWindow, Validity, Weekday,
};

const MODELS: [&str; 6] = ["gpt-4o", "gpt-4o-mini", "gpt-5", "claude-opus", "claude-haiku", "gemini"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const AGENTS: [&str; 4] = ["curl/8.0", "openai-python/1.2", "claude-code/2", "Zoë's client"];
const KEYS: [&str; 2] = ["team", "env"];
const PRIORITIES: [RequestPriority; 4] = RequestPriority::ALL;
const CAPABILITIES: [Capability; 3] = [Capability::Vision, Capability::Audio, Capability::Streaming];
/// 2026-11-23, a Monday, midnight.
const MONDAY: u64 = 1_795_392_000;
const WEEK: u64 = 7 * 86_400;

/// A condition, as plain as it can be.
#[derive(Debug, Clone)]
enum Spec {
    All(Vec<Spec>),
    Any(Vec<Spec>),
    Not(Box<Spec>),
    Model(Vec<Pattern>),
    Agent(Vec<Pattern>),
    Metadata(&'static str, Vec<Pattern>),
    Tenant(Vec<&'static str>),
    User(Vec<&'static str>),
    Organization(Vec<&'static str>),
    Region(Vec<&'static str>),
    Zone(Vec<&'static str>),
    Tag(Vec<&'static str>),
    Feature(Vec<&'static str>),
    Capability(Vec<Capability>),
    Priority(Vec<RequestPriority>),
    Streaming(bool),
    Prompt(u64, u64),
    Attempt(u64, u64),
    Ip(u32, u32),
    Time { from: u64, to: u64, days: Vec<u64>, hours_east: u64 },
    Sample(Sample),
}

#[derive(Debug, Clone)]
enum Pattern {
    Exact(&'static str),
    Prefix(&'static str),
    Contains(&'static str),
    OneOf(&'static str, &'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct RuleSpec {
    id: String,
    priority: u32,
    enabled: bool,
    valid: (Option<u64>, Option<u64>),
    when: Spec,
    continues: bool,
    change: Change,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Priority(RequestPriority),
    Tag(&'static str),
    Model(&'static str),
    None,
}

/// A request, as plain as it can be.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    model: &'static str,
    tenant: Option<&'static str>,
    user: Option<&'static str>,
    organization: Option<&'static str>,
    region: Option<&'static str>,
    zone: Option<&'static str>,
    tags: Vec<&'static str>,
    features: Vec<(&'static str, bool)>,
    capabilities: Vec<Capability>,
    priority: RequestPriority,
    stream: bool,
    prompt: u64,
    attempt: u32,
    ip: Option<u32>,
    agent: Option<&'static str>,
    metadata: Vec<(&'static str, &'static str)>,
    /// Seconds of the Unix epoch.
    pub(crate) at: Option<u64>,
}

/// Which rules matched: those that went on, and the one that decided.
pub(crate) type Matched = (Vec<String>, Option<String>);

/// The rules asked one by one.
pub(crate) fn evaluate(rules: &[RuleSpec], ask: &Ask) -> Matched {
    let mut order: Vec<_> = rules.iter().filter(|rule| rule.enabled).collect();
    order.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let mut seen = ask.clone();
    let mut annotating = Vec::new();
    for rule in order {
        let valid = match (rule.valid, ask.at) {
            ((None, None), _) => true,
            (_, None) => false,
            ((from, until), Some(at)) => {
                from.is_none_or(|from| from <= at) && until.is_none_or(|until| at < until)
            }
        };
        if !valid || !holds(&rule.when, &seen, &rule.id) {
            continue;
        }
        if !rule.continues {
            return (annotating, Some(rule.id.clone()));
        }
        annotating.push(rule.id.clone());
        match rule.change {
            Change::Priority(priority) => seen.priority = priority,
            Change::Tag(tag) => seen.tags.push(tag),
            Change::Model(model) => seen.model = model,
            Change::None => {}
        }
    }
    (annotating, None)
}

fn holds(spec: &Spec, ask: &Ask, id: &str) -> bool {
    let one = |names: &[&str], value: Option<&str>| value.is_some_and(|value| names.contains(&value));
    let text = |patterns: &[Pattern], value: Option<&str>| {
        value.is_some_and(|v| patterns.iter().any(|p| p.holds(v)))
    };
    match spec {
        Spec::All(parts) => parts.iter().all(|part| holds(part, ask, id)),
        Spec::Any(parts) => parts.iter().any(|part| holds(part, ask, id)),
        Spec::Not(part) => !holds(part, ask, id),
        Spec::Model(patterns) => text(patterns, Some(ask.model)),
        Spec::Agent(patterns) => text(patterns, ask.agent),
        Spec::Metadata(key, patterns) => {
            text(patterns, ask.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| *value))
        }
        Spec::Tenant(names) => one(names, ask.tenant),
        Spec::User(names) => one(names, ask.user),
        Spec::Organization(names) => one(names, ask.organization),
        Spec::Region(names) => one(names, ask.region),
        Spec::Zone(names) => one(names, ask.zone),
        Spec::Tag(names) => names.iter().any(|name| ask.tags.contains(name)),
        Spec::Feature(names) => names.iter().any(|name| ask.features.contains(&(name, true))),
        Spec::Capability(names) => names.iter().any(|capability| {
            ask.capabilities.contains(capability) || *capability == Capability::Streaming && ask.stream
        }),
        Spec::Priority(priorities) => priorities.contains(&ask.priority),
        Spec::Streaming(stream) => ask.stream == *stream,
        Spec::Prompt(min, max) => *min <= ask.prompt && ask.prompt <= *max,
        Spec::Attempt(min, max) => *min <= u64::from(ask.attempt) && u64::from(ask.attempt) <= *max,
        Spec::Ip(network, bits) => {
            ask.ip.is_some_and(|ip| *bits == 0 || ip >> (32 - bits) == network >> (32 - bits))
        }
        Spec::Time { from, to, days, hours_east } => ask.at.is_some_and(|at| {
            let local = at + hours_east * 3_600;
            let minute = local % 86_400 / 60;
            // The Unix epoch began on a Thursday.
            let day = (local / 86_400 + 3) % 7;
            let (today, yesterday) = (days.contains(&day), days.contains(&((day + 6) % 7)));
            if from < to {
                today && *from <= minute && minute < *to
            } else {
                today && *from <= minute || yesterday && minute < *to
            }
        }),
        Spec::Sample(sample) => {
            let salted = Sample { salt: sample.salt.clone().or(Some(id.into())), ..sample.clone() };
            let (request, context) = ask.request();
            salted.contains(&DecisionContext::new(
                &request,
                &context,
                None,
                Timestamp::ORIGIN,
                TokenUsage::default(),
            ))
        }
    }
}

impl Pattern {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == *exact,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Contains(part) => text.contains(part),
            Self::OneOf(a, b) => text == *a || text == *b,
        }
    }

    fn pattern(&self) -> TextPattern {
        match self {
            Self::Exact(exact) => TextPattern::exact(exact),
            Self::Prefix(prefix) => TextPattern::glob(format!("{prefix}*")),
            Self::Contains(part) => TextPattern::glob(format!("*{part}*")),
            Self::OneOf(a, b) => TextPattern::regex(format!("^({a}|{b})$")),
        }
        .unwrap()
    }
}

fn condition(spec: &Spec) -> Condition {
    macro_rules! names {
        ($kind:ident, $names:expr) => {
            Condition::$kind($names.iter().map(|name| name.parse().unwrap()).collect())
        };
    }
    let patterns = |patterns: &[Pattern]| patterns.iter().map(Pattern::pattern).collect();
    match spec {
        Spec::All(parts) => Condition::all(parts.iter().map(condition)),
        Spec::Any(parts) => Condition::any(parts.iter().map(condition)),
        Spec::Not(part) => Condition::Not(Box::new(condition(part))),
        Spec::Model(list) => Condition::Model(patterns(list)),
        Spec::Agent(list) => Condition::UserAgent(patterns(list)),
        Spec::Metadata(key, list) => Condition::Metadata(key.parse().unwrap(), patterns(list)),
        Spec::Tenant(names) => names!(Tenant, names),
        Spec::User(names) => names!(User, names),
        Spec::Organization(names) => names!(Organization, names),
        Spec::Region(names) => names!(Region, names),
        Spec::Zone(names) => names!(Zone, names),
        Spec::Tag(names) => names!(Tag, names),
        Spec::Feature(names) => names!(Feature, names),
        Spec::Capability(names) => Condition::Capability(names.iter().copied().collect()),
        Spec::Priority(priorities) => Condition::Priority(priorities.iter().copied().collect::<Priorities>()),
        Spec::Streaming(stream) => Condition::Streaming(*stream),
        Spec::Prompt(min, max) => Condition::PromptTokens(Bounds::between(*min, *max)),
        Spec::Attempt(min, max) => Condition::Attempt(Bounds::between(*min, *max)),
        Spec::Ip(network, bits) => {
            Condition::SourceIp(vec![format!("{}/{bits}", Ipv4Addr::from(*network)).parse().unwrap()])
        }
        Spec::Time { from, to, days, hours_east } => {
            let time = |minute: &u64| format!("{:02}:{:02}", minute / 60, minute % 60).parse().unwrap();
            // POSIX signs: this zone is east of Greenwich.
            let zone = format!("Etc/GMT-{hours_east}");
            let days = days.iter().map(|&day| Weekday::ALL[day as usize]);
            Condition::Time(vec![TimeWindow::new(time(from), time(to), &zone).unwrap().on(days)])
        }
        Spec::Sample(sample) => Condition::Sample(sample.clone()),
    }
}

impl RuleSpec {
    pub(crate) fn rule(&self) -> Rule {
        let action = match self.change {
            Change::Priority(priority) => RoutingAction::SetPriority(priority),
            Change::Tag(tag) => RoutingAction::AddTag(tag.parse().unwrap()),
            Change::Model(model) => RoutingAction::RewriteModel(model.parse().unwrap()),
            Change::None => RoutingAction::Chain(Vec::new()),
        };
        let wall = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut validity = Validity::ALWAYS;
        if let Some(from) = self.valid.0 {
            validity = validity.from(wall(from));
        }
        if let Some(until) = self.valid.1 {
            validity = validity.until(wall(until));
        }
        let mut rule = Rule::new(RuleId::new(&self.id).unwrap(), action)
            .when(condition(&self.when))
            .priority(self.priority)
            .valid(validity)
            .enabled(self.enabled);
        rule.continues = self.continues;
        rule
    }

    pub(crate) fn toggle(&mut self) {
        self.enabled = !self.enabled;
    }

    pub(crate) fn id(&self) -> RuleId {
        RuleId::new(&self.id).unwrap()
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        self.enabled
    }
}

pub(crate) fn rule_set(rules: &[RuleSpec]) -> RuleSet {
    RuleSet::new(rules.iter().map(RuleSpec::rule))
}

impl Ask {
    pub(crate) fn request(&self) -> (GatewayRequest, RoutingContext) {
        let mut request =
            GatewayRequest::new(self.model).unwrap().streaming(self.stream).priority(self.priority);
        request = request.require(self.capabilities.iter().copied().collect::<waypost_core::CapabilitySet>());
        let mut context = RoutingContext::default().with_attempt_number(self.attempt);
        context.tenant_id = self.tenant.map(|name| name.parse().unwrap());
        context.user_id = self.user.map(|name| name.parse().unwrap());
        context.organization_id = self.organization.map(|name| name.parse().unwrap());
        context.region = self.region.map(|name| name.parse().unwrap());
        context.zone = self.zone.map(|name| name.parse().unwrap());
        context.required_tags = self.tags.iter().map(|name| name.parse().unwrap()).collect();
        context.features = self.features.iter().map(|(name, on)| (name.parse().unwrap(), *on)).collect();
        context.source_ip = self.ip.map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
        context.user_agent = self.agent.map(Into::into);
        for (key, value) in &self.metadata {
            context = context.with_metadata(key.parse().unwrap(), *value);
        }
        (request, context)
    }

    /// Runs `f` with the request as a decision sees it.
    pub(crate) fn decide<R>(&self, f: impl FnOnce(&DecisionContext<'_>) -> R) -> R {
        let (request, context) = self.request();
        let usage = TokenUsage::new(Tokens(self.prompt), Tokens(100));
        let mut decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, usage);
        if let Some(at) = self.at {
            decision = decision.at_wall_time(SystemTime::UNIX_EPOCH + Duration::from_secs(at));
        }
        f(&decision)
    }
}

/// Makes rules and requests at random.
pub(crate) struct Dice {
    random: SmallRng,
    /// Whether all samples have one salt, so that they are one attribute.
    salted: bool,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), salted: false }
    }

    /// Gives all samples one salt.
    pub(crate) const fn salted(mut self) -> Self {
        self.salted = true;
        self
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    fn often(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).unwrap()
    }

    fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let count = 1 + self.below(2);
        (0..count).map(|_| self.one(of)).collect()
    }

    fn maybe<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        self.often(0.7).then(|| self.one(of))
    }

    pub(crate) fn rules(&mut self, most: usize) -> Vec<RuleSpec> {
        let count = self.below(most + 1);
        (0..count).map(|n| self.rule(n)).collect()
    }

    pub(crate) fn rule(&mut self, n: usize) -> RuleSpec {
        let bound = |dice: &mut Self| dice.often(0.1).then(|| MONDAY + dice.random.random_range(0..WEEK));
        let change = match self.below(4) {
            0 => Change::Priority(self.one(&PRIORITIES)),
            1 => Change::Tag(self.one(&NAMES)),
            2 => Change::Model(self.one(&MODELS)),
            _ => Change::None,
        };
        RuleSpec {
            id: format!("rule-{n}"),
            priority: self.below(4) as u32,
            enabled: self.often(0.9),
            valid: (bound(self), bound(self)),
            when: self.spec(3),
            continues: self.often(0.3),
            change,
        }
    }

    /// A rule that asks for so much that few requests match, so that all parts of a large set are reached.
    pub(crate) fn rare_rule(&mut self, n: usize) -> RuleSpec {
        let mut parts: Vec<_> = (0..4).map(|_| self.simple()).collect();
        parts.push(self.spec(2));
        RuleSpec { when: Spec::All(parts), continues: self.often(0.05), ..self.rule(n) }
    }

    fn spec(&mut self, depth: usize) -> Spec {
        let parts = |dice: &mut Self| {
            let count = dice.below(4);
            (0..count).map(|_| dice.spec(depth - 1)).collect()
        };
        match self.below(if depth == 0 { 7 } else { 10 }) {
            0..7 => self.simple(),
            7 => Spec::All(parts(self)),
            8 => Spec::Any(parts(self)),
            _ => Spec::Not(Box::new(self.spec(depth - 1))),
        }
    }

    fn simple(&mut self) -> Spec {
        match self.below(18) {
            0 => Spec::Model(self.patterns(&MODELS, &["gpt-", "gpt-4o", "cl"])),
            1 => Spec::Agent(self.patterns(&AGENTS, &["c", "curl/", "open"])),
            2 => Spec::Metadata(self.one(&KEYS), self.patterns(&NAMES, &["a", "b"])),
            3 => Spec::Tenant(self.some(&NAMES)),
            4 => Spec::User(self.some(&NAMES)),
            5 => Spec::Organization(self.some(&NAMES)),
            6 => Spec::Region(self.some(&NAMES)),
            7 => Spec::Zone(self.some(&NAMES)),
            8 => Spec::Tag(self.some(&NAMES)),
            9 => Spec::Feature(self.some(&NAMES)),
            10 => Spec::Capability(self.some(&CAPABILITIES)),
            11 => Spec::Priority(self.some(&PRIORITIES)),
            12 => Spec::Streaming(self.often(0.5)),
            13 => Spec::Prompt(self.random.random_range(0..100), self.random.random_range(0..100)),
            14 => Spec::Attempt(self.random.random_range(0..3), self.random.random_range(0..3)),
            15 => Spec::Ip(self.ip(), self.random.random_range(0..=32)),
            16 => Spec::Time {
                from: self.random.random_range(0..1_440),
                to: self.random.random_range(0..1_440),
                days: (0..7).filter(|_| self.often(0.7)).collect(),
                hours_east: self.random.random_range(0..13),
            },
            _ => Spec::Sample(Sample {
                by: if self.often(0.5) { SampleKey::User } else { SampleKey::Tenant },
                percent: Percent::new(self.one(&[0.0, 5.0, 50.0, 99.9, 100.0])).unwrap(),
                salt: (self.salted || self.often(0.5)).then(|| "salt".into()),
            }),
        }
    }

    fn patterns(&mut self, texts: &'static [&'static str], parts: &[&'static str]) -> Vec<Pattern> {
        let count = 1 + self.below(2);
        let mut pattern = || match self.below(4) {
            0 => Pattern::Prefix(self.one(parts)),
            1 => Pattern::Contains(self.one(parts)),
            2 => Pattern::OneOf(self.one(texts), self.one(texts)),
            _ => Pattern::Exact(self.one(texts)),
        };
        (0..count).map(|_| pattern()).collect()
    }

    /// Addresses that share many leading bits.
    fn ip(&mut self) -> u32 {
        u32::from(Ipv4Addr::new(10, 0, 0, 0))
            | self.random.random_range(0..4) << self.random.random_range(0..20)
    }

    pub(crate) fn ask(&mut self) -> Ask {
        Ask {
            model: self.one(&MODELS),
            tenant: self.maybe(&NAMES),
            user: self.maybe(&NAMES),
            organization: self.maybe(&NAMES),
            region: self.maybe(&NAMES),
            zone: self.maybe(&NAMES),
            tags: if self.often(0.5) { self.some(&NAMES) } else { Vec::new() },
            features: NAMES.iter().filter(|_| self.often(0.3)).map(|&name| (name, name != "a")).collect(),
            capabilities: if self.often(0.5) { self.some(&CAPABILITIES) } else { Vec::new() },
            priority: self.one(&PRIORITIES),
            stream: self.often(0.5),
            prompt: self.random.random_range(0..100),
            attempt: self.random.random_range(0..3),
            ip: self.often(0.7).then(|| self.ip()),
            agent: self.maybe(&AGENTS),
            metadata: KEYS.iter().filter_map(|&key| Some((key, self.maybe(&NAMES)?))).collect(),
            at: self.often(0.95).then(|| MONDAY + self.random.random_range(0..WEEK)),
        }
    }
}
