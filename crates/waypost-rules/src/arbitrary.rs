//! Random rules over few names, so that random requests often meet them.

use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use waypost_core::{
    Capability, LoadBalancingStrategy, MetadataKey, MirrorTarget, RejectionReason, RequestPriority, RuleId,
    Weight,
};

use crate::{
    Bounds, Condition, Names, Network, Percent, PoolMember, Priorities, RouteConfig, RoutingAction, Rule,
    RuleLimits, RuleSet, Sample, SampleKey, TextPattern, TimeOfDay, TimeWindow, Validity, Weekday,
};

/// A small rule set; its rules are named `r0`, `r1` and so on.
pub(crate) fn rule_set() -> impl Strategy<Value = RuleSet> {
    (vec(rule(), 0..6), of(route()), limits()).prop_map(|(rules, default_route, limits)| {
        let named = rules.into_iter().enumerate();
        let rules = named.map(|(place, rule)| Rule { id: id(&format!("r{place}")), ..rule });
        RuleSet { default_route, limits, ..RuleSet::new(rules) }
    })
}

/// A rule, named `r`.
pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let head = (of("[ -~äß→\n\t]{0,12}"), 0_u32..4, any::<bool>(), any::<bool>());
    (head, validity(), condition(), action()).prop_map(|(head, validity, condition, action)| {
        let (description, priority, enabled, continues) = head;
        Rule { description, priority, enabled, validity, condition, continues, ..Rule::new(id("r"), action) }
    })
}

/// A condition of any shape, but none of one's own.
pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    simple_condition().prop_recursive(4, 16, 4, |part| {
        prop_oneof![
            3 => vec(part.clone(), 0..4).prop_map(Condition::All),
            2 => vec(part.clone(), 0..4).prop_map(Condition::Any),
            2 => part.prop_map(|part| Condition::Not(Box::new(part))),
        ]
    })
}

/// An action of any shape.
pub(crate) fn action() -> impl Strategy<Value = RoutingAction> {
    simple_action().prop_recursive(3, 8, 4, |part| vec(part, 0..4).prop_map(RoutingAction::Chain))
}

fn simple_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![names_condition(), text_condition(), value_condition()]
}

fn names_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        names(&["a", "b", "c"]).prop_map(Condition::Tenant),
        names(&["u1", "Zoë M", "no", "1e3"]).prop_map(Condition::User),
        names(&["o1", "o 2"]).prop_map(Condition::Organization),
        names(&["eu", "us", "asia"]).prop_map(Condition::Region),
        names(&["eu-1", "eu-2"]).prop_map(Condition::Zone),
        names(&["zdr", "canary", "true"]).prop_map(Condition::Tag),
        names(&["beta", "0x1"]).prop_map(Condition::Feature),
        vec(select(&Capability::ALL), 0..3)
            .prop_map(|names| Condition::Capability(names.into_iter().collect())),
    ]
}

fn text_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        patterns().prop_map(Condition::Model),
        patterns().prop_map(Condition::UserAgent),
        (metadata_key(), patterns()).prop_map(|(key, patterns)| Condition::Metadata(key, patterns)),
    ]
}

