//! Streams that are no lines of text, and logs that the engine cannot read: nothing is lost in silence, and nothing stops.

use std::io::Write as _;
use std::path::PathBuf;

use super::super::GapReason;
use super::*;

/// Every byte alone, all of them in a row, megabytes without a newline, and then lines of noise; the same on both streams, with
/// other noise.
const RUBBISH: &str = r"
import os, random, threading
def write(fd):
    noise = random.Random(fd)
    every = bytes(range(256))
    parts = [bytes([n]) * 3 + b'\n' for n in range(256)] + [every * 2, noise.randbytes(3000000).replace(b'\n', b'\x00'), b'\n']
    parts += [noise.randbytes(noise.randrange(60000)) + b'\n' for _ in range(40)]
    data = b'\x00\x01\x02' + b''.join(parts) + b'end\n'
    while data:
        data = data[os.write(fd, data):]
threads = [threading.Thread(target=write, args=(fd,)) for fd in (1, 2)]
[t.start() for t in threads]; [t.join() for t in threads]
";

/// The lines that stand in these bytes, as records hold them.
fn lines(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = |line: &[u8]| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    bytes.split(|byte| *byte == b'\n').map(text).collect()
}

/// What has to arrive of both streams: what the engine hands out, or what was printed.
#[derive(Clone, Copy)]
enum Expected {
    HandedOut,
    /// Driver local of Docker 20.10 hands out a long line of certain lengths without its newline; the times tell.
    Printed,
}

impl Expected {
    fn of(self, engine: &Engine, name: &str) -> [(&'static str, Vec<u8>); 2] {
        let print = ["run", "--rm", "--network", "none", "--log-driver", "none", PYTHON, "python3", "-c", RUBBISH];
        let output = match self {
            Expected::HandedOut => engine.docker(&["logs", name]).output(),
            Expected::Printed => engine.docker(&print).output(),
        };
        let output = output.expect("docker is installed");
        assert!(output.status.success(), "{}", output.status);
        [("stdout", output.stdout), ("stderr", output.stderr)]
    }
}

/// Runs it with these options, as pieces where a line is longer than `max_line`.
async fn check(name: &str, options: &[&str], max_line: usize, expected: Expected) {
    let mut engine = Engine::usual();
    let mut taken = engine.options();
    taken.ingest.max_line = max_line;
    let source = start(taken, &Log::default(), Vec::new());
    let name = engine.create(&["run", "-d"], name, options, PYTHON, &["python3", "-c", RUBBISH]);
    engine.wait(&name);
    let log = source.log.clone();
    let stats = Arc::clone(&source.stats);
    assert_eq!(source.stop().await.left_bytes, 0);
    let records = log.records();
    for (stream, bytes) in expected.of(&engine, &name) {
        let expected = if bytes.is_empty() { Vec::new() } else { lines(&bytes) };
        let found = messages(&records, &name, stream);
        if max_line > bytes.len() {
            let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
            assert_eq!((differs, found.len()), (None, expected.len()), "{name} {stream}");
        } else {
            // A character that was cut in the middle is none any more.
            let plain = |text: String| text.replace(|c: char| !c.is_ascii() || c == '\r', "");
            assert!(plain(found.concat()) == plain(expected.concat()), "{name} {stream}");
            assert!(found.len() > expected.len() && found.iter().all(|line| line.len() <= 3 * max_line));
        }
    }
    assert_eq!(stats.gaps().0, 0, "{:?}", stats.gaps());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_any_kind_arrive_as_the_engine_hands_them_out() {
    let max_line = 64 * 1024 * 1024;
    check("json", &[], max_line, Expected::HandedOut).await;
    check("local", &["--log-driver", "local"], max_line, Expected::Printed).await;
    check("terminal", &["-t"], max_line, Expected::HandedOut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_over_max_line_are_cut_on_both_streams() {
    check("json", &[], 20_000, Expected::HandedOut).await;
    check("local", &["--log-driver", "local"], 1_024, Expected::Printed).await;
    check("terminal", &["-t"], 20_000, Expected::HandedOut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_the_engine_breaks_off_is_a_gap() {
    let mut engine = Engine::usual();
    let name = engine.run("broken", &[], "i=0; while [ $i -lt 100 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done");
    engine.wait(&name);
    let path = PathBuf::from(engine.call(&["inspect", "-f", "{{.LogPath}}", &name]));
    let mut file = std::fs::File::options().append(true).open(path).expect("the engine's data folder");
    file.write_all(b"[1,2\n").expect("written");
    let source = start(engine.options(), &Log::default(), Vec::new());
    let records = source.until(|r| count(r, &name, "stdout") == 100 && count(r, &name, "stderr") == 100).await;
    assert_eq!(messages(&records, &name, "stdout"), numbered("out", 0..100));
    source.until(|_| source.stats.gaps().0 > 0).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    let (gaps, kept) = stats.gaps();
    assert_eq!((gaps, kept[0].reason, &kept[0].name), (1, GapReason::BrokenOff, &name));
    let kinds: Vec<&str> = log.live().iter().flat_map(|origin| origin.counters.gap_words()).collect();
    assert_eq!(kinds, ["broken_off"]);
}
