//! What is asked for.

use std::sync::Arc;

use core::time::Duration;

use crate::{
    CapabilitySet, IdError, ModelName, NanoUsd, ProviderId, RequestPriority, TenantId, Timestamp, Tokens,
    UserId,
};

/// The prompt, as far as routing looks at it. Bodies are by reference or by length: a megabyte is never copied to be
/// routed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// Its length in UTF-8 bytes.
    Bytes(u64),
    /// Its length in tokens, counted by the caller.
    Tokens(Tokens),
    /// The messages themselves, shared with the caller.
    Messages(Arc<[Message]>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`.
    pub role: Arc<str>,
    /// What is said.
    pub content: Arc<str>,
}

/// One LLM request, as far as routing looks at it.
///
/// ```
/// use waypost_core::{Capability, GatewayRequest, NanoUsd, Tokens};
///
/// let request = GatewayRequest::new("gpt-4o")?
///     .prompt_bytes(4_096)
///     .max_tokens(Tokens(500))
///     .streaming(true)
///     .require(Capability::Vision)
///     .max_cost(NanoUsd::from_usd(0.05)?);
/// assert_eq!(request.model, "gpt-4o");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayRequest {
    /// The caller's id of the request, for logs and traces; routing does not look at it.
    pub request_id: Option<Arc<str>>,
    /// The model or alias asked for.
    pub model: ModelName,
    /// The prompt or its length. Default: zero bytes.
    pub prompt: Prompt,
    /// How many of the prompt's tokens the provider is expected to have in its cache. Default: none.
    pub cached_prompt_tokens: Tokens,
    /// The most tokens of the answer. Default: not said.
    pub max_tokens: Option<Tokens>,
    /// The sampling temperature; routing does not look at it, strategies may.
    pub temperature: Option<f32>,
    /// Whether the answer is wanted token by token. Requires the streaming capability.
    pub stream: bool,
    /// Capabilities that the request needs besides. Default: none.
    pub required_capabilities: CapabilitySet,
    /// A hash of the caller's credential. For filters, and for strategies that keep a caller at one candidate.
    pub api_key_hash: Option<Arc<str>>,
    /// The tenant, if the context names none.
    pub tenant_id: Option<TenantId>,
    /// The user, if the context names none. For filters, and for strategies that keep a user at one candidate.
    pub user_id: Option<UserId>,
    /// The provider to use if it is still in play after all constraints.
    pub preferred_provider: Option<ProviderId>,
    /// Providers not to use.
    pub excluded_providers: Vec<ProviderId>,
    /// The most that the request may be estimated to cost. Candidates of unknown price cannot promise that.
    pub max_cost: Option<NanoUsd>,
    /// The longest time to first token (of a streamed answer) or to the whole answer (otherwise) that a candidate may
    /// be expected to take. Candidates of unknown latency stay.
    pub max_latency: Option<Duration>,
    /// When the request arrived. For filters and observers; the router itself does not look at it.
    pub timestamp: Option<Timestamp>,
    /// How important the request is, if the context does not say. Default: normal.
    pub priority: RequestPriority,
    /// How often it was tried before. Default: 0. For filters; the router itself does not look at it.
    pub retry_count: u32,
    /// Whether serving the request twice does harm, beyond its price: a tool call that books, a stored answer. Such a
    /// request is never hedged, and tried again only when it surely was not served. Default: false.
    pub has_effects: bool,
}

impl GatewayRequest {
    /// A request for a model or an alias.
    ///
    /// # Errors
    ///
    /// [`IdError`] when the text cannot be a model name.
    pub fn new(model: impl AsRef<str>) -> Result<Self, IdError> {
        Ok(Self::for_model(ModelName::new(model)?))
    }

    /// A request for a model or an alias whose name is valid.
    pub fn for_model(model: ModelName) -> Self {
        Self {
            request_id: None,
            model,
            prompt: Prompt::default(),
            cached_prompt_tokens: Tokens::ZERO,
            max_tokens: None,
            temperature: None,
            stream: false,
            required_capabilities: CapabilitySet::EMPTY,
            api_key_hash: None,
            tenant_id: None,
            user_id: None,
            preferred_provider: None,
            excluded_providers: Vec::new(),
            max_cost: None,
            max_latency: None,
            timestamp: None,
            priority: RequestPriority::default(),
            retry_count: 0,
            has_effects: false,
        }
    }

    /// Says whether serving it twice does harm.
    pub fn having_effects(mut self, has_effects: bool) -> Self {
        self.has_effects = has_effects;
        self
    }

    /// The prompt's length in bytes.
    pub fn prompt_bytes(mut self, bytes: u64) -> Self {
        self.prompt = Prompt::Bytes(bytes);
        self
    }

    /// The prompt's length in tokens.
    pub fn prompt_tokens(mut self, tokens: Tokens) -> Self {
        self.prompt = Prompt::Tokens(tokens);
        self
    }

    /// The messages, by reference.
    pub fn messages(mut self, messages: Arc<[Message]>) -> Self {
        self.prompt = Prompt::Messages(messages);
        self
    }

    /// The most tokens of the answer.
    pub fn max_tokens(mut self, tokens: Tokens) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Whether the answer is wanted token by token.
    pub fn streaming(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Capabilities needed besides those required before.
    pub fn require(mut self, capabilities: impl Into<CapabilitySet>) -> Self {
        self.required_capabilities = self.required_capabilities | capabilities.into();
        self
    }

    /// The tenant, if the context names none.
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant_id = Some(tenant);
        self
    }

    /// The provider to use if possible.
    pub fn prefer_provider(mut self, provider: ProviderId) -> Self {
        self.preferred_provider = Some(provider);
        self
    }

    /// One more provider not to use.
    pub fn exclude_provider(mut self, provider: ProviderId) -> Self {
        self.excluded_providers.push(provider);
        self
    }

    /// The most that the request may cost.
    pub fn max_cost(mut self, cost: NanoUsd) -> Self {
        self.max_cost = Some(cost);
        self
    }

    /// The longest expected latency.
    pub fn max_latency(mut self, latency: Duration) -> Self {
        self.max_latency = Some(latency);
        self
    }

    /// How important the request is.
    pub fn priority(mut self, priority: RequestPriority) -> Self {
        self.priority = priority;
        self
    }
}
