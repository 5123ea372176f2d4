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
    /// `/v1beta/models/{model}:generateContent`, Gemini.
    GenerateContent,
    /// `/v1beta/models/{model}:streamGenerateContent?alt=sse`, Gemini.
    StreamGenerateContent,
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
    /// Chunks of Gemini's own API, whose stream ends without a word.
    Gemini,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Messages,
        Self::GenerateContent,
        Self::StreamGenerateContent,
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
        if let Some((_, method)) = gemini_path(path) {
            return Self::ALL.into_iter().find(|endpoint| endpoint.path().ends_with(method));
        }
        let rest = path.strip_prefix("/v1")?;
        Self::ALL.into_iter().find(|endpoint| !endpoint.is_gemini() && endpoint.path() == rest)
    }

    /// The model that a path names, where paths do.
    pub(crate) fn model_of(path: &str) -> Option<&str> {
        gemini_path(path).map(|(model, _)| model)
    }

    /// Whether its requests name the model in their paths, and go as Gemini's own API has them.
    pub(crate) const fn is_gemini(self) -> bool {
        matches!(self, Self::GenerateContent | Self::StreamGenerateContent)
    }

    /// Its path after the version; `{model}` where it names the model.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::GenerateContent => "/models/{model}:generateContent",
            Self::StreamGenerateContent => "/models/{model}:streamGenerateContent",
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
            Self::GenerateContent => "generate-content",
            Self::StreamGenerateContent => "stream-generate-content",
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
            || self.is_gemini()
    }

    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Responses => Dialect::Responses,
            Self::Messages => Dialect::Messages,
            Self::GenerateContent | Self::StreamGenerateContent => Dialect::Gemini,
            _ => Dialect::Chunks,
        }
    }
}

/// The model and the method that a path of Gemini's API names. Names with characters that would have to be encoded are
/// none.
fn gemini_path(path: &str) -> Option<(&str, &'static str)> {
    let (model, method) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let known =
        [":generateContent", ":streamGenerateContent"].into_iter().find(|known| &known[1..] == method)?;
    (!model.is_empty() && model.bytes().all(is_plain) && model != "." && model != "..")
        .then_some((model, known))
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
            let version = if endpoint.is_gemini() { "/v1beta" } else { "/v1" };
            let path = format!("{version}{}", endpoint.path().replace("{model}", "gemini-2.5-pro"));
            assert_eq!(Endpoint::of_path(&path), Some(endpoint));
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
            "/v1/models/{model}:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/..:generateContent",
            "/v1beta/models/:generateContent",
            "/v1beta/models/a%2e:generateContent",
            "/v1beta/models/a:countTokens",
            "/v1beta/models/a:generateContent/",
        ];
        assert!(others.into_iter().all(|path| Endpoint::of_path(path).is_none()));
    }
}
