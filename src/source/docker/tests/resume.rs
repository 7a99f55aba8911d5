//! Going on where it was left: after an exit, a kill, a rotation, with another configuration.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::GapReason;
use super::super::position::Position;
use super::*;

/// Kills the source, and takes back some of what it had queued: not all of it was synced.
async fn crash(source: Source, kept_before: usize, random: &mut impl FnMut(u64) -> u64) {
    let log = source.log.clone();
    source.kill().await;
    let mut sections = log.lock();
    let fresh = (sections.len() - kept_before) as u64;
    let lost = random(3).min(1) * random(fresh + 1);
    let kept = sections.len() - lost as usize;
    sections.truncate(kept);
}

fn random_from(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below.max(1)
    }
}

#[tokio::test]
async fn a_container_that_starts_again_goes_on_in_its_origin() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name = engine.run("again", &[], "echo begin; echo oops >&2; printf tail");
    for run in 1..=3 {
        engine.wait(&name);
        let records = source.until(|r| count(r, &name, "stdout") == 2 * run).await;
        let expected: Vec<&str> = ["begin", "tail"].into_iter().cycle().take(2 * run).collect();
        assert_eq!(messages(&records, &name, "stdout"), expected);
        engine.call(&["start", &name]);
    }
    engine.wait(&name);
    let records = source.until(|r| count(r, &name, "stdout") == 8 && count(r, &name, "stderr") == 4).await;
    let records = printed(records);
    let origins: HashSet<&String> = records.values().flatten().map(|record| &record.columns["Origin"]).collect();
    assert_eq!(origins.len(), 2, "one a stream");
    let ids: HashSet<&String> = records.values().flatten().map(|record| &record.event_id).collect();
    assert_eq!(ids.len(), 12, "equal lines have ids of their own");
    assert_eq!(source.stop().await.origins, 2);
}

#[tokio::test]
async fn a_removed_container_ends_its_origins() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name = engine.run("gone", &[], "echo one; echo two >&2; printf three");
    engine.wait(&name);
    source.until(|r| count(r, &name, "stdout") == 2 && count(r, &name, "stderr") == 1).await;
    // Removed before that, it could have said more that nobody has read.
    let at_end = |origin: &LiveOrigin| Position::decode(&origin.position).is_some_and(|position| position.at_end);
    source.until(|_| source.log.live().iter().all(at_end)).await;
    assert!(source.log.live().iter().all(|origin| !origin.ended), "it may start again");
    engine.call(&["rm", &name]);
    source.until(|_| source.log.all_ended()).await;
    assert_eq!(source.stats.gaps().0, 0);
    assert_eq!(source.stop().await.origins, 0);
}

#[tokio::test]
async fn crashes_at_random_points_neither_lose_nor_double_a_line() {
    let mut engine = Engine::usual();
    let both = r"
import os, sys, time, random
for n in range(12000):
    os.write(1, b'out%d %s\n' % (n, b'x' * random.randrange(60)))
    if n % 7 == 0: os.write(2, b'err%d\n' % n)
    if n % 500 == 0: os.write(1, b'long%d %s\n' % (n, b'y' * 50000))
    if n % 100 == 0: time.sleep(0.03)
os.write(1, b'end')
";
    let one = "import time\nfor n in range(60000):\n  print('same' if n % 3 else 'same%d' % n)\n  if n % 500 == 0: time.sleep(0.03)";
    let (both, one) = (engine.python("both", both), engine.python("one", one));
    let short = engine.run("short", &[], "echo only; printf tail");
    let log = Log::default();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(42);
    let mut random = random_from(seed);
    let mut readings = 0;
    let finished = Instant::now() + Duration::from_secs(6);
    while Instant::now() < finished {
        let before = log.lock().len();
        let mut options = engine.options();
        options.ingest.max_line = 20_000; // positions in the middle of long lines
        let source = start(options, &log, log.live());
        tokio::time::sleep(Duration::from_millis(30 + random(400))).await;
        crash(source, before, &mut random).await;
        readings += 1;
    }
    engine.wait(&both);
    engine.wait(&one);
    let mut options = engine.options();
    options.ingest.max_line = 20_000;
    let source = start(options, &log, log.live());
    let gaps = Arc::clone(&source.stats);
    source.stop().await;
    let records = log.records();
    eprintln!("{readings} crashes, {:?}", summary(&records));
    for name in [&both, &one, &short] {
        let output = engine.docker(&["logs", name]).output().expect("logs");
        for (stream, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            let text = String::from_utf8(bytes).expect("text");
            let expected: Vec<&str> = text.lines().flat_map(|line| pieces(line, 20_000)).collect();
            let found = messages(&records, name, stream);
            let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
            assert!(expected == found, "{name} {stream}: {} of {}, first at {differs:?}", found.len(), expected.len());
        }
    }
    assert_eq!(gaps.gaps().0, 0);
}

