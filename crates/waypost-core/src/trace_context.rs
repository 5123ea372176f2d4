//! The trace that a request belongs to, after W3C Trace Context.

use core::fmt;

use crate::{Baggage, Generator, TraceState};

/// Characters of a version-00 traceparent: `00-`, 32, `-`, 16, `-`, 2.
const TRACEPARENT_LEN: usize = 55;
/// The flags that we understand and pass on: *sampled* and, from level 2, *random trace id*.
const KNOWN_FLAGS: u8 = 0b11;

/// Identifies a trace. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Identifies a span of a trace. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// Where a request stands in a distributed trace: W3C Trace Context (level 2) and W3C Baggage.
///
/// A header that breaks the format is not an error of the request: it is ignored and a new trace begins.
///
/// ```
/// use waypost_core::{SeedSequence, TraceContext};
///
/// let ids = SeedSequence::new(7);
/// let incoming = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let trace = TraceContext::from_headers([incoming], [], [], &mut ids.generator());
/// assert_eq!(trace.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(trace.parent_span_id().unwrap().to_string(), "b7ad6b7169203331");
/// assert!(trace.traceparent().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    flags: u8,
    state: TraceState,
    baggage: Baggage,
}

/// What a valid traceparent says.
struct Parent {
    trace_id: TraceId,
    span_id: SpanId,
    flags: u8,
}

impl TraceContext {
    /// Begins a trace, not sampled.
    pub fn new(ids: &mut Generator<'_>) -> Self {
        Self {
            trace_id: TraceId(ids.nonzero_u128()),
            span_id: SpanId(ids.nonzero_u64()),
            parent_span_id: None,
            flags: 0,
            state: TraceState::default(),
            baggage: Baggage::default(),
        }
    }

    /// Continues the trace of a request's headers in a span of its own, or begins a new one when there is not exactly
    /// one valid `traceparent`. Each argument is all values of its header, in order. `tracestate` counts only with a
    /// valid `traceparent`; `baggage` stands alone.
    pub fn from_headers<'a>(
        traceparent: impl IntoIterator<Item = &'a str>,
        tracestate: impl IntoIterator<Item = &'a str>,
        baggage: impl IntoIterator<Item = &'a str>,
        ids: &mut Generator<'_>,
    ) -> Self {
        let mut headers = traceparent.into_iter();
        let parent = match (headers.next(), headers.next()) {
            (Some(header), None) => parse_traceparent(header),
            _ => None,
        };
        let mut trace = Self { baggage: Baggage::from_headers(baggage), ..Self::new(ids) };
        if let Some(parent) = parent {
            trace.trace_id = parent.trace_id;
            trace.parent_span_id = Some(parent.span_id);
            trace.flags = parent.flags;
            trace.state = TraceState::from_headers(tracestate);
        }
        trace
    }

    /// A span below this one, in the same trace: what an outgoing call carries.
    pub fn child(&self, ids: &mut Generator<'_>) -> Self {
        Self { span_id: SpanId(ids.nonzero_u64()), parent_span_id: Some(self.span_id), ..self.clone() }
    }

    /// The trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span.
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The span above; `None` at the beginning of a trace.
    pub const fn parent_span_id(&self) -> Option<SpanId> {
        self.parent_span_id
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Decides whether the trace is recorded.
    pub const fn sampled(mut self, sampled: bool) -> Self {
        self.flags = self.flags & !1 | sampled as u8;
        self
    }

    /// What other tracing systems attached.
    pub const fn state(&self) -> &TraceState {
        &self.state
    }

    /// What the caller attached. Do not send it to a provider unasked: it may be private.
    pub const fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// Attaches baggage.
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        self.baggage = baggage;
        self
    }

    /// The `traceparent` header of this span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// W3C Trace Context §3.2: of version 00 exactly 55 characters; of a later version at least those, and a dash if more
