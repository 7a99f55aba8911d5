//! `tap`: live records of a running daemon.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::ChildStdout;

use serde_json::Value;

use crate::support::ferry::{Ferry, Running, append, until};

const CONFIG: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n\
                      [sinks.all]\ntype = \"file\"\npath = \"{dir}/all.ndjson\"\n\
                      [sinks.bad]\ntype = \"file\"\npath = \"{dir}/bad.ndjson\"\nwhen = { Level = [\"ERROR\"] }\n";

/// A daemon whose socket is there.
async fn start(ferry: &mut Ferry) -> Running {
    let running = ferry.run();
    let socket = ferry.path("state/control.sock");
    until("the socket", async || std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(())).await;
    running
}

/// A tap that shows what comes from now on.
async fn tap(ferry: &mut Ferry, arguments: &[&str]) -> (Running, BufReader<ChildStdout>) {
    let (tap, output) = ferry.spawn(&[&["tap"], arguments].concat());
    until("the tap", async || tap.text().contains("from now on").then_some(())).await;
    (tap, BufReader::new(output))
}

/// Messages of the next records.
fn messages(output: &mut BufReader<ChildStdout>, count: usize) -> Vec<String> {
    let record = |line: std::io::Result<String>| serde_json::from_str::<Value>(&line.expect("a line")).expect("JSON");
    output.lines().take(count).map(|line| record(line)["Message"].as_str().expect("text").to_owned()).collect()
}

