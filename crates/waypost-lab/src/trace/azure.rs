//! The Azure LLM inference trace 2023.

use std::io::Read;
use std::time::Duration;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use jiff::civil::DateTime;
use waypost::core::Tokens;

use super::TraceError;
use crate::Arrival;

const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

pub(super) fn read(input: &mut impl Read) -> Result<Vec<(u64, Arrival)>, TraceError> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut records = reader.records();
    check_header(records.next())?;
    let mut first = None;
    let mut line = 1;
    let mut arrivals = Vec::new();
    for record in records {
        let record = record.map_err(|error| damaged(error, line))?;
        line = record.position().map_or(line + 1, csv::Position::line);
        let (time, prompt, completion) = fields(&record, line)?;
        let at = since(*first.get_or_insert(time), time, line)?;
        arrivals.push((line, Arrival { at, prompt, completion }));
    }
    Ok(arrivals)
}

fn check_header(record: Option<Result<StringRecord, csv::Error>>) -> Result<(), TraceError> {
    let Some(record) = record else { return Ok(()) };
    let record = record.map_err(|error| damaged(error, 0))?;
    let columns = record.iter().map(|column| column.trim().trim_start_matches('\u{feff}'));
    if columns.eq(COLUMNS) {
        return Ok(());
    }
    let found = record.iter().collect::<Vec<_>>().join(",");
    Err(TraceError::line(1, "the columns TIMESTAMP,ContextTokens,GeneratedTokens", &found))
}

fn fields(record: &StringRecord, line: u64) -> Result<(DateTime, Tokens, Tokens), TraceError> {
    let [time, prompt, completion] = [0, 1, 2].map(|column| record.get(column).map(str::trim));
    let (Some(time), Some(prompt), Some(completion), 3) = (time, prompt, completion, record.len()) else {
        let found = record.iter().collect::<Vec<_>>().join(",");
        return Err(TraceError::line(line, "three fields", &found));
    };
    let tokens =
        |text: &str| text.parse().map(Tokens).map_err(|_| TraceError::line(line, "a number of tokens", text));
    Ok((date_time(time, line)?, tokens(prompt)?, tokens(completion)?))
}

fn date_time(text: &str, line: u64) -> Result<DateTime, TraceError> {
    let parsed = text.contains(':').then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| TraceError::line(line, "a time like 2023-11-16 18:15:46.68", text))
}

fn since(first: DateTime, time: DateTime, line: u64) -> Result<Duration, TraceError> {
    let before = || TraceError::line(line, "a time that is not before the one above", &time.to_string());
    Duration::try_from(time.duration_since(first)).map_err(|_| before())
}

fn damaged(error: csv::Error, after: u64) -> TraceError {
    let line = error.position().map_or(after + 1, csv::Position::line);
    match error.into_kind() {
        ErrorKind::Io(source) => TraceError::read(after, source),
        ErrorKind::Utf8 { err, .. } => TraceError::line(line, "UTF-8", &err.to_string()),
        other => TraceError::line(line, "a CSV record", &format!("{other:?}")),
    }
}
