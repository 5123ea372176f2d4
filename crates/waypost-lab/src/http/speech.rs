//! Answers in the protocols of real providers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{HttpRequest, Script};

/// How a simulated provider speaks: how long its answers are, and how fast it says them.
///
/// ```
/// use waypost_lab::http::{HttpRequest, Speech};
///
/// let request = HttpRequest { path: "/v1/chat/completions".to_owned(), body: br#"{"model":"m"}"#.into(), ..HttpRequest::default() };
/// assert!(!Speech::default().answer(&request).steps().is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech {
    /// Words of an answer, each of which counts as a token.
    pub words: u32,
    /// Until the first of them.
    pub first_token: Duration,
    /// Between two of them.
    pub per_token: Duration,
}

impl Default for Speech {
    /// Five words at once.
    fn default() -> Self {
        Self { words: 5, first_token: Duration::ZERO, per_token: Duration::ZERO }
    }
}

const WORDS: [&str; 8] = ["The", " quick", " brown", " fox", " jumps", " over", " it", "."];
/// When all answers were made.
const CREATED: u64 = 1_735_689_600;

impl Speech {
    /// Answers a request as OpenAI, Anthropic, Google or Cohere would; 404 for what none of them has.
    pub fn answer(&self, request: &HttpRequest) -> Script {
        let path = request.path.split('?').next().unwrap_or_default();
        let asked = request.json();
        let streamed = asked["stream"] == true;
        let waited =
            Script::new().wait(self.first_token + self.per_token * if streamed { 0 } else { self.words });
        let whole = |body: Value| {
            let answer = Script::json(&body.to_string());
            answer.steps().iter().cloned().fold(waited.clone(), Script::then)
        };
        match path.rsplit_once('/').map_or(path, |(_, last)| last) {
            _ if path.ends_with("/chat/completions") && streamed => self.chat_events(&asked),
            _ if path.ends_with("/chat/completions") => whole(self.chat(&asked)),
            "completions" => whole(self.text_completion(&asked)),
            "messages" if streamed => self.message_events(&asked),
            "messages" => whole(self.message(&asked)),
            "responses" if streamed => self.response_events(&asked),
            "responses" => whole(self.response(&asked, "completed")),
            method if method.ends_with(":generateContent") => {
                whole(self.generated(&asked, &self.text(), true))
            }
            method if method.ends_with(":streamGenerateContent") => self.generated_events(&asked),
            "embeddings" => whole(embeddings(&asked)),
            "rerank" => {
                whole(json!({"id": "rr-1", "results": [{"index": 0, "relevance_score": 0.9}], "meta": {}}))
            }
            _ => Script::status(
                404,
                &[],
                r#"{"error":{"message":"unknown path","type":"invalid_request_error"}}"#,
            ),
        }
    }

