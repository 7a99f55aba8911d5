//! Tests of [`super`]: what a stream takes up, and where it says that it is.

use super::*;
use crate::buffer::section::split_record;
use crate::ingest::rules::{Count, Filter, Kind, Limit};
use crate::ingest::{Multiline, Options, Parser};
use crate::record::{Constants, OriginId};

fn begin(position: Position) -> Begin {
    let info = OriginInfo { id: OriginId([1; 16]), descriptor: Vec::new(), constants: Vec::new() };
    Begin { info: Arc::new(info), position, counters: Counters::default() }
}

fn track(position: Position, since: Option<Nanos>, max_line: usize) -> Track {
    track_with(position, since, max_line, Filter::default())
}

fn track_with(position: Position, since: Option<Nanos>, max_line: usize, filter: Filter) -> Track {
    let options = Options { parser: Parser::Raw, multiline: Multiline::None, max_line, filter, ..Options::default() };
    let begin = begin(position);
    let ingest = Ingest::new(
        Arc::new(options),
        Arc::clone(&begin.info),
        Constants::default(),
        position.bytes,
        Counters::default(),
    );
    Track::new(begin, ingest, since, true)
}

/// Takes up entries as a container's task does, and gives time and extent of each record.
fn take(track: &mut Track, entries: &[(Nanos, &str)]) -> Vec<(Nanos, u64, u64)> {
    let mut records = Vec::new();
    for (time, text) in entries {
        match track.admit(Some(*time), text.as_bytes(), || 0) {
            Admitted::Old => {}
            Admitted::New(fresh) => {
                if track.is_cut_before(&fresh, Pieces::OneTime) {
                    feed(track, Flush::All, &mut records);
                }
                track.push(&fresh);
            }
            Admitted::AfterGap(_) => panic!("gap"),
        }
    }
    feed(track, Flush::No, &mut records);
    records
}

fn feed(track: &mut Track, flush: Flush, records: &mut Vec<(Nanos, u64, u64)>) {
    track.feed(flush, Instant::now());
    if let Some(section) = track.section(None) {
        assert_eq!(Position::decode(&section.position), Some(*track.position()));
        let mut rest = section.records.bytes.as_slice();
        while let Some(((header, _), behind)) = split_record(rest) {
            records.push((header.time, section.base + u64::from(header.begin), u64::from(header.extent)));
            rest = behind;
        }
    }
}

#[test]
fn pieces_of_one_line_are_joined_and_have_its_time() {
    let mut track = track(Position::default(), None, 1024);
    let records = take(&mut track, &[(1, "a\n"), (2, "pie"), (2, "ce"), (2, " end\n"), (3, "b\n"), (4, "open")]);
    assert_eq!(records, [(1, 0, 2), (2, 2, 10), (3, 12, 2)]);
    assert_eq!((track.position().bytes, track.position().lines, track.held()), (14, 3, 4));
    assert_eq!(track.read_end(), 18);
}

#[test]
fn an_unterminated_end_is_no_part_of_the_next_runs_first_line() {
    let mut track = track(Position::default(), None, 1024);
    assert_eq!(take(&mut track, &[(1, "a\n"), (2, "tail"), (9, "first\n")]), [(1, 0, 2), (2, 2, 4), (9, 6, 6)]);
}

#[test]
fn a_position_behind_any_entry_resumes_there() {
    let entries = [(1, "a\n"), (1, "a\n"), (2, "pie"), (2, "ce\n"), (2, "x\n"), (5, "tail"), (7, "y\n"), (7, "y\n")];
    let whole = take(&mut track(Position::default(), None, 1024), &entries);
    for cut in 0..=entries.len() {
        let mut first = track(Position::default(), None, 1024);
        let records = take(&mut first, &entries[..cut]);
        let position = Position::decode(&first.position().encode()).expect("own bytes");
        for since in [None, position.anchor.map(|anchor| anchor.time - 1)] {
            if since.is_none() || position.anchor.is_some() {
                let asked: Vec<_> =
                    entries.into_iter().filter(|(time, _)| since.is_none_or(|since| *time >= since)).collect();
                let mut second = track(position, since, 1024);
                let mut both = records.clone();
                both.extend(take(&mut second, &asked));
                assert_eq!(both, whole, "cut at {cut}, since {since:?}");
            }
        }
    }
}

