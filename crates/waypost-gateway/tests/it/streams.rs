//! Streams that were committed: whatever goes wrong is told, and nothing is tried again.

use std::time::Duration;

use serde_json::Value;
use waypost_lab::http::{HttpRequest, Script, Speech, Step};

use crate::rig::{Answer, Rig, run};

const IDLE: &str = "[failover.timeouts]\nidle = \"200ms\"\n";

fn word(text: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

fn words(count: usize) -> Script {
    (0..count).fold(Script::event_stream(), |script, number| script.chunk(word(&format!("w{number}"))))
}

/// What a client gets of a stream after which nothing is well, and how many attempts succeeded and failed.
async fn streamed(script: Script, more: &str) -> (Rig, Answer, (u64, u64)) {
    let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], more).await;
    let answer = rig.chat(true).await;
    assert_eq!(rig.providers[0].ledger().requests(), 1, "nothing is tried again");
    rig.nothing_is_held().await;
    let outcomes = outcomes(&rig);
    rig.settled().await;
    (rig, answer, outcomes)
}

/// The last event is an error in the client's protocol, after these.
fn assert_broken_off(answer: &Answer, before: &str) {
    assert!(!answer.broke_off, "a clean end of the connection");
    let rest = answer.text().strip_prefix(before).unwrap_or_else(|| panic!("{answer:?}"));
    let error: Value = serde_json::from_str(rest.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "stream_interrupted");
    assert!(!answer.text().contains("[DONE]"));
}

fn outcomes(rig: &Rig) -> (u64, u64) {
    let table = rig.server.gateway().router().routing_table();
    let outcomes = table.candidates().next().unwrap().live().outcomes();
    (outcomes.succeeded, outcomes.failed)
}

#[test]
fn u06_a_stream_that_is_cut_says_so() {
    run(async {
        let before: String = (0..40).map(|number| word(&format!("w{number}"))).collect();
        let (_, answer, outcomes) = streamed(words(40).then(Step::Close), "").await;
        assert_broken_off(&answer, &before);
        assert_eq!(outcomes, (0, 1));
        // A reset discards what was not yet read.
        let (_, answer, _) = streamed(words(40).send("5\r\ndata:").then(Step::Reset), "").await;
        let arrived = answer.text().matches("\"content\"").count();
        assert_broken_off(
            &answer,
            &(0..arrived).map(|number| word(&format!("w{number}"))).collect::<String>(),
        );
        let (_, answer, _) = streamed(words(40).end(), "").await;
        assert_broken_off(&answer, &before);
        let (_, answer, _) =
            streamed(words(40).chunk("data: {\"choices\":[{\"delta\":{\"content\":\"half").end(), "").await;
        assert_broken_off(&answer, &before);
    });
}

#[test]
fn u07_u31_a_stream_that_stalls_is_ended() {
    run(async {
        let before: String = (0..20).map(|number| word(&format!("w{number}"))).collect();
        let (rig, answer, _) = streamed(words(20).then(Step::Hang), IDLE).await;
        assert_broken_off(&answer, &before);
        crate::rig::until("the provider's connection is closed", || {
            rig.providers[0].ledger().abandoned() == 1
        })
        .await;
        let total = "[failover.timeouts]\nidle = \"10s\"\ntotal = \"300ms\"\n";
        let drip =
            (0..1_000).fold(words(20), |script, _| script.wait(Duration::from_millis(5)).chunk(": drip\n\n"));
        let (_, answer, _) = streamed(drip, total).await;
        assert!(answer.text().starts_with(&before) && answer.text().contains("stream_interrupted"));
    });
}

#[test]
fn b65_an_error_after_the_first_content_is_passed_on() {
    run(async {
        let error = "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n";
        let (_, answer, outcomes) = streamed(words(2).chunk(error).chunk(word("late")).end(), "").await;
        assert_eq!(answer.text(), format!("{}{}{error}", word("w0"), word("w1")));
        assert_eq!(outcomes, (0, 1));
    });
}

#[test]
fn b66_u32_one_end_and_nothing_after_it() {
    run(async {
        let whole = format!("{}data: [DONE]\n\n", word("w0"));
        for rest in
            ["data: [DONE]\n\n", "data: [DONE]\n\ndata: [DONE]\n\n", "data: [DONE]\n\ndata: {\"late\":1}\n\n"]
        {
            let (_, answer, outcomes) = streamed(words(1).chunk(rest).end(), "").await;
            assert_eq!(answer.text(), whole);
            assert_eq!(outcomes, (1, 0));
        }
        let spaced = format!("{}data:  [DONE] \r\n\r\n", word("w0"));
        assert_eq!(streamed(words(1).chunk("data:  [DONE] \r\n\r\n").end(), "").await.1.text(), spaced);
        let reason = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let (_, answer, outcomes) = streamed(words(1).chunk(reason).end(), "").await;
        assert_eq!((answer.text(), outcomes), (format!("{}{reason}", word("w0")).as_str(), (1, 0)));
    });
}

