//! A rate limit of files: what was there is whole, a flood is not, and what is missing is told once it is quiet.

use super::*;
use crate::buffer::section::split_record;
use crate::ingest::rules::{Count, Filter, Kind, Limit};
use crate::record::Counters;

const BACKLOG: u64 = 2_000;
const FLOOD: u64 = 3_000;
const BURST: u64 = 100;

/// One file whose lines are limited; what a second gives is much more than what comes while the test looks.
fn scene() -> Scene {
    let mut scene = Scene::new(&["app.log"]);
    let count = Count::new(Kind::RateLimit, "app");
    let limit = Limit { burst: BURST, per_second: 1_000, then_keep_one_in: 0, count };
    scene.sources[0].ingest.filter = Filter::new(&Arc::default(), Some(Arc::new(limit)));
    scene
}

fn lines(count: u64) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

/// Totals of the one origin.
fn totals(log: &[Section]) -> Counters {
    log.last().map(|section| section.counters.clone()).unwrap_or_default()
}

/// Lines that records say were left out.
fn told(log: &[Section]) -> u64 {
    let mut told = 0;
    for section in log {
        let mut rest = section.records.bytes.as_slice();
        while let Some(((_, members), after)) = split_record(rest) {
            let columns = object(members);
            if columns.get("EventType").is_some_and(|event| event == "logferry.rate_limit") {
                told += columns["Fields"]["LeftOutLines"].as_u64().expect("a number");
            }
            rest = after;
        }
    }
    told
}

#[test]
fn a_backlog_is_whole_and_a_flood_after_a_quiet_time_gets_the_burst_alone() {
    let mut scene = scene();
    scene.write("app.log", &lines(BACKLOG));
    let mut running = scene.start();
    running.until("the backlog", |log| totals(log).lines == BACKLOG);
    assert_eq!(totals(&running.scene.log).sampled_lines, 0);
    // Time goes by in which nothing is written: it gives nothing on top of the burst.
    std::thread::sleep(QUICK.group_quiet * 5);
    running.scene.append("app.log", &lines(FLOOD));
    running.until("the flood", |log| totals(log).lines == BACKLOG + FLOOD);
    running.until("word of it", |log| totals(log).untold_lines == 0);
    let counters = totals(&running.scene.log);
    assert!((BURST..BURST * 2).contains(&(FLOOD - counters.sampled_lines)), "{counters:?}");
    assert_eq!(told(&running.scene.log), counters.sampled_lines);
}

#[test]
fn what_was_not_told_before_a_kill_is_told_by_the_next_start_and_the_origin_goes_on() {
    let mut scene = scene();
    scene.timing.group_quiet = Duration::from_secs(3600);
    scene.write("app.log", &lines(10));
    let mut running = scene.start();
    running.until("the first lines", |log| totals(log).lines == 10);
    running.scene.append("app.log", &lines(FLOOD));
    running.until("the flood", |log| totals(log).lines == 10 + FLOOD);
    drop(running);
    let untold = totals(&scene.log).untold_lines;
    assert!(untold > 0 && told(&scene.log) == 0);
    scene.timing = QUICK;
    let mut running = scene.start();
    running.until("word of it", |log| totals(log).untold_lines == 0);
    running.stop();
    assert_eq!(told(&scene.log), untold);
    scene.run_once();
    assert_eq!(told(&scene.log), untold, "it is told once");
    let origins: std::collections::BTreeSet<OriginId> = scene.log.iter().map(|section| section.origin.id).collect();
    assert_eq!(origins.len(), 1);
}

#[test]
fn a_stop_tells_what_was_left_out() {
    let mut scene = scene();
    scene.timing.group_quiet = Duration::from_secs(3600);
    scene.write("app.log", &lines(10));
    let mut running = scene.start();
    running.until("the first lines", |log| totals(log).lines == 10);
    running.scene.append("app.log", &lines(FLOOD));
    running.until("the flood", |log| totals(log).lines == 10 + FLOOD);
    running.stop();
    let counters = totals(&scene.log);
    assert_eq!((told(&scene.log), counters.untold_lines), (counters.sampled_lines, 0));
}
