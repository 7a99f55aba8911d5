//! The log as a whole: what is appended comes out once and in order, over restarts, tears and damage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::section::RecordHeader;
use super::storage::Disk;
use super::*;
use crate::record::{Constants, EventId, OriginId};

fn setup(dir: &Path, sinks: &[&str]) -> Setup {
    Setup {
        dir: dir.join("buffer"),
        cursor_dir: dir.join("cursors"),
        options: Options { max_bytes: BUFFER_MIN_BYTES, when_full: WhenFull::Block, sync: Duration::from_millis(5) },
        sinks: sinks.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn origin(n: u8) -> Arc<OriginInfo> {
    let constants = Constants::new([("RunID".to_owned(), format!("run-{n}"))]);
    Arc::new(OriginInfo {
        id: OriginId([n; 16]),
        descriptor: format!("origin {n}").into_bytes(),
        constants: constants.members().to_vec(),
    })
}

/// A section with one record for each payload, continuing the counters.
fn section(origin: &Arc<OriginInfo>, counters: &mut Counters, route: u32, payloads: &[String]) -> Section {
    let first_seq = counters.records + 1;
    let mut records = Records::default();
    for payload in payloads {
        counters.records += 1;
        counters.lines += 1;
        counters.recorded_lines += 1;
        counters.count_route(route);
        let event_id = EventId::new(origin.id, counters.records, 0, 0);
        let header = RecordHeader { time: 0, event_id, begin: 0, extent: 1, route };
        records.push(&header, |out| out.extend_from_slice(payload.as_bytes()));
    }
    Section {
        origin: Arc::clone(origin),
        position: counters.records.to_le_bytes().to_vec(),
        counters: counters.clone(),
        ended: false,
        first_seq,
        base: 0,
        records,
    }
}

type Opened = (Buffer, Vec<(CursorFile, CursorState)>);

fn open_at(dir: &Path, sinks: &[&str]) -> Opened {
    open(&setup(dir, sinks), Arc::new(Disk)).expect("open")
}

/// Reads until the log is at its end; gives payloads by origin, and checks that Seq has no gap.
async fn read_all(buffer: &mut Buffer, sink: usize) -> BTreeMap<OriginId, Vec<String>> {
    let end = buffer.control.flush().await.expect("flush");
    let reader = &mut buffer.readers[sink];
    let mut out: BTreeMap<OriginId, Vec<String>> = BTreeMap::new();
    while reader.position() < end {
        let Ok(mut frame) = reader.try_next(Vec::new()).expect("readable") else {
            if reader.position() < end {
                reader.more().await;
            }
            continue;
        };
        while let Some(record) = frame.next_record() {
            let list = out.entry(record.origin.id).or_default();
            list.push(String::from_utf8(record.members.to_vec()).expect("text"));
        }
    }
    out
}

fn payloads(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("\"Message\":\"{n}\"")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_reads_what_is_routed_to_it_in_order() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut buffer, _) = open_at(dir.path(), &["a", "b"]);
    let (one, two) = (origin(1), origin(2));
    let (mut c1, mut c2) = (Counters::default(), Counters::default());
    for n in 0..50 {
        let append = buffer.appender.append(section(&one, &mut c1, 0b11, &payloads(n * 10..n * 10 + 10)));
        append.await.expect("append");
        let append = buffer.appender.append(section(&two, &mut c2, 0b10, &payloads(n..n + 1)));
        append.await.expect("append");
    }
    let a = read_all(&mut buffer, 0).await;
    assert_eq!(a.len(), 1, "origin 2 is not routed to sink a");
    assert_eq!(a[&one.id], payloads(0..500));
    let b = read_all(&mut buffer, 1).await;
    assert_eq!((&b[&one.id], &b[&two.id]), (&payloads(0..500), &payloads(0..50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_gives_positions_counters_and_unread_records_back() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    for round in 0..5u32 {
        let (buffer, _) = open_at(dir.path(), &["a"]);
        if round > 0 {
            let live = &buffer.recovered.origins;
            assert_eq!(live.len(), 1);
            assert_eq!(live[0].counters, counters);
            assert_eq!(live[0].position, counters.records.to_le_bytes());
            assert_eq!(*live[0].info, *one);
        }
        let more = section(&one, &mut counters, 1, &payloads(round * 3..round * 3 + 3));
        buffer.appender.append(more).await.expect("append");
        buffer.control.flush().await.expect("flush");
        buffer.control.close(false);
    }
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    assert_eq!(read_all(&mut buffer, 0).await[&one.id], payloads(0..15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_within_a_frame_goes_on_at_its_record() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let (mut buffer, mut cursors) = open_at(dir.path(), &["a"]);
    let mut counters = Counters::default();
    buffer.appender.append(section(&one, &mut counters, 1, &payloads(0..10))).await.expect("append");
    let mut frame = buffer.readers[0].next(Vec::new()).await.expect("frame");
    let mut place = None;
    for _ in 0..4 {
        place = frame.next_record().map(|record| (record.next, record.seq));
    }
    let (next, seq) = place.expect("four records");
    assert_eq!(seq, 4);
    cursors[0].1.cursor = next;
    let (file, state) = &mut cursors[0];
    file.write(state).expect("write");
    buffer.control.close(false);
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    let mut frame = buffer.readers[0].next(Vec::new()).await.expect("frame");
    let record = frame.next_record().expect("fifth record");
    assert_eq!((record.seq, record.members), (5, payloads(4..5)[0].as_bytes()));
}

fn newest_segment(dir: &Path) -> std::path::PathBuf {
    let list = std::fs::read_dir(dir.join("buffer")).expect("dir");
    let mut names: Vec<_> = list.map(|e| e.expect("entry").path()).filter(|p| p.extension().is_some()).collect();
    names.sort();
    names.pop().expect("a segment")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_at_the_last_whole_frame_wherever_it_tore() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    let mut ends = Vec::new();
    {
        let (mut buffer, _) = open_at(dir.path(), &["a"]);
        for n in 0..4 {
            buffer.appender.append(section(&one, &mut counters, 1, &payloads(n..n + 1))).await.expect("append");
            ends.push(buffer.control.flush().await.expect("flush").offset as usize);
        }
        read_all(&mut buffer, 0).await;
        buffer.control.close(true);
    }
    let segment = newest_segment(dir.path());
    let whole = std::fs::read(&segment).expect("read");
    for cut in (ends[1]..ends[3]).step_by(7) {
        let copy = tempfile::tempdir().expect("dir");
        std::fs::create_dir_all(copy.path().join("buffer")).expect("dir");
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        std::fs::write(copy.path().join("buffer").join(segment.file_name().expect("name")), &torn).expect("write");
        let (mut buffer, _) = open_at(copy.path(), &["a"]);
        // The bytes past the payload are padding: a cut there loses nothing.
        let kept = buffer.recovered.origins[0].counters.records as u32;
        assert!(kept >= 2 && (kept as usize) <= ends.iter().filter(|&&end| end <= cut + 8).count(), "cut {cut}");
        assert_eq!(read_all(&mut buffer, 0).await[&one.id], payloads(0..kept), "cut {cut}");
        assert_eq!(buffer.recovered.damaged_bytes, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_set_aside_and_what_follows_is_read() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    let mut ends = Vec::new();
    {
        let (mut buffer, _) = open_at(dir.path(), &["a"]);
        for n in 0..4 {
            buffer.appender.append(section(&one, &mut counters, 1, &payloads(n..n + 1))).await.expect("append");
            ends.push(buffer.control.flush().await.expect("flush"));
            // Reading waits for the sync, so that the next frame can say that this one is on disk.
            buffer.readers[0].next(Vec::new()).await.expect("frame");
        }
        buffer.control.close(true);
    }
    let segment = newest_segment(dir.path());
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[ends[0].offset as usize + 60] ^= 0x40;
    std::fs::write(&segment, &bytes).expect("write");
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    assert_eq!(buffer.recovered.origins[0].counters, counters, "the newest counters are known all the same");
    assert_eq!(buffer.recovered.damaged_bytes, ends[1].offset - ends[0].offset);
    let read = read_all(&mut buffer, 0).await;
    let expected: Vec<String> = [payloads(0..1), payloads(2..4)].concat();
    assert_eq!(read[&one.id], expected);
    assert_eq!(buffer.readers[0].damaged_bytes(), ends[1].offset - ends[0].offset);
    let kept = std::fs::read_dir(dir.path().join("buffer/quarantine")).expect("quarantine").count();
    assert_eq!(kept, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_waits_and_goes_on_when_the_sinks_have_read() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let (mut buffer, _) = open_at(dir.path(), &["a", "b"]);
    let appender = buffer.appender.clone();
    let total = 80u32;
    let megabyte = "x".repeat(1024 * 1024);
    let writing = tokio::spawn({
        let (one, megabyte) = (Arc::clone(&one), megabyte.clone());
        async move {
            let mut counters = Counters::default();
            for n in 0..total {
                appender
                    .append(section(&one, &mut counters, 0b11, &[format!("{n:04}{megabyte}")]))
                    .await
                    .expect("append");
            }
        }
    });
    // Sink a alone reads ahead: the buffer must fill and stop for b.
    let full = Duration::from_secs(30);
    let waited = tokio::time::timeout(full, async {
        while buffer.appender.files_may_read() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the buffer fills");
    let on_disk = |dir: &Path| -> u64 {
        let list = std::fs::read_dir(dir.join("buffer")).expect("dir");
        // A segment may be deleted between being listed and being looked at.
        list.filter_map(|e| e.expect("entry").metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
    };
    assert!(on_disk(dir.path()) <= BUFFER_MIN_BYTES);
    let mut seen = [0u32; 2];
    while seen != [total, total] {
        for (sink, seen) in seen.iter_mut().enumerate() {
            if *seen == total {
                continue;
            }
            let next = tokio::time::timeout(Duration::from_millis(300), buffer.readers[sink].next(Vec::new()));
            if let Ok(frame) = next.await {
                let mut frame = frame.expect("frame");
                while let Some(record) = frame.next_record() {
                    assert_eq!(&record.members[..4], format!("{:04}", *seen).as_bytes());
                    *seen += 1;
                }
                let after = frame.after().at;
                buffer.readers[sink].acknowledge(after);
                assert!(on_disk(dir.path()) <= BUFFER_MIN_BYTES);
            }
        }
    }
    writing.await.expect("writer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_origin_retires_once_every_sink_has_it() {
    let dir = tempfile::tempdir().expect("dir");
    let (one, two) = (origin(1), origin(2));
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    let mut counters = Counters::default();
    let mut last = section(&one, &mut counters, 1, &payloads(0..3));
    last.ended = true;
    buffer.appender.append(last).await.expect("append");
    let mut other = Counters::default();
    buffer.appender.append(section(&two, &mut other, 1, &payloads(0..1))).await.expect("append");
    let end = buffer.control.flush().await.expect("flush");
    while buffer.readers[0].position() < end {
        buffer.readers[0].next(Vec::new()).await.expect("frame");
    }
    let origins = buffer.control.watch_origins();
    assert!(origins.has_ended());
    assert_eq!(origins.snapshot().await.expect("snapshot").passed, []);
    buffer.readers[0].acknowledge(end);
    let snapshot = origins.snapshot().await.expect("snapshot");
    assert_eq!((snapshot.at, snapshot.live.len()), (end, 2));
    assert_eq!(snapshot.passed, [one.id]);
    let retire = vec![Retirement { origin: one.id, dead_lettered: vec![2], evicted: vec![1] }];
    let with_it = section(&two, &mut other, 1, &payloads(1..2));
    buffer.appender.append_retiring(with_it, retire).await.expect("append");
    buffer.control.flush().await.expect("flush");
    let check = |snapshot: Snapshot| {
        let live: Vec<OriginId> = snapshot.live.iter().map(|o| o.info.id).collect();
        assert_eq!(live, [two.id]);
        let [sum] = snapshot.retired.as_slice() else { panic!("{:?}", snapshot.retired) };
        assert_eq!((sum.origins, &sum.counters), (1, &counters));
        assert_eq!((&sum.dead_lettered, &sum.evicted), (&vec![2], &vec![1]));
    };
    check(origins.snapshot().await.expect("snapshot"));
    assert!(!origins.has_ended());
    buffer.control.close(false);
    assert!(origins.snapshot().await.is_err());
    // Once from the frame that retired it, and once from the table of the segment that the first start began.
    for _ in 0..2 {
        let (buffer, _) = open_at(dir.path(), &["a"]);
        check(buffer.control.watch_origins().snapshot().await.expect("snapshot"));
        buffer.control.close(false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_begins_at_the_end_and_a_removed_one_holds_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    {
        let (buffer, _) = open_at(dir.path(), &["a", "b"]);
        buffer.appender.append(section(&one, &mut counters, 0b01, &payloads(0..2))).await.expect("append");
        buffer.control.flush().await.expect("flush");
        buffer.control.close(false);
    }
    // The route bits move: b and a change places with a new one in front.
    let (mut buffer, _) = open_at(dir.path(), &["new", "a"]);
    assert_eq!(buffer.recovered.origins[0].removed, [], "b had nothing to get");
    assert_eq!(buffer.recovered.removed_sinks, ["b"]);
    assert_eq!(buffer.recovered.origins[0].counters.routed, [0, 2]);
    assert!(dir.path().join("cursors/b.removed").exists());
    counters.routed = vec![0, 2];
    buffer.appender.append(section(&one, &mut counters, 0b11, &payloads(2..3))).await.expect("append");
    assert_eq!(read_all(&mut buffer, 0).await[&one.id], payloads(2..3));
    assert_eq!(read_all(&mut buffer, 1).await[&one.id], payloads(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_sink_had_not_accepted_stays_with_its_origin_over_restarts_and_a_full_disk() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    {
        let (mut buffer, mut cursors) = open_at(dir.path(), &["a", "b"]);
        buffer.appender.append(section(&one, &mut counters, 0b11, &payloads(0..5))).await.expect("append");
        let mut frame = buffer.readers[1].next(Vec::new()).await.expect("frame");
        frame.next_record().expect("a record");
        let (file, state) = &mut cursors[1];
        state.cursor = frame.next_record().expect("a record").next;
        state.dead_lettered.insert(one.id, 1);
        file.write(state).expect("write");
        buffer.appender.append(section(&one, &mut counters, 0b10, &payloads(5..7))).await.expect("append");
        buffer.control.flush().await.expect("flush");
        buffer.control.close(false);
    }
    let expected = [RemovedSink { name: "b".into(), routed: 7, dead_lettered: 1, evicted: 0, abandoned: 5 }];
    // No table can be written: it is told all the same, and again by the next start.
    let disk = Arc::new(FullDisk::default());
    disk.full.store(true, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..2 {
        let (buffer, _) = open(&setup(dir.path(), &["a"]), Arc::clone(&disk) as _).expect("open");
        assert_eq!(buffer.recovered.origins[0].removed, expected);
        buffer.control.close(false);
        assert!(!dir.path().join("cursors/b.removed").exists());
    }
    for _ in 0..3 {
        let (buffer, _) = open_at(dir.path(), &["a"]);
        assert_eq!(buffer.recovered.origins[0].removed, expected);
        assert_eq!(buffer.recovered.origins[0].counters.routed, [5]);
        assert!(dir.path().join("cursors/b.removed").exists());
        buffer.control.close(false);
    }
    // It comes back: that is a new sink, and what was abandoned stays so, also when the origin has retired.
    let (buffer, _) = open_at(dir.path(), &["a", "b"]);
    assert_eq!(buffer.recovered.origins[0].removed, expected);
    assert_eq!(buffer.recovered.origins[0].counters.routed, [5, 0]);
    let retire = vec![Retirement { origin: one.id, dead_lettered: vec![], evicted: vec![] }];
    let with_it = section(&origin(2), &mut Counters::default(), 1, &payloads(0..1));
    buffer.appender.append(section(&one, &mut Counters::default(), 0, &[])).await.expect("append");
    buffer.appender.append_retiring(with_it, retire).await.expect("append");
    buffer.control.flush().await.expect("flush");
    buffer.control.close(false);
    for _ in 0..2 {
        let (buffer, _) = open_at(dir.path(), &["a", "b"]);
        let snapshot = buffer.control.watch_origins().snapshot().await.expect("snapshot");
        assert_eq!(snapshot.retired[0].removed, expected);
        buffer.control.close(false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_comes_back_before_its_removal_was_written_down_counts_what_it_missed() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    {
        let (buffer, _) = open_at(dir.path(), &["a", "b"]);
        let records = section(&one, &mut Counters::default(), 0b11, &payloads(0..5));
        buffer.appender.append(records).await.expect("append");
        buffer.control.flush().await.expect("flush");
        buffer.control.close(false);
    }
    let disk = Arc::new(FullDisk::default());
    disk.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let (buffer, _) = open(&setup(dir.path(), &["a"]), disk).expect("open");
    buffer.control.close(false);
    let (buffer, cursors) = open_at(dir.path(), &["a", "b"]);
    assert_eq!((cursors[1].1.evicted[&one.id], cursors[1].1.abandoned.len()), (5, 0));
    assert_eq!(buffer.recovered.origins[0].removed, []);
    buffer.control.close(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_a_later_version_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("dir");
    let (buffer, _) = open_at(dir.path(), &["a"]);
    buffer.control.close(false);
    let segment = newest_segment(dir.path());
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&segment, &bytes).expect("write");
    let error = open(&setup(dir.path(), &["a"]), Arc::new(Disk)).expect_err("refused");
    assert!(error.to_string().contains("later logferry (format 9)"), "{error}");
    assert_eq!(std::fs::read(&segment).expect("still there"), bytes);
}

/// The disk, on which nothing new can be made while it is full.
#[derive(Debug, Default)]
struct FullDisk {
    full: std::sync::atomic::AtomicBool,
}

impl storage::Storage for FullDisk {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        Disk.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn create(&self, path: &Path, preallocate: u64) -> std::io::Result<Arc<dyn storage::StorageFile>> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Disk.create(path, preallocate)
    }

    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn storage::StorageFile>> {
        Disk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.sync_dir(dir)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_hands_out_the_backlog_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    {
        let (buffer, _) = open_at(dir.path(), &["a"]);
        buffer.appender.append(section(&one, &mut counters, 1, &payloads(0..5))).await.expect("append");
        buffer.control.close(false);
    }
    let disk = Arc::new(FullDisk::default());
    disk.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let (mut buffer, _) = open(&setup(dir.path(), &["a"]), Arc::clone(&disk) as _).expect("no refusal");
    let mut frame = buffer.readers[0].next(Vec::new()).await.expect("the backlog");
    assert_eq!(frame.next_record().expect("a record").members, payloads(0..1)[0].as_bytes());
    buffer.appender.append(section(&one, &mut counters, 1, &payloads(5..6))).await.expect("queued");
    let waiting = tokio::time::timeout(Duration::from_millis(200), buffer.control.flush()).await;
    assert!(waiting.is_err(), "nothing can be written yet");
    disk.full.store(false, std::sync::atomic::Ordering::SeqCst);
    buffer.control.flush().await.expect("written");
    let mut frame = buffer.readers[0].next(Vec::new()).await.expect("what waited");
    assert_eq!(frame.next_record().expect("a record").members, payloads(5..6)[0].as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_behind_the_end_of_its_segment_goes_on_with_the_next() {
    let dir = tempfile::tempdir().expect("dir");
    let one = origin(1);
    let mut counters = Counters::default();
    {
        let (buffer, mut cursors) = open_at(dir.path(), &["a"]);
        buffer.appender.append(section(&one, &mut counters, 1, &payloads(0..5))).await.expect("append");
        let end = buffer.control.flush().await.expect("flush");
        let (file, state) = &mut cursors[0];
        state.cursor = Cursor { at: LogPosition { offset: end.offset + 4096, ..end }, record: 3 };
        file.write(state).expect("write");
        buffer.control.close(false);
    }
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    buffer.appender.append(section(&one, &mut counters, 1, &payloads(5..8))).await.expect("append");
    assert_eq!(read_all(&mut buffer, 0).await[&one.id], payloads(5..8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_buffer() {
    let dir = tempfile::tempdir().expect("dir");
    let (buffer, _) = open_at(dir.path(), &["a"]);
    let shared = Arc::clone(&buffer.appender.shared);
    shared.fail("a sync failed".to_owned());
    assert_eq!(buffer.control.failed().await, Fatal("a sync failed".to_owned()));
    let more = section(&origin(1), &mut Counters::default(), 1, &payloads(0..1));
    assert_eq!(buffer.appender.append(more).await, Err(Closed));
    assert_eq!(buffer.control.flush().await, Err(Closed));
}

/// Messages that a tap has for its sink.
fn tapped(tap: &mut Tap) -> Vec<String> {
    let mut out = Vec::new();
    while let Ok(mut frame) = tap.try_next(Vec::new()).expect("readable") {
        while let Some(record) = frame.next_record() {
            out.push(String::from_utf8(record.members.to_vec()).expect("text"));
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_begins_at_the_end_and_tells_sinks_apart() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut buffer, _) = open_at(dir.path(), &["a", "b"]);
    let one = origin(1);
    let mut counters = Counters::default();
    buffer.appender.append(section(&one, &mut counters, 0b11, &payloads(0..5))).await.expect("append");
    read_all(&mut buffer, 0).await;
    let log = buffer.readers[0].behind();
    let mut taps = [None, Some("a"), Some("b"), Some("none")].map(|sink| log.tap(sink).expect("a tap"));
    for (n, route) in [(5, 0b01), (6, 0b10), (7, 0b11)] {
        let append = buffer.appender.append(section(&one, &mut counters, route, &payloads(n..n + 1)));
        append.await.expect("append");
    }
    read_all(&mut buffer, 0).await;
    let expected: [Vec<u32>; 4] = [vec![5, 6, 7], vec![5, 7], vec![6, 7], vec![]];
    for (tap, expected) in taps.iter_mut().zip(expected) {
        assert!(tap.more().await);
        let expected: Vec<String> = expected.into_iter().flat_map(|n| payloads(n..n + 1)).collect();
        assert_eq!(tapped(tap), expected);
        assert!(!tap.take_missed() && tap.lag_bytes() == 0);
    }
    buffer.control.close(false);
    // What was noticed before the end is looked at first.
    while taps[0].more().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_holds_no_segment_and_knows_that_it_missed_some() {
    let dir = tempfile::tempdir().expect("dir");
    let (mut buffer, _) = open_at(dir.path(), &["a"]);
    let one = origin(1);
    let mut counters = Counters::default();
    let log = buffer.readers[0].behind();
    let mut tap = log.tap(None).expect("a tap");
    let big = "x".repeat(1024 * 1024);
    // Four segments of 8 MiB; the sink takes everything, so that all but the newest can go.
    for n in 0..30 {
        let payload = format!("\"Message\":\"{n} {big}\"");
        buffer.appender.append(section(&one, &mut counters, 1, &[payload])).await.expect("append");
        read_all(&mut buffer, 0).await;
        let at = buffer.readers[0].position();
        buffer.readers[0].acknowledge(at);
    }
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while dir.path().join("buffer/00000000000000000002.seg").exists() {
        assert!(std::time::Instant::now() < until, "a tap holds a segment");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(tap.lag_bytes() > 16 * 1024 * 1024, "{}", tap.lag_bytes());
    let numbers: Vec<u32> = tapped(&mut tap)
        .iter()
        .filter_map(|members| members.strip_prefix("\"Message\":\"")?.split_once(' ')?.0.parse().ok())
        .collect();
    // The first segment is read to its end through the file that was open, and then the newest.
    assert!(tap.take_missed() && !tap.take_missed());
    assert_eq!((numbers.first(), numbers.last()), (Some(&0), Some(&29)));
    assert!((8..30).contains(&numbers.len()), "{numbers:?}");
    assert_eq!(tap.lag_bytes(), 0);
}
