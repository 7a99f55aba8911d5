//! Delivery to Azure Monitor while Azure makes it wait, on a clock that the test puts forward: a role that takes effect
//! after minutes, a limit that is reached, a trickle. The buffer, the loop and the sink are the real ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logferry::buffer::section::RecordHeader;
use logferry::buffer::storage::Disk;
use logferry::buffer::{self, Buffer, OriginInfo, Records, Section, WhenFull};
use logferry::delivery::{Delivery, Handle};
use logferry::record::{Constants, Counters, EventId, OriginId, time};
use logferry::sink::azure_monitor::{AzureMonitor, BODY_MAX_BYTES};
use logferry::sink::{self, Kind, Sink};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::PATIENCE;

/// How far the clock is put forward at a time.
const STEP: Duration = Duration::from_millis(250);

/// Real time for an answer on the loopback interface after each step.
const ANSWER: Duration = Duration::from_millis(2);

/// A delivery that runs, and what gives it records.
struct Scene {
    server: AzureServer,
    buffer: Buffer,
    handle: Handle,
    counters: Counters,
    origin: Arc<OriginInfo>,
    task: JoinHandle<Result<u64, logferry::delivery::DeliveryError>>,
    stop: watch::Sender<bool>,
    dir: TempDir,
    /// When each call came, since the scene began, by the clock that is put forward.
    calls: Vec<Duration>,
    begun: Instant,
}

impl Scene {
    fn new() -> Scene {
        let server = AzureServer::start(AzureSettings::default());
        let dir = tempfile::tempdir().expect("a folder");
        let setup = buffer::Setup {
            dir: dir.path().join("buffer"),
            cursor_dir: dir.path().join("cursors"),
            options: buffer::Options { max_bytes: 1 << 30, when_full: WhenFull::Block, sync: Duration::from_millis(5) },
            sinks: vec!["azure".to_owned()],
        };
        let (mut buffer, mut cursors) = buffer::open(&setup, Arc::new(Disk)).expect("a buffer");
        let azure = crate::azure_sink::options(&server);
        let options = sink::Options {
            name: Arc::from("azure"),
            when: None,
            batch_bytes: BODY_MAX_BYTES,
            in_flight: 2,
            max_age: Duration::from_secs(1),
            kind: Kind::AzureMonitor(Box::new(azure.clone())),
        };
        let authority = Url::parse(&server.authority).expect("URL");
        let sink = AzureMonitor::with_authority(azure, "logferry-test", Some(authority)).expect("a sink");
        let reader = buffer.readers.pop().expect("a reader");
        let cursor = cursors.pop().expect("a cursor");
        let dead = dir.path().join("dead-letters");
        let delivery = Delivery::new(&options, Sink::AzureMonitor(sink), reader, cursor, &dead);
        let handle = delivery.handle();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(delivery.run(stopped));
        let id = OriginId([3; 16]);
        let constants = Constants::new([("Origin".to_owned(), id.to_string())]).members().to_vec();
        let origin = Arc::new(OriginInfo { id, descriptor: vec![1], constants });
        let (calls, begun) = (Vec::new(), Instant::now());
        Scene { server, buffer, handle, counters: Counters::default(), origin, task, stop, dir, calls, begun }
    }

    /// Appends so many records with messages of `bytes` bytes.
    async fn append(&mut self, count: usize, bytes: usize) {
        let mut records = Records::default();
        let first_seq = self.counters.records + 1;
        for _ in 0..count {
            self.counters.records += 1;
            self.counters.count_route(0b1);
            let event_id = EventId::new(self.origin.id, self.counters.records, 0, 0);
            let header = RecordHeader { time: time::now(), event_id, begin: 0, extent: 1, route: 0b1 };
            records.push(&header, |out| {
                out.extend_from_slice(b"\"Message\":\"");
                out.resize(out.len() + bytes, b'x');
                out.push(b'"');
            });
        }
        let section = Section {
            origin: Arc::clone(&self.origin),
            position: Vec::new(),
            counters: self.counters.clone(),
            ended: false,
            first_seq,
            base: 0,
            records,
        };
        self.buffer.appender.append(section).await.expect("room");
        self.buffer.control.flush().await.expect("a log");
    }

