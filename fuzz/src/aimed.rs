//! Requests that meet a rule's conditions as far as can be told: without aim hardly any request meets any rule.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waypost_core::{GatewayRequest, RoutingContext, Tokens};
use waypost_rules::{Condition, Names, Rule, SampleKey, TextPattern};

/// Windows that were open are closed then, or the other way round.
const HALF_A_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// A request, and what is known besides.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) request: GatewayRequest,
    pub(crate) context: RoutingContext,
    pub(crate) prompt: Tokens,
    pub(crate) at: Option<SystemTime>,
}

impl Asked {
    /// Changes the request to meet a rule. Of several ways `nth` says which; edges of ranges are among them.
    pub(crate) fn aim(&mut self, rule: &Rule, nth: usize) {
        let last = rule.validity.ends().map(|end| end - Duration::from_secs(1));
        self.at = pick(nth, &[rule.validity.begins(), last]).or(rule.validity.begins()).or(last).or(self.at);
        self.meet(&rule.condition, nth);
    }

    /// The request, then some that differ from it in the time alone or in texts alone: what was kept of one must not be
    /// said of another.
    pub(crate) fn and_siblings(self) -> [Self; 3] {
        let later = self.at.map_or(some_hour(0), |at| at + HALF_A_DAY);
        let mut longer = self.clone();
        longer.lengthen();
        [self.clone(), Self { at: Some(later), ..self }, longer]
    }

    /// Every text ends in another letter.
    fn lengthen(&mut self) {
        let (request, context) = (&mut self.request, &mut self.context);
        if let Ok(model) = format!("{}x", request.model.as_str()).parse() {
            request.model = model;
        }
        let texts = context.metadata.iter_mut().map(|(_, text)| text).chain(&mut context.user_agent);
        texts.for_each(|text| *text = format!("{text}x").into());
    }

    fn meet(&mut self, condition: &Condition, nth: usize) {
        let (request, context) = (&mut self.request, &mut self.context);
        match condition {
            Condition::All(parts) => parts.iter().for_each(|part| self.meet(part, nth)),
            Condition::Any(parts) => {
                parts.get(nth % parts.len().max(1)).into_iter().for_each(|part| self.meet(part, nth));
            }
            Condition::Model(patterns) => {
                if let Some(model) = text(patterns, nth).and_then(|text| text.parse().ok()) {
                    request.model = model;
                }
            }
            Condition::Tenant(names) => context.tenant_id = name(names, nth).or(context.tenant_id.take()),
            Condition::User(names) => context.user_id = name(names, nth).or(context.user_id.take()),
            Condition::Organization(names) => {
                context.organization_id = name(names, nth).or(context.organization_id.take());
            }
            Condition::Region(names) => context.region = name(names, nth).or(context.region.take()),
            Condition::Zone(names) => context.zone = name(names, nth).or(context.zone.take()),
            Condition::Priority(wanted) => {
                context.priority = wanted.iter().nth(nth % 4).or(wanted.iter().next());
            }
            Condition::Tag(names) => context.required_tags.extend(name(names, nth)),
            Condition::Feature(names) => context.features.extend(name(names, nth).map(|name| (name, true))),
            Condition::Capability(names) => {
                let needed = request.required_capabilities;
                let added = name(names, nth).into_iter().collect();
                request.required_capabilities = needed | added;
            }
            Condition::Streaming(stream) => request.stream = *stream,
            Condition::PromptTokens(bounds) => self.prompt = Tokens(pick(nth, &[bounds.min, bounds.max])),
            Condition::Attempt(bounds) => {
                context.attempt_number =
                    u32::try_from(pick(nth, &[bounds.min, bounds.max])).unwrap_or(u32::MAX);
            }
            Condition::Metadata(key, patterns) => {
                let value = text(patterns, nth).map(Arc::from);
                context.metadata.splice(..0, value.map(|value| (key.clone(), value)));
            }
            Condition::UserAgent(patterns) => {
                context.user_agent = text(patterns, nth).map(Arc::from).or(context.user_agent.take());
            }
            Condition::SourceIp(networks) => {
                let network = networks.get(nth % networks.len().max(1)).map(ToString::to_string);
                let first = network.and_then(|network| network.split('/').next()?.parse().ok());
                context.source_ip = first.or(context.source_ip);
            }
            Condition::Time(_) => self.at = self.at.or(Some(some_hour(nth))),
            Condition::Sample(sample) => self.has(&sample.by, nth),
            _ => {}
        }
    }

    /// Gives the request what is hashed; whether it is sampled then, is luck.
    fn has(&mut self, key: &SampleKey, nth: usize) {
        let text = || Some(Arc::from(nth.to_string()));
        match key {
            SampleKey::ApiKey => self.request.api_key_hash = text(),
            SampleKey::Request => self.request.request_id = text(),
            SampleKey::User => self.context.user_id = nth.to_string().parse().ok(),
            SampleKey::Tenant => self.context.tenant_id = nth.to_string().parse().ok(),
            SampleKey::Metadata(key) => self.context.metadata.push((key.clone(), nth.to_string().into())),
            _ => {}
        }
    }
}

/// An hour of 2026.
fn some_hour(nth: usize) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + 3_600 * nth as u64)
}

fn pick<T: Copy>(nth: usize, of: &[T]) -> T {
    of[nth % of.len()]
}

fn name<T: Ord + Clone>(names: &Names<T>, nth: usize) -> Option<T> {
    names.iter().nth(nth % names.len().max(1)).cloned()
}

/// A text that a pattern with wildcards matches; for a regular expression its letters, which often do.
fn text(patterns: &[TextPattern], nth: usize) -> Option<String> {
    let pattern = patterns.get(nth % patterns.len().max(1))?;
    let written = pattern.as_str();
    if pattern.as_exact().is_some() {
        return Some(written.to_owned());
    }
    let plain = |c: &char| if pattern.is_regex() { c.is_alphanumeric() || *c == '-' } else { *c != '*' };
    Some(written.chars().filter(plain).collect())
}
