//! The formats in which rules are written.

use waypost_rules::{FormErrors, PrintError, RuleSet, RuleTests};

/// A format in which rules are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Toml,
    Yaml,
}

impl Format {
    pub(crate) const ALL: [Self; 2] = [Self::Toml, Self::Yaml];

    pub(crate) fn read_rules(self, text: &str) -> Result<RuleSet, FormErrors> {
        match self {
            Self::Toml => RuleSet::from_toml(text),
            Self::Yaml => RuleSet::from_yaml(text),
        }
    }

    pub(crate) fn read_tests(self, text: &str) -> Result<RuleTests, FormErrors> {
        match self {
            Self::Toml => RuleTests::from_toml(text),
            Self::Yaml => RuleTests::from_yaml(text),
        }
    }

    pub(crate) fn print(self, set: &RuleSet) -> Result<String, PrintError> {
        match self {
            Self::Toml => set.to_toml(),
            Self::Yaml => set.to_yaml(),
        }
    }
}
