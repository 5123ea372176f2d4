//! Headers that providers really sent, where they are at hand: `WAYPOST_DATA` names a folder with `protocol/captures`,
//! JSON lines of recorded answers with `provider` and `response_headers`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use waypost_limits::provider_limits;

/// Providers whose headers have to do with rate limits but do not tell what is left.
const TELL_NOTHING: [&str; 0] = [];

/// How many answers of a provider there are, how many have headers about rate limits, how many were understood.
#[derive(Debug, Default)]
struct Counts {
    answers: u32,
    with_limits: u32,
    understood: u32,
}

/// Says it past the test harness, which would keep it to itself.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The recordings; none, and a word on the terminal, when there is no such folder.
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn recordings() -> Vec<PathBuf> {
    let folder =
        std::env::var_os("WAYPOST_DATA").map(|folder| PathBuf::from(folder).join("protocol/captures"));
    let Some(entries) = folder.and_then(|folder| folder.read_dir().ok()) else {
        say("skipped: no protocol/captures (WAYPOST_DATA is not set or does not have it)");
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "gz")).collect()
}

/// Provider and headers of every recorded answer.
fn answers(path: PathBuf) -> impl Iterator<Item = (String, Vec<(String, String)>)> {
    let lines = BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(path).unwrap()))).lines();
    lines.map(|line| {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let headers = answer["response_headers"].as_object().unwrap().iter();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let headers = headers.map(|(name, value)| (name.clone(), text(value))).collect();
        (text(&answer["provider"]), headers)
    })
}

fn is_about_limits(name: &str) -> bool {
    let name = name.to_lowercase();
    ["ratelimit", "rate-limit", "tokenlimit"].iter().any(|part| name.contains(part))
}

#[test]
fn what_providers_sent_is_understood() {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for (provider, headers) in recordings().into_iter().flat_map(answers) {
        let lines = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let understood = !provider_limits(lines, SystemTime::UNIX_EPOCH).is_empty();
        let about_limits = headers.iter().any(|(name, _)| is_about_limits(name));
        let told_nothing = TELL_NOTHING.contains(&provider.as_str());
        assert!(understood == about_limits || told_nothing, "{provider}: {headers:?}");
        let counts = counts.entry(provider).or_default();
        counts.answers += 1;
        counts.with_limits += u32::from(about_limits);
        counts.understood += u32::from(understood);
    }
    for (provider, counts) in &counts {
        say(&format!("{provider}: {counts:?}"));
    }
    if !counts.is_empty() && counts.values().all(|counts| counts.with_limits == 0) {
        say("nothing was checked: no recorded answer has headers about rate limits");
    }
}
