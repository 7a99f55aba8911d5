//! Tests of the Docker source against a real engine: what arrives, and that it arrives once.
//!
//! The engine is that of `DOCKER_HOST` or the usual socket; `tests/services` starts it and builds the images. Tests that stop
//! an engine start one of their own.

mod drivers;
mod engines;
mod podman;
mod resume;
mod rotation;
mod rubbish;
mod short;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{ColumnFrom, Error, Host, Options, Select, Setup, Stats};
use crate::buffer::detached::{Detached, detached};
use crate::buffer::section::split_record;
use crate::buffer::{LiveOrigin, Section};
use crate::ingest::{self, Multiline, Parser};
use crate::record::Nanos;
use crate::source::{Control, Drained, RunColumns};

const BUSYBOX: &str = "logferry-test/busybox:1";
const PYTHON: &str = "logferry-test/python:1";
const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// An engine, and the containers of one test on it; they are removed with it.
struct Engine {
    host: Option<String>,
    label: String,
    names: HashSet<String>,
}

impl Engine {
    /// That of `DOCKER_HOST`, else the one at the usual socket.
    fn usual() -> Engine {
        let engine = Engine::at(None);
        let there = engine.docker(&["image", "inspect", BUSYBOX, PYTHON]).output().is_ok_and(|o| o.status.success());
        assert!(there, "no Docker engine with the images of the tests: run tests/services/up.sh");
        engine
    }

    fn at(host: Option<String>) -> Engine {
        let label = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Engine { host, label, names: HashSet::new() }
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.args(args).stdin(Stdio::null());
        command
    }

