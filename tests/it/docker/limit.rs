//! A rate limit of containers: each stream has its own, by the engine's times, also of what was printed before.

use std::collections::BTreeMap;

use serde_json::Value;

use super::containers::Containers;
use super::{FILE_SINK, Reading, assert_delivered};
use crate::support::ferry::until;

const LINES: u64 = 3_000;

/// Of each container and stream, how many lines stand in records, and how many are said to be left out.
fn streams(records: &[Value]) -> BTreeMap<(String, String), (u64, u64)> {
    let mut streams: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for record in records {
        let text = |column: &str| record[column].as_str().unwrap_or_default().to_owned();
        let of = (text("Container"), text("Stream"));
        match record["EventType"].as_str() {
            None => streams.entry(of).or_default().0 += 1,
            Some("logferry.rate_limit") => {
                streams.entry(of).or_default().1 += record["Fields"]["LeftOutLines"].as_u64().expect("a number");
            }
            Some(_) => {}
        }
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_is_limited_by_itself_and_says_what_is_missing_of_it() {
    let containers = Containers::new("limit").await;
    let limit = "rate_limit = { per_second = 1, burst = 100, then_keep_one_in = 100 }\n";
    let mut reading = Reading::new(&containers, &format!("{limit}[teardown]\nwait_containers = \"0s\"\n{FILE_SINK}"));
    let flood = format!(
        "i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo DEBUG: $i; [ $((i % 100)) = 0 ] && echo ERROR: $i; done; \
         i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo INFO: $i >&2; done; exit 3"
    );
    let before = containers.start("before", &[], &flood);
    containers.wait(&before);
    let running = reading.start().await;
    let live = containers.start("live", &[], &flood);
    containers.wait(&live);
    until("both ends", async || {
        let records = reading.records();
        (records.iter().filter(|record| record["EventType"] == "container.exited").count() == 2).then_some(())
    })
    .await;
    assert_delivered(&running.stop());

    let records = reading.records();
    let streams = streams(&records);
    for container in [&before, &live] {
        let (kept, told) = streams[&(container.clone(), "stdout".to_owned())];
        assert_eq!(kept + told, LINES + LINES / 100, "{container}");
        // The burst, the errors, one in a hundred of the rest, and what a slow machine's seconds give.
        assert!((150..400).contains(&kept), "{container}: {kept}");
        assert_eq!(streams[&(container.clone(), "stderr".to_owned())], (50, 0), "{container}");
        let errors = records.iter().filter(|record| record["Container"] == **container && record["Level"] == "ERROR");
        let errors = errors.filter(|record| record["EventType"].is_null()).count() as u64;
        assert_eq!(errors, LINES / 100, "{container}");
    }
    let manifest = reading.manifest();
    let told: u64 = streams.values().map(|(_, told)| told).sum();
    assert_eq!((manifest["sampled_lines"].as_u64(), &manifest["complete"]), (Some(told), &true.into()), "{manifest}");
}
