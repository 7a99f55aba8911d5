//! Evictions against the conservation identity: with a sink that takes nothing, with one that recovers, and with a
//! process that dies at each call to the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::{Delivery, Handle};
use crate::buffer::section::RecordHeader;
use crate::buffer::storage::{Disk, Storage, StorageFile};
use crate::buffer::{
    self, BUFFER_MIN_BYTES, Buffer, CursorFile, CursorState, LogPosition, OriginInfo, Records, Section, WhenFull,
};
use crate::record::{Constants, Counters, EventId, OriginId};
use crate::sink::{self, Kind, Sink, file};

/// Bytes of one record: few are needed to fill a buffer.
const RECORD_BYTES: usize = 100_000;

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const SINKS: [&str; 2] = ["ill", "well"];

/// A folder with the state, and the files that the sinks write to. `ill` cannot, while a file stands in its folder's place.
struct Scene {
    dir: tempfile::TempDir,
    origins: Vec<Arc<OriginInfo>>,
    counters: Vec<Counters>,
}

/// A buffer with its deliveries running.
struct Running {
    buffer: Buffer,
    handles: Vec<Handle>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<u64, super::DeliveryError>>>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ill"), b"in the way").expect("a file");
        let origin = |n: u8| {
            let id = OriginId([n; 16]);
            let constants = Constants::new([("Origin".to_owned(), id.to_string())]);
            Arc::new(OriginInfo { id, descriptor: vec![n], constants: constants.members().to_vec() })
        };
        Scene { dir, origins: (1..=2).map(origin).collect(), counters: vec![Counters::default(); 2] }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, storage: Arc<dyn Storage>) -> (Buffer, Vec<(CursorFile, CursorState)>) {
        let options = buffer::Options {
            max_bytes: BUFFER_MIN_BYTES,
            when_full: WhenFull::DropOldest,
            sync: Duration::from_millis(5),
        };
        let sinks = SINKS.map(str::to_owned).to_vec();
        let setup = buffer::Setup { dir: self.path("buffer"), cursor_dir: self.path("cursors"), options, sinks };
        buffer::open(&setup, storage).expect("a buffer")
    }

    fn run(&mut self, storage: Arc<dyn Storage>) -> Running {
        let (mut buffer, cursors) = self.open(storage);
        for (origin, counters) in self.origins.iter().zip(&mut self.counters) {
            let live = buffer.recovered.origins.iter().find(|live| live.info.id == origin.id);
            *counters = live.map(|live| live.counters.clone()).unwrap_or_default();
        }
        let (stop, stopped) = watch::channel(false);
        let (mut handles, mut tasks) = (Vec::new(), Vec::new());
        for ((name, reader), cursor) in SINKS.iter().zip(std::mem::take(&mut buffer.readers)).zip(cursors) {
            let kind = Kind::File(file::Options { path: self.path(name).join("out.ndjson"), max_bytes: 0, keep: 0 });
            let options = sink::Options {
                name: Arc::from(*name),
                when: None,
                batch_bytes: 1_000_000,
                in_flight: 2,
                max_age: Duration::from_millis(10),
                kind,
            };
            let sink = Sink::new(&options, "test").expect("a sink");
            let delivery = Delivery::new(&options, sink, reader, cursor, &self.path("dead-letters"));
            handles.push(delivery.handle());
            tasks.push(tokio::spawn(delivery.run(stopped.clone())));
        }
        Running { buffer, handles, stop, tasks }
    }

    /// Appends records of both origins, `mb` MB in all; fewer where the buffer stops.
    async fn append(&mut self, running: &Running, mb: usize) {
        for n in 0..mb {
            let (origin, counters) = (&self.origins[n % 2], &mut self.counters[n % 2]);
            let mut records = Records::default();
            let first_seq = counters.records + 1;
            for _ in 0..1_000_000 / RECORD_BYTES {
                counters.records += 1;
                counters.count_route(0b11);
                let event_id = EventId::new(origin.id, counters.records, 0, 0);
                let header = RecordHeader { time: 0, event_id, begin: 0, extent: 1, route: 0b11 };
                records.push(&header, |out| {
                    out.extend_from_slice(b"\"Message\":\"");
                    out.resize(out.len() + RECORD_BYTES, b'x');
                    out.push(b'"');
                });
            }
            let section = Section {
                origin: Arc::clone(origin),
                position: Vec::new(),
                counters: counters.clone(),
                ended: false,
                first_seq,
                base: 0,
                records,
            };
            let taken = tokio::select! {
                taken = running.buffer.appender.append(section) => taken.is_ok(),
                () = running.died() => false,
            };
            if !taken {
                return;
            }
            if running.handles[1].stats.accepted.load(Ordering::Relaxed) < counters.records {
                // The well sink is to keep up: it waits for no room and gets some.
                tokio::time::timeout(PATIENCE, running.well_has_all()).await.expect("the well sink gets on");
            }
        }
    }

    /// Records of each origin in the file of a sink, each counted once.
    fn held(&self, sink: &str) -> HashMap<OriginId, u64> {
        let text = std::fs::read_to_string(self.path(sink).join("out.ndjson")).unwrap_or_default();
        let parsed = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let word = |record: &serde_json::Value, name: &str| record[name].as_str().expect("text").to_owned();
        let each: BTreeSet<(String, String)> =
            parsed.map(|record| (word(&record, "Origin"), word(&record, "EventID"))).collect();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        each.into_iter().for_each(|(origin, _)| *counts.entry(origin).or_default() += 1);
        self.origins
            .iter()
            .map(|origin| (origin.id, counts.get(&origin.id.to_string()).copied().unwrap_or(0)))
            .collect()
    }
}

