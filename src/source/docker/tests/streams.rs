//! What one life of a container gives: both streams, terminals, long lines, groups, drivers, selection.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::GapReason;
use super::*;

const BOTH: &str = "i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done";

#[tokio::test]
async fn both_streams_arrive_whole_in_order_and_with_their_columns() {
    let mut engine = Engine::usual();
    let before = crate::record::time::now();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name = engine.run("both", &["--label", "bench.task_id=17", "-e", "RUN_ID=42"], BOTH);
    let records = source.until(|r| count(r, &name, "stdout") == 500 && count(r, &name, "stderr") == 500).await;
    assert_eq!(messages(&records, &name, "stdout"), numbered("out", 0..500));
    assert_eq!(messages(&records, &name, "stderr"), numbered("err", 0..500));
    let id = engine.id(&name);
    for record in records.values().flatten() {
        assert!(record.time >= before && record.time <= crate::record::time::now(), "{record:?}");
        for (column, value) in [
            ("TaskID", "17"),
            ("RunID", "42"),
            ("VMName", "vm-7"),
            ("Source", "containers"),
            ("Container", &name),
            ("ContainerID", &id),
            ("Image", BUSYBOX),
            ("LoggerName", &format!("docker.{name}")),
        ] {
            assert_eq!(record.columns.get(column).map(String::as_str), Some(value), "{column}");
        }
    }
    engine.wait(&name);
    assert_eq!(source.stats.gaps().0, 0);
    assert_eq!(source.stop().await, Drained { origins: 2, left_bytes: 0 });
}

#[tokio::test]
async fn what_two_streams_print_at_once_stays_apart() {
    let mut engine = Engine::usual();
    let script = "i=0; while [ $i -lt 100 ]; do echo 'Traceback (most recent call last):' >&2; echo out$i; \
                  echo '  File \"a.py\", line 1, in f' >&2; echo '  more of it'; echo \"ValueError: $i\" >&2; i=$((i+1)); done";
    let name = engine.run("apart", &[], script);
    let mut options = engine.options();
    options.ingest.multiline = Multiline::Auto;
    options.ingest.parser = Parser::Auto;
    let source = start(options, &Log::default(), Vec::new());
    let records = source.until(|r| count(r, &name, "stdout") == 100 && count(r, &name, "stderr") == 100).await;
    let told: Vec<String> = (0..100).map(|n| format!("out{n}\n  more of it")).collect();
    assert_eq!(messages(&records, &name, "stdout"), told);
    let raised: Vec<String> = (0..100).map(|n| format!("ValueError: {n}")).collect();
    assert_eq!(messages(&records, &name, "stderr"), raised);
    source.stop().await;
}

#[tokio::test]
async fn a_terminal_has_one_stream_whose_long_lines_are_whole() {
    let mut engine = Engine::usual();
    let script = "echo first; echo err >&2; head -c 100000 /dev/zero | tr '\\0' T; echo; printf '\\001\\002end'";
    let name = engine.run("tty", &["-t"], script);
    engine.wait(&name);
    let source = start(engine.options(), &Log::default(), Vec::new());
    let long = "T".repeat(100_000);
    let expected = ["first", "err", &long, "\u{1}\u{2}end"];
    let records = source.until(|r| count(r, &name, "stdout") == 4).await;
    assert!(messages(&records, &name, "stdout") == expected);
    engine.call(&["start", &name]);
    engine.wait(&name);
    let records = source.until(|r| count(r, &name, "stdout") == 8).await;
    assert!(messages(&records, &name, "stdout")[4..] == expected);
    let log = source.log.clone();
    source.stop().await;

    // The unterminated end and the next run's first line stand in one row there; a restart tells them apart again.
    engine.call(&["start", &name]);
    engine.wait(&name);
    let source = start(engine.options(), &log, log.live());
    let records = source.until(|r| count(r, &name, "stdout") == 12).await;
    assert!(messages(&records, &name, "stdout")[8..] == expected);
    assert_eq!(source.stats.gaps().0, 0);
    assert_eq!(source.stop().await.origins, 1);
    assert_eq!(printed(records).len(), 1);
}

#[tokio::test]
async fn long_lines_on_both_streams_at_once_are_joined_each() {
    let mut engine = Engine::usual();
    let script = r"
import os, threading
def write(fd, letter):
    for n, size in enumerate([10, 16383, 16384, 16385, 40000, 1500000, 32768, 5]):
        data = (letter * size + '\n').encode()
        while data:
            data = data[os.write(fd, data):]
threads = [threading.Thread(target=write, args=a) for a in ((1, 'o'), (2, 'e'))]
[t.start() for t in threads]; [t.join() for t in threads]
";
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name = engine.python("long", script);
    engine.wait(&name);
    let records = source.until(|r| count(r, &name, "stdout") == 8 && count(r, &name, "stderr") == 8).await;
    for (stream, letter) in [("stdout", "o"), ("stderr", "e")] {
        let found: Vec<(usize, bool)> = messages(&records, &name, stream)
            .iter()
            .map(|line| (line.len(), line.bytes().all(|byte| byte == letter.as_bytes()[0])))
            .collect();
        let expected = [10, 16383, 16384, 16385, 40000, 1_500_000, 32768, 5].map(|size| (size, true));
        assert_eq!(found, expected, "{stream}");
    }
    source.stop().await;
}

