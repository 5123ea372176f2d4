//! Conditions: put together on a stack, so that no description is too deep to be read.

use core::str::FromStr;
use std::fmt::Debug;

use arbitrary::Arbitrary;
use waypost_core::{Capability, DecisionContext, RequestMatcher, RequestPriority};
use waypost_rules::{
    Bounds, Condition, Names, Percent, Sample, SampleKey, TextPattern, TimeOfDay, TimeWindow, Weekday,
};

use super::last;
use super::pattern::Pattern;
use crate::vocabulary::{KEYS, List, NAMES, NETWORKS, Number, Pick, Text, ZONES};

/// The most steps of a condition: deeper and more than rules may be by default.
const MAX_STEPS: usize = 100;

/// What is done to the stack of conditions.
#[derive(Debug, Arbitrary)]
pub(super) enum Step {
    Push(Simple),
    Not,
    All(u8),
    Any(u8),
}

/// A simple condition.
#[derive(Debug, Arbitrary)]
pub(super) enum Simple {
    Model(List<Pattern>),
    UserAgent(List<Pattern>),
    Metadata(Pick, List<Pattern>),
    Tenant(List<Pick>),
    User(List<Pick>),
    Organization(List<Pick>),
    Region(List<Pick>),
    Zone(List<Pick>),
    Tag(List<Pick>),
    Feature(List<Pick>),
    Capability(List<Pick>),
    Priority(List<Pick>),
    Time(List<Window>),
    Streaming(bool),
    PromptTokens(Number, Number),
    Attempt(Number, Number),
    SourceIp(List<Pick>),
    Sample(Share),
    /// A condition of one's own.
    Own,
}

/// A window of time.
#[derive(Debug, Arbitrary)]
pub(super) struct Window {
    from: u16,
    to: u16,
    zone: Pick,
    days: Option<u8>,
}

/// A stable share of requests.
#[derive(Debug, Arbitrary)]
pub(super) struct Share {
    by: Pick,
    key: Option<Pick>,
    percent: f64,
    salt: Text,
}

/// The condition that is left in the end: one, or all.
pub(super) fn condition(steps: &[Step]) -> Condition {
    let mut stack = Vec::new();
    for step in steps.iter().take(MAX_STEPS) {
        let next = step.taken(&mut stack);
        stack.push(next);
    }
    let one = if stack.len() == 1 { stack.pop() } else { None };
    one.unwrap_or(Condition::All(stack))
}

impl Step {
    fn taken(&self, stack: &mut Vec<Condition>) -> Condition {
        match self {
            Self::Push(simple) => simple.condition(),
            Self::Not => Condition::Not(Box::new(stack.pop().unwrap_or(Condition::always()))),
            Self::All(count) => Condition::All(last(stack, *count)),
            Self::Any(count) => Condition::Any(last(stack, *count)),
        }
    }
}

impl Simple {
    fn condition(&self) -> Condition {
        match self {
            Self::Model(patterns) => Condition::Model(compiled(patterns)),
            Self::UserAgent(patterns) => Condition::UserAgent(compiled(patterns)),
            Self::Metadata(key, patterns) => Condition::Metadata(key.id(&KEYS), compiled(patterns)),
            Self::Tenant(list) => Condition::Tenant(names(list)),
            Self::User(list) => Condition::User(names(list)),
            Self::Organization(list) => Condition::Organization(names(list)),
            Self::Region(list) => Condition::Region(names(list)),
            Self::Zone(list) => Condition::Zone(names(list)),
            Self::Tag(list) => Condition::Tag(names(list)),
            Self::Feature(list) => Condition::Feature(names(list)),
            Self::Capability(list) => Condition::Capability(picked(list, &Capability::ALL)),
            Self::Priority(list) => Condition::Priority(picked(list, &RequestPriority::ALL)),
            Self::Time(windows) => Condition::Time(windows.iter().map(Window::window).collect()),
            Self::Streaming(stream) => Condition::Streaming(*stream),
            Self::PromptTokens(min, max) => Condition::PromptTokens(Bounds::between(min.get(), max.get())),
            Self::Attempt(min, max) => Condition::Attempt(Bounds::between(min.get(), max.get())),
            Self::SourceIp(list) => Condition::SourceIp(list.iter().map(|ip| ip.id(&NETWORKS)).collect()),
            Self::Sample(share) => Condition::Sample(share.sample()),
            Self::Own => Condition::custom(Streamed),
        }
    }
}

fn compiled(patterns: &List<Pattern>) -> Vec<TextPattern> {
    patterns.iter().map(Pattern::pattern).collect()
}

fn names<T: Ord + FromStr<Err: Debug>>(list: &List<Pick>) -> Names<T> {
    list.iter().map(|name| name.id(&NAMES)).collect()
}

fn picked<T: Copy, C: FromIterator<T>>(list: &List<Pick>, of: &[T]) -> C {
    list.iter().map(|pick| pick.of(of)).collect()
}

impl Window {
    fn window(&self) -> TimeWindow {
        let time = |minute: u16| {
            TimeOfDay::new(minute / 60 % 24, minute % 60).expect("hours and minutes are in range")
        };
        let window = TimeWindow::new(time(self.from), time(self.to), self.zone.of(&ZONES));
        let window = window.expect("the zones exist");
        match self.days {
            None => window,
            Some(days) => window.on(Weekday::ALL.into_iter().filter(|&day| days >> day as u8 & 1 == 1)),
        }
    }
}

impl Share {
    fn sample(&self) -> Sample {
        let by = [
            SampleKey::User,
            SampleKey::Tenant,
            SampleKey::Organization,
            SampleKey::Session,
            SampleKey::ApiKey,
            SampleKey::SourceIp,
            SampleKey::Request,
        ];
        let key = self.key.map(|key| SampleKey::Metadata(key.id(&KEYS)));
        let by = key.unwrap_or_else(|| by[usize::from(self.by.of(&[0_u8, 1, 2, 3, 4, 5, 6]))].clone());
        let percent = Percent::new(self.percent).or(Percent::new(self.percent.abs() % 100.0));
        let percent = percent.or(Percent::new(50.0)).expect("50 is a percentage");
        Sample { by, percent, salt: Some(self.salt.text().into()) }
    }
}

/// Nobody else knows what it reads.
#[derive(Debug)]
struct Streamed;

impl RequestMatcher for Streamed {
    fn matches(&self, decision: &DecisionContext<'_>) -> bool {
        decision.request.stream
    }

    fn description(&self) -> String {
        "the answer is streamed".to_owned()
    }
}