    /// Puts the clock of the delivery forward, step by step, and notes when it called. The server's stays.
    async fn forward(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::pause();
            tokio::time::advance(STEP).await;
            tokio::time::resume();
            // Not an event that could be awaited: that no call comes is what is looked at, too.
            tokio::time::sleep(ANSWER).await;
            self.look();
        }
    }

    fn look(&mut self) {
        let calls = self.server.read(|l| l.calls()) as usize;
        self.calls.resize(calls, self.begun.elapsed());
    }

    /// Waits, in real time, until so many calls were answered.
    async fn answered(&mut self, calls: u64) {
        self.server.until("a call", PATIENCE, |l| l.calls() >= calls).await;
        self.look();
    }

    async fn end(self) {
        let end = self.buffer.control.flush().await.expect("a log");
        let mut progress = self.handle.progress.clone();
        let passed = tokio::time::timeout(PATIENCE, progress.wait_for(|at| *at >= end)).await;
        passed.expect("the cursor gets to the end").expect("the loop runs");
        self.stop.send_replace(true);
        let left = self.task.await.expect("the loop").expect("its end");
        assert_eq!(left, 0);
        let mut seqs: Vec<u64> =
            self.server.records().iter().filter_map(|r| r.get("Seq").and_then(Value::as_u64)).collect();
        // Of two bodies under way either may be the first.
        seqs.sort_unstable();
        let missing = (1..=self.counters.records).find(|seq| seqs.binary_search(seq).is_err());
        assert_eq!((missing, seqs.len() as u64), (None, self.counters.records), "each is there once");
        assert_eq!(self.handle.stats.dead_lettered.load(Ordering::Relaxed), 0);
        assert!(!self.dir.path().join("dead-letters/azure.ndjson").exists());
    }
}

/// A role on the rule takes effect after minutes: asked for slowly, said loudly, and nothing is lost.
#[tokio::test]
async fn a_role_that_takes_five_minutes_to_be_known_costs_some_calls_and_no_record() {
    const FIVE_MINUTES: Duration = Duration::from_secs(300);
    let mut scene = Scene::new();
    scene.server.set_role(false);
    scene.append(100, 300).await;
    scene.answered(1).await;
    // Records go on coming meanwhile.
    for _ in 0..10 {
        scene.forward(FIVE_MINUTES / 10).await;
        scene.append(100, 300).await;
    }
    let refused = scene.server.read(|l| l.answered(403));
    eprintln!("calls at {:?}", scene.calls);
    assert!((4..=24).contains(&refused), "two bodies at a time, slower and slower: {refused} calls");
    assert!(scene.handle.stats.fault().is_some_and(|fault| fault.starts_with("403: OperationFailed")));
    assert_eq!(scene.server.records().len(), 0);
    scene.server.set_role(true);
    // The longest wait is a minute and its jitter.
    scene.forward(Duration::from_secs(80)).await;
    assert_eq!(scene.server.records().len(), 1_100);
    assert_eq!(scene.handle.stats.fault(), None);
    scene.end().await;
}

#[tokio::test]
async fn after_a_429_no_call_comes_before_the_time_that_azure_asked_for() {
    const WAIT: Duration = Duration::from_secs(90);
    let mut scene = Scene::new();
    scene.server.fault(Fault::Status(429, Some(WAIT)));
    scene.append(10, 300).await;
    scene.answered(1).await;
    let refused = scene.calls[0];
    for _ in 0..9 {
        scene.append(10, 300).await;
        scene.forward(Duration::from_secs(15)).await;
    }
    eprintln!("calls at {:?}", scene.calls);
    assert_eq!(scene.calls[0], refused);
    assert!(scene.calls[1] - refused >= WAIT, "{:?}", scene.calls);
    scene.forward(Duration::from_secs(30)).await;
    assert_eq!(scene.server.records().len(), 100);
    scene.end().await;
}

/// At most a request a second while calm; a backlog and a drain wait for nobody.
#[tokio::test]
async fn a_trickle_waits_a_second_and_a_backlog_or_a_drain_does_not() {
    const SECONDS: u64 = 20;
    let mut scene = Scene::new();
    scene.append(1, 300).await;
    scene.answered(1).await;
    for _ in 0..SECONDS * 4 {
        scene.append(1, 300).await;
        scene.forward(STEP).await;
    }
    let calls = scene.server.read(|l| l.calls());
    eprintln!("{calls} calls in {SECONDS} s");
    assert!((SECONDS * 3 / 4..=SECONDS + 1).contains(&calls), "{calls} calls: {:?}", scene.calls);

    // Ten full bodies go out at once: no step of the clock is needed. What is left over is due in a second.
    scene.append(1_000, 10_000).await;
    scene.answered(calls + 9).await;
    scene.forward(Duration::from_secs(2)).await;

    // A drain does not wait out the second that a trickle would.
    scene.append(1, 300).await;
    scene.forward(Duration::from_secs(2)).await;
    let calls = scene.server.read(|l| l.calls());
    scene.append(1, 300).await;
    tokio::time::sleep(ANSWER * 10).await;
    let hurry = scene.handle.hurry();
    let begun = std::time::Instant::now();
    scene.answered(calls + 1).await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    drop(hurry);
    scene.end().await;
}
