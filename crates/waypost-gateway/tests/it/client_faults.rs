//! Clients that fail: rows C of the fault matrix.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waypost_lab::http::{HttpRequest, Script, Speech, Step};

use crate::rig::{Rig, chat, run, until};

fn endless(_: &HttpRequest) -> Script {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    (0..10_000).fold(Script::event_stream(), |script, _| script.chunk(event).wait(Duration::from_millis(2)))
}

/// Sends a request and leaves its connection to the caller.
pub(crate) async fn begin(rig: &Rig, body: &Value) -> TcpStream {
    let (body, mut connection) = (body.to_string(), TcpStream::connect(rig.address()).await.unwrap());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

fn cancelled(rig: &Rig) -> u64 {
    let table = rig.server.gateway().router().routing_table();
    table.candidates().map(|candidate| candidate.live().outcomes().cancelled).sum()
}

#[test]
fn c02_who_leaves_before_the_first_token_costs_nobody() {
    run(async {
        let rig = Rig::start(vec![|_: &HttpRequest| Script::new().then(Step::Hang)], "").await;
        for stream in [true, false] {
            let before = rig.providers[0].ledger().requests();
            let connection = begin(&rig, &chat(stream)).await;
            until("the provider is asked", || rig.providers[0].ledger().requests() > before).await;
            drop(connection);
        }
        until("the provider's connections are closed", || {
            let ledger = rig.providers[0].ledger();
            ledger.requests() > 0 && ledger.abandoned() == ledger.requests()
        })
        .await;
        rig.settled().await;
        let table = rig.server.gateway().router().routing_table();
        assert_eq!(
            table.candidates().next().unwrap().live().outcomes().failed,
            0,
            "not the provider's failure"
        );
        assert!(cancelled(&rig) >= 1);
    });
}

#[test]
fn c03_who_leaves_in_the_middle_pays_for_what_was_said() {
    run(async {
        let more = "[limits.all]\ntokens = \"1M/day\"\n";
        let rig = Rig::start(vec![endless], more).await;
        let mut connection = begin(&rig, &chat(true)).await;
        let mut seen = vec![0; 2_000];
        connection.read_exact(&mut seen).await.unwrap();
        drop(connection);
        until("the provider's connection is closed", || rig.providers[0].ledger().abandoned() == 1).await;
        rig.settled().await;
        assert_eq!(cancelled(&rig), 1);
    });
}

#[test]
fn c05_who_never_ends_a_head_is_closed() {
    run(async {
        let provider =
            waypost_lab::http::HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request))
                .await
                .unwrap();
        let text = crate::rig::config(&[provider.url()], "");
        let text =
            text.replace("[providers", "header_timeout = \"200ms\"\nmax_connections = 600\n[providers");
        let rig = Rig::with_text(vec![provider], &text).await;
        let mut slow = Vec::new();
        for _ in 0..200 {
            let mut connection = TcpStream::connect(rig.address()).await.unwrap();
            connection.write_all(b"POST /v1/chat").await.unwrap();
            slow.push(connection);
        }
        for _ in 0..20 {
            assert_eq!(rig.chat(false).await.status, StatusCode::OK, "others are served");
        }
        for connection in &mut slow {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(crate::rig::PATIENCE, connection.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "it is closed");
        }
        rig.settled().await;
    });
}

#[test]
fn c07_who_takes_nothing_is_left_and_holds_little() {
    run(async {
        let flood = |_: &HttpRequest| {
            let event = format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
                "x".repeat(8_000)
            );
            (0..4_000).fold(Script::event_stream(), |script, _| script.chunk(&event))
        };
        let provider = waypost_lab::http::HttpProvider::start(flood).await.unwrap();
        let text = crate::rig::config(&[provider.url()], "")
            .replace("[providers", "write_timeout = \"300ms\"\n[providers");
        let rig = Rig::with_text(vec![provider], &text).await;
        let mut deaf = Vec::new();
        for _ in 0..20 {
            deaf.push(begin(&rig, &chat(true)).await);
        }
        until("each is left", || rig.providers[0].ledger().abandoned() == 20).await;
        drop(deaf);
        rig.settled().await;
    });
}

#[test]
fn c10_bodies_that_are_too_large() {
    run(async {
        let provider =
            waypost_lab::http::HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request))
                .await
                .unwrap();
        let text = crate::rig::config(&[provider.url()], "")
            .replace("[providers", "max_body = \"1KiB\"\n[providers");
        let rig = Rig::with_text(vec![provider], &text).await;
        let of = |bytes: usize| {
            let empty = r#"{"model":"m","messages":[],"x":""}"#.len();
            format!(r#"{{"model":"m","messages":[],"x":"{}"}}"#, "a".repeat(bytes - empty))
        };
        let json = [("content-type", "application/json")];
        assert_eq!(
            rig.send(http::Method::POST, "/v1/chat/completions", &json, of(1_024)).await.status,
            StatusCode::OK
        );
        let answer = rig.send(http::Method::POST, "/v1/chat/completions", &json, of(1_025)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large")
        );
        let mut endless = TcpStream::connect(rig.address()).await.unwrap();
        endless.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let mut sent = 0;
        while sent < 8 << 20
            && endless.write_all(format!("400\r\n{}\r\n", "a".repeat(1_024)).as_bytes()).await.is_ok()
        {
            sent += 1_024;
        }
        assert!(sent < 8 << 20, "it was closed after {sent} bytes");
        rig.settled().await;
    });
}
