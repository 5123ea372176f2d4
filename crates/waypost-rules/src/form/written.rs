//! What has a written form, and that of names, words, flags and numbers.

use core::net::IpAddr;
use std::sync::Arc;

use waypost_core::{
    Capability, FeatureName, LoadBalancingStrategy, MetadataKey, ModelName, OrganizationId, ProviderId,
    Region, RequestPriority, RuleId, SessionId, Tag, TenantId, UserId, Weight, Zone,
};

use super::field::Shape;
use super::problem::PrintError;
use super::reader::{self, Reader};
use super::value::Value;
use crate::{Names, Network, Percent, TimeOfDay, Weekday};

/// A type that can be written by operators.
pub(super) trait Read: Sized {
    /// What may be written.
    const SHAPE: Shape;

    /// Reads it; when that fails, the reader has at least one problem more.
    fn read(value: Value, reader: &mut Reader) -> Option<Self>;
}

/// A type that can be printed as operators would write it: what is printed reads back as the same.
pub(super) trait Print {
    /// Prints it.
    fn print(&self) -> Result<Value, PrintError>;
}

/// Prints a list.
pub(super) fn print_list<'a, T: Print + 'a>(
    items: impl IntoIterator<Item = &'a T>,
) -> Result<Value, PrintError> {
    items.into_iter().map(T::print).collect::<Result<_, _>>().map(Value::List)
}

/// Prints one item as it is, none or many as a list.
pub(super) fn print_one_or_many<'a, T: Print + 'a>(
    items: impl IntoIterator<Item = &'a T>,
) -> Result<Value, PrintError> {
    let mut items = items.into_iter().map(T::print).collect::<Result<Vec<_>, _>>()?;
    let one = if items.len() == 1 { items.pop() } else { None };
    Ok(one.unwrap_or(Value::List(items)))
}

macro_rules! text {
    ($($text:ty),*) => {
        $(
            impl Read for $text {
                const SHAPE: Shape = Shape::Text;

                fn read(value: Value, reader: &mut Reader) -> Option<Self> {
                    reader.parse(value)
                }
            }

            impl Print for $text {
                fn print(&self) -> Result<Value, PrintError> {
                    Ok(Value::text(self))
                }
            }
        )*
    };
}

text!(TenantId, UserId, OrganizationId, SessionId, Region, Zone, Tag, FeatureName);
text!(RuleId, ProviderId, ModelName, MetadataKey, TimeOfDay, Network, IpAddr, String);

impl Read for Arc<str> {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        reader.text(value).map(Self::from)
    }
}

impl Print for Arc<str> {
    fn print(&self) -> Result<Value, PrintError> {
        Ok(Value::text(self))
    }
}

macro_rules! words {
    ($($word:ty: $what:literal),*) => {
        $(
            impl Read for $word {
                const SHAPE: Shape = Shape::Words(|| Self::ALL.map(|word| word.as_str().to_owned()).to_vec());

                fn read(value: Value, reader: &mut Reader) -> Option<Self> {
                    let text = reader.text(value)?;
                    let word = Self::ALL.into_iter().find(|word| word.as_str() == text);
                    word.or_else(|| reader.unknown($what, &text, &Self::ALL.map(|word| word.as_str())))
                }
            }

            impl Print for $word {
                fn print(&self) -> Result<Value, PrintError> {
                    Ok(Value::text(self.as_str()))
                }
            }
        )*
    };
}

words!(Capability: "capability", RequestPriority: "priority", Weekday: "day of the week");

/// Any other name is a strategy that somebody registers, so none is unknown.
impl Read for LoadBalancingStrategy {
    const SHAPE: Shape = Shape::AnyOf(&[Shape::Words(built_in), Shape::Text]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        reader.parse(value)
    }
}

impl Print for LoadBalancingStrategy {
    fn print(&self) -> Result<Value, PrintError> {
        match self.as_str().parse::<Self>() {
            Ok(same) if same == *self => Ok(Value::text(self)),
            _ => Err(PrintError::ShadowedStrategy { name: self.to_string() }),
        }
    }
}

fn built_in() -> Vec<String> {
    LoadBalancingStrategy::built_in().map(|strategy| strategy.to_string()).collect()
}

impl Read for bool {
    const SHAPE: Shape = Shape::Flag;

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Flag(flag) => Some(flag),
            other => reader.expected("true or false", &other),
        }
    }
}

impl Print for bool {
    fn print(&self) -> Result<Value, PrintError> {
        Ok(Value::Flag(*self))
    }
}

macro_rules! whole {
    ($($number:ty),*) => {
        $(
            impl Read for $number {
                const SHAPE: Shape = Shape::Whole { max: Self::MAX as u64 };

                fn read(value: Value, reader: &mut Reader) -> Option<Self> {
                    let Value::Whole(number) = value else {
                        return reader.expected("a whole number", &value);
                    };
                    let within = Self::try_from(number).ok();
                    within.or_else(|| reader.problem(&format!("{number} is not in 0 to {}", Self::MAX)))
                }
            }

            impl Print for $number {
                #[allow(clippy::cast_lossless, reason = "`usize` has no conversion without loss")]
                fn print(&self) -> Result<Value, PrintError> {
                    Ok(Value::Whole(*self as i128))
                }
            }
        )*
    };
}

whole!(u32, u64, usize);

impl Read for Weight {
    const SHAPE: Shape = Shape::Whole { max: Self::MAX.get() as u64 };

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let max = Self::MAX.get();
        let Value::Whole(number) = value else {
            return reader.expected(&format!("a whole number from 0 to {max}"), &value);
        };
        let weight = i64::try_from(number).ok().and_then(|number| Self::try_from(number).ok());
        weight.or_else(|| reader.problem(&format!("weight {number} is not in 0 to {max}")))
    }
}

impl Print for Weight {
    fn print(&self) -> Result<Value, PrintError> {
        Ok(Value::Whole(self.get().into()))
    }
}

impl Read for Percent {
    const SHAPE: Shape = Shape::Percent;

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let number = match value {
            Value::Whole(number) => number as f64,
            Value::Number(number) => number,
            other => return reader.expected("a number from 0 to 100", &other),
        };
        Self::new(number).map_or_else(|error| reader.problem(&error.to_string()), Some)
    }
}

impl Print for Percent {
    fn print(&self) -> Result<Value, PrintError> {
        let number = self.get();
        Ok(if number.fract() == 0.0 { Value::Whole(number as i128) } else { Value::Number(number) })
    }
}

impl<T: Read + Ord> Read for Names<T> {
    const SHAPE: Shape = Shape::OneOrMany(&T::SHAPE);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        reader::one_or_many(value, reader).map(|names| names.into_iter().collect())
    }
}

impl<T: Print + Ord> Print for Names<T> {
    fn print(&self) -> Result<Value, PrintError> {
        print_one_or_many(self.iter())
    }
}