/// follow; `ff` is never valid; ids are not zero; hex digits are lower case.
fn parse_traceparent(header: &str) -> Option<Parent> {
    let header = header.trim_matches([' ', '\t']);
    if !header.is_ascii() || header.len() < TRACEPARENT_LEN {
        return None;
    }
    let (head, tail) = header.split_at(TRACEPARENT_LEN);
    let mut fields = head.split('-');
    let version = lower_hex(fields.next()?, 2)? as u8;
    let trace_id = lower_hex(fields.next()?, 32).filter(|&id| id != 0)?;
    let span_id = lower_hex(fields.next()?, 16).filter(|&id| id != 0)? as u64;
    let flags = lower_hex(fields.next()?, 2)? as u8;
    let tail_allowed = tail.is_empty() || (version > 0 && tail.starts_with('-'));
    let valid = fields.next().is_none() && version != 0xff && tail_allowed;
    valid.then_some(Parent {
        trace_id: TraceId(trace_id),
        span_id: SpanId(span_id),
        flags: flags & KNOWN_FLAGS,
    })
}

fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeedSequence;
    use proptest::prelude::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn continues(headers: &[&str]) -> bool {
        let ids = SeedSequence::new(1);
        let trace = TraceContext::from_headers(headers.iter().copied(), [], [], &mut ids.generator());
        assert_ne!(trace.span_id().to_string(), SPAN, "our span is our own");
        let continued = trace.trace_id().to_string() == TRACE;
        assert_eq!(continued, trace.parent_span_id().is_some());
        continued
    }

    #[test]
    fn continues_valid_traces() {
        for good in [
            format!("00-{TRACE}-{SPAN}-00"),
            format!("00-{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-01\t"),
            format!("00-{TRACE}-{SPAN}-ff"),
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("fe-{TRACE}-{SPAN}-01-"),
        ] {
            assert!(continues(&[&good]), "{good}");
        }
    }

    #[test]
    fn malformed_headers_begin_a_new_trace() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        for bad in [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!(".0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            good[..54].into(),
            format!("{good}0"),
            format!("{good}-00"),
            format!("{good}-"),
            format!("cc-{TRACE}-{SPAN}-01.what"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{}g-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-é"),
            format!("00-{TRACE}-{SPAN}-+1"),
        ] {
            assert!(!continues(&[&bad]), "{bad}");
        }
        assert!(!continues(&[&good, &good]), "two headers");
        assert!(!continues(&[]));
    }

    #[test]
    fn state_without_a_valid_parent_is_ignored_and_unknown_flags_are_not_passed_on() {
        let ids = SeedSequence::new(1);
        let trace = TraceContext::from_headers(["nonsense"], ["a=1"], ["k=v"], &mut ids.generator());
        assert!(trace.state().is_empty());
        assert_eq!(trace.baggage().get("k").as_deref(), Some("v"));
        let header = format!("00-{TRACE}-{SPAN}-ff");
        let trace = TraceContext::from_headers([&*header], [], [], &mut ids.generator());
        assert!(trace.traceparent().ends_with("-03"));
    }

    #[test]
    fn a_child_is_in_the_same_trace_below_its_parent() {
        let ids = SeedSequence::new(1);
        let trace = TraceContext::new(&mut ids.generator()).sampled(true);
        let child = trace.child(&mut ids.generator());
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_eq!(child.parent_span_id(), Some(trace.span_id()));
        assert_ne!(child.span_id(), trace.span_id());
        assert!(child.is_sampled() && !child.clone().sampled(false).is_sampled());
    }

    proptest! {
        #[test]
        fn what_we_send_we_accept(seed: u64, sampled: bool) {
            let ids = SeedSequence::new(seed);
            let sent = TraceContext::new(&mut ids.generator()).sampled(sampled);
            let header = sent.traceparent();
            let received = TraceContext::from_headers([&*header], [], [], &mut ids.generator());
            prop_assert_eq!(received.trace_id(), sent.trace_id());
            prop_assert_eq!(received.parent_span_id(), Some(sent.span_id()));
            prop_assert_eq!(received.is_sampled(), sampled);
        }

        #[test]
        fn no_header_panics(traceparent: String, tracestate: String, baggage: String) {
            let ids = SeedSequence::new(0);
            TraceContext::from_headers([&*traceparent], [&*tracestate], [&*baggage], &mut ids.generator());
        }
    }
}
