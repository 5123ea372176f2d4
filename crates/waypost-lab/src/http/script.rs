//! What a simulated provider does with a request, byte by byte.

use std::time::Duration;

/// One thing that a provider does on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Does nothing for a time.
    Wait(Duration),
    /// Does nothing for ever.
    Hang,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

/// What a provider does with a request: steps, in order. After the last the connection takes the next request.
///
/// ```
/// use std::time::Duration;
/// use waypost_lab::http::{Script, Step};
///
/// let script = Script::status(429, &[("retry-after", "7")], r#"{"error":{"type":"rate_limit_error"}}"#);
/// let cut = Script::event_stream().send("data: {}\n\n").wait(Duration::from_millis(5)).then(Step::Close);
/// assert_eq!((script.steps().len(), cut.steps().len()), (1, 4));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script(Vec<Step>);

impl Script {
    /// Does nothing yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An answer of JSON.
    pub fn json(body: &str) -> Self {
        Self::status(200, &[], body)
    }

    /// An answer of a status, with headers and a body of JSON.
    pub fn status(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let extra: String = headers.collect();
        let length = body.len();
        Self::new().send(format!(
            "HTTP/1.1 {status} Simulated\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{extra}\r\n{body}"
        ))
    }

    /// The head of a stream of events in chunks; [`chunk`](Self::chunk) and [`end`](Self::end) go on.
    pub fn event_stream() -> Self {
        Self::new()
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// Sends bytes.
    pub fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends bytes as a chunk.
    pub fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk)
    }

    /// Ends chunks.
    pub fn end(self) -> Self {
        self.send("0\r\n\r\n")
    }

    /// Does nothing for a time.
    pub fn wait(self, time: Duration) -> Self {
        if time.is_zero() { self } else { self.then(Step::Wait(time)) }
    }

    /// One more step.
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}
