//! Providers that fail: rows U of the fault matrix, each followed by what must hold after any.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech, Step};

use crate::rig::{CANARY, PATIENCE, Reply, Rig, chat, config, run, until};

const TIMEOUTS: &str = "[failover.timeouts]\nconnect = \"1s\"\nfirst_content = \"300ms\"\nidle = \"300ms\"\n";

fn well() -> Reply {
    Box::new(|request| Speech::default().answer(request))
}

fn always(script: Script) -> Reply {
    Box::new(move |_| script.clone())
}

/// One provider that does this, and one that is well: no client sees an error. How often the first was asked, and what was
/// counted then.
async fn one_of_two(script: Script) -> (u64, String) {
    let rig = Rig::start(vec![always(script), well()], TIMEOUTS).await;
    for number in 0..20 {
        let streamed = number % 2 == 0;
        let answer = rig.chat(streamed).await;
        assert_eq!((answer.status, answer.broke_off), (StatusCode::OK, false), "{answer:?}");
        assert!(!streamed || answer.text().ends_with("data: [DONE]\n\n"), "{answer:?}");
        assert!(answer.text().contains(" quick"), "whole, and the second's own");
    }
    rig.nothing_is_held().await;
    let metrics = rig.admin(http::Method::GET, "/metrics").await.text().to_owned();
    let asked = rig.providers[0].ledger().requests();
    rig.settled().await;
    (asked, metrics)
}

#[test]
fn u01_a_dead_provider_is_nobodys_error() {
    run(async {
        let dead = HttpProvider::start(|_: &HttpRequest| Script::new()).await.unwrap();
        let alive =
            HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request)).await.unwrap();
        let text = config(&[dead.url(), alive.url()], "");
        drop(dead);
        let rig = Rig::with_text(vec![alive], &text).await;
        for _ in 0..50 {
            assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        }
        let ledger = rig.providers[0].ledger();
        assert_eq!((ledger.requests(), ledger.abandoned()), (50, 0));
        rig.settled().await;
    });
}

#[test]
fn u03_who_accepts_and_never_answers_is_left() {
    run(async {
        let hangs = Script::new().then(Step::Hang);
        let more = "[failover.timeouts]\nfirst_content = \"300ms\"\ntotal = \"300ms\"\n";
        let rig = Rig::start(vec![always(hangs), well()], more).await;
        for number in 0..12 {
            assert_eq!(rig.chat(number % 2 == 0).await.status, StatusCode::OK);
        }
        until("its connections are closed", || {
            rig.providers[0].ledger().abandoned() == rig.providers[0].ledger().requests()
        })
        .await;
        rig.settled().await;
    });
}

#[test]
fn u04_a_reset_after_the_request_is_tried_elsewhere() {
    run(async {
        let (reset, metrics) = one_of_two(Script::new().then(Step::Reset)).await;
        assert!(reset >= 1);
        let told = format!("waypost_possible_double_bills_total {reset}");
        assert!(metrics.lines().any(|line| line == told), "{told}: {metrics}");
    });
}

#[test]
fn u05_a_kept_connection_that_is_closed_is_nobodys_failure() {
    run(async {
        // Closes after each answer, without having said so.
        let close = |request: &HttpRequest| Speech::default().answer(request).then(Step::Close);
        let rig = Rig::start(vec![close], "").await;
        for _ in 0..200 {
            assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        }
        let table = rig.server.gateway().router().routing_table();
        assert_eq!(table.candidates().next().unwrap().live().outcomes().failed, 0);
        rig.settled().await;
    });
}

/// One that closes while the provider works may have been served: it is a failure, and an attempt that is counted.
#[test]
fn u05_a_kept_connection_that_closes_later_is_no_stale_one() {
    run(async {
        let closes = |request: &HttpRequest| match request.number {
            0 => Speech::default().answer(request),
            _ => Script::new().wait(Duration::from_millis(700)).then(Step::Close),
        };
        let rig = Rig::start(vec![closes], "[failover]\nattempts = 1\n").await;
        assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        assert_eq!(rig.chat(false).await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(rig.providers[0].ledger().requests(), 2, "nothing is sent again behind anybody's back");
        rig.settled().await;
    });
}

/// A provider at an address that writes `beginning` and then `flood` again and again, as fast as it is read.
fn flooding(beginning: &'static str, flood: &'static str) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let flood = flood.repeat(1 << 10);
        let mut written = stream.read(&mut [0; 4 << 10]).and_then(|_| stream.write_all(beginning.as_bytes()));
        // Until the gateway has enough of it.
        while written.is_ok() {
            written = stream.write_all(flood.as_bytes());
        }
    });
    address
}

