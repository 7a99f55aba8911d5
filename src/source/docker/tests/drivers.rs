//! Log drivers of a real engine: what it hands out arrives once, and a source that drops lines is said to.
//!
//! The tests wait for containers without a break, so the source runs on a thread of its own.

use std::net::UdpSocket;
use std::path::Path;

use super::super::GapReason;
use super::engines::Dockerd;
use super::*;
use crate::record::Counters;

const BOTH: &str = "i=0; while [ $i -lt 500 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf tail";

/// Somewhere that a remote log driver may send to; nobody looks at it.
fn receiver() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = format!("udp://{}", socket.local_addr().expect("an address"));
    (socket, address)
}

/// Totals of each origin of a container, by stream.
fn totals(log: &Log, container: &str) -> BTreeMap<String, Counters> {
    let mut out = BTreeMap::new();
    for origin in log.live() {
        let constants = columns(&origin.info.constants);
        let stream = constants.get("Stream").cloned();
        if let Some(stream) = stream.filter(|_| constants["Container"] == container) {
            assert!(out.insert(stream, origin.counters).is_none(), "one origin a stream");
        }
    }
    out
}

/// What the engine itself hands out of one stream of a container, as lines.
fn handed_out(engine: &Engine, name: &str) -> [Vec<String>; 2] {
    let output = engine.docker(&["logs", name]).output().expect("logs");
    assert!(output.status.success(), "{output:?}");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

/// Runs a container with these options to its end while it is followed: all that the engine hands out has to be there.
async fn check(name: &str, options: &[&str], lossy: bool) {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let name = engine.run(name, options, BOTH);
    engine.wait(&name);
    let [out, err] = handed_out(&engine, &name);
    source.until(|r| count(r, &name, "stdout") >= out.len() && count(r, &name, "stderr") >= err.len()).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    // A restart reads it again, and neither line nor gap comes twice.
    start(engine.options(), &log, log.live()).stop().await;
    let records = log.records();
    assert_eq!(messages(&records, &name, "stdout"), out);
    assert_eq!(messages(&records, &name, "stderr"), err);
    let gaps: Vec<_> = stats.gaps().1.iter().map(|gap| (gap.reason, gap.name.clone())).collect();
    let totals = totals(&log, &name);
    if lossy {
        assert_eq!(gaps, [(GapReason::Lossy, name)]);
        assert!(totals.values().all(|total| (total.gaps, total.gap_words()) == (1, vec!["lossy"])), "{totals:?}");
    } else {
        assert_eq!((gaps, out.len(), err.len()), (Vec::new(), 501, 500));
        assert!(totals.values().all(|total| total.gaps == 0), "{totals:?}");
    }
    assert_eq!(totals.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_that_can_be_read_give_every_line_once() {
    check("json", &["--log-driver", "json-file"], false).await;
    check("local", &["--log-driver", "local"], false).await;
    check("blocking", &["--log-driver", "local", "--log-opt", "mode=blocking"], false).await;
    check("rotated", &["--log-opt", "max-size=1m", "--log-opt", "max-file=3"], false).await;
    check("one-file", &["--log-opt", "max-size=1m"], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_drivers_are_read_through_the_engines_cache_which_is_lossy_unless_it_blocks() {
    let (_syslog, address) = receiver();
    let to_syslog = format!("syslog-address={address}");
    let syslog = ["--log-driver", "syslog", "--log-opt", &to_syslog];
    check("syslog", &syslog, true).await;
    check("blocking", &[syslog.as_slice(), &["--log-opt", "mode=blocking"]].concat(), false).await;
    let to_gelf = format!("gelf-address={address}");
    check("gelf", &["--log-driver", "gelf", "--log-opt", &to_gelf], true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_dropped_lines_is_a_gap_of_both_streams() {
    let small = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1k"];
    check("json", &small, true).await;
    check("local", &[small.as_slice(), &["--log-driver", "local"]].concat(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_the_engine_does_not_keep_is_unreadable() {
    let mut engine = Engine::usual();
    let (_syslog, address) = receiver();
    let to_syslog = format!("syslog-address={address}");
    let uncached = ["--log-driver", "syslog", "--log-opt", &to_syslog, "--log-opt", "cache-disabled=true"];
    let script = format!("sleep 2; {BOTH}");
    let uncached = engine.run("uncached", &uncached, &script);
    let none = engine.run("none", &["--log-driver", "none"], &script);
    let readable = engine.run("readable", &[], "echo yes");
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until(|r| count(r, &readable, "stdout") == 1 && source.stats.gaps().0 >= 2).await;
    let mut gaps = source.stats.gaps().1;
    gaps.sort_by_key(|gap| gap.name == none);
    let gaps: Vec<_> = gaps.iter().map(|gap| (gap.reason, gap.name.as_str())).collect();
    assert_eq!(gaps, [(GapReason::Unreadable, uncached.as_str()), (GapReason::Unreadable, &none)]);
    // Without a line of theirs, what is said of the containers says it.
    source.until(|_| source.log.live().iter().map(|origin| origin.counters.gaps).sum::<u64>() == 2).await;
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_without_a_log_is_read_from_before_its_start() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    source.until_engine_is_up().await;
    let name = engine.create(&["create"], "none", &["--log-driver", "none"], BUSYBOX, &["sh", "-c", BOTH]);
    source.until(|_| source.stats.following() == 1).await;
    engine.call(&["start", &name]);
    source.until(|r| count(r, &name, "") == 1).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    let records = log.records();
    assert_eq!(messages(&records, &name, "stdout"), [numbered("out", 0..500), vec!["tail".to_owned()]].concat());
    assert_eq!(messages(&records, &name, "stderr"), numbered("err", 0..500));
    assert_eq!(stats.gaps().0, 0, "{:?}", stats.gaps());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_one_file_is_lossy_once_that_was_full() {
    let mut engine = Engine::usual();
    let source = start(engine.options(), &Log::default(), Vec::new());
    let script = "import time\nfor n in range(3000):\n  print('line%d' % n)\n  if n % 20 == 0: time.sleep(0.01)";
    let one_file = ["--log-opt", "max-size=100k"];
    let name = engine.create(&["run", "-d"], "one", &one_file, PYTHON, &["python3", "-u", "-c", script]);
    engine.wait(&name);
    let records = source.until(|r| messages(r, &name, "stdout").last() == Some(&"line2999")).await;
    let found = messages(&records, &name, "stdout");
    let numbers: Vec<u64> = found.iter().map(|line| line[4..].parse().expect("a number")).collect();
    assert!(numbers.len() > 1000, "{} lines", numbers.len());
    assert!(numbers.is_sorted_by(|one, next| one < next), "a line came twice");
    let log = source.log.clone();
    assert_eq!(source.stop().await.left_bytes, 0);
    let kinds: BTreeSet<&str> = log.live().iter().flat_map(|origin| origin.counters.gap_words()).collect();
    assert!(kinds.contains("lossy"), "{kinds:?} after {} lines", numbers.len());
}

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// An engine and a journal of its own, which see nothing of the machine's.
const WITH_JOURNAL: &str =
    "mount --make-rprivate / && mount -t tmpfs none /run/systemd && mount -t tmpfs none /run/log || exit 1
[ ! -d /var/log/journal ] || mount -t tmpfs none /var/log/journal
mkdir /run/systemd/journal; /lib/systemd/systemd-journald & journal=$!
while [ ! -S /run/systemd/journal/socket ]; do sleep 0.05; done
/usr/sbin/dockerd \"$@\" & engine=$!
trap 'kill $engine' TERM
wait $engine; wait $engine; kill $journal; wait $journal";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_gives_every_line_once() {
    let may_mount = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !may_mount || !Path::new(JOURNALD).exists() {
        eprintln!("not tested: there is no {JOURNALD}, or this user may not mount a file system");
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", WITH_JOURNAL, "sh"]);
    let dockerd = Dockerd::start_by(command, dir.path(), &["--log-driver", "journald"]);
    dockerd.load(BUSYBOX);
    let mut engine = Engine::at(Some(Dockerd::host(dir.path())));
    let source = start(engine.options(), &Log::default(), Vec::new());
    let script = format!("{BOTH}; head -c 100000 /dev/zero | tr '\\0' L; echo; {BOTH}");
    let name = engine.run("journal", &[], &script);
    engine.wait(&name);
    let [out, err] = handed_out(&engine, &name);
    assert_eq!((out.len(), err.len()), (1_002, 1_000));
    source.until(|r| count(r, &name, "stdout") >= 1_002 && count(r, &name, "stderr") >= 1_000).await;
    let (log, stats) = (source.log.clone(), Arc::clone(&source.stats));
    source.stop().await;
    // Its times are whole microseconds: equal ones are found again, too.
    start(engine.options(), &log, log.live()).stop().await;
    let records = log.records();
    let found = messages(&records, &name, "stdout");
    let differs = found.iter().zip(&out).position(|(found, out)| found != out);
    assert_eq!((differs, found.len()), (None, out.len()));
    assert_eq!(messages(&records, &name, "stderr"), err);
    assert_eq!(stats.gaps().0, 0);
    drop(engine);
    drop(dockerd);
}
