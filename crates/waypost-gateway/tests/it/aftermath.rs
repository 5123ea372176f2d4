//! What holds after any fault: the universal post-conditions of the fault matrix, P1 to P10.
//!
//! P4, memory, and the file descriptors of P3 are of a whole process: `process_faults` looks at those.

use std::collections::HashMap;

use http::Method;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use waypost::limits::Level;
use waypost_lab::http::HttpProvider;

use crate::rig::{Rig, send, until};

/// Requests beyond one attempt each that retries may make before their budget counts: the burst that is configured as a rule.
const BURST: u64 = 100;
/// Clients at once once the fault is over, and the requests of each.
const CLIENTS: usize = 8;
const REQUESTS: usize = 12;

impl Rig {
    /// Everything is as it was before the fault. Ends the fault where it can be ended.
    pub(crate) async fn settled(&self) {
        self.nothing_is_held().await;
        self.retries_are_bounded().await;
        if self.heals && self.answers_anybody() {
            self.is_over.store(true, std::sync::atomic::Ordering::SeqCst);
            self.recovers().await;
        }
        self.nothing_is_left_open().await;
    }

    /// P1, P2, P5, P7: it is alive, nothing is in flight or reserved, all is accounted for, nothing secret was told.
    pub(crate) async fn nothing_is_held(&self) {
        let router = self.server.gateway().router();
        until("nothing is in flight", || {
            router.metrics().in_flight == 0 && self.server.gateway().running() == 0
        })
        .await;
        for report in router.limit_reports() {
            let held = match report.level {
                Level::Money { reserved, .. } => reserved.0,
                Level::Concurrency { reserved, .. } => reserved,
                _ => 0,
            };
            assert_eq!(held, 0, "{report:?}");
        }
        self.nothing_is_lost();
        let metrics = self.admin(Method::GET, "/metrics").await;
        assert!(metrics.status.is_success() && !metrics.text().contains("canary"));
        let health = self.send(Method::GET, "/health", &[], "").await;
        assert_eq!(health.json()["status"], "ok", "it is alive");
    }

    /// P5: what came to a provider was settled, and nothing was settled twice or without having been selected. Attempts may
    /// end before they come to a provider, and selections before they are an attempt.
    fn nothing_is_lost(&self) {
        let router = self.server.gateway().router();
        let table = router.routing_table();
        let ended: u64 = table.candidates().map(|candidate| candidate.live().outcomes().total()).sum();
        let asked: u64 = self.providers.iter().map(|provider| provider.ledger().requests()).sum();
        let selected = router.metrics().successful_routes;
        // What was removed took its counts with it.
        let is_complete = table.candidates().count() >= self.providers.len();
        assert!(asked <= ended || !is_complete, "P5: {asked} came to providers, {ended} ended");
        assert!(ended <= selected, "P5: {ended} ended, {selected} were selected");
    }

    /// P6.
    async fn retries_are_bounded(&self) {
        let metrics = self.admin(Method::GET, "/metrics").await;
        let counts = metrics.text().lines().filter(|line| line.starts_with("waypost_requests_total{"));
        let requests: u64 = counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        let attempts: u64 = self.providers.iter().map(|provider| provider.ledger().requests()).sum();
        assert!(attempts <= requests * 11 / 10 + BURST, "{attempts} attempts for {requests} requests");
    }

    /// Whether no key or limit stands in the way of requests.
    fn answers_anybody(&self) -> bool {
        let text = std::fs::read_to_string(&self.path).unwrap();
        !["[tenants", "[limits", "[[rules", "max_requests", "max_connections"]
            .iter()
            .any(|word| text.contains(word))
    }

    /// P8 and P10: soon all requests are answered, each with its own answer.
    async fn recovers(&self) {
        let body = |user: &str| {
            json!({"model": "m", "user": user, "messages": [{"role": "user", "content": "hi"}]}).to_string()
        };
        let ask = move |address, user: String| async move {
            let kind = [("content-type", "application/json")];
            let answer = send(address, Method::POST, "/v1/chat/completions", &kind, body(&user)).await;
            answer.status.is_success() && answer.json()["choices"][0]["message"]["content"] == user.as_str()
        };
        let (address, mut recovered) = (self.address(), false);
        for _ in 0..1_000 {
            recovered = ask(address, "first".to_owned()).await;
            if recovered {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(recovered, "P8: the fault is over");
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(async move {
                for number in 0..REQUESTS {
                    assert!(ask(address, format!("u{client}-{number}")).await, "P8, P10: {client}, {number}");
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    }

    /// P3: connections of clients are closed, those to providers are kept and alive, and no task runs but theirs.
    async fn nothing_is_left_open(&self) {
        let own = [Some(self.address()), self.server.admin_address()];
        let own: Vec<u16> = own.into_iter().flatten().map(|address| address.port()).collect();
        let theirs: Vec<u16> = self.providers.iter().map(HttpProvider::address).map(|to| to.port()).collect();
        let mut seen = Sockets::default();
        let is_so = || {
            seen = Sockets::now();
            let kept: usize = theirs.iter().map(|port| seen.open_to(*port)).sum();
            let tasks = Handle::current().metrics().num_alive_tasks();
            own.iter().all(|port| seen.at(*port) == 0)
                && theirs.iter().all(|port| seen.half_closed_to(*port) == 0)
                // A kept connection has a task at its provider, and one looks after all of an origin; who tests providers of
                // its own looks at those.
                && (theirs.is_empty() || !seen.is_told || tasks <= self.tasks + kept + theirs.len())
        };
        until("P3: connections and tasks are what they were", is_so).await;
    }
}

/// How many connections there are on this machine, by state and ports. Linux tells; elsewhere there are none to see.
#[derive(Default)]
struct Sockets {
    counts: HashMap<(u16, u16, u8), usize>,
    is_told: bool,
}

impl Sockets {
    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;

    fn now() -> Self {
        let table = std::fs::read_to_string("/proc/net/tcp");
        let is_told = table.is_ok();
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
        let row = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, remote) = (port(fields.next()?)?, port(fields.next()?)?);
            Some((local, remote, u8::from_str_radix(fields.next()?, 16).ok()?))
        };
        let mut counts = HashMap::new();
        for row in table.unwrap_or_default().lines().filter_map(row) {
            *counts.entry(row).or_default() += 1;
        }
        Self { counts, is_told }
    }

    fn count(&self, is_counted: impl Fn(u16, u16, u8) -> bool) -> usize {
        let counted =
            self.counts.iter().filter(|((local, remote, state), _)| is_counted(*local, *remote, *state));
        counted.map(|(_, count)| count).sum()
    }

    /// Connections that were taken at a port and are not closed on this side.
    fn at(&self, port: u16) -> usize {
        let is_open = |state| state == Self::ESTABLISHED || state == Self::CLOSE_WAIT;
        self.count(|local, _, state| local == port && is_open(state))
    }

    fn open_to(&self, port: u16) -> usize {
        self.count(|_, remote, state| remote == port && state == Self::ESTABLISHED)
    }

    /// Connections whose other side is closed, and this one is not.
    fn half_closed_to(&self, port: u16) -> usize {
        self.count(|_, remote, state| remote == port && state == Self::CLOSE_WAIT)
    }
}
