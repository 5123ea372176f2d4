//! What the events of a stream mean, and how errors are said, in each protocol.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::endpoint::Dialect;
use crate::sse::Event;
use crate::usage::Usage;

/// What an event says.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "an event may say several things")]
pub(crate) struct Heard {
    /// Something that the client waits for: the stream is committed.
    pub(crate) commits: bool,
    /// A piece of the answer.
    pub(crate) content: bool,
    /// The provider failed.
    pub(crate) error: bool,
    /// So many of the answers that were asked for are complete, though more events may follow.
    pub(crate) finished: u32,
    /// Nothing follows.
    pub(crate) ended: bool,
    pub(crate) usage: Option<Usage>,
    /// It says nothing but usage.
    pub(crate) only_usage: bool,
}

/// However many answers were asked for: all of them.
const ALL: u32 = u32::MAX;

const COMMITS: Heard = Heard {
    commits: true,
    content: false,
    error: false,
    finished: 0,
    ended: false,
    usage: None,
    only_usage: false,
};
const CONTENT: Heard = Heard { content: true, ..COMMITS };

/// A chunk of OpenAI's chat or completions.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

/// A named event of Anthropic's messages or OpenAI's responses.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(rename = "type", default)]
    kind: Option<&'a str>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    message: Option<Nested>,
    #[serde(default)]
    response: Option<Nested>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Usage { usage: Option<Usage> },
    Other(serde::de::IgnoredAny),
}

impl Nested {
    fn usage(self) -> Option<Usage> {
        match self {
            Self::Usage { usage } => usage,
            Self::Other(_) => None,
        }
    }
}

/// Whether a value says anything.
fn says(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| !matches!(value.get(), "null" | "\"\"" | "[]" | "{}"))
}

impl Heard {
    /// What a chunk says whose answers end by themselves.
    const fn chunk(content: bool, finished: u32, error: bool, usage: Option<Usage>) -> Self {
        let commits = content || finished > 0;
        Self { commits, content, error, finished, ended: false, usage, only_usage: false }
    }
}

impl Dialect {
    /// What an event means. An event that cannot be read says nothing; it is passed on all the same.
    pub(crate) fn hear(self, event: Event<'_>) -> Heard {
        let Some(data) = event.data().map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else {
            return Heard::default();
        };
        if data == b"[DONE]" {
            return Heard { ended: true, finished: ALL, ..Heard::default() };
        }
        match self {
            Self::Chunks => hear_chunk(data),
            Self::Messages => hear_named(event, data, message_event),
            Self::Responses => hear_named(event, data, response_event),
            Self::Gemini => hear_gemini(data),
        }
    }

    /// What an event means after the first content: only those that may say more than content are read.
    pub(crate) fn hear_flowing(self, event: Event<'_>) -> Heard {
        let plain = match self {
            Self::Chunks => event.data().is_some_and(is_plain_chunk),
            Self::Messages => event.field("event") == Some(b"content_block_delta"),
            Self::Responses => event.field("event").is_some_and(|name| name.ends_with(b".delta")),
            // Every chunk says usage.
            Self::Gemini => false,
        };
        if plain { CONTENT } else { self.hear(event) }
    }

    /// An error as an event of a stream.
    pub(crate) fn error_event(self, code: &str, message: &str) -> String {
        let (code, message) = (quoted(code), quoted(message));
        match self {
            Self::Chunks => format!(
                "data: {{\"error\":{{\"message\":{message},\"type\":\"api_error\",\"param\":null,\"code\":{code}}}}}\n\n"
            ),
            Self::Responses => format!(
                "event: error\ndata: {{\"type\":\"error\",\"code\":{code},\"message\":{message},\"param\":null}}\n\n"
            ),
            Self::Gemini => format!(
                "data: {{\"error\":{{\"code\":500,\"message\":{message},\"status\":\"INTERNAL\",\"reason\":{code}}}}}\n\n"
            ),
            Self::Messages => format!(
                "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":{message}}}}}\n\n"
            ),
        }
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

static FINISH_REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\":"));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\":"));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// Neither an end nor an error nor usage: whatever stands inside of texts has a backslash before its quotes.
fn is_plain_chunk(data: &[u8]) -> bool {
    let value_of = |name: &Finder<'_>| {
        let end = name.find(data)? + name.needle().len();
        data[end..].iter().find(|byte| **byte != b' ')
    };
    data.first() == Some(&b'{')
        && value_of(&FINISH_REASON).is_none_or(|byte| *byte == b'n')
        && value_of(&USAGE).is_none_or(|byte| *byte == b'n')
        && ERROR.find(data).is_none()
}

fn hear_chunk(data: &[u8]) -> Heard {
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return Heard::default() };
    let choices = chunk.choices.unwrap_or_default();
    let in_delta = |delta: &Delta<'_>| {
        let parts = [
            delta.content,
            delta.reasoning_content,
            delta.reasoning,
            delta.refusal,
            delta.tool_calls,
            delta.function_call,
            delta.audio,
        ];
        parts.into_iter().any(says)
    };
    let finished = choices.iter().filter(|choice| says(choice.finish_reason)).count() as u32;
    let content =
        choices.iter().any(|choice| says(choice.text) || choice.delta.as_ref().is_some_and(in_delta));
    let only_usage = choices.is_empty() && chunk.usage.is_some() && !says(chunk.error);
    Heard { only_usage, ..Heard::chunk(content, finished, says(chunk.error), chunk.usage) }
}

/// A chunk of Gemini's own API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generated<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    usage_metadata: Option<Usage>,
    #[serde(borrow, default)]
    prompt_feedback: Option<PromptFeedback<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<&'a RawValue>,
}

