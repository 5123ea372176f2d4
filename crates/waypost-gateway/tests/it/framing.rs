//! Requests that are not what HTTP says: rows B15 to B32 and B35 to B46.

use http::{Method, StatusCode};
use serde_json::json;
use waypost_lab::http::{HttpRequest, Script, Speech};

use crate::rig::{Rig, chat, run};

async fn rig(more: &str) -> Rig {
    Rig::start(vec![|request: &HttpRequest| -> Script { Speech::default().answer(request) }], more).await
}

const BODY: &str = r#"{"model":"m","messages":[]}"#;

/// A request with these header lines; it asks for the connection to be closed, so that all of the answer is seen.
fn raw(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n{lines}\r\n{body}").into_bytes()
}

fn with(lines: &str) -> Vec<u8> {
    raw(&format!("host: localhost\r\ncontent-type: application/json\r\n{lines}"), BODY)
}

async fn status(rig: &Rig, request: &[u8]) -> String {
    rig.raw(request).await.split_whitespace().nth(1).unwrap_or("closed").to_owned()
}

#[test]
fn a_sound_request_is_answered() {
    run(async {
        let rig = rig("").await;
        let length = format!("content-length: {}\r\n", BODY.len());
        assert_eq!(status(&rig, &with(&length)).await, "200");
        let chunked = raw(
            "host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n",
            &format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()),
        );
        assert_eq!(status(&rig, &chunked).await, "200");
    });
}

