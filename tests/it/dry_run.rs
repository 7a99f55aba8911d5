//! `logferry ship --dry-run`: figures only, nothing sent, nothing kept.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::ferry::{Ended, Ferry, append};

/// Two sources and two sinks, one of which takes errors only; nobody answers at the first.
const CONFIG: &str = "\
[[sources.file]]
name = \"agent\"
include = [\"{dir}/in/*.log\"]
[[sources.file]]
name = \"other\"
include = [\"{dir}/more/*.log\"]
[sinks.elasticsearch]
endpoints = [\"http://127.0.0.1:1\"]
api_key_file = \"/no/such/key\"
[sinks.azure_monitor]
endpoint = \"https://x.ingest.monitor.azure.com\"
dcr_id = \"dcr-00000000000000000000000000000000\"
stream = \"Custom-X_CL\"
when = { Level = [\"ERROR\"] }
";

fn scene(config: &str) -> Ferry {
    let ferry = Ferry::new(config);
    for folder in ["in", "more"] {
        std::fs::create_dir(ferry.path(folder)).expect("a folder");
    }
    let line =
        |logger: &str, level: &str, n: u32| format!("2026-11-20 10:00:00,{n:03} - {logger} - {level} - message {n}");
    append(&ferry.path("in/a.log"), (0..300).map(|n| line("chatty", "DEBUG", n)));
    append(&ferry.path("in/a.log"), (0..20).map(|n| line("core", "ERROR", n)));
    append(&ferry.path("more/b.log"), (0..7).map(|n| format!("plain {n}")));
    ferry
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.stdout, ended.stderr))
}

#[test]
fn the_report_counts_by_source_logger_and_level_and_what_each_sink_would_get() {
    let mut ferry = scene(CONFIG);
    let ended = ferry.call(&["ship", "--dry-run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let words = |start: &str| -> Vec<String> {
        let line = ended
            .stdout
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {}", ended.stdout));
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words("agent   chatty")[..4], ["agent", "chatty", "DEBUG", "300"]);
    assert_eq!(words("agent   core")[..4], ["agent", "core", "ERROR", "20"]);
    assert_eq!(words("other   -")[..4], ["other", "-", "-", "7"]);
    assert_eq!(words("all")[..2], ["all", "327"]);
    assert_eq!(words("elasticsearch")[..3], ["elasticsearch", "327", "0"]);
    let azure = words("azure_monitor");
    assert_eq!(azure[..3], ["azure_monitor", "20", "307"]);
    assert!(ended.stdout.contains("GB billed") && !ended.stdout.contains("NOT ALL"), "{}", ended.stdout);
    assert!(!ferry.path("state").exists(), "no state is kept");
}

#[test]
fn the_bytes_are_those_that_ship_writes_and_a_ship_afterwards_ships_everything() {
    let mut ferry = scene(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/in/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
    );
    let dry = ferry.call(&["ship", "--dry-run", "--json"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    let dry = json(&dry);
    assert!(!ferry.path("out").exists() && !ferry.path("state").exists());
    let again = json(&ferry.call(&["ship", "--dry-run", "--json"]));
    assert_eq!(again, dry, "as if nothing had been");
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let written = std::fs::read_to_string(ferry.path("out/r.ndjson")).expect("records");
    let own: Vec<&str> = written.lines().filter(|line| !line.contains("\"logferry.manifest")).collect();
    let bytes: usize = own.iter().map(|line| line.len() + 1).sum();
    assert_eq!((own.len(), dry["records"].as_u64()), (320, Some(320)));
    assert_eq!(dry["bytes"].as_u64(), Some(bytes as u64), "{dry}");
    assert_eq!(dry["sinks"][0]["bytes"], dry["bytes"]);
    assert_eq!((&dry["complete"], &dry["lines"]), (&Value::Bool(true), &320.into()));
    // What has been shipped is counted again: from the start.
    assert_eq!(json(&ferry.call(&["ship", "--dry-run", "--json"]))["records"], 320);
    assert_eq!(ferry.call(&["ship"]).code, Some(0));
    assert_eq!(ferry.records("out/r.ndjson").len(), 320);
}

#[test]
fn it_does_not_meet_a_running_daemon() {
    let mut ferry = scene(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/in/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
    );
    let running = ferry.run();
    while !running.text().contains("started") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let dry = json(&ferry.call(&["ship", "--dry-run", "--json"]));
    assert_eq!(dry["records"], 320);
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(ferry.records("out/r.ndjson").len(), 320);
}

#[test]
fn paths_and_standard_input_are_counted_without_a_configuration() {
    let mut ferry = scene("");
    let ended = ferry.call_plain(&["ship", "--dry-run", "--json", ferry.path("in/a.log").to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(json(&ended)["loggers"][0]["logger"], "chatty");
    let mut child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(["ship", "--dry-run", "--json", "-"])
        .env_remove("LOGFERRY_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("logferry starts");
    child.stdin.take().expect("a pipe").write_all(b"one\ntwo\n").expect("write");
    let output = child.wait_with_output().expect("it ends");
    let counted: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &counted["records"]), (Some(0), &2.into()));
    assert_eq!(counted["loggers"][0]["source"], "stdin");
}

#[test]
fn what_a_sink_has_written_and_the_state_are_no_input() {
    let mut ferry = scene("[sinks.file]\npath = \"{dir}/in/records.log\"\n");
    let folder = ferry.path("in").display().to_string();
    assert_eq!(ferry.call(&["ship", &folder]).code, Some(0));
    assert!(ferry.path("in/records.log").exists());
    let dry = json(&ferry.call(&["ship", "--dry-run", "--json", &folder]));
    assert_eq!(dry["records"], 320, "{dry}");
}

#[test]
fn more_loggers_than_fit_are_summed() {
    let mut ferry = scene("");
    let many = ferry.path("many.log");
    append(&many, (0..50).map(|n| format!("2026-11-20 10:00:00,000 - logger{n} - INFO - {}", "x".repeat(100 - n))));
    let ended = ferry.call_plain(&["ship", "--dry-run", many.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = ended.stdout.lines().filter(|line| line.contains("logger") && line.contains("INFO")).count();
    assert_eq!(rows, 20, "{}", ended.stdout);
    let others = ended.stdout.lines().find(|line| line.contains("(all others)")).expect("a sum");
    assert!(others.split_whitespace().any(|word| word == "30"), "{others}");
}

#[test]
fn what_a_rule_leaves_out_costs_nothing_and_is_counted() {
    let mut ferry = scene(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/in/*.log\"]\n[sinks.console]\n\
         [[record.drop]]\nname = \"noise\"\nwhen = { LoggerName = \"chatty\" }\n",
    );
    let dry = json(&ferry.call(&["ship", "--dry-run", "--json"]));
    assert_eq!((&dry["lines"], &dry["records"]), (&320.into(), &20.into()), "{dry}");
    assert_eq!(dry["left_out"], serde_json::json!([{"rule": "drop noise", "lines": 300}]));
}

#[test]
fn nothing_to_read_and_a_mistake_end_with_2() {
    let mut ferry = Ferry::new("[sinks.console]\n");
    let ended = ferry.call(&["ship", "--dry-run"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("nothing to read"), "{}", ended.stderr);
    assert_eq!(ferry.call(&["ship", "--json", "x"]).code, Some(2), "only with --dry-run");
    ferry.configure("[buffer]\nmax_byte = 1\n");
    assert_eq!(ferry.call(&["ship", "--dry-run"]).code, Some(2));
}

/// Most memory that a dry run may take, in KiB: a fraction of what it reads here.
const MEMORY_MAX_KIB: u64 = 100 * 1024;

#[test]
fn memory_does_not_grow_with_what_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("a.log");
    let line = format!("2026-11-20 23:00:33,123 - agent.core - INFO - {}\n", "x".repeat(150));
    // 40 MB of lines, which are 90 MB of records.
    std::fs::write(&log, line.repeat(200_000)).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(["ship", "--dry-run", "--json", log.to_str().expect("UTF-8")])
        .env_remove("LOGFERRY_CONFIG")
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("logferry starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("wait").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = peak.max(high.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it ends");
    let counted: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &counted["records"]), (Some(0), &200_000.into()));
    assert!(counted["bytes"].as_u64().is_some_and(|bytes| bytes > 60_000_000), "{counted}");
    assert!((1..MEMORY_MAX_KIB).contains(&peak), "{peak} KiB");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "its state is gone: {left:?}");
}
