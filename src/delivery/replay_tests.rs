//! A replay into a file: every letter once, whatever cut it short.

use std::time::Duration;

use super::super::letter::{Refusal, Refused};
use super::*;
use crate::sink::{Kind, file};

/// Bytes of a batch: some ten letters.
const BATCH_BYTES: usize = 3_000;

struct Bench {
    dir: tempfile::TempDir,
    dead: DeadLetters,
}

fn id(n: u64) -> EventId {
    EventId((u128::from(n) << 64 | 7).to_le_bytes())
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let dead = DeadLetters::new(&dir.path().join("dead"), "out");
        Bench { dir, dead }
    }

    fn write(&self, numbers: impl IntoIterator<Item = u64>) {
        let refusal = Refusal { status: 400, kind: "k".into(), reason: "r".into() };
        for n in numbers {
            let document = format!("{{\"@timestamp\":\"2026-11-20T10:00:00.000Z\",\"Seq\":{n}}}");
            let (origin, document) = (OriginId([1; 16]), document.as_bytes());
            let letter = Refused { id: id(n), origin, run_id: "42", document, refusal: &refusal };
            self.dead.append([letter].into_iter()).expect("append");
        }
    }

    fn out(&self) -> std::path::PathBuf {
        self.dir.path().join("out/records.ndjson")
    }

    fn replay(&self) -> Replay {
        let options = sink::Options {
            name: "out".into(),
            when: None,
            batch_bytes: BATCH_BYTES,
            in_flight: 1,
            max_age: Duration::from_secs(1),
            kind: Kind::File(file::Options { path: self.out(), max_bytes: 0, keep: 0 }),
        };
        let sink = Sink::new(&options, "test").expect("a sink");
        Replay::new(&options, sink, self.dead.dir())
    }

    /// Seq of each record in the file, sorted.
    fn stored(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.out()).unwrap_or_default();
        let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["Seq"].as_u64();
        let mut seqs: Vec<u64> = text.lines().filter_map(number).collect();
        seqs.sort_unstable();
        seqs
    }
}

#[tokio::test]
async fn all_letters_are_sent_once_and_nothing_of_their_files_is_left() {
    let bench = Bench::new();
    bench.write(0..100);
    let replay = bench.replay();
    replay.run().await.expect("a replay");
    assert_eq!(replay.replayed(), Replayed { sent: 100, ..Replayed::default() });
    assert_eq!(replay.left_bytes(), 0);
    assert_eq!(bench.stored(), (0..100).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(bench.dead.dir()).expect("folder").count(), 0);
    let again = bench.replay();
    again.run().await.expect("nothing to do");
    assert_eq!(again.replayed(), Replayed::default());
}

#[tokio::test]
async fn what_cannot_be_sent_stays_as_it_is() {
    let bench = Bench::new();
    let kept = [
        format!("{{\"EventID\":\"{}\",\"status\":400}}", id(1)),
        format!("{{\"EventID\":\"{}\",\"record\":{{\"TimeGenerated\":\"of another sink\"}}}}", id(2)),
        "{\"torn\":".to_owned(),
    ];
    bench.write(10..40);
    bench.dead.put_back(format!("{}\n\n{}\n", kept[0], kept[1]).as_bytes()).expect("lines");
    bench.write(40..60);
    // Without its end.
    bench.dead.put_back(kept[2].as_bytes()).expect("a line");
    let replay = bench.replay();
    replay.run().await.expect("a replay");
    let expected = Replayed { sent: 50, without_document: 1, unreadable: 2, ..Replayed::default() };
    assert_eq!(replay.replayed(), expected);
    let mut lines: Vec<String> =
        fs::read_to_string(bench.dead.path()).expect("letters").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let mut kept = kept;
    kept.sort_unstable();
    assert_eq!(lines, kept);
    assert_eq!(bench.stored().len(), 50);
}

#[tokio::test]
async fn a_letter_that_a_crash_wrote_twice_is_sent_once() {
    let bench = Bench::new();
    bench.write(0..30);
    bench.dead.take_up().expect("a replay that was cut short");
    bench.write((10..20).chain(30..50).chain(35..40));
    let replay = bench.replay();
    replay.run().await.expect("a replay");
    assert_eq!(replay.replayed().sent, 50);
    assert!(replay.replayed().possible_doubles > 0, "a file cannot be asked what it holds");
    assert_eq!(bench.stored(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_that_is_cut_short_loses_nothing_and_the_next_one_goes_on() {
    let bench = Bench::new();
    bench.write(0..1_000);
    let (mut sent_before, mut cuts) = (0, 0);
    for _ in 0..50 {
        let replay = bench.replay();
        // So long that some of it is done: the file sink syncs each portion.
        let _ = tokio::time::timeout(Duration::from_millis(20), replay.run()).await;
        let Replayed { sent, left, .. } = replay.replayed();
        assert!(left <= 1_000 - sent_before, "{left} left after {sent_before}");
        sent_before += sent;
        cuts += 1;
        if left == 0 {
            break;
        }
    }
    bench.replay().run().await.expect("the rest");
    let mut seqs = bench.stored();
    let stored = seqs.len();
    seqs.dedup();
    assert_eq!(seqs, (0..1_000).collect::<Vec<_>>());
    assert!(stored <= 1_000 + cuts * BATCH_BYTES / 150, "each of {cuts} cuts repeats a portion at most: {stored}");
    assert_eq!(fs::read_dir(bench.dead.dir()).expect("folder").count(), 0);
}

#[tokio::test]
async fn two_replays_at_once_do_not_happen() {
    let bench = Bench::new();
    bench.write(0..10);
    let replay = bench.replay();
    let other = replay.shared.dead.begin_replay().expect("free");
    assert!(matches!(replay.run().await, Err(ReplayError::Busy)));
    drop(other);
    replay.run().await.expect("free again");
}

#[test]
fn portions_are_whole_lines_from_the_end() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("f");
    let check = |text: &str, max: usize, expected: &[&str]| {
        fs::write(&path, text).expect("write");
        let file = File::open(&path).expect("open");
        let mut len = text.len() as u64;
        let mut portions = Vec::new();
        while len > 0 {
            let (start, bytes) = read_end(&file, len, max).expect("read").expect("a line");
            assert!(start < len);
            portions.push(String::from_utf8(bytes).expect("text"));
            len = start;
        }
        assert_eq!(portions, expected, "{text:?} {max}");
    };
    check("", 10, &[]);
    check("a\nb\nc\n", 100, &["a\nb\nc\n"]);
    check("a\nb\nc\n", 5, &["b\nc\n", "a\n"]);
    check("a\nb\nc\n", 4, &["c\n", "a\nb\n"]);
    check("a\nb\nc\n", 1, &["c\n", "a\nb\n"]);
    check("a\na longer line\nc\n", 3, &["c\n", "a\na longer line\n"]);
    check("a\nno end", 7, &["no end", "a\n"]);
    check("\n\n", 1, &["\n\n"]);
    fs::write(&path, vec![b'x'; LINE_MAX_BYTES as usize * 2 + 10]).expect("write");
    let file = File::open(&path).expect("open");
    assert!(read_end(&file, LINE_MAX_BYTES * 2 + 10, 1_000).expect("read").is_none());
}
