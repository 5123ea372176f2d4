//! What routing reads of a request's body. Nothing of the body is copied: values are where they stand.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr2, memmem};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Endpoint;

/// The deepest nesting that is read: what the parsers of providers allow.
const MAX_DEPTH: u32 = 128;
/// The most fields of a request; no API has a tenth of it.
const MAX_FIELDS: usize = 512;
/// The longest name of a model, in bytes.
const MAX_MODEL: usize = 256;
/// The most answers to one request.
const MAX_ANSWERS: u64 = 128;
/// The most tokens that an answer may be asked to have.
const MAX_TOKENS: u64 = 10_000_000;

/// What is wrong with a body, and with which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadBody {
    pub(crate) param: Option<&'static str>,
    pub(crate) message: String,
}

impl BadBody {
    fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), message: message.into() }
    }

    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self { param: None, message: message.into() }
    }
}

/// What routing needs to know of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a request may need several things")]
pub(crate) struct Scanned {
    pub(crate) model: String,
    /// Where the model's name stands, its quotes included; `None` if it is not in the body.
    pub(crate) model_at: Option<Range<usize>>,
    pub(crate) stream: bool,
    /// Bytes of what the prompt is made of.
    pub(crate) prompt_bytes: u64,
    /// Tokens that all answers together may have.
    pub(crate) max_tokens: Option<u64>,
    pub(crate) needs_tools: bool,
    pub(crate) needs_vision: bool,
    pub(crate) needs_schema: bool,
    pub(crate) user: Option<String>,
    /// The caller's word for requests that begin alike.
    pub(crate) cache_key: Option<String>,
    /// What the client asked about streamed usage.
    pub(crate) stream_usage: StreamUsage,
    /// Its options of the stream with usage among them, and where its own stand; `None` if it has none or wants it.
    pub(crate) stream_options: Option<(Range<usize>, Bytes)>,
    /// How many answers are asked for.
    pub(crate) answers: u32,
}

/// What a client asked about usage at the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamUsage {
    /// Nothing: whoever wants to know may ask in its place, right after the body's first brace.
    Silent,
    /// It has options of its own, and usage is not among them: they are replaced.
    Declined,
    /// It wants it.
    Wanted,
}

/// The values of the fields that are read.
#[derive(Default)]
struct Fields<'a>([Option<&'a RawValue>; NAMES.len()]);

const NAMES: [&str; 25] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "tools",
    "messages",
    "input",
    "prompt",
    "response_format",
    "text",
    "user",
    "prompt_cache_key",
    "instructions",
    "contents",
    "system",
    "query",
    "documents",
    "systemInstruction",
    "system_instruction",
    "generationConfig",
    "generation_config",
];

/// Fields of other gateways that would change where a request goes or with which key.
const FORBIDDEN: [&str; 9] = [
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "custom_llm_provider",
    "extra_headers",
    "callbacks",
    "success_callback",
    "failure_callback",
];

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        NAMES.iter().position(|known| *known == name).and_then(|place| self.0[place])
    }

    fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, BadBody> {
        let text = |raw: &'a RawValue| serde_json::from_str::<Cow<'a, str>>(raw.get());
        let found = self.get(name).filter(|raw| raw.get() != "null").map(text).transpose();
        found.map_err(|_| BadBody::of(name, format!("`{name}` must be a string")))
    }

    fn flag(&self, name: &'static str) -> Result<bool, BadBody> {
        match self.get(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(BadBody::of(name, format!("`{name}` must be true or false"))),
        }
    }

    fn number(&self, name: &'static str, most: u64) -> Result<Option<u64>, BadBody> {
        number(self.get(name), name, most)
    }
}

fn number(raw: Option<&RawValue>, name: &'static str, most: u64) -> Result<Option<u64>, BadBody> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let number = raw.parse().ok().filter(|number| (1..=most).contains(number));
    number
        .map(Some)
        .ok_or_else(|| BadBody::of(name, format!("`{name}` must be a whole number from 1 to {most}")))
}

