//! Documents in YAML.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{Node, NodeValue, Problem};

/// A value as YAML has it, with places.
enum Tree {
    Table(Vec<(Spanned<String>, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    Leaf(Value),
}

/// Reads YAML: one document without tags, no deeper than 64, with few aliases. Its first mistake is told.
pub(super) fn read(text: &str) -> Result<Node, Vec<Problem>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_aliases: 1_000, max_depth: 64, max_documents: 1 },
        strict_booleans: true,
        with_snippet: false,
    };
    let read: Result<Option<Spanned<Tree>>, _> = serde_saphyr::from_str_with_options(text, options);
    match read {
        Ok(Some(tree)) => Ok(node(tree)),
        Ok(None) => Ok(Node { span: 0..0, value: NodeValue::Table(Vec::new()) }),
        Err(error) => {
            let error = error.without_snippet();
            let span = error.location().map_or(0..0, |location| place_in(text, location));
            Err(vec![Problem::new(span, error.to_string())])
        }
    }
}

fn node(tree: Spanned<Tree>) -> Node {
    let span = place(tree.referenced);
    let value = match tree.value {
        Tree::Leaf(value) => NodeValue::Leaf(value),
        Tree::List(items) => NodeValue::List(items.into_iter().map(node).collect()),
        Tree::Table(entries) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Tree>)| {
                let span = place(key.referenced);
                (key.value, span, node(value))
            };
            NodeValue::Table(entries.into_iter().map(entry).collect())
        }
    };
    Node { span, value }
}

fn place(location: Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let len = span.byte_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    start..start + len
}

/// Where an error is, which does not always know its bytes.
fn place_in(text: &str, location: Location) -> Range<usize> {
    let known = place(location);
    if known.start > 0 || location.line() <= 1 {
        return known;
    }
    let before = text.split_inclusive('\n').take(location.line() as usize - 1).map(str::len).sum::<usize>();
    before..before
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(number.into()))
    }

    /// JSON has neither NaN nor infinities: they stay texts, which no field for numbers takes.
    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        let value = serde_json::Number::from_f64(number);
        Ok(Tree::Leaf(value.map_or_else(|| number.to_string().into(), Value::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Tree>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, _>()? {
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(de::Error::custom(format_args!("key `{}` stands twice", key.value)));
            }
            entries.push((key, value));
        }
        Ok(Tree::Table(entries))
    }
}
