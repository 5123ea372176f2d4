//! Rules that no request reaches.

use crate::RuleSet;
use crate::attribute::Attribute;
use crate::class_set::ClassSet;
use crate::effects::Effects;
use crate::finding::{Finding, RuleProblem};
use crate::index::{Index, MAX_DIMENSIONS, Point};
use crate::presence::Present;
use crate::product::Product;
use crate::universe::Universe;

/// Earlier rules that are compared with a rule to find one that covers it: what an index leaves are few, unless somebody
/// sees to it that they are many.
const COMPARED: usize = 64;

/// What can be told only of compiled rules: rules that no request reaches.
pub(crate) fn reachability(
    set: &RuleSet,
    order: &[usize],
    products: &[Product],
    index: &Index,
    universe: &Universe,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked = Asked { set, order, products, index, universe, changes: changes(set, order) };
    for (place, product) in products.iter().enumerate() {
        let rule = &set.rules[order[place]];
        if product.is_never() {
            findings.push(Finding::of(rule, RuleProblem::Contradiction));
        } else if let Some(by) = asked.shadowing(place) {
            findings.push(Finding::of(rule, RuleProblem::Shadowed { by: set.rules[order[by]].id.clone() }));
        }
    }
    let decides_all = |(place, product): (usize, &Product)| {
        product.exact && product.sets.is_empty() && !product.is_never() && !set.rules[order[place]].continues
    };
    let has_default = set.default_route.is_some() || products.iter().enumerate().any(decides_all);
    if !has_default && !set.rules.is_empty() {
        findings.push(Finding::of_set(RuleProblem::NoDefault));
    }
    findings
}

/// Rules in the order in which they are asked, with what is known of them.
struct Asked<'a> {
    set: &'a RuleSet,
    order: &'a [usize],
    products: &'a [Product],
    index: &'a Index,
    universe: &'a Universe,
    changes: Vec<Changes>,
}

/// How many rules before a place change a request's model, priority or tags for the rules after them.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    model: usize,
    priority: usize,
    tags: usize,
}

/// The changes before each place, and before the end.
fn changes(set: &RuleSet, order: &[usize]) -> Vec<Changes> {
    let mut so_far = Changes::default();
    let mut changes = vec![so_far];
    for &place in order {
        let rule = &set.rules[place];
        if rule.continues {
            let effects = Effects::of_rule(&rule.id, &rule.action, true);
            so_far.model += usize::from(effects.model.is_some());
            so_far.priority += usize::from(effects.priority.is_some());
            so_far.tags += usize::from(!effects.tags().is_empty());
        }
        changes.push(so_far);
    }
    changes
}

impl Asked<'_> {
    /// An earlier rule that decides every request that a rule would match. Only rules that the index leaves possible for
    /// one of its requests are compared.
    fn shadowing(&self, place: usize) -> Option<usize> {
        let product = &self.products[place];
        let mut classes = [0; MAX_DIMENSIONS];
        for (class, attribute) in classes.iter_mut().zip(self.index.attributes()) {
            *class = product.sets.get(&attribute).and_then(ClassSet::first).unwrap_or(0);
        }
        let point = Point { classes, present: Present::UNKNOWN };
        let earlier = self.index.search(&point, None).take_while(|&earlier| earlier < place).take(COMPARED);
        let decides = |&earlier: &usize| !self.set.rules[self.order[earlier]].continues;
        let covers = |&earlier: &usize| self.products[earlier].covers(product);
        earlier.filter(decides).filter(covers).find(|&earlier| !self.sees_another_request(earlier, place))
    }

    /// Whether a rule between two others changes something that the earlier one looks at: the later one may match a
    /// request that the earlier one did not see.
    fn sees_another_request(&self, earlier: usize, later: usize) -> bool {
        let (before, after) = (self.changes[earlier + 1], self.changes[later]);
        self.products[earlier].sets.keys().any(|&place| match &self.universe.attributes()[place].attribute {
            Attribute::Model => before.model != after.model,
            Attribute::Priority => before.priority != after.priority,
            Attribute::Tag(_) => before.tags != after.tags,
            _ => false,
        })
    }
}
