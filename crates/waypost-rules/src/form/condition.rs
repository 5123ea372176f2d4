//! The written form of conditions: a table of all that must hold.

use waypost_core::MetadataKey;

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{self, Reader, one_or_many};
use super::value::Value;
use super::written::{Print, Read, print_list, print_one_or_many};
use crate::{Bounds, Condition, Names, Network, Priorities, Sample, TextPattern, TimeWindow};

const PATTERNS: Shape = Shape::OneOrMany(&TextPattern::SHAPE);
const NAMES: Shape = Shape::OneOrMany(&Shape::Text);

/// The keys in canonical order: in which a table with several of them lists its conditions.
static CONDITION: Table = Table {
    name: "RuleCondition",
    doc: "What a rule asks of a request. All fields must hold; without any, every request is meant.",
    fields: &[
        Field::optional("model", "The model matches one of these.", PATTERNS),
        Field::optional("tenant", "The tenant is one of these.", NAMES),
        Field::optional("user", "The user is one of these.", NAMES),
        Field::optional("organization", "The organization is one of these.", NAMES),
        Field::optional("region", "The caller's region is one of these.", NAMES),
        Field::optional("zone", "The caller's zone is one of these.", NAMES),
        Field::optional(
            "priority",
            "The priority, such as `high` or `>= high`, or a list.",
            Priorities::SHAPE,
        ),
        Field::optional("tag", "The request requires one of these tags.", NAMES),
        Field::optional(
            "time",
            "The wall time is in one of these windows.",
            Shape::OneOrMany(&TimeWindow::SHAPE),
        ),
        Field::optional("feature", "One of these feature flags is on.", NAMES),
        Field::optional(
            "capability",
            "One of these capabilities is needed.",
            Names::<waypost_core::Capability>::SHAPE,
        ),
        Field::optional("streaming", "Whether the answer is streamed.", Shape::Flag),
        Field::optional(
            "prompt_tokens",
            "The estimated tokens of the prompt, such as `>= 1000`.",
            Bounds::SHAPE,
        ),
        Field::optional(
            "metadata",
            "Entries of the metadata by key: each matches one of its patterns.",
            Shape::Map(&PATTERNS),
        ),
        Field::optional("user_agent", "The caller's software matches one of these.", PATTERNS),
        Field::optional("source_ip", "The caller's address is in one of these networks.", NAMES),
        Field::optional("attempt", "Which attempt this is, from 0.", Bounds::SHAPE),
        Field::optional("sample", "The request belongs to a stable share of requests.", Sample::SHAPE),
        Field::optional(
            "any",
            "At least one of these holds; with none, no request is meant.",
            Shape::List(&Shape::Table(&CONDITION)),
        ),
        Field::optional("all", "All of these hold.", Shape::List(&Shape::Table(&CONDITION))),
        Field::optional("not", "This does not hold.", Shape::Table(&CONDITION)),
    ],
};

impl Read for Condition {
    const SHAPE: Shape = Shape::Table(&CONDITION);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut parts = Vec::new();
        for (key, value) in reader.table(value, &CONDITION)? {
            reader.within(key, value, |value, reader| read_key(key, value, &mut parts, reader));
        }
        let one = if parts.len() == 1 { parts.pop() } else { None };
        Some(one.unwrap_or(Self::All(parts)))
    }
}

impl Print for Condition {
    fn print(&self) -> Result<Value, PrintError> {
        match self {
            Self::All(parts) if is_one_table(parts) => print_table(parts),
            other => print_table(core::slice::from_ref(other)),
        }
    }
}

/// Adds what one key says: one condition, or one for every entry of the metadata.
fn read_key(key: &str, value: Value, parts: &mut Vec<Condition>, reader: &mut Reader) -> Option<()> {
    if key == "metadata" {
        parts.extend(reader.map(value, read_metadata)?);
    } else {
        parts.push(read_part(key, value, reader)?);
    }
    Some(())
}

fn read_metadata(key: String, patterns: Value, reader: &mut Reader) -> Option<Condition> {
    let key = MetadataKey::read(Value::Text(key), reader);
    let patterns = one_or_many(patterns, reader);
    Some(Condition::Metadata(key?, patterns?))
}

