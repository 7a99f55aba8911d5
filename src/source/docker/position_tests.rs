//! Tests of [`super`]: positions there and back, where a reading begins, what of it is skipped.

use super::*;

const S: Nanos = 1_000_000_000;

fn anchor(time: Nanos, nth: u64, text: &str, end: u64) -> Anchor {
    Anchor { time, latest: time, hash: hash(text.as_bytes()), nth, end, counted: false }
}

fn at(anchor: Anchor, bytes: u64, beside: Option<u64>) -> Position {
    Position { lines: 1, bytes, anchor: Some(anchor), beside, at_end: false }
}

#[test]
fn a_position_survives_its_bytes_and_nothing_else_is_one() {
    let anchor = Anchor { time: -5, latest: 7, hash: u64::MAX, nth: 3, end: 40, counted: false };
    for position in [
        Position::default(),
        Position { at_end: true, bytes: 3, ..Position::default() },
        Position { lines: 9, bytes: 41, anchor: Some(anchor), beside: None, at_end: false },
        Position { lines: 9, bytes: 41, anchor: Some(anchor), beside: Some(0), at_end: true },
    ] {
        let bytes = position.encode();
        assert_eq!(Position::decode(&bytes), Some(position));
        for cut in 0..bytes.len() {
            assert_eq!(Position::decode(&bytes[..cut]), None, "{position:?} cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Position::decode(&longer), None);
        let mut newer = bytes;
        newer[0] += 1;
        assert_eq!(Position::decode(&newer), None);
    }
    let unsound = Position { bytes: 39, anchor: Some(anchor), ..Position::default() };
    assert_eq!(Position::decode(&unsound.encode()), None, "an anchor behind the position");
}

#[test]
fn a_reading_begins_before_the_earlier_need() {
    const BIG: u64 = 10 * REPLAY_MAX_BYTES;
    let now = 1_000_000 * S;
    let check = |stdout: Option<Position>, stderr: Option<Position>, now: Nanos, expected: Option<Nanos>, why: &str| {
        assert_eq!(since(stdout.as_ref(), stderr.as_ref(), now), expected, "{why}");
        assert_eq!(since(stderr.as_ref(), stdout.as_ref(), now), expected, "{why}, swapped");
    };
    let out = |beside| Some(at(anchor(500 * S, 1, "o", BIG), BIG, beside));
    let err = |end, bytes| Some(at(anchor(3 * S, 1, "e", end), bytes, None));
    check(None, None, now, None, "nothing is known");
    check(out(None), None, now, None, "lines of stderr may stand anywhere");
    check(out(Some(0)), None, now, Some(490 * S), "stderr had nothing then");
    check(out(Some(40)), err(40, 40), now, Some(490 * S), "stderr stands where it was then");
    check(out(Some(40)), err(50, 50), now, Some(3 * S - 1), "stderr has gone on since");
    check(out(None), err(40, 40), now, Some(3 * S - 1), "something of stderr was held back");
    check(out(Some(43)), err(40, 43), now, Some(3 * S - 1), "its unterminated end would come again");
    check(out(Some(0)), None, 499 * S, None, "the clock was set back");
    let small = Some(at(anchor(500 * S, 1, "o", 9), 9, Some(0)));
    check(small, None, now, None, "little enough to read it all");
}

/// Which entries of a log are new to a stream left at `position`, and how the reading took them.
fn new_of(position: &Position, since: Option<Nanos>, log: &[(Nanos, &str)]) -> Vec<String> {
    let mut finder = Finder::new(position, since);
    let asked = log.iter().filter(|(time, _)| since.is_none_or(|since| *time >= since));
    asked
        .filter_map(|(time, text)| match finder.next(*time, text.as_bytes()) {
            Found::Old => None,
            Found::New { from, nth } => Some(format!("{}#{nth}", &text[from..])),
            Found::Lost { nth } => Some(format!("lost {text}#{nth}")),
        })
        .collect()
}

#[test]
fn everything_up_to_the_anchor_is_skipped() {
    let log = [(1, "a\n"), (2, "b\n"), (2, "b\n"), (2, "b\n"), (2, "c\n"), (3, "d\n")];
    let check = |position: Position, since: Option<Nanos>, expected: &[&str]| {
        assert_eq!(new_of(&position, since, &log), expected, "{position:?} since {since:?}");
    };
    check(Position::default(), None, &["a\n#1", "b\n#1", "b\n#2", "b\n#3", "c\n#4", "d\n#1"]);
    check(at(anchor(1, 1, "a\n", 2), 2, None), Some(0), &["b\n#1", "b\n#2", "b\n#3", "c\n#4", "d\n#1"]);
    check(at(anchor(2, 2, "b\n", 6), 6, None), Some(1), &["b\n#3", "c\n#4", "d\n#1"]);
    check(at(anchor(2, 3, "b\n", 8), 8, None), None, &["c\n#4", "d\n#1"]);
    check(at(anchor(3, 1, "d\n", 12), 12, None), Some(2), &[]);
}

#[test]
fn bytes_taken_up_behind_the_anchor_are_skipped_too() {
    let log = [(1, "a\n"), (2, "long"), (2, " line"), (2, " end\n"), (3, "b\n")];
    let check = |bytes: u64, expected: &[&str]| {
        assert_eq!(new_of(&at(anchor(1, 1, "a\n", 2), bytes, None), Some(0), &log), expected, "{bytes} bytes");
    };
    check(2, &["long#1", " line#2", " end\n#3", "b\n#1"]);
    check(4, &["ng#1", " line#2", " end\n#3", "b\n#1"]);
    check(6, &[" line#2", " end\n#3", "b\n#1"]);
    check(12, &["end\n#3", "b\n#1"]);
    check(16, &["b\n#1"]);
    let no_line_yet = Position { bytes: 3, ..Position::default() };
    assert_eq!(new_of(&no_line_yet, None, &[(1, "end"), (2, "more\n")]), ["more\n#1"]);
}

#[test]
fn an_anchor_that_does_not_come_means_a_gap() {
    let position = at(anchor(5, 2, "b\n", 20), 20, None);
    let check = |log: &[(Nanos, &str)], expected: &[&str]| assert_eq!(new_of(&position, Some(4), log), expected);
    check(&[(9, "x\n"), (9, "y\n"), (10, "z\n")], &["lost x\n#1", "y\n#2", "z\n#1"]);
    check(&[(5, "b\n"), (6, "x\n")], &["lost x\n#1"]);
    check(&[(5, "a\n"), (5, "other\n"), (6, "x\n")], &["lost x\n#1"]);
    check(&[(5, "a\n")], &[]);
    check(&[], &[]);
}

#[test]
fn after_a_gap_the_stream_goes_on_with_the_first_later_entry() {
    let before = at(anchor(5, 2, "b\n", 20), 23, Some(7));
    let after = before.after_gap();
    assert_eq!((after.bytes, after.beside, after.behind_anchor()), (23, None, 0));
    assert_eq!(new_of(&after, Some(4), &[(5, "b\n"), (9, "long"), (9, "er\n")]), ["long#1", "er\n#2"]);
    // Part of that entry was taken up as a piece of a long line, then the reading broke off.
    let piece = Position { bytes: 25, ..after };
    assert_eq!(new_of(&piece, Some(4), &[(5, "b\n"), (9, "long"), (9, "er\n")]), ["ng#1", "er\n#2"]);
}

#[test]
fn a_clock_that_was_set_back_is_no_gap() {
    let mut late = anchor(3, 1, "back\n", 20);
    late.latest = 9;
    let log = [(7, "x\n"), (9, "y\n"), (3, "back\n"), (4, "new\n")];
    assert_eq!(new_of(&at(late, 20, None), Some(2), &log), ["new\n#1"]);
}

#[test]
fn a_reading_that_begins_behind_the_anchor_skips_nothing() {
    let position = at(anchor(3, 1, "e\n", 20), 20, None);
    assert_eq!(new_of(&position, Some(490), &[(500, "later\n")]), ["later\n#1"]);
}

#[test]
fn any_log_read_from_any_position_gives_each_byte_once() {
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..500 {
        // A log of few times and few texts, so that equal ones abound; whole lines and pieces.
        let mut time = 1;
        let log: Vec<(Nanos, &str)> = (0..1 + random(20))
            .map(|_| {
                time += i64::from(random(3) == 0);
                (time, ["a\n", "a\n", "b\n", "piece", "x"][random(5) as usize])
            })
            .collect();
        let stream: String = log.iter().map(|(_, text)| *text).collect();
        // Every byte position of the stream, with the anchor that a track would have there.
        let (mut position, mut run) = (Position::default(), (0, 0));
        for (time, text) in &log {
            run = if run.0 == *time { (*time, run.1 + 1) } else { (*time, 1) };
            for byte in 1..=text.len() as u64 {
                let mut here = Position { bytes: position.bytes + byte, ..position };
                if byte == text.len() as u64 && text.ends_with('\n') {
                    here.anchor = Some(anchor(*time, run.1, text, here.bytes));
                }
                for since in [None, here.anchor.map(|anchor| anchor.time - 1)] {
                    if since.is_none() && here.anchor.is_none() || here.anchor.is_some() {
                        let mut rest = String::new();
                        let mut finder = Finder::new(&here, since);
                        for (time, text) in log.iter().filter(|(time, _)| since.is_none_or(|since| *time >= since)) {
                            match finder.next(*time, text.as_bytes()) {
                                Found::Old => {}
                                Found::New { from, .. } => rest.push_str(&text[from..]),
                                Found::Lost { .. } => panic!("lost in {log:?} at {here:?}"),
                            }
                        }
                        assert_eq!(rest, stream[here.bytes as usize..], "{log:?} at {here:?} since {since:?}");
                    }
                }
                if byte == text.len() as u64 {
                    position = here;
                    break;
                }
            }
        }
    }
}
