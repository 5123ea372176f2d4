//! The names of headers in which providers tell what is left of a quota.

/// What a header tells, and of which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaHeader {
    pub(crate) window: Window,
    pub(crate) field: Field,
}

/// One of the windows in which a provider counts: headers with the same window belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) counted: Counted,
    family: Family,
    scope: Option<Scope>,
    /// How many of the unit, for instance 10 seconds; 1 when not said.
    count: u16,
    unit: Option<Unit>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

/// Which of its three numbers a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Limit,
    Remaining,
    Reset,
}

/// Names with the same beginning, but for spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    RateLimit,
    TokenLimit,
    BySize,
    Anthropic,
}

/// For whom or how is counted, where a provider counts more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// `project`, of OpenAI.
    Project,
    /// `usage_based`, of OpenAI.
    UsageBased,
    /// `dynamic`, of Together.
    Dynamic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// The most bytes of a name that is looked at; the longest that is known has 42.
const MAX_NAME: usize = 64;

/// How names begin, in lower case.
const FAMILIES: [(&str, Family); 8] = [
    ("x-ratelimit-", Family::RateLimit),
    ("anthropic-ratelimit-", Family::Anthropic),
    ("ratelimit-", Family::RateLimit),
    ("x-rate-limit-", Family::RateLimit),
    ("rate-limit-", Family::RateLimit),
    ("x-tokenlimit-", Family::TokenLimit),
    ("x-ratelimitbysize-", Family::BySize),
    ("ratelimitbysize-", Family::BySize),
];

/// What a word of a name says.
#[derive(Clone, Copy)]
enum Word {
    Field(Field),
    Thing(Thing),
    Side(Side),
    Scope(Scope),
    Unit(Unit),
    Count(u16),
}

#[derive(Clone, Copy)]
enum Thing {
    Requests,
    Tokens,
}

#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

/// Every word that is known, in lower case; numbers too are.
const WORDS: [(&str, Word); 22] = [
    ("limit", Word::Field(Field::Limit)),
    ("remaining", Word::Field(Field::Remaining)),
    ("reset", Word::Field(Field::Reset)),
    ("requests", Word::Thing(Thing::Requests)),
    ("request", Word::Thing(Thing::Requests)),
    ("req", Word::Thing(Thing::Requests)),
    ("tokens", Word::Thing(Thing::Tokens)),
    ("token", Word::Thing(Thing::Tokens)),
    ("input", Word::Side(Side::Input)),
    ("prompt", Word::Side(Side::Input)),
    ("output", Word::Side(Side::Output)),
    ("generated", Word::Side(Side::Output)),
    ("second", Word::Unit(Unit::Second)),
    ("minute", Word::Unit(Unit::Minute)),
    ("hour", Word::Unit(Unit::Hour)),
    ("day", Word::Unit(Unit::Day)),
    ("week", Word::Unit(Unit::Week)),
    ("month", Word::Unit(Unit::Month)),
    ("project", Word::Scope(Scope::Project)),
    ("usage", Word::Scope(Scope::UsageBased)),
    ("based", Word::Scope(Scope::UsageBased)),
    ("dynamic", Word::Scope(Scope::Dynamic)),
];

/// The words of a name after its beginning, in whatever order they came.
#[derive(Default)]
struct Words {
    field: Option<Field>,
    thing: Option<Thing>,
    side: Option<Side>,
    scope: Option<Scope>,
    unit: Option<Unit>,
    count: Option<u16>,
}

impl QuotaHeader {
    /// Reads a name by its words; `None` when it is not the name of such a header, or has a word that is not known and
    /// could mean anything, as in `x-ratelimit-remaining-input-images`.
    ///
    /// By its words and not by a list, since providers differ in their order and keep adding windows:
    /// `x-ratelimit-remaining-tokens-minute`, `anthropic-ratelimit-input-tokens-remaining`, `ratelimit-remaining`.
    pub(crate) fn read(name: &str) -> Option<Self> {
        if name.len() > MAX_NAME {
            return None;
        }
        let (family, rest) = FAMILIES.iter().find_map(|&(begins, family)| {
            let (start, rest) = name.split_at_checked(begins.len())?;
            start.eq_ignore_ascii_case(begins).then_some((family, rest))
        })?;
        rest.split(['-', '_']).try_fold(Words::default(), Words::and)?.of(family)
    }
}

impl Words {
    fn and(mut self, text: &str) -> Option<Self> {
        match word(text)? {
            Word::Field(field) => once(&mut self.field, field)?,
            Word::Thing(thing) => once(&mut self.thing, thing)?,
            Word::Side(side) => once(&mut self.side, side)?,
            // Not once: `usage_based` is two words.
            Word::Scope(scope) => self.scope = Some(scope),
            Word::Unit(unit) => once(&mut self.unit, unit)?,
            Word::Count(count) => once(&mut self.count, count)?,
        }
        Some(self)
    }

    fn of(self, family: Family) -> Option<QuotaHeader> {
        let unsaid = match family {
            Family::TokenLimit | Family::BySize => Thing::Tokens,
            Family::RateLimit | Family::Anthropic => Thing::Requests,
        };
        let counted = match (self.thing.unwrap_or(unsaid), self.side) {
            (Thing::Requests, None) => Counted::Requests,
            (Thing::Requests, Some(_)) => return None,
            (Thing::Tokens, None) => Counted::Tokens,
            (Thing::Tokens, Some(Side::Input)) => Counted::InputTokens,
            (Thing::Tokens, Some(Side::Output)) => Counted::OutputTokens,
        };
        let count = self.count.unwrap_or(1);
        let window = Window { counted, family, scope: self.scope, count, unit: self.unit };
        Some(QuotaHeader { window, field: self.field? })
    }
}

