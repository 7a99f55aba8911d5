//! The record of a container's end: one for each run of it, behind its last line, in an origin of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::containers::{BUSYBOX, Containers};
use super::load::Job;
use super::{FILE_SINK, Reading, assert_delivered};
use crate::support::ferry::until;

/// Exit code, and whether the kernel ended it for want of memory.
type Exit = (i64, bool);

fn is_exit(record: &Value) -> bool {
    record["EventType"] == "container.exited"
}

/// The exits of each container. A record that is stored again under its EventID counts once.
fn exits(records: &[Value]) -> BTreeMap<String, Vec<Exit>> {
    let mut seen = BTreeSet::new();
    let mut found: BTreeMap<String, Vec<Exit>> = BTreeMap::new();
    for record in records.iter().filter(|record| is_exit(record)) {
        if seen.insert(record["EventID"].as_str().expect("an id")) {
            let fields = &record["Fields"];
            let code = fields["exit_code"].as_i64().unwrap_or_else(|| panic!("no exit code: {record}"));
            let oom = fields["oom_killed"].as_bool().unwrap_or_else(|| panic!("no oom_killed: {record}"));
            found.entry(record["Container"].as_str().expect("a name").to_owned()).or_default().push((code, oom));
        }
    }
    found
}

/// Each container of a load has ended once, with its code.
pub fn assert_each_once(jobs: &[Job], records: &[Value]) {
    assert_as_ended(jobs, records, false);
}

/// The same, but nobody may have seen the end of some.
pub fn assert_none_twice(jobs: &[Job], records: &[Value]) {
    assert_as_ended(jobs, records, true);
}

fn assert_as_ended(jobs: &[Job], records: &[Value], may_miss: bool) {
    let mut found = exits(records);
    let wrong: Vec<String> = jobs
        .iter()
        .filter_map(|job| {
            let exits = found.remove(&job.name).unwrap_or_default();
            let is_right = exits == [(job.exit_code, false)] || (may_miss && exits.is_empty());
            (!is_right).then(|| format!("{}: {exits:?}, not {}", job.name, job.exit_code))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} exits: {:?}",
        wrong.len(),
        jobs.len(),
        wrong.iter().take(5).collect::<Vec<_>>()
    );
    assert!(found.is_empty(), "exits of others: {found:?}");
}

/// Containers that ran out of memory, and whether the engine says so: where it sees the end of one first it does not. The last
/// one is one of which it does.
fn starved(containers: &Containers, lines: &str) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    while all.len() < 10 {
        let name = format!("starved{}", all.len());
        let name = containers.start(
            &name,
            &["--memory", "16m", "--memory-swap", "16m"],
            &format!("{lines}; exec tail /dev/zero"),
        );
        containers.wait(&name);
        let said = containers.call(&["inspect", "-f", "{{.State.OOMKilled}}", &name]) == "true";
        all.push((name, said));
        if said {
            return all;
        }
    }
    panic!("the engine does not say of {} containers that they ran out of memory", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_container_is_a_record_with_its_exit_code_behind_its_lines() {
    let containers = Containers::new("exits").await;
    assert_eq!(containers.call(&["info", "-f", "{{.MemoryLimit}}"]), "true", "one container is to run out of memory");
    let mut reading = Reading::new(&containers, FILE_SINK);
    let before = containers.start("before", &[], "echo line; exit 2");
    containers.wait(&before);
    let running = reading.start().await;
    let lines = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; echo error $i >&2; done; printf 'no end'";
    let start = |name: &str, options: &[&str], end: &str| containers.start(name, options, &format!("{lines}; {end}"));
    let zero = start("zero", &[], "exit 0");
    let seven = start("seven", &[], "exit 7");
    let killed = start("killed", &[], "exec sleep 1000");
    let removed = start("removed", &["--rm"], "sleep 1; exit 5");
    let silent = containers.start("silent", &[], "exit 4");
    let twice = start("twice", &[], "exit 1");
    containers.wait(&twice);
    until("the first exit", async || exits(&reading.records()).contains_key(&twice).then_some(())).await;
    containers.call(&["start", &twice]);
    until("lines", async || containers.logs(&killed)[1].contains("error 500").then_some(())).await;
    containers.call(&["kill", &killed]);
    let starved = starved(&containers, lines);
    let ended = [&zero, &seven, &killed, &silent, &twice].into_iter().chain(starved.iter().map(|(name, _)| name));
    let ended: Vec<&String> = ended.collect();
    for name in &ended {
        containers.wait(name);
    }
    until("the end of the removed one", async || {
        let listed = containers.call(&["ps", "-aq", "--filter", &format!("name={removed}")]);
        listed.is_empty().then_some(())
    })
    .await;
    assert_delivered(&running.stop());

    let records = reading.records();
    let expected: BTreeMap<String, Vec<Exit>> = [
        (&before, vec![(2, false)]),
        (&zero, vec![(0, false)]),
        (&seven, vec![(7, false)]),
        (&killed, vec![(137, false)]),
        (&removed, vec![(5, false)]),
        (&silent, vec![(4, false)]),
        (&twice, vec![(1, false), (1, false)]),
    ]
    .into_iter()
    .map(|(name, exits)| (name.clone(), exits))
    .chain(starved.iter().map(|(name, said)| (name.clone(), vec![(137, *said)])))
    .collect();
    assert_eq!(exits(&records), expected);
    check_columns(&containers, &reading, &records, &ended);
    for name in ended.into_iter().filter(|name| **name != twice) {
        check_order(&records, name);
    }
    check_order(&records, &removed);

    // Another life of logferry has nothing to add.
    let running = reading.start().await;
    assert_delivered(&running.stop());
    assert_eq!(exits(&reading.records()), expected);
}

fn check_columns(containers: &Containers, reading: &Reading, records: &[Value], kept: &[&String]) {
    let line_origins: BTreeSet<&str> =
        records.iter().filter(|record| !record["Stream"].is_null()).filter_map(|r| r["Origin"].as_str()).collect();
    for record in records.iter().filter(|record| is_exit(record)) {
        assert!(record["Stream"].is_null(), "an exit is of no stream: {record}");
        assert!(!line_origins.contains(record["Origin"].as_str().expect("an origin")), "{record}");
        assert_eq!((&record["Image"], &record["Source"]), (&BUSYBOX.into(), &"containers".into()), "{record}");
        assert_eq!((&record["RunID"], &record["VMName"]), (&reading.run.as_str().into(), &"vm-7".into()), "{record}");
        assert_eq!(record["ContainerID"].as_str().map(str::len), Some(64), "{record}");
        assert!(record["Level"].is_string() && record["Message"].is_string(), "{record}");
    }
    for name in kept {
        let id = containers.call(&["inspect", "-f", "{{.Id}}", name]);
        let mut of =
            records.iter().filter(|record| is_exit(record)).filter(|record| record["Container"] == name.as_str());
        assert!(of.all(|record| record["ContainerID"] == id.as_str()), "{name}");
    }
}

/// Behind every line of the container, in the log and by time.
fn check_order(records: &[Value], name: &str) {
    let of: Vec<&Value> = records.iter().filter(|record| record["Container"] == name).collect();
    let at = of.iter().position(|record| is_exit(record)).expect("an exit");
    assert_eq!(at, of.len() - 1, "{name}: {} records stand behind the exit", of.len() - 1 - at);
    let time = |record: &Value| record["@timestamp"].as_str().expect("a time").to_owned();
    let latest = of[..at].iter().map(|record| time(record)).max().unwrap_or_default();
    assert!(time(of[at]) >= latest, "{name}: ended at {}, its last line is of {latest}", time(of[at]));
}