#[test]
fn b15_b16_b17_b18_lengths_that_contradict_each_other() {
    run(async {
        let rig = rig("").await;
        let length = BODY.len();
        let before = rig.providers[0].ledger().requests();
        let mut bad = vec![
            with(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")),
            with(&format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n")),
            with(&format!("content-length: {length}\r\ncontent-length: 5\r\n")),
        ];
        let wrong = ["5, 6", "+5", "0x5", "5_0", "", "-1", "18446744073709551616", "5 5"];
        bad.extend(wrong.map(|length| with(&format!("content-length: {length}\r\n"))));
        bad.extend(
            ["chunked, identity", "xchunked", "identity", "chunked, chunked"]
                .map(|te| with(&format!("transfer-encoding: {te}\r\n"))),
        );
        let chunks = ["", "0x5\r\nhello\r\n", "5;\u{1}\r\nhello\r\n", "FFFFFFFFFFFFFFFFF\r\n", "zz\r\n"];
        bad.extend(chunks.map(|chunk| {
            raw(
                "host: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n",
                &format!("{chunk}\r\n\r\n"),
            )
        }));
        for request in bad {
            let status = status(&rig, &request).await;
            assert!(
                ["400", "501", "closed", "408"].contains(&status.as_str()),
                "{status}: {}",
                String::from_utf8_lossy(&request)
            );
        }
        assert_eq!(rig.providers[0].ledger().requests(), before, "none of them reached a provider");
        rig.settled().await;
    });
}

#[test]
fn b19_b20_b21_b22_b24_heads_that_are_none() {
    run(async {
        let rig = rig("").await;
        let length = format!("content-length: {}\r\n", BODY.len());
        let bad: Vec<Vec<u8>> = vec![
            b"GET\r\n\r\n".to_vec(),
            b"POST /v1/chat/completions HTTP/1.32\r\nhost: localhost\r\n\r\n".to_vec(),
            b"POST /v1/chat/completions HTTP/2.0\r\nhost: localhost\r\n\r\n".to_vec(),
            with(&format!("{length}a : b\r\n")),
            with(&format!("{length}no colon\r\n")),
            with(&format!("{length}: b\r\n")),
            with(&format!("{length}x: a\0b\r\n")),
            raw(&format!("content-type: application/json\r\n{length}"), BODY),
            raw(&format!("host: localhost\r\nhost: y\r\ncontent-type: application/json\r\n{length}"), BODY),
            raw(&format!("host: a/b?c#d\r\ncontent-type: application/json\r\n{length}"), BODY),
            raw(&format!("host: x@y\r\ncontent-type: application/json\r\n{length}"), BODY),
            format!("POST http://other/v1/chat/completions HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n{BODY}").into(),
            b"G=\":<> / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            format!("{} / HTTP/1.1\r\nhost: localhost\r\n\r\n", "A".repeat(1 << 20)).into(),
        ];
        for request in bad {
            let status = status(&rig, &request).await;
            assert!(
                ["400", "405", "414", "431", "505", "closed"].contains(&status.as_str()),
                "{status}: {:.200}",
                String::from_utf8_lossy(&request)
            );
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::TRACE, Method::OPTIONS] {
            let answer = rig.send(method, "/v1/chat/completions", &[], "").await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(rig.providers[0].ledger().requests(), 0);
        rig.settled().await;
    });
}

#[test]
fn b23_paths_are_what_they_are() {
    run(async {
        let rig = rig("").await;
        for path in [
            "//v1//chat/completions",
            "/v1/../metrics",
            "/v1/%2e%2e/metrics",
            "/v1/chat/completions/",
            "/metrics",
            "/reload",
            "/v1/chat/completions%00",
        ] {
            let answer = rig.post(path, &chat(false)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::NOT_FOUND, "not_found"),
                "{path}"
            );
        }
    });
}

#[test]
fn b25_heads_that_are_too_large() {
    run(async {
        let rig = rig("").await;
        let many: Vec<_> = (0..200).map(|number| format!("x{number}: y\r\n")).collect();
        assert_eq!(status(&rig, &with(&many.concat())).await, "431");
        let large = format!("x: {}\r\n", "a".repeat(80 << 10));
        let told = status(&rig, &with(&large)).await;
        assert!(["431", "closed"].contains(&told.as_str()), "{told}");
        let line = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(80 << 10));
        assert!(["414", "431", "404", "closed"].contains(&status(&rig, line.as_bytes()).await.as_str()));
    });
}

#[test]
fn b26_keys_that_are_none() {
    run(async {
        let key = waypost_gateway::NewKey::make(b"");
        let rig = rig(&format!("[tenants.a]\nkeys = [{{ hash = \"{}\" }}]\n", key.hash)).await;
        let json = ("content-type", "application/json");
        let (good, tab, basic) =
            (format!("Bearer {}", key.key), format!("Bearer\t{}", key.key), "Basic YTpi".to_owned());
        let long = format!("Bearer {}", "a".repeat(60 << 10));
        let mut bodies = Vec::new();
        for value in [&tab, &basic, &long, &key.key] {
            let answer =
                rig.send(Method::POST, "/v1/chat/completions", &[json, ("authorization", value)], BODY).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            let mut body = answer.json();
            body["request_id"] = json!(null);
            bodies.push(body);
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "alike for all");
        let twice = [json, ("authorization", good.as_str()), ("authorization", good.as_str())];
        assert_eq!(
            rig.send(Method::POST, "/v1/chat/completions", &twice, BODY).await.status,
            StatusCode::UNAUTHORIZED
        );
        let path = format!("/v1/chat/completions?key={}&api_key={0}", key.key);
        assert_eq!(rig.send(Method::POST, &path, &[json], BODY).await.status, StatusCode::UNAUTHORIZED);
        let once = [json, ("authorization", good.as_str())];
        assert_eq!(rig.send(Method::POST, "/v1/chat/completions", &once, BODY).await.status, StatusCode::OK);
        assert_eq!(
            rig.send(Method::POST, "/v1/chat/completions", &[json, ("x-api-key", &key.key)], BODY)
                .await
                .status,
            StatusCode::OK
        );
    });
}

#[test]
fn b30_b31_b32_bodies_of_other_kinds() {
    run(async {
        let rig = rig("").await;
        for (headers, expected) in [
            (vec![("content-type", "application/json"), ("content-encoding", "gzip")], 415),
            (vec![("content-type", "application/json"), ("content-encoding", "gzip, gzip")], 415),
            (vec![], 415),
            (vec![("content-type", "text/plain")], 415),
            (vec![("content-type", "application/json; charset=utf-16")], 415),
            (vec![("content-type", "multipart/form-data; boundary=x")], 415),
            (vec![("content-type", "application/json"), ("expect", "200-maybe")], 417),
            (vec![("content-type", "application/json; charset=utf-8")], 200),
        ] {
            let answer = rig.send(Method::POST, "/v1/chat/completions", &headers, BODY).await;
            assert_eq!(answer.status.as_u16(), expected, "{headers:?}");
        }
        let form = rig
            .send(Method::POST, "/v1/audio/transcriptions", &[("content-type", "application/json")], BODY)
            .await;
        assert_eq!(form.status.as_u16(), 415);
    });
}

#[test]
fn b35_to_b44_bodies_that_are_no_requests_are_named() {
    run(async {
        let rig = rig("").await;
        for (body, param) in [
            (String::new(), None),
            ("{".to_owned(), None),
            ("[1]".to_owned(), None),
            (format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)), None),
            (r#"{"model":"m","model":"n"}"#.to_owned(), None),
            (r#"{"model":"m","api_base":"http://127.0.0.1:1"}"#.to_owned(), None),
            (r#"{"model":""}"#.to_owned(), Some("model")),
            (r#"{"model":"m","stream":1}"#.to_owned(), Some("stream")),
            (r#"{"model":"m","max_tokens":-1}"#.to_owned(), Some("max_tokens")),
            (r#"{"model":"m","n":1000000000}"#.to_owned(), Some("n")),
        ] {
            let answer = rig
                .send(Method::POST, "/v1/chat/completions", &[("content-type", "application/json")], body)
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert_eq!(answer.json()["error"]["param"].as_str(), param, "{answer:?}");
            assert_eq!(
                (answer.code().as_str(), answer.json()["request_id"].is_string()),
                ("invalid_request", true)
            );
        }
        for model in ["../../etc", "a\nb", "\u{200b}m", "http://127.0.0.1/", "M", "m\u{0}"] {
            let answer = rig.post("/v1/chat/completions", &json!({"model": model})).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::NOT_FOUND, "model_not_found"),
                "{model}"
            );
        }
        let anthropic = rig.post("/v1/messages", &json!({"model": "nobody"})).await.json();
        assert_eq!(
            (&anthropic["type"], &anthropic["error"]["type"]),
            (&json!("error"), &json!("not_found_error"))
        );
        assert_eq!(rig.providers[0].ledger().requests(), 0);
        rig.settled().await;
    });
}
