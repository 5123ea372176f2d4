//! What a newcomer sees first.

use waypost_gateway::demo::Demo;

use crate::rig::{run, until};

#[test]
fn the_demo_serves_its_load_without_an_error() {
    run(async {
        let demo = Demo::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert!(demo.greeting().contains(&demo.address().to_string()));
        until("requests are answered", || {
            demo.table().contains("healthy") && !demo.table().contains(" 0 requests")
        })
        .await;
        assert_eq!(demo.errors(), 0);
        let table = demo.stop().await;
        assert_eq!(table.lines().count(), 7, "{table}");
        assert!(table.contains(" 0 client errors"), "{table}");
    });
}
