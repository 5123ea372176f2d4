//! The configuration file: what an operator may write.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{Money, Pace, Size, Time};

/// The configuration of a Waypost gateway.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    /// Where the gateway listens, and how much it takes.
    pub(crate) server: Server,
    /// Who serves requests, by name. The name is free: there may be several of one type.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// What clients may ask for, by name, and which candidates serve it.
    pub(crate) models: BTreeMap<String, Model>,
    /// Further names of models.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Who may ask, with their keys, limits and budgets.
    pub(crate) tenants: BTreeMap<String, Tenant>,
    /// Limits for all requests, or for some, by name.
    pub(crate) limits: BTreeMap<String, LimitEntry>,
    /// What happens to which requests, in order; see the chapter on rules.
    pub(crate) rules: Vec<serde_json::Value>,
    /// Where requests go that no rule decides; see the chapter on rules.
    pub(crate) default_route: Option<serde_json::Value>,
    /// How candidates are chosen where nothing else is said.
    pub(crate) routing: Routing,
    /// What models cost whose candidates do not say.
    pub(crate) prices: PriceFile,
    /// How sick candidates are kept out and let back in.
    pub(crate) health: Health,
    /// How requests are seen through failures.
    pub(crate) failover: Failover,
    /// What is told of requests.
    pub(crate) telemetry: Telemetry,
}

/// Where the gateway listens, and how much it takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// The address for clients. Default: 127.0.0.1:8080.
    pub(crate) listen: String,
    /// The address for administrators; empty for none. Default: 127.0.0.1:9080.
    pub(crate) admin: String,
    /// The key that administrators send. Required unless the address is of this machine alone.
    pub(crate) admin_key: Option<SecretSource>,
    /// What the hashes of client keys are made with, besides the key. Default: none.
    pub(crate) key_secret: Option<SecretSource>,
    /// Whether requests without a key are served. Only on an address of this machine. Default: true while no tenant has
    /// keys.
    pub(crate) anonymous: Option<bool>,
    /// The largest request. Default: 32MiB.
    pub(crate) max_body: Size,
    /// The most connections of clients. Default: 4096.
    pub(crate) max_connections: usize,
    /// The most requests at once; more are refused with 503. Default: 2048.
    pub(crate) max_requests: usize,
    /// The most bytes of requests that are held at once; more are refused with 503. Default: 512MiB.
    pub(crate) max_buffered: Size,
    /// How long a client may take for the head of a request. Default: 10s.
    pub(crate) header_timeout: Time,
    /// How long a client may take for the body of a request. Default: 30s.
    pub(crate) body_timeout: Time,
    /// How long a client may not take what is sent to it. Default: 30s.
    pub(crate) write_timeout: Time,
    /// How long requests are still taken after the gateway was told to stop, while it says that it is not ready. Default: 5s.
    pub(crate) lame_duck: Time,
    /// How long requests that run may take to end after that. Default: 30s.
    pub(crate) drain: Time,
}

impl Default for Server {
    fn default() -> Self {
        let seconds = |seconds| Time(std::time::Duration::from_secs(seconds));
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            admin: "127.0.0.1:9080".to_owned(),
            admin_key: None,
            key_secret: None,
            anonymous: None,
            max_body: Size(32 << 20),
            max_connections: 4_096,
            max_requests: 2_048,
            max_buffered: Size(512 << 20),
            header_timeout: seconds(10),
            body_timeout: seconds(30),
            write_timeout: seconds(30),
            lame_duck: seconds(5),
            drain: seconds(30),
        }
    }
}

/// Where a secret is. It is never written into the file itself.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; white space around the secret does not count.
    File(PathBuf),
}

