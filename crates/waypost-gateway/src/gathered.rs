//! Chunks of a body, put together.

use bytes::{Bytes, BytesMut};

/// A body so far. The first chunk is kept as it is, for most bodies are one chunk.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    first: Bytes,
    rest: BytesMut,
    /// How long it should become.
    length: usize,
}

/// The most that is set aside for a body before it has come: who announces much has sent nothing yet.
const MAX_AHEAD: usize = 1 << 20;

impl Gathered {
    /// One that is expected to be so long.
    pub(crate) fn expecting(length: usize) -> Self {
        Self { length: length.min(MAX_AHEAD), ..Self::default() }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.is_empty() {
            self.first = chunk;
            return;
        }
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            // Twice what has come, until it is clear that what was announced comes.
            let come = first.len() + chunk.len();
            self.rest.reserve(self.length.min(come * 4).max(come));
        }
        self.rest.extend_from_slice(&first);
        self.rest.extend_from_slice(&chunk);
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held(&self) -> usize {
        self.first.len() + self.rest.capacity()
    }

    pub(crate) fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_one_body_and_one_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"ab");
        let mut body = Gathered::default();
        body.push(chunk.clone());
        assert_eq!((body.len(), body.held()), (2, 2));
        let mut longer = Gathered::default();
        ["ab", "", "c", "d"].into_iter().for_each(|chunk| longer.push(Bytes::from_static(chunk.as_bytes())));
        assert_eq!(body.finish().as_ptr(), chunk.as_ptr());
        assert_eq!(longer.finish(), "abcd");
        assert!(Gathered::default().finish().is_empty());
    }
}