#[test]
fn pieces_of_a_line_over_max_line_are_positions_too() {
    let entries = [(1, "a\n"), (2, "0123456789"), (2, "abcdefghij"), (2, "end\n"), (3, "b\n")];
    let whole = take(&mut track(Position::default(), None, 7), &entries);
    let mut first = track(Position::default(), None, 7);
    let mut records = take(&mut first, &entries[..3]);
    let position = *first.position();
    assert!(position.bytes > 2 && position.anchor.is_some_and(|anchor| anchor.end == 2), "{position:?}");
    records.extend(take(&mut track(position, Some(0), 7), &entries));
    assert_eq!(records, whole);
}

#[test]
fn an_entry_without_time_has_that_of_the_one_before() {
    let mut track = track(Position::default(), None, 1024);
    for (time, text) in [(None, "first\n"), (Some(5), "timed\n"), (None, "untimed\n")] {
        if let Admitted::New(fresh) = track.admit(time, text.as_bytes(), || 77) {
            track.push(&fresh);
        }
    }
    let mut records = Vec::new();
    feed(&mut track, Flush::No, &mut records);
    assert_eq!(records.iter().map(|record| record.0).collect::<Vec<_>>(), [77, 5, 5]);
}

#[test]
fn what_is_held_back_is_due_once_its_stream_was_quiet() {
    let mut track = track(Position::default(), None, 1024);
    let now = Instant::now();
    let push = |track: &mut Track, text: &str| {
        if let Admitted::New(fresh) = track.admit(Some(1), text.as_bytes(), || 0) {
            track.push(&fresh);
        }
    };
    push(&mut track, "a\n");
    track.feed(Flush::No, now);
    assert_eq!(track.quiet_at(), None, "nothing is held back");
    push(&mut track, "open");
    track.feed(Flush::No, now);
    assert_eq!(track.quiet_at(), Some(now + GROUP_QUIET));
    track.feed(Flush::No, now + GROUP_QUIET / 2);
    assert_eq!(track.quiet_at(), Some(now + GROUP_QUIET), "nothing new came");
    track.feed(Flush::Group, now + GROUP_QUIET);
    assert_eq!(track.quiet_at(), None, "once");
}

#[test]
fn a_rate_limit_goes_by_the_engines_times_and_tells_what_it_left_out_once_its_stream_is_quiet() {
    const SECOND: Nanos = 1_000_000_000;
    let limit = Limit { burst: 2, per_second: 1, then_keep_one_in: 0, count: Count::new(Kind::RateLimit, "s") };
    let filter = Filter::new(&Arc::default(), Some(Arc::new(limit)));
    let mut track = track_with(Position::default(), None, 1024, filter);
    let records = take(&mut track, &[(SECOND, "a\n"), (SECOND, "b\n"), (SECOND, "c\n"), (SECOND, "d\n")]);
    assert_eq!(records, [(SECOND, 0, 2), (SECOND, 2, 2)]);
    let records = take(&mut track, &[(2 * SECOND, "e\n"), (2 * SECOND, "f\n")]);
    assert_eq!(records, [(2 * SECOND, 8, 2)]);
    assert!(track.has_untold() && track.quiet_at().is_some(), "three are left out");
    let mut records = Vec::new();
    track.tell_left_out(|| 0);
    feed(&mut track, Flush::Group, &mut records);
    assert_eq!(records, [(2 * SECOND, 12, 0)], "behind all that was read");
    assert_eq!((track.has_untold(), track.quiet_at()), (false, None));
    let counters = track.begin().counters;
    assert_eq!((counters.lines, counters.recorded_lines, counters.sampled_lines, counters.records), (6, 3, 3, 4));
}

#[test]
fn the_end_is_said_once_until_more_is_read() {
    let mut track = track(Position::default(), None, 1024);
    take(&mut track, &[(1, "a\n")]);
    let section = track.end_section().expect("first");
    assert!(Position::decode(&section.position).is_some_and(|position| position.at_end));
    assert_eq!((section.records.count, section.ended, section.base), (0, false, 2));
    assert!(track.end_section().is_none());
    take(&mut track, &[(2, "b\n")]);
    assert!(track.end_section().is_some());
}