#[tokio::test]
async fn terminated_lines_of_a_container_that_removes_itself_arrive() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name =
        engine.run("rm", &["--rm"], "sleep 0.5; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep 0.2");
    let records = source.until(|r| count(r, &name, "stdout") == 2000).await;
    assert_eq!(messages(&records, &name, "stdout"), numbered("", 0..2000));
    source.until(|_| source.log.all_ended()).await;
    source.stop().await;
}

#[tokio::test]
async fn containers_that_are_excluded_or_made_later_are_told_apart() {
    let mut engine = Engine::usual();
    let skipped = engine.run("skipped", &["--label", "logferry.skip="], "echo no");
    let early = engine.run("early", &[], "echo yes");
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until(|r| count(r, &early, "stdout") == 1).await;
    let later = engine.run("later", &[], "echo yes");
    let later_skipped = engine.run("later-skipped", &["--label", "logferry.skip=1"], "echo no");
    engine.wait(&later_skipped);
    let records = source.until(|r| count(r, &later, "stdout") == 1).await;
    assert_eq!(count(&records, &skipped, "stdout") + count(&records, &later_skipped, "stdout"), 0);
    assert_eq!(source.stop().await.origins, 2);
}

#[tokio::test]
async fn a_stop_right_after_the_start_reads_all_that_is_there() {
    let mut engine = Engine::usual();
    let many = engine.run("many", &[], "i=0; while [ $i -lt 20000 ]; do echo line$i; i=$((i+1)); done; printf end");
    engine.wait(&many);
    let running = engine.run("running", &[], "echo ready; exec sleep 1000");
    let silent = engine.run("silent", &[], "true");
    engine.wait(&silent);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let source = start(engine.options(), &Log::default(), Vec::new());
    let log = source.log.clone();
    assert_eq!(source.stop().await, Drained { origins: 2, left_bytes: 0 });
    let records = log.records();
    let mut expected = numbered("line", 0..20_000);
    expected.push("end".into());
    assert_eq!(messages(&records, &many, "stdout"), expected);
    assert_eq!(messages(&records, &running, "stdout"), ["ready"]);
}

#[tokio::test]
async fn a_drain_takes_groups_and_unterminated_lines_and_reading_goes_on() {
    let mut engine = Engine::usual();
    // Exactly one piece of 16 KiB reaches the log; the rest of the line comes when the file is there.
    let script = "echo head; echo ' indented'; head -c 16384 /dev/zero | tr '\\0' x; \
                  while [ ! -e /go ]; do sleep 0.05; done; echo rest; exec sleep 1000";
    let name = engine.run("drain", &[], script);
    let mut options = engine.options();
    options.ingest.multiline = Multiline::Auto;
    let end = Instant::now() + PATIENCE;
    while engine.call(&["logs", &name]).len() < 16384 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let source = start(options, &Log::default(), Vec::new());
    let drained = source.drain(Duration::from_millis(200)).await;
    assert_eq!(drained, Drained { origins: 1, left_bytes: 0 });
    let records = source.log.records();
    let lengths: Vec<usize> = messages(&records, &name, "stdout").iter().map(|line| line.len()).collect();
    assert_eq!(lengths, ["head\n indented".len(), 16384]);
    engine.call(&["exec", &name, "touch", "/go"]);
    let records = source.until(|r| count(r, &name, "stdout") == 3).await;
    assert_eq!(messages(&records, &name, "stdout")[2], "rest");
    source.stop().await;
}

#[tokio::test]
async fn log_drivers_that_cannot_be_read_are_a_gap_and_others_are_read() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let none = engine.run("none", &["--log-driver", "none"], "echo lost; sleep 1");
    let local = engine.run("local", &["--log-driver", "local"], &format!("{BOTH}; printf tail"));
    engine.wait(&local);
    let records = source.until(|r| count(r, &local, "stdout") == 501 && count(r, &local, "stderr") == 500).await;
    let mut expected = numbered("out", 0..500);
    expected.push("tail".into());
    assert_eq!(messages(&records, &local, "stdout"), expected);
    engine.wait(&none);
    engine.call(&["start", &none]);
    engine.wait(&none);
    let stats = Arc::clone(&source.stats);
    source.stop().await;
    let (gaps, kept) = stats.gaps();
    assert_eq!((gaps, kept[0].reason, &kept[0].name), (1, GapReason::Unreadable, &none));
}

#[tokio::test]
async fn a_full_buffer_lets_the_stream_go_holds_nobody_up_and_loses_nothing() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.stuck.store(true, Ordering::Relaxed);
    // More than twice what the queue holds.
    let text = "x".repeat(400);
    let script =
        format!("import sys\nfor n in range(50000): sys.stdout.write('%d {text}\\n' % n)\nsys.stderr.write('e\\n')");
    let name = engine.python("full", &script);
    let end = Instant::now() + PATIENCE;
    while source.stats.reconnects() == 0 || source.stats.following() > 0 {
        assert!(Instant::now() < end, "the stream stays: {:?}", source.stats);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    engine.wait(&name);
    let read = source.stats.read_bytes();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(source.stats.read_bytes(), read, "nothing is read while it is full");
    for round in 1..=3 {
        source.stuck.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        source.stuck.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    source.stuck.store(false, Ordering::Relaxed);
    let log = source.log.clone();
    source.stop().await;
    let records = log.records();
    let expected = numbered("", 0..50_000).into_iter().map(|line| format!("{line} {text}"));
    assert!(messages(&records, &name, "stdout").into_iter().eq(expected));
    assert_eq!(messages(&records, &name, "stderr"), ["e"]);
}
