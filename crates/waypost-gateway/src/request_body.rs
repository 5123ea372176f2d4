//! A body made of slices of another.

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
pub(crate) struct RequestBody(std::vec::IntoIter<Bytes>);

impl RequestBody {
    pub(crate) fn new(body: &Bytes) -> Self {
        Self::edited(body, [])
    }

    /// A body with some parts of it replaced, none of which overlap.
    pub(crate) fn edited<const N: usize>(
        body: &Bytes,
        mut edits: [Option<(Range<usize>, Bytes)>; N],
    ) -> Self {
        edits.sort_unstable_by_key(|edit| edit.as_ref().map(|(at, _)| at.start));
        let (mut parts, mut rest) = (Vec::with_capacity(2 * N + 1), 0);
        for (at, text) in edits.into_iter().flatten() {
            parts.extend([body.slice(rest..at.start), text]);
            rest = at.end;
        }
        parts.push(body.slice(rest..));
        parts.retain(|part| !part.is_empty());
        Self(parts.into_iter())
    }

    /// The SHA-256 of all of it, in hexadecimal digits.
    pub(crate) fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        self.0.as_slice().iter().for_each(|part| hasher.update(part));
        hasher.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.0.as_slice().iter().map(|part| part.len() as u64).sum()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
