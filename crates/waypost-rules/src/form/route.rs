//! The written form of where requests may go.

use waypost_core::{LoadBalancingStrategy, ProviderId, Weight};

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{self, Reader, one_or_many};
use super::value::Value;
use super::written::{Print, Read, print_list};
use crate::{PoolMember, RouteConfig};

static ROUTE: Table = Table {
    name: "RuleRoute",
    doc: "Where requests may go, and how one is chosen there.",
    fields: &[
        Field::optional("providers", "The providers. Default: all.", MEMBERS),
        Field::optional("regions", "The regions. Default: all.", Shape::OneOrMany(&Shape::Text)),
        Field::optional(
            "tags",
            "Tags that a candidate must have, all of them.",
            Shape::OneOrMany(&Shape::Text),
        ),
        Field::optional("strategy", "The strategy that chooses.", LoadBalancingStrategy::SHAPE),
    ],
};

static MEMBER: Table = Table {
    name: "RulePoolMember",
    doc: "One provider of a pool, with a weight.",
    fields: &[
        Field::required("provider", "The provider.", Shape::Text),
        Field::optional("weight", "Its candidates' weight in this pool.", Weight::SHAPE),
    ],
};

const MEMBERS: Shape = Shape::List(&PoolMember::SHAPE);

/// What a pool may be: a list of providers, or a table.
pub(super) const POOL: Shape = Shape::AnyOf(&[MEMBERS, RouteConfig::SHAPE]);

/// Reads a list of providers, or a table.
pub(super) fn read_pool(value: Value, reader: &mut Reader) -> Option<RouteConfig> {
    match value {
        Value::List(_) => reader::list::<PoolMember>(value, reader).map(RouteConfig::providers),
        Value::Table(_) => RouteConfig::read(value, reader),
        other => reader.expected("a list of providers or a table", &other),
    }
}

/// Prints a list of providers where that says it all.
pub(super) fn print_pool(route: &RouteConfig) -> Result<Value, PrintError> {
    let bare = RouteConfig::providers(route.provider_pool.iter().cloned());
    if bare == *route { print_list(&route.provider_pool) } else { route.print() }
}

impl Read for RouteConfig {
    const SHAPE: Shape = Shape::Table(&ROUTE);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &ROUTE)?;
        let provider_pool = reader.field(&mut fields, "providers", reader::list);
        let regions = reader.field(&mut fields, "regions", one_or_many);
        let tags = reader.field(&mut fields, "tags", one_or_many);
        let strategy = reader.field(&mut fields, "strategy", LoadBalancingStrategy::read);
        Some(Self {
            provider_pool: provider_pool.unwrap_or_default(),
            regions: regions.unwrap_or_default(),
            tags: tags.unwrap_or_default(),
            strategy,
        })
    }
}

impl Print for RouteConfig {
    fn print(&self) -> Result<Value, PrintError> {
        let mut fields = Vec::new();
        if !self.provider_pool.is_empty() {
            fields.push(("providers", print_list(&self.provider_pool)?));
        }
        if !self.regions.is_empty() {
            fields.push(("regions", print_list(&self.regions)?));
        }
        if !self.tags.is_empty() {
            fields.push(("tags", print_list(&self.tags)?));
        }
        if let Some(strategy) = &self.strategy {
            fields.push(("strategy", strategy.print()?));
        }
        Ok(Value::table(fields))
    }
}

impl Read for PoolMember {
    const SHAPE: Shape = Shape::AnyOf(&[Shape::Text, Shape::Table(&MEMBER)]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Text(_) => ProviderId::read(value, reader).map(Self::from),
            Value::Table(_) => {
                let mut fields = reader.table(value, &MEMBER)?;
                let provider = reader.field(&mut fields, "provider", ProviderId::read);
                let weight = reader.field(&mut fields, "weight", Weight::read);
                Some(Self { provider: provider?, weight })
            }
            other => reader.expected("a provider, as text or a table", &other),
        }
    }
}

impl Print for PoolMember {
    fn print(&self) -> Result<Value, PrintError> {
        let provider = self.provider.print()?;
        match self.weight {
            None => Ok(provider),
            Some(weight) => Ok(Value::table([("provider", provider), ("weight", weight.print()?)])),
        }
    }
}
