//! A log that somebody or something changed while nobody wrote it: bytes flipped, segments lost, added or of another
//! version. It is opened all the same, hands out nothing but what was appended, and says what it misses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::disk::SimDisk;
use crate::buffer::recovery::{Opened, Sizes, recover};
use crate::buffer::section::RecordHeader;
use crate::buffer::sync::sync_appended;
use crate::buffer::{Appender, OpenError, Options, OriginInfo, Records, Section, Setup, WhenFull, segment, writer};
use crate::record::{Constants, Counters, EventId, OriginId};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a sink was given: origin, Seq and text.
type Given = (OriginId, u64, String);

const DIR: &str = "/buffer";

fn setup() -> Setup {
    Setup {
        dir: DIR.into(),
        cursor_dir: "/cursors".into(),
        options: Options { max_bytes: 1 << 40, when_full: WhenFull::Block, sync: Duration::ZERO },
        sinks: vec!["a".to_owned()],
    }
}

fn try_open(files: &Files) -> (SimDisk, Result<Opened, OpenError>) {
    let disk = SimDisk::of(files);
    let sizes = Sizes { segment_bytes: 2048, room_poll: Duration::ZERO };
    let opened = recover(&setup(), Arc::new(disk.clone()), sizes);
    (disk, opened)
}

fn open(files: &Files) -> (SimDisk, Opened) {
    let (disk, opened) = try_open(files);
    (disk, opened.unwrap_or_else(|error| panic!("{error}")))
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(segment::segment_name(number))
}

/// A log of some segments, every frame synced, none read; with what was appended, by segment.
fn log() -> (Files, BTreeMap<u64, Vec<Given>>) {
    let (disk, opened) = open(&Files::new());
    let appender = Appender { shared: Arc::clone(&opened.start.shared) };
    let (mut writer, tail) = writer::begin(opened.start).expect("a segment");
    let mut counters = [Counters::default(), Counters::default()];
    let mut appended: BTreeMap<u64, Vec<Given>> = BTreeMap::new();
    for n in 0..24u64 {
        let which = usize::try_from(n % 2).expect("0 or 1");
        let constants = Constants::new([("RunID".to_owned(), "r".to_owned())]).members().to_vec();
        let id = OriginId([u8::try_from(which).expect("few") + 1; 16]);
        let origin = Arc::new(OriginInfo { id, descriptor: b"d".to_vec(), constants });
        let counters = &mut counters[which];
        let first_seq = counters.records + 1;
        let mut records = Records::default();
        let mut given = Vec::new();
        for _ in 0..3 {
            (counters.records, counters.lines, counters.recorded_lines) =
                (counters.records + 1, counters.lines + 1, counters.recorded_lines + 1);
            counters.count_route(1);
            let text = format!("{n}/{} {}", counters.records, "y".repeat(20 + n as usize));
            let event_id = EventId::new(id, counters.records, 0, 0);
            let header = RecordHeader { time: 0, event_id, begin: 0, extent: 1, route: 1 };
            records.push(&header, |out| out.extend_from_slice(text.as_bytes()));
            given.push((id, counters.records, text));
        }
        let (position, counters) = (counters.lines.to_le_bytes().to_vec(), counters.clone());
        let section = Section { origin, position, counters, ended: false, first_seq, base: 0, records };
        appender.append_blocking(section).expect("open");
        writer.step().expect("written");
        sync_appended(&appender.shared, &tail).expect("synced");
        let number = appender.shared.progress.borrow().appended.segment;
        appended.entry(number).or_default().extend(given);
    }
    (disk.files(Path::new(DIR)).into_iter().chain(disk.files(Path::new("/cursors"))).collect(), appended)
}

/// All that the sink is given after an open, and whether the log says that something is missing.
fn read_all(files: &Files) -> (Vec<Given>, bool) {
    let (disk, mut opened) = open(files);
    let (damaged, torn) = (opened.recovered.damaged_bytes, opened.recovered.torn_bytes);
    let missing = opened.recovered.missing_segments;
    let mut reader = opened.readers.remove(0);
    let shared = Arc::clone(&opened.start.shared);
    let _writer = writer::begin(opened.start).expect("a segment");
    let synced = shared.progress.borrow().synced;
    let mut given = Vec::new();
    while reader.position() < synced {
        if let Ok(mut frame) = reader.try_next(Vec::new()).expect("readable") {
            while let Some(record) = frame.next_record() {
                let text = String::from_utf8(record.members.to_vec()).expect("text");
                given.push((record.origin.id, record.seq, text));
            }
        }
    }
    let said = damaged + torn + missing + reader.damaged_bytes() > 0;
    let kept = !disk.files(&Path::new(DIR).join("quarantine")).is_empty();
    (given, said || kept)
}

