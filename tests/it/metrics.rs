//! The figures of a running daemon, as a scrape gets them; [`crate::prometheus`] has them stored and asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::delivery::azure_sink;
use crate::http::{address, ask, ready};
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, Running, append, until};

const FILES: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";
const FILE_SINK: &str = "[sinks.file]\npath = \"{dir}/out.ndjson\"\n";
const LISTEN: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";

/// Samples by name and labels, as they stand on the page.
pub type Samples = BTreeMap<String, f64>;

pub fn samples(page: &str) -> Samples {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let mut samples = BTreeMap::new();
    for line in lines {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert_eq!(samples.insert(series.to_owned(), value), None, "twice: {series}");
    }
    samples
}

/// The figures of a daemon.
pub fn scrape(address: &str) -> Option<Samples> {
    let (code, page) = ask(address, "GET /metrics")?;
    assert_eq!(code, 200, "{page}");
    Some(samples(&page))
}

/// The example for agents, which begins with a comment of its own, in the folder of a test.
pub fn agents(more: &str) -> Ferry {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/agent-metrics.toml");
    let config = std::fs::read_to_string(path).expect("the example");
    let mut ferry = Ferry::new(&format!("{LISTEN}{config}{more}"));
    let (logs, records) = (ferry.path("*.log"), ferry.path("out.ndjson"));
    ferry.set("AGENT_LOGS", logs.to_str().expect("UTF-8"));
    ferry.set("RECORDS", records.to_str().expect("UTF-8"));
    ferry
}

/// What agents log.
pub fn agent_lines() -> Vec<String> {
    let event = |event: &str, more: &str| format!("{{\"event_type\":\"{event}\",{more}\"message\":\"m\"}}");
    let mut lines = Vec::new();
    for (task_type, count) in [("plan", 3), ("code", 2)] {
        for _ in 0..count {
            lines.push(event("task_dispatched", &format!("\"task_type\":\"{task_type}\",")));
            lines.push(event("task_started", ""));
        }
    }
    for latency in ["0.4", "1", "12.5"] {
        lines.push(event("task_completed", &format!("\"latency\":{latency},")));
    }
    lines.push(event("task_failed", "\"level\":\"error\",\"error_type\":\"Timeout\","));
    lines.push(event("task_completed", "\"latency\":\"soon\","));
    lines.push("2026-11-20 23:00:33,123 - agent - ERROR - no answer".to_owned());
    lines
}

/// Started, and ready.
async fn start(ferry: &mut Ferry) -> (Running, String) {
    let running = ferry.run();
    let address = address(&running).await;
    ready(&address).await;
    (running, address)
}

