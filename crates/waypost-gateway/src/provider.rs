//! What is known of each kind of provider: where it is, how it is asked, what it takes.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use waypost::core::{CandidateBuilder, ModelName, ProviderCandidate};

use crate::Endpoint;
use crate::config::ProviderKind;
use crate::header;

/// The version of Anthropic's protocol that is sent when a client names none.
pub(crate) const ANTHROPIC_VERSION: &str = "2023-06-01";

impl ProviderKind {
    /// Where its API is, when the operator does not say.
    pub(crate) const fn default_endpoint(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            Self::Cohere => Some("https://api.cohere.com"),
            Self::AzureOpenai | Self::Vertex | Self::Bedrock | Self::OpenaiCompatible => None,
        }
    }

    /// What OpenTelemetry calls it, `gen_ai.provider.name`.
    pub(crate) const fn vendor(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::AzureOpenai => "azure.ai.openai",
            Self::Anthropic => "anthropic",
            Self::Vertex => "gcp.vertex_ai",
            Self::Gemini => "gcp.gemini",
            Self::Bedrock => "aws.bedrock",
            Self::Cohere => "cohere",
            Self::OpenaiCompatible => "custom",
        }
    }

    /// Starts a candidate of its kind, by which errors and limits are read.
    pub(crate) fn candidate(self, provider: &str, model: &str) -> CandidateBuilder {
        match self {
            Self::Openai => ProviderCandidate::openai(provider, model),
            Self::AzureOpenai => ProviderCandidate::azure(provider, model),
            Self::Anthropic => ProviderCandidate::anthropic(provider, model),
            Self::Vertex | Self::Gemini => ProviderCandidate::vertex(provider, model),
            Self::Bedrock => ProviderCandidate::bedrock(provider, model),
            Self::Cohere => ProviderCandidate::cohere(provider, model),
            Self::OpenaiCompatible => ProviderCandidate::custom(provider, model),
        }
    }

    /// Which requests it takes.
    pub(crate) const fn serves(self) -> &'static [Endpoint] {
        use Endpoint as E;
        match self {
            Self::Openai | Self::AzureOpenai => &[
                E::ChatCompletions,
                E::Completions,
                E::Embeddings,
                E::Responses,
                E::Speech,
                E::Transcriptions,
                E::Translations,
                E::ImageGenerations,
                E::ImageEdits,
                E::ImageVariations,
            ],
            Self::Anthropic => &[E::Messages, E::ChatCompletions],
            Self::Bedrock => &[E::ChatCompletions],
            Self::Vertex => &[E::ChatCompletions, E::GenerateContent, E::StreamGenerateContent],
            Self::Gemini => {
                &[E::ChatCompletions, E::Embeddings, E::GenerateContent, E::StreamGenerateContent]
            }
            Self::Cohere => &[E::Rerank, E::ChatCompletions, E::Embeddings],
            Self::OpenaiCompatible => &[
                E::ChatCompletions,
                E::Completions,
                E::Embeddings,
                E::Responses,
                E::Rerank,
                E::Speech,
                E::Transcriptions,
            ],
        }
    }

    /// The path of a request at a provider whose base URL has the path `base`.
    pub(crate) fn path(
        self,
        base: &str,
        endpoint: Endpoint,
        model: &ModelName,
        api_version: Option<&str>,
    ) -> String {
        if endpoint.is_gemini() {
            return self.gemini_path(base, endpoint, model);
        }
        let path = match (self, api_version) {
            (Self::AzureOpenai, Some(version)) => {
                let deployment = percent_encoded(model.as_str());
                format!("/openai/deployments/{deployment}{}?api-version={version}", endpoint.path())
            }
            (Self::AzureOpenai, None) => format!("/openai/v1{}", endpoint.path()),
            (Self::Cohere, _) if endpoint == Endpoint::Rerank => "/v2/rerank".to_owned(),
            (Self::Cohere, _) => format!("/compatibility/v1{}", endpoint.path()),
            _ => endpoint.path().to_owned(),
        };
        format!("{base}{path}")
    }

    /// Google's own API is beside the one that speaks as OpenAI does.
    fn gemini_path(self, base: &str, endpoint: Endpoint, model: &ModelName) -> String {
        let own = ["/openai", "/endpoints/openapi"].into_iter().find_map(|ending| base.strip_suffix(ending));
        let publisher = if self == Self::Vertex { "/publishers/google" } else { "" };
        let method = endpoint.path().replace("{model}", &percent_encoded(model.as_str()));
        let streamed = if endpoint == Endpoint::StreamGenerateContent { "?alt=sse" } else { "" };
        format!("{}{publisher}{method}{streamed}", own.unwrap_or(base))
    }

    /// The header that its key is sent in.
    pub(crate) fn authorization(self, endpoint: Endpoint, key: &str) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Self::Gemini if endpoint.is_gemini() => (header::GOOGLE_API_KEY, key.to_owned()),
            Self::AzureOpenai => (HeaderName::from_static("api-key"), key.to_owned()),
            Self::Anthropic => (header::API_KEY, key.to_owned()),
            _ => (AUTHORIZATION, format!("Bearer {key}")),
        };
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }

    /// Whether it says usage at the end of a stream when it is asked to.
    pub(crate) const fn takes_stream_options(self) -> bool {
        !matches!(self, Self::Anthropic | Self::Cohere)
    }
}

fn percent_encoded(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b40_names_of_models_are_no_paths() {
        let model = ModelName::new("../../x?y=z/#").unwrap();
        let path = ProviderKind::AzureOpenai.path("", Endpoint::ChatCompletions, &model, Some("2024-10-21"));
        let expected =
            "/openai/deployments/..%2F..%2Fx%3Fy%3Dz%2F%23/chat/completions?api-version=2024-10-21";
        assert_eq!(path, expected);
    }

    #[test]
    fn googles_own_paths_are_beside_those_that_speak_as_openai_does() {
        let model = ModelName::new("gemini-2.5-pro").unwrap();
        let path = |kind: ProviderKind, base: &str, endpoint| kind.path(base, endpoint, &model, None);
        let stream = Endpoint::StreamGenerateContent;
        assert_eq!(
            path(ProviderKind::Gemini, "/v1beta/openai", stream),
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
        );
        let vertex = "/v1/projects/p/locations/eu/endpoints/openapi";
        assert_eq!(
            path(ProviderKind::Vertex, vertex, Endpoint::GenerateContent),
            "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:generateContent"
        );
        assert_eq!(
            path(ProviderKind::Vertex, vertex, Endpoint::ChatCompletions),
            format!("{vertex}/chat/completions")
        );
    }

    #[test]
    fn keys_are_never_shown() {
        for kind in [ProviderKind::Openai, ProviderKind::AzureOpenai, ProviderKind::Anthropic] {
            let header = kind.authorization(Endpoint::ChatCompletions, "sk-canary").unwrap();
            assert!(!format!("{header:?}").contains("canary"));
        }
        assert!(ProviderKind::Openai.authorization(Endpoint::ChatCompletions, "a\nb").is_none());
    }
}
