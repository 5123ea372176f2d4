//! Reads values and gathers what is wrong with them.

use core::fmt::Write;
use core::str::FromStr;
use std::borrow::Cow;
use std::collections::HashMap;

use waypost_core::excerpt;

use super::field::Table;
use super::pattern::Kind;
use super::problem::{FormErrors, FormProblem};
use super::value::Value;
use super::written::Read;
use crate::TextPattern;
use crate::nearest::nearest;

/// The longest key that a path repeats as it stands.
const LONGEST_PLAIN: usize = 64;

/// Where reading has come to and what was wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Reader {
    path: Vec<Step>,
    entry: Option<String>,
    errors: FormErrors,
    /// Patterns that were compiled, by how they were written.
    pub(super) patterns: HashMap<(Kind, String), TextPattern>,
}

#[derive(Debug)]
enum Step {
    Key(Cow<'static, str>),
    Index(usize),
}

/// The fields of a table that was opened, in the order of its declaration.
#[derive(Debug)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

/// Reads a whole document. Nothing at all is an empty table.
pub(super) fn read<T: Read>(value: Value) -> Result<T, FormErrors> {
    let value = if value == Value::Null { Value::Table(Vec::new()) } else { value };
    let mut reader = Reader::default();
    match T::read(value, &mut reader) {
        Some(document) if reader.errors.is_empty() => Ok(document),
        _ => Err(reader.errors),
    }
}

/// Reads a list. What is wrong in it is left out of it, and reported.
pub(super) fn list<T: Read>(value: Value, reader: &mut Reader) -> Option<Vec<T>> {
    match value {
        Value::List(items) => Some(reader.items(items, T::read)),
        other => reader.expected("a list", &other),
    }
}

/// Reads one, or a list.
#[expect(clippy::unnecessary_wraps, reason = "all that read have one signature")]
pub(super) fn one_or_many<T: Read>(value: Value, reader: &mut Reader) -> Option<Vec<T>> {
    match value {
        Value::List(items) => Some(reader.items(items, T::read)),
        one => Some(T::read(one, reader).into_iter().collect()),
    }
}

/// Reads a list of rules or tests: what is wrong in one is reported with its name.
pub(super) fn entries<T: Read>(value: Value, name: &str, reader: &mut Reader) -> Option<Vec<T>> {
    match value {
        Value::List(items) => Some(reader.items(items, |item, reader| {
            reader.entry = item.text_at(name).map(excerpt);
            let entry = T::read(item, reader);
            reader.entry = None;
            entry
        })),
        other => reader.expected("a list", &other),
    }
}

impl Reader {
    /// Says what is wrong here.
    pub(super) fn problem<T>(&mut self, message: &str) -> Option<T> {
        let (path, entry) = (&self.path, &self.entry);
        self.errors.add(|| FormProblem::new(written(path), entry.clone(), message));
        None
    }

    /// Says that something else should be here.
    pub(super) fn expected<T>(&mut self, what: &str, found: &Value) -> Option<T> {
        self.problem(&format!("expected {what}, found {}", found.kind()))
    }

    /// Says that a word is not one of those that may be here.
    pub(super) fn unknown<T>(&mut self, what: &str, word: &str, known: &[impl AsRef<str>]) -> Option<T> {
        // Looking for the near one takes time, so not for problems that nobody will read.
        if !self.errors.has_room() {
            return self.problem("");
        }
        let hint = match nearest(word, known.iter().map(AsRef::as_ref)) {
            Some(near) => format!(", did you mean `{near}`?"),
            None => format!("; known are {}", quoted(known)),
        };
        self.problem(&format!("unknown {what} `{}`{hint}", excerpt(word)))
    }

    /// Reads what stands under a key.
    pub(super) fn within<T>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        value: Value,
        read: impl FnOnce(Value, &mut Self) -> Option<T>,
    ) -> Option<T> {
        self.step(Step::Key(key.into()), value, read)
    }

    pub(super) fn text(&mut self, value: Value) -> Option<String> {
        match value.with_datetime_as_text() {
            Value::Text(text) => Some(text),
            other => self.expected("text", &other),
        }
    }

