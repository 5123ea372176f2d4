//! Who used how much of a limit that many share.

use core::time::Duration;

use waypost_core::{Age, StampedCell, Timestamp};

use crate::Rate;

/// Cells in a row. Two parties share both their cells with a chance of one in 4,096.
const CELLS: usize = 64;
/// Who used less than this part of the whole of late does not count as a party.
const ACTIVE: f32 = 1.0 / 512.0;
/// A shorter half-life would forget a party between two of its requests.
const LEAST_HALF_LIFE: Duration = Duration::from_secs(1);

/// What parties used of a limit of late, in a count-min sketch of usage that fades: of a party's cells, one in each
/// row, the lesser counts, so a party is taken for another only where both collide. Its memory does not depend on how
/// many parties there are.
///
/// A party is within its share when what it used is no more than the whole over the number of parties. Source:
/// stochastic fair queueing (`McKenney`, 1990), and the count-min sketch (Cormode and Muthukrishnan, 2005).
#[derive(Debug)]
pub(crate) struct FairShares {
    rows: [[StampedCell; CELLS]; 2],
    half_life: Age,
    /// What everybody uses together, faded likewise, when the rate is used up.
    whole: f32,
}

impl FairShares {
    pub(crate) fn new(rate: &Rate) -> Self {
        let refill = rate.period().as_secs_f64() * rate.burst_size() as f64 / rate.quota() as f64;
        let half_life = Duration::try_from_secs_f64(refill).unwrap_or(Duration::MAX).max(LEAST_HALF_LIFE);
        let per_second = rate.quota() as f64 / rate.period().as_secs_f64();
        let whole = per_second * half_life.as_secs_f64() / core::f64::consts::LN_2;
        let row = || core::array::from_fn(|_| StampedCell::new());
        Self { rows: [row(), row()], half_life: Age::of(half_life), whole: whole as f32 }
    }

    /// Whether a party may take so much where others wait.
    pub(crate) fn is_within(&self, party: u64, amount: u64, now: Timestamp) -> bool {
        let own = self.cells(party).map(|cell| self.used(cell, now)).fold(f32::MAX, f32::min);
        let others = self.rows[0].iter().filter(|cell| self.used(cell, now) > self.whole * ACTIVE).count();
        own + amount as f32 <= self.whole / others.max(1) as f32
    }

    /// Counts what a party took.
    pub(crate) fn record(&self, party: u64, amount: u64, now: Timestamp) {
        for cell in self.cells(party) {
            cell.update(now, |before| {
                let faded = before.map_or(0.0, |(used, age)| used * age.decay(self.half_life));
                Some(faded + amount as f32)
            });
        }
    }

    fn used(&self, cell: &StampedCell, now: Timestamp) -> f32 {
        cell.get(now).map_or(0.0, |(used, age)| used * age.decay(self.half_life))
    }

    fn cells(&self, party: u64) -> impl Iterator<Item = &StampedCell> {
        let places = [party as usize % CELLS, (party >> 32) as usize % CELLS];
        self.rows.iter().zip(places).map(|(row, place)| &row[place])
    }
}
