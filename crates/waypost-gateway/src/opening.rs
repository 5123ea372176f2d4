//! A provider's answer, looked at until it is known to be one.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use waypost::failover::{ErrorKind, ErrorResponse};
use waypost::{Attempt, RequestError};

use crate::endpoint::Dialect;
use crate::exchange::Exchange;
use crate::gathered::Gathered;
use crate::json::Object;
use crate::refusal::ProviderSaid;
use crate::secrets::redacted;
use crate::settlement::Progress;
use crate::sse::{EventSplitter, events};
use crate::target::Target;
use crate::upstream::UpstreamBody;
use crate::usage::Said;

/// The largest answer that is held until all of it is there, so that its failure can still be somebody else's success.
const MAX_HELD: usize = 1 << 20;
/// The most that is read of an error.
const MAX_ERROR: usize = 64 << 10;
/// The most that comes before the first content of a stream.
const MAX_PREAMBLE: usize = 1 << 20;

/// An answer that is one.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    /// What the body is. What a provider says besides, of accounts, limits and servers, is not the client's to know.
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) target: Arc<Target>,
    pub(crate) progress: Progress,
    pub(crate) body: UpstreamBody,
    pub(crate) beginning: Beginning,
}

/// What has been read of an answer.
pub(crate) enum Beginning {
    /// All of it.
    Whole(Bytes),
    /// A stream's events up to the first content, and what cuts the next ones.
    Events(Bytes, EventSplitter),
    /// Its first bytes.
    Bytes(Bytes),
}

/// An answer that is being looked at.
pub(crate) struct Opening<'a> {
    exchange: &'a Exchange,
    attempt: &'a Attempt,
    target: Arc<Target>,
    progress: Progress,
    status: StatusCode,
    headers: HeaderMap,
    body: UpstreamBody,
}

impl<'a> Opening<'a> {
    pub(crate) fn new(
        exchange: &'a Exchange,
        attempt: &'a Attempt,
        target: Arc<Target>,
        progress: Progress,
        response: Response<UpstreamBody>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status, head.headers);
        Self { exchange, attempt, target, progress, status, headers, body }
    }

    /// Reads until it is clear that this is an answer.
    ///
    /// # Errors
    ///
    /// What the provider said instead of one, or how it broke off.
    pub(crate) async fn read(&mut self) -> Result<Beginning, RequestError> {
        if !matches!(self.status.as_u16(), 200..=203) {
            return Err(Box::pin(self.refused()).await);
        }
        let kind = media_type(&self.headers);
        if kind.eq_ignore_ascii_case(b"text/event-stream") && self.exchange.endpoint.is_text() {
            return self.read_events().await;
        }
        if kind.eq_ignore_ascii_case(b"text/html") {
            return Err(ErrorResponse::new(200).header("content-type", "text/html").into());
        }
        let is_json = kind.len() >= 4 && kind[kind.len() - 4..].eq_ignore_ascii_case(b"json");
        self.read_whole(is_json).await
    }

    pub(crate) fn opened(mut self, beginning: Beginning) -> Opened {
        let content_type = self.headers.remove(CONTENT_TYPE);
        let Self { status, target, progress, body, .. } = self;
        Opened { status, content_type, target, progress, body, beginning }
    }

    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await? {
                Ok(frame) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Some(Ok(chunk));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The provider refused. What it said is kept for the client, without its secrets.
    async fn refused(&mut self) -> RequestError {
        let mut text = BytesMut::new();
        while text.len() < MAX_ERROR {
            match self.next().await {
                Some(Ok(chunk)) => text.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR - text.len())]),
                _ => break,
            }
        }
        let body = redacted(text.freeze(), &self.target.secrets);
        let mut response = ErrorResponse::new(self.status.as_u16()).body(&body);
        for (name, value) in &self.headers {
            if let Ok(value) = value.to_str() {
                response = response.header(name.as_str(), value);
            }
        }
        let content_type = self.headers.get(CONTENT_TYPE).cloned();
        let said = ProviderSaid { attempt: self.attempt.number(), status: self.status, content_type, body };
        *self.exchange.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        response.into()
    }

    /// Reads up to the first content.
    async fn read_events(&mut self) -> Result<Beginning, RequestError> {
        let (mut splitter, mut begun) = (EventSplitter::default(), BytesMut::new());
        loop {
            let (block, is_last) = match self.next().await {
                Some(Ok(chunk)) => (splitter.push(chunk).map_err(|_| ErrorKind::InvalidResponse)?, false),
                Some(Err(_)) => return Err(ErrorKind::ConnectionError.into()),
                None => (splitter.finish(), true),
            };
            match look_for_content(self.exchange.endpoint.dialect(), &block, &self.target)? {
                Some(()) => {
                    self.attempt.first_content();
                    self.progress.begin();
                    // What comes in one piece, as it does as a rule, is not copied.
                    let begun = if begun.is_empty() {
                        block
                    } else {
                        begun.extend_from_slice(&block);
                        begun.freeze()
                    };
                    return Ok(Beginning::Events(begun, splitter));
                }
                // An answer that ends without having said anything is none.
                None if is_last || begun.len() + block.len() > MAX_PREAMBLE => {
                    return Err(ErrorKind::InvalidResponse.into());
                }
                None => begun.extend_from_slice(&block),
            }
        }
    }

    /// Reads all of an answer, unless it is too large for that or no JSON.
    async fn read_whole(&mut self, is_json: bool) -> Result<Beginning, RequestError> {
        let length = self.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let mut whole = Gathered::expecting(length.unwrap_or(0));
        loop {
            match self.next().await {
                Some(Ok(chunk)) => whole.push(chunk),
                Some(Err(_)) => return Err(ErrorKind::ConnectionError.into()),
                None => break,
            }
            let is_large = length.is_some_and(|length| length > MAX_HELD) || whole.len() > MAX_HELD;
            if !is_json || is_large {
                self.attempt.first_content();
                self.progress.begin();
                return Ok(Beginning::Bytes(whole.finish()));
            }
        }
        let body = whole.finish();
        let said = said_in(&body);
        let said =
            said.ok_or_else(|| ErrorResponse::new(200).body(redacted(body.clone(), &self.target.secrets)))?;
        // Of a text that does not say, four bytes are taken for a token.
        let counted = if self.exchange.endpoint.is_text() { body.len() as u64 / 4 } else { 0 };
        self.progress.hear_all(said, counted);
        self.attempt.first_content();
        Ok(Beginning::Whole(body))
    }
}

