//! Readers for public request traces.
//!
//! [`read`] takes a file as it is published, plain or gzip:
//!
//! - the Azure LLM inference trace 2023 (Patel et al., "Splitwise", ISCA 2024): CSV with the columns `TIMESTAMP`,
//!   `ContextTokens`, `GeneratedTokens`;
//! - the Mooncake traces (FAST 2025): JSON lines with `timestamp` in milliseconds, `input_length`, `output_length`.

mod azure;
mod mooncake;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::Arrival;

/// The most bytes of a trace, unpacked: 1 GiB, some twenty million requests. A gzip file can hold a thousand times its
/// size.
const MAX_BYTES: u64 = 1 << 30;

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be opened or read, or its compression is damaged.
    #[error("the trace cannot be read after line {line}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A line is not what the format has there.
    #[error("line {line}: expected {expected}, found `{found}`")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there, cut to 80 characters.
        found: String,
    },
    /// There is not a single request.
    #[error("the trace has no requests")]
    Empty,
    /// More than a gibibyte, unpacked.
    #[error("the trace has more than {MAX_BYTES} bytes")]
    TooLarge,
}

impl TraceError {
    fn line(line: u64, expected: &'static str, found: &str) -> Self {
        Self::Line { line, expected, found: found.chars().take(80).collect() }
    }

    fn read(line: u64, source: std::io::Error) -> Self {
        Self::Read { line, source }
    }
}

/// Reads all arrivals of a trace file.
///
/// # Errors
///
/// [`TraceError`] with the line and what was expected there.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Arrival>, TraceError> {
    let file = std::fs::File::open(path).map_err(|error| TraceError::read(0, error))?;
    read_from(file)
}

/// Reads all arrivals of a trace: gzip or plain, CSV or JSON lines, whichever it is.
///
/// # Errors
///
/// [`TraceError`] with the line and what was expected there.
///
/// ```
/// use waypost_lab::trace;
///
/// let arrivals = trace::read_from("TIMESTAMP,ContextTokens,GeneratedTokens\n\
///     2023-11-16 18:15:46.6805900,374,44\n\
///     2023-11-16 18:15:50.9951690,396,109\n".as_bytes())?;
/// assert_eq!(arrivals[1].at.as_millis(), 4_314);
///
/// let error = trace::read_from("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,374,44\n".as_bytes()).unwrap_err();
/// assert_eq!(error.to_string(), "line 2: expected a time like 2023-11-16 18:15:46.68, found `2023-11-16`");
/// # Ok::<(), waypost_lab::trace::TraceError>(())
/// ```
pub fn read_from(input: impl Read) -> Result<Vec<Arrival>, TraceError> {
    let mut input = BufReader::new(input);
    let start = input.fill_buf().map_err(|error| TraceError::read(0, error))?;
    let arrivals = if start.starts_with(&[0x1f, 0x8b]) {
        read_plain(MultiGzDecoder::new(input))?
    } else {
        read_plain(input)?
    };
    if arrivals.is_empty() { Err(TraceError::Empty) } else { Ok(arrivals) }
}

fn read_plain(input: impl Read) -> Result<Vec<Arrival>, TraceError> {
    let mut input = BufReader::new(input.take(MAX_BYTES));
    let start = input.fill_buf().map_err(|error| TraceError::read(0, error))?;
    let is_json = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let arrivals = if is_json { mooncake::read(&mut input) } else { azure::read(&mut input) };
    if input.into_inner().limit() == 0 {
        return Err(TraceError::TooLarge);
    }
    in_order(arrivals?)
}

/// Arrivals with their lines, in order of time.
fn in_order(arrivals: Vec<(u64, Arrival)>) -> Result<Vec<Arrival>, TraceError> {
    if let Some(pair) = arrivals.windows(2).find(|pair| pair[1].1.at < pair[0].1.at) {
        let found = format!("{:?} after {:?}", pair[1].1.at, pair[0].1.at);
        return Err(TraceError::line(pair[1].0, "a time that is not before the one above", &found));
    }
    Ok(arrivals.into_iter().map(|(_, arrival)| arrival).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n";
    const MOONCAKE: &str = "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1]}\n\n{\"timestamp\": 3000, \"input_length\": 7322, \"output_length\": 490, \"hash_ids\": []}\n";

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_both_formats_plain_and_packed() {
        for text in [AZURE, MOONCAKE, &AZURE.replace('\n', "\r\n"), &format!("\u{feff}{AZURE}")] {
            let plain = read_from(text.as_bytes()).unwrap();
            assert_eq!(plain.len(), 2, "{text}");
            assert_eq!(plain, read_from(&*gzip(text)).unwrap());
        }
        let mooncake = read_from(MOONCAKE.as_bytes()).unwrap();
        assert_eq!(
            (mooncake[1].at.as_secs(), mooncake[1].prompt.0, mooncake[1].completion.0),
            (3, 7_322, 490)
        );
    }

    #[test]
    fn says_where_a_file_is_damaged() {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let time = "2023-11-16 18:15:46.68";
        for (text, start) in [
            (format!("{header}{time},x,44\n"), "line 2: expected a number of tokens, found `x`"),
            (format!("{header}{time},-1,44\n"), "line 2: expected a number of tokens, found `-1`"),
            (format!("{header}{time},1,99999999999999999999\n"), "line 2: expected a number of tokens"),
            (format!("{header}{time},1\n"), "line 2: expected three fields"),
            (format!("{header}2023-13-45 99:00:00,1,1\n"), "line 2: expected a time like"),
            (
                format!("{header}{time},1,1\n2023-11-16 18:15:45,1,1\n"),
                "line 3: expected a time that is not before",
            ),
            ("time,prompt\n1,2\n".into(), "line 1: expected the columns TIMESTAMP"),
            ("{\"timestamp\": 0}\n".into(), "line 1: expected timestamp, input_length and output_length"),
            (format!("{MOONCAKE}{{\"timestamp\": -5"), "line 4: expected timestamp, input_length"),
            (
                format!("{MOONCAKE}{{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}}\n"),
                "line 4: expected a time that is not",
            ),
        ] {
            let error = read_from(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(start), "{text:?}: {error}");
        }
        assert!(matches!(read_from(header.as_bytes()), Err(TraceError::Empty)));
        assert!(matches!(read_from(&b"\xff\xfe\x00\x01"[..]), Err(TraceError::Line { line: 1, .. })));
        assert!(matches!(read("/nowhere/at/all"), Err(TraceError::Read { line: 0, .. })));
    }

    #[test]
    fn a_gzip_file_that_is_cut_off_is_an_error() {
        let long = format!("{AZURE}{}", "2023-11-16 18:15:51.0000000,1,1\n".repeat(5_000));
        let packed = gzip(&long);
        assert!(matches!(read_from(&packed[..packed.len() / 2]), Err(TraceError::Read { .. })));
    }
}