/// Timeouts are looked at, and others served, however fast a provider sends what is nothing.
#[test]
fn a_flood_of_nothing_is_given_up_in_time() {
    let interim = ("", "HTTP/1.1 100 Continue\r\n\r\n", "[failover.timeouts]\nfirst_content = \"500ms\"\n");
    let usage = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
         data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n",
        "[failover.timeouts]\ntotal = \"500ms\"\n",
    );
    for (beginning, flood, timeouts) in [interim, usage] {
        run(async move {
            let more = format!("[failover]\nattempts = 1\n{timeouts}");
            let url = format!("http://{}/v1", flooding(beginning, flood));
            let rig = Rig::with_text(vec![], &config(&[url], &more)).await;
            let answer = tokio::time::timeout(PATIENCE, rig.chat(true)).await.expect("it is given up");
            assert!(!answer.text().contains("[DONE]") && answer.text().contains("\"error\""), "{answer:?}");
            rig.settled().await;
        });
    }
}

#[test]
fn u08_b65_an_error_before_the_first_content_is_somebody_elses_request() {
    run(async {
        let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        let script = Script::event_stream()
            .chunk(
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            )
            .chunk(overloaded)
            .end();
        one_of_two(script).await;
    });
}

#[test]
fn u10_a_page_instead_of_an_answer() {
    run(async {
        let page = "<html><body>Please log in</body></html>";
        let length = page.len();
        let script = Script::new().send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}"
        ));
        one_of_two(script).await;
        one_of_two(Script::json("not json")).await;
        one_of_two(Script::json("")).await;
    });
}

#[test]
fn u12_rate_limits_rest_and_are_not_ill() {
    run(async {
        let body = r#"{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded"}}"#;
        let (asked, _) = one_of_two(Script::status(429, &[("retry-after", "60")], body)).await;
        assert_eq!(asked, 1, "it is not asked while it rests");
    });
}

