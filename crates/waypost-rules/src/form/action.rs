//! The written form of actions: a table of all that happens.

use waypost_core::{
    LoadBalancingStrategy, MirrorTarget, ModelName, ProviderId, RejectionReason, RequestPriority, Tag,
};

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::{self, Reader, one_or_many};
use super::route::{POOL, print_pool, read_pool};
use super::value::Value;
use super::written::{Print, Read, print_list, print_one_or_many};
use crate::RoutingAction;

/// The keys in canonical order: in which a table with several of them lists its actions.
static ACTION: Table = Table {
    name: "RuleAction",
    doc: "What happens to a request: all fields, in the order of this list.",
    fields: &[
        Field::optional("rewrite_model", "It is served as if it had asked for this model.", Shape::Text),
        Field::optional("pool", "Only these candidates may serve it.", POOL),
        Field::optional("provider", "Only this provider may serve it.", Shape::Text),
        Field::optional("exclude", "These providers may not serve it.", Shape::OneOrMany(&Shape::Text)),
        Field::optional("strategy", "This strategy chooses.", LoadBalancingStrategy::SHAPE),
        Field::optional("set_priority", "It has this priority from here on.", RequestPriority::SHAPE),
        Field::optional(
            "add_tag",
            "Later rules and the caller see these tags.",
            Shape::OneOrMany(&Shape::Text),
        ),
        Field::optional("mirror", "The caller should send a copy there.", MirrorTarget::SHAPE),
        Field::optional("reject", "It is not served, for this reason.", RejectionReason::SHAPE),
        Field::optional("chain", "All of these, in order.", Shape::List(&Shape::Table(&ACTION))),
    ],
};

static MESSAGE: Table = Table {
    name: "RuleRejection",
    doc: "A reason in the operator's words.",
    fields: &[Field::required("message", "What the caller is told.", Shape::Text)],
};

static MIRROR: Table = Table {
    name: "RuleMirror",
    doc: "Where a copy of a request goes.",
    fields: &[
        Field::required("provider", "The provider.", Shape::Text),
        Field::optional("model", "The model to ask for there. Default: the request's own.", Shape::Text),
    ],
};

/// The reasons with a name.
const REASONS: [(&str, RejectionReason); 4] = [
    ("rate_limit_exceeded", RejectionReason::RateLimitExceeded),
    ("unauthorized_model", RejectionReason::UnauthorizedModel),
    ("invalid_request", RejectionReason::InvalidRequest),
    ("maintenance_mode", RejectionReason::MaintenanceMode),
];

/// What a rule's `then` may be: a table, or a list of tables.
pub(super) const THEN: Shape = Shape::AnyOf(&[RoutingAction::SHAPE, Shape::List(&RoutingAction::SHAPE)]);

/// Reads a table, or a list of tables, which is a chain.
pub(super) fn read_then(value: Value, reader: &mut Reader) -> Option<RoutingAction> {
    match value {
        Value::List(_) => reader::list(value, reader).map(RoutingAction::Chain),
        Value::Table(_) => RoutingAction::read(value, reader),
        other => reader.expected("a table or a list of tables", &other),
    }
}

/// Prints a table where one can say it, else a list.
pub(super) fn print_then(action: &RoutingAction) -> Result<Value, PrintError> {
    match action {
        RoutingAction::Chain(parts) if !is_one_table(parts) => print_list(parts),
        other => other.print(),
    }
}

impl Read for RoutingAction {
    const SHAPE: Shape = Shape::Table(&ACTION);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut parts = Vec::new();
        for (key, value) in reader.table(value, &ACTION)? {
            reader.within(key, value, |value, reader| read_key(key, value, &mut parts, reader));
        }
        let one = if parts.len() == 1 { parts.pop() } else { None };
        Some(one.unwrap_or(Self::Chain(parts)))
    }
}

impl Print for RoutingAction {
    fn print(&self) -> Result<Value, PrintError> {
        match self {
            Self::Chain(parts) if is_one_table(parts) => print_table(parts),
            other => print_table(core::slice::from_ref(other)),
        }
    }
}

/// Adds what one key says: one action, or one for every tag.
fn read_key(key: &str, value: Value, parts: &mut Vec<RoutingAction>, reader: &mut Reader) -> Option<()> {
    if key == "add_tag" {
        parts.extend(one_or_many(value, reader)?.into_iter().map(RoutingAction::AddTag));
    } else {
        parts.push(read_part(key, value, reader)?);
    }
    Some(())
}

fn read_part(key: &str, value: Value, reader: &mut Reader) -> Option<RoutingAction> {
    match key {
        "rewrite_model" => ModelName::read(value, reader).map(RoutingAction::RewriteModel),
        "pool" => read_pool(value, reader).map(RoutingAction::RouteToPool),
        "provider" => ProviderId::read(value, reader).map(RoutingAction::RouteToProvider),
        "exclude" => one_or_many(value, reader).map(RoutingAction::Exclude),
        "strategy" => LoadBalancingStrategy::read(value, reader).map(RoutingAction::ApplyStrategy),
        "set_priority" => RequestPriority::read(value, reader).map(RoutingAction::SetPriority),
        "mirror" => MirrorTarget::read(value, reader).map(RoutingAction::Mirror),
        "reject" => RejectionReason::read(value, reader).map(|reason| RoutingAction::Reject { reason }),
        "chain" => reader::list(value, reader).map(RoutingAction::Chain),
        // INVARIANT: the keys are those of `ACTION`; a test reads each of them.
        unread => unreachable!("the field `{unread}` of actions is read"),
    }
}

