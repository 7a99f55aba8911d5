//! What the real binary makes of its records on their way to Azure Monitor: bodies that are full and never over, messages in
//! parts, calls that are refused for their size or their times, and times that Azure does not keep.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{Span, Timestamp};
use serde_json::Value;

use crate::chaos::Dice;
use crate::delivery::{azure_ferry, azure_sink};
use crate::support::azure::{AzureServer, AzureSettings, Fault, Record};
use crate::support::ferry::{Ferry, PATIENCE, append, until};

/// Most bytes of a body before compression.
const BODY_MAX_BYTES: usize = 1_000_000;

fn median(mut of: Vec<usize>) -> usize {
    of.sort_unstable();
    of[of.len() / 2]
}

/// What must hold of every body, whatever is in it.
fn assert_within_limits(server: &AzureServer) {
    server.read(|l| {
        assert!(l.max_raw_bytes < BODY_MAX_BYTES && l.bodies_over_promise == 0, "{} bytes", l.max_raw_bytes);
        assert_eq!((l.values_truncated, l.lost_after_204), (0, 0));
        assert!(l.columns_dropped.is_empty(), "{:?}", l.columns_dropped);
    });
}

fn text<'a>(record: &'a Record, column: &str) -> &'a str {
    record.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A backlog that grew in small steps while Azure was away: it costs as few calls as its bytes allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_fills_its_bodies_and_none_is_over_the_limit() {
    const LINES: usize = 30_000;
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    let mut ferry = azure_ferry(&server);
    let running = ferry.run();
    let mut dice = Dice::new(6);
    for chunk in 0..LINES / 100 {
        let line =
            |n: usize, dice: &mut Dice| format!("line {} {}", chunk * 100 + n, "x".repeat(dice.roll(600) as usize));
        append(&ferry.path("a.log"), (0..100).map(|n| line(n, &mut dice)));
    }
    until("everything in the buffer", async || {
        let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).ok()?;
        (status["sinks"]["azure_monitor"]["lag_records"].as_u64()? >= LINES as u64).then_some(())
    })
    .await;
    server.fault_rule(|_| None);
    server.until("all of it", PATIENCE, |l| l.records.len() >= LINES).await;
    let calm = server.read(|l| l.raw_bytes.clone());
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_within_limits(&server);
    let middle = median(calm.clone());
    eprintln!("{} bodies of a backlog, median {middle} bytes, largest {:?}", calm.len(), calm.iter().max());
    assert!(calm.len() > 10 && middle > BODY_MAX_BYTES * 9 / 10, "{calm:?}");
}

/// The length of a message: from 1 byte to 200 KB, each order of magnitude about as often as another.
fn length(dice: &mut Dice) -> usize {
    const MOST: f64 = 200_000.0;
    let share = dice.roll(1 << 20) as f64 / f64::from(1 << 20);
    MOST.powf(share.powf(1.2)).round() as usize
}

/// A line of exactly so many bytes, of all that JSON has to escape and of characters of one to four bytes.
fn line(dice: &mut Dice, bytes: usize) -> String {
    const LETTERS: [char; 16] = ['a', 'e', 'n', 'o', 's', 'u', ' ', '"', '\\', '/', '\t', '\u{1}', 'ü', '€', '😀', '{'];
    let mut line = String::with_capacity(bytes);
    while line.len() + 5 < bytes {
        line.push(LETTERS[dice.roll(LETTERS.len() as u64) as usize]);
    }
    while line.len() < bytes {
        line.push('.');
    }
    line
}

