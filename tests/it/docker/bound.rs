//! Containers that print faster than anything else can go: into a full buffer, and into a log that the engine rotates.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::containers::Containers;
use super::{FILE_SINK, OUT, Reading, assert_delivered};
use crate::support::ferry::until;
use crate::support::stub::{Reply, Stub};

/// Lines of a container at full speed, and bytes of each: 50 MB.
const LINES: u64 = 50_000;
const LINE_BYTES: usize = 1_000;

/// How often each kind of run is timed.
const TIMED: usize = 2;
/// How much longer a container may take while the buffer is full.
const SLOWER: f64 = 1.5;
const SLOWER_AT_MOST: Duration = Duration::from_secs(2);

/// Bytes of the buffer, and of it that are in use when it lets no container in any more, at the least.
const BUFFER: &str = "[buffer]\nmax_bytes = \"32MiB\"\n";
const FULL_BYTES: u64 = 24 << 20;

/// Lines of the slow container, and of each of its bursts, a tenth of a second apart: a rotation every three seconds, which
/// is time enough for whoever reads along.
const SLOW_LINES: u64 = 5_000;
const SLOW_BURST: u64 = 40;

/// Prints `lines` lines, `burst` at a time.
fn printer(lines: u64, burst: u64) -> String {
    let filling = "y".repeat(LINE_BYTES - "line 000000 \n".len());
    let pause = if burst < lines { "sleep 0.1; " } else { "" };
    format!(
        "n=0; while [ $n -lt {lines} ]; do awk -v n=$n -v f={filling} \
         'BEGIN {{ for (i = 1; i <= {burst}; i++) printf \"line %06d %s\\n\", n + i, f }}'; n=$((n+{burst})); {pause}done"
    )
}

/// Runs a container to its end; how long that took.
fn time(containers: &Containers, name: &str, options: &[&str]) -> Duration {
    let began = Instant::now();
    let full_name = containers.start(name, options, &printer(LINES, LINES));
    assert_eq!(containers.wait(&full_name), 0);
    began.elapsed()
}

/// How often each line came, by container. A record that came again under its EventID counts once.
#[derive(Default)]
struct Came {
    seen: HashSet<String>,
    times: BTreeMap<String, BTreeMap<u64, usize>>,
}

impl Came {
    fn take(&mut self, record: &Value) {
        if record["Stream"] != "stdout" || !self.seen.insert(record["EventID"].as_str().expect("an id").to_owned()) {
            return;
        }
        let message = record["Message"].as_str().expect("text");
        let number = message.get(5..11).and_then(|digits| digits.parse().ok());
        let number = number.unwrap_or_else(|| panic!("not a line: {message}"));
        let of = self.times.entry(record["Container"].as_str().expect("a name").to_owned()).or_default();
        *of.entry(number).or_default() += 1;
    }

    /// Lines of a container that came, and of those the ones that came twice.
    fn of(&self, container: &str) -> (u64, usize) {
        let Some(times) = self.times.get(container) else { return (0, 0) };
        (times.len() as u64, times.values().filter(|times| **times > 1).count())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_does_not_slow_a_container_down_and_costs_no_line() {
    let containers = Containers::new("full").await;
    let stub = Stub::new([]).await;
    stub.answer(Reply::status(503, "{}"));
    let sink = format!("[sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"full\"\n", stub.url);
    let mut reading = Reading::new(&containers, &format!("{BUFFER}{sink}"));
    let unread = ["--label", "logferry.skip=yes"];
    let without: Vec<Duration> = (0..TIMED).map(|n| time(&containers, &format!("without-{n}"), &unread)).collect();
    let running = reading.start().await;
    time(&containers, "filler", &[]);
    let mut lines_before = None;
    until("a full buffer", async || {
        let (used, lines) = buffered(&mut reading)?;
        let is_full = used >= FULL_BYTES && lines_before == Some(lines);
        lines_before = Some(lines);
        tokio::time::sleep(Duration::from_secs(1)).await;
        is_full.then_some(())
    })
    .await;
    let with: Vec<Duration> = (0..TIMED).map(|n| time(&containers, &format!("with-{n}"), &[])).collect();
    let (used, lines) = buffered(&mut reading).expect("a status");
    eprintln!(
        "50 MB: {without:.2?} without logferry, {with:.2?} with logferry and a full buffer ({used} bytes, {lines} lines)"
    );
    assert!(lines <= LINES, "the buffer was not full: it took {lines} lines");
    let (least_without, least_with) = (without.iter().min().expect("one"), with.iter().min().expect("one"));
    assert!(
        *least_with <= least_without.mul_f64(SLOWER) + SLOWER_AT_MOST,
        "{least_with:?} with a full buffer, {least_without:?} without logferry"
    );

    stub.answer(Reply::Stored);
    let names: Vec<String> = ["filler".to_owned()].into_iter().chain((0..TIMED).map(|n| format!("with-{n}"))).collect();
    assert_delivered(&running.stop());
    let mut came = Came::default();
    for call in stub.stored() {
        let text = call.text();
        let documents = text.lines().skip(1).step_by(2);
        documents.for_each(|document| came.take(&serde_json::from_str(document).expect("JSON")));
    }
    for name in &names {
        assert_eq!(came.of(&containers.name(name)), (LINES, 0), "{name}: lines, and lines that came twice");
    }
    let manifest = reading.manifest();
    assert_eq!(manifest["complete"], true, "{:?}", manifest["gap_kinds"]);
}

/// Bytes of the buffer that are in use, and lines that were read.
fn buffered(reading: &mut Reading) -> Option<(u64, u64)> {
    let status: Value = serde_json::from_str(&reading.ferry.call(&["status", "--json"]).stdout).ok()?;
    Some((status["buffer"]["used_bytes"].as_u64()?, status["sources"]["containers"]["lines"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_rotates_away_before_it_is_read_is_named_and_nothing_is_lost_at_a_slow_pace() {
    let containers = Containers::new("rotated").await;
    let mut reading = Reading::new(&containers, FILE_SINK);
    let running = reading.start().await;
    let options = ["--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"];
    let mut printed = Vec::new();
    for (name, lines, burst) in [("fast", LINES, LINES), ("slow", SLOW_LINES, SLOW_BURST)] {
        let full_name = containers.start(name, &options, &printer(lines, burst));
        assert_eq!(containers.wait(&full_name), 0);
        printed.push((full_name, lines));
    }
    assert_delivered(&running.stop());
    let mut came = Came::default();
    reading.ferry.records(OUT).iter().for_each(|record| came.take(record));
    let gaps = reading.file_gaps();
    let mut wrong = Vec::new();
    for (name, lines) in &printed {
        let (found, twice) = came.of(name);
        let gap = gaps.get(name);
        eprintln!(
            "max-size=1m, max-file=2: {found} of {lines} lines of {name}, {twice} of them twice; its gap: {gap:?}"
        );
        let missing = lines - found;
        if found == 0 || twice > 0 || (missing > 0) != gap.is_some() || (missing > 0 && *lines == SLOW_LINES) {
            wrong.push(format!("{name}: {missing} of {lines} lines missing, {twice} twice, gap {gap:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(reading.manifest()["complete"], gaps.is_empty(), "{}", reading.manifest());
}
