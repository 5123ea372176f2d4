//! What is written and read.

use waypost_health::{EjectionConfig, HealthConfig};

use crate::rig::{Rig, failed};

#[test]
fn a_report_is_serialisable_and_settings_come_back_as_they_were() {
    let rig = Rig::of(HealthConfig::default(), 2);
    rig.send_all(0, 5, &failed(529));
    let report = serde_json::to_value(rig.of_pool.report(rig.index(0), rig.now)).unwrap();
    assert_eq!(report["candidate"]["provider"], "p0");
    assert_eq!(report["exclusion"]["reason"], "circuit_open");
    assert_eq!((&report["circuit"], &report["consecutive_failures"]), (&"open".into(), &5.into()));

    let config = HealthConfig { min_samples: 7, ejection: None, ..HealthConfig::default() };
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<HealthConfig>(&text).unwrap(), config);
    let off =
        r#"{"breaker": false, "slow_start": null, "ejection": {"success_rate": false, "max_ejected": 0.3}}"#;
    let off: HealthConfig = serde_json::from_str(off).unwrap();
    assert_eq!((off.breaker, off.slow_start), (None, None));
    let ejection = off.ejection.unwrap();
    assert_eq!((ejection.success_rate, ejection.max_ejected.get()), (None, 0.3));
    assert_eq!(ejection.failure_percentage, EjectionConfig::default().failure_percentage);
    assert!(serde_json::from_str::<HealthConfig>(r#"{"breaker": true}"#).is_err());
    assert!(serde_json::from_str::<HealthConfig>(r#"{"breaker": {"open_fr": 1}}"#).is_err());
    assert_eq!(serde_json::from_str::<HealthConfig>("{}").unwrap(), HealthConfig::default());
    assert!(serde_json::from_str::<HealthConfig>(r#"{"min_helth_threshold": 0.5}"#).is_err());
}
