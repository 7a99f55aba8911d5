//! What a user sees of the commands: output, messages, exit codes.

use crate::support::ferry::{Ferry, append};

#[test]
fn without_a_configuration_ship_prints_records_and_reports_on_standard_error() {
    let mut ferry = Ferry::new("");
    let log = ferry.path("app.log");
    append(
        &log,
        ["2026-11-20 23:00:33,123 - agent - WARNING - careful".to_owned(), "{\"msg\":\"j\",\"n\":1}".to_owned()],
    );
    let ended = ferry.call_plain(&["ship", log.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["@timestamp"], "2026-11-20T23:00:33.123Z");
    assert_eq!((&records[0]["LoggerName"], &records[0]["Level"]), (&"agent".into(), &"WARNING".into()));
    assert_eq!((&records[1]["Message"], &records[1]["Fields"]["n"]), (&"j".into(), &1.into()));
    assert_eq!((&records[0]["Seq"], &records[1]["Seq"]), (&1.into(), &2.into()));
    assert!(ended.stderr.contains("everything delivered"), "{}", ended.stderr);
}

#[test]
fn a_second_ship_goes_on_where_the_first_ended() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n");
    let log = ferry.path("app.log");
    for round in 0..3 {
        append(&log, (0..5).map(|n| format!("line {round} {n}")));
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let text = std::fs::read_to_string(ferry.path("out/r.ndjson")).expect("records");
        assert_eq!(text.lines().count(), (round + 1) * 5);
    }
    let text = std::fs::read_to_string(ferry.path("out/r.ndjson")).expect("records");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["Message"], &last["Seq"]), (&"line 2 4".into(), &15.into()));
}

#[test]
fn usage_and_configuration_mistakes_end_with_2_and_start_nothing() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclud = [\"/x\"]\n[sinks.elasticsearch]\nendpoints = [\"ftp://x\"]\n");
    for command in [&["run"][..], &["ship"], &["check"]] {
        let ended = ferry.call(command);
        assert_eq!(ended.code, Some(2), "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("include") && ended.stderr.contains("ftp://x"), "{}", ended.stderr);
    }
    assert!(!ferry.path("state").exists());
    assert_eq!(ferry.call_plain(&["ship", "/no/such/file"]).code, Some(2));
    assert_eq!(ferry.call_plain(&["shipp"]).code, Some(2));
}

#[test]
fn two_processes_on_one_state_folder_do_not_meet() {
    let mut ferry =
        Ferry::new("[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out/r.ndjson\"\n");
    let running = ferry.run();
    while !running.text().contains("started") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let ended = ferry.call(&["run"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("in use by process {}", running.id())), "{}", ended.stderr);
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn check_online_says_what_does_not_answer() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.elasticsearch]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [sinks.file]\npath = \"{dir}/out/r.ndjson\"\n[buffer]\nmax_bytes = \"64MiB\"\n",
    );
    let ended = ferry.call(&["check", "--online"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let line = |start: &str| ended.stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("failed  sink elasticsearch").is_some_and(|line| line.contains("127.0.0.1:1")), "{}", ended.stdout);
    assert!(line("ok      sink file").is_some() && line("ok      state.dir").is_some(), "{}", ended.stdout);
}
