//! A document as a tree whose every value knows where it stands.

mod yaml;

use std::fmt::Write as _;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest configuration: 16 MiB.
const MAX_LEN: usize = 16 << 20;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: NodeValue,
}

/// A table, a list or anything else.
#[derive(Debug, Clone)]
pub(super) enum NodeValue {
    /// Keys where they stand, and their values.
    Table(Vec<(String, Range<usize>, Node)>),
    List(Vec<Node>),
    Leaf(Value),
}

/// A problem with a document: what is wrong where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) is_warning: bool,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None, is_warning: false }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Node {
    /// Reads a document: YAML if the file's name says so, else TOML. What is wrong with it as such is told.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        if text.len() > MAX_LEN {
            return Err(vec![Problem::new(0..0, "the configuration is longer than 16 MiB")]);
        }
        if let Some(at) = text.find('\0') {
            return Err(vec![Problem::new(at..at + 1, "the configuration has a NUL byte")]);
        }
        let is_yaml = [".yaml", ".yml"].into_iter().any(|ending| name.ends_with(ending));
        if is_yaml { yaml::read(text) } else { Self::of_toml(text) }
    }

    fn of_toml(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problem =
                |error: &toml::de::Error| Problem::new(error.span().unwrap_or(0..0), error.message());
            return Err(errors.iter().map(problem).collect());
        }
        let span = table.span();
        Ok(Self { span, value: table_of(table.get_ref()) })
    }

    /// The value as data.
    pub(super) fn to_value(&self) -> Value {
        match &self.value {
            NodeValue::Leaf(value) => value.clone(),
            NodeValue::List(items) => items.iter().map(Self::to_value).collect(),
            NodeValue::Table(entries) => {
                let entries = entries.iter().map(|(key, _, node)| (key.clone(), node.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            NodeValue::Table(entries) => entries.iter().find(|(name, ..)| name == key).map(|(.., node)| node),
            NodeValue::List(items) => items.get(key.parse::<usize>().ok()?),
            NodeValue::Leaf(_) => None,
        }
    }

    /// Where a key stands; where its table does if it is missing.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        let NodeValue::Table(entries) = &self.value else { return self.span.clone() };
        let found = entries.iter().find(|(name, ..)| name == key);
        found.map_or_else(|| self.span.clone(), |(_, span, _)| span.clone())
    }

    /// Where a value stands, by the keys and places that lead to it; of what is missing, the nearest that is there.
    pub(super) fn span_at<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Range<usize> {
        let (mut at, mut span) = (self, self.span.clone());
        for key in path {
            let Some(next) = at.get(key) else { break };
            span =
                if matches!(next.value, NodeValue::Table(_)) { at.key_span(key) } else { next.span.clone() };
            at = next;
        }
        span
    }
}

fn table_of(table: &DeTable<'_>) -> NodeValue {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        (name.clone().into_owned(), key.span(), node_of(value))
    };
    NodeValue::Table(table.iter().map(entry).collect())
}

fn node_of(value: &Spanned<DeValue<'_>>) -> Node {
    let leaf = |value: Value| NodeValue::Leaf(value);
    let converted = match value.get_ref() {
        DeValue::String(text) => leaf(Value::from(text.as_ref())),
        DeValue::Integer(number) => leaf(integer(number.as_str(), number.radix())),
        DeValue::Float(number) => leaf(float(number.as_str())),
        DeValue::Boolean(flag) => leaf(Value::from(*flag)),
        DeValue::Datetime(time) => leaf(Value::from(time.to_string())),
        DeValue::Array(items) => NodeValue::List(items.iter().map(node_of).collect()),
        DeValue::Table(table) => table_of(table),
    };
    Node { span: value.span(), value: converted }
}

/// A number beyond 64 bits is a float, which no field for whole numbers takes.
fn integer(text: &str, radix: u32) -> Value {
    let plain = text.replace('_', "");
    let unsigned = u64::from_str_radix(plain.trim_start_matches('+'), radix).map(Value::from);
    unsigned
        .or_else(|_| i64::from_str_radix(&plain, radix).map(Value::from))
        .unwrap_or_else(|_| float(&plain))
}

/// JSON has neither NaN nor infinities: they stay texts, which no field for numbers takes.
fn float(text: &str) -> Value {
    let plain = text.replace('_', "");
    let number = plain.parse().ok().and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::from(plain), Value::Number)
}

/// A path such as `rules[2].when.tenant`, taken apart.
pub(super) fn segments(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in path.split('.') {
        let (name, places) = part.split_once('[').unwrap_or((part, ""));
        parts.push(name.to_owned());
        parts.extend(
            places
                .split('[')
                .map(|place| place.trim_end_matches(']').to_owned())
                .filter(|place| !place.is_empty()),
        );
    }
    parts
}

/// Keys and places as one path.
pub(super) fn path_of(parts: &[String]) -> String {
    let mut path = String::new();
    for part in parts {
        let is_place = part.bytes().all(|byte| byte.is_ascii_digit()) && !path.is_empty();
        let _ = match (is_place, path.is_empty()) {
            (true, _) => write!(path, "[{part}]"),
            (false, true) => write!(path, "{part}"),
            (false, false) => write!(path, ".{part}"),
        };
    }
    path
}
