//! What routing reads of a request's body. Nothing of the body is copied: values are where they stand.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde_json::value::RawValue;

use crate::Endpoint;
use crate::json::{Object, text_of};

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

/// The fields that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    BestOf,
    Tools,
    Messages,
    Input,
    Prompt,
    ResponseFormat,
    Text,
    User,
    PromptCacheKey,
    Instructions,
    Contents,
    System,
    Query,
    Documents,
    SystemInstructionCamel,
    SystemInstruction,
    GenerationConfigCamel,
    GenerationConfig,
}

const FIELDS: [(Field, &str); 25] = [
    (Field::Model, "model"),
    (Field::Stream, "stream"),
    (Field::StreamOptions, "stream_options"),
    (Field::MaxTokens, "max_tokens"),
    (Field::MaxCompletionTokens, "max_completion_tokens"),
    (Field::MaxOutputTokens, "max_output_tokens"),
    (Field::N, "n"),
    (Field::BestOf, "best_of"),
    (Field::Tools, "tools"),
    (Field::Messages, "messages"),
    (Field::Input, "input"),
    (Field::Prompt, "prompt"),
    (Field::ResponseFormat, "response_format"),
    (Field::Text, "text"),
    (Field::User, "user"),
    (Field::PromptCacheKey, "prompt_cache_key"),
    (Field::Instructions, "instructions"),
    (Field::Contents, "contents"),
    (Field::System, "system"),
    (Field::Query, "query"),
    (Field::Documents, "documents"),
    (Field::SystemInstructionCamel, "systemInstruction"),
    (Field::SystemInstruction, "system_instruction"),
    (Field::GenerationConfigCamel, "generationConfig"),
    (Field::GenerationConfig, "generation_config"),
];

/// In the order of their declaration.
const _: () = {
    let mut place = 0;
    while place < FIELDS.len() {
        assert!(FIELDS[place].0 as usize == place);
        place += 1;
    }
};

impl Field {
    const fn name(self) -> &'static str {
        FIELDS[self as usize].1
    }
}

/// The values of the fields that are read, as they are written.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a str>; FIELDS.len()],
    /// Whether there are images among the messages.
    has_images: bool,
}

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
    fn read(body: &'a [u8]) -> Result<Self, BadBody> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| BadBody::whole("the body is not UTF-8"))?;
        let malformed = |error| BadBody::whole(format!("the body cannot be read: {error}"));
        let (mut object, mut fields, mut count) =
            (Object::noting(text, is_of_images).map_err(malformed)?, Self::default(), 0);
        while let Some((name, value)) = object.next().map_err(malformed)? {
            count += 1;
            if count > MAX_FIELDS {
                return Err(BadBody::whole(format!("the body has more than {MAX_FIELDS} fields")));
            }
            if let Some(place) = FIELDS.iter().position(|(_, known)| *known == name) {
                let may_have_images = matches!(FIELDS[place].0, Field::Messages | Field::Input);
                fields.has_images |= may_have_images && object.has_noted();
                if fields.values[place].replace(value).is_some() {
                    return Err(BadBody::whole(format!("field `{name}` stands twice")));
                }
            } else if FORBIDDEN.contains(&&*name) {
                return Err(BadBody::whole(format!("field `{name}` is not for clients to say")));
            }
        }
        Ok(fields)
    }

    const fn get(&self, field: Field) -> Option<&'a str> {
        self.values[field as usize]
    }

    fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, BadBody> {
        let Some(written) = self.get(field).filter(|written| *written != "null") else { return Ok(None) };
        let name = field.name();
        text_of(written).map(Some).ok_or_else(|| BadBody::of(name, format!("`{name}` must be a string")))
    }

    fn flag(&self, field: Field) -> Result<bool, BadBody> {
        let name = field.name();
        match self.get(field) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(BadBody::of(name, format!("`{name}` must be true or false"))),
        }
    }

    fn number(&self, field: Field, most: u64) -> Result<Option<u64>, BadBody> {
        number(self.get(field), field.name(), most)
    }

    /// Bytes of what a prompt is made of.
    fn bytes_of(&self, fields: &[Field]) -> u64 {
        fields.iter().filter_map(|&field| self.get(field)).map(|written| written.len() as u64).sum()
    }

    fn has_tools(&self) -> bool {
        self.get(Field::Tools).is_some_and(|tools| tools.len() > "null".len())
    }
}

fn number(written: Option<&str>, name: &'static str, most: u64) -> Result<Option<u64>, BadBody> {
    let Some(written) = written.filter(|written| *written != "null") else { return Ok(None) };
    let number = written.parse().ok().filter(|number| (1..=most).contains(number));
    number
        .map(Some)
        .ok_or_else(|| BadBody::of(name, format!("`{name}` must be a whole number from 1 to {most}")))
}