/// The name of a field, if it is one that matters.
enum Key {
    Known(usize),
    Forbidden(&'static str),
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field")
            }
            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                let known = NAMES.iter().position(|known| *known == name).map(Key::Known);
                let forbidden =
                    || FORBIDDEN.into_iter().find(|forbidden| *forbidden == name).map(Key::Forbidden);
                Ok(known.or_else(forbidden).unwrap_or(Key::Other))
            }
        }
        deserializer.deserialize_identifier(Names)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let (mut fields, mut count) = (Fields::default(), 0);
                while let Some(key) = map.next_key::<Key>()? {
                    count += 1;
                    if count > MAX_FIELDS {
                        return Err(A::Error::custom(format_args!("more than {MAX_FIELDS} fields")));
                    }
                    let value = map.next_value::<&RawValue>()?;
                    match key {
                        Key::Known(place) if fields.0[place].replace(value).is_some() => {
                            return Err(A::Error::custom(format_args!(
                                "field `{}` stands twice",
                                NAMES[place]
                            )));
                        }
                        Key::Forbidden(name) => {
                            return Err(A::Error::custom(format_args!(
                                "field `{name}` is not for clients to say"
                            )));
                        }
                        Key::Known(_) | Key::Other => {}
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Scanned {
    /// Reads a JSON body. Of Gemini's API the path names the model.
    pub(crate) fn of_json(body: &[u8], endpoint: Endpoint, path: &str) -> Result<Self, BadBody> {
        let fields = read_fields(body)?;
        match Endpoint::model_of(path) {
            Some(model) => Self::of_gemini(&fields, endpoint, model),
            None => Self::of_fields(&fields, body, endpoint),
        }
    }
    fn of_gemini(fields: &Fields<'_>, endpoint: Endpoint, model: &str) -> Result<Self, BadBody> {
        #[derive(serde::Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Settings<'a> {
            #[serde(alias = "max_output_tokens", borrow)]
            max_output_tokens: Option<&'a RawValue>,
            #[serde(alias = "candidate_count", borrow)]
            candidate_count: Option<&'a RawValue>,
            #[serde(alias = "response_schema", alias = "responseJsonSchema", borrow)]
            response_schema: Option<&'a RawValue>,
        }
        let settings = fields.get("generationConfig").or(fields.get("generation_config"));
        let settings: Settings<'_> = settings
            .map_or(Ok(Settings::default()), |raw| serde_json::from_str(raw.get()))
            .map_err(|_| BadBody::of("generationConfig", "`generationConfig` cannot be read"))?;
        let answers = number(settings.candidate_count, "candidateCount", MAX_ANSWERS)?.unwrap_or(1);
        let most = number(settings.max_output_tokens, "maxOutputTokens", MAX_TOKENS)?;
        let contents = fields.get("contents").map(|raw| raw.get().as_bytes()).unwrap_or_default();
        let has = |word: &[u8]| memmem::find(contents, word).is_some();
        Ok(Self {
            model: model.to_owned(),
            model_at: None,
            stream: endpoint == Endpoint::StreamGenerateContent,
            prompt_bytes: ["contents", "systemInstruction", "system_instruction", "tools"]
                .into_iter()
                .filter_map(|name| fields.get(name))
                .map(|raw| raw.get().len() as u64)
                .sum(),
            max_tokens: most.map(|tokens| tokens.saturating_mul(answers)),
            needs_tools: fields.get("tools").is_some_and(|tools| tools.get().len() > 4),
            needs_vision: has(br#""inlineData""#) || has(br#""inline_data""#) || has(br#""fileData""#),
            needs_schema: settings.response_schema.is_some(),
            user: None,
            cache_key: None,
            // Every chunk says it.
            stream_usage: StreamUsage::Wanted,
            stream_options: None,
            answers: answers as u32,
        })
    }

    fn of_fields(fields: &Fields<'_>, body: &[u8], endpoint: Endpoint) -> Result<Self, BadBody> {
        let model = fields.get("model").ok_or_else(|| BadBody::of("model", "`model` is missing"))?;
        let model_at = place_of(body, model.get());
        let model = fields.text("model")?.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL);
        let model = model.ok_or_else(|| {
            BadBody::of("model", format!("`model` must be a name of 1 to {MAX_MODEL} bytes"))
        })?;
        let stream = fields.flag("stream")?;
        let asked = fields.get("stream_options").map(RawValue::get).filter(|raw| *raw != "null");
        if asked.is_some_and(|asked| !asked.starts_with('{')) {
            return Err(BadBody::of("stream_options", "`stream_options` must be an object"));
        }
        if asked.is_some() && !stream {
            return Err(BadBody::of("stream_options", "`stream_options` is only for streamed answers"));
        }
        let written = fields.get("stream_options").map(RawValue::get);
        let stream_usage = stream_usage(asked, written == Some("null"), endpoint);
        let stream_options = written
            .filter(|_| stream && stream_usage == StreamUsage::Declined)
            .map(|written| (place_of(body, written), with_usage(written)));
        let answers =
            fields.number("n", MAX_ANSWERS)?.max(fields.number("best_of", MAX_ANSWERS)?).unwrap_or(1);
        Ok(Self {
            model: model.into_owned(),
            model_at: Some(model_at),
            stream,
            prompt_bytes: [
                "messages",
                "system",
                "input",
                "prompt",
                "instructions",
                "tools",
                "query",
                "documents",
            ]
            .into_iter()
            .filter_map(|name| fields.get(name))
            .map(|raw| raw.get().len() as u64)
            .sum(),
            max_tokens: max_tokens(fields)?.map(|tokens| tokens.saturating_mul(answers)),
            needs_tools: fields.get("tools").is_some_and(|tools| tools.get().len() > 4),
            needs_vision: has_images(fields),
            needs_schema: has_schema(fields),
            user: fields.text("user")?.map(Cow::into_owned),
            cache_key: fields.text("prompt_cache_key")?.map(Cow::into_owned),
            stream_usage,
            stream_options,
            // The best of several is one.
            answers: fields.number("n", MAX_ANSWERS)?.unwrap_or(1) as u32,
        })
    }
}

fn read_fields(body: &[u8]) -> Result<Fields<'_>, BadBody> {
    let text = std::str::from_utf8(body).map_err(|_| BadBody::whole("the body is not UTF-8"))?;
    if is_deeper_than(body, MAX_DEPTH) {
        return Err(BadBody::whole(format!("the body is nested deeper than {MAX_DEPTH}")));
    }
    serde_json::from_str(text).map_err(|error| BadBody::whole(format!("the body cannot be read: {error}")))
}

