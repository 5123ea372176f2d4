//! What an attempt ended with.

use core::fmt;
use std::sync::Arc;

use crate::ErrorKind;

/// How much of a body is kept and looked at: 1 KiB. Providers say what is wrong in the first lines.
pub const BODY_BYTES: usize = 1_024;

/// How many headers are kept: 64, more than any provider sends.
const MAX_HEADERS: usize = 64;

/// What a provider answered that is an error: an HTTP status that is none of success, or an error inside a success or a
/// stream.
///
/// ```
/// use waypost_failover::ErrorResponse;
///
/// let refused = ErrorResponse::new(429).header("retry-after", "7").body(r#"{"error":{"type":"rate_limit_error"}}"#);
/// assert_eq!(refused.status(), 429);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorResponse {
    status: u16,
    headers: Vec<(Box<str>, Box<str>)>,
    body: Vec<u8>,
}

impl ErrorResponse {
    /// An answer of a status, as yet without headers and body.
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// One more header; those after the sixty-fourth are dropped.
    pub fn header(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        if self.headers.len() < MAX_HEADERS {
            self.headers.push((name.into(), value.into()));
        }
        self
    }

    /// The body, or of a stream the event that says the error; the first KiB of it is kept.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.body = body[..body.len().min(BODY_BYTES)].into();
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The first KiB of the body.
    pub fn body_start(&self) -> &[u8] {
        &self.body
    }
}

/// What an attempt ended with instead of an answer.
///
/// Every error converts into it, so that `?` works on a client's errors: what an [`io::Error`](std::io::Error) among
/// its causes says decides, else it is [`Unknown`](ErrorKind::Unknown). For that it is no `Error` itself;
/// [`FailoverError`](crate::FailoverError) is.
///
/// ```
/// use std::io;
/// use waypost_failover::{ErrorKind, RequestError};
///
/// let reset = RequestError::from(io::Error::from(io::ErrorKind::ConnectionReset));
/// assert_eq!(reset.kind(), Some(ErrorKind::ConnectionError));
/// assert_eq!(RequestError::from(ErrorKind::Timeout).to_string(), "timeout");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RequestError {
    /// The provider's answer is an error; an [`ErrorClassifier`](crate::ErrorClassifier) reads it.
    Response(ErrorResponse),
    /// The caller knows what kind it is.
    Kind(ErrorKind),
    /// Any other error.
    Other(Arc<dyn core::error::Error + Send + Sync>),
}

impl RequestError {
    /// The provider answered with a status and nothing else that is known.
    pub const fn status(status: u16) -> Self {
        Self::Response(ErrorResponse::new(status))
    }

    /// What kind it is, as far as that can be told without knowing the provider.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Response(_) => None,
            Self::Kind(kind) => Some(*kind),
            Self::Other(error) => Some(kind_of_cause(&**error)),
        }
    }

    /// The HTTP status, where there was an answer.
    pub const fn status_code(&self) -> Option<u16> {
        match self {
            Self::Response(response) => Some(response.status),
            _ => None,
        }
    }
}

/// What an input or output error among the causes says.
fn kind_of_cause(error: &(dyn core::error::Error + 'static)) -> ErrorKind {
    use std::io::ErrorKind as Io;
    let mut causes = core::iter::successors(Some(error), |error| error.source()).take(16);
    let io = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        None => ErrorKind::Unknown,
        Some(Io::TimedOut) => ErrorKind::Timeout,
        Some(Io::InvalidData) => ErrorKind::InvalidResponse,
        Some(_) => ErrorKind::ConnectionError,
    }
}

impl<E: core::error::Error + Send + Sync + 'static> From<E> for RequestError {
    fn from(error: E) -> Self {
        Self::Other(Arc::new(error))
    }
}

impl From<ErrorKind> for RequestError {
    fn from(kind: ErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<ErrorResponse> for RequestError {
    fn from(response: ErrorResponse) -> Self {
        Self::Response(response)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(response) => write!(f, "status {}", response.status),
            Self::Kind(kind) => kind.fmt(f),
            Self::Other(error) => error.fmt(f),
        }
    }
}
