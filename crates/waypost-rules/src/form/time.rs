//! The written form of times: moments by RFC 3339, time windows and validity.

use core::str::FromStr;
use std::time::SystemTime;

use jiff::Timestamp;
use waypost_core::excerpt;

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{self, Reader};
use super::value::Value;
use super::written::{Print, Read, print_list};
use crate::{TimeOfDay, TimeWindow, TimeWindowError, Validity, Weekday};

/// The zone of windows that name none.
const DEFAULT_ZONE: &str = "UTC";

static VALIDITY: Table = Table {
    name: "RuleValidity",
    doc: "The time in which a rule holds.",
    fields: &[
        Field::optional("from", "The first moment. Default: it has always held.", Shape::Moment),
        Field::optional("until", "The first moment after. Default: it holds for ever.", Shape::Moment),
    ],
};

static TIME_WINDOW: Table = Table {
    name: "RuleTimeWindow",
    doc: "A stretch of the day that comes back. One that ends before it begins goes over midnight.",
    fields: &[
        Field::required("from", "The time of day at which it begins, such as `22:00`.", Shape::Text),
        Field::required("to", "The time of day at which it ends, such as `06:00`.", Shape::Text),
        Field::optional(
            "days",
            "The days on which it begins. Default: every day.",
            Shape::OneOrMany(&Weekday::SHAPE),
        ),
        Field::optional("zone", "The time zone, such as `Europe/Berlin`. Default: `UTC`.", Shape::Text),
    ],
};

impl Read for SystemTime {
    const SHAPE: Shape = Shape::Moment;

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(value)?;
        let wrong =
            || format!("`{}` is not a time with an offset such as `2026-12-01T00:00:00Z`", excerpt(&text));
        text.parse::<Timestamp>().map_or_else(|_| reader.problem(&wrong()), |at| Some(at.into()))
    }
}

impl Print for SystemTime {
    fn print(&self) -> Result<Value, PrintError> {
        Timestamp::try_from(*self).map(|at| Value::text(&at)).map_err(|_| PrintError::Moment)
    }
}

impl Read for Validity {
    const SHAPE: Shape = Shape::Table(&VALIDITY);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &VALIDITY)?;
        let from = reader.field(&mut fields, "from", SystemTime::read);
        let until = reader.field(&mut fields, "until", SystemTime::read);
        let validity = from.into_iter().fold(Self::ALWAYS, Self::from);
        Some(until.into_iter().fold(validity, Self::until))
    }
}

impl Print for Validity {
    fn print(&self) -> Result<Value, PrintError> {
        let edges = [("from", self.begins()), ("until", self.ends())];
        let edges = edges.into_iter().filter_map(|(name, at)| at.map(|at| (name, at)));
        let edges = edges.map(|(name, at)| Ok((name, at.print()?)));
        edges.collect::<Result<Vec<_>, _>>().map(Value::table)
    }
}

impl Read for TimeWindow {
    const SHAPE: Shape = Shape::Table(&TIME_WINDOW);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &TIME_WINDOW)?;
        let from = reader.field(&mut fields, "from", TimeOfDay::read);
        let to = reader.field(&mut fields, "to", TimeOfDay::read);
        let days = reader.field(&mut fields, "days", reader::one_or_many::<Weekday>);
        let zone = reader.field(&mut fields, "zone", |zone, reader| reader.parse::<ZoneName>(zone));
        let zone = zone.as_ref().map_or(DEFAULT_ZONE, |zone| &zone.0);
        let window = Self::new(from?, to?, zone).ok()?;
        Some(days.into_iter().fold(window, Self::on))
    }
}

impl Print for TimeWindow {
    fn print(&self) -> Result<Value, PrintError> {
        let mut fields = vec![("from", self.from().print()?), ("to", self.to().print()?)];
        if !self.is_daily() {
            fields.push(("days", print_list(&self.days().collect::<Vec<_>>())?));
        }
        if self.zone() != DEFAULT_ZONE {
            fields.push(("zone", Value::text(self.zone())));
        }
        Ok(Value::table(fields))
    }
}

/// The name of a zone that exists.
struct ZoneName(String);

impl FromStr for ZoneName {
    type Err = TimeWindowError;

    fn from_str(text: &str) -> Result<Self, TimeWindowError> {
        let midnight = TimeOfDay::new(0, 0)?;
        TimeWindow::new(midnight, midnight, text).map(|_| Self(text.to_owned()))
    }
}
