//! Whether a document has the structure that its schema says: all that is wrong, each where it stands.

use serde_json::Value;

use super::document::{Node, NodeValue, Problem, path_of};
use super::units::{Money, Pace, Size, Time, UnitError};

/// Walks a document along its JSON Schema.
pub(super) struct Walk<'s> {
    root: &'s Value,
    path: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

impl<'s> Walk<'s> {
    pub(super) const fn new(root: &'s Value) -> Self {
        Self { root, path: Vec::new(), problems: Vec::new() }
    }

    /// Compares a value with a schema.
    pub(super) fn compare(&mut self, node: &Node, schema: &'s Value) {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            self.choose(node, schema, choices);
        } else {
            self.compare_one(node, schema);
        }
    }

    /// What a schema refers to.
    fn resolved(&self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        while let Some(reference) = schema["$ref"].as_str() {
            schema = self.root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
        }
        schema
    }

    /// One of several: an optional value, one of some words, or a table with one of some keys.
    fn choose(&mut self, node: &Node, schema: &'s Value, choices: &'s [Value]) {
        let choices: Vec<_> = choices.iter().map(|choice| self.resolved(choice)).collect();
        let real: Vec<_> = choices.into_iter().filter(|choice| choice["type"] != "null").collect();
        if let [only] = real[..] {
            return self.compare(node, only);
        }
        let words: Vec<_> = real.iter().flat_map(|choice| words(choice)).collect();
        if !words.is_empty() {
            return self.word(node, &words);
        }
        let keys: Vec<&str> = real.iter().filter_map(|choice| choice["required"][0].as_str()).collect();
        let NodeValue::Table(entries) = &node.value else {
            return self.wrong(node, &format!("a table with {}", list(&keys, "or")));
        };
        match &entries[..] {
            [(key, ..)] if keys.contains(&key.as_str()) => {
                let chosen = real.iter().find(|choice| choice["required"][0] == key.as_str());
                self.compare_one(node, chosen.unwrap_or(&schema));
            }
            _ => self.wrong(node, &format!("exactly one of {}", list(&keys, "and"))),
        }
    }

    fn compare_one(&mut self, node: &Node, schema: &'s Value) {
        let words = words(schema);
        if !words.is_empty() {
            return self.word(node, &words);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match (kind, &node.value) {
            (None, _)
            | (Some("boolean"), NodeValue::Leaf(Value::Bool(_)))
            | (Some("number"), NodeValue::Leaf(Value::Number(_))) => {}
            (Some("object"), NodeValue::Table(entries)) => self.table(node, entries, schema),
            (Some("array"), NodeValue::List(items)) => self.items(items, &schema["items"]),
            (Some("string"), NodeValue::Leaf(Value::String(text))) => self.text(node, text, schema),
            (Some("integer"), NodeValue::Leaf(Value::Number(number))) => self.integer(node, number, schema),
            (Some(kind), _) => self.wrong(node, name_of(kind)),
        }
    }

    fn table(&mut self, node: &Node, entries: &[(String, std::ops::Range<usize>, Node)], schema: &'s Value) {
        let fields = schema["properties"].as_object();
        for (key, span, value) in entries {
            let field = fields.and_then(|fields| fields.get(key));
            let any = Some(&schema["additionalProperties"])
                .filter(|any| any.is_object() || any.as_bool() == Some(true));
            let Some(known) = field.or(any) else {
                let names = fields.into_iter().flatten().map(|(name, _)| name.as_str());
                let problem = Problem::new(span.clone(), format!("unknown key `{key}`{}", self.within()));
                self.problems.push(did_you_mean(problem, key, names));
                continue;
            };
            self.path.push(key.clone());
            self.compare(value, known);
            self.path.pop();
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|(key, ..)| key == required) {
                let span = node.span.clone();
                self.problems.push(Problem::new(span, format!("`{required}` is missing{}", self.within())));
            }
        }
    }

    fn items(&mut self, items: &[Node], schema: &'s Value) {
        for (place, item) in items.iter().enumerate() {
            self.path.push(place.to_string());
            self.compare(item, schema);
            self.path.pop();
        }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Value) {
        let read: Result<(), UnitError> = match schema["format"].as_str() {
            Some("duration") => text.parse::<Time>().map(drop),
            Some("size") => text.parse::<Size>().map(drop),
            Some("money") => text.parse::<Money>().map(drop),
            Some("rate") => text.parse::<Pace>().map(drop),
            _ => Ok(()),
        };
        if let Err(error) = read {
            self.problems.push(Problem::new(node.span.clone(), format!("{}: {error}", path_of(&self.path))));
        }
    }

    fn integer(&mut self, node: &Node, number: &serde_json::Number, schema: &Value) {
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let bits = match schema["format"].as_str() {
            Some("uint8") => u64::from(u8::MAX),
            Some("uint32") => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        let most = schema["maximum"].as_u64().unwrap_or(bits);
        let above = number.as_u64().is_some() || number.as_i64().is_some_and(|number| number >= least);
        let fits = number.as_u64().map_or(number.is_i64(), |number| number <= most);
        if !above || !fits {
            let expected = format!("a whole number from {} to {most}", least.max(0));
            self.wrong(node, &expected);
        }
    }

    fn word(&mut self, node: &Node, words: &[&str]) {
        let NodeValue::Leaf(Value::String(text)) = &node.value else {
            return self.wrong(node, &format!("one of {}", list(words, "and")));
        };
        if !words.contains(&text.as_str()) {
            let message = format!("{}: unknown value `{text}`", path_of(&self.path));
            let problem =
                Problem::new(node.span.clone(), message).help(format!("one of {}", list(words, "and")));
            self.problems.push(problem);
        }
    }

    fn wrong(&mut self, node: &Node, expected: &str) {
        let message = format!("{}: expected {expected}", path_of(&self.path));
        self.problems.push(Problem::new(node.span.clone(), message));
    }

    fn within(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in `{}`", path_of(&self.path)) }
    }
}

/// The words of a choice of words.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    listed.chain(schema["const"].as_str()).collect()
}

fn name_of(kind: &str) -> &str {
    match kind {
        "object" => "a table",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

fn list(words: &[&str], last: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match &quoted[..] {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

/// Adds the name that was probably meant.
pub(super) fn did_you_mean<'n>(
    problem: Problem,
    name: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Problem {
    let close = |known: &&str| strsim::osa_distance(name, known) <= (name.len() / 3).max(1);
    let nearest = known.into_iter().filter(close).min_by_key(|known| strsim::osa_distance(name, known));
    match nearest {
        Some(nearest) => problem.help(format!("did you mean `{nearest}`?")),
        None => problem,
    }
}