    fn words(&self) -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().cycle().take(self.words as usize)
    }

    fn text(&self) -> String {
        self.words().collect()
    }

    fn usage(&self, asked: &Value) -> Value {
        let prompt = prompt_tokens(asked);
        json!({"prompt_tokens": prompt, "completion_tokens": self.words, "total_tokens": prompt + self.words})
    }

    fn chat(&self, asked: &Value) -> Value {
        let (message, reason) = match tool_of(asked) {
            Some(name) => {
                (json!({"role": "assistant", "content": null, "tool_calls": [tool_call(name)]}), "tool_calls")
            }
            None => (json!({"role": "assistant", "content": self.text()}), "stop"),
        };
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": CREATED, "model": asked["model"],
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}],
            "usage": self.usage(asked),
        })
    }

    fn chat_events(&self, asked: &Value) -> Script {
        let event = |delta: Value, reason: Option<&str>| {
            let chunk = json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": asked["model"],
                "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}],
            });
            format!("data: {chunk}\n\n")
        };
        let begun = Script::event_stream().chunk(event(json!({"role": "assistant", "content": ""}), None));
        let begun = begun.wait(self.first_token);
        let (said, reason) = match tool_of(asked) {
            Some(name) => {
                let mut call = tool_call(name);
                call["index"] = json!(0);
                (begun.chunk(event(json!({"tool_calls": [call]}), None)), "tool_calls")
            }
            None => (self.say(begun, |word| event(json!({"content": word}), None)), "stop"),
        };
        let ended = said.chunk(event(json!({}), Some(reason)));
        let ended = if asked["stream_options"]["include_usage"] == true {
            let usage = json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": asked["model"],
                "choices": [], "usage": self.usage(asked),
            });
            ended.chunk(format!("data: {usage}\n\n"))
        } else {
            ended
        };
        ended.chunk("data: [DONE]\n\n").end()
    }

    /// Says the words, with the time between them.
    fn say(&self, begun: Script, event: impl Fn(&str) -> String) -> Script {
        self.words().fold(begun, |script, word| script.chunk(event(word)).wait(self.per_token))
    }

    fn generated(&self, asked: &Value, text: &str, is_last: bool) -> Value {
        let prompt = prompt_tokens(asked);
        let usage = json!({
            "promptTokenCount": prompt, "candidatesTokenCount": self.words, "totalTokenCount": prompt + self.words,
        });
        let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
        if is_last {
            candidate["finishReason"] = json!("STOP");
        }
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "simulated"})
    }

    fn generated_events(&self, asked: &Value) -> Script {
        let event = |word: &str, is_last| format!("data: {}\n\n", self.generated(asked, word, is_last));
        let begun = Script::event_stream().wait(self.first_token);
        self.say(begun, |word| event(word, false)).chunk(event("", true)).end()
    }

    fn text_completion(&self, asked: &Value) -> Value {
        json!({
            "id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": asked["model"],
            "choices": [{"index": 0, "text": self.text(), "logprobs": null, "finish_reason": "stop"}],
            "usage": self.usage(asked),
        })
    }

    fn message(&self, asked: &Value) -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": [{"type": "text", "text": self.text()}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": prompt_tokens(asked), "output_tokens": self.words},
        })
    }

    fn message_events(&self, asked: &Value) -> Script {
        let event =
            |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
        let mut started = self.message(asked);
        started["content"] = json!([]);
        started["stop_reason"] = Value::Null;
        started["usage"]["output_tokens"] = json!(1);
        let begun = Script::event_stream()
            .chunk(event(json!({"type": "message_start", "message": started})))
            .chunk(event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})))
            .chunk(event(json!({"type": "ping"})))
            .wait(self.first_token);
        let delta = |word: &str| {
            event(
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}),
            )
        };
        let stopped = json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": self.words},
        });
        self.say(begun, delta)
            .chunk(event(json!({"type": "content_block_stop", "index": 0})))
            .chunk(event(stopped))
            .chunk(event(json!({"type": "message_stop"})))
            .end()
    }

    fn response(&self, asked: &Value, status: &str) -> Value {
        let content = json!([{"type": "output_text", "text": self.text(), "annotations": []}]);
        let message = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content});
        json!({
            "id": "resp_1", "object": "response", "created_at": CREATED, "status": status, "model": asked["model"],
            "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "output": [message],
            "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "usage": {
                "input_tokens": prompt_tokens(asked), "output_tokens": self.words,
                "total_tokens": prompt_tokens(asked) + self.words,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
            },
        })
    }

    fn response_events(&self, asked: &Value) -> Script {
        let event =
            |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
        let mut begun = self.response(asked, "in_progress");
        begun["output"] = json!([]);
        begun["usage"] = Value::Null;
        let item = json!({"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []});
        let script = Script::event_stream()
            .chunk(event(json!({"type": "response.created", "sequence_number": 0, "response": begun})))
            .chunk(event(json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item})))
            .wait(self.first_token);
        let delta = |word: &str| {
            event(json!({
                "type": "response.output_text.delta", "sequence_number": 2, "item_id": "msg_1", "output_index": 0,
                "content_index": 0, "delta": word, "logprobs": [],
            }))
        };
        let done = json!({"type": "response.completed", "sequence_number": 3, "response": self.response(asked, "completed")});
        self.say(script, delta).chunk(event(done)).end()
    }
}

/// The tool that a request offers, which is then used.
fn tool_of(asked: &Value) -> Option<&str> {
    asked["tools"][0]["function"]["name"].as_str()
}

fn tool_call(name: &str) -> Value {
    json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{\"city\":\"Paris\"}"}})
}

/// Four bytes of what was asked are a token.
fn prompt_tokens(asked: &Value) -> u32 {
    let parts = [&asked["messages"], &asked["prompt"], &asked["input"], &asked["contents"]];
    parts.into_iter().filter(|part| !part.is_null()).map(|part| part.to_string().len() as u32 / 4).sum()
}

fn embeddings(asked: &Value) -> Value {
    let count = asked["input"].as_array().map_or(1, Vec::len);
    // 0.5, -0.25 and 0.125 as the base64 of their floats, which official clients ask for.
    let encoded = asked["encoding_format"] == "base64";
    let vector = || if encoded { json!("AAAAPwAAgL4AAAA+") } else { json!([0.5, -0.25, 0.125]) };
    let data: Vec<_> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector()}))
        .collect();
    let tokens = prompt_tokens(asked);
    json!({
        "object": "list", "model": asked["model"], "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}