#[tokio::test]
async fn equal_times_and_texts_are_counted_over_restarts() {
    let mut engine = Engine::usual();
    let name = engine.run("equal", &[], "true");
    engine.wait(&name);
    let mut entries: Vec<(&str, &str, &str)> = vec![("00.5", "stderr", "e\n"); 3];
    entries.extend([("01", "stdout", "a\n"); 4]);
    entries.extend([("01", "stdout", "b\n"); 2]);
    entries.extend([("01", "stdout", "a\n"); 3]);
    let log = Log::default();
    for upto in 1..=entries.len() {
        rewrite_log(&engine, &name, &entries[..upto]);
        let source = start(engine.options(), &log, log.live());
        source.stop().await;
        let found: usize = printed(log.records()).values().map(Vec::len).sum();
        assert_eq!(found, upto);
    }
    let records = log.records();
    assert_eq!(messages(&records, &name, "stdout"), ["a", "a", "a", "a", "b", "b", "a", "a", "a"]);
    assert_eq!(messages(&records, &name, "stderr"), ["e", "e", "e"]);
}

#[tokio::test]
async fn what_a_quiet_stream_held_back_is_read_again() {
    let mut engine = Engine::usual();
    let name = engine.run("held", &[], "exec sleep 1000");
    let times: Vec<String> = (10..50).map(|second| second.to_string()).collect();
    let line = format!("{}\n", "x".repeat(8_000));
    let mut entries = vec![("00", "stderr", "a piece, ")];
    entries.extend(times.iter().map(|time| (time.as_str(), "stdout", line.as_str())));
    rewrite_log(&engine, &name, &entries);
    let log = Log::default();
    let source = start(engine.options(), &log, Vec::new());
    source.until(|r| count(r, &name, "stdout") == 40).await;
    crash(source, 0, &mut |_| 0).await;
    // The rest of the line comes long after: by then a reading would begin behind its first piece.
    entries.extend([("00", "stderr", "the rest\n"), ("51", "stdout", "end\n")]);
    rewrite_log(&engine, &name, &entries);
    let source = start(engine.options(), &log, log.live());
    let records = source.until(|r| count(r, &name, "stdout") == 41 && count(r, &name, "stderr") == 1).await;
    assert_eq!(messages(&records, &name, "stderr"), ["a piece, the rest"]);
    source.stop().await;
}

