//! Documents that are nearly right: well-formed ones with a few words changed.

use arbitrary::Arbitrary;

use crate::described::Described;
use crate::format::Format;
use crate::vocabulary::{Pick, Text, WORDS};

/// The most changes to one document: after many nothing of it is read.
const MAX_EDITS: usize = 6;

/// The tests that are edited, which rules cannot be printed as.
const TESTS: [(Format, &[u8]); 2] = [
    (Format::Toml, include_bytes!("../seeds/rules/tests.toml")),
    (Format::Yaml, include_bytes!("../seeds/rules/tests.yaml")),
];

/// Rules that are printed, and then edited.
#[derive(Debug, Arbitrary)]
pub(crate) struct EditedRules {
    rules: Described,
    yaml: bool,
    edits: Vec<Edit>,
}

/// Tests that are edited.
#[derive(Debug, Arbitrary)]
pub(crate) struct EditedTests {
    yaml: bool,
    edits: Vec<Edit>,
}

#[derive(Debug, Arbitrary)]
struct Edit {
    place: u16,
    change: Change,
}

#[derive(Debug, Arbitrary)]
enum Change {
    Remove,
    Repeat,
    Swap(u16),
    Word(Pick),
    Number(i64),
    Own(Text),
}

impl EditedRules {
    /// The text; `None` when the rules cannot be printed.
    pub(crate) fn text(&self) -> Option<(Format, String)> {
        let format = if self.yaml { Format::Yaml } else { Format::Toml };
        let printed = format.print(&self.rules.distinct()).ok()?;
        Some((format, edited(&printed, &self.edits)))
    }
}

impl EditedTests {
    /// The tests and the rules that they test.
    pub(crate) fn texts(&self) -> (Format, String, String) {
        let (format, seed) = TESTS[usize::from(self.yaml)];
        let (tests, rest) = crate::part(&seed[1..]);
        let (rules, _) = crate::part(rest);
        (format, edited(&crate::text(tests), &self.edits), crate::text(rules).into_owned())
    }
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut words: Vec<String> = words(text).into_iter().map(str::to_owned).collect();
    for edit in edits.iter().take(MAX_EDITS) {
        if !words.is_empty() {
            edit.change.make(usize::from(edit.place) % words.len(), &mut words);
        }
    }
    words.concat()
}

impl Change {
    fn make(&self, place: usize, words: &mut Vec<String>) {
        match self {
            Self::Remove => _ = words.remove(place),
            Self::Repeat => words.insert(place, words[place].clone()),
            Self::Swap(other) => {
                let other = usize::from(*other) % words.len();
                words.swap(place, other);
            }
            Self::Word(word) => word.of(&WORDS).clone_into(&mut words[place]),
            Self::Number(number) => words[place] = number.to_string(),
            Self::Own(text) => words[place] = text.text(),
        }
    }
}

/// Runs of letters, digits and what holds them together; every other character by itself.
fn words(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end =
            if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}