fn line(level: &str, text: &str) -> String {
    format!("{{\"level\":\"{level}\",\"message\":\"{text}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn taps_show_what_comes_once_and_each_what_its_sink_gets() {
    let mut ferry = Ferry::new(CONFIG);
    let log = ferry.path("a.log");
    append(&log, [line("ERROR", "before")]);
    let daemon = start(&mut ferry).await;
    assert_eq!(ferry.call(&["drain"]).code, Some(0));
    let (all, mut all_output) = tap(&mut ferry, &[]).await;
    let (bad, mut bad_output) = tap(&mut ferry, &["--sink", "bad"]).await;
    append(&log, (0..10).map(|n| line(if n % 5 == 0 { "ERROR" } else { "INFO" }, &format!("n{n}"))));
    let expected: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    assert_eq!(messages(&mut all_output, 10), expected);
    assert_eq!(messages(&mut bad_output, 2), ["n0", "n5"]);
    // Ctrl-C ends a tap in order.
    bad.signal("INT");
    assert_eq!(bad.wait().code, Some(0));
    // What is read while the daemon stops is shown too, and its end is said.
    append(&log, [line("INFO", "last")]);
    assert_eq!(daemon.stop().code, Some(0));
    let mut rest = String::new();
    all_output.read_to_string(&mut rest).expect("text");
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let own: Vec<&Value> = rest.iter().filter(|record| record["Source"] != "logferry").collect();
    assert_eq!(own.len(), 1, "{rest:?}");
    assert_eq!(own[0]["Message"], "last");
    // The same bytes as the sink that gets everything, manifests included: it had one record before.
    assert_eq!(rest.as_slice(), &ferry.all_records("all.ndjson")[ferry.all_records("all.ndjson").len() - rest.len()..]);
    let ended = all.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("has ended"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_pretty_when_asked_and_ends_when_its_reader_goes_or_the_daemon_is_killed() {
    let mut ferry = Ferry::new(CONFIG);
    let log = ferry.path("a.log");
    let daemon = start(&mut ferry).await;
    let (pretty, mut output) = tap(&mut ferry, &["--format", "pretty"]).await;
    append(&log, ["2026-11-20 23:00:33,123 - agent - WARNING - careful".to_owned()]);
    let mut shown = String::new();
    output.read_line(&mut shown).expect("text");
    assert_eq!(shown, "2026-11-20T23:00:33.123Z WARNING  agent | careful\n");
    // Its reader goes, as `head` does; no further record comes.
    drop(output);
    let ended = pretty.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("has ended") && !ended.stderr.contains("pipe"), "{}", ended.stderr);
    let (busy, mut output) = tap(&mut ferry, &[]).await;
    append(&log, (0..20_000).map(|n| line("INFO", &format!("{n}"))));
    assert_eq!(messages(&mut output, 1), ["0"]);
    drop(output);
    let ended = busy.wait();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{}", ended.stderr);
    let (tap, _output) = tap(&mut ferry, &[]).await;
    daemon.kill();
    let ended = tap.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("has ended"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tapped_is_said() {
    let mut ferry = Ferry::new(CONFIG);
    let ended = ferry.call(&["tap"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("no daemon is running on state.dir"), "{}", ended.stderr);
    let daemon = start(&mut ferry).await;
    let ended = ferry.call(&["tap", "--sink", "none"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("there is no sink none; there is all, bad"), "{}", ended.stderr);
    let mut taps = Vec::new();
    for _ in 0..4 {
        taps.push(tap(&mut ferry, &[]).await);
    }
    let ended = ferry.call(&["tap"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("4 taps are open already"), "{}", ended.stderr);
    // The others are no worse for it, and one that ends makes room.
    assert_eq!(ferry.call(&["status"]).code, Some(0));
    let (first, _) = taps.remove(0);
    first.signal("TERM");
    assert_eq!(first.wait().code, Some(0));
    until("room", async || {
        let (tap, _output) = ferry.spawn(&["tap"]);
        until("an answer", async || (!tap.text().is_empty()).then_some(())).await;
        tap.text().contains("from now on").then_some(())
    })
    .await;
    assert_eq!(daemon.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_nobody_reads_holds_nothing_back_and_is_told_what_it_missed() {
    const LINES: usize = 60_000;
    let mut ferry = Ferry::new(CONFIG);
    let log = ferry.path("a.log");
    let daemon = start(&mut ferry).await;
    let (tap, mut output) = tap(&mut ferry, &[]).await;
    let text = "x".repeat(400);
    append(&log, [(0..LINES).map(|n| line("INFO", &format!("{n} {text}"))).collect::<Vec<_>>().join("\n")]);
    let drained = ferry.call(&["drain"]);
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    assert_eq!(ferry.records("all.ndjson").len(), LINES);
    // Now it is read: what it shows and what it says to have left out is all that there was.
    append(&log, [line("INFO", "end")]);
    let mut seen = Vec::new();
    for record in (&mut output).lines() {
        let record: Value = serde_json::from_str(&record.expect("a line")).expect("JSON");
        if record["Source"] != "logferry" {
            seen.push(record["Seq"].as_u64().expect("a Seq"));
        }
        if record["Message"] == "end" {
            break;
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "in order, and none twice");
    assert_eq!(daemon.stop().code, Some(0));
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("bytes");
    let ended = tap.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let words = |line: &str| line.strip_prefix("logferry: ")?.split_once(" record")?.0.parse::<u64>().ok();
    let left_out: Vec<u64> = ended.stderr.lines().filter(|line| line.contains("left out")).filter_map(words).collect();
    assert!(!left_out.is_empty(), "{}", ended.stderr);
    let sum = left_out.iter().sum::<u64>();
    // The manifest of the drain is two records; it may be among what was left out.
    let missing = (LINES + 1 - seen.len()) as u64;
    assert!((missing..=missing + 2).contains(&sum), "{missing} are missing, left out {left_out:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_comes_again_and_ends_with_its_reader_or_its_daemon() {
    let mut ferry = Ferry::new(CONFIG);
    let daemon = start(&mut ferry).await;
    let (first, output) = ferry.spawn(&["status", "--watch"]);
    let mut output = BufReader::new(output);
    let mut heads = 0;
    while heads < 2 {
        let mut shown = String::new();
        assert!(output.read_line(&mut shown).expect("text") > 0, "{}", first.text());
        heads += usize::from(shown.starts_with("logferry ") && shown.contains(&format!("process {}", daemon.id())));
    }
    drop(output);
    assert_eq!(first.wait().code, Some(0));
    let (second, mut output) = ferry.spawn(&["status", "--watch"]);
    let mut shown = [0; 1];
    output.read_exact(&mut shown).expect("a status");
    assert_eq!(daemon.stop().code, Some(0));
    let ended = second.wait();
    // It may have asked just when the daemon ended.
    assert!(ended.code == Some(1) && ended.stderr.contains("daemon"), "{}", ended.stderr);
}