/// One provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// What it is: which addresses, headers and errors are its.
    #[serde(rename = "type")]
    pub(crate) kind: ProviderKind,
    /// The base URL of its API. Required for azure-openai, vertex and openai-compatible; of the others the vendor's, of
    /// Bedrock that of the region in `aws`.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// Whether it may be reached in a private network or on this machine. Default: only where `endpoint` has an address, a
    /// name without a dot, or one that is private by its ending, such as `.internal`, `.local`, `.svc` or `localhost`. A
    /// name of the internet that leads to a private address is refused.
    #[serde(default)]
    pub(crate) private: Option<bool>,
    /// Its key. Without one nothing is sent, as self-hosted engines like it.
    #[serde(default)]
    pub(crate) api_key: Option<SecretSource>,
    /// Several keys, which are used in turn: each counts as a provider of its own, `name`, `name-2` and so on.
    #[serde(default)]
    pub(crate) api_keys: Vec<SecretSource>,
    /// Bedrock: what requests are signed with, where there is no key.
    #[serde(default)]
    pub(crate) aws: Option<Aws>,
    /// Where it is.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// In which zone it is.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// What rules may ask for.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Azure: the version of the API by deployments. Default: the API without versions.
    #[serde(default)]
    pub(crate) api_version: Option<String>,
    /// Which requests it takes. Default: what its type takes.
    #[serde(default)]
    pub(crate) serves: Option<Vec<String>>,
    /// Certificates in PEM that are trusted instead of the system's.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Headers that are sent with every request. Not for secrets.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Credentials of AWS: requests are signed with them (Signature Version 4).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aws {
    /// The region, such as us-east-1.
    pub(crate) region: String,
    /// The id of the access key.
    #[serde(default)]
    pub(crate) access_key: Option<SecretSource>,
    /// The secret access key.
    #[serde(default)]
    pub(crate) secret_key: Option<SecretSource>,
    /// The token of temporary credentials.
    #[serde(default)]
    pub(crate) session_token: Option<SecretSource>,
}

/// What a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProviderKind {
    /// OpenAI.
    Openai,
    /// Azure OpenAI.
    AzureOpenai,
    /// Anthropic.
    Anthropic,
    /// Google Vertex AI, by its OpenAI-compatible API.
    Vertex,
    /// Google Gemini, by its OpenAI-compatible API.
    Gemini,
    /// Amazon Bedrock, by its OpenAI-compatible API, with a key or with signed requests.
    Bedrock,
    /// Cohere.
    Cohere,
    /// Anything that speaks as OpenAI does: `vLLM`, `SGLang`, Ollama, Together, Groq.
    OpenaiCompatible,
}

/// A model that clients may ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Who serves it.
    pub(crate) candidates: Vec<Candidate>,
    /// How one of them is chosen, unless a rule or a tenant says otherwise.
    #[serde(default)]
    pub(crate) strategy: Option<String>,
    /// Models that are asked when these candidates failed, in order.
    #[serde(default)]
    pub(crate) fallback: Vec<String>,
    /// Models that are asked when the prompt was too long.
    #[serde(default)]
    pub(crate) context_fallback: Vec<String>,
    /// Models that are asked when a content policy stopped the request.
    #[serde(default)]
    pub(crate) content_fallback: Vec<String>,
}

/// One model at one provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Candidate {
    /// The provider's name in this file.
    pub(crate) provider: String,
    /// What the provider calls the model. Default: as clients do.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Its share beside the others. 0 takes none. Default: 100.
    #[serde(default)]
    pub(crate) weight: Option<f64>,
    /// Its tier: lower ones are used first by `priority_tiers`. Default: 0.
    #[serde(default)]
    pub(crate) tier: u8,
    /// What a million tokens cost. Without it the price is unknown.
    #[serde(default)]
    pub(crate) price: Option<Price>,
    /// The most tokens that it takes, prompt and answer together.
    #[serde(default)]
    pub(crate) context_window: Option<u64>,
    /// The most tokens that it answers.
    #[serde(default)]
    pub(crate) max_output: Option<u64>,
    /// What it can do: function-calling, vision, json-schema, embeddings, reasoning, audio. Default: everything.
    #[serde(default)]
    pub(crate) features: Option<Vec<String>>,
    /// What rules may ask for, besides the provider's tags.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// What the provider lets its key do.
    #[serde(default)]
    pub(crate) limits: CandidateLimits,
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// Of the prompt.
    pub(crate) input: f64,
    /// Of the answer.
    pub(crate) output: f64,
    /// Of the prompt's cached tokens. Default: as of the prompt.
    #[serde(default)]
    pub(crate) cached_input: Option<f64>,
}

