//! Server-sent events, taken apart where one ends, passed on as they are.
//!
//! Source: WHATWG HTML, section 9.2, "Server-sent events".

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The longest event that is taken, in bytes: 4 MiB. An image in base64 fits.
pub(crate) const MAX_EVENT: usize = 4 << 20;

/// An event was longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventTooLong;

/// Cuts a stream of bytes into whole events.
///
/// Bytes that make whole events come out as the slice of the chunk that they are; only an event that spans chunks is
/// copied. At most [`MAX_EVENT`] bytes are held.
#[derive(Debug, Default)]
pub(crate) struct EventSplitter {
    /// The beginning of an event whose end has not come, all chunks of it together.
    held: BytesMut,
    lines: Lines,
}

/// Where in an event the bytes so far end.
#[derive(Debug, Clone, Copy)]
struct Lines {
    /// The line so far is empty.
    at_line_start: bool,
    /// The last byte was a carriage return, which a line feed may follow.
    after_return: bool,
    /// The line end that is under way ends an event.
    ended: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { at_line_start: true, after_return: false, ended: false }
    }
}

impl Lines {
    /// How many bytes of these, counted from the front, end the last event that ends in them.
    fn last_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut last) = (0, None);
        if !bytes.is_empty() && std::mem::take(&mut self.after_return) {
            at = usize::from(bytes[0] == b'\n');
            last = std::mem::take(&mut self.ended).then_some(at);
        }
        while let Some(found) = memchr2(b'\n', b'\r', &bytes[at..]) {
            let empty = found == 0 && self.at_line_start;
            let end = at + found;
            let is_return = bytes[end] == b'\r';
            at = end + 1;
            if is_return && at == bytes.len() {
                (self.after_return, self.ended, self.at_line_start) = (true, empty, true);
                return last;
            }
            if is_return && bytes[at] == b'\n' {
                at += 1;
            }
            self.at_line_start = true;
            if empty {
                last = Some(at);
            }
        }
        if at < bytes.len() {
            self.at_line_start = false;
        }
        last
    }
}

impl EventSplitter {
    /// Takes a chunk; gives the whole events that end in it, with what was held before, and keeps the rest.
    ///
    /// # Errors
    ///
    /// [`EventTooLong`]; nothing more should be read then.
    pub(crate) fn push(&mut self, mut chunk: Bytes) -> Result<Bytes, EventTooLong> {
        let end = self.lines.last_end(&chunk);
        let whole = match end {
            None => Bytes::new(),
            Some(end) if self.held.is_empty() => chunk.split_to(end),
            Some(end) => {
                self.held.extend_from_slice(&chunk.split_to(end));
                self.held.split().freeze()
            }
        };
        if self.held.len() + chunk.len() > MAX_EVENT {
            return Err(EventTooLong);
        }
        self.held.extend_from_slice(&chunk);
        Ok(whole)
    }

    /// The stream has ended: what is left. An event without an empty line after it counts when its line has ended, as
    /// some providers end their last one; else it is cut off and dropped.
    pub(crate) fn finish(&mut self) -> Bytes {
        if self.lines.at_line_start || self.lines.after_return {
            self.held.split().freeze()
        } else {
            Bytes::new()
        }
    }
}

/// An event of a block of whole events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// All of it, the empty line at its end included.
    pub(crate) raw: &'a [u8],
}

impl<'a> Event<'a> {
    /// The value of a field's first line.
    pub(crate) fn field(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.raw);
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let value = rest[..end].strip_prefix(name.as_bytes()).and_then(|line| line.strip_prefix(b":"));
            if let Some(value) = value {
                return Some(value.strip_prefix(b" ").unwrap_or(value));
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        None
    }

    /// The data, if it is one line, as all providers send it.
    pub(crate) fn data(&self) -> Option<&'a [u8]> {
        self.field("data")
    }
}

/// The events of a block of whole events, in order; comments and empty lines belong to the event after them.
pub(crate) fn events(mut block: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let (raw, rest) = block.split_at(first_end(block));
        block = rest;
        Some(Event { raw })
    })
}

/// Where the first event of a block ends.
fn first_end(block: &[u8]) -> usize {
    let mut at = 0;
    let mut line_is_empty = true;
    while let Some(found) = memchr2(b'\n', b'\r', &block[at..]) {
        let empty = found == 0 && line_is_empty;
        let pair = block[at + found] == b'\r' && block.get(at + found + 1) == Some(&b'\n');
        at += found + if pair { 2 } else { 1 };
        if empty {
            return at;
        }
        line_is_empty = true;
    }
    block.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] =
        "data: {\"a\":\"ü€\"}\n\nevent: x\r\ndata:y\r\n\r\n: comment\n\ndata: z\r\rdata: [DONE]\n\n"
            .as_bytes();

    fn whole(stream: &[u8], chunks: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
        let (mut splitter, mut at, mut out) = (EventSplitter::default(), 0, Vec::new());
        for len in chunks {
            let end = (at + len).min(stream.len());
            let block = splitter.push(Bytes::copy_from_slice(&stream[at..end])).unwrap();
            out.extend(events(&block).map(|event| event.raw.to_vec()));
            at = end;
        }
        out.extend(events(&splitter.finish()).map(|event| event.raw.to_vec()));
        out
    }

    #[test]
    fn b62_b63_b64_split_at_every_byte_the_events_are_the_same() {
        let expected = whole(STREAM, [STREAM.len()].into_iter());
        assert_eq!(expected.concat(), STREAM);
        assert_eq!(expected.len(), 5);
        assert_eq!(whole(STREAM, std::iter::repeat_n(1, STREAM.len())), expected);
        for cut in 0..STREAM.len() {
            assert_eq!(whole(STREAM, [cut, STREAM.len()].into_iter()), expected, "cut at {cut}");
        }
    }

    #[test]
    fn fields_are_read_with_and_without_space() {
        let event = Event { raw: b"\xef\xbb\xbfevent:a\ndata: {\n\n" };
        assert_eq!((event.field("event"), event.data()), (Some(&b"a"[..]), Some(&b"{"[..])));
        assert_eq!(Event { raw: b": data: x\n\n" }.data(), None);
    }

    #[test]
    fn what_is_cut_off_is_dropped_and_a_last_line_is_not() {
        let rest = |text: &'static str| {
            let mut splitter = EventSplitter::default();
            assert_eq!(splitter.push(Bytes::from_static(text.as_bytes())).unwrap(), "");
            splitter.finish()
        };
        assert_eq!(rest("data: {\"a"), "");
        assert_eq!(rest("data: [DONE]\n"), "data: [DONE]\n");
        assert_eq!(rest("data: [DONE]\r"), "data: [DONE]\r");
    }

    #[test]
    fn b61_an_endless_line_is_refused() {
        let (mut splitter, chunk) = (EventSplitter::default(), Bytes::from(vec![b'x'; 1 << 20]));
        let refused = (0..64).position(|_| splitter.push(chunk.clone()).is_err());
        assert_eq!(refused, Some(4));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_are_the_same_events(
            stream in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..60),
            cuts in prop::collection::vec(0..6_usize, 0..80),
        ) {
            let at_once = whole(&stream, [stream.len()].into_iter());
            let in_parts = whole(&stream, cuts.into_iter().chain([stream.len()]));
            prop_assert_eq!(at_once.concat(), in_parts.concat());
            prop_assert_eq!(at_once, in_parts);
        }
    }
}