#[test]
fn u13_u18_u20_when_nobody_can_the_client_is_told_when() {
    run(async {
        let limited = || always(Script::status(429, &[("retry-after", "7")], "{}"));
        let rig = Rig::start(vec![limited(), limited()], "").await;
        for _ in 0..10 {
            let answer = rig.chat(false).await;
            assert_eq!(
                (answer.status, answer.header("x-should-retry")),
                (StatusCode::TOO_MANY_REQUESTS, "true")
            );
            assert!((1..=7).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
            assert_eq!(answer.code(), "rate_limit_exceeded");
        }
        assert_eq!(rig.providers.iter().map(|provider| provider.ledger().requests()).sum::<u64>(), 2);

        let broken = || always(Script::status(503, &[], "{}"));
        let more = "[failover]\nretry_burst = 5\n";
        let rig = Rig::start(vec![broken(), broken()], more).await;
        for _ in 0..100 {
            let answer = rig.chat(false).await;
            assert!(answer.status.is_server_error(), "{answer:?}");
            assert!(answer.header("x-should-retry") != "true" || answer.code() == "no_healthy_candidates");
        }
        let attempts: u64 = rig.providers.iter().map(|provider| provider.ledger().requests()).sum();
        assert!(attempts <= 115, "P6: {attempts}");
        rig.settled().await;
    });
}

#[test]
fn u15_errors_of_one_are_nobodys_and_it_is_left_out() {
    run(async {
        let (asked, _) = one_of_two(Script::status(500, &[], "{}")).await;
        assert!(asked <= 6, "five failures in a row");
    });
}

#[test]
fn u15_it_comes_back() {
    run(async {
        let is_ill = Arc::new(AtomicBool::new(true));
        let ill = Arc::clone(&is_ill);
        let reply: Reply = Box::new(move |request| {
            if ill.load(Ordering::SeqCst) {
                Script::status(500, &[], "{}")
            } else {
                Speech::default().answer(request)
            }
        });
        let rig = Rig::start(vec![reply, well()], "[health]\nopen_for = \"200ms\"\nfailures = 2\n").await;
        for _ in 0..10 {
            assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        }
        is_ill.store(false, Ordering::SeqCst);
        let answered = AtomicU64::new(0);
        for _ in 0..400 {
            let answer = rig.chat(false).await;
            assert_eq!(answer.status, StatusCode::OK);
            answered.fetch_add(u64::from(answer.header("x-waypost-candidate") == "p0/m"), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            if answered.load(Ordering::SeqCst) > 3 {
                break;
            }
        }
        assert!(answered.load(Ordering::SeqCst) > 3);
        rig.settled().await;
    });
}

#[test]
fn u30_b69_a_revoked_key_is_not_told_and_other_keys_carry() {
    run(async {
        let key = std::env::temp_dir().join("waypost-it-canary");
        std::fs::write(&key, CANARY).unwrap();
        let refused = format!(
            r#"{{"error":{{"message":"Incorrect API key provided: {CANARY}","code":"invalid_api_key"}}}}"#
        );
        let revoked =
            HttpProvider::start(move |_: &HttpRequest| Script::status(401, &[], &refused)).await.unwrap();
        let good =
            HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request)).await.unwrap();
        let keyed = format!("endpoint = \"{}\"\napi_key = {{ file = \"{}\" }}", revoked.url(), key.display());
        let text = config(&[revoked.url(), good.url()], "").replacen(
            &format!("endpoint = \"{}\"", revoked.url()),
            &keyed,
            1,
        );
        let rig = Rig::with_text(vec![revoked, good], &text).await;
        for _ in 0..10 {
            assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        }
        assert_eq!(rig.providers[0].ledger().requests(), 1, "the key is benched");
        rig.settled().await;

        let said = format!(r#"{{"error":{{"message":"bad request for {CANARY}","code":"bad"}}}}"#);
        let bad = HttpProvider::start(move |_: &HttpRequest| Script::status(400, &[], &said)).await.unwrap();
        let keyed = format!("endpoint = \"{}\"\napi_key = {{ file = \"{}\" }}", bad.url(), key.display());
        let text = config(&[bad.url()], "").replacen(&format!("endpoint = \"{}\"", bad.url()), &keyed, 1);
        let rig = Rig::with_text(vec![bad], &text).await;
        let answer = rig.chat(false).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "bad"));
        assert!(answer.text().contains("bad request for [redacted]"));
    });
}

#[test]
fn u27_b67_b68_answers_that_are_none() {
    run(async {
        let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(2 << 20));
        let bad = [
            huge.as_str(),
            "HTTP/1.1 999 What\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 204 No\r\n\r\n",
            "HTTP/1.1 304 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{}",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n",
        ];
        for bad in bad {
            one_of_two(Script::new().send(bad).then(Step::Close)).await;
        }
        let chatty = "HTTP/1.1 200 OK\r\nserver: x\r\nset-cookie: a=b\r\nopenai-organization: org\r\nx-ratelimit-remaining-requests: 5\r\n\
                      content-type: application/json\r\ncontent-length: 16\r\n\r\n{\"choices\":[0]}\n";
        let rig = Rig::start(vec![always(Script::new().send(chatty))], "").await;
        let answer = rig.chat(false).await;
        for hidden in ["server", "set-cookie", "openai-organization", "x-ratelimit-remaining-requests"] {
            assert_eq!(answer.header(hidden), "", "{hidden}");
        }
    });
}

#[test]
fn fallbacks_are_other_models() {
    run(async {
        let mut text_of = Vec::new();
        for reply in [always(Script::status(500, &[], "{}")), well()] {
            text_of.push(HttpProvider::start(reply).await.unwrap());
        }
        let [broken, fine] = [text_of[0].url(), text_of[1].url()];
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [providers.a]\ntype = \"openai-compatible\"\nendpoint = \"{broken}\"\n\
             [providers.b]\ntype = \"openai-compatible\"\nendpoint = \"{fine}\"\n\
             [models.m]\ncandidates = [{{ provider = \"a\" }}]\nfallback = [\"n\"]\n\
             [models.n]\ncandidates = [{{ provider = \"b\", model = \"other\" }}]\n"
        );
        let rig = Rig::with_text(text_of, &text).await;
        let answer = rig.post("/v1/chat/completions", &chat(false)).await;
        assert_eq!((answer.status, answer.header("x-waypost-candidate")), (StatusCode::OK, "b/other"));
        assert_eq!(answer.json()["model"], "other");
        rig.settled().await;
    });
}
