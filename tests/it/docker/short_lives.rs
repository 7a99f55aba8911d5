//! Containers that live some tens of milliseconds, and those whose last line has no end.

use crate::support::ferry::Running;

use super::containers::Containers;
use super::load::Load;
use super::oracle::{Verdict, judge};
use super::{FILE_SINK, OUT, Reading, assert_delivered, data_folder_is_readable, dice, exits};

/// Containers of the long test, and most lines of each.
const CONTAINERS: usize = 200;
const LINES_MAX: u64 = 2_000;
/// The same of those with an unterminated last line.
const TAILED: usize = 60;
const TAILED_LINES_MAX: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_short_containers_that_the_engine_removes_arrive_whole() {
    let containers = Containers::new("short").await;
    let load = Load::draw(&containers, &mut dice(), CONTAINERS, LINES_MAX, true);
    let mut reading = Reading::new(&containers, FILE_SINK);
    let running = reading.start().await;
    let verdict = carry(&load, &reading, running);
    eprintln!("{CONTAINERS} containers with --rm, {} lines: {verdict}", load.lines());
    verdict.assert_whole();
    let gaps = reading.file_gaps();
    assert!(gaps.is_empty(), "nothing is missing, but the manifest names {gaps:?}");
    assert_eq!(reading.manifest()["complete"], true, "{}", reading.manifest());
    exits::assert_each_once(&load.jobs, &reading.records());
}

#[tokio::test(flavor = "multi_thread")]
async fn unterminated_last_lines_of_kept_containers_arrive() {
    assert_tails_arrive(&Containers::new("kept-tail").await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unterminated_last_lines_of_removed_containers_arrive_where_the_engines_files_can_be_read() {
    let containers = Containers::new("removed-tail").await;
    if !data_folder_is_readable(&containers) {
        return;
    }
    assert_tails_arrive(&containers, true).await;
}

/// With containers that are kept or removed, whose last lines have no end.
async fn assert_tails_arrive(containers: &Containers, removed: bool) {
    let load = Load::draw(containers, &mut dice(), TAILED, TAILED_LINES_MAX, removed).with_tails();
    let mut reading = Reading::new(containers, FILE_SINK);
    let running = reading.start().await;
    let verdict = carry(&load, &reading, running);
    let what = if removed { "containers with --rm, files readable," } else { "kept containers" };
    eprintln!("{TAILED} {what} with an unterminated last line: {verdict}");
    verdict.assert_whole();
    assert_eq!(reading.manifest()["complete"], true, "{}", reading.manifest());
}

/// How many unterminated lines the engine hands out is its affair; what has an end must arrive all the same, or be named.
#[tokio::test(flavor = "multi_thread")]
async fn terminated_lines_of_removed_containers_arrive_or_are_named_where_the_engines_files_cannot_be_read() {
    let containers = Containers::new("hidden-tail").await;
    let load = Load::draw(&containers, &mut dice(), TAILED, TAILED_LINES_MAX, true).with_tails();
    let mut reading = Reading::new(&containers, FILE_SINK);
    // An empty folder lies over the engine's, for this process alone.
    let hide = format!("mount -t tmpfs none '{}' && exec \"$@\"", containers.data_folder());
    let unshare = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", &hide, "sh"];
    let may = std::process::Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this user may not mount a file system");
        return;
    }
    reading.ferry.start_by(&unshare);
    let running = reading.start().await;
    let verdict = carry(&load, &reading, running);
    let gaps = reading.file_gaps();
    let named = verdict.missing.keys().filter(|container| gaps.contains_key(*container)).count();
    eprintln!(
        "{TAILED} containers with --rm and an unterminated last line, files hidden: {} of {TAILED} last lines missing, {} \
         other lines; of {} containers with missing lines the manifest names {named} with a gap",
        load.jobs.iter().filter(|job| misses_tail(&verdict, &job.name)).count(),
        verdict.missing.values().flatten().filter(|line| !is_tail(line)).count(),
        verdict.missing.len(),
    );
    verdict.assert_nothing_twice();
    // On a machine under load the engine may start one before we are joined to it: then that is said.
    let unnamed = verdict.missing.iter().filter(|(container, _)| !gaps.contains_key(*container));
    let terminated: Vec<&String> = unnamed.flat_map(|(_, lines)| lines).filter(|line| !is_tail(line)).collect();
    assert!(terminated.is_empty(), "{terminated:?} of {verdict}");
}

fn is_tail(line: &str) -> bool {
    line.ends_with(" the end")
}

fn misses_tail(verdict: &Verdict, container: &str) -> bool {
    verdict.missing.get(container).is_some_and(|lines| lines.iter().any(|line| is_tail(line)))
}

/// Runs the load to its end, stops logferry and looks at what the file holds.
fn carry(load: &Load, reading: &Reading, running: Running) -> Verdict {
    load.run();
    assert_delivered(&running.stop());
    assert!(reading.ferry.path(OUT).exists(), "no record at all");
    judge(&load.jobs, &reading.records())
}
