//! Requests.

use arbitrary::Arbitrary;
use waypost_core::{Capability, GatewayRequest, RequestPriority, RoutingContext, Tokens};
use waypost_rules::Rule;

use crate::aimed::Asked;
use crate::vocabulary::{ADDRESSES, KEYS, MODELS, Moment, NAMES, Number, Pick, Rarely, Text};

/// A request, as plain as it can be.
#[derive(Debug, Arbitrary)]
pub(crate) struct Ask {
    model: Pick,
    priority: Pick,
    stream: bool,
    capabilities: Vec<Pick>,
    prompt: Number,
    tenants: (Option<Pick>, Option<Pick>),
    users: (Option<Pick>, Option<Pick>),
    organization: Option<Pick>,
    session: Option<Pick>,
    region: Option<Pick>,
    zone: Option<Pick>,
    context_priority: Option<Pick>,
    tags: Vec<Pick>,
    features: Vec<(Pick, bool)>,
    metadata: Vec<(Pick, Text)>,
    address: Option<Address>,
    agent: Option<Text>,
    attempt: u32,
    request_id: Option<Text>,
    api_key_hash: Option<Text>,
    at: Option<Moment>,
    /// At which rule it is aimed, and in which way; unless it goes astray.
    aim: (u8, u8),
    astray: Rarely,
}

#[derive(Debug, Arbitrary)]
enum Address {
    Edge(Pick),
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Ask {
    /// The request, aimed at one of the rules.
    pub(crate) fn asked(&self, rules: &[Rule]) -> Asked {
        let (request, context) = (self.request(), self.context());
        let (prompt, at) = (Tokens(self.prompt.get()), self.at.map(Moment::wall));
        let mut asked = Asked { request, context, prompt, at };
        let (rule, nth) = (usize::from(self.aim.0), usize::from(self.aim.1));
        if !self.astray.is() && !rules.is_empty() {
            asked.aim(&rules[rule % rules.len()], nth);
        }
        asked
    }

    fn request(&self) -> GatewayRequest {
        let mut request = GatewayRequest::for_model(self.model.id(&MODELS))
            .priority(self.priority.of(&RequestPriority::ALL))
            .streaming(self.stream);
        request.required_capabilities =
            self.capabilities.iter().map(|capability| capability.of(&Capability::ALL)).collect();
        request.tenant_id = self.tenants.0.map(|name| name.id(&NAMES));
        request.user_id = self.users.0.map(|name| name.id(&NAMES));
        request.request_id = self.request_id.as_ref().map(|text| text.text().into());
        request.api_key_hash = self.api_key_hash.as_ref().map(|text| text.text().into());
        request
    }

    fn context(&self) -> RoutingContext {
        let mut context = RoutingContext::default().with_attempt_number(self.attempt % 8);
        context.tenant_id = self.tenants.1.map(|name| name.id(&NAMES));
        context.user_id = self.users.1.map(|name| name.id(&NAMES));
        context.organization_id = self.organization.map(|name| name.id(&NAMES));
        context.session_id = self.session.map(|name| name.id(&NAMES));
        context.region = self.region.map(|name| name.id(&NAMES));
        context.zone = self.zone.map(|name| name.id(&NAMES));
        context.priority = self.context_priority.map(|priority| priority.of(&RequestPriority::ALL));
        context.required_tags = self.tags.iter().map(|name| name.id(&NAMES)).collect();
        context.features = self.features.iter().map(|(name, on)| (name.id(&NAMES), *on)).collect();
        context.metadata =
            self.metadata.iter().map(|(key, text)| (key.id(&KEYS), text.text().into())).collect();
        context.source_ip = self.address.as_ref().map(Address::address);
        context.user_agent = self.agent.as_ref().map(|text| text.text().into());
        context
    }
}

impl Address {
    fn address(&self) -> std::net::IpAddr {
        match *self {
            Self::Edge(edge) => edge.id(&ADDRESSES),
            Self::V4(bytes) => bytes.into(),
            Self::V6(bytes) => bytes.into(),
        }
    }
}
