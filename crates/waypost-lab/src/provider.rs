//! A simulated provider at work: a queue before a number of servers.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use crate::Arrival;
use crate::outcome::{Ending, Fault};
use crate::profile::{ProviderProfile, Service, Trouble};

/// Identifies a running request.
pub(crate) type RequestIndex = usize;

/// A simulated provider at work.
#[derive(Debug)]
pub(crate) struct Provider {
    profile: ProviderProfile,
    /// The length of the run, which episodes are parts of.
    run: Duration,
    serving: u32,
    waiting: VecDeque<RequestIndex>,
    /// The minute that is counted, and the requests admitted in it.
    minute: (u64, u32),
    /// Request-seconds in the system so far, and until when they are counted.
    occupied: (f64, Duration),
}

/// What a provider does with a request that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    /// It is served at once.
    Serve,
    /// It waits; [`Provider::finish`] will name it.
    Queue,
    /// It is refused.
    Refuse(Fault),
}

impl Provider {
    pub(crate) fn new(profile: ProviderProfile, run: Duration) -> Self {
        Self {
            profile,
            run,
            serving: 0,
            waiting: VecDeque::new(),
            minute: (0, 0),
            occupied: (0.0, Duration::ZERO),
        }
    }

    pub(crate) fn receive(&mut self, request: RequestIndex, now: Duration) -> Reception {
        self.count_until(now);
        if self.is_over_rate(now) {
            return Reception::Refuse(Fault::RateLimited);
        }
        if self.serving < self.profile.concurrency.max(1) {
            self.serving += 1;
            return Reception::Serve;
        }
        if self.waiting.len() >= self.profile.queue as usize {
            return Reception::Refuse(Fault::Overloaded);
        }
        self.waiting.push_back(request);
        Reception::Queue
    }

    /// How a request that begins to be served now will end, and when.
    pub(crate) fn serve(
        &self,
        arrival: &Arrival,
        now: Duration,
        rng: &mut Xoshiro256PlusPlus,
    ) -> (Ending, Service) {
        let (mut error_rate, mut fault, mut slowdown) = (self.profile.error_rate, Fault::ServerError, 1.0);
        for trouble in self.troubles(now) {
            match trouble {
                Trouble::Outage { error_rate: outage } => (error_rate, fault) = (outage, Fault::Unavailable),
                Trouble::BrownOut { slowdown: factor } => slowdown *= factor,
            }
        }
        if rng.random::<f64>() < error_rate {
            return (Ending::Failed(fault), self.failing());
        }
        (Ending::Answered, self.profile.service.sample(arrival.completion, slowdown, rng))
    }

    /// The time that a failure takes.
    pub(crate) const fn failing(&self) -> Service {
        Service { first_token: self.profile.time_to_fail, total: self.profile.time_to_fail }
    }

    /// A request is done; names the one that is served next.
    pub(crate) fn finish(&mut self, now: Duration) -> Option<RequestIndex> {
        self.count_until(now);
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.serving -= 1;
        }
        next
    }

    /// Requests in the system at a time, on average until the last event.
    pub(crate) fn mean_in_system(&self) -> f64 {
        let (area, until) = self.occupied;
        if until.is_zero() { 0.0 } else { area / until.as_secs_f64() }
    }

    /// Counts what has been in the system since the last event.
    fn count_until(&mut self, now: Duration) {
        let in_system = self.serving as usize + self.waiting.len();
        let (area, until) = &mut self.occupied;
        *area += in_system as f64 * now.saturating_sub(*until).as_secs_f64();
        *until = now.max(*until);
    }

    fn troubles(&self, now: Duration) -> impl Iterator<Item = Trouble> {
        let part = now.as_secs_f64() / self.run.as_secs_f64().max(f64::MIN_POSITIVE);
        self.profile.episodes.iter().filter(move |e| e.from <= part && part < e.until).map(|e| e.trouble)
    }

    fn is_over_rate(&mut self, now: Duration) -> bool {
        let Some(limit) = self.profile.rate_limit else { return false };
        let minute = now.as_secs() / 60;
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        self.minute.1 = self.minute.1.saturating_add(1);
        self.minute.1 > limit.requests_per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Episode, RateLimit, ServiceTime};
    use rand::SeedableRng;
    use waypost::core::Tokens;

    const SECOND: Duration = Duration::from_secs(1);

    fn profile() -> ProviderProfile {
        ProviderProfile {
            service: ServiceTime::Exponential { mean: SECOND },
            concurrency: 1,
            queue: 1,
            rate_limit: None,
            error_rate: 0.0,
            time_to_fail: Duration::ZERO,
            episodes: Vec::new(),
        }
    }

    #[test]
    fn serves_then_queues_then_refuses() {
        let mut provider = Provider::new(profile(), SECOND);
        let receptions = [0, 1, 2].map(|request| provider.receive(request, Duration::ZERO));
        assert_eq!(receptions, [Reception::Serve, Reception::Queue, Reception::Refuse(Fault::Overloaded)]);
        assert_eq!(provider.finish(SECOND), Some(1));
        assert_eq!(provider.finish(SECOND * 3), None);
        assert_eq!(provider.mean_in_system(), (2.0 + 2.0) / 3.0);
        assert_eq!(provider.receive(3, SECOND * 3), Reception::Serve);
    }

    #[test]
    fn the_limiter_opens_again_with_the_next_minute() {
        let limit = RateLimit { requests_per_minute: 2 };
        let mut provider =
            Provider::new(ProviderProfile { rate_limit: Some(limit), queue: 9, ..profile() }, SECOND);
        let mut refused = |second| {
            let reception = provider.receive(0, SECOND * second);
            reception == Reception::Refuse(Fault::RateLimited)
        };
        assert_eq!([0, 1, 2, 59, 60].map(&mut refused), [false, false, true, true, false]);
    }

    #[test]
    fn an_outage_fails_requests_while_it_lasts() {
        let outage = Episode { from: 0.4, until: 0.6, trouble: Trouble::Outage { error_rate: 1.0 } };
        let provider = Provider::new(ProviderProfile { episodes: vec![outage], ..profile() }, SECOND * 100);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let arrival = Arrival { at: Duration::ZERO, prompt: Tokens(1), completion: Tokens(1) };
        let mut fails = |second| provider.serve(&arrival, SECOND * second, &mut rng).0 != Ending::Answered;
        assert_eq!([0, 39, 40, 59, 60].map(&mut fails), [false, false, true, true, false]);
    }
}
