//! Comparisons such as `>= high`: the written form of ranges of numbers and priorities.

use waypost_core::{RequestPriority, excerpt};

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{self, Reader};
use super::value::Value;
use super::written::{Print, Read, print_one_or_many};
use crate::{Bounds, Priorities};

static BOUNDS: Table = Table {
    name: "RuleBounds",
    doc: "A range of numbers, both ends included.",
    fields: &[
        Field::optional("min", "The least number. Default: 0.", u64::SHAPE),
        Field::optional("max", "The greatest number. Default: no limit.", u64::SHAPE),
    ],
};

#[derive(Clone, Copy)]
enum Operator {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// Longer ones first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 4] =
    [(">=", Operator::AtLeast), ("<=", Operator::AtMost), (">", Operator::Above), ("<", Operator::Below)];

/// Splits `>= high`.
fn comparison(text: &str) -> Option<(Operator, &str)> {
    let begun = |&(sign, operator)| text.strip_prefix(sign).map(|rest| (operator, rest.trim()));
    OPERATORS.iter().find_map(begun)
}

impl Read for Bounds {
    const SHAPE: Shape = Shape::AnyOf(&[u64::SHAPE, Shape::Text, Shape::Table(&BOUNDS)]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Whole(_) => u64::read(value, reader).map(Self::exactly),
            Value::Text(text) => compared(&text).or_else(|| {
                reader.problem(&format!("`{}` is not a comparison such as `>= 1000`", excerpt(&text)))
            }),
            Value::Table(_) => between(value, reader),
            other => reader.expected("a whole number, a comparison or a table", &other),
        }
    }
}

impl Print for Bounds {
    fn print(&self) -> Result<Value, PrintError> {
        Ok(match (self.min, self.max) {
            (min, max) if min == max => Value::Whole(min.into()),
            (min, u64::MAX) => Value::Text(format!(">= {min}")),
            (0, max) => Value::Text(format!("<= {max}")),
            (min, max) => Value::table([("min", min.print()?), ("max", max.print()?)]),
        })
    }
}

/// None is above the greatest and below the least number: that is a mistake.
fn compared(text: &str) -> Option<Bounds> {
    let (operator, number) = comparison(text)?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if digits { number.parse().ok()? } else { return None };
    match operator {
        Operator::AtLeast => Some(Bounds::at_least(number)),
        Operator::AtMost => Some(Bounds::at_most(number)),
        Operator::Above => number.checked_add(1).map(Bounds::at_least),
        Operator::Below => number.checked_sub(1).map(Bounds::at_most),
    }
}

fn between(value: Value, reader: &mut Reader) -> Option<Bounds> {
    let mut fields = reader.table(value, &BOUNDS)?;
    let min = reader.field(&mut fields, "min", u64::read);
    let max = reader.field(&mut fields, "max", u64::read);
    Some(Bounds::between(min.unwrap_or(0), max.unwrap_or(u64::MAX)))
}

impl Read for Priorities {
    const SHAPE: Shape =
        Shape::AnyOf(&[Shape::Words(compared_priorities), Shape::OneOrMany(&RequestPriority::SHAPE)]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let Value::Text(text) = &value else {
            return reader::one_or_many::<RequestPriority>(value, reader)
                .map(|list| list.into_iter().collect());
        };
        let Some((operator, name)) = comparison(text) else {
            return RequestPriority::read(value, reader).map(Self::from);
        };
        let priority = RequestPriority::read(Value::text(name), reader)?;
        let meant = compared_with(operator, priority);
        let none = meant.iter().next().is_none();
        if none { reader.problem(&format!("no priority is `{}`", excerpt(text))) } else { Some(meant) }
    }
}

impl Print for Priorities {
    fn print(&self) -> Result<Value, PrintError> {
        match self.least_of_all_above() {
            Some(least) => Ok(Value::Text(format!(">= {least}"))),
            None => print_one_or_many(&self.iter().collect::<Vec<_>>()),
        }
    }
}

fn compared_with(operator: Operator, with: RequestPriority) -> Priorities {
    let meant = |priority: &RequestPriority| match operator {
        Operator::AtLeast => *priority >= with,
        Operator::AtMost => *priority <= with,
        Operator::Above => *priority > with,
        Operator::Below => *priority < with,
    };
    RequestPriority::ALL.into_iter().filter(meant).collect()
}

/// All comparisons that mean something, in the usual spelling.
fn compared_priorities() -> Vec<String> {
    let all = OPERATORS.into_iter().flat_map(|operator| RequestPriority::ALL.map(|with| (operator, with)));
    let meant = all.filter(|&((_, operator), with)| compared_with(operator, with).iter().next().is_some());
    meant.map(|((sign, _), with)| format!("{sign} {with}")).collect()
}
