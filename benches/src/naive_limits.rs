//! Limits as they are mostly written: a map of buckets behind one mutex, levels in floats.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What one bucket refills in a second, and holds.
const RATE: f64 = 16_000_000.0;
const BURST: f64 = 1e15;

/// Buckets by name.
#[derive(Debug)]
pub struct NaiveLimits {
    names: Vec<String>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    level: f64,
    last: f64,
}

impl NaiveLimits {
    /// So many buckets, all of which every request is asked about.
    pub fn new(limits: usize) -> Self {
        let names: Vec<_> = (0..limits).map(|number| format!("acme:limit-{number}")).collect();
        let buckets = names.iter().map(|name| (name.clone(), Bucket { level: BURST, last: 0.0 })).collect();
        Self { names, buckets: Mutex::new(buckets) }
    }

    /// Takes of all buckets, or of none, under the lock.
    pub fn take(&self, tokens: f64, seconds: f64) -> bool {
        let mut buckets = self.buckets.lock();
        for name in &self.names {
            let Some(bucket) = buckets.get_mut(name) else { return false };
            bucket.level = (bucket.level + (seconds - bucket.last) * RATE).min(BURST);
            bucket.last = seconds;
            if bucket.level < tokens {
                return false;
            }
        }
        self.add(&mut buckets, -tokens);
        true
    }

    /// Gives back to all of them.
    pub fn give_back(&self, tokens: f64) {
        self.add(&mut self.buckets.lock(), tokens);
    }

    fn add(&self, buckets: &mut HashMap<String, Bucket>, tokens: f64) {
        for name in &self.names {
            if let Some(bucket) = buckets.get_mut(name) {
                bucket.level = (bucket.level + tokens).min(BURST);
            }
        }
    }
}
