//! Logs that the engine rotates while they are followed: no line twice, and none missing without a word.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::GapReason;
use super::*;

/// Prints so many numbered lines, of so many bytes, with a pause of so many seconds after each so many lines.
fn numbers(lines: u64, bytes: usize, every: u64, pause: f64) -> String {
    format!(
        "import sys, time\nw = sys.stdout.write\nfor n in range({lines}):\n  w('%d {}\\n' % n)\n  \
         if n % {every} == {every} - 1:\n    sys.stdout.flush()\n    time.sleep({pause})\n",
        "x".repeat(bytes)
    )
}

/// What became of the lines of a container that printed [`numbers`].
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    missing: u64,
    gaps: Vec<GapReason>,
}

/// Follows such a container with these options to its end.
async fn follow(driver: &[&str], lines: u64, script: &str, meddle: impl AsyncFnOnce(&Source)) -> Seen {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until(|_| source.stats.engine_up()).await;
    let name = engine.create(&["run", "-d"], "rotated", driver, PYTHON, &["python3", "-c", script]);
    meddle(&source).await;
    engine.wait(&name);
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    assert_eq!(source.stop().await.left_bytes, 0);
    let records = log.records();
    let found: Vec<u64> = messages(&records, &name, "stdout")
        .iter()
        .map(|line| line.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
        .collect();
    let twice = found.iter().zip(found.iter().skip(1)).find(|(one, next)| one >= next);
    assert_eq!(twice, None, "a line came twice");
    assert_eq!(found.last(), Some(&(lines - 1)), "the last line came");
    let gaps: Vec<GapReason> = stats.gaps().1.iter().map(|gap| gap.reason).collect();
    let counted: u64 = log.live().iter().map(|origin| origin.counters.gaps).sum();
    assert!(counted as usize >= gaps.len(), "{counted} in the manifest, {gaps:?}");
    let seen = Seen { missing: lines - found.len() as u64, gaps };
    eprintln!("{driver:?}: {} of {lines} missing, {:?}", seen.missing, seen.gaps);
    assert!(seen.missing == 0 || !seen.gaps.is_empty(), "lines are missing without a gap");
    seen
}

async fn leave_alone(_: &Source) {}

fn rotated(driver: &'static str, size: &'static str, files: &'static str) -> [&'static str; 6] {
    ["--log-driver", driver, "--log-opt", size, "--log-opt", files]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_keeps_up_misses_nothing_and_no_gap_is_told() {
    // 5 rotations in 10 s, with pauses in which a whole file could have been written.
    let script = numbers(18_000, 100, 60, 0.033);
    for driver in ["json-file", "local"] {
        let seen = follow(&rotated(driver, "max-size=500k", "max-file=5"), 18_000, &script, leave_alone).await;
        assert_eq!(seen, Seen { missing: 0, gaps: Vec::new() }, "{driver}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_skips_at_full_speed_is_a_gap() {
    let script = numbers(400_000, 118, 400_000, 0.0);
    for driver in ["json-file", "local"] {
        follow(&rotated(driver, "max-size=1m", "max-file=2"), 400_000, &script, leave_alone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn larger_files_at_full_speed_lose_nothing_in_silence() {
    let script = numbers(400_000, 118, 400_000, 0.0);
    follow(&rotated("json-file", "max-size=10m", "max-file=5"), 400_000, &script, leave_alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_held_up_tells_what_was_skipped() {
    let script = numbers(60_000, 400, 500, 0.02);
    let hold_up = async |source: &Source| {
        source.until(|records| records.values().any(|all| all.len() > 3_000)).await;
        for _ in 0..2 {
            source.stuck.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(700)).await;
            source.stuck.store(false, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    follow(&rotated("json-file", "max-size=1m", "max-file=2"), 60_000, &script, hold_up).await;
}