fn word(text: &str) -> Option<Word> {
    let known = WORDS.iter().find(|(known, _)| text.eq_ignore_ascii_case(known));
    known.map(|&(_, word)| word).or_else(|| text.parse().ok().map(Word::Count))
}

/// Takes a word of a kind; of two, which is meant nobody can tell.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(name: &str) -> Option<(Counted, Field)> {
        QuotaHeader::read(name).map(|header| (header.window.counted, header.field))
    }

    fn same_window(a: &str, b: &str) -> bool {
        QuotaHeader::read(a).unwrap().window == QuotaHeader::read(b).unwrap().window
    }

    #[test]
    fn names_tell_what_is_counted() {
        for (name, counted) in [
            ("x-ratelimit-remaining-requests", Counted::Requests),
            ("X-RateLimit-Remaining-Tokens", Counted::Tokens),
            ("x-rate-limit-remaining-tokens", Counted::Tokens),
            ("x-ratelimit-remaining", Counted::Requests),
            ("RateLimit-Remaining", Counted::Requests),
            ("x-ratelimit-remaining-req-10-second", Counted::Requests),
            ("x-ratelimit-remaining-requests-day", Counted::Requests),
            ("x-ratelimit-remaining-tokens-month", Counted::Tokens),
            ("x-ratelimit-remaining-tokens_usage_based", Counted::Tokens),
            ("x-ratelimit-remaining-project-tokens", Counted::Tokens),
            ("x-ratelimit-remaining-dynamic", Counted::Requests),
            ("x-ratelimit-remaining-tokens-prompt", Counted::InputTokens),
            ("x-ratelimit-remaining-tokens-generated", Counted::OutputTokens),
            ("x-tokenlimit-remaining", Counted::Tokens),
            ("x-ratelimitbysize-remaining-minute", Counted::Tokens),
            ("ratelimitbysize-remaining", Counted::Tokens),
            ("anthropic-ratelimit-requests-remaining", Counted::Requests),
            ("anthropic-ratelimit-tokens-remaining", Counted::Tokens),
            ("anthropic-ratelimit-input-tokens-remaining", Counted::InputTokens),
            ("Anthropic-Ratelimit-Output-Tokens-Remaining", Counted::OutputTokens),
        ] {
            assert_eq!(read(name), Some((counted, Field::Remaining)), "{name}");
        }
    }

    #[test]
    fn names_tell_which_number_it_is() {
        assert_eq!(read("x-ratelimit-limit-tokens"), Some((Counted::Tokens, Field::Limit)));
        assert_eq!(read("x-rate-limit-limit-requests"), Some((Counted::Requests, Field::Limit)));
        assert_eq!(read("x-rate-limit-reset-tokens"), Some((Counted::Tokens, Field::Reset)));
        assert_eq!(read("anthropic-ratelimit-tokens-reset"), Some((Counted::Tokens, Field::Reset)));
    }

    #[test]
    fn numbers_of_one_window_belong_together() {
        assert!(same_window("x-ratelimit-limit-tokens", "X-RATE-LIMIT-RESET-TOKENS"));
        assert!(same_window("x-ratelimit-limit-req-10-second", "x-ratelimit-remaining-req-10-second"));
        let minute = "x-ratelimit-limit-tokens-minute";
        for other in [
            "x-ratelimit-limit-tokens-month",
            "x-ratelimit-limit-tokens-5-minute",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-limit-project-tokens",
            "x-tokenlimit-limit-minute",
            "x-ratelimit-limit-req-minute",
        ] {
            assert!(!same_window(minute, other), "{other}");
        }
    }

    #[test]
    fn other_headers_are_none() {
        for name in [
            "",
            "retry-after",
            "content-length",
            "x-ratelimit",
            "x-ratelimit-",
            "x-ratelimit-requests",
            "x-ratelimit-over-limit",
            "x-ratelimit-tokens-query-cost",
            "x-ratelimit-abusepenalty-active",
            "x-ratelimit-renewalperiod-tokens",
            "x-ratelimit-remaining-input-images",
            "x-ratelimit-remaining-ocr-pages-minute",
            "x-ratelimit-limit-tokens-cache-adjusted-prompt",
            "x-ratelimit-limit-remaining-tokens",
            "x-ratelimit-remaining-requests-tokens",
            "x-ratelimit-remaining-input",
            "x-ratelimit-remaining-tokens-99999",
            "x-ratelimit-remaining-tokens-minute-day",
            "x-ratelimit-remaining-tokens-",
            "ratelimit-policy",
            "anthropic-ratelimit-unified-5h-reset",
            "anthropic-ratelimit-unified-status",
            "x-endpoint-monthly-call-limit",
            "x-ratelimit-remaining-tökens",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(
            name in "(x-ratelimit-)?((limit|remaining|reset|tokens|input|10|ä|[a-z]{0,5})[-_]?){0,9}",
            any in ".{0,100}",
        ) {
            let _ = (QuotaHeader::read(&name), QuotaHeader::read(&any));
        }
    }
}
