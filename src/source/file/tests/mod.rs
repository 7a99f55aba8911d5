//! The file source with real files: what stands in them comes out once, whatever happens to them.

mod archives;
mod chaos;
mod copytruncate;
mod discovery;
mod encodings;
mod holes;
mod limit;
mod names;
mod restart;
mod rotation;
mod targets;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::position::Position;
use super::*;
use crate::buffer::detached::{Detached, detached};
use crate::buffer::section::{Section, split_record};
use crate::ingest::{self, Multiline, Parser};
use crate::record::{GapKind, OriginId};
use crate::source::{Control, Drained};

/// Longest wait for anything; only a failing test waits this long.
const LIMIT: Duration = Duration::from_secs(30);

const SETTLE: Duration = Duration::from_millis(100);

/// Short times, so that what depends on quiet is over soon.
const QUICK: Timing = Timing {
    poll: Duration::from_millis(40),
    group_quiet: Duration::from_millis(100),
    copy_proof: Duration::from_millis(300),
    gone_quiet: Duration::from_millis(200),
    rotated_quiet: Duration::from_millis(400),
    wake_pause: Duration::from_millis(1),
};

fn options(name: &str, include: &[String]) -> Options {
    Options {
        name: name.into(),
        include: include.iter().map(|text| Pattern::parse(text).expect(text)).collect(),
        exclude: Vec::new(),
        start_at: StartAt::Beginning,
        ignore_older: None,
        ingest: ingest::Options { parser: Parser::Raw, multiline: Multiline::None, ..ingest::Options::default() },
    }
}

/// A folder with logs, and everything that a source is started with.
struct Scene {
    folder: TempDir,
    sources: Vec<Options>,
    run: Vec<(String, String)>,
    own_paths: Vec<PathBuf>,
    timing: Timing,
    /// Everything that was appended since the folder was made, over all starts.
    log: Vec<Section>,
}

impl Scene {
    /// One source `app` that includes these patterns, taken from the folder.
    fn new(include: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let include: Vec<String> = include.iter().map(|p| format!("{}/{p}", folder.path().display())).collect();
        let sources = vec![options("app", &include)];
        Scene { folder, sources, run: Vec::new(), own_paths: Vec::new(), timing: QUICK, log: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect(name);
    }

    fn append(&self, name: &str, text: &str) {
        appender(&self.path(name)).write_all(text.as_bytes()).expect(name);
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).expect(from);
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect(name);
    }

    fn start(&mut self) -> Running<'_> {
        let live = live_origins(&self.log);
        self.start_with(live)
    }

    fn start_with(&mut self, live: Vec<LiveOrigin>) -> Running<'_> {
        let (appender, shelf) = detached();
        let setup = Setup {
            sources: self.sources.clone(),
            run: RunColumns(self.run.clone()),
            appender,
            live,
            own_paths: self.own_paths.clone(),
            timing: self.timing,
        };
        let source = FileSource::start(setup, OriginId::random).expect("start");
        Running { scene: self, source: Some(source), shelf }
    }

    /// Starts, takes everything up and stops.
    fn run_once(&mut self) -> Drained {
        self.start().stop()
    }

    fn lines(&self) -> Vec<String> {
        self.origins().into_iter().flat_map(|origin| origin.lines).collect()
    }

    fn sorted_lines(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }

    fn origins(&self) -> Vec<Origin> {
        origins(&self.log)
    }

    /// All lines of files with this name at discovery, in order.
    fn lines_of(&self, name: &str) -> Vec<String> {
        let path = self.path(name).display().to_string();
        self.origins().into_iter().filter(|o| o.column("FilePath") == path).flat_map(|o| o.lines).collect()
    }
}

/// A started source. Dropping it without a stop is what a kill is.
struct Running<'a> {
    scene: &'a mut Scene,
    source: Option<super::Running>,
    shelf: Detached,
}

impl Running<'_> {
    fn collect(&mut self, limit: Duration) {
        self.scene.log.extend(self.shelf.take(limit));
    }

    /// Collects until `done` says so.
    fn until(&mut self, what: &str, done: impl Fn(&[Section]) -> bool) {
        let end = Instant::now() + LIMIT;
        while !done(&self.scene.log) {
            assert!(Instant::now() < end, "waited in vain for {what}; so far {:#?}", origins(&self.scene.log));
            self.collect(Duration::from_millis(50));
        }
    }

    fn until_lines(&mut self, count: usize) {
        self.until(&format!("{count} lines"), |log| line_count(log) >= count);
    }

    fn ask(&mut self, control: impl FnOnce(oneshot::Sender<Drained>) -> Control) -> Drained {
        let (done, mut answer) = oneshot::channel();
        let source = self.source.as_ref().expect("running");
        source.control.send(control(done)).expect("takes a control message");
        let end = Instant::now() + LIMIT;
        loop {
            if let Ok(drained) = answer.try_recv() {
                self.collect(Duration::ZERO);
                return drained;
            }
            assert!(Instant::now() < end, "no answer; so far {:#?}", origins(&self.scene.log));
            self.collect(Duration::from_millis(5));
        }
    }

    fn drain(&mut self) -> Drained {
        self.ask(|done| Control::Drain { settle: SETTLE, deadline: None, done })
    }

    fn stop(mut self) -> Drained {
        let drained = self.ask(|done| Control::Stop { settle: SETTLE, deadline: None, done });
        self.join();
        drained
    }

    fn join(&mut self) {
        if let Some(source) = self.source.take() {
            source.thread.join().expect("no panic").expect("no error");
        }
        self.collect(Duration::ZERO);
    }

    fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.source.as_ref().expect("running").stats)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.shelf.close();
            drop(source.control);
            let ended = source.thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the file thread panicked");
        }
    }
}