impl Running {
    /// Waits until the well sink has what is in the log, or a part of this has died.
    async fn well_has_all(&self) {
        let all = async {
            let Ok(end) = self.buffer.control.flush().await else { return };
            let mut progress = self.handles[1].progress.clone();
            drop(progress.wait_for(|at| *at >= end).await);
        };
        tokio::select! {
            () = all => {}
            () = self.died() => {}
        }
    }

    async fn died(&self) {
        let [mut ill, mut well] = [0, 1].map(|bit: usize| self.handles[bit].progress.clone());
        tokio::select! {
            _ = self.buffer.control.failed() => {}
            _ = ill.wait_for(|_| false) => {}
            _ = well.wait_for(|_| false) => {}
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // One that the disk took down has ended already.
            let _ = task.await.expect("no panic");
        }
        tokio::task::spawn_blocking(move || self.buffer.control.close(true)).await.expect("the end");
    }

    fn evicted(&self) -> u64 {
        self.handles[0].stats.evicted.load(Ordering::Relaxed)
    }
}

/// Holds the state on disk against what the sinks hold; gives what was routed in all.
fn assert_conserved(scene: &Scene, when: &str) -> u64 {
    let (buffer, cursors) = scene.open(Arc::new(Disk));
    let end = LogPosition { segment: u64::MAX, offset: 0 };
    let mut all = 0;
    for (bit, sink) in SINKS.iter().enumerate() {
        let state = &cursors[bit].1;
        let (buffered, _) = buffer.readers[bit].behind().count(state.cursor, end, None).expect("readable");
        let held = scene.held(sink);
        for live in &buffer.recovered.origins {
            let of = |counts: &HashMap<OriginId, u64>| counts.get(&live.info.id).copied().unwrap_or(0);
            let (routed, evicted, buffered) = (live.counters.routed_to(bit), of(&state.evicted), of(&buffered));
            let held = of(&held);
            all += routed;
            if bit == 0 {
                // It took nothing at all.
                assert_eq!((held, routed), (0, evicted + buffered), "{when}: {sink}");
            } else {
                // What is behind the cursor may stand in the file already: it would be there twice.
                assert!(evicted == 0 && held + buffered >= routed, "{when}: {sink}: {held} + {buffered} of {routed}");
            }
        }
    }
    buffer.control.close(true);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_drops_the_oldest_for_the_sink_that_is_behind_and_counts_it() {
    let mut scene = Scene::new();
    let running = scene.run(Arc::new(Disk));
    scene.append(&running, 70).await;
    tokio::time::timeout(PATIENCE, running.well_has_all()).await.expect("all");
    assert!(running.evicted() > 0 && running.evicted() < 700, "{}", running.evicted());
    assert_eq!(running.handles[1].stats.evicted.load(Ordering::Relaxed), 0, "who keeps up loses nothing");
    let on_disk: u64 = std::fs::read_dir(scene.path("buffer"))
        .expect("a folder")
        .filter_map(|entry| entry.expect("an entry").metadata().ok())
        .map(|found| found.len())
        .sum();
    assert!(on_disk <= BUFFER_MIN_BYTES, "{on_disk}");
    running.stop().await;
    assert_eq!(scene.held("well").values().sum::<u64>(), 700);
    assert_eq!(assert_conserved(&scene, "after the end"), 2 * 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_under_way_that_the_sink_takes_after_all_is_delivered_and_not_evicted() {
    let mut scene = Scene::new();
    let running = scene.run(Arc::new(Disk));
    scene.append(&running, 60).await;
    // What is in the log had its room made.
    let end = running.buffer.control.flush().await.expect("flushed");
    let before = running.evicted();
    let for_good = || running.handles[0].stats.evicted_for_good.load(Ordering::Relaxed);
    let for_good_before = for_good();
    assert!(for_good_before < before, "what is under way may still be answered for");
    std::fs::remove_file(scene.path("ill")).expect("out of the way");
    running.handles[0].begin_drain();
    for handle in &running.handles {
        let mut progress = handle.progress.clone();
        tokio::time::timeout(PATIENCE, progress.wait_for(|at| *at >= end)).await.expect("delivered").expect("alive");
    }
    // Two loads of ten records were under way when the first segment was dropped.
    tokio::time::timeout(PATIENCE, async {
        while scene.held("ill").values().sum::<u64>() + running.evicted() < 600 || running.evicted() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("late loads are answered");
    assert!(running.evicted() < before, "{} of {before}", running.evicted());
    let held = scene.held("ill");
    assert!(scene.origins.iter().all(|origin| held[&origin.id] > 0));
    let standing = running.handles[0].standing(end).await;
    for (origin, counters) in scene.origins.iter().zip(&scene.counters) {
        let of = |counts: &HashMap<OriginId, u64>| counts.get(&origin.id).copied().unwrap_or(0);
        let sum = held[&origin.id] + of(&standing.evicted) + of(&standing.buffered);
        assert_eq!((counters.routed_to(0), standing.counted), (sum, true));
    }
    assert_eq!(standing.evicted.values().sum::<u64>(), running.evicted());
    assert_eq!((for_good(), running.handles[0].stats.done()), (running.evicted(), 600));
    assert!(for_good() >= for_good_before, "it only grows");
    running.stop().await;
}

/// The disk of a process that dies: from one call on nothing is done any more.
#[derive(Debug, Default)]
struct Dying {
    /// Counting has begun.
    armed: AtomicBool,
    calls: AtomicUsize,
    dies_at: usize,
}

impl Dying {
    fn call(&self) -> io::Result<()> {
        let dies = self.armed.load(Ordering::SeqCst) && self.calls.fetch_add(1, Ordering::SeqCst) >= self.dies_at;
        if dies { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct DyingDisk(Arc<Dying>);

#[derive(Debug)]
struct DyingFile(Arc<Dying>, Arc<dyn StorageFile>);

impl Storage for DyingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.0.call()?;
        Ok(Arc::new(DyingFile(Arc::clone(&self.0), Disk.create(path, preallocate)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(DyingFile(Arc::clone(&self.0), Disk.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call()?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call()?;
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.call()?;
        Disk.sync_dir(dir)
    }
}

impl StorageFile for DyingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.call()?;
        self.1.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.call()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.call()?;
        self.1.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.1.size()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_call_to_the_disk_neither_counts_twice_nor_misses() {
    let mut died = 0;
    for dies_at in (0..32).step_by(2) {
        let mut scene = Scene::new();
        let dying = Arc::new(Dying { dies_at, ..Dying::default() });
        let running = scene.run(Arc::new(DyingDisk(Arc::clone(&dying))));
        scene.append(&running, 29).await;
        assert_eq!(running.evicted(), 0);
        dying.armed.store(true, Ordering::SeqCst);
        scene.append(&running, 12).await;
        died += usize::from(dying.calls.load(Ordering::SeqCst) > dies_at);
        running.stop().await;
        for restart in 0..2 {
            assert_conserved(&scene, &format!("death at {dies_at}, start {restart}"));
        }
    }
    assert!(died >= 10, "{died}");
}
