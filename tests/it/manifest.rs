//! The manifest of the real binary, held against what its sinks hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, append, until};

const RUN: &str = "[run]\nvm_name = \"vm-7\"\nrun_id = \"r/1\"\n";

/// The manifest file of the run.
fn manifest(ferry: &Ferry) -> Value {
    let text = std::fs::read_to_string(ferry.path("state/manifests/r%2F1.json")).expect("a manifest");
    serde_json::from_str(&text).expect("JSON")
}

/// How many records of each origin a file sink holds, each counted once.
fn held(ferry: &Ferry, name: &str) -> BTreeMap<String, u64> {
    let ids: BTreeMap<String, String> = ferry
        .records(name)
        .iter()
        .map(|record| {
            (record["EventID"].as_str().expect("an id").into(), record["Origin"].as_str().expect("it").into())
        })
        .collect();
    let mut counts = BTreeMap::new();
    for origin in ids.into_values() {
        *counts.entry(origin).or_default() += 1;
    }
    counts
}

/// Fields of the newest manifest record of each origin in a file sink.
fn told(ferry: &Ferry, name: &str) -> BTreeMap<String, Value> {
    let mut newest: BTreeMap<String, Value> = BTreeMap::new();
    for record in ferry.all_records(name).iter().filter(|r| r["EventType"] == "logferry.manifest.origin") {
        let fields = &record["Fields"];
        let known = newest.entry(fields["origin"].as_str().expect("an origin").to_owned()).or_insert(fields.clone());
        if known["incarnation"].as_u64() < fields["incarnation"].as_u64() {
            *known = fields.clone();
        }
    }
    newest
}

/// Lines read = recorded + filtered + sampled, for one origin or a sum.
fn assert_conserved(fields: &Value) {
    let number = |name: &str| fields[name].as_u64().expect("a number");
    assert_eq!(
        number("lines"),
        number("recorded_lines") + number("filtered_lines") + number("sampled_lines"),
        "{fields}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_each_origin_is_what_the_sinks_hold_also_after_kills_and_rotation() {
    const LINES: usize = 6_000;
    let mut ferry = Ferry::new(&format!(
        "{RUN}[[sources.file]]\ninclude = [\"{{dir}}/app.log*\"]\n\
         [sinks.all]\ntype = \"file\"\npath = \"{{dir}}/all.ndjson\"\n\
         [sinks.some]\ntype = \"file\"\npath = \"{{dir}}/some.ndjson\"\nwhen = {{ Level = [\"ERROR\"] }}\n"
    ));
    let log = ferry.path("app.log");
    let writer = std::thread::spawn(move || {
        for chunk in 0..LINES / 100 {
            let level = |n: usize| if n.is_multiple_of(10) { "ERROR" } else { "INFO" };
            let line = |n: usize| format!("2026-11-20 23:00:33,123 - app - {} - line {}", level(n), chunk * 100 + n);
            append(&log, (0..100).map(line));
            if chunk % 7 == 6 {
                std::fs::rename(&log, log.with_extension(format!("log.{chunk}"))).expect("rotation");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    for round in 0..5u64 {
        let running = ferry.run();
        // Not an event that could be awaited: the moment of the kill is the point.
        tokio::time::sleep(std::time::Duration::from_millis(150 + round * 40)).await;
        running.kill();
    }
    writer.join().expect("the writer");
    let running = ferry.run();
    until("every line", async || (held(&ferry, "all.ndjson").values().sum::<u64>() == LINES as u64).then_some(()))
        .await;
    // What is read to its end and deleted has ended: its manifest record comes at once, and it retires.
    std::fs::remove_file(ferry.path("app.log.6")).expect("deletion");
    until("the manifest of one origin", async || (!told(&ferry, "all.ndjson").is_empty()).then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("manifest: run r/1 on vm-7:"), "{}", ended.stderr);

    for (sink, file) in [("all", "all.ndjson"), ("some", "some.ndjson")] {
        let told = told(&ferry, file);
        let routed: BTreeMap<String, u64> = told
            .iter()
            .map(|(origin, fields)| (origin.clone(), fields["sinks"][sink]["routed"].as_u64().expect("a number")))
            .filter(|(_, routed)| *routed > 0)
            .collect();
        assert_eq!(routed, held(&ferry, file), "{sink}");
        for fields in told.values() {
            assert_conserved(fields);
        }
    }
    let summary = manifest(&ferry);
    assert_conserved(&summary);
    assert_eq!((&summary["complete"], &summary["records"]), (&json!(true), &json!(LINES)), "{summary}");
    assert_eq!(summary["retired"], 1);
    assert_eq!(summary["sinks"]["all"]["routed"], LINES);
    assert_eq!(summary["sinks"]["some"]["routed"], LINES / 10);
    assert_eq!(summary["origins"], told(&ferry, "all.ndjson").len());
    let last = ferry.all_records("all.ndjson").pop().expect("a record");
    assert_eq!((&last["EventType"], &last["RunID"]), (&json!("logferry.manifest"), &json!("r/1")));
    assert_eq!((&last["Fields"]["records"], &last["VMName"]), (&json!(LINES), &json!("vm-7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_records_left_says_so_in_the_manifest_and_the_next_one_completes_it() {
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    let mut ferry = Ferry::new(&format!(
        "{RUN}[teardown]\ndeadline = \"2s\"\n[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.file]\npath = \"{{dir}}/out.ndjson\"\n{}",
        azure_sink(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let first = manifest(&ferry);
    assert_eq!((&first["complete"], &first["incarnation"]), (&json!(false), &json!(1)), "{first}");
    assert_eq!(first["sinks"]["azure_monitor"]["buffered"], 100);
    assert_eq!(first["sinks"]["file"]["buffered"], 0);
    // The sink that has everything has the manifest as well.
    let told = told(&ferry, "out.ndjson");
    assert_eq!(told.len(), 1);
    assert!(told.values().all(|fields| fields["complete"] == false));

    server.fault_rule(|_| None);
    server.poison(|record| record["Message"] == "line 7");
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let second = manifest(&ferry);
    assert_eq!((&second["complete"], &second["incarnation"]), (&json!(false), &json!(2)), "{second}");
    let azure = &second["sinks"]["azure_monitor"];
    assert_eq!((&azure["routed"], &azure["buffered"], &azure["dead_lettered"]), (&json!(100), &json!(0), &json!(1)));
    let of_azure = server.read(|ledger| ledger.records.clone());
    let summaries = of_azure
        .iter()
        .filter(|record| record.get("EventType").is_some_and(|event| event == "logferry.manifest"))
        .count();
    assert_eq!((server.records().len(), summaries), (99, 2));
}
