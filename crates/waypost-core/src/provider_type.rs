//! Who makes the model or runs it.

use core::fmt;

use crate::ProviderId;

/// The kind of a provider: which dialect its errors, limits and prices follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderType {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Azure OpenAI.
    AzureOpenAi,
    /// Google Vertex AI.
    GoogleVertex,
    /// Amazon Bedrock.
    AwsBedrock,
    /// Cohere.
    Cohere,
    /// Any other, by a name of the operator's: a self-hosted engine, a reseller.
    Custom(ProviderId),
}

impl fmt::Display for ProviderType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::AzureOpenAi => "azure-openai",
            Self::GoogleVertex => "google-vertex",
            Self::AwsBedrock => "aws-bedrock",
            Self::Cohere => "cohere",
            Self::Custom(name) => name.as_str(),
        })
    }
}
