//! A dry run over containers: their logs are counted from the start, and a `ship` afterwards has them all.

use serde_json::Value;

use super::containers::Containers;
use super::{FILE_SINK, Reading};

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_counted_from_their_start_and_shipped_whole_afterwards() {
    let containers = Containers::new("dry").await;
    let mut reading = Reading::new(&containers, FILE_SINK);
    let ended = containers.start("ended", &[], "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo INFO: line $i; done");
    containers.wait(&ended);
    for _ in 0..2 {
        let dry = reading.ferry.call(&["ship", "--dry-run", "--json"]);
        assert_eq!(dry.code, Some(0), "{}", dry.stderr);
        let dry: Value = serde_json::from_str(&dry.stdout).expect("JSON");
        let logger = format!("docker.{ended}");
        let group = dry["loggers"].as_array().and_then(|all| all.iter().find(|group| group["logger"] == *logger));
        let group = group.unwrap_or_else(|| panic!("{logger}: {dry}"));
        // Its lines, and the record of its end.
        assert_eq!((&group["records"], &group["source"]), (&201.into(), &"containers".into()), "{dry}");
        assert!(!reading.ferry.path("state").exists() && reading.records().is_empty(), "nothing is kept or sent");
    }
    let shipped = reading.ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    assert_eq!(reading.records().len(), 201);
}
