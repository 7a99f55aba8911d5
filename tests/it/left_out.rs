//! Rules that drop and sample, and rate limits, in the real binary: what is left out is counted, what has to stay is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::engine::Engine;
use crate::support::ferry::{Ferry, append, until};

const RUN: &str = "[run]\nvm_name = \"vm-7\"\nrun_id = \"r1\"\n";

const RULES: &str = "[[record.drop]]\nname = \"noise\"\nwhen = { LoggerName = \"urllib3*\" }\n\
                     [[record.drop]]\nwhen = { Fields.path = \"/health*\", Message = { regex = \"^GET\\\\b\" } }\n\
                     [[record.sample]]\nname = \"few\"\nwhen = { Level = [\"DEBUG\", \"ERROR\"] }\nkeep = 0.3\n";

/// Steps of every trace of [`line`].
const STEPS: usize = 5;

/// Line `n` of a program: steps of traces in DEBUG, of which others go on meanwhile; and every tenth line something else.
fn line(n: usize) -> Value {
    match n % 10 {
        0 => json!({"level": "ERROR", "logger": "app", "message": format!("error {n}"), "trace_id": format!("e{n}")}),
        1 => json!({"level": "ERROR", "logger": "urllib3.pool", "message": format!("noise {n}")}),
        2 => json!({"level": "INFO", "message": format!("GET {n}"), "path": "/healthz"}),
        3 => json!({"level": "INFO", "message": format!("GOT {n}"), "path": "/healthz"}),
        _ => {
            let step = n / 10 * 6 + n % 10 - 4;
            let trace = step / (STEPS * 20) * 20 + step % 20;
            json!({"level": "DEBUG", "logger": "app", "message": format!("step {n}"), "trace_id": format!("t{trace}")})
        }
    }
}

/// Fields of the run's manifest.
fn manifest(ferry: &Ferry) -> Value {
    let text = std::fs::read_to_string(ferry.path("state/manifests/r1.json")).expect("a manifest");
    serde_json::from_str(&text).expect("JSON")
}

fn number(fields: &Value, name: &str) -> u64 {
    fields[name].as_u64().unwrap_or_else(|| panic!("{name} of {fields}"))
}

/// Messages of the records that begin with a word.
fn messages(records: &[Value], word: &str) -> BTreeSet<String> {
    let texts = records.iter().filter_map(|record| record["Message"].as_str());
    texts.filter(|text| text.starts_with(word)).map(str::to_owned).collect()
}

