//! A stop while containers run: one that ends in time is read whole, one that goes on up to the stop.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::containers::Containers;
use super::oracle::held;
use super::{FILE_SINK, Reading, assert_delivered};
use crate::support::ferry::until;

/// How long the stop waits in the first test, and what it may take on top.
const WAIT: Duration = Duration::from_secs(8);
const SLACK: Duration = Duration::from_secs(30);

/// Lines of the container that ends by itself, 50 ms apart.
const ENDING_LINES: u64 = 80;

/// When, after the signal, the lines of the container that goes on are counted: well before the wait is over.
const COUNT_AFTER: Duration = Duration::from_secs(6);

/// Lines of one that the engine removes, which ends a second later.
const REMOVED_LINES: u64 = ENDING_LINES + 20;

fn ending(lines: u64) -> String {
    format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.05; done; printf 'no end'")
}

fn ending_lines(lines: u64) -> Vec<String> {
    (1..=lines).map(|n| format!("line {n}")).chain(["no end".to_owned()]).collect()
}

async fn until_lines(containers: &Containers, name: &str, lines: usize) {
    until("lines", async || (containers.logs(name)[0].lines().count() >= lines).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_containers_and_notes_the_one_that_goes_on() {
    let containers = Containers::new("stop").await;
    let teardown = format!("[teardown]\nwait_containers = \"{}s\"\n", WAIT.as_secs());
    let mut reading = Reading::new(&containers, &format!("{teardown}{FILE_SINK}"));
    let running = reading.start().await;
    let ends = containers.start("ends", &[], &ending(ENDING_LINES));
    let goes_on = containers.start("goes-on", &[], "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done");
    until_lines(&containers, &ends, 5).await;
    until_lines(&containers, &goes_on, 5).await;
    let began = Instant::now();
    running.terminate();
    tokio::time::sleep(COUNT_AFTER).await;
    let printed = containers.logs(&goes_on)[0].lines().count();
    let ended = running.wait();
    let took = began.elapsed();
    assert_delivered(&ended);
    assert!(took >= WAIT && took < WAIT + SLACK, "the stop took {took:?}");

    let held = held(&reading.records());
    let of = |name: &str| held.get(&(name.to_owned(), "stdout".to_owned())).cloned().unwrap_or_default();
    assert_eq!(of(&ends), ending_lines(ENDING_LINES));
    let found = of(&goes_on);
    eprintln!("a stop of {took:.1?}: {} lines of the container that goes on, {printed} were there before", found.len());
    assert!(found.len() >= printed, "{} lines of the container that goes on, it had printed {printed}", found.len());
    // The last one may have been taken before it was whole.
    let whole: Vec<String> = (1..found.len()).map(|n| format!("line {n}")).collect();
    assert_eq!(found[..found.len() - 1], whole);
    let manifest = reading.manifest();
    assert_eq!(manifest["complete"], true, "that a container goes on is no fault: {manifest}");
    let notes: Vec<&str> = manifest["notes"].as_array().expect("notes").iter().filter_map(Value::as_str).collect();
    assert!(notes.iter().any(|note| note.contains(&goes_on) && note.contains("still")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains(&ends)), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_goes_on_as_soon_as_the_last_container_has_ended() {
    const LONG: Duration = Duration::from_secs(90);
    let containers = Containers::new("stop-soon").await;
    let teardown = format!("[teardown]\nwait_containers = \"{}s\"\n", LONG.as_secs());
    let mut reading = Reading::new(&containers, &format!("{teardown}{FILE_SINK}"));
    let running = reading.start().await;
    let names = [
        containers.start("kept", &[], &ending(ENDING_LINES)),
        // We are attached to it since before its start: it runs all the same.
        containers.start("removed", &["--rm"], &ending(REMOVED_LINES)),
    ];
    until_lines(&containers, &names[0], 5).await;
    let began = Instant::now();
    assert_delivered(&running.stop());
    let took = began.elapsed();
    eprintln!("a stop whose containers ended by themselves took {took:.1?}");
    assert!(took < LONG / 2, "the stop took {took:?}");
    let held = held(&reading.records());
    let of = |name: &str| held.get(&(name.to_owned(), "stdout".to_owned())).cloned().unwrap_or_default();
    assert_eq!(of(&names[0]), ending_lines(ENDING_LINES));
    // Its last line may be lost where the engine's files cannot be read.
    let removed = of(&names[1]);
    let whole = &removed[..removed.len().min(REMOVED_LINES as usize)];
    assert_eq!(whole, &ending_lines(REMOVED_LINES)[..REMOVED_LINES as usize]);
    let manifest = reading.manifest();
    let notes = manifest["notes"].to_string();
    assert!(!notes.contains("still"), "none goes on: {notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_a_container_that_goes_on_reads_it_up_to_the_signal_also_without_waiting() {
    let containers = Containers::new("stop-now").await;
    let mut reading = Reading::new(&containers, FILE_SINK);
    let running = reading.start().await;
    let name = containers.start("goes-on", &[], "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done");
    until_lines(&containers, &name, 100).await;
    let printed = containers.logs(&name)[0].lines().count();
    let began = Instant::now();
    assert_delivered(&running.stop());
    assert!(began.elapsed() < SLACK, "the stop took {:?}", began.elapsed());
    let found = held(&reading.records()).remove(&(name.clone(), "stdout".to_owned())).unwrap_or_default();
    assert!(found.len() >= printed, "{} lines, it had printed {printed}", found.len());
    let whole: Vec<String> = (1..found.len()).map(|n| format!("line {n}")).collect();
    assert_eq!(found[..found.len() - 1], whole);
    let notes = reading.manifest()["notes"].to_string();
    assert!(notes.contains(&name) && notes.contains("still"), "it goes on: {notes}");
}