/// What arrived of one origin.
#[derive(Debug)]
struct Origin {
    id: OriginId,
    columns: serde_json::Map<String, serde_json::Value>,
    lines: Vec<String>,
    ended: bool,
    position: Position,
}

impl Origin {
    fn column(&self, name: &str) -> String {
        self.columns.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    }
}

fn object(members: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(&[b"{", members, b"}"].concat()).expect("members are JSON")
}

/// Puts sections together, in the order in which origins first appeared; checks that records follow each other without
/// gap or overlap and that positions and counters say the same.
fn origins(log: &[Section]) -> Vec<Origin> {
    let mut order: Vec<OriginId> = Vec::new();
    let mut found: BTreeMap<OriginId, (Origin, u64)> = BTreeMap::new();
    let mut begins: BTreeMap<OriginId, u64> = BTreeMap::new();
    for section in log {
        let id = section.origin.id;
        let position = Position::decode(&section.position).expect("position");
        let (origin, end) = found.entry(id).or_insert_with(|| {
            order.push(id);
            let columns = object(&section.origin.constants);
            (Origin { id, columns, lines: Vec::new(), ended: false, position: position.clone() }, section.base)
        });
        assert!(!origin.ended, "nothing may follow the end of an origin: {origin:?}");
        let mut rest = section.records.bytes.as_slice();
        let mut count = 0;
        while let Some(((header, members), next)) = split_record(rest) {
            let begin = section.base + u64::from(header.begin);
            let members = object(members);
            let after = begin + u64::from(header.extent);
            if members.get("Part").and_then(serde_json::Value::as_u64).is_some_and(|part| part > 1) {
                assert_eq!(after, *end, "a further part has the extent of the first in {id}");
            } else {
                assert_eq!(begin, *end, "extents follow each other in {id}");
            }
            *end = after;
            origin.lines.push(members["Message"].as_str().expect("text").to_owned());
            count += 1;
            rest = next;
        }
        assert_eq!((rest.len(), count), (0, section.records.count));
        if count == 0 {
            // Bytes that made no line: the counters know them.
            *end = section.base.max(*end);
        }
        let counters = &section.counters;
        // What was truncated is beyond the position, what could not be read before it.
        let passed = counters.gap_bytes - position.unread;
        let passed = if counters.has_gap(GapKind::Unreadable) { passed } else { 0 };
        let begin = begins.entry(id).or_insert(*end - counters.bytes - passed);
        assert_eq!(*begin + counters.bytes + passed, *end, "every byte of {id} is counted");
        assert_eq!(position.offset, *end, "position after the last record");
        origin.columns = object(&section.origin.constants);
        (origin.ended, origin.position) = (section.ended, position);
    }
    order.into_iter().filter_map(|id| found.remove(&id)).map(|(origin, _)| origin).collect()
}

fn line_count(log: &[Section]) -> usize {
    log.iter().map(|section| section.records.count as usize).sum()
}

/// What recovery finds in a log with these sections.
fn live_origins(log: &[Section]) -> Vec<LiveOrigin> {
    let mut live: BTreeMap<OriginId, LiveOrigin> = BTreeMap::new();
    for section in log {
        let origin = LiveOrigin {
            info: Arc::clone(&section.origin),
            position: section.position.clone(),
            counters: section.counters.clone(),
            ended: section.ended,
            removed: Vec::new(),
        };
        live.insert(section.origin.id, origin);
    }
    live.into_values().collect()
}

fn appender(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("open")
}

/// `prefix-000000\n` …
fn numbered(prefix: &str, range: std::ops::Range<usize>) -> String {
    range.fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "{prefix}-{n:06}");
        text
    })
}

fn split(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Says which lines are missing and which are there too often, where that is so.
fn assert_same_lines(found: &[String], expected: &[String], context: &str) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    found.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    expected.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let differences: Vec<(&str, i64)> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
    let (first, last) = (differences.first(), differences.last());
    assert!(differences.is_empty(), "{context}: {} lines differ, from {first:?} to {last:?}", differences.len());
}

/// The same lines, sorted, each as often as it stands.
fn sorted(text: &str) -> Vec<String> {
    let mut lines = split(text);
    lines.sort();
    lines
}

/// Each origin in a line: where it is, how far, from which line to which.
fn summary(scene: &Scene) -> Vec<String> {
    let line = |origin: Origin| {
        let (first, last) = (origin.lines.first(), origin.lines.last());
        format!("{} {first:?}..{last:?} ended {}", origin.position.path.display(), origin.ended)
    };
    scene.origins().into_iter().map(line).collect()
}