    fn call(&self, args: &[&str]) -> String {
        let output = self.docker(args).output().expect("docker is installed");
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn name(&mut self, name: &str) -> String {
        let full = format!("lf-{}-{name}", self.label);
        self.names.insert(full.clone());
        full
    }

    /// `docker VERB --label … --network none OPTIONS IMAGE COMMAND`; gives the full name.
    fn create(&mut self, verb: &[&str], name: &str, options: &[&str], image: &str, command: &[&str]) -> String {
        let full = self.name(name);
        let label = format!("logferry-test={}", self.label);
        let mut args = verb.to_vec();
        args.extend(["--label", &label, "--network", "none", "--name", &full]);
        args.extend(options);
        args.push(image);
        args.extend(command);
        self.call(&args);
        full
    }

    fn run(&mut self, name: &str, options: &[&str], script: &str) -> String {
        self.create(&["run", "-d"], name, options, BUSYBOX, &["sh", "-c", script])
    }

    fn python(&mut self, name: &str, script: &str) -> String {
        self.create(&["run", "-d"], name, &[], PYTHON, &["python3", "-u", "-c", script])
    }

    fn wait(&self, name: &str) {
        self.call(&["wait", name]);
    }

    fn id(&self, name: &str) -> String {
        self.call(&["inspect", "-f", "{{.Id}}", name])
    }

    fn options(&self) -> Options {
        Options {
            name: "containers".into(),
            host: self.host.clone().map_or(Host::Auto, Host::Address),
            include: Select { labels: vec![format!("logferry-test={}", self.label)], ..Select::default() },
            exclude: Select { labels: vec!["logferry.skip".into()], ..Select::default() },
            columns: vec![
                ("TaskID".into(), ColumnFrom::Label("bench.task_id".into())),
                ("RunID".into(), ColumnFrom::Env("RUN_ID".into())),
            ],
            ingest: ingest::Options {
                parser: Parser::Raw,
                multiline: Multiline::None,
                max_line: 8 * 1024 * 1024,
                ..ingest::Options::default()
            },
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut args = vec!["rm", "-f", "-v"];
        args.extend(self.names.iter().map(String::as_str));
        if args.len() > 3 {
            let _ = self.docker(&args).output();
        }
    }
}

/// The log that the sources of a test append to, one after the other.
#[derive(Clone, Default)]
struct Log {
    sections: Arc<Mutex<Vec<Section>>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Section>> {
        self.sections.lock().expect("whole")
    }

    /// What a start finds: each origin as its last section left it.
    fn live(&self) -> Vec<LiveOrigin> {
        let mut by_id = BTreeMap::new();
        for section in self.lock().iter() {
            let live = LiveOrigin {
                info: Arc::clone(&section.origin),
                position: section.position.clone(),
                counters: section.counters.clone(),
                ended: section.ended,
                removed: Vec::new(),
            };
            by_id.insert(section.origin.id, live);
        }
        by_id.into_values().collect()
    }

    fn all_ended(&self) -> bool {
        self.live().iter().all(|origin| origin.ended)
    }

    fn records(&self) -> Records {
        let mut out = Records::new();
        let mut seqs: HashMap<String, u64> = HashMap::new();
        for section in self.lock().iter() {
            let constants = columns(&section.origin.constants);
            let stream = constants.get("Stream").cloned().unwrap_or_default();
            let key = (constants["Container"].clone(), stream);
            let seq = seqs.entry(constants["Origin"].clone()).or_insert(1);
            assert_eq!(section.first_seq, *seq, "Seq has no hole: {constants:?}");
            *seq += u64::from(section.records.count);
            let records = out.entry(key).or_default();
            let mut rest = section.records.bytes.as_slice();
            while let Some(((header, members), behind)) = split_record(rest) {
                rest = behind;
                let mut all = constants.clone();
                all.extend(columns(members));
                let message = all.remove("Message").unwrap_or_default();
                if all.get("Part").is_some_and(|part| part != "1") {
                    // A further part of a long message.
                    let first: &mut Record = records.last_mut().expect("a first part");
                    first.message.push_str(&message);
                    continue;
                }
                let event_id = header.event_id.to_string();
                records.push(Record { columns: all, time: header.time, message, event_id });
            }
        }
        out.retain(|_, records| !records.is_empty());
        out
    }
}

/// A running source.
struct Source {
    log: Log,
    shelf: Arc<Detached>,
    /// While it is set, nothing is taken off the queue: it fills up.
    stuck: Arc<AtomicBool>,
    collector: JoinHandle<()>,
    control: mpsc::Sender<Control>,
    task: JoinHandle<Result<(), Error>>,
    stats: Arc<Stats>,
}

fn start(options: Options, log: &Log, live: Vec<LiveOrigin>) -> Source {
    start_as(options, log, live, &[("RunID", "of-the-run"), ("VMName", "vm-7")])
}

fn start_as(options: Options, log: &Log, live: Vec<LiveOrigin>, run: &[(&str, &str)]) -> Source {
    start_with(options, log, live, run, None)
}

fn start_with(
    options: Options,
    log: &Log,
    live: Vec<LiveOrigin>,
    run: &[(&str, &str)],
    memory: Option<PathBuf>,
) -> Source {
    let (appender, shelf) = detached();
    let (control, receiver) = mpsc::channel(4);
    let stats = Arc::new(Stats::default());
    let run = RunColumns(run.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    let setup = Setup { options, run, appender, live, control: receiver, stats: Arc::clone(&stats), memory };
    let task = tokio::spawn(super::run(setup));
    let (shelf, stuck) = (Arc::new(shelf), Arc::new(AtomicBool::new(false)));
    let collector = tokio::spawn(collect(Arc::clone(&shelf), log.clone(), Arc::clone(&stuck)));
    Source { log: log.clone(), shelf, stuck, collector, control, task, stats }
}

async fn collect(shelf: Arc<Detached>, log: Log, stuck: Arc<AtomicBool>) {
    loop {
        if !stuck.load(Ordering::Relaxed) {
            log.lock().extend(shelf.take(Duration::ZERO));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

impl Source {
    async fn drain(&self, settle: Duration) -> Drained {
        let (done, answer) = oneshot::channel();
        self.control.send(Control::Drain { settle, deadline: None, done }).await.expect("it runs");
        let drained = answer.await.expect("an answer");
        self.log.lock().extend(self.shelf.take(Duration::ZERO));
        drained
    }

    async fn stop(self) -> Drained {
        let (done, answer) = oneshot::channel();
        let settle = Duration::from_millis(100);
        self.control.send(Control::Stop { settle, deadline: None, done }).await.expect("it runs");
        let drained = answer.await.expect("an answer");
        self.task.await.expect("no panic").expect("no error");
        self.collector.abort();
        self.log.lock().extend(self.shelf.take(Duration::ZERO));
        drained
    }

    /// Ends it without warning, as kill -9 does; what it queued stands in the log.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
        // The tasks of its containers hold the other ends.
        while Arc::strong_count(&self.stats) > 1 {
            tokio::task::yield_now().await;
        }
        self.collector.abort();
        self.log.lock().extend(self.shelf.take(Duration::ZERO));
    }

    /// Waits until it hears what the engine says.
    async fn until_engine_is_up(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.stats.engine_up() {
            assert!(Instant::now() < end, "no engine");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the records fulfil `enough`.
    async fn until(&self, enough: impl Fn(&Records) -> bool) -> Records {
        let end = Instant::now() + PATIENCE;
        loop {
            let records = self.log.records();
            if enough(&records) {
                return records;
            }
            assert!(Instant::now() < end, "not in time: {:?}", summary(&records));
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

#[derive(Clone, Debug)]
struct Record {
    columns: HashMap<String, String>,
    time: Nanos,
    message: String,
    event_id: String,
}

/// By container and stream.
type Records = BTreeMap<(String, String), Vec<Record>>;

/// Without what is said of the containers themselves.
fn printed(mut records: Records) -> Records {
    records.retain(|(_, stream), _| !stream.is_empty());
    records
}

fn columns(members: &[u8]) -> HashMap<String, String> {
    let text = [b"{", members, b"}"].concat();
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).expect("JSON members");
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    members.into_iter().map(|(name, value)| (name, text(value))).collect()
}

fn summary(records: &Records) -> Vec<String> {
    records.iter().map(|((container, stream), all)| format!("{container} {stream}: {}", all.len())).collect()
}

fn messages<'a>(records: &'a Records, container: &str, stream: &str) -> Vec<&'a str> {
    let key = (container.to_owned(), stream.to_owned());
    records.get(&key).map(|all| all.iter().map(|record| record.message.as_str()).collect()).unwrap_or_default()
}

fn count(records: &Records, container: &str, stream: &str) -> usize {
    messages(records, container, stream).len()
}

fn numbered(prefix: &str, range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("{prefix}{n}")).collect()
}
