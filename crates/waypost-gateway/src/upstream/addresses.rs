//! The addresses of a host, looked up off the way of requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

/// How old addresses may be before they are looked up again: 30 s, the time to live of most providers' records.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How long the first look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last good addresses of a host. They are looked up again in the background when they are old or do not answer; while
/// that fails, the old ones stay.
pub(super) struct Addresses(Arc<State>);

struct State {
    host: String,
    port: u16,
    known: ArcSwapOption<Known>,
    is_looking: AtomicBool,
}

struct Known {
    addresses: Vec<SocketAddr>,
    since: Instant,
    /// It is an address itself and never looked up.
    is_literal: bool,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let known = literal.map(|address| {
            let addresses = vec![SocketAddr::new(address, port)];
            Arc::new(Known { addresses, since: Instant::now(), is_literal: true })
        });
        let known = ArcSwapOption::new(known);
        Self(Arc::new(State { host: host.to_owned(), port, known, is_looking: AtomicBool::new(false) }))
    }

    /// The addresses. Only the very first call waits for a look-up.
    pub(super) async fn get(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(known) = &*self.0.known.load() {
            if !known.is_literal && known.since.elapsed() > MAX_AGE {
                self.refresh();
            }
            return Ok(known.addresses.clone());
        }
        self.0.look_up().await?;
        let known = self.0.known.load();
        Ok(known.as_ref().map(|known| known.addresses.clone()).unwrap_or_default())
    }

    /// Looks them up in the background, once at a time.
    pub(super) fn refresh(&self) {
        let is_literal = self.0.known.load().as_ref().is_some_and(|known| known.is_literal);
        if is_literal || self.0.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Err(error) = state.look_up().await {
                tracing::warn!(host = state.host, %error, "addresses could not be looked up; the last good ones stay");
            }
            state.is_looking.store(false, Ordering::Release);
        });
    }
}

impl State {
    async fn look_up(&self) -> io::Result<()> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = tokio::time::timeout(PATIENCE, found).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let addresses: Vec<_> = found.filter(|found| !is_link_local(found.ip())).collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address that may be used"));
        }
        self.known.store(Some(Arc::new(Known { addresses, since: Instant::now(), is_literal: false })));
        Ok(())
    }
}

/// Addresses that no provider has, but the metadata service of a cloud does.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x01_names_do_not_lead_to_metadata() {
        for address in ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:169.254.169.254"] {
            assert!(is_link_local(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1"] {
            assert!(!is_link_local(address.parse().unwrap()), "{address}");
        }
    }
}
