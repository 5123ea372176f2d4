//! The written form of patterns: a text with wildcards, `{ regex = "…" }` or `{ exact = "…" }`.

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::Reader;
use super::value::Value;
use super::written::{Print, Read};
use crate::TextPattern;

/// Different patterns of one document that are compiled: what comes after the limits of a rule set would be too late.
const MAX_COMPILED: usize = 1_024;

/// How a pattern is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Glob,
    Regex,
    Exact,
}

static PATTERN: Table = Table {
    name: "RulePattern",
    doc: "A pattern that is not a text with wildcards; exactly one of the fields.",
    fields: &[
        Field::optional("regex", "A regular expression; matches anywhere unless anchored.", Shape::Text),
        Field::optional("exact", "The text itself, wildcards included.", Shape::Text),
    ],
};

impl Read for TextPattern {
    const SHAPE: Shape = Shape::AnyOf(&[Shape::Text, Shape::Table(&PATTERN)]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Text(text) => reader.pattern(Kind::Glob, &text),
            Value::Table(_) => read_table(value, reader),
            other => reader.expected("a pattern, as text or a table", &other),
        }
    }
}

impl Print for TextPattern {
    fn print(&self) -> Result<Value, PrintError> {
        let text = Value::text(self.as_str());
        let plain = Self::glob(self.as_str()).is_ok_and(|glob| glob == *self);
        Ok(match self.is_regex() {
            _ if plain => text,
            true => Value::table([("regex", text)]),
            false => Value::table([("exact", text)]),
        })
    }
}

fn read_table(value: Value, reader: &mut Reader) -> Option<TextPattern> {
    let mut fields = reader.table(value, &PATTERN)?.into_iter();
    let (Some((name, text)), None) = (fields.next(), fields.next()) else {
        return reader.problem("a pattern has either `regex` or `exact`");
    };
    let kind = if name == "regex" { Kind::Regex } else { Kind::Exact };
    reader.within(name, text, |text, reader| {
        let text = reader.text(text)?;
        reader.pattern(kind, &text)
    })
}

impl Reader {
    /// Makes a pattern, or finds it made: a text that stands in many places is compiled once.
    fn pattern(&mut self, kind: Kind, text: &str) -> Option<TextPattern> {
        if let Some(made) = self.patterns.get(&(kind, text.to_owned())) {
            return Some(made.clone());
        }
        let made = match kind {
            Kind::Glob => TextPattern::glob(text),
            Kind::Regex => TextPattern::regex(text),
            Kind::Exact => TextPattern::exact(text),
        };
        let made = made.map_or_else(|error| self.problem(&error.to_string()), Some)?;
        if made.runs_regex() {
            if self.patterns.len() >= MAX_COMPILED {
                return self.problem(&format!("more than {MAX_COMPILED} different patterns to compile"));
            }
            self.patterns.insert((kind, text.to_owned()), made.clone());
        }
        Some(made)
    }
}
