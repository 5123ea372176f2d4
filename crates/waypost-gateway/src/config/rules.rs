//! The rules of a configuration, which have a written form of their own.

use serde_json::Value;
use waypost::core::RoutingTable;
use waypost::rules::{CompiledRules, Finding, Rule, RuleSet, RulesConfig, Severity, Surroundings};

use super::document::{Node, Problem, segments};
use super::file::File;

/// Reads the rules. Problems stand where the rule does.
pub(super) fn read(file: &File, node: &Node, problems: &mut Vec<Problem>) -> RuleSet {
    let mut written = serde_json::Map::new();
    written.insert("rules".to_owned(), Value::from(file.rules.clone()));
    written.extend(file.default_route.clone().map(|route| ("default_route".to_owned(), route)));
    let text = match toml::to_string(&written) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::new(node.key_span("rules"), error.to_string()));
            return RuleSet::default();
        }
    };
    RuleSet::from_toml(&text).unwrap_or_else(|errors| {
        problems.extend(errors.problems().iter().map(|problem| {
            let path = segments(problem.path());
            let span = node.span_at(path.iter().map(String::as_str));
            Problem::new(span, format!("{}: {}", problem.path(), problem.message()))
        }));
        RuleSet::default()
    })
}

/// Checks rules against what they name. The rules that the gateway makes itself come with `own`.
pub(super) fn check(
    rules: &RuleSet,
    own: Vec<Rule>,
    table: &RoutingTable,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> RuleSet {
    let mut all = rules.clone();
    all.rules.splice(0..0, own);
    all.default_route.get_or_insert_default();
    let strategies: Vec<_> = waypost::LoadBalancingStrategy::built_in().collect();
    let surroundings = Surroundings::default().table(table).strategies(&strategies);
    // Of the gateway's own nothing is told that was not told of what they are made of.
    let is_theirs = |finding: &&Finding| {
        finding.rule.as_ref().is_none_or(|id| rules.rules.iter().any(|rule| rule.id == *id))
    };
    let place = |finding: &Finding| {
        let at = rules.rules.iter().position(|rule| finding.rule.as_ref() == Some(&rule.id));
        let span =
            at.map_or_else(|| node.key_span("rules"), |at| node.span_at(["rules", &at.to_string(), "id"]));
        let mut problem = Problem::new(span, finding.to_string());
        problem.is_warning = finding.severity == Severity::Warning;
        problem
    };
    match CompiledRules::compile(all.clone(), RulesConfig::default(), surroundings) {
        Ok(compiled) => problems.extend(compiled.warnings().iter().filter(is_theirs).map(place)),
        Err(errors) => problems.extend(errors.findings().iter().filter(is_theirs).map(place)),
    }
    all
}
