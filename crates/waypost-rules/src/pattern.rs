//! Texts that are matched whole, by wildcard or by regular expression.

use core::fmt;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{HirKind, Look};

/// The longest pattern, in bytes: as long as the longest id that it may have to match, four times.
pub const MAX_PATTERN_BYTES: usize = 1_024;

/// The most memory of one compiled regular expression, in bytes. `(a{1000}){1000}` would need a hundred megabytes
/// (RUSTSEC-2022-0013); patterns that people write need a few thousand bytes.
const REGEX_SIZE_LIMIT: usize = 64 * 1_024;

/// The most memory that matching with one regular expression may take for its tables, in bytes. With less the engine
/// falls back to a slower one; it stays linear in the text either way.
const REGEX_DFA_LIMIT: usize = 256 * 1_024;

/// The deepest nesting of a regular expression.
const REGEX_NEST_LIMIT: u32 = 32;

/// A text to compare with: exactly, by wildcards, or by a regular expression. Case counts.
///
/// Parsed from a text, `*` stands for any characters, also none, and `?` for one; without either the text is compared
/// exactly. [`regex`](Self::regex) takes a regular expression of the `regex` crate in ASCII mode, which matches
/// anywhere in the text unless anchored by `^` and `$`, in time linear in the text.
///
/// ```
/// use waypost_rules::TextPattern;
///
/// assert!("claude-*".parse::<TextPattern>()?.matches("claude-sonnet"));
/// assert!(!"claude".parse::<TextPattern>()?.matches("claude-sonnet"));
/// assert!(TextPattern::regex("^gpt-[0-9]+(o|$)")?.matches("gpt-4o-mini"));
/// assert!(TextPattern::regex("(a{1000}){1000}").is_err());
/// # Ok::<(), waypost_rules::PatternError>(())
/// ```
#[derive(Clone)]
pub struct TextPattern {
    text: Arc<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Exact,
    /// Everything that begins with the text before its last character, a `*`.
    Prefix,
    Glob {
        prefix: usize,
        regex: Arc<Regex>,
    },
    Regex {
        prefix: Option<Arc<str>>,
        regex: Arc<Regex>,
    },
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is empty.
    #[error("a pattern must not be empty")]
    Empty,
    /// The pattern is longer than [`MAX_PATTERN_BYTES`].
    #[error("a pattern has {bytes} bytes, more than {MAX_PATTERN_BYTES}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The regular expression does not parse.
    #[error("not a regular expression: {reason}")]
    Syntax {
        /// The parser's word.
        reason: String,
    },
    /// The regular expression would need more memory than one may have.
    #[error("the regular expression needs more than {REGEX_SIZE_LIMIT} bytes")]
    TooLarge,
}

/// What a pattern admits, as far as an index over sorted texts can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span<'a> {
    /// This text.
    Point(&'a str),
    /// All texts with this beginning.
    Prefix(&'a str),
    /// Some of the texts with this beginning, perhaps all.
    Within(&'a str),
}

impl TextPattern {
    /// The text itself, wildcards included.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when it is empty or too long.
    pub fn exact(text: impl AsRef<str>) -> Result<Self, PatternError> {
        Ok(Self { text: checked(text.as_ref())?, kind: Kind::Exact })
    }

    /// A text in which `*` stands for any characters and `?` for one.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when it is empty or too long.
    pub fn glob(text: impl AsRef<str>) -> Result<Self, PatternError> {
        let text = checked(text.as_ref())?;
        let kind = match text.find(is_wildcard) {
            None => Kind::Exact,
            Some(first) if text[first..] == *"*" => Kind::Prefix,
            Some(prefix) => Kind::Glob { prefix, regex: compile(&glob_as_regex(&text))? },
        };
        Ok(Self { text, kind })
    }

    /// A regular expression in ASCII mode; it matches anywhere unless anchored.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when it is empty, too long, does not parse or would need too much memory.
    pub fn regex(text: impl AsRef<str>) -> Result<Self, PatternError> {
        let text = checked(text.as_ref())?;
        let regex = compile(&text)?;
        let prefix = anchored_prefix(&text);
        Ok(Self { text, kind: Kind::Regex { prefix, regex } })
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Exact => *self.text == *text,
            Kind::Prefix => text.starts_with(self.stem()),
            Kind::Glob { regex, .. } | Kind::Regex { regex, .. } => regex.is_match(text.as_bytes()),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a regular expression.
    pub const fn is_regex(&self) -> bool {
        matches!(self.kind, Kind::Regex { .. })
    }

    /// The text that alone matches; `None` when others may.
    pub fn as_exact(&self) -> Option<&str> {
        matches!(self.kind, Kind::Exact).then_some(&*self.text)
    }

    /// Whether matching runs a regular expression, as wildcards within the text do too.
    pub(crate) const fn runs_regex(&self) -> bool {
        matches!(self.kind, Kind::Glob { .. } | Kind::Regex { .. })
    }

    pub(crate) fn span(&self) -> Span<'_> {
        match &self.kind {
            Kind::Exact => Span::Point(&self.text),
            Kind::Prefix => Span::Prefix(self.stem()),
            Kind::Glob { prefix, .. } => Span::Within(&self.text[..*prefix]),
            Kind::Regex { prefix, .. } => Span::Within(prefix.as_deref().unwrap_or_default()),
        }
    }

    /// The text without the `*` at its end.
    fn stem(&self) -> &str {
        &self.text[..self.text.len() - 1]
    }
}

fn checked(text: &str) -> Result<Arc<str>, PatternError> {
    match text.len() {
        0 => Err(PatternError::Empty),
        bytes if bytes > MAX_PATTERN_BYTES => Err(PatternError::TooLong { bytes }),
        _ => Ok(Arc::from(text)),
    }
}

const fn is_wildcard(character: char) -> bool {
    matches!(character, '*' | '?')
}

/// One character in UTF-8: a byte of ASCII, or a first byte with those that follow it.
const ONE_CHARACTER: &str = r"(?:[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*)";

fn glob_as_regex(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    for character in glob.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push_str(ONE_CHARACTER),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex
}

fn compile(regex: &str) -> Result<Arc<Regex>, PatternError> {
    let built = RegexBuilder::new(regex)
        .unicode(false)
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_DFA_LIMIT)
        .nest_limit(REGEX_NEST_LIMIT)
        .build();
    built.map(Arc::new).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        error => PatternError::Syntax { reason: last_line(&error.to_string()) },
    })
}

