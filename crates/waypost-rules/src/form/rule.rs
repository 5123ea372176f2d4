//! The written form of rules and of rule files.

use waypost_core::RuleId;

use super::action::{THEN, print_then, read_then};
use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{Reader, entries};
use super::value::{MAX_DEPTH, Value};
use super::written::{Print, Read, print_list};
use crate::{Condition, RouteConfig, Rule, RuleLimits, RuleSet, Validity};

static RULE_SET: Table = Table {
    name: "RuleSet",
    doc: "Routing rules, and what happens to requests that none of them decides.",
    fields: &[
        Field::optional("rules", "The rules, in order.", Shape::List(&Rule::SHAPE)),
        Field::optional(
            "default_route",
            "Where requests go that no rule decides. Default: anywhere.",
            RouteConfig::SHAPE,
        ),
        Field::optional("limits", "The most of everything.", RuleLimits::SHAPE),
    ],
};

static RULE: Table = Table {
    name: "Rule",
    doc: "A condition and what happens to requests that meet it.",
    fields: &[
        Field::required("id", "Its name.", Shape::Text),
        Field::optional("description", "What it is for, for people.", Shape::Text),
        Field::optional("priority", "Rules of higher priority are asked first. Default: 0.", u32::SHAPE),
        Field::optional("enabled", "Whether it is asked at all. Default: true.", Shape::Flag),
        Field::optional("valid", "In which time it is asked. Default: always.", Validity::SHAPE),
        Field::optional(
            "continue",
            "Whether the rules after it are asked although it matched. Default: false.",
            Shape::Flag,
        ),
        Field::optional("when", "What it asks of a request. Default: nothing.", Condition::SHAPE),
        Field::required("then", "What it does.", THEN),
    ],
};

static LIMITS: Table = Table {
    name: "RuleLimits",
    doc: "The most of everything in a rule set.",
    fields: &[
        Field::optional("max_rules", "Rules. Default: 4096.", usize::SHAPE),
        Field::optional("max_conditions", "Simple conditions in one rule. Default: 64.", usize::SHAPE),
        Field::optional("max_depth", "Nesting of conditions, and of actions. Default: 16.", usize::SHAPE),
        Field::optional(
            "max_listed",
            "Names, patterns, windows or networks in one list. Default: 1024.",
            usize::SHAPE,
        ),
        Field::optional("max_actions", "Simple actions in one rule. Default: 64.", usize::SHAPE),
        Field::optional("max_regexes", "Regular expressions in all rules. Default: 1024.", usize::SHAPE),
    ],
};

impl Read for RuleSet {
    const SHAPE: Shape = Shape::Table(&RULE_SET);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &RULE_SET)?;
        let rules = reader.field(&mut fields, "rules", |rules, reader| entries(rules, "id", reader));
        let default_route = reader.field(&mut fields, "default_route", RouteConfig::read);
        let limits = reader.field(&mut fields, "limits", RuleLimits::read);
        Some(Self { rules: rules.unwrap_or_default(), default_route, limits: limits.unwrap_or_default() })
    }
}

impl Print for RuleSet {
    fn print(&self) -> Result<Value, PrintError> {
        let mut fields = Vec::new();
        if self.limits != RuleLimits::default() {
            fields.push(("limits", self.limits.print()?));
        }
        if let Some(route) = &self.default_route {
            fields.push(("default_route", route.print()?));
        }
        if !self.rules.is_empty() {
            fields.push(("rules", print_list(&self.rules)?));
        }
        let printed = Value::table(fields);
        if printed.depth() > MAX_DEPTH { Err(PrintError::TooDeep) } else { Ok(printed) }
    }
}

impl Read for Rule {
    const SHAPE: Shape = Shape::Table(&RULE);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &RULE)?;
        let id = reader.field(&mut fields, "id", RuleId::read);
        let description = reader.field(&mut fields, "description", String::read);
        let priority = reader.field(&mut fields, "priority", u32::read);
        let enabled = reader.field(&mut fields, "enabled", bool::read);
        let validity = reader.field(&mut fields, "valid", Validity::read);
        let continues = reader.field(&mut fields, "continue", bool::read);
        let condition = reader.field(&mut fields, "when", Condition::read);
        let action = reader.field(&mut fields, "then", read_then);
        Some(Self {
            description,
            priority: priority.unwrap_or(0),
            enabled: enabled.unwrap_or(true),
            validity: validity.unwrap_or(Validity::ALWAYS),
            condition: condition.unwrap_or(Condition::always()),
            continues: continues.unwrap_or(false),
            ..Self::new(id?, action?)
        })
    }
}

impl Print for Rule {
    fn print(&self) -> Result<Value, PrintError> {
        let plain = Self::new(self.id.clone(), self.action.clone());
        let mut fields = vec![("id", self.id.print()?)];
        fields.extend(self.description.as_ref().map(|text| ("description", Value::text(text))));
        add_unless_default(&mut fields, "priority", &self.priority, &plain.priority)?;
        add_unless_default(&mut fields, "enabled", &self.enabled, &plain.enabled)?;
        add_unless_default(&mut fields, "valid", &self.validity, &plain.validity)?;
        add_unless_default(&mut fields, "continue", &self.continues, &plain.continues)?;
        add_unless_default(&mut fields, "when", &self.condition, &plain.condition)?;
        fields.push(("then", print_then(&self.action)?));
        Ok(Value::table(fields))
    }
}

impl Read for RuleLimits {
    const SHAPE: Shape = Shape::Table(&LIMITS);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &LIMITS)?;
        let mut limits = Self::default();
        for (name, limit) in limits.by_name() {
            if let Some(written) = reader.field(&mut fields, name, usize::read) {
                *limit = written;
            }
        }
        Some(limits)
    }
}

impl Print for RuleLimits {
    fn print(&self) -> Result<Value, PrintError> {
        let (mut limits, mut usual, mut fields) = (*self, Self::default(), Vec::new());
        for ((name, limit), (_, usual)) in limits.by_name().into_iter().zip(usual.by_name()) {
            add_unless_default(&mut fields, name, limit, usual)?;
        }
        Ok(Value::table(fields))
    }
}

impl RuleLimits {
    fn by_name(&mut self) -> [(&'static str, &mut usize); 6] {
        [
            ("max_rules", &mut self.max_rules),
            ("max_conditions", &mut self.max_conditions),
            ("max_depth", &mut self.max_depth),
            ("max_listed", &mut self.max_listed),
            ("max_actions", &mut self.max_actions),
            ("max_regexes", &mut self.max_regexes),
        ]
    }
}

fn add_unless_default<T: Print + PartialEq>(
    fields: &mut Vec<(&'static str, Value)>,
    name: &'static str,
    value: &T,
    default: &T,
) -> Result<(), PrintError> {
    if value != default {
        fields.push((name, value.print()?));
    }
    Ok(())
}
