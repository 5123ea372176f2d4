//! Faults against the gateway as a process: what P3 and P4 of the fault matrix say of its file descriptors and its memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech, Step};

use crate::program::Program;
use crate::rig::{CANARY, chat, config, run, say, until};

const TIMEOUTS: &str = "[failover.timeouts]\nconnect = \"1s\"\nfirst_content = \"200ms\"\nidle = \"200ms\"\ntotal = \"5s\"\n[health]\nopen_for = \"100ms\"\n";
/// Clients at once, and the requests of each.
const CLIENTS: usize = 8;
const REQUESTS: usize = 12;
/// File descriptors more than before that are no leak: each client may have left a kept connection at either provider.
const KEPT: usize = 2 * CLIENTS;
const MIB: u64 = 1 << 20;

/// What one of two providers does, by the row of the matrix.
fn faults() -> Vec<(&'static str, Script)> {
    let begun = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"One\"}}]}\n\n";
    let overloaded = "data: {\"error\":{\"code\":\"overloaded\",\"message\":\"Overloaded\"}}\n\n";
    vec![
        ("U03", Script::new().then(Step::Hang)),
        ("U04", Script::new().then(Step::Reset)),
        ("U05", Speech::default().answer(&HttpRequest::default()).then(Step::Close)),
        ("U06", Script::event_stream().chunk(begun).then(Step::Hang)),
        ("U07", Script::event_stream().chunk(begun).then(Step::Reset)),
        ("U08", Script::event_stream().chunk(overloaded).end()),
        ("U10", Script::status(200, &[], "<html></html>")),
        ("U12", Script::status(429, &[("retry-after", "1")], "{}")),
        ("U15", Script::status(500, &[], "{}")),
        ("U27", Script::new().send("HTTP/1.1 999 What\r\n\r\n").then(Step::Close)),
        ("U30", Script::status(401, &[], &format!("{{\"error\":{{\"message\":\"{CANARY}\"}}}}"))),
    ]
}

/// File descriptors and bytes of memory of a process; `None` where the system does not tell.
fn held_by(id: u32) -> Option<(usize, u64)> {
    let process = Path::new("/proc").join(id.to_string());
    let files = std::fs::read_dir(process.join("fd")).ok()?.count();
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some((files, resident.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10))
}

/// Many requests at once, every second of them streamed; how many were answered in full.
async fn ask_all(program: &Arc<Program>) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let program = Arc::clone(program);
        clients.spawn(async move {
            let mut answered = 0;
            for number in 0..REQUESTS {
                let streamed = number % 2 == 0;
                let answer = program.ask(&[], &chat(streamed)).await;
                assert!(!answer.text().contains(CANARY), "P7: {answer:?}");
                let is_whole =
                    !answer.broke_off && (!streamed || answer.text().ends_with("data: [DONE]\n\n"));
                answered += usize::from(answer.status.is_success() && is_whole);
            }
            answered
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// Whether a process holds no more than before.
async fn gives_back(id: &str, program: &Program, (files, memory): (usize, u64)) {
    let now = || held_by(program.id()).unwrap();
    until(&format!("{id}, P3: file descriptors"), || now().0 <= files + KEPT).await;
    let bound = memory + (memory / 10).max(32 * MIB);
    until(&format!("{id}, P4: memory"), || now().1 <= bound).await;
}

#[test]
fn after_each_fault_of_a_provider_a_process_holds_what_it_held() {
    run(async {
        for (id, script) in faults() {
            let is_ill = Arc::new(AtomicBool::new(false));
            let ill = Arc::clone(&is_ill);
            let reply = move |request: &HttpRequest| {
                if ill.load(Ordering::SeqCst) { script.clone() } else { Speech::default().answer(request) }
            };
            let provider = HttpProvider::start(reply).await.unwrap();
            let other =
                HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request)).await.unwrap();
            let program =
                Arc::new(Program::start(|_| config(&[provider.url(), other.url()], TIMEOUTS)).await);
            assert_eq!(ask_all(&program).await, CLIENTS * REQUESTS);
            let Some(before) = held_by(program.id()) else {
                return say("skipped: this system does not tell what a process holds");
            };
            let asked = provider.ledger().requests();
            is_ill.store(true, Ordering::SeqCst);
            ask_all(&program).await;
            assert!(provider.ledger().requests() > asked, "{id}: it was asked");
            is_ill.store(false, Ordering::SeqCst);
            assert_eq!(ask_all(&program).await, CLIENTS * REQUESTS, "{id}, P8: the fault is over");
            gives_back(id, &program, before).await;
            assert!(!program.log().contains(CANARY), "{id}, P7");
        }
    });
}

/// C07: who takes nothing of a long answer is left, and meanwhile its answer is not gathered.
#[test]
fn c07_who_takes_nothing_holds_little_memory() {
    run(async {
        let flood = |request: &HttpRequest| {
            if request.number < 20 {
                return Speech::default().answer(request);
            }
            let event = format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
                "x".repeat(32_000)
            );
            (0..1_000).fold(Script::event_stream(), |script, _| script.chunk(&event))
        };
        let provider = HttpProvider::start(flood).await.unwrap();
        let text = config(&[provider.url()], "").replace("[providers", "write_timeout = \"1s\"\n[providers");
        let program = Arc::new(Program::start(|_| text).await);
        for _ in 0..20 {
            assert!(program.ask(&[], &chat(true)).await.status.is_success());
        }
        let Some(before) = held_by(program.id()) else {
            return say("skipped: this system does not tell what a process holds");
        };
        let body = chat(true).to_string();
        let mut deaf = Vec::new();
        for _ in 0..10 {
            let mut client = TcpStream::connect(program.address()).await.unwrap();
            let request = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(request.as_bytes()).await.unwrap();
            deaf.push(client);
        }
        let mut most = 0;
        until("each is left", || {
            most = most.max(held_by(program.id()).unwrap().1);
            provider.ledger().abandoned() == 10
        })
        .await;
        // 32 MB are ready for each.
        assert!(most <= before.1 + 32 * MIB, "{most} bytes, {} before", before.1);
        drop(deaf);
        gives_back("C07", &program, before).await;
        tokio::time::timeout(Duration::from_secs(20), program.ask(&[], &chat(false))).await.unwrap();
    });
}
