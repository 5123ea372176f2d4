//! Rules as plain descriptions, turned into rules through what everybody may call.

mod action;
mod condition;
mod pattern;

use arbitrary::Arbitrary;
use waypost_core::RuleId;
use waypost_rules::{Rule, RuleLimits, RuleSet, Validity};

use self::action::{Act, Route};
use self::condition::Step;
use crate::vocabulary::{List, Moment, Number, Rarely, Text};

/// The most rules of a set: more than three words of 64 bits.
const MAX_RULES: usize = 200;

/// A set of rules.
#[derive(Debug, Arbitrary)]
pub(crate) struct Described {
    rules: List<DescribedRule>,
    default_route: Option<Route>,
    limits: Option<[Number; 5]>,
    limited: Rarely,
}

/// A rule, perhaps several times under several names.
#[derive(Debug, Arbitrary)]
struct DescribedRule {
    copies: Option<u8>,
    description: Option<Text>,
    priority: u8,
    disabled: Rarely,
    valid: Option<(Option<Moment>, Option<Moment>)>,
    when: Vec<Step>,
    then: Vec<Act>,
    continues: bool,
}

impl Described {
    /// The rules.
    pub(crate) fn rule_set(&self) -> RuleSet {
        let copies = |rule: &DescribedRule| std::iter::repeat_n(rule.rule(), rule.copies());
        self.set(self.rules.iter().flat_map(copies))
    }

    /// The rules without copies: to print and read the same again shows nothing.
    pub(crate) fn distinct(&self) -> RuleSet {
        self.set(self.rules.iter().map(DescribedRule::rule))
    }

    fn set(&self, rules: impl Iterator<Item = Rule>) -> RuleSet {
        let mut set = RuleSet::new(rules.take(MAX_RULES));
        set.rules.iter_mut().enumerate().for_each(|(place, rule)| rule.id = id(place));
        set.default_route = self.default_route.as_ref().map(Route::config);
        if let Some(limits) = self.limits.as_ref().filter(|_| self.limited.is()) {
            set.limits = stated(limits);
        }
        set
    }
}

fn id(place: usize) -> RuleId {
    RuleId::new(format!("r{place}")).expect("a letter and digits are an id")
}

/// Limits that may be as odd as anybody likes.
fn stated(limits: &[Number; 5]) -> RuleLimits {
    let [rules, conditions, depth, listed, regexes] = limits.map(|limit| limit.get() as usize);
    let mut limits = RuleLimits::default().rules(rules);
    limits.max_conditions = conditions;
    limits.max_depth = depth;
    limits.max_listed = listed;
    limits.max_regexes = regexes;
    limits
}

impl DescribedRule {
    fn copies(&self) -> usize {
        1 + usize::from(self.copies.unwrap_or(0) % 80)
    }

    fn rule(&self) -> Rule {
        let mut rule = Rule::new(id(0), action::action(&self.then))
            .when(condition::condition(&self.when))
            .priority((self.priority % 4).into())
            .valid(self.validity())
            .enabled(!self.disabled.is());
        rule.continues = self.continues;
        rule.description = self.description.as_ref().map(Text::text);
        rule
    }

    fn validity(&self) -> Validity {
        let (from, until) = self.valid.unwrap_or_default();
        let validity = from.map(Moment::wall).into_iter().fold(Validity::ALWAYS, Validity::from);
        until.map(Moment::wall).into_iter().fold(validity, Validity::until)
    }
}

/// Takes the last items of a stack; fewer when there are fewer.
fn last<T>(stack: &mut Vec<T>, count: u8) -> Vec<T> {
    stack.split_off(stack.len().saturating_sub(usize::from(count % 6)))
}