#[tokio::test]
async fn a_log_that_was_rotated_away_is_a_gap_and_a_new_origin() {
    let mut engine = Engine::usual();
    let name = engine.run("rotated", &[], "true");
    engine.wait(&name);
    let log = Log::default();
    rewrite_log(&engine, &name, &[("01", "stdout", "a\n"), ("02", "stdout", "b\n"), ("02", "stderr", "e\n")]);
    start(engine.options(), &log, log.live()).stop().await;
    rewrite_log(&engine, &name, &[("02", "stderr", "e\n"), ("07", "stdout", "h\n"), ("08", "stdout", "i\n")]);
    let source = start(engine.options(), &log, log.live());
    let stats = Arc::clone(&source.stats);
    source.stop().await;
    let (gaps, kept) = stats.gaps();
    assert_eq!((gaps, kept[0].reason, kept[0].after), (1, GapReason::Rotated, Some(1_767_225_602_000_000_000)));
    let found = log.records();
    assert_eq!(messages(&found, &name, "stdout"), ["a", "b", "h", "i"]);
    assert_eq!(messages(&found, &name, "stderr"), ["e"]);
    let origins: Vec<&str> =
        found[&(name.clone(), "stdout".into())].iter().map(|record| record.columns["Origin"].as_str()).collect();
    assert!(origins[0] == origins[1] && origins[1] != origins[2] && origins[2] == origins[3]);
    let live = log.live();
    assert_eq!(live.iter().filter(|origin| origin.ended).count(), 1);

    // And the new one is resumed.
    let source = start(engine.options(), &log, live);
    let stats = Arc::clone(&source.stats);
    source.stop().await;
    assert_eq!(stats.gaps().0, 0);
    assert_eq!(summary(&log.records()), summary(&found));
}

#[tokio::test]
async fn another_run_is_another_origin_that_goes_on_at_the_same_place() {
    let mut engine = Engine::usual();
    let name = engine.run("runs", &[], "echo line; printf tail");
    let log = Log::default();
    for run in ["1", "2", "2", "3"] {
        engine.wait(&name);
        let source = start_as(engine.options(), &log, log.live(), &[("RunID", run)]);
        source.stop().await;
        engine.call(&["start", &name]);
    }
    let found = log.records();
    assert_eq!(messages(&found, &name, "stdout"), ["line", "tail"].repeat(4));
    let runs: Vec<&str> =
        found[&(name.clone(), "stdout".into())].iter().map(|record| record.columns["RunID"].as_str()).collect();
    assert_eq!(runs, ["1", "1", "2", "2", "2", "2", "3", "3"]);
    let said: Vec<&str> = found[&(name, String::new())].iter().map(|record| record.columns["RunID"].as_str()).collect();
    assert_eq!(said, ["1", "2", "2", "3"], "an exit is recorded under the run that saw it");
    assert_eq!(log.live().iter().filter(|origin| !origin.ended).count(), 2);
}

#[tokio::test]
async fn a_container_removed_while_nobody_listened_is_a_gap_unless_it_was_at_its_end() {
    let mut engine = Engine::usual();
    let whole = engine.run("whole", &[], "echo all");
    let cut = engine.run("cut", &[], "echo first; exec sleep 1000");
    engine.wait(&whole);
    let source = start(engine.options(), &Log::default(), Vec::new());
    let log = source.log.clone();
    source.until(|r| count(r, &whole, "stdout") == 1 && count(r, &cut, "stdout") == 1).await;
    source
        .until(|_| {
            log.live().iter().any(|origin| Position::decode(&origin.position).is_some_and(|position| position.at_end))
        })
        .await;
    source.stop().await;
    engine.call(&["rm", "-f", &whole, &cut]);
    let source = start(engine.options(), &log, log.live());
    let stats = Arc::clone(&source.stats);
    source.stop().await;
    assert!(log.all_ended());
    assert_eq!(stats.gaps().0, 1);
}

/// A line as pieces of `most` bytes.
fn pieces(line: &str, most: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = line;
    while rest.len() + 1 > most {
        let (piece, behind) = rest.split_at(most);
        out.push(piece);
        rest = behind;
    }
    out.push(rest);
    out
}

/// Replaces the log of a stopped container; only where the engine's data folder can be written.
fn rewrite_log(engine: &Engine, name: &str, entries: &[(&str, &str, &str)]) {
    let path = PathBuf::from(engine.call(&["inspect", "-f", "{{.LogPath}}", name]));
    let lines: String = entries
        .iter()
        .map(|(time, stream, log)| {
            format!(
                "{}\n",
                serde_json::json!({"log": log, "stream": stream, "time": format!("2026-01-01T00:00:{time}Z")})
            )
        })
        .collect();
    std::fs::write(path, lines).expect("the engine's data folder can be written");
}
