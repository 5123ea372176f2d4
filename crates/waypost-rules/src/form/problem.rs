//! What is wrong with a document.

use core::fmt;

/// The most problems that are told of one document; of others only the number.
const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong with a rule file or a file of tests. Displays like
/// ``rules[3] (`eu-only`).when.model: expected text, found a whole number``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormProblem {
    path: String,
    entry: Option<String>,
    message: String,
}

impl FormProblem {
    pub(super) fn new(path: String, entry: Option<String>, message: &str) -> Self {
        Self { path, entry, message: printable(message) }
    }

    /// Where it is, such as `rules[3].when.all[1].time.zone`; empty when the text as a whole is meant.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The id of the rule or the name of the test that it is in, at most 64 characters of it, as it was written.
    pub fn entry(&self) -> Option<&str> {
        self.entry.as_deref()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Control characters of what others wrote would confuse terminals and logs.
fn printable(message: &str) -> String {
    let escaped = |character: char| match character {
        control if control.is_control() => control.escape_default().to_string(),
        other => other.to_string(),
    };
    message.chars().map(escaped).collect()
}

impl fmt::Display for FormProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.entry, self.path.split_once(']')) {
            (Some(entry), Some((list, rest))) => write!(f, "{list}] (`{entry}`){rest}: ")?,
            _ if self.path.is_empty() => {}
            _ => write!(f, "{}: ", self.path)?,
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong with a document, in order: each problem on a line of its own. Only the first 100 are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct FormErrors {
    problems: Vec<FormProblem>,
    omitted: usize,
}

impl FormErrors {
    /// A text that could not be taken apart.
    #[cfg(any(feature = "toml", feature = "yaml"))]
    pub(super) fn of_text(message: &str) -> Self {
        Self { problems: vec![FormProblem::new(String::new(), None, message)], omitted: 0 }
    }

    /// The problems, at most 100.
    pub fn problems(&self) -> &[FormProblem] {
        &self.problems
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether another problem would be kept.
    pub(super) const fn has_room(&self) -> bool {
        self.problems.len() < MAX_PROBLEMS
    }

    /// Adds one if there is room; it is only made then.
    pub(super) fn add(&mut self, problem: impl FnOnce() -> FormProblem) {
        if self.has_room() {
            self.problems.push(problem());
        } else {
            self.omitted += 1;
        }
    }
}

impl fmt::Display for FormErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if place == 0 { "" } else { "\n" })?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}

/// Why rules cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrintError {
    /// A [`Condition::Custom`](crate::Condition::Custom): only code says what it means.
    #[error("a condition of one's own cannot be written: {description}")]
    CustomCondition {
        /// What it says of itself.
        description: String,
    },
    /// A custom strategy with the name of a built-in one: it would be read as that.
    #[error("the strategy `{name}` has the name of a built-in one")]
    ShadowedStrategy {
        /// The name.
        name: String,
    },
    /// A reason to reject that the form does not know.
    #[error("the reason `{}` cannot be written", waypost_core::excerpt(.reason))]
    UnknownReason {
        /// The reason.
        reason: String,
    },
    /// A time before the year -9999 or after 9999.
    #[error("a time is beyond the calendar")]
    Moment,
    /// Conditions or actions nest deeper than they would be read.
    #[error("nested deeper than {} levels", super::value::MAX_DEPTH)]
    TooDeep,
    /// The format's word.
    #[error("{message}")]
    Format {
        /// What it says.
        message: String,
    },
}