/// The messages of each file, put together from their parts.
fn put_together(records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let mut files: BTreeMap<&str, BTreeMap<u64, &Record>> = BTreeMap::new();
    for record in records {
        let seq = record["Seq"].as_u64().expect("a number");
        assert!(files.entry(text(record, "FilePath")).or_default().insert(seq, record).is_none(), "Seq {seq} twice");
    }
    let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, records) in files {
        let of = messages.entry(file.to_owned()).or_default();
        let mut open: Option<(u64, u64)> = None;
        for record in records.into_values() {
            let number = |name: &str| record.get(name).and_then(Value::as_u64);
            let (part, parts) = (number("Part").unwrap_or(1), number("Parts").unwrap_or(1));
            match open {
                None => assert_eq!(part, 1, "a message begins"),
                Some((last, of)) => assert_eq!((part, parts), (last + 1, of), "a message goes on"),
            }
            if part == 1 {
                of.push(String::new());
            }
            of.last_mut().expect("a message").push_str(text(record, "Message"));
            open = (part < parts).then_some((part, parts));
        }
        assert_eq!(open, None, "the last message of {file} has an end");
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_of_any_length_arrive_to_the_byte_and_no_call_is_over_the_limits() {
    const FILES: usize = 4;
    const LINES: usize = 10_000;
    let seed = 17;
    let mut dice = Dice::new(seed);
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\nparser = \"raw\"\nmultiline = \"none\"\n{}",
        azure_sink(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..LINES {
        let bytes = match n {
            4_711 => 1,
            815 => 200_000,
            _ => length(&mut dice),
        };
        let file = ferry.path(&format!("{}.log", n % FILES));
        written.entry(file.to_str().expect("UTF-8").to_owned()).or_default().push(line(&mut dice, bytes));
    }
    let mut bytes = 0;
    for (file, lines) in &written {
        let text = lines.join("\n") + "\n";
        bytes += text.len();
        std::fs::write(file, text).expect("write");
    }
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    assert_within_limits(&server);
    let records = server.records();
    let calls = server.read(|l| l.calls());
    eprintln!("{bytes} bytes in {LINES} lines: {} records in {calls} calls", records.len());
    assert_eq!(server.read(|l| l.answered(204)), calls, "none was refused");
    let arrived = put_together(&records);
    assert_eq!(arrived.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (file, lines) in &written {
        let wrong = arrived[file].iter().zip(lines).position(|(is, was)| is != was);
        assert_eq!((wrong, arrived[file].len()), (None, lines.len()), "seed {seed}: {file}");
    }
}

/// Azure cuts a value over 64 KB, also an object that is that long in sum. Such a line is kept as text, whole.
#[tokio::test(flavor = "multi_thread")]
async fn objects_that_azure_would_cut_arrive_as_text() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = azure_ferry(&server);
    let lines: Vec<String> = (1..=30)
        .map(|n| {
            let fields = (0..n).map(|k| format!(",\"k{k}\":\"{}\"", "v".repeat(9_000))).collect::<String>();
            format!("{{\"message\":\"{n}\"{fields}}}")
        })
        .collect();
    append(&ferry.path("a.log"), lines.iter().cloned());
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_within_limits(&server);
    let records = server.records();
    assert!(records.iter().any(|record| record.contains_key("Parts")), "some are over a record");
    let arrived = put_together(&records).into_values().next().expect("a file");
    assert_eq!(arrived.len(), lines.len());
    for (n, (message, line)) in arrived.iter().zip(&lines).enumerate() {
        let as_fields = *message == (n + 1).to_string();
        assert_eq!(as_fields, line.len() < 60_000, "{} bytes", line.len());
        assert!(as_fields || message == line, "{} bytes", line.len());
    }
}

/// What stands between us and Azure may take less than Azure; what it does not take even alone is a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_413_is_halved_until_it_fits_and_one_record_that_never_does_is_a_dead_letter() {
    const LINES: usize = 2_000;
    const GATEWAY_MAX_BYTES: usize = 30_000;
    let server = AzureServer::start(AzureSettings { wire_max_bytes: GATEWAY_MAX_BYTES, ..AzureSettings::default() });
    let mut ferry = azure_ferry(&server);
    ferry.set("LOGFERRY__SINKS__AZURE_MONITOR__COMPRESSION", "none");
    let long = |n: usize| if n == 777 { "x".repeat(GATEWAY_MAX_BYTES) } else { String::new() };
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n} {}", long(n))));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let numbers: Vec<usize> =
        server.records().iter().filter_map(|r| text(r, "Message").split(' ').nth(1)?.parse().ok()).collect();
    let expected: Vec<usize> = (0..LINES).filter(|n| *n != 777).collect();
    assert_eq!(numbers, expected, "each once, in order");
    let letters = ferry.dead_letters("azure_monitor");
    let messages: Vec<&str> = letters.iter().filter_map(|letter| letter["record"]["Message"].as_str()).collect();
    assert!(matches!(messages.as_slice(), [one] if one.starts_with("line 777 x")), "{letters:?}");
    assert_eq!(letters[0]["status"], 413);
}

/// Azure replaces a `TimeGenerated` that is older than two days or over a day ahead; `EventTime` keeps what was said.
#[tokio::test(flavor = "multi_thread")]
async fn times_that_azure_replaces_are_kept_beside_it() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = azure_ferry(&server);
    let now = Timestamp::now();
    let cases = [(-24 * 365, false), (-72, false), (-49, false), (-47, true), (0, true), (23, true), (25, false)];
    let mut lines = String::new();
    for (hours, _) in cases {
        let time =
            now.checked_add(Span::new().hours(hours)).expect("a time").round(jiff::Unit::Microsecond).expect("a time");
        writeln!(lines, r#"{{"timestamp":"{time:.6}","message":"{hours} {time:.6}"}}"#).expect("a line");
    }
    std::fs::write(ferry.path("a.log"), lines).expect("write");
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records = server.records();
    assert_eq!(records.len(), cases.len());
    for (record, (hours, kept)) in records.iter().zip(cases) {
        let (at, said) = text(record, "Message").split_once(' ').expect("two words");
        assert_eq!(at, hours.to_string());
        let time = |column: &str| text(record, column).parse::<Timestamp>().expect(column);
        let said: Timestamp = said.parse().expect("a time");
        assert_eq!(time("EventTime"), said, "{hours} hours");
        assert_eq!(time("TimeGenerated") == said, kept, "{hours} hours: {record:?}");
    }
    assert_eq!(server.read(|l| l.times_replaced), cases.iter().filter(|(_, kept)| !kept).count() as u64);
}

/// A table of the Auxiliary plan refuses a call that spans more than half an hour: halves get ever shorter.
#[tokio::test(flavor = "multi_thread")]
async fn ten_hours_reach_a_table_that_takes_half_an_hour_at_a_time() {
    const MINUTES: i64 = 600;
    let server = AzureServer::start(AzureSettings { auxiliary: true, ..AzureSettings::default() });
    let mut ferry = azure_ferry(&server);
    let begin = Timestamp::now().checked_sub(Span::new().minutes(MINUTES)).expect("a time");
    let line = |n: i64| {
        let time = begin.checked_add(Span::new().minutes(n)).expect("a time");
        format!(r#"{{"timestamp":"{time:.6}","message":"{n}"}}"#)
    };
    append(&ferry.path("a.log"), (0..MINUTES).map(line));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let numbers: Vec<i64> = server.records().iter().filter_map(|r| text(r, "Message").parse().ok()).collect();
    assert_eq!(numbers, (0..MINUTES).collect::<Vec<_>>());
    assert_eq!(ferry.dead_letters("azure_monitor"), [] as [Value; 0]);
    let (refused, taken) = server.read(|l| (l.answered(400), l.answered(204)));
    assert!(refused > 0 && taken < 100, "{refused} refused, {taken} taken");
}