/// Lines that records say were left out by a rate limit.
fn told(records: &[Value]) -> u64 {
    let events = records.iter().filter(|record| record["EventType"] == "logferry.rate_limit");
    events.map(|record| number(&record["Fields"], "LeftOutLines")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_says_what_rules_left_out_and_errors_and_whole_traces_stay_over_kills() {
    const LINES: usize = 8_000;
    let mut ferry = Ferry::new(&format!(
        "{RUN}{RULES}[[sources.file]]\ninclude = [\"{{dir}}/app.log\"]\n\
         [sinks.all]\ntype = \"file\"\npath = \"{{dir}}/all.ndjson\"\n\
         [sinks.errors]\ntype = \"file\"\npath = \"{{dir}}/errors.ndjson\"\nwhen = {{ Level = \"ERROR\" }}\n"
    ));
    let log = ferry.path("app.log");
    let writer = std::thread::spawn(move || {
        for chunk in 0..LINES / 100 {
            append(&log, (0..100).map(|n| line(chunk * 100 + n).to_string()));
            std::thread::sleep(Duration::from_millis(15));
        }
    });
    for round in 0..5u64 {
        let running = ferry.run();
        // Not an event that could be awaited: the moment of the kill is the point.
        tokio::time::sleep(Duration::from_millis(150 + round * 40)).await;
        running.kill();
    }
    writer.join().expect("the writer");
    let running = ferry.run();
    let last = format!("error {}", LINES - 10);
    until("the last error", async || messages(&ferry.records("all.ndjson"), "error").contains(&last).then_some(()))
        .await;
    let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).expect("JSON");
    let rules: Vec<(&Value, &Value)> =
        status["left_out"].as_array().expect("a list").iter().map(|rule| (&rule["kind"], &rule["name"])).collect();
    let expected = [("drop", "noise"), ("drop", "1"), ("sample", "few")].map(|(kind, name)| (json!(kind), json!(name)));
    assert_eq!(rules, expected.iter().map(|(kind, name)| (kind, name)).collect::<Vec<_>>());
    let shown = ferry.call(&["status"]).stdout;
    assert!(shown.contains("left out by sample few: "), "{shown}");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let records = ferry.records("all.ndjson");
    let ids: BTreeSet<&str> = records.iter().map(|record| record["EventID"].as_str().expect("an id")).collect();
    let of = |kind: &str, digit: usize| -> BTreeSet<String> {
        (0..LINES).filter(|n| n % 10 == digit).map(|n| format!("{kind} {n}")).collect()
    };
    assert_eq!(messages(&records, "error"), of("error", 0), "no error is sampled");
    assert_eq!(messages(&records, "noise"), BTreeSet::new());
    assert_eq!(messages(&records, "GET"), BTreeSet::new());
    assert_eq!(messages(&records, "GOT"), of("GOT", 3));
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in (0..LINES).map(line).filter(|line| line["level"] == "DEBUG") {
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        written.entry(text("trace_id")).or_default().insert(text("message"));
    }
    let mut kept: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records.iter().filter(|record| record["Level"] == "DEBUG") {
        let text = |key: &str| record[key].as_str().expect("text").to_owned();
        kept.entry(text("TraceID")).or_default().insert(text("Message"));
    }
    for (trace, steps) in &kept {
        assert_eq!(Some(steps), written.get(trace), "trace {trace} is there as a whole");
    }
    let share = kept.len() as f64 / written.len() as f64;
    assert!((0.25..0.35).contains(&share), "{} of {} traces", kept.len(), written.len());

    let summary = manifest(&ferry);
    let steps = kept.values().map(BTreeSet::len).sum::<usize>();
    assert_eq!(summary["complete"], true, "{summary}");
    assert_eq!(number(&summary, "lines"), LINES as u64);
    assert_eq!(number(&summary, "filtered_lines"), LINES as u64 / 5);
    assert_eq!(number(&summary, "sampled_lines"), (LINES / 10 * 6 - steps) as u64);
    assert_eq!(number(&summary, "recorded_lines"), ids.len() as u64);
    assert_eq!(number(&summary["sinks"]["all"], "routed"), ids.len() as u64);
    assert_eq!(number(&summary["sinks"]["errors"], "routed"), LINES as u64 / 10);
    let seqs: BTreeSet<u64> = records.iter().map(|record| number(record, "Seq")).collect();
    assert_eq!((seqs.first(), seqs.last(), seqs.len()), (Some(&1), Some(&(ids.len() as u64)), ids.len()), "no gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_left_out_whole_and_the_report_says_by_which_rule() {
    let mut ferry = Ferry::new(&format!(
        "{RUN}[[record.drop]]\nname = \"all-of-it\"\nwhen = {{ Message = \"*\" }}\n\
         [[sources.file]]\ninclude = [\"{{dir}}/app.log\"]\n[sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"
    ));
    append(&ferry.path("app.log"), (0..20_000).map(|n| format!("line {n}")));
    for lines in [20_000, 20_001] {
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("left out: drop all-of-it"), "{}", ended.stderr);
        let summary = manifest(&ferry);
        assert_eq!((number(&summary, "lines"), number(&summary, "filtered_lines")), (lines, lines));
        assert_eq!((&summary["complete"], &summary["records"]), (&json!(true), &json!(0)));
        append(&ferry.path("app.log"), ["one more".to_owned()]);
    }
    assert!(ferry.records("out.ndjson").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_limited_from_its_arrival_on_and_the_records_say_exactly_how_much_is_missing() {
    const BACKLOG: usize = 3_000;
    const FLOOD: usize = 20_000;
    let mut ferry = Ferry::new(&format!(
        "{RUN}[[sources.file]]\nname = \"app\"\ninclude = [\"{{dir}}/app.log\"]\n\
         rate_limit = {{ per_second = 10, burst = 100, then_keep_one_in = 50 }}\n\
         [sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"
    ));
    let log = ferry.path("app.log");
    append(&log, (0..BACKLOG).map(|n| format!("old {n}")));
    let running = ferry.run();
    until("the backlog", async || (messages(&ferry.records("out.ndjson"), "old").len() == BACKLOG).then_some(())).await;
    let level = |n: usize| if n.is_multiple_of(100) { "ERROR: e" } else { "DEBUG: d" };
    append(&log, (0..FLOOD).map(|n| format!("{} {n}", level(n))));
    until("word of what is missing", async || (told(&ferry.records("out.ndjson")) > 0).then_some(())).await;
    // What was left out and not told yet is told after the kill.
    append(&log, (0..FLOOD).map(|n| format!("{} {}", level(n), FLOOD + n)));
    running.kill();
    let running = ferry.run();
    let last = format!("e {}", 2 * FLOOD - 100);
    until("the last error", async || messages(&ferry.records("out.ndjson"), "e ").contains(&last).then_some(())).await;
    append(&log, (0..FLOOD).map(|n| format!("{} {}", level(n), 2 * FLOOD + n)));
    let last = format!("e {}", 3 * FLOOD - 100);
    until("the last error", async || messages(&ferry.records("out.ndjson"), "e ").contains(&last).then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("left out: rate_limit app "), "{}", ended.stderr);

    let records = ferry.records("out.ndjson");
    let errors: BTreeSet<String> = (0..3 * FLOOD).step_by(100).map(|n| format!("e {n}")).collect();
    assert_eq!(messages(&records, "e "), errors, "no error is left out");
    let summary = manifest(&ferry);
    assert_eq!(summary["complete"], true, "{summary}");
    assert_eq!(told(&records), number(&summary, "sampled_lines"));
    assert!(number(&summary, "sampled_lines") > FLOOD as u64, "{summary}");
    assert_eq!(number(&summary, "lines"), (BACKLOG + 3 * FLOOD) as u64);
    assert_eq!(number(&summary, "lines"), number(&summary, "recorded_lines") + number(&summary, "sampled_lines"));
    let ids: BTreeSet<&str> = records.iter().map(|record| record["EventID"].as_str().expect("an id")).collect();
    assert_eq!(number(&summary["sinks"]["file"], "routed"), ids.len() as u64);
    let limits = records.iter().filter(|record| record["EventType"] == "logferry.rate_limit");
    assert!(
        limits.clone().all(|record| record["Source"] == "app" && record["FilePath"] == *log.to_str().expect("UTF-8"))
    );
    assert!(limits.count() < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_takes_a_run_of_which_lines_were_left_out_as_equal() {
    for engine in Engine::both().await {
        let stream = engine.data_stream("left-out").await;
        let run = logferry::record::OriginId::random().expect("random bits");
        let mut ferry = Ferry::new(&format!(
            "[run]\nvm_name = \"vm-7\"\nrun_id = \"{run}\"\n{RULES}[[sources.file]]\ninclude = [\"{{dir}}/app.log\"]\n\
             [sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{stream}\"\n",
            engine.url
        ));
        append(&ferry.path("app.log"), (0..2_000).map(|n| line(n).to_string()));
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let verified = ferry.call(&["verify", "--run-id", &run.to_string(), "--json"]);
        assert_eq!(verified.code, Some(0), "{}: {}{}", engine.name, verified.stdout, verified.stderr);
    }
}
