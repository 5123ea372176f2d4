//! What a request must be before it is looked at: its host, its key, its headers.

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
};
use http::request::Parts;
use http::{StatusCode, Uri, Version};

use crate::Endpoint;
use crate::header;
use crate::refusal::Refusal;

/// The most bytes of headers. The connection bounds them too, but only to a read more than it says.
const MAX_HEADERS: usize = 62 << 10;

/// The key that a request was sent with, if it was sent with one: `Authorization: Bearer`, or `x-api-key` as Anthropic's
/// clients send it, or `x-goog-api-key` as Google's do.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let value = values.next();
        if values.next().is_some() { Err(Refusal::no_key()) } else { Ok(value) }
    };
    if let Some(bearer) = only(AUTHORIZATION)? {
        return bearer.strip_prefix(b"Bearer ").map(Some).ok_or_else(Refusal::no_key);
    }
    Ok(only(header::API_KEY)?.or(only(header::GOOGLE_API_KEY)?))
}

/// Whether a request names one host, as HTTP/1.1 demands.
pub(crate) fn check_host(head: &Parts) -> Result<(), Refusal> {
    let bad = |message: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    let mut hosts = head.headers.get_all(HOST).iter();
    let named = head.uri.authority();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let authority = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
            let plain = authority.is_some_and(|host| {
                !host.as_str().contains('@') && named.is_none_or(|named| named.as_str() == host.as_str())
            });
            if plain { Ok(()) } else { bad("`Host` is not valid") }
        }
        (Some(_), Some(_)) => bad("`Host` stands twice"),
        (None, _) if matches!(head.version, Version::HTTP_2 | Version::HTTP_10) => Ok(()),
        (None, _) => bad("`Host` is missing"),
    }
}

/// Whether a stream of Gemini's is asked for as events: its other form is one list that is never whole.
pub(crate) fn check_query(uri: &Uri, endpoint: Endpoint) -> Result<(), Refusal> {
    let is_asked = || uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    if endpoint != Endpoint::StreamGenerateContent || is_asked() {
        return Ok(());
    }
    let message = "streams are sent as events: ask for `alt=sse`";
    Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", message))
}

/// Whether the headers say what the endpoint takes.
pub(crate) fn check_headers(headers: &HeaderMap, endpoint: Endpoint) -> Result<(), Refusal> {
    let refuse = |status, message: &str| Err(Refusal::new(status, "invalid_request", message));
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > MAX_HEADERS {
        return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large");
    }
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if encoded {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded bodies are not taken");
    }
    if headers.get(EXPECT).is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return refuse(StatusCode::EXPECTATION_FAILED, "this cannot be expected");
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (kind, settings) = kind.split_once(';').unwrap_or((kind, ""));
    let is = |text: &str, named: &[&str]| named.iter().any(|name| text.trim().eq_ignore_ascii_case(name));
    let fits = if endpoint.is_form() {
        is(kind, &["multipart/form-data"])
    } else {
        is(kind, &["application/json"]) && is(settings, &["", "charset=utf-8", "charset=\"utf-8\""])
    };
    if fits {
        Ok(())
    } else {
        refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "`Content-Type` is not what this path takes")
    }
}