/// What a provider lets a key do.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CandidateLimits {
    /// Requests per minute, such as "500/min".
    pub(crate) requests: Option<Pace>,
    /// Tokens per minute, such as "300k/min".
    pub(crate) tokens: Option<Pace>,
    /// Requests at once.
    pub(crate) concurrency: Option<u32>,
}

/// Who may ask.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenant {
    /// Its keys, as `waypost keys new` prints their hashes.
    pub(crate) keys: Vec<Key>,
    /// The only models that it may use; `*` at the end stands for any rest. Default: all.
    pub(crate) allow: Option<Vec<String>>,
    /// The only providers that it may use. Default: all.
    pub(crate) providers: Option<Vec<String>>,
    /// Providers that are preferred, the first that can before the others.
    pub(crate) prefer: Vec<String>,
    /// How candidates are chosen for it.
    pub(crate) strategy: Option<String>,
    /// What it may spend.
    pub(crate) budget: Allowance,
    /// How much it may ask.
    pub(crate) limits: Quota,
}

/// A client's key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// Its hash.
    pub(crate) hash: String,
    /// Whose it is. Default: nobody's; the request may name a user.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Of which organization.
    #[serde(default)]
    pub(crate) organization: Option<String>,
    /// The only models that it may be used for, besides what the tenant may use. Default: all.
    #[serde(default)]
    pub(crate) allow: Option<Vec<String>>,
    /// What may be spent with it, within what its tenant may spend.
    #[serde(default)]
    pub(crate) budget: Allowance,
    /// How much may be asked with it, within what its tenant may ask.
    #[serde(default)]
    pub(crate) limits: Quota,
}

/// What may be spent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allowance {
    /// In a day, in UTC.
    pub(crate) daily: Option<Money>,
    /// In a month, in UTC.
    pub(crate) monthly: Option<Money>,
    /// In all.
    pub(crate) total: Option<Money>,
    /// With one request.
    pub(crate) per_request: Option<Money>,
    /// Percentages that are told when they are reached. Default: 50, 80, 100.
    pub(crate) at: Option<Vec<u8>>,
}

/// How much may be asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Quota {
    /// Requests in time, such as "500/min".
    pub(crate) requests: Option<Pace>,
    /// Tokens in time, such as "300k/min".
    pub(crate) tokens: Option<Pace>,
    /// Requests at once.
    pub(crate) concurrency: Option<u32>,
}

/// A limit for all requests, or for some.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitEntry {
    /// Requests in time, such as "500/min".
    pub(crate) requests: Option<Pace>,
    /// Tokens in time, such as "300k/min".
    pub(crate) tokens: Option<Pace>,
    /// Requests at once.
    pub(crate) concurrency: Option<u32>,
    /// Dollars in a month, in UTC.
    pub(crate) monthly: Option<Money>,
    /// Dollars in a day, in UTC.
    pub(crate) daily: Option<Money>,
    /// What has a meter of its own: tenant, user, key, organization, model, priority. Default: all requests share one.
    pub(crate) per: Vec<String>,
    /// Only requests of this tenant.
    pub(crate) tenant: Option<String>,
    /// Only requests for this model.
    pub(crate) model: Option<String>,
}

/// What models cost whose candidates do not say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PriceFile {
    /// The file that `LiteLLM` publishes, `model_prices_and_context_window.json`. Read with the configuration.
    pub(crate) litellm: Option<PathBuf>,
}

/// How candidates are chosen where nothing else is said.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Routing {
    /// The strategy. Default: `least_latency`.
    pub(crate) strategy: Option<String>,
}

