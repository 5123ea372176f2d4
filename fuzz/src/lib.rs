//! What the fuzzer feeds Waypost, and what must hold: one function for each target.

#![forbid(unsafe_code)]

mod agreement;
mod aimed;
mod asked;
mod described;
mod edited;
mod errors;
mod format;
mod naive;
mod vocabulary;
mod written;

use arbitrary::{Arbitrary, Unstructured};
use waypost_rules::CompiledRules;

use crate::asked::Ask;
use crate::described::Described;
use crate::edited::{EditedRules, EditedTests};
use crate::format::Format;

/// The longest input, in bytes. Limits of the rules are 16 MiB and thousands of rules; to find a mistake takes a few.
const MAX_INPUT_BYTES: usize = 64 * 1_024;

/// What parts the texts of an input and the bytes after them: it occurs in no UTF-8.
const PART: u8 = 0xff;

/// The most requests that one set of rules is asked about.
const MAX_ASKED: usize = 12;

/// Rules. The first byte says how the others are read:
///
/// - `t`, `y`: rules in TOML or YAML; after a byte 255 requests;
/// - `T`, `Y`: tests of rules in TOML or YAML; after a byte 255 the rules, after another requests;
/// - any other, by its lowest bits: rules or tests that are well-formed but for a few words, or rules as [`Described`];
///   then requests.
///
/// Bytes seldom are a document: those of the first kinds find what readers stumble over, the others what comes after.
pub use errors::errors;

pub fn rules(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    if input.len() > MAX_INPUT_BYTES {
        return;
    }
    match kind {
        b't' => written_rules(Format::Toml, rest),
        b'y' => written_rules(Format::Yaml, rest),
        b'T' => written_tests(Format::Toml, rest),
        b'Y' => written_tests(Format::Yaml, rest),
        other => match other % 8 {
            0..3 => edited_rules(rest),
            3 => edited_tests(rest),
            _ => described_rules(rest),
        },
    }
}

fn written_rules(format: Format, input: &[u8]) {
    let (rules, asked) = part(input);
    check_rules(format, &text(rules), &mut Unstructured::new(asked));
}

fn written_tests(format: Format, input: &[u8]) {
    let (tests, rest) = part(input);
    let (rules, asked) = part(rest);
    check_tests(format, &text(tests), &text(rules), &mut Unstructured::new(asked));
}

fn edited_rules(input: &[u8]) {
    let mut bytes = Unstructured::new(input);
    let Ok(edited) = EditedRules::arbitrary(&mut bytes) else { return };
    if let Some((format, rules)) = edited.text() {
        check_rules(format, &rules, &mut bytes);
    }
}

fn edited_tests(input: &[u8]) {
    let mut bytes = Unstructured::new(input);
    let Ok(edited) = EditedTests::arbitrary(&mut bytes) else { return };
    let (format, tests, rules) = edited.texts();
    check_tests(format, &tests, &rules, &mut bytes);
}

fn check_rules(format: Format, rules: &str, asked: &mut Unstructured<'_>) -> Option<CompiledRules> {
    let set = written::rules(format, rules)?;
    agreement::check(&set, &asks(asked))
}

fn check_tests(format: Format, tests: &str, rules: &str, asked: &mut Unstructured<'_>) {
    let Some(tests) = written::tests(format, tests) else { return };
    if let Some(compiled) = check_rules(format, rules, asked) {
        agreement::check_tests(&compiled, &tests);
    }
}

fn described_rules(input: &[u8]) {
    let mut bytes = Unstructured::new(input);
    let Ok(described) = Described::arbitrary(&mut bytes) else { return };
    let set = described.rule_set();
    written::print(&described.distinct());
    agreement::check(&set, &asks(&mut bytes));
}

/// What stands before the first parting byte, and what stands after it.
fn part(input: &[u8]) -> (&[u8], &[u8]) {
    let place = input.iter().position(|&byte| byte == PART).unwrap_or(input.len());
    (&input[..place], input.get(place + 1..).unwrap_or_default())
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Requests as long as there are bytes; at least one.
fn asks(bytes: &mut Unstructured<'_>) -> Vec<Ask> {
    let mut asks = Vec::new();
    while asks.is_empty() || asks.len() < MAX_ASKED && !bytes.is_empty() {
        let Ok(ask) = Ask::arbitrary(bytes) else { break };
        asks.push(ask);
    }
    asks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed that is refused at once teaches the fuzzer nothing.
    #[test]
    fn seeds_are_read_and_agree() {
        for seed in std::fs::read_dir("seeds/rules").unwrap() {
            let path = seed.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            if !input[0].is_ascii() {
                rules(&input);
                continue;
            }
            let format = if matches!(input[0], b't' | b'T') { Format::Toml } else { Format::Yaml };
            let (first, second) = part(&input[1..]);
            let read = match input[0] {
                b'T' | b'Y' => format
                    .read_tests(&text(first))
                    .map(drop)
                    .and_then(|()| format.read_rules(&text(part(second).0))),
                _ => format.read_rules(&text(first)),
            };
            let usable = read.map(|set| agreement::check(&set, &[]).is_some());
            let is_bad = path.file_stem().unwrap().to_str().unwrap().starts_with("bad");
            assert_eq!(usable.is_ok_and(|usable| usable), !is_bad, "{path:?}");
            rules(&input);
        }
    }
}
