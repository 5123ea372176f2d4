//! A body made of slices of another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest as _, Sha256};

/// A body that is sent as the parts that it consists of. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestBody(VecDeque<Bytes>);

impl RequestBody {
    pub(crate) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        Self(parts.into_iter().filter(|part| !part.is_empty()).collect())
    }

    /// A body with some parts of it replaced, none of which overlap.
    pub(crate) fn edited(body: &Bytes, mut edits: Vec<(Range<usize>, Bytes)>) -> Self {
        edits.sort_by_key(|(at, _)| at.start);
        let (mut parts, mut rest) = (Vec::with_capacity(edits.len() * 2 + 1), 0);
        for (at, text) in edits {
            parts.extend([body.slice(rest..at.start), text]);
            rest = at.end;
        }
        parts.push(body.slice(rest..));
        Self::new(parts)
    }

    /// The SHA-256 of all of it, in hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        self.0.iter().for_each(|part| hasher.update(part));
        hasher.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|part| part.len() as u64).sum()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