/// The figures, once `value` of this series is there.
async fn until_value(address: &str, series: &str, value: f64) -> Samples {
    until(series, async || scrape(address).filter(|samples| samples.get(series) == Some(&value))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_the_contract_is_there_and_what_was_read_adds_up() {
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}{LISTEN}"));
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n} password=hunter{n}")));
    // It belongs to the record before it.
    append(&ferry.path("a.log"), ["Traceback (most recent call last):\n  File \"x\"\nValueError: no".to_owned()]);
    let (running, address) = start(&mut ferry).await;
    until_value(&address, "logferry_sink_records_total{sink=\"file\",outcome=\"delivered\"}", 100.0).await;
    // The source counts what it lags behind when it has looked at its files again.
    let samples = until_value(&address, "logferry_source_lag_bytes{source=\"agent\"}", 0.0).await;
    let figure = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:#?}"));
    let outcomes: f64 = ["recorded", "filtered", "sampled"]
        .iter()
        .map(|outcome| figure(&format!("logferry_lines_total{{outcome=\"{outcome}\"}}")))
        .sum();
    assert_eq!((figure("logferry_read_lines_total"), outcomes), (103.0, 103.0));
    let bytes = std::fs::metadata(ferry.path("a.log")).expect("a file").len();
    assert_eq!(figure("logferry_read_bytes_total"), bytes as f64);
    assert_eq!(figure("logferry_records_total{outcome=\"recorded\"}"), 100.0);
    assert_eq!(figure("logferry_sink_routed_records_total{sink=\"file\"}"), 100.0);
    assert_eq!(figure("logferry_redactions_total{kind=\"password\"}"), 100.0);
    for (series, expected) in [
        ("logferry_source_lines_total{source=\"agent\"}", 103.0),
        ("logferry_sink_lag_records{sink=\"file\"}", 0.0),
        ("logferry_sink_lag_seconds{sink=\"file\"}", 0.0),
        ("logferry_buffer_oldest_seconds", 0.0),
        ("logferry_dead_letters_total", 0.0),
        ("logferry_sink_up{sink=\"file\"}", 1.0),
    ] {
        assert_eq!(figure(series), expected, "{series}");
    }
    let requests = figure("logferry_sink_requests_total{sink=\"file\",status=\"ok\"}");
    assert!(requests >= 1.0 && requests == figure("logferry_sink_request_seconds_count{sink=\"file\"}"));
    assert_eq!(figure("logferry_sink_request_seconds_bucket{sink=\"file\",le=\"+Inf\"}"), requests);
    assert!(figure("logferry_buffer_bytes") > 0.0 && figure("process_resident_memory_bytes") > 1e6);
    assert_eq!(figure(&format!("logferry_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_leave_out_is_a_part_of_what_was_read_and_counts_for_the_users_metrics() {
    let rules = "[[record.drop]]\nname = \"noise\"\nwhen = { Level = \"DEBUG\" }\n\
                 [[record.sample]]\nwhen = { Level = \"INFO\" }\nkeep = 0.0\n\
                 [[record.metric]]\nname = \"lines_seen_total\"\nkind = \"counter\"\nlabels = { level = \"Level\" }\n\
                 [[record.metric]]\nname = \"ones_total\"\nkind = \"counter\"\nwhen = { Fields.n = \"1\" }\n";
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}{LISTEN}{rules}"));
    let levels = [("DEBUG", 30), ("INFO", 20), ("ERROR", 5)];
    for (level, count) in levels {
        append(&ferry.path("a.log"), (0..count).map(|n| format!("2026-11-20 23:00:33,123 - a - {level} - line {n}")));
    }
    append(&ferry.path("a.log"), [1, 2].map(|n| format!("{{\"level\":\"error\",\"message\":\"m\",\"n\":{n}}}")));
    let (running, address) = start(&mut ferry).await;
    let samples = until_value(&address, "logferry_read_lines_total", 57.0).await;
    for (series, expected) in [
        ("logferry_lines_total{outcome=\"recorded\"}", 7.0),
        ("logferry_lines_total{outcome=\"filtered\"}", 30.0),
        ("logferry_lines_total{outcome=\"sampled\"}", 20.0),
        ("logferry_records_total{outcome=\"recorded\"}", 7.0),
        ("logferry_records_total{outcome=\"filtered\"}", 30.0),
        ("logferry_records_total{outcome=\"sampled\"}", 20.0),
        ("logferry_left_out_lines_total{kind=\"drop\",name=\"noise\"}", 30.0),
        ("logferry_left_out_lines_total{kind=\"sample\",name=\"0\"}", 20.0),
        ("lines_seen_total{level=\"DEBUG\"}", 30.0),
        ("lines_seen_total{level=\"INFO\"}", 20.0),
        ("lines_seen_total{level=\"ERROR\"}", 7.0),
        ("ones_total", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series} in {samples:#?}");
    }
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn openmetrics_is_for_who_asks_for_it() {
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}{LISTEN}"));
    let (running, address) = start(&mut ferry).await;
    let request = "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\nx: y";
    // The rest of a request's first line ends up as a header of its own.
    let (code, page) = ask(&address, request).expect("an answer");
    assert!(code == 200 && page.ends_with("# EOF\n"), "{page}");
    assert!(page.contains("# TYPE logferry_read_bytes counter\n# UNIT logferry_read_bytes bytes\n"), "{page}");
    let (_, text) = ask(&address, "GET /metrics").expect("an answer");
    let names = |page: &str| samples(page).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&page), names(&text), "the series have the same names");
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_is_behind_in_records_and_in_time_also_after_a_restart() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = Ferry::new(&format!("{FILES}{}{LISTEN}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let (running, address_before) = start(&mut ferry).await;
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    append(&ferry.path("a.log"), (0..250).map(|n| format!("line {n}")));
    let (lag, seconds) =
        ("logferry_sink_lag_records{sink=\"azure_monitor\"}", "logferry_sink_lag_seconds{sink=\"azure_monitor\"}");
    let refused = "logferry_sink_requests_total{sink=\"azure_monitor\",status=\"503\"}";
    let samples = until("a lag that grows", async || {
        let samples = scrape(&address_before)?;
        let is_late = samples[lag] == 250.0 && samples[seconds] >= 1.0 && samples.contains_key(refused);
        is_late.then_some(samples)
    })
    .await;
    assert_eq!(samples["logferry_sink_up{sink=\"azure_monitor\"}"], 0.0);
    assert!(samples["logferry_buffer_oldest_seconds"] >= samples[seconds] - 1.0);
    running.kill();

    let running = ferry.run();
    let after = address(&running).await;
    append(&ferry.path("a.log"), (250..300).map(|n| format!("line {n}")));
    let samples = until("the backlog and more", async || {
        scrape_when_it_runs(&after).filter(|samples| samples.get(lag) == Some(&300.0))
    })
    .await;
    assert!(samples[seconds] >= 1.0, "it is not younger for the restart: {}", samples[seconds]);
    assert_eq!(samples["logferry_sink_routed_records_total{sink=\"azure_monitor\"}"], 50.0);
    server.fault_rule(|_| None);
    let samples = until_value(&after, lag, 0.0).await;
    assert_eq!(samples["logferry_sink_records_total{sink=\"azure_monitor\",outcome=\"delivered\"}"], 300.0);
    assert_eq!((samples[seconds], samples["logferry_buffer_oldest_seconds"]), (0.0, 0.0));
    assert!(samples["logferry_sink_requests_total{sink=\"azure_monitor\",status=\"204\"}"] >= 1.0);
    assert_eq!(running.stop().code, Some(0));
}

/// The figures of a daemon that may still be starting.
fn scrape_when_it_runs(address: &str) -> Option<Samples> {
    let (code, page) = ask(address, "GET /metrics")?;
    (code == 200).then(|| samples(&page))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_the_example_for_agents_come_out_of_their_lines() {
    let mut ferry = agents("");
    let (running, address) = start(&mut ferry).await;
    let samples = scrape(&address).expect("figures");
    assert_eq!((samples["active_tasks"], samples["task_latency_seconds_count"]), (0.0, 0.0), "there from the start");
    append(&ferry.path("a.log"), agent_lines());
    let samples = until_value(&address, "logferry_read_lines_total", agent_lines().len() as f64).await;
    for (series, expected) in [
        ("logferry_source_format_lines_total{source=\"agent\",format=\"json\"}", 15.0),
        ("logferry_source_format_lines_total{source=\"agent\",format=\"python\"}", 1.0),
        ("tasks_dispatched_total{task_type=\"plan\"}", 3.0),
        ("tasks_dispatched_total{task_type=\"code\"}", 2.0),
        ("errors_encountered_total{error_type=\"Timeout\"}", 1.0),
        ("errors_encountered_total{error_type=\"\"}", 1.0),
        ("active_tasks", 0.0),
        ("task_latency_seconds_bucket{le=\"0.5\"}", 1.0),
        ("task_latency_seconds_bucket{le=\"1.0\"}", 2.0),
        ("task_latency_seconds_bucket{le=\"10.0\"}", 2.0),
        ("task_latency_seconds_bucket{le=\"30.0\"}", 3.0),
        ("task_latency_seconds_sum", 13.9),
        ("task_latency_seconds_count", 3.0),
        ("logferry_metric_skipped_total{metric=\"task_latency_seconds\",reason=\"unfit\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series} in {samples:#?}");
    }
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_hold_no_secret_and_are_as_many_as_they_may_be() {
    let metric = "[[record.metric]]\nname = \"calls_total\"\nkind = \"counter\"\nlabels = { user = \"Fields.user\", key = \"Fields.api_key\" }\n";
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}{LISTEN}{metric}"));
    append(
        &ferry.path("a.log"),
        ["{\"user\":\"a\\\"b\\n\",\"api_key\":\"hunter2hunter2\",\"message\":\"m\"}".to_owned()],
    );
    append(&ferry.path("a.log"), (0..1_200).map(|n| format!("{{\"user\":\"{n}\",\"message\":\"m\"}}")));
    let (running, address) = start(&mut ferry).await;
    let samples = until_value(&address, "logferry_read_lines_total", 1_201.0).await;
    let calls = |samples: &Samples| samples.keys().filter(|series| series.starts_with("calls_total{")).count();
    assert_eq!((calls(&samples), samples["calls_total{overflow=\"true\"}"]), (1_001, 201.0));
    assert_eq!(samples["calls_total{key=\"[REDACTED:api_key]\",user=\"a\\\"b\\n\"}"], 1.0);
    let (_, page) = ask(&address, "GET /metrics").expect("an answer");
    assert!(!page.contains("hunter2"), "{page}");
    assert_eq!(running.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_read_again_after_a_kill_count_in_the_new_process() {
    let mut ferry = agents("");
    append(&ferry.path("a.log"), agent_lines());
    let (running, address) = start(&mut ferry).await;
    until_value(&address, "tasks_dispatched_total{task_type=\"plan\"}", 3.0).await;
    until("the records", async || (ferry.records("out.ndjson").len() == agent_lines().len()).then_some(())).await;
    running.kill();
    let (running, address) = start(&mut ferry).await;
    let samples = scrape(&address).expect("figures");
    // What stands in the log is not read again, and nothing is kept of what was counted.
    assert_eq!(samples.keys().filter(|series| series.starts_with("tasks_dispatched_total")).count(), 0);
    append(&ferry.path("a.log"), agent_lines());
    let samples = until_value(&address, "logferry_read_lines_total", agent_lines().len() as f64).await;
    assert_eq!(samples["tasks_dispatched_total{task_type=\"plan\"}"], 3.0);
    assert_eq!(running.stop().code, Some(0));
}