fn read_part(key: &str, value: Value, reader: &mut Reader) -> Option<Condition> {
    match key {
        "model" => one_or_many(value, reader).map(Condition::Model),
        "tenant" => Names::read(value, reader).map(Condition::Tenant),
        "user" => Names::read(value, reader).map(Condition::User),
        "organization" => Names::read(value, reader).map(Condition::Organization),
        "region" => Names::read(value, reader).map(Condition::Region),
        "zone" => Names::read(value, reader).map(Condition::Zone),
        "priority" => Priorities::read(value, reader).map(Condition::Priority),
        "tag" => Names::read(value, reader).map(Condition::Tag),
        "time" => one_or_many(value, reader).map(Condition::Time),
        "feature" => Names::read(value, reader).map(Condition::Feature),
        "capability" => Names::read(value, reader).map(Condition::Capability),
        "streaming" => bool::read(value, reader).map(Condition::Streaming),
        "prompt_tokens" => Bounds::read(value, reader).map(Condition::PromptTokens),
        "user_agent" => one_or_many(value, reader).map(Condition::UserAgent),
        "source_ip" => one_or_many::<Network>(value, reader).map(Condition::SourceIp),
        "attempt" => Bounds::read(value, reader).map(Condition::Attempt),
        "sample" => Sample::read(value, reader).map(Condition::Sample),
        "any" => reader::list(value, reader).map(Condition::Any),
        "all" => reader::list(value, reader).map(Condition::All),
        "not" => Condition::read(value, reader).map(|part| Condition::Not(Box::new(part))),
        // INVARIANT: the keys are those of `CONDITION`; a test reads each of them.
        unread => unreachable!("the field `{unread}` of conditions is read"),
    }
}

/// Whether a table with a key for each of the conditions reads back as all of them in the same order.
fn is_one_table(parts: &[Condition]) -> bool {
    parts.len() != 1 && parts.windows(2).all(|pair| is_before(&pair[0], &pair[1]))
}

fn is_before(first: &Condition, second: &Condition) -> bool {
    match (first, second) {
        (Condition::Metadata(first, _), Condition::Metadata(second, _)) => first < second,
        _ => CONDITION.place(key(first)) < CONDITION.place(key(second)),
    }
}

fn print_table(parts: &[Condition]) -> Result<Value, PrintError> {
    let mut fields: Vec<(&str, Value)> = Vec::new();
    for part in parts {
        match (fields.last_mut(), print_part(part)?) {
            (Some(("metadata", Value::Table(known))), Value::Table(entry)) if key(part) == "metadata" => {
                known.extend(entry);
            }
            (_, value) => fields.push((key(part), value)),
        }
    }
    Ok(Value::table(fields))
}

const fn key(condition: &Condition) -> &'static str {
    match condition {
        Condition::All(_) => "all",
        Condition::Any(_) => "any",
        Condition::Not(_) => "not",
        Condition::Model(_) => "model",
        Condition::Tenant(_) => "tenant",
        Condition::User(_) => "user",
        Condition::Organization(_) => "organization",
        Condition::Region(_) => "region",
        Condition::Zone(_) => "zone",
        Condition::Priority(_) => "priority",
        Condition::Tag(_) => "tag",
        Condition::Time(_) => "time",
        Condition::Feature(_) => "feature",
        Condition::Capability(_) => "capability",
        Condition::Streaming(_) => "streaming",
        Condition::PromptTokens(_) => "prompt_tokens",
        Condition::Metadata(..) => "metadata",
        Condition::UserAgent(_) => "user_agent",
        Condition::SourceIp(_) => "source_ip",
        Condition::Attempt(_) => "attempt",
        Condition::Sample(_) => "sample",
        Condition::Custom(_) => "custom",
    }
}

fn print_part(condition: &Condition) -> Result<Value, PrintError> {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => print_list(parts),
        Condition::Not(part) => part.print(),
        Condition::Model(patterns) | Condition::UserAgent(patterns) => print_one_or_many(patterns),
        Condition::Tenant(names) => names.print(),
        Condition::User(names) => names.print(),
        Condition::Organization(names) => names.print(),
        Condition::Region(names) => names.print(),
        Condition::Zone(names) => names.print(),
        Condition::Priority(priorities) => priorities.print(),
        Condition::Tag(names) => names.print(),
        Condition::Time(windows) => print_one_or_many(windows),
        Condition::Feature(names) => names.print(),
        Condition::Capability(names) => names.print(),
        Condition::Streaming(stream) => stream.print(),
        Condition::PromptTokens(bounds) | Condition::Attempt(bounds) => bounds.print(),
        Condition::Metadata(key, patterns) => {
            Ok(Value::table([(key.as_str(), print_one_or_many(patterns)?)]))
        }
        Condition::SourceIp(networks) => print_one_or_many(networks),
        Condition::Sample(sample) => sample.print(),
        Condition::Custom(own) => Err(PrintError::CustomCondition { description: own.description() }),
    }
}
