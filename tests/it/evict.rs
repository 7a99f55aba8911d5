//! A full buffer with `when_full = "drop_oldest"`: what the real binary drops is counted, and what it counts is true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, append, until};

/// Bytes of one line: few are needed to fill a buffer.
const LINE_BYTES: usize = 20_000;

/// Lines that are written at a time, and waited for: the well sink is to keep up.
const CHUNK: usize = 300;

fn line(number: usize) -> String {
    format!("line {number:06} {}", "x".repeat(LINE_BYTES))
}

/// Distinct records of each origin, by EventID.
fn by_origin<'a>(records: impl Iterator<Item = &'a Value>) -> BTreeMap<String, u64> {
    let text = |record: &Value, name: &str| record[name].as_str().expect("text").to_owned();
    let ids: BTreeSet<(String, String)> =
        records.map(|record| (text(record, "Origin"), text(record, "EventID"))).collect();
    let mut counts = BTreeMap::new();
    ids.into_iter().for_each(|(origin, _)| *counts.entry(origin).or_default() += 1);
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_sink_misses_is_counted_exactly_over_kills_and_the_well_one_loses_nothing() {
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n[buffer]\nmax_bytes = \"32MiB\"\nwhen_full = \"drop_oldest\"\n\
         [[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n{}",
        azure_sink(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let mut written = 0;
    let mut running = ferry.run();
    for chunk in 0..14 {
        let name = format!("{}.log", chunk % 2);
        append(&ferry.path(&name), (written..written + CHUNK).map(line));
        written += CHUNK;
        // The length alone, as reading it all back takes long.
        until("the well sink to keep up", async || {
            let bytes = std::fs::metadata(ferry.path("out.ndjson")).map_or(0, |found| found.len());
            (bytes >= (written * LINE_BYTES) as u64).then_some(())
        })
        .await;
        if matches!(chunk, 4 | 7 | 9) {
            running.kill();
            running = ferry.run();
        }
    }
    until("a drop", async || running.text().contains("its oldest records were dropped").then_some(())).await;
    let status = until("the state", async || {
        let ended = ferry.call(&["status", "--json"]);
        (ended.code == Some(0)).then(|| serde_json::from_str::<Value>(&ended.stdout).expect("JSON"))
    })
    .await;
    assert_eq!(status["sinks"]["file"]["evicted"], 0, "{status}");
    assert!(status["sinks"]["azure_monitor"]["evicted"].as_u64() > Some(0), "{status}");

    server.fault_rule(|_| None);
    let ended = running.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("dropped from the full buffer"), "{}", ended.stderr);
    let text = std::fs::read_to_string(ferry.path("state/manifests/42.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(manifest["complete"], false);
    let sums = &manifest["sinks"];
    assert_eq!((&sums["file"]["routed"], &sums["file"]["evicted"]), (&json!(written), &json!(0)));
    assert_eq!(sums["azure_monitor"]["buffered"], 0);
    let records = ferry.records("out.ndjson");
    assert_eq!(by_origin(records.iter()).values().sum::<u64>(), written as u64);
    let records: Vec<Value> = server.records().into_iter().map(Value::Object).collect();
    let held = by_origin(records.iter());
    let told = manifest["origin_records"].as_array().expect("origins");
    assert_eq!(told.len(), 2);
    for fields in told {
        let of = |name: &str| fields["sinks"]["azure_monitor"][name].as_u64().expect("a number");
        let delivered = held.get(fields["origin"].as_str().expect("an origin")).copied().unwrap_or(0);
        assert!(of("evicted") > 0, "{fields}");
        assert_eq!(of("routed"), delivered + of("evicted") + of("buffered") + of("dead_lettered"), "{fields}");
    }
}
