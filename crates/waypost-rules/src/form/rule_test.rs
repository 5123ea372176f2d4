//! The written form of tests of rules.

use core::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{
    Capability, FeatureName, GatewayRequest, LoadBalancingStrategy, MetadataKey, MirrorTarget, ModelName,
    OrganizationId, ProviderId, Region, RejectionReason, RequestPriority, RoutingContext, RuleId, SessionId,
    Tag, TenantId, Tokens, UserId, Zone,
};

use super::field::{Field, Shape, Table};
use super::reader::{Fields, Reader, entries, one_or_many};
use super::value::Value;
use super::written::Read;
use crate::{Expectation, ExpectedRule, RuleTest, RuleTests};

const NAMES: Shape = Shape::OneOrMany(&Shape::Text);

static TESTS: Table = Table {
    name: "RuleTests",
    doc: "Tests of a rule set.",
    fields: &[Field::optional("tests", "The tests, in order.", Shape::List(&RuleTest::SHAPE))],
};

static TEST: Table = Table {
    name: "RuleTest",
    doc: "One request, and what the rules should make of it.",
    fields: &[
        Field::optional("name", "What is tested, for people.", Shape::Text),
        Field::optional("at", "The wall time at which it is tested.", Shape::Moment),
        Field::required("request", "The request.", Shape::Table(&REQUEST)),
        Field::required("expect", "What should come of it.", Expectation::SHAPE),
    ],
};

static REQUEST: Table = Table {
    name: "RuleTestRequest",
    doc: "A request, and what is known besides.",
    fields: &[
        Field::required("model", "The model or alias asked for.", Shape::Text),
        Field::optional("tenant", "The tenant.", Shape::Text),
        Field::optional("user", "The user.", Shape::Text),
        Field::optional("organization", "The organization.", Shape::Text),
        Field::optional("session", "The conversation.", Shape::Text),
        Field::optional("region", "The region in which the caller is.", Shape::Text),
        Field::optional("zone", "The zone in which the caller is.", Shape::Text),
        Field::optional("priority", "How important it is. Default: `normal`.", RequestPriority::SHAPE),
        Field::optional("tags", "Tags that it requires.", NAMES),
        Field::optional("features", "Feature flags that are on.", NAMES),
        Field::optional("capabilities", "Capabilities that it needs.", Shape::OneOrMany(&Capability::SHAPE)),
        Field::optional("streaming", "Whether the answer is streamed. Default: false.", Shape::Flag),
        Field::optional("prompt_tokens", "The estimated tokens of the prompt. Default: 0.", u64::SHAPE),
        Field::optional("metadata", "What else is known, by key.", Shape::Map(&Shape::Text)),
        Field::optional("user_agent", "The caller's software.", Shape::Text),
        Field::optional("source_ip", "The caller's address.", Shape::Text),
        Field::optional("attempt", "Which attempt this is, from 0. Default: 0.", u32::SHAPE),
        Field::optional("request_id", "Its id.", Shape::Text),
        Field::optional("api_key_hash", "The hash of the caller's credential.", Shape::Text),
    ],
};

static EXPECTATION: Table = Table {
    name: "RuleTestExpectation",
    doc: "What should come of a request. Only what is said is compared.",
    fields: &[
        Field::optional("rule", "The rule that decides, or `false` for none.", ExpectedRule::SHAPE),
        Field::optional("continued", "The rules that matched before it and let the search go on.", NAMES),
        Field::optional("strategy", "The strategy that chooses.", LoadBalancingStrategy::SHAPE),
        Field::optional("providers", "The providers that may serve it.", NAMES),
        Field::optional("excluded", "The providers that may not.", NAMES),
        Field::optional("priority", "The priority that it has in the end.", RequestPriority::SHAPE),
        Field::optional("model", "The model that it is served as.", Shape::Text),
        Field::optional("tags", "The tags that were added.", NAMES),
        Field::optional("mirrors", "Where copies go.", Shape::OneOrMany(&MirrorTarget::SHAPE)),
        Field::optional("reject", "Why it is rejected.", RejectionReason::SHAPE),
    ],
};

impl Read for RuleTests {
    const SHAPE: Shape = Shape::Table(&TESTS);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &TESTS)?;
        let tests = reader.field(&mut fields, "tests", |tests, reader| entries(tests, "name", reader));
        Some(Self { tests: tests.unwrap_or_default() })
    }
}

