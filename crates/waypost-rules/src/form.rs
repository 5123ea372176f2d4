//! The written form of rules: what operators edit, in TOML, YAML, JSON or any other format of serde.
//!
//! A document is first read as plain [`Value`](value::Value)s, then walked: so all that is wrong with it is found at
//! once, each problem with its place. Tables are declared as lists of [`Field`](field::Field)s, which reading,
//! printing and the JSON Schema share.

mod action;
mod comparison;
mod condition;
mod field;
mod pattern;
mod problem;
mod reader;
mod route;
mod rule;
mod rule_test;
mod sample;
#[cfg(feature = "schemars")]
mod schema;
#[cfg(all(test, feature = "toml", feature = "yaml"))]
mod tests;
#[cfg(any(feature = "toml", feature = "yaml"))]
mod text;
mod time;
mod value;
mod written;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use self::value::Value;
use self::written::Print;
use crate::{Rule, RuleSet, RuleTests};

pub use self::problem::{FormErrors, FormProblem, PrintError};

macro_rules! from_text {
    ($($document:ty),*) => {
        $(
            impl $document {
                /// Reads TOML.
                ///
                /// # Errors
                ///
                /// [`FormErrors`] with all that is wrong, or with what is wrong with the text as TOML; texts of more
                /// than 16 MiB are refused.
                #[cfg(feature = "toml")]
                pub fn from_toml(text: &str) -> Result<Self, FormErrors> {
                    text::from_toml(text)
                }

                /// Reads YAML 1.2 without merge keys and with few aliases.
                ///
                /// # Errors
                ///
                /// [`FormErrors`] with all that is wrong, or with what is wrong with the text as YAML; texts of more
                /// than 16 MiB are refused.
                #[cfg(feature = "yaml")]
                pub fn from_yaml(text: &str) -> Result<Self, FormErrors> {
                    text::from_yaml(text)
                }
            }

            impl<'de> Deserialize<'de> for $document {
                /// The error has all that is wrong, a line each.
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    reader::read(Value::deserialize(deserializer)?).map_err(de::Error::custom)
                }
            }
        )*
    };
}

from_text!(RuleSet, RuleTests);

impl RuleSet {
    /// Prints TOML that reads back as the same rules.
    ///
    /// # Errors
    ///
    /// [`PrintError`] when a rule has something that only code can say, such as a condition of one's own.
    #[cfg(feature = "toml")]
    pub fn to_toml(&self) -> Result<String, PrintError> {
        text::to_toml(self)
    }

    /// Prints YAML that reads back as the same rules.
    ///
    /// # Errors
    ///
    /// [`PrintError`] when a rule has something that only code can say, such as a condition of one's own.
    #[cfg(feature = "yaml")]
    pub fn to_yaml(&self) -> Result<String, PrintError> {
        text::to_yaml(self)
    }
}

impl Serialize for RuleSet {
    /// As operators would write it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.print().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl Serialize for Rule {
    /// As operators would write it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.print().map_err(ser::Error::custom)?.serialize(serializer)
    }
}
