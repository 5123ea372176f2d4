//! The pseudo-code's rules, taken literally: matchers in boxes, asked one after the other under a lock.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use waypost_core::RequestPriority;

use crate::rulebook::{Ask, Line, Models, asks, lines};

/// The linear scan over the same rules as a [`Rulebook`](crate::Rulebook)'s.
pub struct NaiveRules {
    rules: RwLock<Vec<Arc<NaiveRule>>>,
    asks: Vec<Ask>,
    next: usize,
}

struct NaiveRule {
    matcher: Box<dyn Matcher>,
    enabled: bool,
}

trait Matcher: Send + Sync {
    fn matches(&self, ask: &Ask) -> bool;
}

struct Tenant(HashSet<String>);
struct Model(HashSet<String>);
struct ModelPrefix(String);
struct Region(HashSet<String>);
struct Priority(RequestPriority);
struct Tokens(u64);
struct And(Vec<Box<dyn Matcher>>);

impl Matcher for Tenant {
    fn matches(&self, ask: &Ask) -> bool {
        self.0.contains(&ask.tenant)
    }
}

impl Matcher for Model {
    fn matches(&self, ask: &Ask) -> bool {
        self.0.contains(ask.model)
    }
}

impl Matcher for ModelPrefix {
    fn matches(&self, ask: &Ask) -> bool {
        ask.model.starts_with(&self.0)
    }
}

impl Matcher for Region {
    fn matches(&self, ask: &Ask) -> bool {
        self.0.contains(&ask.region)
    }
}

impl Matcher for Priority {
    fn matches(&self, ask: &Ask) -> bool {
        ask.priority >= self.0
    }
}

impl Matcher for Tokens {
    fn matches(&self, ask: &Ask) -> bool {
        ask.tokens >= self.0
    }
}

impl Matcher for And {
    fn matches(&self, ask: &Ask) -> bool {
        self.0.iter().all(|matcher| matcher.matches(ask))
    }
}

impl NaiveRules {
    /// So many rules.
    pub fn new(rules: usize) -> Self {
        let rule = |line: &Line| Arc::new(NaiveRule { matcher: matcher(line), enabled: true });
        Self { rules: RwLock::new(lines(rules).iter().map(rule).collect()), asks: asks(rules), next: 0 }
    }

    /// Asks the rules for the next request; the place of the first that matches.
    pub fn evaluate(&mut self) -> Option<usize> {
        self.next = (self.next + 1) % self.asks.len();
        let ask = &self.asks[self.next];
        self.rules.read().iter().position(|rule| rule.enabled && rule.matcher.matches(ask))
    }
}

fn matcher(line: &Line) -> Box<dyn Matcher> {
    let one = |name: &str| HashSet::from([name.to_owned()]);
    let mut matchers: Vec<Box<dyn Matcher>> = vec![Box::new(Tenant(one(&line.tenant)))];
    match line.models {
        Models::Any => {}
        Models::Either(a, b) => matchers.push(Box::new(Model(HashSet::from([a.to_owned(), b.to_owned()])))),
        Models::Beginning(prefix) => matchers.push(Box::new(ModelPrefix(prefix.to_owned()))),
    }
    if let Some(region) = &line.region {
        matchers.push(Box::new(Region(one(region))));
    }
    if line.high_priority {
        matchers.push(Box::new(Priority(RequestPriority::High)));
    }
    if let Some(min) = line.min_tokens {
        matchers.push(Box::new(Tokens(min)));
    }
    Box::new(And(matchers))
}

impl fmt::Debug for NaiveRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NaiveRules").field("rules", &self.rules.read().len()).finish_non_exhaustive()
    }
}
