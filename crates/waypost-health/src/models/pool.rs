//! HS1 and the bits of suspects: several detectors and an administrator at one candidate.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use waypost_core::{CandidateId, LeftOutReason, LiveSlot};

use super::{at, is_caught};
use crate::condition::CandidateHealth;
use crate::ejection::{EjectionCap, Place};
use crate::pool_health::Seat;
use crate::suspects::{Kind, Suspects};
use crate::{CheckConfig, CheckOutcome, EjectionConfig, HealthConfig};

/// What three parties do to one candidate.
trait Detected: Send + Sync + 'static {
    fn new() -> Self;
    fn eject(&self);
    fn check_passes(&self);
    fn disable(&self);
    fn is_disabled(&self) -> bool;
}

/// The shipped seat.
struct Shipped {
    seat: Seat,
    cap: EjectionCap,
}

impl Detected for Shipped {
    fn new() -> Self {
        let id = CandidateId { provider: "p".parse().expect("a name"), model: "m".parse().expect("a name") };
        let config = HealthConfig { breaker: None, ..HealthConfig::default() };
        let health = CandidateHealth::new(id, Arc::<LiveSlot>::default(), &config);
        let checks = CheckConfig { fall: 1, rise: 1, ..CheckConfig::default() };
        health.checks.report(CheckOutcome::Failed, &checks);
        let seat =
            Seat { health: Arc::new(health), shared: [None, None, None], place: Arc::new(Place::new()) };
        Self { seat, cap: EjectionCap::new() }
    }

    fn eject(&self) {
        self.seat.place.eject(&self.cap, 1, &EjectionConfig::default(), at(5), || 0.5);
    }

    fn check_passes(&self) {
        let checks = CheckConfig { fall: 1, rise: 1, ..CheckConfig::default() };
        self.seat.health.checks.report(CheckOutcome::Passed, &checks);
    }

    fn disable(&self) {
        self.seat.health.disable(true);
    }

    fn is_disabled(&self) -> bool {
        self.seat.exclusion(at(5)) == Some(LeftOutReason::Disabled)
    }
}

/// One word for all three: whoever writes last is believed.
struct LastWord(AtomicU64);

impl Detected for LastWord {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn eject(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    fn check_passes(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn disable(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    fn is_disabled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 2
    }
}

/// HS1: while a check passes and a detector ejects, the administrator wins.
fn the_administrator_wins<D: Detected>() {
    let seat = Arc::new(D::new());
    let spawn = |act: fn(&D)| {
        let seat = Arc::clone(&seat);
        thread::spawn(move || act(&seat))
    };
    let others = [spawn(D::eject), spawn(D::check_passes)];
    seat.disable();
    let meanwhile = seat.is_disabled();
    others.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(meanwhile && seat.is_disabled());
}

#[test]
fn hs_1_an_administrator_wins_over_detectors() {
    loom::model(the_administrator_wins::<Shipped>);
    assert!(is_caught(the_administrator_wins::<LastWord>));
}

/// Looks whether there is room, then takes it.
struct LooksThenTakes(AtomicU64);

impl LooksThenTakes {
    fn eject(&self) -> bool {
        let room = self.0.load(Ordering::Relaxed) < 1;
        if room {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        room
    }
}

/// HS1: of two candidates that are ejected at once where one may be out, one is; and when both a return and a removal
/// meet, its place is given back once.
#[test]
fn hs_1_ejections_never_exceed_the_cap() {
    loom::model(|| {
        let (cap, places) = (Arc::new(EjectionCap::new()), [(); 2].map(|()| Arc::new(Place::new())));
        let eject = |place: &Arc<Place>| {
            let (cap, place) = (Arc::clone(&cap), Arc::clone(place));
            move || place.eject(&cap, 1, &EjectionConfig::default(), at(5), || 0.5).is_some()
        };
        let other = thread::spawn(eject(&places[0]));
        let mine = eject(&places[1])();
        let other = other.join().expect("no panic");
        assert!(mine != other, "one of them");
        assert_eq!(cap.taken(), 1);
        let place = Arc::clone(&places[usize::from(mine)]);
        let leaves = {
            let (cap, place) = (Arc::clone(&cap), Arc::clone(&place));
            thread::spawn(move || place.retire(&cap))
        };
        place.restore(&cap, at(6));
        leaves.join().expect("no panic");
        assert_eq!(cap.taken(), 0);
        let again = place.eject(&cap, 1, &EjectionConfig::default(), at(7), || 0.5);
        assert!(again.is_none(), "who left is never ejected again");
    });
    assert!(is_caught(|| {
        let cap = Arc::new(LooksThenTakes(AtomicU64::new(0)));
        let other = {
            let cap = Arc::clone(&cap);
            thread::spawn(move || cap.eject())
        };
        let (mine, other) = (cap.eject(), other.join().expect("no panic"));
        assert!(!(mine && other));
    }));
}

/// While somebody falls ill and sets the bit, another takes it away because all was well: whoever is ill has a bit.
fn who_is_ill_has_a_bit(remove: fn(&Suspects, &dyn Fn() -> bool)) -> impl Fn() + Sync + Send + 'static {
    move || {
        let (suspects, ill) = (Arc::new(Suspects::new(1)), Arc::new(AtomicBool::new(false)));
        suspects.add(0, Kind::Own);
        let falls = {
            let (suspects, ill) = (Arc::clone(&suspects), Arc::clone(&ill));
            thread::spawn(move || {
                ill.store(true, Ordering::Relaxed);
                suspects.add(0, Kind::Own);
            })
        };
        remove(&suspects, &|| !ill.load(Ordering::Relaxed));
        falls.join().expect("no panic");
        assert!(!suspects.is_empty());
    }
}

#[test]
fn sb_1_whoever_is_ill_has_a_bit() {
    loom::model(who_is_ill_has_a_bit(|suspects, is_well| suspects.remove_if(0, is_well)));
    // The mutant does not look again after it took the bit away.
    assert!(is_caught(who_is_ill_has_a_bit(|suspects, is_well| {
        if is_well() {
            suspects.remove_if(0, || true);
        }
    })));
}