/// How sick candidates are kept out and let back in. A change counts from the next start on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// Failures in a row after which a candidate is left out. Default: 5.
    pub(crate) failures: Option<u32>,
    /// The share of failures in ten seconds after which it is. Default: 0.5.
    pub(crate) failure_ratio: Option<f64>,
    /// How long it is left out the first time. Default: 5s.
    pub(crate) open_for: Option<Time>,
}

/// How requests are seen through failures.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Failover {
    /// The most attempts of one request. Default: 3.
    pub(crate) attempts: Option<u32>,
    /// How often one candidate is asked again. Default: 1.
    pub(crate) retries: Option<u32>,
    /// The longest wait before that; who is asked to wait longer tells the client, which knows best. Default: 1s.
    pub(crate) max_wait: Option<Time>,
    /// Retries that ten requests earn together, as a share of them. Default: 0.1. Counts from the next start on.
    pub(crate) retry_budget: Option<f64>,
    /// Retries that are saved up. Default: 100. Counts from the next start on.
    pub(crate) retry_burst: Option<u32>,
    /// Whether streamed requests are sent twice when the first content takes longer than 95 % of them need. Default:
    /// false.
    pub(crate) hedge: bool,
    /// How long attempts may take.
    pub(crate) timeouts: Timeouts,
}

/// How long attempts may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// Until there is a connection. Default: 2s.
    pub(crate) connect: Option<Time>,
    /// Until the first content of a streamed answer. Default: 30s.
    pub(crate) first_content: Option<Time>,
    /// Between two events of a streamed answer. Default: 15s.
    pub(crate) idle: Option<Time>,
    /// In all. Default: 600s.
    pub(crate) total: Option<Time>,
}

/// What is told of requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// What is logged: error, warn, info, debug or trace. Default: info. Counts from the next start on.
    pub(crate) log: String,
    /// Whether logs are JSON. Default: false. Counts from the next start on.
    pub(crate) json: bool,
    /// What answers say in headers: who served them, after how many attempts, by which rule, at what cost, and how many
    /// milliseconds the gateway took of the time. Default: all of it.
    pub(crate) response_headers: Vec<ResponseHeader>,
    /// A collector that is told of requests by OpenTelemetry. Default: none. Counts from the next start on.
    pub(crate) otlp: Option<Otlp>,
}

/// A collector that is told of requests by OTLP over HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// Its base URL, such as <http://127.0.0.1:4318>.
    pub(crate) endpoint: String,
    /// What this gateway calls itself. Default: waypost.
    #[serde(default)]
    pub(crate) service: Option<String>,
    /// The share of requests that begin a trace of their own whose trace is told, from 0 to 1. Default: 1.
    #[serde(default)]
    pub(crate) sample: Option<f64>,
}

/// What answers may say of how they came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResponseHeader {
    /// `x-waypost-candidate`.
    Candidate,
    /// `x-waypost-attempts`.
    Attempts,
    /// `x-waypost-rule`.
    Rule,
    /// `x-waypost-cost`: in dollars; of a stream what it is expected to cost.
    Cost,
    /// `x-waypost-overhead`: in milliseconds.
    Overhead,
}

impl ResponseHeader {
    pub(crate) const ALL: [Self; 5] =
        [Self::Candidate, Self::Attempts, Self::Rule, Self::Cost, Self::Overhead];

    pub(crate) const fn name(self) -> HeaderName {
        match self {
            Self::Candidate => HeaderName::from_static("x-waypost-candidate"),
            Self::Attempts => HeaderName::from_static("x-waypost-attempts"),
            Self::Rule => HeaderName::from_static("x-waypost-rule"),
            Self::Cost => HeaderName::from_static("x-waypost-cost"),
            Self::Overhead => HeaderName::from_static("x-waypost-overhead"),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            json: false,
            response_headers: ResponseHeader::ALL.to_vec(),
            otlp: None,
        }
    }
}
