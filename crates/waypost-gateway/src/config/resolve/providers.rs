//! Providers, each under each of its keys.

use secrecy::SecretString;

use super::Resolver;
use crate::Endpoint;
use crate::config::file::{Provider, ProviderKind};
use crate::signing::AwsKeys;
use crate::upstream::{Origin, Reach, is_metadata, literal};

/// A provider under one of its keys.
pub(super) struct Account<'f> {
    /// The name in the file.
    pub(super) name: &'f str,
    /// The id in the routing table.
    pub(super) id: String,
    pub(super) provider: &'f Provider,
    pub(super) key: Option<SecretString>,
    pub(super) aws: Option<AwsKeys>,
    pub(super) endpoint: waypost::core::Endpoint,
    pub(super) origin: Origin,
    pub(super) base_path: String,
    pub(super) serves: Vec<Endpoint>,
}

impl<'f> Resolver<'f> {
    pub(super) fn accounts(&mut self) -> Vec<Account<'f>> {
        let mut accounts = Vec::new();
        for (name, provider) in &self.file.providers {
            let path = ["providers", name.as_str()];
            let Some((endpoint, origin, base_path)) = self.endpoint(&path, provider) else { continue };
            let serves = self.serves(&path, provider);
            if provider.api_key.is_some() && !provider.api_keys.is_empty() {
                self.problem(&path, "`api_key` and `api_keys` exclude each other");
            }
            let aws = self.aws(&path, provider);
            let sources: Vec<_> = provider.api_key.iter().chain(&provider.api_keys).collect();
            for place in 0..sources.len().max(1) {
                let key = sources.get(place).and_then(|source| self.secret(&path, source));
                let id = if place == 0 { name.clone() } else { format!("{name}-{}", place + 1) };
                if place > 0 && self.file.providers.contains_key(&id) {
                    self.problem(
                        &path,
                        format!("its key number {} would be provider `{id}`, which there is", place + 1),
                    );
                }
                let (endpoint, origin) = (endpoint.clone(), origin.clone());
                let (base_path, serves) = (base_path.clone(), serves.clone());
                let aws = aws.clone();
                accounts.push(Account { name, id, provider, key, aws, endpoint, origin, base_path, serves });
            }
        }
        accounts
    }

    pub(super) fn endpoint(
        &mut self,
        path: &[&str; 2],
        provider: &Provider,
    ) -> Option<(waypost::core::Endpoint, Origin, String)> {
        let path = [path[0], path[1], "endpoint"];
        let regional = provider.aws.as_ref().filter(|_| provider.kind == ProviderKind::Bedrock);
        let regional =
            regional.map(|aws| format!("https://bedrock-runtime.{}.amazonaws.com/openai/v1", aws.region));
        let usual = regional.as_deref().or(provider.kind.default_endpoint());
        let Some(url) = provider.endpoint.as_deref().or(usual) else {
            self.problem(&path, "`endpoint` is missing: its address cannot be known");
            return None;
        };
        self.base_url(&path, url, provider.private)
    }

    /// Takes a base URL apart. Whether it may be of a private network is guessed from its name where nothing is said.
    pub(super) fn base_url(
        &mut self,
        path: &[&str],
        url: &str,
        is_private: Option<bool>,
    ) -> Option<(waypost::core::Endpoint, Origin, String)> {
        let endpoint = self.take(path, waypost::core::Endpoint::new(url))?;
        let uri: http::Uri = self.take(path, url.parse())?;
        let host = uri.host().unwrap_or_default().to_owned();
        let is_tls = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        // Names are looked at when their addresses are known.
        let address = literal(&host);
        if address.is_some_and(is_metadata) || host.ends_with('.') || uri.query().is_some() {
            self.problem(
                path,
                "an endpoint must be a base URL without query, and not of a link-local or metadata address",
            );
            return None;
        }
        let reach = match is_private {
            Some(true) => Reach::Private,
            Some(false) => Reach::Internet,
            None => Reach::usual(&host),
        };
        if address.is_some_and(|address| !reach.allows(address)) {
            self.problem(path, "its address is of a private network, and `private = false` refuses those");
            return None;
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Some((endpoint, Origin { is_tls, host, port, reach }, base_path))
    }

    /// Credentials to sign with. A region alone says only where Bedrock is.
    fn aws(&mut self, path: &[&str; 2], provider: &Provider) -> Option<AwsKeys> {
        let aws = provider.aws.as_ref()?;
        let place = [path[0], path[1], "aws"];
        if provider.kind != ProviderKind::Bedrock {
            self.problem(&place, "only requests to bedrock are signed");
        }
        let has_key = provider.api_key.is_some() || !provider.api_keys.is_empty();
        let (access, secret) = match (&aws.access_key, &aws.secret_key) {
            (Some(_), Some(_)) if has_key => {
                self.problem(&place, "a key and credentials to sign with exclude each other");
                return None;
            }
            (Some(access), Some(secret)) => (access, secret),
            (None, None) if has_key => return None,
            _ => {
                self.problem(&place, "`access_key` and `secret_key` are both needed to sign with");
                return None;
            }
        };
        let token = aws.session_token.as_ref();
        Some(AwsKeys {
            access_key: self.secret(&place, access)?,
            secret_key: self.secret(&place, secret)?,
            session_token: token.and_then(|source| self.secret(&place, source)),
            region: aws.region.clone(),
        })
    }

    pub(super) fn serves(&mut self, path: &[&str; 2], provider: &Provider) -> Vec<Endpoint> {
        let Some(names) = &provider.serves else { return provider.kind.serves().to_vec() };
        let mut serves = Vec::new();
        for (place, name) in names.iter().enumerate() {
            if let Some(endpoint) = Endpoint::named(name) {
                serves.push(endpoint);
            } else {
                let known = Endpoint::ALL.map(Endpoint::as_str);
                self.unknown(&[path[0], path[1], "serves", &place.to_string()], "request", name, known);
            }
        }
        serves
    }
}