impl Scanned {
    /// Reads a JSON body. Of Gemini's API the path names the model.
    pub(crate) fn of_json(body: &[u8], endpoint: Endpoint, path: &str) -> Result<Self, BadBody> {
        let fields = Fields::read(body)?;
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
        let settings = fields.get(Field::GenerationConfigCamel).or(fields.get(Field::GenerationConfig));
        let settings: Settings<'_> = settings
            .map_or(Ok(Settings::default()), serde_json::from_str)
            .map_err(|_| BadBody::of("generationConfig", "`generationConfig` cannot be read"))?;
        let answers =
            number(settings.candidate_count.map(RawValue::get), "candidateCount", MAX_ANSWERS)?.unwrap_or(1);
        let most = number(settings.max_output_tokens.map(RawValue::get), "maxOutputTokens", MAX_TOKENS)?;
        let contents = fields.get(Field::Contents).unwrap_or_default().as_bytes();
        let has = |word: &[u8]| memmem::find(contents, word).is_some();
        Ok(Self {
            model: model.to_owned(),
            model_at: None,
            stream: endpoint == Endpoint::StreamGenerateContent,
            prompt_bytes: fields.bytes_of(&[
                Field::Contents,
                Field::SystemInstructionCamel,
                Field::SystemInstruction,
                Field::Tools,
            ]),
            max_tokens: most.map(|tokens| tokens.saturating_mul(answers)),
            needs_tools: fields.has_tools(),
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
        let model = fields.get(Field::Model).ok_or_else(|| BadBody::of("model", "`model` is missing"))?;
        let model_at = place_of(body, model);
        let model = fields.text(Field::Model)?.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL);
        let model = model.ok_or_else(|| {
            BadBody::of("model", format!("`model` must be a name of 1 to {MAX_MODEL} bytes"))
        })?;
        let stream = fields.flag(Field::Stream)?;
        let written = fields.get(Field::StreamOptions);
        let asked = written.filter(|written| *written != "null");
        if asked.is_some_and(|asked| !asked.starts_with('{')) {
            return Err(BadBody::of("stream_options", "`stream_options` must be an object"));
        }
        if asked.is_some() && !stream {
            return Err(BadBody::of("stream_options", "`stream_options` is only for streamed answers"));
        }
        let stream_usage = stream_usage(asked, written == Some("null"), endpoint);
        let stream_options = written
            .filter(|_| stream && stream_usage == StreamUsage::Declined)
            .map(|written| (place_of(body, written), with_usage(written)));
        let answers = fields
            .number(Field::N, MAX_ANSWERS)?
            .max(fields.number(Field::BestOf, MAX_ANSWERS)?)
            .unwrap_or(1);
        Ok(Self {
            model: model.into_owned(),
            model_at: Some(model_at),
            stream,
            prompt_bytes: fields.bytes_of(&[
                Field::Messages,
                Field::System,
                Field::Input,
                Field::Prompt,
                Field::Instructions,
                Field::Tools,
                Field::Query,
                Field::Documents,
            ]),
            max_tokens: max_tokens(fields)?.map(|tokens| tokens.saturating_mul(answers)),
            needs_tools: fields.has_tools(),
            needs_vision: fields.has_images,
            needs_schema: has_schema(fields),
            user: fields.text(Field::User)?.map(Cow::into_owned),
            cache_key: fields.text(Field::PromptCacheKey)?.map(Cow::into_owned),
            stream_usage,
            stream_options,
            // The best of several is one.
            answers: fields.number(Field::N, MAX_ANSWERS)?.unwrap_or(1) as u32,
        })
    }
}

fn max_tokens(fields: &Fields<'_>) -> Result<Option<u64>, BadBody> {
    let [old, new, output] = [Field::MaxTokens, Field::MaxCompletionTokens, Field::MaxOutputTokens];
    let (old, new) = (fields.number(old, MAX_TOKENS)?, fields.number(new, MAX_TOKENS)?);
    if old.is_some() && new.is_some() {
        return Err(BadBody::of("max_tokens", "`max_tokens` and `max_completion_tokens` exclude each other"));
    }
    Ok(old.or(new).or(fields.number(output, MAX_TOKENS)?))
}

/// Names and types of images in messages.
fn is_of_images(text: &[u8]) -> bool {
    text == b"image" || text == b"image_url" || text == b"input_image"
}

fn has_schema(fields: &Fields<'_>) -> bool {
    let says = |written: &str| memmem::find(written.as_bytes(), br#""json_schema""#).is_some();
    [Field::ResponseFormat, Field::Text].into_iter().filter_map(|field| fields.get(field)).any(says)
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
    }
}
