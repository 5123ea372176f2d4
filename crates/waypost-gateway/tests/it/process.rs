//! The gateway's start, its end, and how full it may be.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;
use waypost_gateway::{Config, Server};
use waypost_lab::http::{HttpRequest, Script, Speech};

use crate::rig::{Rig, chat, config, run, send, until};

pub(crate) fn streaming(
    pause: Duration,
    events: usize,
) -> impl Fn(&HttpRequest) -> Script + Send + Sync + 'static {
    move |_| {
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
        let begun = (0..events).fold(Script::event_stream(), |script, _| script.chunk(event).wait(pause));
        begun.chunk("data: [DONE]\n\n").end()
    }
}

/// A hundred streams, then the order to stop: how many came to their own end, and how many were told that it is over.
async fn stopped(pause: Duration, drain: &str) -> (usize, usize) {
    let provider = waypost_lab::http::HttpProvider::start(streaming(pause, 40)).await.unwrap();
    let text =
        config(&[provider.url()], "").replace("[providers", &format!("drain = \"{drain}\"\n[providers"));
    let rig = Rig::with_text(vec![provider], &text).await;
    let (address, mut streams) = (rig.address(), tokio::task::JoinSet::new());
    for _ in 0..100 {
        streams.spawn(async move {
            send(
                address,
                Method::POST,
                "/v1/chat/completions",
                &[("content-type", "application/json")],
                chat(true).to_string(),
            )
            .await
        });
    }
    until("all run", || rig.server.gateway().router().metrics().in_flight == 100).await;
    let gateway = std::sync::Arc::clone(rig.server.gateway());
    rig.server.stop().await;
    let (mut ended, mut told) = (0, 0);
    while let Some(answer) = streams.join_next().await {
        let answer = answer.unwrap();
        assert!(!answer.broke_off, "{answer:?}");
        ended += usize::from(answer.text().ends_with("data: [DONE]\n\n"));
        told += usize::from(answer.text().contains("server_shutting_down"));
    }
    until("nothing is in flight", || gateway.router().metrics().in_flight == 0).await;
    (ended, told)
}

#[test]
fn h01_streams_that_can_end_do_and_the_others_are_told() {
    run(async {
        assert_eq!(stopped(Duration::from_millis(10), "10s").await, (100, 0));
        assert_eq!(stopped(Duration::from_millis(500), "300ms").await, (0, 100));
    });
}

#[test]
fn h10_an_address_in_use_is_one_clear_line() {
    run(async {
        let well = |request: &HttpRequest| Speech::default().answer(request);
        let rig = Rig::start(vec![well], "").await;
        let text = std::fs::read_to_string(&rig.path).unwrap();
        let text = text.replacen("127.0.0.1:0", &rig.address().to_string(), 1);
        let error = Server::start(Config::read("w", &text).unwrap(), rig.path.clone()).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{} cannot be listened at", rig.address())),
            "{error}"
        );
        assert_eq!(rig.chat(false).await.status, StatusCode::OK);
    });
}

#[test]
fn streams_that_run_count_among_the_requests_at_once() {
    run(async {
        let provider =
            waypost_lab::http::HttpProvider::start(streaming(Duration::from_millis(100), 600)).await.unwrap();
        let text = config(&[provider.url()], "").replace("[providers", "max_requests = 2\n[providers");
        let rig = Rig::with_text(vec![provider], &text).await;
        let mut running = Vec::new();
        for _ in 0..2 {
            let mut stream = crate::client_faults::begin(&rig, &chat(true)).await;
            stream.read_exact(&mut [0; 400]).await.unwrap();
            running.push(stream);
        }
        for _ in 0..3 {
            assert_eq!(rig.chat(true).await.status, StatusCode::SERVICE_UNAVAILABLE);
        }
        drop(running);
        until("their places are free", || rig.server.gateway().running() == 0).await;
        rig.settled().await;
    });
}

#[test]
fn too_many_requests_at_once_are_refused_at_once() {
    run(async {
        let provider = waypost_lab::http::HttpProvider::start(|_: &HttpRequest| {
            Script::new().then(waypost_lab::http::Step::Hang)
        })
        .await
        .unwrap();
        let text = config(&[provider.url()], "").replace("[providers", "max_requests = 3\n[providers");
        let rig = Rig::with_text(vec![provider], &text).await;
        let (address, mut running) = (rig.address(), tokio::task::JoinSet::new());
        for _ in 0..3 {
            running.spawn(async move {
                send(
                    address,
                    Method::POST,
                    "/v1/chat/completions",
                    &[("content-type", "application/json")],
                    chat(false).to_string(),
                )
                .await
            });
        }
        until("all run", || rig.providers[0].ledger().requests() == 3).await;
        let answer = rig.chat(false).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
        running.abort_all();
        until("their places are free", || rig.server.gateway().running() == 0).await;
        rig.settled().await;
    });
}

#[test]
fn h01_requests_that_cannot_end_are_told_too() {
    run(async {
        let provider = waypost_lab::http::HttpProvider::start(|_: &HttpRequest| {
            Script::new().then(waypost_lab::http::Step::Hang)
        })
        .await
        .unwrap();
        let text = config(&[provider.url()], "").replacen("[providers", "drain = \"200ms\"\n[providers", 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let (address, mut running) = (rig.address(), tokio::task::JoinSet::new());
        for stream in [true, false] {
            running.spawn(async move {
                let json = [("content-type", "application/json")];
                send(address, Method::POST, "/v1/chat/completions", &json, chat(stream).to_string()).await
            });
        }
        until("both run", || rig.providers[0].ledger().requests() == 2).await;
        rig.server.stop().await;
        while let Some(answer) = running.join_next().await {
            let answer = answer.unwrap();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
            assert_eq!(answer.code(), "server_shutting_down");
        }
    });
}
