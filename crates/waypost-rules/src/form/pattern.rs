//! The written form of patterns: a text with wildcards, `{ regex = "…" }` or `{ exact = "…" }`.

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::Reader;
use super::value::Value;
use super::written::{Print, Read};
use crate::{PatternError, TextPattern};

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
            Value::Text(text) => checked(Self::glob(text), reader),
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
    let make = if name == "regex" { TextPattern::regex } else { TextPattern::exact };
    reader.within(name, text, |text, reader| {
        let text = reader.text(text)?;
        checked(make(text), reader)
    })
}

fn checked(pattern: Result<TextPattern, PatternError>, reader: &mut Reader) -> Option<TextPattern> {
    pattern.map_or_else(|error| reader.problem(&error.to_string()), Some)
}
