//! Streams that providers really sent: passed on as they are, and cut and split everywhere.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use waypost_lab::http::{HttpRequest, Script, Step};

use crate::rig::{Answer, Rig, run};

#[expect(clippy::print_stdout, reason = "a test that skips says so")]
fn say(what: &str) {
    println!("{what}");
}

/// The recorded streams of the protocols that the gateway speaks: path and bytes.
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn transcripts() -> Vec<(&'static str, String)> {
    let file = std::env::var_os("WAYPOST_DATA")
        .map(|folder| PathBuf::from(folder).join("protocol/captures/pydantic-ai.jsonl.gz"))
        .and_then(|path| std::fs::File::open(path).ok());
    let Some(file) = file else {
        say("skipped: no protocol/captures (WAYPOST_DATA is not set or does not have it)");
        return Vec::new();
    };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let exchanges = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let streamed = exchanges.filter_map(|exchange| {
        let (body, path) = (exchange["response_body"].as_str()?, exchange["endpoint"].as_str()?);
        let is_stream = exchange["stream"] == true && exchange["status"] == 200 && body.contains("data:");
        let path = match path {
            path if path.ends_with("/chat/completions") => "/v1/chat/completions",
            path if path.ends_with("/messages") => "/v1/messages",
            path if path.ends_with("/responses") => "/v1/responses",
            _ => return None,
        };
        is_stream.then(|| (path, body.to_owned()))
    });
    streamed.collect()
}

struct Replay {
    rig: Rig,
    script: Arc<Mutex<Script>>,
}

impl Replay {
    async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::new()));
        let next = Arc::clone(&script);
        let reply = move |_: &HttpRequest| next.lock().unwrap().clone();
        let more = "[failover]\nattempts = 1\n[health]\nfailures = 1000000\nfailure_ratio = 1.0\n";
        Self { rig: Rig::start(vec![reply], more).await, script }
    }

    async fn of(&self, path: &str, script: Script) -> Answer {
        *self.script.lock().unwrap() = script;
        let asked = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9, "messages": [], "input": ""});
        self.rig.post(path, &asked).await
    }
}

/// A stream that ends with an error of the provider, or as no stream of its kind does.
fn is_whole(body: &str) -> bool {
    let ends = ["[DONE]", "message_stop", "response.completed", "response.incomplete"];
    ends.iter().any(|end| body.contains(end)) && !body.contains("\"error\":{")
}

#[test]
fn recorded_streams_pass_whole_split_at_every_byte_and_cut_at_every_event() {
    run(async {
        let transcripts = transcripts();
        if transcripts.is_empty() {
            return;
        }
        let (replay, mut whole, mut cuts) = (Replay::start().await, 0, 0);
        for (path, body) in transcripts.iter().filter(|(_, body)| is_whole(body)) {
            let answer = replay.of(path, Script::event_stream().chunk(body).end()).await;
            // What comes after the end is not passed on.
            assert!(
                body.starts_with(answer.text()) && body[answer.body.len()..].trim().is_empty(),
                "{path}: {answer:?}"
            );
            whole += 1;
            let split =
                body.as_bytes().iter().fold(Script::event_stream(), |script, byte| script.chunk([*byte]));
            assert_eq!(replay.of(path, split.end()).await.body, answer.body, "{path}");
            let ends: Vec<_> = body.match_indices("\n\n").map(|(at, _)| at + 2).collect();
            for cut in ends.iter().copied() {
                let answer =
                    replay.of(path, Script::event_stream().chunk(&body[..cut]).then(Step::Close)).await;
                let is_told =
                    answer.text().contains("stream_interrupted") || answer.text().contains("event: error");
                let is_refused = answer.status.is_server_error();
                let is_complete = answer.text() == &body[..cut];
                assert!(is_told || is_refused || is_complete, "{path}: {answer:?}");
                let has_said_its_end = [
                    "[DONE]",
                    "message_stop",
                    "response.completed",
                    "finish_reason\":\"",
                    "finish_reason\": \"",
                ];
                assert!(
                    !is_complete || has_said_its_end.iter().any(|end| body[..cut].contains(end)),
                    "a clean end: {answer:?}"
                );
                cuts += 1;
            }
        }
        say(&format!("{whole} recorded streams, {cuts} cuts"));
        assert!(whole >= 80, "{whole}");
    });
}
