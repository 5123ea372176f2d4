//! Who may be sent a request.

use waypost_core::{CandidateIndex, Timestamp};

use super::{PoolHealth, Seat, Standing};
use crate::admission::{SharedPermits, Ticket};
use crate::circuit::Permit;
use crate::sync::Ordering;

/// A breaker let nobody pass.
struct Refused;

impl PoolHealth {
    /// Lets one request pass to a candidate, or not.
    #[inline]
    pub(crate) fn admit(&self, index: CandidateIndex, now: Timestamp, panic: bool) -> Option<Ticket> {
        let seat = &self.seats[index.get()];
        if panic != self.state.panicking.load(Ordering::Relaxed) {
            self.turn_panic(panic, now);
        }
        if self.suspects.has(index) {
            return self.admit_suspect(seat, index, now, panic);
        }
        if !self.is_on() {
            return Some(Ticket::default());
        }
        let shared = SharedPermits::Closed { changes: self.shared_changes() };
        let own = self.permit(seat, 0, now, false).ok()?;
        Some(Ticket { own, shared, era: seat.health.era() })
    }

    pub(super) fn shared_changes(&self) -> u32 {
        self.settings.shared_changes.load(Ordering::Relaxed) as u32
    }

    #[cold]
    fn admit_suspect(
        &self,
        seat: &Seat,
        index: CandidateIndex,
        now: Timestamp,
        panic: bool,
    ) -> Option<Ticket> {
        self.restore_if_over(seat, now);
        match seat.standing(now) {
            Standing::Out(..) => return None,
            Standing::Sick(..) if !panic => return None,
            _ => {}
        }
        let ticket = self.permits(seat, now, panic);
        self.suspects.remove_if(index.get(), || seat.is_well(now));
        ticket
    }

    /// Asks every breaker on the way. If one refuses, all permits are given back.
    fn permits(&self, seat: &Seat, now: Timestamp, panic: bool) -> Option<Ticket> {
        let mut taken = [None, None, None];
        let own = self.permit(seat, 0, now, panic).ok()?;
        for place in 0..taken.len() {
            let Ok(permit) = self.permit(seat, place + 1, now, panic) else {
                seat.give_back(Ticket { own, shared: SharedPermits::Taken(taken), era: 0 });
                return None;
            };
            taken[place] = permit;
        }
        Some(Ticket { own, shared: SharedPermits::Taken(taken), era: seat.health.era() })
    }

    /// Asks one breaker, if there is one. In panic none refuses.
    #[inline]
    fn permit(
        &self,
        seat: &Seat,
        place: usize,
        now: Timestamp,
        panic: bool,
    ) -> Result<Option<Permit>, Refused> {
        let Some(breaker) = seat.breaker(place) else { return Ok(None) };
        let acquired = if panic { Some(breaker.acquire_anyway(now)) } else { breaker.try_acquire(now) };
        let (permit, transition) = acquired.ok_or(Refused)?;
        if let Some(transition) = transition {
            self.changed(seat, place, transition, now);
        }
        Ok(Some(permit))
    }
}