/// The first content among events; what an error among them says before that.
fn look_for_content(dialect: Dialect, block: &Bytes, target: &Target) -> Result<Option<()>, RequestError> {
    for event in events(block) {
        let heard = dialect.hear(event);
        if heard.error {
            let said = Bytes::copy_from_slice(event.data().unwrap_or_default());
            return Err(ErrorResponse::new(200).body(redacted(said, &target.secrets)).into());
        }
        if heard.commits {
            return Ok(Some(()));
        }
        if heard.ended {
            return Err(ErrorKind::InvalidResponse.into());
        }
    }
    Ok(None)
}

/// What an answer says that it used; `None` when it is no answer but an error, or no JSON. Models may break a character
/// in two: that alone is no reason to ask somebody else.
fn said_in(body: &[u8]) -> Option<Said> {
    let text = simdutf8::basic::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed);
    let mut object = Object::read(&text).ok()?;
    let mut said = Said::default();
    while let Some((name, value)) = object.next().ok()? {
        match &*name {
            "error" if value != "null" => return None,
            "usage" | "usageMetadata" if value != "null" => said.hear(serde_json::from_str(value).ok()?),
            _ => {}
        }
    }
    Some(said)
}

fn media_type(headers: &HeaderMap) -> &[u8] {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost::core::{TokenUsage, Tokens};

    #[test]
    fn an_answer_is_one_unless_it_says_otherwise() {
        let used = |body: &[u8]| said_in(body).map(|said| said.or_counted(Tokens(1), Tokens(2)));
        let usage = br#"{"usage":{"prompt_tokens":3,"completion_tokens":4},"error":null}"#;
        assert_eq!(used(usage), Some(TokenUsage::new(Tokens(3), Tokens(4))));
        assert_eq!(
            used(b"{\"content\":\"\xe2\x82\"}"),
            Some(TokenUsage::new(Tokens(1), Tokens(2))),
            "half a character"
        );
        for none in
            [&b""[..], b"[]", b"{}}", b"null", b"{\"error\":{}}", b"{\"usage\":3}", b"{\"a\":\"\x01\"}"]
        {
            assert_eq!(used(none), None, "{none:?}");
        }
    }
}