fn value_condition() -> impl Strategy<Value = Condition> {
    let networks = select(vec!["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "0.0.0.0/0"]);
    let networks = vec(networks.prop_map(|text| text.parse::<Network>().unwrap()), 0..3);
    prop_oneof![
        vec(select(&RequestPriority::ALL), 0..4)
            .prop_map(|list| Condition::Priority(Priorities::from_iter(list))),
        vec(time_window(), 0..3).prop_map(Condition::Time),
        any::<bool>().prop_map(Condition::Streaming),
        bounds().prop_map(Condition::PromptTokens),
        bounds().prop_map(Condition::Attempt),
        networks.prop_map(Condition::SourceIp),
        sample().prop_map(Condition::Sample),
    ]
}

fn simple_action() -> impl Strategy<Value = RoutingAction> {
    let reject = |reason| RoutingAction::Reject { reason };
    prop_oneof![
        provider().prop_map(RoutingAction::RouteToProvider),
        route().prop_map(RoutingAction::RouteToPool),
        strategy().prop_map(RoutingAction::ApplyStrategy),
        select(&RequestPriority::ALL).prop_map(RoutingAction::SetPriority),
        reason().prop_map(reject),
        vec(provider(), 0..3).prop_map(RoutingAction::Exclude),
        model().prop_map(RoutingAction::RewriteModel),
        tag().prop_map(RoutingAction::AddTag),
        (provider(), of(model()))
            .prop_map(|(provider, model)| RoutingAction::Mirror(MirrorTarget { provider, model })),
    ]
}

fn route() -> impl Strategy<Value = RouteConfig> {
    let member = (provider(), of(0_u32..=1_000));
    let member = member.prop_map(|(provider, weight)| PoolMember {
        provider,
        weight: weight.map(|weight| Weight::try_from(weight).unwrap()),
    });
    let regions = vec(select(vec!["eu", "us"]).prop_map(id), 0..2);
    (vec(member, 0..3), regions, vec(tag(), 0..2), of(strategy())).prop_map(
        |(provider_pool, regions, tags, strategy)| RouteConfig { provider_pool, regions, tags, strategy },
    )
}

fn patterns() -> impl Strategy<Value = Vec<TextPattern>> {
    let wild =
        select(vec!["gpt-4o", "gpt-4o-mini", "claude-x", "gpt-*", "*", "claude-?", "*-mini", "c*x", "null"]);
    let regex = select(vec!["^gpt-", "mini$", "4o|x", "[0-9]", "."]);
    let pattern = prop_oneof![
        4 => wild.clone().prop_map(|text| TextPattern::glob(text).unwrap()),
        1 => wild.prop_map(|text| TextPattern::exact(text).unwrap()),
        1 => regex.prop_map(|text| TextPattern::regex(text).unwrap()),
    ];
    vec(pattern, 0..3)
}

fn time_window() -> impl Strategy<Value = TimeWindow> {
    let time = || {
        (0_u16..24, select(vec![0_u16, 30, 59]))
            .prop_map(|(hour, minute)| TimeOfDay::new(hour, minute).unwrap())
    };
    let zone = select(vec!["UTC", "Europe/Berlin", "America/Havana"]);
    (time(), time(), zone, of(vec(select(&Weekday::ALL), 0..4))).prop_map(|(from, to, zone, days)| {
        let window = TimeWindow::new(from, to, zone).unwrap();
        days.into_iter().fold(window, TimeWindow::on)
    })
}

fn validity() -> impl Strategy<Value = Validity> {
    // From 1966 to 2096, so that times before the epoch occur too.
    let moment = || of(-125_000_000_i64..4_000_000_000);
    (moment(), moment()).prop_map(|(from, until)| {
        let validity = from.map(wall_time).into_iter().fold(Validity::ALWAYS, Validity::from);
        until.map(wall_time).into_iter().fold(validity, Validity::until)
    })
}

fn wall_time(second: i64) -> SystemTime {
    let distance = Duration::from_secs(second.unsigned_abs());
    if second < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let number = || prop_oneof![4 => 0_u64..5, 1 => select(vec![1_000, u64::MAX - 1, u64::MAX])];
    prop_oneof![
        number().prop_map(Bounds::exactly),
        number().prop_map(Bounds::at_least),
        number().prop_map(Bounds::at_most),
        (number(), number()).prop_map(|(min, max)| Bounds::between(min, max)),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let by = prop_oneof![
        select(vec![
            SampleKey::User,
            SampleKey::Tenant,
            SampleKey::Organization,
            SampleKey::Session,
            SampleKey::ApiKey,
            SampleKey::SourceIp,
            SampleKey::Request,
        ]),
        metadata_key().prop_map(SampleKey::Metadata),
    ];
    // Quarters are exact in binary: not every reader of JSON rounds long fractions right.
    let percent = (0_u32..=400).prop_map(|quarters| Percent::new(f64::from(quarters) / 4.0).unwrap());
    let salt = of(select(vec!["", "s1", "s 2"]).prop_map(Into::into));
    (by, percent, salt).prop_map(|(by, percent, salt)| Sample { by, percent, salt })
}

fn reason() -> impl Strategy<Value = RejectionReason> {
    let named = select(vec![
        RejectionReason::RateLimitExceeded,
        RejectionReason::UnauthorizedModel,
        RejectionReason::InvalidRequest,
        RejectionReason::MaintenanceMode,
    ]);
    let own = select(vec!["", "maintenance_mode", "not today: \"{{ x }}\""]);
    prop_oneof![named, own.prop_map(|text| RejectionReason::Custom(text.to_owned()))]
}

fn limits() -> impl Strategy<Value = RuleLimits> {
    let limits = (4_000_usize..=4_096, 60_usize..=64).prop_map(|(max_rules, max_conditions)| RuleLimits {
        max_rules,
        max_conditions,
        ..RuleLimits::default()
    });
    prop_oneof![Just(RuleLimits::default()), limits]
}

fn strategy() -> impl Strategy<Value = LoadBalancingStrategy> {
    let built_in: Vec<_> = LoadBalancingStrategy::built_in().collect();
    prop_oneof![4 => select(built_in), 1 => Just("mine-own".parse().unwrap())]
}

fn provider() -> impl Strategy<Value = waypost_core::ProviderId> {
    select(vec!["p1", "p2", "p3"]).prop_map(id)
}

fn model() -> impl Strategy<Value = waypost_core::ModelName> {
    select(vec!["gpt-4o", "gpt-4o-mini", "claude-x"]).prop_map(id)
}

fn tag() -> impl Strategy<Value = waypost_core::Tag> {
    select(vec!["zdr", "canary", "cheap"]).prop_map(id)
}

fn metadata_key() -> impl Strategy<Value = MetadataKey> {
    select(vec!["department", "env", "<<", "a.b"]).prop_map(id)
}

fn names<T: Ord + for<'a> TryFrom<&'a str> + core::fmt::Debug>(
    known: &'static [&'static str],
) -> impl Strategy<Value = Names<T>> {
    vec(select(known), 0..3).prop_map(|names| names.into_iter().map(id).collect())
}

fn id<T: for<'a> TryFrom<&'a str>>(text: &str) -> T {
    T::try_from(text).ok().expect("the names of the generator are valid")
}

#[test]
fn ids_are_ids() {
    assert_eq!(id::<RuleId>("r0"), "r0");
}
