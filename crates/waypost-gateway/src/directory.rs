//! What requests read besides the router: where candidates are reached, who may ask, and how requests are seen through.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use waypost::FailoverChain;
use waypost::core::{CandidateId, ModelName};

use crate::Endpoint;
use crate::config::ProviderKind;
use crate::keys::KeyRing;
use crate::upstream::Upstream;

/// One version of it. Replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) targets: HashMap<CandidateId, Arc<Target>>,
    /// By model or alias.
    pub(crate) chains: HashMap<ModelName, Arc<FailoverChain>>,
    pub(crate) keys: KeyRing,
    pub(crate) anonymous: bool,
    /// Whether answers say how they came about.
    pub(crate) response_headers: bool,
    pub(crate) max_body: u64,
    pub(crate) models: Vec<ListedModel>,
    /// Of the text that it was made from, for reports.
    pub(crate) hash: u64,
}

/// A model or alias that clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedModel {
    pub(crate) name: ModelName,
    /// Tenants that may not use it are those that have a list without it.
    pub(crate) owned_by: String,
    pub(crate) denied_to: Vec<waypost::core::TenantId>,
}

/// How a candidate is reached.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) kind: ProviderKind,
    pub(crate) authority: HeaderValue,
    pub(crate) is_tls: bool,
    /// Path and query, by endpoint.
    pub(crate) paths: Vec<(Endpoint, http::uri::PathAndQuery)>,
    pub(crate) authorization: Option<(HeaderName, HeaderValue)>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What must never be told to a client.
    pub(crate) secret: Option<SecretString>,
    /// The model's name as JSON.
    pub(crate) model: bytes::Bytes,
}

impl Target {
    pub(crate) fn path(&self, endpoint: Endpoint) -> Option<&http::uri::PathAndQuery> {
        self.paths.iter().find(|(served, _)| *served == endpoint).map(|(_, path)| path)
    }
}