fn max_tokens(fields: &Fields<'_>) -> Result<Option<u64>, BadBody> {
    let [old, new, output] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let (old, new) = (fields.number(old, MAX_TOKENS)?, fields.number(new, MAX_TOKENS)?);
    if old.is_some() && new.is_some() {
        return Err(BadBody::of("max_tokens", "`max_tokens` and `max_completion_tokens` exclude each other"));
    }
    Ok(old.or(new).or(fields.number(output, MAX_TOKENS)?))
}

/// In JSON a quote within a text has a backslash before it, so these stand only where the names of fields or values do.
fn has_images(fields: &Fields<'_>) -> bool {
    // One walk over a long prompt; the words are looked for where it stops.
    let says = |raw: &RawValue| {
        let text = raw.get().as_bytes();
        memmem::find_iter(text, b"image").any(|at| {
            let (before, after) = (&text[..at], &text[at..]);
            (before.ends_with(b"\"") && (after.starts_with(b"image\"") || after.starts_with(b"image_url\"")))
                || (before.ends_with(b"\"input_") && after.starts_with(b"image\""))
        })
    };
    ["messages", "input"].into_iter().filter_map(|name| fields.get(name)).any(says)
}

fn has_schema(fields: &Fields<'_>) -> bool {
    let says = |raw: &RawValue| memmem::find(raw.get().as_bytes(), br#""json_schema""#).is_some();
    ["response_format", "text"].into_iter().filter_map(|name| fields.get(name)).any(says)
}

/// Options of a stream with usage among them.
fn with_usage(written: &str) -> Bytes {
    let mut options = serde_json::from_str(written).unwrap_or_default();
    if let serde_json::Value::Null = options {
        options = serde_json::json!({});
    }
    options["include_usage"] = true.into();
    options.to_string().into()
}

fn stream_usage(asked: Option<&str>, is_null: bool, endpoint: Endpoint) -> StreamUsage {
    #[derive(serde::Deserialize)]
    struct Options {
        include_usage: Option<bool>,
    }
    match asked.map(serde_json::from_str::<Options>) {
        _ if !matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions) => StreamUsage::Wanted,
        None if is_null => StreamUsage::Declined,
        None => StreamUsage::Silent,
        Some(Ok(Options { include_usage: Some(true) })) => StreamUsage::Wanted,
        Some(_) => StreamUsage::Declined,
    }
}

/// Where a part of a body stands in it.
fn place_of(body: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

/// Whether lists and objects are nested deeper than so. Texts are skipped.
fn is_deeper_than(body: &[u8], most: u32) -> bool {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' if depth == most => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_text(body, at),
            _ => {}
        }
    }
    false
}

