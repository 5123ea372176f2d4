//! Nothing is allocated in steady state, whether all are well or some are sick.

use waypost_core::Directives;
use waypost_health::{Admission, HealthConfig};

use crate::rig::{Rig, answered, failed};

#[test]
fn deciding_admitting_and_recording_allocate_nothing() {
    for n in [8, 64, 1_000] {
        for sick in [0, n / 10, n / 2] {
            let rig = Rig::of(HealthConfig::default(), n);
            for place in 0..n {
                rig.send_all(place, 5, &if place < sick { failed(500) } else { answered() });
            }
            let (good, bad) = (answered(), failed(503));
            let everything = || {
                let (mut set, mut directives) = (rig.pool.all(), Directives::default());
                let dropped = rig.of_pool.filter_healthy(&mut set, rig.now, &mut directives);
                assert_eq!(dropped, sick);
                let send = |place, result| {
                    let admission =
                        Admission::new(&*rig.of_pool, rig.index(place), rig.now, directives.panic);
                    admission.map(|admission| admission.settle(result, rig.now)).is_some()
                };
                assert!(send(n - 1, &good) && send(n - 2, &bad));
                assert_eq!(send(0, &good), sick == 0);
            };
            everything();
            let counted = allocation_counter::measure(everything);
            assert_eq!(counted.count_total, 0, "{n} candidates, {sick} sick");
        }
    }
}