fn hear_gemini(data: &[u8]) -> Heard {
    let Ok(chunk) = serde_json::from_slice::<Generated<'_>>(data) else { return Heard::default() };
    let candidates = chunk.candidates.unwrap_or_default();
    // A prompt that is refused has no candidates.
    let refused = chunk.prompt_feedback.is_some_and(|feedback| says(feedback.block_reason));
    let finished = candidates.iter().filter(|candidate| says(candidate.finish_reason)).count() as u32;
    let finished = if refused { ALL } else { finished };
    let content =
        candidates.iter().any(|candidate| says(candidate.content.as_ref().and_then(|said| said.parts)));
    Heard::chunk(content, finished, says(chunk.error), chunk.usage_metadata)
}

fn hear_named(event: Event<'_>, data: &[u8], meaning: fn(&str) -> Heard) -> Heard {
    let Ok(named) = serde_json::from_slice::<Named<'_>>(data) else { return Heard::default() };
    let name = event.field("event").and_then(|name| std::str::from_utf8(name).ok());
    let usage = named.usage.or_else(|| named.message.or(named.response).and_then(Nested::usage));
    Heard { usage, ..meaning(named.kind.or(name).unwrap_or_default()) }
}

fn message_event(name: &str) -> Heard {
    match name {
        "content_block_delta" => CONTENT,
        "message_delta" => COMMITS,
        "message_stop" => Heard { finished: ALL, ended: true, ..COMMITS },
        "error" => Heard { error: true, ..Heard::default() },
        _ => Heard::default(),
    }
}

fn response_event(name: &str) -> Heard {
    match name {
        "response.completed" | "response.incomplete" => Heard { finished: ALL, ..COMMITS },
        "error" | "response.failed" => Heard { error: true, ..Heard::default() },
        delta if delta.rsplit('.').next() == Some("delta") => CONTENT,
        _ => Heard::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(dialect: Dialect, raw: &str) -> Heard {
        let event = Event { raw: raw.as_bytes() };
        let (heard, flowing) = (dialect.hear(event), dialect.hear_flowing(event));
        assert_eq!(
            (heard.error, heard.finished, heard.ended),
            (flowing.error, flowing.finished, flowing.ended),
            "{raw}"
        );
        assert_eq!(heard.usage.is_some(), flowing.usage.is_some(), "{raw}");
        heard
    }

    #[test]
    fn a_role_is_no_content_and_a_tool_call_is() {
        let content = |delta: &str| {
            let raw = format!(
                "data: {{\"choices\":[{{\"delta\":{delta},\"finish_reason\":null}}],\"usage\":null}}\n\n"
            );
            hear(Dialect::Chunks, &raw).content
        };
        assert!(!content(r#"{"role":"assistant","content":""}"#) && !content("{}"));
        assert!(!content(r#"{"content":null,"tool_calls":[]}"#));
        assert!(content(r#"{"content":"x"}"#) && content(r#"{"tool_calls":[{"index":0}]}"#));
        assert!(content(r#"{"reasoning_content":"x"}"#) && content(r#"{"content":[{"type":"text"}]}"#));
    }

    #[test]
    fn b65_b66_ends_and_errors() {
        assert!(
            hear(Dialect::Chunks, "data: [DONE]\n\n").ended
                && hear(Dialect::Chunks, "data:  [DONE] \r\n\r\n").ended
        );
        assert!(hear(Dialect::Chunks, "data: {\"error\":{\"message\":\"x\"}}\n\n").error);
        assert!(!hear(Dialect::Chunks, "data: {\"error\":null,\"choices\":[]}\n\n").error);
        assert!(
            hear(Dialect::Chunks, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
                .finished
                == 1
        );
        let quoted = r#"data: {"choices":[{"delta":{"content":"\"error\": \"finish_reason\":\"stop\""}}]}"#;
        assert!(!hear(Dialect::Chunks, quoted).error && hear(Dialect::Chunks, quoted).content);
        let usage = hear(Dialect::Chunks, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n");
        assert!(usage.only_usage && usage.usage.is_some() && !usage.content);
        for broken in ["data: {\n\n", ": ping\n\n", "data:\n\n", "data: 3\n\n", "event: error\n\n"] {
            let heard = hear(Dialect::Chunks, broken);
            assert!(!heard.content && !heard.error && !heard.ended, "{broken}");
        }
    }

    #[test]
    fn named_events() {
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9}}}\n\n";
        let start = hear(Dialect::Messages, start);
        assert!(!start.content && start.usage.is_some());
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n";
        assert!(hear(Dialect::Messages, delta).content);
        assert!(hear(Dialect::Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n").ended);
        assert!(hear(Dialect::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n").error);
        assert!(
            hear(Dialect::Responses, "event: error\ndata: {\"type\":\"error\",\"message\":\"x\"}\n\n").error
        );
        let done = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":9}}}\n\n";
        let done = hear(Dialect::Responses, done);
        assert!(done.finished > 0 && done.usage.is_some());
        assert!(
            hear(Dialect::Responses, "event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n")
                .content
        );
    }

    #[test]
    fn p9_errors_are_valid_events_of_their_protocol() {
        for dialect in [Dialect::Chunks, Dialect::Responses, Dialect::Messages, Dialect::Gemini] {
            let event = dialect.error_event("stream_interrupted", "broke \"off\"\n\n");
            let heard = hear(dialect, &event);
            assert!(heard.error, "{event}");
            assert_eq!(crate::sse::events(event.as_bytes()).count(), 1);
        }
    }
}
