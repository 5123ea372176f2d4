//! Patterns, nasty ones among them.

use arbitrary::Arbitrary;
use waypost_rules::{PatternError, TextPattern};

use crate::vocabulary::{MODELS, Pick, Text};

const GLOBS: [&str; 12] =
    ["*", "?", "gpt-*", "*mini", "gpt-?o", "*4o*", "**", "*?*", "c*x", "é*", "\u{10ffff}*", "?\n*"];

/// Anchors that bind less than they seem to, classes of bytes that are no characters, and what would take a lot of memory
/// or, with another engine, time.
const REGEXES: [&str; 40] = [
    "^gpt-",
    "mini$",
    "^",
    "$",
    "^$",
    ".",
    ".*",
    "[0-9]",
    "^gpt-|claude",
    "^(gpt-)?4",
    "^gpt-4o$",
    "^gpt-4o?",
    "(?i)^GPT-",
    "^(?i)gpt-4",
    "(?m)^gpt-",
    "(?mR)^gpt-$",
    "(?s).",
    "(?x)^ g p t -",
    "(?U)^gpt-.*?",
    "\\Agpt-",
    "\\z",
    "\\bmini\\b",
    "\\B",
    "[^\\x00-\\x7f]",
    "\\xff",
    "^\\xc3",
    "^é",
    "^é*",
    "[é]",
    "a{0}",
    "^a{0}b",
    "(a*)*b",
    "(x+x+)+y",
    "(a|b|ab)*c",
    "(a{1000}){1000}",
    "(?:a{50}){50}",
    "\\pL",
    "[[:alpha:]&&[^a]]",
    "(",
    "\\",
];

const PARTS: [&str; 24] = [
    "^", "$", "gpt-", "4o", "a", "b", ".", "*", "+", "?", "|", "(", ")", "(?:", "(?i)", "(?m)", "[a-c]",
    "[^a]", "{2}", "{0,3}", "\\b", "\\x80", "é", "\\n",
];

/// A pattern.
#[derive(Debug, Arbitrary)]
pub(super) enum Pattern {
    Exact(Text),
    Glob(Pick),
    OwnGlob(Text),
    Regex(Pick),
    OwnRegex(Vec<Pick>),
    FreeRegex(String),
}

impl Pattern {
    /// A pattern that cannot be compiled gives way to one that can; why is said in words.
    pub(super) fn pattern(&self) -> TextPattern {
        self.compiled().unwrap_or_else(|error| {
            std::hint::black_box(error.to_string());
            TextPattern::exact(MODELS[0]).expect("a model is a pattern")
        })
    }

    fn compiled(&self) -> Result<TextPattern, PatternError> {
        match self {
            Self::Exact(text) => TextPattern::exact(text.text()),
            Self::Glob(glob) => TextPattern::glob(glob.of(&GLOBS)),
            Self::OwnGlob(text) => TextPattern::glob(text.text()),
            Self::Regex(regex) => TextPattern::regex(regex.of(&REGEXES)),
            Self::OwnRegex(parts) => {
                TextPattern::regex(parts.iter().map(|part| part.of(&PARTS)).collect::<String>())
            }
            Self::FreeRegex(regex) => TextPattern::regex(regex),
        }
    }
}