impl Read for RuleTest {
    const SHAPE: Shape = Shape::Table(&TEST);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &TEST)?;
        let name = reader.field(&mut fields, "name", String::read);
        let at = reader.field(&mut fields, "at", SystemTime::read);
        let request = reader.field(&mut fields, "request", read_request);
        let expect = reader.field(&mut fields, "expect", Expectation::read);
        let (request, context, prompt_tokens) = request?;
        Some(Self { name, at, request, context, prompt_tokens, expect: expect? })
    }
}

fn read_request(value: Value, reader: &mut Reader) -> Option<(GatewayRequest, RoutingContext, Tokens)> {
    let mut fields = reader.table(value, &REQUEST)?;
    let model = reader.field(&mut fields, "model", ModelName::read);
    let context = read_context(&mut fields, reader);
    let prompt_tokens = reader.field(&mut fields, "prompt_tokens", u64::read).map_or(Tokens::ZERO, Tokens);
    let capabilities = reader.field(&mut fields, "capabilities", one_or_many::<Capability>);
    let priority = reader.field(&mut fields, "priority", RequestPriority::read);
    let stream = reader.field(&mut fields, "streaming", bool::read);
    let request_id = reader.field(&mut fields, "request_id", Arc::read);
    let api_key_hash = reader.field(&mut fields, "api_key_hash", Arc::read);
    let mut request = GatewayRequest::for_model(model?)
        .prompt_tokens(prompt_tokens)
        .priority(priority.unwrap_or_default())
        .streaming(stream.unwrap_or(false));
    request.required_capabilities = capabilities.unwrap_or_default().into_iter().collect();
    request.request_id = request_id;
    request.api_key_hash = api_key_hash;
    Some((request, context, prompt_tokens))
}

fn read_context(fields: &mut Fields, reader: &mut Reader) -> RoutingContext {
    let mut context = RoutingContext::default();
    context.tenant_id = reader.field(fields, "tenant", TenantId::read);
    context.user_id = reader.field(fields, "user", UserId::read);
    context.organization_id = reader.field(fields, "organization", OrganizationId::read);
    context.session_id = reader.field(fields, "session", SessionId::read);
    context.region = reader.field(fields, "region", Region::read);
    context.zone = reader.field(fields, "zone", Zone::read);
    context.required_tags = reader.field(fields, "tags", one_or_many::<Tag>).unwrap_or_default();
    context.metadata = reader.field(fields, "metadata", read_metadata).unwrap_or_default();
    context.user_agent = reader.field(fields, "user_agent", Arc::read);
    context.source_ip = reader.field(fields, "source_ip", IpAddr::read);
    context.attempt_number = reader.field(fields, "attempt", u32::read).unwrap_or(0);
    let features = reader.field(fields, "features", one_or_many::<FeatureName>).unwrap_or_default();
    features.into_iter().fold(context, |context, feature| context.with_feature(feature, true))
}

fn read_metadata(value: Value, reader: &mut Reader) -> Option<Vec<(MetadataKey, Arc<str>)>> {
    reader.map(value, |key, value, reader| {
        let key = MetadataKey::read(Value::Text(key), reader);
        let value = Arc::read(value, reader);
        Some((key?, value?))
    })
}

impl Read for Expectation {
    const SHAPE: Shape = Shape::Table(&EXPECTATION);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &EXPECTATION)?;
        if fields.is_empty() {
            return reader.problem("nothing is expected: the test could not fail");
        }
        Some(Self {
            rule: reader.field(&mut fields, "rule", ExpectedRule::read),
            continued: reader.field(&mut fields, "continued", one_or_many::<RuleId>),
            strategy: reader.field(&mut fields, "strategy", LoadBalancingStrategy::read),
            providers: reader.field(&mut fields, "providers", one_or_many::<ProviderId>),
            excluded: reader.field(&mut fields, "excluded", one_or_many::<ProviderId>),
            priority: reader.field(&mut fields, "priority", RequestPriority::read),
            model: reader.field(&mut fields, "model", ModelName::read),
            tags: reader.field(&mut fields, "tags", one_or_many::<Tag>),
            mirrors: reader.field(&mut fields, "mirrors", one_or_many::<MirrorTarget>),
            reject: reader.field(&mut fields, "reject", RejectionReason::read),
        })
    }
}

impl Read for ExpectedRule {
    const SHAPE: Shape = Shape::AnyOf(&[Shape::Text, Shape::False]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Flag(false) => Some(Self::Nothing),
            Value::Text(_) => RuleId::read(value, reader).map(Self::Rule),
            other => reader.expected("the id of a rule, or `false` for none", &other),
        }
    }
}
