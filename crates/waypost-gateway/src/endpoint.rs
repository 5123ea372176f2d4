//! The requests that clients may make, by path.

use std::fmt;

/// One operation of the data plane: what a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v1/chat/completions`, OpenAI.
    ChatCompletions,
    /// `/v1/completions`, OpenAI.
    Completions,
    /// `/v1/embeddings`, OpenAI.
    Embeddings,
    /// `/v1/responses`, OpenAI.
    Responses,
    /// `/v1/messages`, Anthropic.
    Messages,
    /// `/v1/rerank`, Cohere and Jina.
    Rerank,
    /// `/v1/audio/speech`, OpenAI.
    Speech,
    /// `/v1/audio/transcriptions`, OpenAI; a form.
    Transcriptions,
    /// `/v1/audio/translations`, OpenAI; a form.
    Translations,
    /// `/v1/images/generations`, OpenAI.
    ImageGenerations,
    /// `/v1/images/edits`, OpenAI; a form.
    ImageEdits,
    /// `/v1/images/variations`, OpenAI; a form.
    ImageVariations,
}

/// How an endpoint streams, and how it says errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Chunks with choices, then `[DONE]`: chat and completions of OpenAI.
    Chunks,
    /// Named events of OpenAI's responses.
    Responses,
    /// Named events of Anthropic's messages.
    Messages,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::Rerank,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
    ];

    /// The endpoint of a path, compared byte for byte.
    pub fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1")?;
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == rest)
    }

    /// Its path after the version.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::Rerank => "/rerank",
            Self::Speech => "/audio/speech",
            Self::Transcriptions => "/audio/transcriptions",
            Self::Translations => "/audio/translations",
            Self::ImageGenerations => "/images/generations",
            Self::ImageEdits => "/images/edits",
            Self::ImageVariations => "/images/variations",
        }
    }

    /// Its name in configuration, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Rerank => "rerank",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
            Self::ImageGenerations => "image-generations",
            Self::ImageEdits => "image-edits",
            Self::ImageVariations => "image-variations",
        }
    }

    /// The endpoint of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.as_str() == name)
    }

    /// The tag of candidates that speak its protocol.
    pub(crate) fn tag(self) -> String {
        format!("speaks-{}", self.as_str())
    }

    /// Whether its requests are forms with files rather than JSON.
    pub(crate) const fn is_form(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations | Self::ImageEdits | Self::ImageVariations)
    }

    /// Whether its answers are text, which is counted in tokens.
    pub(crate) const fn is_text(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages)
    }

    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Responses => Dialect::Responses,
            Self::Messages => Dialect::Messages,
            _ => Dialect::Chunks,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b23_paths_are_compared_byte_for_byte() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of_path(&format!("/v1{}", endpoint.path())), Some(endpoint));
            assert_eq!(Endpoint::named(endpoint.as_str()), Some(endpoint));
        }
        let others = [
            "/v1//chat/completions",
            "//v1/chat/completions",
            "/v1/chat/completions/",
            "/v1/chat%2fcompletions",
            "/v1/../v1/chat/completions",
            "/v1/chat/completions;x",
            "/v1/%63hat/completions",
            "/v1",
            "/",
            "",
            "/v1/chat/completions\0",
            "/V1/chat/completions",
        ];
        assert!(others.into_iter().all(|path| Endpoint::of_path(path).is_none()));
    }
}