/// Where the text that starts here ends, its quote included.
fn end_of_text(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        if body[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(body: &str) -> Result<Scanned, BadBody> {
        Scanned::of_json(body.as_bytes(), Endpoint::ChatCompletions, "")
    }

    fn param(body: &str) -> Option<&'static str> {
        scan(body).unwrap_err().param
    }

    #[test]
    fn reads_what_routing_needs_where_it_stands() {
        let body = r#"{ "messages":[{"role":"user","content":"hi \"image_url\" {"}], "mod\u0065l" : "gpt-4\u006f","n":2,
            "max_tokens":10,"stream":true,"tools":[{"type":"function"}],"user":"17","unknown":[[1e400]]}"#;
        let scanned = scan(body).unwrap();
        assert_eq!(
            (scanned.model.as_str(), &body[scanned.model_at.clone().unwrap()]),
            ("gpt-4o", r#""gpt-4\u006f""#)
        );
        assert_eq!(
            (scanned.stream, scanned.max_tokens, scanned.user.as_deref()),
            (true, Some(20), Some("17"))
        );
        assert!(scanned.needs_tools && !scanned.needs_vision && !scanned.needs_schema);
        assert_eq!(scanned.stream_usage, StreamUsage::Silent);
        let image =
            r#"{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#;
        assert!(scan(image).unwrap().needs_vision);
    }

    #[test]
    fn b36_b38_what_is_no_request_is_refused() {
        let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let fields: Vec<_> = (0..10_000).map(|n| format!(r#""k{n}":1"#)).collect();
        let many = format!(r#"{{{},"model":"m"}}"#, fields.join(","));
        for body in [
            "",
            "[]",
            "3",
            "null",
            "{",
            r#"{"model":"m"} {}"#,
            r#"{"model":"m"},"#,
            "{'model':'m'}",
            &deep,
            &many,
        ] {
            assert_eq!(param(body), None, "{}", &body[..body.len().min(40)]);
        }
        assert!(Scanned::of_json(b"{\"model\":\"\xff\"}", Endpoint::ChatCompletions, "").is_err());
        assert!(
            Scanned::of_json(b"{\"model\":\"m\",\"user\":\"\\ud800\"}", Endpoint::ChatCompletions, "")
                .is_err()
        );
        let allowed = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(127), "]".repeat(127));
        assert!(scan(&allowed).is_ok());
    }

    #[test]
    fn b37_b41_what_others_would_read_differently_is_refused() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","stream":true,"stream":false}"#,
        ] {
            assert!(scan(body).unwrap_err().message.contains("stands twice"));
        }
        assert_eq!(scan(r#"{"model":"a","Model":"b"}"#).unwrap().model, "a");
        for name in FORBIDDEN {
            assert!(scan(&format!(r#"{{"model":"a","{name}":"x"}}"#)).unwrap_err().message.contains(name));
        }
    }

    #[test]
    fn b40_b42_b43_b44_fields_out_of_range_are_named() {
        let long = "m".repeat(10_240);
        for model in ["1", "null", "\"\"", "[]", &format!("\"{long}\"")] {
            assert_eq!(param(&format!(r#"{{"model":{model}}}"#)), Some("model"), "{model:.20}");
        }
        assert_eq!(param("{}"), Some("model"));
        for stream in ["\"true\"", "1", "null"] {
            assert_eq!(param(&format!(r#"{{"model":"m","stream":{stream}}}"#)), Some("stream"));
        }
        assert_eq!(param(r#"{"model":"m","stream_options":{"include_usage":true}}"#), Some("stream_options"));
        for tokens in ["0", "-1", "18446744073709551616", "1e9", "\"7\"", "1.5"] {
            assert_eq!(
                param(&format!(r#"{{"model":"m","max_tokens":{tokens}}}"#)),
                Some("max_tokens"),
                "{tokens}"
            );
        }
        assert_eq!(param(r#"{"model":"m","max_tokens":1,"max_completion_tokens":1}"#), Some("max_tokens"));
        assert_eq!(scan(r#"{"model":"m","max_tokens":null}"#).unwrap().max_tokens, None);
        for answers in ["0", "1000000000"] {
            assert_eq!(param(&format!(r#"{{"model":"m","n":{answers}}}"#)), Some("n"));
        }
    }

    #[test]
    fn what_a_client_says_of_streamed_usage() {
        let asked = |options: &str| {
            scan(&format!(r#"{{"model":"m","stream":true,"stream_options":{options}}}"#))
                .unwrap()
                .stream_usage
        };
        assert_eq!(asked(r#"{"include_usage":true}"#), StreamUsage::Wanted);
        assert_eq!(asked(r#"{"include_usage":false}"#), StreamUsage::Declined);
        assert_eq!(asked("{}"), StreamUsage::Declined);
        assert_eq!(asked("null"), StreamUsage::Declined, "it stands there, so it is replaced");
        let silent = scan(r#"{"model":"m","stream":true}"#).unwrap();
        assert_eq!((silent.stream_usage, silent.stream_options), (StreamUsage::Silent, None));
    }

    proptest! {
        #[test]
        fn x22_no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Scanned::of_json(&body, Endpoint::ChatCompletions, "");
        }

        /// Depth is what a parser would count.
        #[test]
        fn depth_is_that_of_the_value(value in json()) {
            let text = value.to_string();
            let depth = depth_of(&value);
            prop_assert!(!is_deeper_than(text.as_bytes(), depth));
            prop_assert!(depth == 0 || is_deeper_than(text.as_bytes(), depth - 1));
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::json!(1)),
            "[\\[\\]{}\"\\\\a]{0,9}".prop_map(serde_json::Value::from)
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map("[a\"\\\\{]{0,4}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    fn depth_of(value: &serde_json::Value) -> u32 {
        match value {
            serde_json::Value::Array(list) => 1 + list.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(map) => 1 + map.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }
}
