//! The gateway's end, told to whoever still runs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::watch;

/// Tells streams that their time is over.
#[derive(Debug)]
pub(crate) struct Closing(watch::Sender<bool>);

impl Default for Closing {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Closing {
    /// Ends all streams.
    pub(crate) fn close(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn closed(&self) -> Closed {
        let mut receiver = self.0.subscribe();
        Closed(Box::pin(async move {
            // An error means that the gateway is gone, which is an end too.
            let _ = receiver.wait_for(|closed| *closed).await;
        }))
    }
}

/// Ready when streams shall end.
pub(crate) struct Closed(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Closed {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
