//! The least that any router on this design could do: one load of a shared pointer, one look-up of the model name, one
//! ticket, one request in and out of flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashMap;

/// One model's share.
#[derive(Debug)]
struct Pool {
    ticket: AtomicU64,
    in_flight: Vec<AtomicU64>,
}

/// The parts and nothing around them.
#[derive(Debug)]
pub struct Floor {
    models: ArcSwap<HashMap<String, Pool, foldhash::quality::RandomState>>,
}

impl Floor {
    /// A model with `n` candidates, among ten others.
    pub fn new(model: &str, n: usize) -> Self {
        let pool =
            |n| Pool { ticket: AtomicU64::new(0), in_flight: (0..n).map(|_| AtomicU64::new(0)).collect() };
        let mut models = HashMap::with_hasher(foldhash::quality::RandomState::default());
        models.extend((0..10).map(|i| (format!("model-{i}"), pool(1))));
        models.insert(model.to_owned(), pool(n));
        Self { models: ArcSwap::new(Arc::new(models)) }
    }

    /// Selects and finishes.
    ///
    /// # Panics
    ///
    /// When the model is not known.
    pub fn route_and_finish(&self, model: &str) -> u64 {
        let models = self.models.load();
        let pool = &models[model];
        let ticket = pool.ticket.fetch_add(1, Ordering::Relaxed);
        let in_flight = &pool.in_flight[ticket as usize % pool.in_flight.len()];
        in_flight.fetch_add(1, Ordering::Relaxed);
        in_flight.fetch_sub(1, Ordering::Relaxed)
    }
}
