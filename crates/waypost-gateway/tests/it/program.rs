//! The program itself, as a process: what it prints, and how signals end it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use waypost_gateway::NewKey;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech};

use crate::gateway::well;
use crate::process::streaming;
use crate::rig::{Answer, CANARY, PATIENCE, chat, config, run, send, until};

/// A gateway as a process, with a folder of its own.
pub(crate) struct Program {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    folder: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Program {
    /// Starts one; `text` makes its configuration out of its folder.
    pub(crate) async fn start(text: impl FnOnce(&PathBuf) -> String) -> Self {
        let folder = std::env::temp_dir().join(format!("waypost-program-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("waypost.toml");
        std::fs::write(&file, text(&folder)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.arg("serve").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (mut err, log) = (child.stderr.take().unwrap(), Arc::new(Mutex::new(String::new())));
        let heard = Arc::clone(&log);
        tokio::spawn(async move {
            let mut buffer = [0; 8_192];
            while let Ok(read @ 1..) = err.read(&mut buffer).await {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        until("it listens", || port(&log.lock().unwrap()).is_some()).await;
        let port = port(&log.lock().unwrap()).unwrap();
        Self { child, port, log, folder }
    }

    pub(crate) async fn ask(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
        send(self.address(), Method::POST, "/v1/chat/completions", &headers, body.to_string()).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Its exit code, once it has ended.
    async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

/// Where it listens, as it logs.
fn port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains("waypost is listening"))?;
    let at = line.split("127.0.0.1:").nth(1)?;
    at.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// X07: it logs all it can, in front of a provider that repeats the key it was sent.
#[test]
fn x07_secrets_and_prompts_are_in_no_output() {
    run(async {
        let echo = |request: &HttpRequest| {
            let key = request.header("authorization").unwrap_or_default().to_owned();
            let body = json!({"error": {"message": format!("bad key {key}"), "code": "x"}}).to_string();
            match request.number % 4 {
                0 => Script::status(500, &[("x-key", &key)], &body),
                1 => Script::status(400, &[], &body),
                2 => Script::event_stream().chunk(format!("data: {body}\n\n")).end(),
                _ => Speech::default().answer(request),
            }
        };
        let provider = HttpProvider::start(echo).await.unwrap();
        let client = NewKey::make(b"");
        let mut program = Program::start(|folder| {
            let file = folder.join("key");
            std::fs::write(&file, CANARY).unwrap();
            let more = format!(
                "[tenants.a]\nkeys = [{{ hash = \"{}\" }}]\n[telemetry]\nlog = \"trace\"\n",
                client.hash
            );
            config(&[provider.url(), "http://127.0.0.1:1/v1".to_owned()], &more)
                .replace("serves", &format!("api_key = {{ file = \"{}\" }}\nserves", file.display()))
        })
        .await;
        let bearer = format!("Bearer {}", client.key);
        let mut answers = Vec::new();
        for number in 0..24 {
            let mut body = chat(number % 2 == 0);
            body["messages"][0]["content"] = Value::from("canary-prompt");
            let answer = program.ask(&[("authorization", &bearer)], &body).await;
            answers.push(format!("{:?} {:?}", answer.headers, answer.body));
        }
        program.signal("-TERM");
        assert_eq!(program.ended().await, Some(0));
        let mut stdout = String::new();
        program.child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
        until("its last words are read", || program.log.lock().unwrap().contains("stopping")).await;
        let log = program.log();
        assert!(log.contains("waypost::request"), "it logs requests");
        for secret in [CANARY, &client.key, "canary-prompt"] {
            for (what, output) in [("stdout", &stdout), ("the log", &log), ("answers", &answers.concat())] {
                assert!(!output.contains(secret), "{what} has {secret}");
            }
        }
    });
}

#[test]
fn h01_a_signal_lets_streams_end_and_a_second_does_not() {
    run(async {
        for (pause, events, signals) in [(20, 50, 1), (200, 3_000, 2)] {
            let provider =
                HttpProvider::start(streaming(Duration::from_millis(pause), events)).await.unwrap();
            let mut program = Program::start(|_| config(&[provider.url()], "")).await;
            let address = program.address();
            let stream = tokio::spawn(async move {
                let json = [("content-type", "application/json")];
                let path = "/v1/chat/completions";
                tokio::time::timeout(
                    PATIENCE,
                    send(address, Method::POST, path, &json, chat(true).to_string()),
                )
                .await
            });
            until("it streams", || provider.ledger().requests() == 1).await;
            program.signal("-TERM");
            if signals == 1 {
                let answer = stream.await.unwrap().unwrap();
                assert_eq!(answer.status, StatusCode::OK);
                assert!(
                    answer.text().ends_with("data: [DONE]\n\n") && !answer.broke_off,
                    "it ended by itself"
                );
            } else {
                until("it stops", || program.log.lock().unwrap().contains("stopping")).await;
                program.signal("-TERM");
            }
            assert_eq!(program.ended().await, Some(0));
        }
    });
}

#[test]
fn what_is_wrong_with_a_file_is_exit_code_two() {
    let file = std::env::temp_dir().join(format!("waypost-bad-{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&file, "[servr]\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_waypost"));
        let output = command.args(arguments).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for command in [&["check"][..], &["serve"], &["rules", "test", "none.toml"]] {
        let (code, told) = run(command);
        assert!(code == Some(2) && told.contains("did you mean `server`?"), "{command:?}: {told}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_gateway_answers_while_it_is_watched() {
    run(async {
        let provider = HttpProvider::start(well).await.unwrap();
        let program = Program::start(|_| config(&[provider.url()], "")).await;
        program.signal("-HUP");
        until("it reloads", || program.log.lock().unwrap().contains("the configuration was reloaded")).await;
        assert_eq!(program.ask(&[], &chat(false)).await.status, StatusCode::OK);
    });
}
