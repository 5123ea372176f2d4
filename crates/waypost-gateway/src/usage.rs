//! What providers say they used, in their several words.

use serde::{Deserialize, Deserializer};
use waypost::core::{TokenUsage, Tokens};

/// A count that may be missing, negative or no number at all: then it is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Count(u64),
            Other(serde::de::IgnoredAny),
        }
        Ok(match Said::deserialize(deserializer)? {
            Said::Count(count) => Self(Some(count)),
            Said::Other(_) => Self(None),
        })
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
}

/// Usage as OpenAI, Anthropic and those who follow them say it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(alias = "promptTokenCount")]
    prompt_tokens: Count,
    #[serde(alias = "candidatesTokenCount")]
    completion_tokens: Count,
    /// Gemini counts what it thought apart from what it said.
    #[serde(rename = "thoughtsTokenCount")]
    thought_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    #[serde(alias = "cachedContentTokenCount")]
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

/// What was said of usage so far. A stream says it in parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    prompt: Option<u64>,
    cached: Option<u64>,
    completion: Option<u64>,
}

/// The most tokens that one answer is believed to have used: more is a provider's mistake.
const MOST: u64 = 100_000_000;

impl Said {
    /// Adds what was said later, which counts where it says something.
    pub(crate) fn hear(&mut self, usage: Usage) {
        let believed = |count: Count| count.0.filter(|count| *count <= MOST);
        // Anthropic counts what was cached apart from the rest of the prompt.
        let (read, written) =
            (believed(usage.cache_read_input_tokens), believed(usage.cache_creation_input_tokens));
        let apart = read.unwrap_or(0) + written.unwrap_or(0);
        let prompt =
            believed(usage.prompt_tokens).or(believed(usage.input_tokens).map(|input| input + apart));
        let details = usage.prompt_tokens_details.or(usage.input_tokens_details);
        let cached = details.and_then(|details| believed(details.cached_tokens)).or(read);
        self.prompt = prompt.or(self.prompt);
        self.cached = cached.or(self.cached);
        let (spoken, thought) = (believed(usage.completion_tokens), believed(usage.thought_tokens));
        let completion = spoken.or(thought).map(|_| spoken.unwrap_or(0) + thought.unwrap_or(0));
        self.completion = completion.or(believed(usage.output_tokens)).or(self.completion);
    }

    /// What was used by an answer that broke off, whose provider may have said only how it began: at least what was counted.
    pub(crate) fn or_more(self, prompt: Tokens, counted: Tokens) -> TokenUsage {
        let mut usage = self.or_counted(prompt, counted);
        usage.completion = usage.completion.max(counted);
        usage
    }

    /// What was used: what was said, else what was estimated of the prompt and counted of the answer.
    pub(crate) fn or_counted(self, prompt: Tokens, completion: Tokens) -> TokenUsage {
        let prompt = self.prompt.map_or(prompt, Tokens);
        let mut usage = TokenUsage::new(prompt, self.completion.map_or(completion, Tokens));
        usage.cached = Tokens(self.cached.unwrap_or(0)).min(prompt);
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(texts: &[&str]) -> TokenUsage {
        let mut said = Said::default();
        texts.iter().for_each(|text| said.hear(serde_json::from_str(text).unwrap()));
        said.or_counted(Tokens(7), Tokens(3))
    }

    #[test]
    fn every_dialect_is_heard() {
        let openai = r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":4}}"#;
        let mut expected = TokenUsage::new(Tokens(10), Tokens(20));
        expected.cached = Tokens(4);
        assert_eq!(heard(&[openai]), expected);
        let responses =
            r#"{"input_tokens":10,"output_tokens":20,"input_tokens_details":{"cached_tokens":4}}"#;
        assert_eq!(heard(&[responses]), expected);
        let gemini = r#"{"promptTokenCount":10,"candidatesTokenCount":15,"thoughtsTokenCount":5,"cachedContentTokenCount":4,"totalTokenCount":30}"#;
        assert_eq!(heard(&[gemini]), expected);
        let start = r#"{"input_tokens":4,"cache_read_input_tokens":4,"cache_creation_input_tokens":2,"output_tokens":1}"#;
        assert_eq!(heard(&[start, r#"{"output_tokens":20}"#]), expected);
    }

    #[test]
    fn what_was_counted_is_the_least_of_an_answer_that_broke_off() {
        let mut said = Said::default();
        said.hear(serde_json::from_str(r#"{"input_tokens":10,"output_tokens":1}"#).unwrap());
        assert_eq!(said.or_more(Tokens(7), Tokens(500)), TokenUsage::new(Tokens(10), Tokens(500)));
        assert_eq!(said.or_counted(Tokens(7), Tokens(500)), TokenUsage::new(Tokens(10), Tokens(1)));
        assert_eq!(
            heard(&[r#"{"promptTokenCount":1,"thoughtsTokenCount":9}"#]),
            TokenUsage::new(Tokens(1), Tokens(9))
        );
    }

    #[test]
    fn u29_what_cannot_be_is_not_believed() {
        for count in ["-5", "9223372036854775808", "\"12\"", "null", "1.5", "1e300", "[]"] {
            let usage = format!(r#"{{"prompt_tokens":{count},"completion_tokens":{count}}}"#);
            assert_eq!(heard(&[&usage]), TokenUsage::new(Tokens(7), Tokens(3)), "{count}");
        }
        assert_eq!(heard(&["{}"]), TokenUsage::new(Tokens(7), Tokens(3)));
    }
}