#[test]
fn b61_b62_lines_of_all_kinds_and_no_end_of_one() {
    run(async {
        let odd = "\u{feff}: hello\r\n\r\nretry: 5\r\rid: a\0b\ndata:{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\nevent: y\ndata: a\ndata: b\n\ndata: [DONE]";
        let (_, answer, _) = streamed(Script::event_stream().chunk(odd).chunk("\n").end(), "").await;
        assert_eq!(answer.text(), format!("{odd}\n"));
        let endless = (0..72).fold(words(1), |script, _| script.chunk(vec![b'x'; 1 << 16]));
        let (_, answer, _) = streamed(endless, "").await;
        assert_broken_off(&answer, &word("w0"));
    });
}

#[test]
fn u11_a_stream_without_content_is_none() {
    run(async {
        let empty = |request: &HttpRequest| match request.number {
            0 => Script::event_stream().chunk("data: [DONE]\n\n").end(),
            1 => Script::event_stream().end(),
            _ => Speech::default().answer(request),
        };
        let well = |request: &HttpRequest| Speech::default().answer(request);
        let replies: Vec<crate::rig::Reply> = vec![Box::new(empty), Box::new(well)];
        let rig = Rig::start(replies, "").await;
        for _ in 0..4 {
            assert!(rig.chat(true).await.text().contains(" quick"));
        }
        rig.settled().await;
    });
}

#[test]
fn named_protocols_say_errors_in_their_own_way() {
    run(async {
        let message = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n";
        let response = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n";
        for (path, event) in [("/v1/messages", message), ("/v1/responses", response)] {
            let script = Script::event_stream().chunk(event).then(Step::Close);
            let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], "").await;
            let asked = serde_json::json!({"model": "m", "stream": true, "max_tokens": 1, "messages": [], "input": ""});
            let answer = rig.post(path, &asked).await;
            assert!(
                answer.text().starts_with(&format!("{event}event: error\ndata: {{\"type\":\"error\"")),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn of_several_answers_all_must_be_complete() {
    run(async {
        let event = |index: u32, reason: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{reason}}}]}}\n\n"
            )
        };
        let one = [event(0, "null"), event(1, "null"), event(0, "\"stop\"")].concat();
        let both = one.clone() + &event(1, "\"stop\"");
        for (text, is_whole) in [(one, false), (both, true)] {
            let script = Script::event_stream().chunk(&text).end();
            let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], "").await;
            let mut asked = crate::rig::chat(true);
            asked["n"] = serde_json::json!(2);
            let answer = rig.post("/v1/chat/completions", &asked).await;
            assert_eq!(answer.text().contains("stream_interrupted"), !is_whole, "{answer:?}");
            rig.settled().await;
        }
    });
}

/// What is no text streams as it comes, whatever its events are called.
#[test]
fn events_of_sound_and_images_pass_as_bytes() {
    run(async {
        let events =
            "event: speech.audio.delta\ndata: {\"audio\":\"AAAA\"}\n\nevent: speech.audio.done\ndata: {}\n\n";
        let script = Script::event_stream().chunk(events).end();
        let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], "").await;
        let answer = rig.post("/v1/audio/speech", &serde_json::json!({"model": "m", "input": "hi"})).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, events));
        rig.nothing_is_held().await;
        assert_eq!(outcomes(&rig), (1, 0));
        rig.settled().await;
    });
}

#[test]
fn sound_that_stalls_is_ended() {
    run(async {
        let script = Script::new()
            .send("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100\r\n\r\nabc")
            .then(Step::Hang);
        let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], IDLE).await;
        let answer = rig.post("/v1/audio/speech", &serde_json::json!({"model": "m", "input": "hi"})).await;
        assert!(answer.broke_off && &answer.body[..] == b"abc", "{answer:?}");
        rig.settled().await;
    });
}

#[test]
fn u09_an_event_that_cannot_be_read_passes_as_it_is() {
    run(async {
        let text = [
            word("a"),
            "data: {\"choices\": [broken\n\n".to_owned(),
            word("b"),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat();
        let script = Script::event_stream().chunk(&text).end();
        let rig = Rig::start(vec![move |_: &HttpRequest| script.clone()], "").await;
        let answer = rig.chat(true).await;
        assert_eq!((answer.text(), answer.broke_off), (&*text, false));
        rig.nothing_is_held().await;
        assert_eq!(outcomes(&rig), (1, 0));
        rig.settled().await;
    });
}
