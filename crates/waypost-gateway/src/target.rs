//! How candidates are reached.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use secrecy::{ExposeSecret, SecretString};
use waypost::core::CandidateId;

use crate::Endpoint;
use crate::config::{ProviderKind, TargetSpec};
use crate::gateway::SetupError;
use crate::metrics::CandidateSeries;
use crate::signing::AwsKeys;
use crate::upstream::{Origin, TlsSettings, Upstream};

/// What is told of a candidate.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) id: CandidateId,
    /// The id as a header's value.
    pub(crate) header: HeaderValue,
    /// What OpenTelemetry calls the vendor.
    pub(crate) vendor: &'static str,
    pub(crate) series: CandidateSeries,
}

/// How a candidate is reached.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) kind: ProviderKind,
    pub(crate) authority: HeaderValue,
    pub(crate) is_tls: bool,
    ways: Vec<Way>,
    pub(crate) aws: Option<AwsKeys>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What must never be told to a client.
    pub(crate) secrets: Vec<SecretString>,
    /// The model's name as JSON.
    pub(crate) model: Bytes,
}

/// How one of its endpoints is asked.
#[derive(Debug)]
struct Way {
    endpoint: Endpoint,
    path: PathAndQuery,
    /// The key in its header.
    key: Option<(HeaderName, HeaderValue)>,
}

impl Target {
    fn new(spec: &TargetSpec, upstream: Arc<Upstream>) -> Result<Self, SetupError> {
        let bad = |what: &str| SetupError(format!("{}: {what}", spec.id));
        let mut ways = Vec::new();
        for endpoint in &spec.serves {
            let path =
                spec.kind.path(&spec.base_path, *endpoint, &spec.id.model, spec.api_version.as_deref());
            let path = path.parse().map_err(|_| bad("its path is not valid"))?;
            let key = spec.key.as_ref().map(|key| spec.kind.authorization(*endpoint, key.expose_secret()));
            let key = key.map(|header| header.ok_or_else(|| bad("its key is not valid"))).transpose()?;
            ways.push(Way { endpoint: *endpoint, path, key });
        }
        let header = |(name, value): &(String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let headers: Option<Vec<_>> = spec.headers.iter().map(header).collect();
        let candidate = Candidate {
            id: spec.id.clone(),
            header: HeaderValue::try_from(spec.id.to_string()).map_err(|_| bad("its name is not valid"))?,
            vendor: spec.kind.vendor(),
            series: CandidateSeries::default(),
        };
        Ok(Self {
            candidate: Arc::new(candidate),
            upstream,
            kind: spec.kind,
            authority: HeaderValue::try_from(spec.origin.authority())
                .map_err(|_| bad("its host is not valid"))?,
            is_tls: spec.origin.is_tls,
            ways,
            aws: spec.aws.clone(),
            headers: headers.ok_or_else(|| bad("its headers are not valid"))?,
            secrets: spec.key.iter().chain(spec.aws.iter().flat_map(AwsKeys::secrets)).cloned().collect(),
            model: Bytes::from(crate::dialect::quoted(spec.id.model.as_str())),
        })
    }

    pub(crate) fn path(&self, endpoint: Endpoint) -> Option<&PathAndQuery> {
        self.way(endpoint).map(|way| &way.path)
    }

    /// The key in its header, for those that take one.
    pub(crate) fn authorization(&self, endpoint: Endpoint) -> Option<&(HeaderName, HeaderValue)> {
        self.way(endpoint).and_then(|way| way.key.as_ref())
    }

    fn way(&self, endpoint: Endpoint) -> Option<&Way> {
        self.ways.iter().find(|way| way.endpoint == endpoint)
    }
}

/// How the candidates of one configuration are reached.
pub(crate) type Targets = foldhash::HashMap<CandidateId, Arc<Target>>;

/// The connections to providers, which outlive configurations: all candidates at one origin share them. They go when
/// nobody uses them.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(HashMap<(Origin, TlsSettings), Weak<Upstream>>);

impl Upstreams {
    /// Makes the targets of a configuration.
    pub(crate) fn targets(&mut self, specs: &[TargetSpec]) -> Result<Targets, SetupError> {
        let mut targets =
            Targets::with_capacity_and_hasher(specs.len(), foldhash::fast::RandomState::default());
        for spec in specs {
            let target = Target::new(spec, self.upstream(spec)?)?;
            targets.insert(spec.id.clone(), Arc::new(target));
        }
        Ok(targets)
    }

    /// Forgets connections that nobody uses any more.
    pub(crate) fn forget_unused(&mut self) {
        self.0.retain(|_, upstream| upstream.strong_count() > 0);
    }

    fn upstream(&mut self, spec: &TargetSpec) -> Result<Arc<Upstream>, SetupError> {
        let key = (spec.origin.clone(), spec.tls.clone());
        if let Some(known) = self.0.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Upstream::new(spec.origin.clone(), &spec.tls)?;
        self.0.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
