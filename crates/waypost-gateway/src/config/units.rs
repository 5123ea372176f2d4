//! Quantities as operators write them, with their units.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use waypost::core::NanoUsd;
use waypost::limits::Rate;

/// A quantity that is written as text.
macro_rules! written {
    ($name:ident($inner:ty), $title:literal, $doc:literal, $example:literal, $pattern:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "format": $title,
                    "description": $doc,
                    "examples": [$example],
                    "pattern": $pattern,
                })
            }
        }
    };
}

written!(
    Time(Duration),
    "duration",
    "A time with its unit: ms, s, m, h or d.",
    "30s",
    r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
);
written!(
    Size(u64),
    "size",
    "A number of bytes with its unit: B, KiB, MiB or GiB.",
    "32MiB",
    r"^[0-9]+ ?(B|KiB|MiB|GiB)$"
);
written!(Money(NanoUsd), "money", "An amount of US dollars.", "$2,000", r"^\$?[0-9][0-9,]*(\.[0-9]+)?$");
written!(
    Pace(Rate),
    "rate",
    "A number per time: /s, /min, /h or /day. k and M stand for thousand and million.",
    "500/min",
    r"^[0-9]+(\.[0-9]+)?[kM]?/(s|min|h|day)$"
);

/// Why a text is no such quantity.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitError(String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest time: a year.
const MAX_TIME: Duration = Duration::from_hours(366 * 24);

fn split_unit(text: &str) -> (&str, &str) {
    let end =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    (&text[..end], &text[end..])
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError("expected a time such as \"250ms\", \"30s\", \"5m\", \"2h\" or \"7d\"".to_owned());
        let (number, unit) = split_unit(text);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        let fits = !time.is_zero() && time <= MAX_TIME;
        if fits {
            Ok(Self(time))
        } else {
            Err(UnitError("a time must be above zero and at most 366d".to_owned()))
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError("expected a size such as \"64KiB\", \"32MiB\" or \"1GiB\"".to_owned());
        let (number, unit) = split_unit(text);
        let shift = match unit.trim_start() {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        let bytes =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(wrong)?;
        let fits = bytes > 0 && bytes <= 1 << 40;
        if fits {
            Ok(Self(bytes))
        } else {
            Err(UnitError("a size must be above zero and at most 1024GiB".to_owned()))
        }
    }
}

impl FromStr for Money {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let plain = text.trim_start_matches('$').replace(',', "");
        let amount = plain
            .parse()
            .map_err(|error| UnitError(format!("expected an amount such as \"$2,000\": {error}")));
        amount.map(Self)
    }
}

impl FromStr for Pace {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError("expected a rate such as \"10/s\", \"500/min\", \"300k/min\" or \"2M/day\"".to_owned())
        };
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let (number, unit) = split_unit(count);
        let factor = match unit {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            _ => return Err(wrong()),
        };
        let count: f64 = number.parse::<f64>().map_err(|_| wrong())? * factor;
        if count.fract() != 0.0 || count >= 1e15 {
            return Err(wrong());
        }
        let count = count as u64;
        let rate = match per {
            "s" => Rate::per_second(count),
            "min" => Rate::per_minute(count),
            "h" => Rate::per_hour(count),
            "day" => Rate::per_day(count),
            _ => return Err(wrong()),
        };
        rate.map(Self).map_err(|error| UnitError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!("250ms".parse(), Ok(Time(Duration::from_millis(250))));
        assert_eq!("1.5h".parse(), Ok(Time(Duration::from_mins(90))));
        assert_eq!("32MiB".parse(), Ok(Size(32 << 20)));
        assert_eq!("$2,000.50".parse(), Ok(Money(NanoUsd::from_usd(2_000.5).unwrap())));
        assert_eq!("300k/min".parse(), Ok(Pace(Rate::per_minute(300_000).unwrap())));
    }

    #[test]
    fn b05_b06_b07_what_is_no_quantity_is_refused() {
        for time in
            ["0", "0s", "-1s", "1e30s", "5", "30 sec", "", "s", "1.2.3s", "99999999999d", "NaNs", "367d"]
        {
            assert!(time.parse::<Time>().is_err(), "{time}");
        }
        for size in ["0B", "18446744073709551616B", "99999999999GiB", "-1MiB", "1.5MiB", "32MB", "32"] {
            assert!(size.parse::<Size>().is_err(), "{size}");
        }
        for money in ["NaN", "-1", "1e-30", "1e12", "$", "inf"] {
            assert!(money.parse::<Money>().is_err(), "{money}");
        }
        for rate in ["0/min", "10", "10/minute", "-1/s", "0.5/s", "1e3/s", "10/", "18446744073709551616/s"] {
            assert!(rate.parse::<Pace>().is_err(), "{rate}");
        }
    }
}