/// Whether a table with a key for each of the actions reads back as a chain of them in the same order.
fn is_one_table(parts: &[RoutingAction]) -> bool {
    parts.len() != 1 && parts.windows(2).all(|pair| is_before(&pair[0], &pair[1]))
}

fn is_before(first: &RoutingAction, second: &RoutingAction) -> bool {
    match (key(first), key(second)) {
        ("add_tag", "add_tag") => true,
        (first, second) => ACTION.place(first) < ACTION.place(second),
    }
}

fn print_table(parts: &[RoutingAction]) -> Result<Value, PrintError> {
    let runs = parts.chunk_by(|first, second| key(first) == key(second));
    let fields = runs.map(|run| Ok((key(&run[0]), print_run(run)?)));
    fields.collect::<Result<Vec<_>, _>>().map(Value::table)
}

/// Prints actions of one key: one, or several tags.
fn print_run(run: &[RoutingAction]) -> Result<Value, PrintError> {
    let tags: Vec<&Tag> = run.iter().filter_map(added_tag).collect();
    if tags.is_empty() { print_part(&run[0]) } else { print_one_or_many(tags) }
}

const fn added_tag(action: &RoutingAction) -> Option<&Tag> {
    match action {
        RoutingAction::AddTag(tag) => Some(tag),
        _ => None,
    }
}

const fn key(action: &RoutingAction) -> &'static str {
    match action {
        RoutingAction::RouteToProvider(_) => "provider",
        RoutingAction::RouteToPool(_) => "pool",
        RoutingAction::ApplyStrategy(_) => "strategy",
        RoutingAction::SetPriority(_) => "set_priority",
        RoutingAction::Reject { .. } => "reject",
        RoutingAction::Exclude(_) => "exclude",
        RoutingAction::RewriteModel(_) => "rewrite_model",
        RoutingAction::AddTag(_) => "add_tag",
        RoutingAction::Mirror(_) => "mirror",
        RoutingAction::Chain(_) => "chain",
    }
}

fn print_part(action: &RoutingAction) -> Result<Value, PrintError> {
    match action {
        RoutingAction::RouteToProvider(provider) => provider.print(),
        RoutingAction::RouteToPool(route) => print_pool(route),
        RoutingAction::ApplyStrategy(strategy) => strategy.print(),
        RoutingAction::SetPriority(priority) => priority.print(),
        RoutingAction::Reject { reason } => reason.print(),
        RoutingAction::Exclude(providers) => print_one_or_many(providers),
        RoutingAction::RewriteModel(model) => model.print(),
        RoutingAction::AddTag(tag) => tag.print(),
        RoutingAction::Mirror(target) => target.print(),
        RoutingAction::Chain(parts) => print_list(parts),
    }
}

impl Read for RejectionReason {
    const SHAPE: Shape = Shape::AnyOf(&[
        Shape::Words(|| REASONS.map(|(name, _)| name.to_owned()).to_vec()),
        Shape::Table(&MESSAGE),
    ]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let text = match value {
            Value::Text(text) => text,
            Value::Table(_) => {
                let mut fields = reader.table(value, &MESSAGE)?;
                return reader.field(&mut fields, "message", String::read).map(Self::Custom);
            }
            other => return reader.expected("a reason, as text or a table", &other),
        };
        let named = REASONS.into_iter().find(|(name, _)| *name == text).map(|(_, reason)| reason);
        named.or_else(|| reader.unknown("reason", &text, &REASONS.map(|(name, _)| name)))
    }
}

impl Print for RejectionReason {
    fn print(&self) -> Result<Value, PrintError> {
        let named = REASONS.iter().find(|(_, reason)| reason == self);
        match (self, named) {
            (Self::Custom(message), _) => Ok(Value::table([("message", Value::text(message))])),
            (_, Some((name, _))) => Ok(Value::text(name)),
            (unnamed, None) => Err(PrintError::UnknownReason { reason: unnamed.to_string() }),
        }
    }
}

impl Read for MirrorTarget {
    const SHAPE: Shape = Shape::AnyOf(&[Shape::Text, Shape::Table(&MIRROR)]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Text(_) => ProviderId::read(value, reader).map(|provider| Self { provider, model: None }),
            Value::Table(_) => {
                let mut fields = reader.table(value, &MIRROR)?;
                let provider = reader.field(&mut fields, "provider", ProviderId::read);
                let model = reader.field(&mut fields, "model", ModelName::read);
                Some(Self { provider: provider?, model })
            }
            other => reader.expected("a provider, as text or a table", &other),
        }
    }
}

impl Print for MirrorTarget {
    fn print(&self) -> Result<Value, PrintError> {
        let provider = self.provider.print()?;
        match &self.model {
            None => Ok(provider),
            Some(model) => Ok(Value::table([("provider", provider), ("model", model.print()?)])),
        }
    }
}