/// Nothing but what was appended, in order, nothing twice; returns what is missing.
fn check_given(given: &[Given], appended: &BTreeMap<u64, Vec<Given>>, context: &str) -> usize {
    let all: Vec<&Given> = appended.values().flatten().collect();
    let known: BTreeSet<&Given> = all.iter().copied().collect();
    let found: BTreeSet<&Given> = given.iter().collect();
    assert_eq!(found.len(), given.len(), "{context}: nothing twice");
    assert!(found.is_subset(&known), "{context}: {:?} was never appended", found.difference(&known).next());
    let expected: Vec<&Given> = all.into_iter().filter(|one| found.contains(one)).collect();
    assert_eq!(given.iter().collect::<Vec<_>>(), expected, "{context}: in order");
    known.len() - found.len()
}

#[test]
fn one_damaged_byte_anywhere_loses_no_more_than_its_frame_or_table_and_is_said() {
    let (files, appended) = log();
    assert!(appended.len() >= 4, "several segments");
    assert_eq!(check_given(&read_all(&files).0, &appended, "undamaged"), 0);
    let segments: Vec<PathBuf> = files.keys().filter(|path| path.starts_with(DIR)).cloned().collect();
    for path in segments {
        let len = files[&path].len();
        // Every byte of the header and of the table's beginning, then a sample that meets every kind of field.
        for at in (0..len.min(200)).chain((200..len).step_by(13)) {
            let mut damaged = files.clone();
            damaged.get_mut(&path).expect("it")[at] ^= 0x55;
            let context = format!("{} at {at}", path.display());
            let (given, said) = read_all(&damaged);
            let missing = check_given(&given, &appended, &context);
            assert!(missing == 0 || said, "{context}: {missing} missing and nothing said");
            let of_segment = appended.values().map(Vec::len).max().expect("some");
            assert!(missing <= of_segment, "{context}: {missing} missing");
        }
    }
}

#[test]
fn a_segment_that_was_lost_between_others_is_said_and_the_rest_is_read() {
    let (files, appended) = log();
    let numbers: Vec<u64> = appended.keys().copied().collect();
    for &number in &numbers[1..numbers.len() - 1] {
        let mut lost = files.clone();
        lost.remove(&segment(number));
        let (given, said) = read_all(&lost);
        assert_eq!(check_given(&given, &appended, "lost"), appended[&number].len());
        assert!(said, "segment {number}");
        // Also at the next start, and only once in the quarantine.
        let (disk, opened) = open(&lost);
        assert_eq!(opened.recovered.missing_segments, 1);
        let kept = disk.files(&Path::new(DIR).join("quarantine"));
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
}

#[test]
fn a_segment_of_another_log_or_a_later_version_is_refused_and_left_alone() {
    let (files, _) = log();
    let last = *log().1.keys().max().expect("some");
    let (others, _) = log();
    let check = |files: &Files, part: &str| {
        let (disk, opened) = try_open(files);
        let message = opened.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(part), "{message:?}");
        assert_eq!(&disk.files(Path::new(DIR)), &of_buffer(files), "nothing is changed");
    };
    let mut foreign = files.clone();
    foreign.insert(segment(1), others[&segment(1)].clone());
    check(&foreign, "belongs to another buffer");
    let mut later = files.clone();
    let bytes = later.get_mut(&segment(last)).expect("the newest");
    bytes[8] = 7;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    check(&later, "format 7");
}

fn of_buffer(files: &Files) -> Files {
    files.iter().filter(|(path, _)| path.starts_with(DIR)).map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
}

#[test]
fn other_files_in_the_folder_are_left_alone() {
    let (mut files, appended) = log();
    for name in ["notes.txt", "x.seg", "-1.seg", "00000000000000000000.seg", "3.seg.bak"] {
        files.insert(Path::new(DIR).join(name), b"not ours".to_vec());
    }
    let (given, said) = read_all(&files);
    assert_eq!(check_given(&given, &appended, "others"), 0);
    assert!(!said);
}
