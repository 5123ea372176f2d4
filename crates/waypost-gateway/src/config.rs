//! What an operator configures: read, checked as a whole, resolved.

mod document;
mod file;
mod prices;
mod report;
mod resolve;
mod rules;
mod structure;
mod units;

pub use report::ConfigErrors;

pub(crate) use file::{ProviderKind, ResponseHeader};
pub(crate) use resolve::{Collector, Resolved, ServerSettings, TargetSpec};

use std::path::Path;

use waypost_rules::{CompiledRules, RuleTests, RulesConfig, Surroundings, TestReport};

use document::{Node, Problem};
use file::File;
use structure::Walk;

/// How a gateway logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// What is logged: a level, or filters of `tracing-subscriber`.
    pub log: String,
    /// Whether each line is JSON.
    pub json: bool,
}

/// A configuration that was read and checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) resolved: Resolved,
    warnings: ConfigErrors,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with all that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&name, &text),
            Err(error) => {
                let problem = Problem::new(0..0, format!("the file cannot be read: {error}"));
                Err(ConfigErrors::new(&name, "", vec![problem]))
            }
        }
    }

    /// Reads a text; `name` is what errors call it. YAML if that ends so, else TOML.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with all that is wrong, each with its place.
    pub fn read(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let errors = |problems| ConfigErrors::new(name, text, problems);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let node = Node::read(name, text).map_err(errors)?;
        let schema = json_schema();
        let mut walk = Walk::new(&schema);
        walk.compare(&node, &schema);
        if !walk.problems.is_empty() {
            return Err(errors(walk.problems));
        }
        let file: File = serde_json::from_value(node.to_value())
            .map_err(|error| errors(vec![Problem::new(0..0, error.to_string())]))?;
        let (resolved, problems) = resolve::resolve(&file, &node, text);
        let warnings: Vec<_> = problems.iter().filter(|problem| problem.is_warning).cloned().collect();
        match resolved.filter(|_| warnings.len() == problems.len()) {
            Some(resolved) => Ok(Self { resolved, warnings: errors(warnings) }),
            None => Err(errors(problems)),
        }
    }

    /// How it logs.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry { log: self.resolved.log.clone(), json: self.resolved.log_json }
    }

    /// Runs tests of its rules.
    pub fn test_rules(&self, tests: &RuleTests) -> TestReport {
        let rules = self.resolved.rules.clone();
        // They were compiled when the configuration was checked.
        let compiled = CompiledRules::compile(rules, RulesConfig::default(), Surroundings::default());
        compiled.unwrap_or_default().test(tests)
    }

    /// What is doubtful.
    pub const fn warnings(&self) -> &ConfigErrors {
        &self.warnings
    }
}

/// The JSON Schema of the configuration, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}
