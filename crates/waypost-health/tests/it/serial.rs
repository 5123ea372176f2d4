//! What is written and read.

use waypost_health::HealthConfig;

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
    assert_eq!(serde_json::from_str::<HealthConfig>("{}").unwrap(), HealthConfig::default());
    assert!(serde_json::from_str::<HealthConfig>(r#"{"min_helth_threshold": 0.5}"#).is_err());
}
