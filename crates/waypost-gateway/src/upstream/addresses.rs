//! The addresses of a host, looked up off the way of requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::Origin;
use super::network::literal;

/// How old addresses may be before they are looked up again: 30 s, the time to live of most providers' records.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How long the first look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last good addresses of a host. They are looked up again in the background when they are old or do not answer; while
/// that fails, the old ones stay.
pub(super) struct Addresses(Arc<State>);

struct State {
    origin: Origin,
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
    pub(super) fn new(origin: &Origin) -> Self {
        let known = literal(&origin.host).map(|address| {
            let addresses = vec![SocketAddr::new(address, origin.port)];
            Arc::new(Known { addresses, since: Instant::now(), is_literal: true })
        });
        let known = ArcSwapOption::new(known);
        Self(Arc::new(State { origin: origin.clone(), known, is_looking: AtomicBool::new(false) }))
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
                tracing::warn!(host = state.origin.host, %error, "addresses could not be looked up; the last good ones stay");
            }
            state.is_looking.store(false, Ordering::Release);
        });
    }
}

impl State {
    async fn look_up(&self) -> io::Result<()> {
        let Origin { host, port, reach, .. } = &self.origin;
        let found = tokio::net::lookup_host((host.as_str(), *port));
        let found = tokio::time::timeout(PATIENCE, found).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (addresses, refused): (Vec<_>, Vec<_>) = found.partition(|found| reach.allows(found.ip()));
        if addresses.is_empty() {
            tracing::warn!(
                host,
                ?refused,
                "no address of the name may be used; those of a private network may where its provider is `private`"
            );
            return Err(io::ErrorKind::NotFound.into());
        }
        self.known.store(Some(Arc::new(Known { addresses, since: Instant::now(), is_literal: false })));
        Ok(())
    }
}
