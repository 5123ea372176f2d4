//! Few words, so that rules and requests often meet, and odd ones among them.

use core::str::FromStr;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;

pub(crate) const MODELS: [&str; 8] =
    ["gpt-4o", "gpt-4o-mini", "gpt-5", "claude-x", "claude-haiku", "4o", "*", "gpt-?"];
pub(crate) const NAMES: [&str; 6] = ["a", "b", "ab", "c", "null", "1e3"];
pub(crate) const KEYS: [&str; 4] = ["env", "team", "<<", "a.b"];

/// Networks at the edges and within each other.
pub(crate) const NETWORKS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "0.0.0.0",
    "255.255.255.255",
    "::/0",
    "::",
    "::1",
    "::ffff:0:0/96",
    "::ffff:10.0.0.0/104",
    "2001:db8::/32",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "8000::/1",
];

/// Addresses that are at the edges of the networks.
pub(crate) const ADDRESSES: [&str; 10] = [
    "0.0.0.0",
    "10.1.2.3",
    "10.255.255.255",
    "11.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// Words of the form, and values that belong elsewhere.
pub(crate) const WORDS: [&str; 64] = [
    "id",
    "description",
    "priority",
    "enabled",
    "valid",
    "from",
    "until",
    "continue",
    "when",
    "then",
    "model",
    "tenant",
    "user",
    "region",
    "tag",
    "time",
    "feature",
    "capability",
    "streaming",
    "prompt_tokens",
    "metadata",
    "user_agent",
    "source_ip",
    "attempt",
    "sample",
    "any",
    "all",
    "not",
    "regex",
    "exact",
    "min",
    "max",
    "days",
    "zone",
    "by",
    "percent",
    "salt",
    "pool",
    "provider",
    "exclude",
    "strategy",
    "set_priority",
    "add_tag",
    "mirror",
    "reject",
    "chain",
    "rewrite_model",
    "true",
    "false",
    "null",
    "high",
    "mon",
    "12.5",
    "1e3",
    ".nan",
    "[]",
    "{}",
    "18446744073709551616",
    "24:00",
    "2026-12-01T00:00:00Z",
    "10.0.0.0/8",
    "\n",
    "\"",
    "'",
];

/// Half-hour shifts, shifts at midnight, a day that never was, and no shift at all.
pub(crate) const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Etc/GMT-14",
];

const NUMBERS: [u64; 8] =
    [0, 1, 1_000, u32::MAX as u64 - 1, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];

/// Seconds at which something happens: the epoch, clocks put forward and back, the ends of the calendar.
const MOMENTS: [i64; 10] = [
    0,
    -1,
    1_774_746_000,
    1_774_745_999,
    1_792_890_000,
    1_325_239_200,
    -377_705_023_201,
    253_402_207_200,
    MAX_SECOND,
    -MAX_SECOND,
];

/// Far beyond the calendar, yet near enough for arithmetic: a clock that is off by more than 30 million years is not
/// tried.
const MAX_SECOND: i64 = 1 << 50;

/// 2026-01-01, midnight.
const USUAL_SECOND: i64 = 1_767_225_600;

/// Pieces of texts: of words, of patterns, and what readers and printers may stumble over.
const PIECES: [&str; 40] = [
    "gpt-",
    "4o",
    "-mini",
    "a",
    "b",
    "ab",
    "é",
    "ß",
    "→",
    "\u{10ffff}",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    ": ",
    " #",
    "'",
    "\"",
    "\\",
    "'''",
    "\"\"\"",
    "---",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&",
    "*",
    "?",
    "!",
    "%",
    "|",
    ">",
    "~",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{7f}",
];

/// One of a list.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Pick(u8);

impl Pick {
    pub(crate) fn of<T: Copy>(self, list: &[T]) -> T {
        list[usize::from(self.0) % list.len()]
    }

    /// A word as an id.
    pub(crate) fn id<T: FromStr<Err: Debug>>(self, words: &[&str]) -> T {
        self.of(words).parse().expect("the words are valid")
    }
}

/// What is so in one of eight cases, and not when the bytes are used up: by the toss of a coin, most rules would be
/// switched off in one way or another.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Rarely(u8);

impl Rarely {
    pub(crate) const fn is(self) -> bool {
        self.0 % 8 == 7
    }
}

/// A list that is rarely empty.
#[derive(Debug, Arbitrary)]
pub(crate) struct List<T> {
    first: T,
    more: Vec<T>,
    empty: Rarely,
}

impl<T> List<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let all = std::iter::once(&self.first).chain(&self.more);
        all.take(if self.empty.is() { 0 } else { usize::MAX })
    }
}

/// A text.
#[derive(Debug, Arbitrary)]
pub(crate) enum Text {
    Word(Pick),
    Model(Pick),
    Pieces(Vec<Pick>),
    Free(String),
    /// Longer than what the cache keeps.
    Long(Pick),
}

impl Text {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Word(word) => word.of(&NAMES).to_owned(),
            Self::Model(model) => model.of(&MODELS).to_owned(),
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.of(&PIECES)).collect(),
            Self::Free(text) => text.clone(),
            Self::Long(piece) => piece.of(&PIECES).repeat(600),
        }
    }
}

/// A number.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Number {
    Small(u8),
    Edge(Pick),
    Any(u64),
}

impl Number {
    pub(crate) fn get(self) -> u64 {
        match self {
            Self::Small(number) => (number % 8).into(),
            Self::Edge(edge) => edge.of(&NUMBERS),
            Self::Any(number) => number,
        }
    }
}

/// A wall time.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct Moment {
    second: Second,
    late: bool,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Second {
    Usual(u32),
    Edge(Pick),
    Any(i64),
}

impl Moment {
    pub(crate) fn wall(self) -> SystemTime {
        let second = match self.second {
            Second::Usual(second) => USUAL_SECOND + i64::from(second % (2 * 365 * 86_400)),
            Second::Edge(edge) => edge.of(&MOMENTS),
            Second::Any(second) => second % MAX_SECOND,
        };
        let distance = Duration::from_secs(second.unsigned_abs());
        let whole =
            if second < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
        whole + Duration::from_nanos(if self.late { 999_999_999 } else { 0 })
    }
}