    /// Reads a text that must have a meaning of its own.
    pub(super) fn parse<T: FromStr<Err: ToString>>(&mut self, value: Value) -> Option<T> {
        let text = self.text(value)?;
        text.parse().map_or_else(|error: T::Err| self.problem(&error.to_string()), Some)
    }

    /// Opens a table: reports fields that it does not have, that are there twice, and that are missing.
    pub(super) fn table(&mut self, value: Value, table: &'static Table) -> Option<Fields> {
        let Value::Table(entries) = value else { return self.expected("a table", &value) };
        let mut found: Vec<Option<Value>> = table.fields.iter().map(|_| None).collect();
        for (key, value) in entries {
            match table.place(&key) {
                None => self.unknown_field(&key, table),
                Some(place) if found[place].is_some() => self.duplicate(&key),
                Some(place) => found[place] = Some(value),
            }
        }
        let found = table.fields.iter().zip(found);
        let mut fields = Vec::new();
        for (field, value) in found {
            match value {
                Some(Value::Null) | None if field.required => self.missing(field.name),
                Some(Value::Null) | None => {}
                Some(value) => fields.push((field.name, value)),
            }
        }
        Some(Fields(fields))
    }

    /// Reads a field, if it is there. What is wrong with it is reported; then it is as if it were not there.
    pub(super) fn field<T>(
        &mut self,
        fields: &mut Fields,
        name: &'static str,
        read: impl FnOnce(Value, &mut Self) -> Option<T>,
    ) -> Option<T> {
        let place = fields.0.iter().position(|(known, _)| *known == name)?;
        let (_, value) = fields.0.remove(place);
        self.within(name, value, read)
    }

    /// Reads a table with any keys, in the order of the keys: not every format keeps that of the text.
    pub(super) fn map<T>(
        &mut self,
        value: Value,
        mut read: impl FnMut(String, Value, &mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Table(mut entries) = value else { return self.expected("a table", &value) };
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let repeated = entries.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        repeated.for_each(|pair| self.duplicate(&pair[0].0));
        let present = entries.into_iter().filter(|(_, value)| *value != Value::Null);
        Some(
            present
                .filter_map(|(key, value)| {
                    self.within(key.clone(), value, |value, reader| read(key, value, reader))
                })
                .collect(),
        )
    }

    fn items<T>(&mut self, items: Vec<Value>, mut read: impl FnMut(Value, &mut Self) -> Option<T>) -> Vec<T> {
        let items = items.into_iter().enumerate();
        items.filter_map(|(index, item)| self.step(Step::Index(index), item, &mut read)).collect()
    }

    fn step<T>(
        &mut self,
        step: Step,
        value: Value,
        read: impl FnOnce(Value, &mut Self) -> Option<T>,
    ) -> Option<T> {
        self.path.push(step);
        let read = read(value, self);
        self.path.pop();
        read
    }

    fn unknown_field(&mut self, key: &str, table: &Table) {
        let names: Vec<_> = table.fields.iter().map(|field| field.name).collect();
        self.unknown::<()>("field", key, &names);
    }

    fn duplicate(&mut self, key: &str) {
        self.problem::<()>(&format!("the field `{}` is there more than once", excerpt(key)));
    }

    fn missing(&mut self, name: &str) {
        self.problem::<()>(&format!("the field `{name}` is missing"));
    }
}

impl Fields {
    /// Whether no field is there.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Fields {
    type Item = (&'static str, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn quoted(words: &[impl AsRef<str>]) -> String {
    words.iter().map(|word| format!("`{}`", word.as_ref())).collect::<Vec<_>>().join(", ")
}

fn written(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        let dot = if text.is_empty() { "" } else { "." };
        let written = match step {
            Step::Index(index) => write!(text, "[{index}]"),
            Step::Key(key) if is_plain(key) => write!(text, "{dot}{key}"),
            Step::Key(key) => write!(text, "{dot}`{}`", excerpt(key)),
        };
        written.expect("a string takes all that is written to it");
    }
    text
}

fn is_plain(key: &str) -> bool {
    (1..=LONGEST_PLAIN).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