/// The parser draws the pattern with a mark below it; the reason is in the last line.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or_default().trim();
    line.trim_start_matches("error: ").to_owned()
}

/// The text that every match begins with: what follows `^` as it stands.
fn anchored_prefix(regex: &str) -> Option<Arc<str>> {
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex).ok()?;
    let HirKind::Concat(parts) = parsed.kind() else { return None };
    let [first, second, ..] = parts.as_slice() else { return None };
    let literal = match (first.kind(), second.kind()) {
        (HirKind::Look(Look::Start), HirKind::Literal(literal)) => &literal.0,
        _ => return None,
    };
    core::str::from_utf8(literal).ok().map(Arc::from)
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.is_regex() == other.is_regex() && self.as_exact() == other.as_exact()
    }
}

impl Eq for TextPattern {}

impl core::str::FromStr for TextPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::glob(text)
    }
}

impl fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Exact => write!(f, "={:?}", self.text),
            Kind::Prefix | Kind::Glob { .. } => write!(f, "{:?}", self.text),
            Kind::Regex { .. } => write!(f, "/{}/", self.text),
        }
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_regex() { write!(f, "/{}/", self.text) } else { f.write_str(&self.text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn b12_a_regular_expression_that_is_wrong_or_too_large_is_refused() {
        let refused = |text: &str| TextPattern::regex(text).unwrap_err();
        assert!(matches!(refused("gpt-("), PatternError::Syntax { reason } if reason == "unclosed group"));
        assert_eq!(refused("(a{1000}){1000}"), PatternError::TooLarge);
        assert_eq!(refused(&"a".repeat(1_000_000)), PatternError::TooLong { bytes: 1_000_000 });
        assert_eq!(refused(""), PatternError::Empty);
        assert!(matches!(refused(&"(".repeat(500)), PatternError::Syntax { .. }));
        assert!(matches!(
            refused(&format!("{}a{}", "(".repeat(100), ")".repeat(100))),
            PatternError::Syntax { .. }
        ));
    }

    #[test]
    fn a_prefix_is_only_taken_where_every_match_begins_with_it() {
        let span = |text: &str| TextPattern::regex(text).unwrap().span() == Span::Within("gpt-");
        assert!(span("^gpt-[0-9]") && span("^gpt-.*$"));
        for other in ["gpt-", "^gpt-|claude", "^(gpt-)?4", "(?i)^gpt-4", "^[g]?pt-", "(?m)^gpt-4"] {
            assert_eq!(TextPattern::regex(other).unwrap().span(), Span::Within(""), "{other}");
        }
    }

    /// The obvious matcher, by recursion.
    fn naive(glob: &[char], text: &[char]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn wildcards_match_as_the_obvious_matcher_does(glob in "[abö🦀.*?]{1,8}", text in "[abö🦀.]{0,8}") {
            let pattern: TextPattern = glob.parse().unwrap();
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(pattern.matches(&text), naive(&chars(&glob), &chars(&text)));
        }

        #[test]
        fn what_matches_lies_within_the_span(regex in r"\^?[ab(|)?*]{1,8}", texts in proptest::collection::vec("[ab]{0,6}", 1..20)) {
            let Ok(pattern) = TextPattern::regex(&regex) else { return Ok(()) };
            let Span::Within(prefix) = pattern.span() else { panic!("a regular expression has no other span") };
            for text in texts {
                prop_assert!(!pattern.matches(&text) || text.starts_with(prefix), "{} {} {}", regex, text, prefix);
            }
        }
    }
}
