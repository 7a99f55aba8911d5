//! Steps back, jumps and counts, without an engine.

use super::*;

const MS: Nanos = 1_000_000;

/// 10 MB a file: a jump is 10 ms.
const ROTATION: Rotation =
    Rotation { file_bytes: 10_000_000, files: 3, entry_bytes: 100, byte_bytes: 6, compressed: false };

fn entry(stream: Stream, time: Nanos, payload: &[u8]) -> Entry<'_> {
    Entry { stream, time: Some(time), payload }
}

/// A log that is followed, from time 0 on; it has been rotated before.
struct Followed {
    continuity: Continuity,
    now: Instant,
}

impl Followed {
    fn new() -> Followed {
        let now = Instant::now();
        let mut continuity = Continuity::new(Some(ROTATION), false, now);
        continuity.begin(0, true);
        Followed { continuity, now }
    }

    /// An entry of stdout that comes so many milliseconds after the last one did.
    fn line(&mut self, time: Nanos, waited: u64) -> Step {
        self.entry(&entry(Stream::Stdout, time, b"line\n"), waited)
    }

    fn entry(&mut self, entry: &Entry<'_>, waited: u64) -> Step {
        self.now += Duration::from_millis(waited);
        self.continuity.arrive(self.now);
        self.continuity.entry(entry)
    }

    fn reopen(&mut self, opened: Nanos) {
        self.continuity.end();
        self.continuity.begin(opened, true);
    }

    fn stretch(&mut self) -> Option<Stretch> {
        self.continuity.next_stretch(self.now, false)
    }
}

#[test]
fn lines_that_are_close_prove_themselves() {
    let mut followed = Followed::new();
    for n in 1..1_000 {
        assert_eq!(followed.line(n * 9 * MS, 0), Step::Take);
    }
    assert_eq!((followed.continuity.due(), followed.continuity.next_stretch(followed.now, true)), (None, None));
}

#[test]
fn a_pause_is_counted_again_some_seconds_later() {
    let mut followed = Followed::new();
    assert_eq!(followed.line(MS, 0), Step::Take);
    assert_eq!(followed.line(2 * MS, 1), Step::Take);
    assert_eq!(followed.line(50 * MS, 48), Step::Take);
    assert_eq!(followed.continuity.due(), Some(followed.now + RECOUNT_AFTER));
    assert_eq!(followed.stretch(), None, "not yet");
    assert_eq!(followed.line(51 * MS, 1), Step::Take);
    followed.now += RECOUNT_AFTER;
    let mark = |time| Mark { stream: Stream::Stdout, time, nth: 1, length: 5 };
    let expected = Stretch { from: mark(2 * MS), to: mark(51 * MS), entries: 2, late: false };
    assert_eq!(followed.stretch(), Some(expected));
    assert_eq!((followed.continuity.due(), followed.stretch()), (None, None), "once");
}

#[test]
fn a_stretch_is_counted_again_before_it_can_be_rotated_away() {
    let mut followed = Followed::new();
    followed.line(MS, 0);
    followed.line(50 * MS, 49);
    let large = vec![b'x'; 16_384];
    let mut bytes = 0;
    while followed.continuity.due() > Some(followed.now) {
        followed.entry(&entry(Stream::Stdout, 51 * MS, &large), 0);
        bytes += large.len();
    }
    assert!((2_400_000..2_600_000).contains(&bytes), "an eighth of the two files behind: {bytes}");
    assert_eq!(followed.stretch().map(|stretch| stretch.entries), Some(1 + bytes as u64 / 16_384));
}

#[test]
fn both_sides_of_a_jump_that_come_at_once_are_read_again_and_found() {
    let mut followed = Followed::new();
    followed.line(MS, 0);
    assert_eq!(followed.line(300 * MS, 1), Step::Reread);
    // What the engine still had comes now, and is no jump.
    followed.reopen(400 * MS);
    for n in 0..=300 {
        assert_eq!(followed.line((1 + n) * MS, 0), Step::Take);
    }
    assert_eq!(followed.continuity.next_stretch(followed.now, true), None, "the new reading proves it");
    // The next one is looked at just as soon.
    followed.line(410 * MS, 300);
    assert_eq!(followed.line(700 * MS, 1), Step::Reread);
}

#[test]
fn readings_that_find_nothing_become_rare() {
    let mut followed = Followed::new();
    let mut rereads = 0;
    let mut at = MS;
    followed.line(at, 0);
    for _ in 0..1_000 {
        // Two lines with 20 ms between them that came together.
        assert_eq!(followed.line(at + 20 * MS, 40), Step::Take);
        at += 40 * MS;
        if followed.line(at, 0) == Step::Reread {
            rereads += 1;
            followed.reopen(at + MS);
            assert_eq!(followed.line(at - 20 * MS, 0), Step::Take);
            assert_eq!(followed.line(at, 0), Step::Take, "what the log holds is taken");
        }
    }
    assert!((3..12).contains(&rereads), "{rereads} in 40 s");
    let left: Vec<Stretch> = std::iter::from_fn(|| followed.continuity.next_stretch(followed.now, true)).collect();
    assert!(left.iter().any(|stretch| stretch.late), "counted instead: {left:?}");
}

#[test]
fn a_step_back_is_read_again_until_it_proves_to_be_the_clock() {
    let mut followed = Followed::new();
    followed.line(100 * MS, 0);
    assert_eq!(followed.line(90 * MS, 0), Step::Leave);
    assert_eq!(followed.line(95 * MS, 0), Step::Leave);
    assert_eq!(followed.line(101 * MS, 0), Step::Reread, "the last one did not come again");
    followed.reopen(120 * MS);
    for time in [100, 90, 95, 101] {
        assert_eq!(followed.line(time * MS, 0), Step::Take, "it stands in the log");
    }
    // Where the engine's clock is ahead of ours, all of it looks as if it had just been written.
    let mut ahead = Followed::new();
    let mut rereads = 0;
    loop {
        ahead.line(100 * MS, 0);
        if ahead.line(90 * MS, 0) == Step::Take {
            break;
        }
        assert_eq!(ahead.line(101 * MS, 0), Step::Reread);
        rereads += 1;
        ahead.reopen(0);
    }
    assert_eq!(rereads, REREADS_MAX);
}

#[test]
fn a_file_that_is_given_again_is_left_up_to_where_it_was() {
    let mut followed = Followed::new();
    let stderr = entry(Stream::Stderr, 3 * MS, b"e\n");
    let file = |followed: &mut Followed, step: Step| {
        for time in [2, 4, 5] {
            assert_eq!(followed.line(time * MS, 0), step);
        }
        assert_eq!(followed.entry(&stderr, 0), step);
    };
    followed.line(MS, 0);
    file(&mut followed, Step::Take);
    file(&mut followed, Step::Leave);
    assert_eq!(followed.line(6 * MS, 0), Step::Take);
    file(&mut followed, Step::Leave);
    assert_eq!(followed.line(6 * MS, 0), Step::Leave);
    assert_eq!(followed.line(70 * MS, 64), Step::Take);
    let stretch = followed.continuity.next_stretch(followed.now, true).expect("after the pause");
    assert_eq!((stretch.from.time, stretch.entries), (6 * MS, 1));
}

#[test]
fn a_step_back_with_nothing_behind_it_is_read_again_soon() {
    let mut followed = Followed::new();
    followed.line(100 * MS, 0);
    assert_eq!(followed.line(90 * MS, 0), Step::Leave);
    assert_eq!(followed.continuity.replay_due(), Some(followed.now + REPLAY_MAX));
    assert!(!followed.continuity.give_up_replay(followed.now));
    assert!(followed.continuity.give_up_replay(followed.now + REPLAY_MAX));
    assert_eq!(followed.continuity.replay_due(), None);
}

#[test]
fn a_steady_log_that_stands_still_is_read_again_and_a_slow_one_is_not() {
    let mut followed = Followed::new();
    // 10 MB in 3 s, then nothing for 1 s.
    let large = vec![b'x'; 10_000];
    for n in 0..1_000 {
        assert_eq!(followed.entry(&entry(Stream::Stdout, n * 3 * MS, &large), 3), Step::Take);
    }
    assert_eq!(followed.line(4_000 * MS, 1_003), Step::Reread);
    let mut slow = Followed::new();
    for n in 0..1_000 {
        assert_eq!(slow.line(n * 1_000 * MS, 1_000), Step::Take);
    }
    assert_eq!(slow.line(1_060_000 * MS, 60_000), Step::Take);
}

#[test]
fn a_line_given_twice_is_a_step_back_and_pieces_of_one_line_are_none() {
    let mut followed = Followed::new();
    let stdout = |payload| entry(Stream::Stdout, 100 * MS, payload);
    assert_eq!(followed.entry(&stdout(b"piece"), 0), Step::Take);
    assert_eq!(followed.entry(&stdout(b"piece"), 0), Step::Take);
    assert_eq!(followed.entry(&stdout(b"end\n"), 0), Step::Take);
    assert_eq!(followed.entry(&entry(Stream::Stderr, 99 * MS, b"other\n"), 0), Step::Take, "streams are apart");
    assert_eq!(followed.entry(&stdout(b"piece"), 0), Step::Reread);
}

#[test]
fn what_stood_in_the_log_when_it_was_opened_is_not_doubted() {
    let mut followed = Followed::new();
    followed.reopen(1_000 * MS);
    for time in [1, 500, 900, 800, 950] {
        assert_eq!(followed.line(time * MS, 0), Step::Take);
    }
    assert_eq!(followed.continuity.next_stretch(followed.now, true), None);
    assert_eq!(followed.line(1_001 * MS, 100), Step::Take);
    assert_eq!(followed.continuity.next_stretch(followed.now, true).map(|stretch| stretch.entries), Some(1));
}

#[test]
fn a_log_that_cannot_have_been_rotated_is_not_counted() {
    let mut continuity = Continuity::new(Some(ROTATION), true, Instant::now());
    continuity.begin(0, true);
    let large = vec![b'x'; 15_000];
    // Each may take 90,100 bytes: 110 of them are less than a file.
    for n in 1..=110 {
        assert_eq!(continuity.entry(&entry(Stream::Stdout, n * 1_000 * MS, &large)), Step::Take);
    }
    assert_eq!(continuity.due(), None);
    assert_eq!(continuity.entry(&entry(Stream::Stdout, 111_000 * MS, &large)), Step::Reread);
}

#[test]
fn one_file_is_watched_for_steps_back_alone() {
    let mut continuity = Continuity::new(None, true, Instant::now());
    continuity.begin(0, true);
    assert_eq!(continuity.entry(&entry(Stream::Stdout, MS, b"a\n")), Step::Take);
    assert_eq!(continuity.entry(&entry(Stream::Stdout, 9_000 * MS, b"b\n")), Step::Take);
    assert_eq!(continuity.entry(&entry(Stream::Stdout, 2 * MS, b"c\n")), Step::Leave);
    assert_eq!(continuity.entry(&entry(Stream::Stdout, 9_001 * MS, b"d\n")), Step::Reread);
    assert_eq!(continuity.due(), None);
}

#[test]
fn stretches_of_readings_that_ended_wait_and_too_many_are_told() {
    let mut followed = Followed::new();
    for n in 0..=STRETCHES_MAX {
        assert!(!followed.continuity.take_overflow());
        followed.line(MS, 0);
        assert_eq!(followed.line(100 * MS, 99), Step::Take, "{n}");
        followed.reopen(0);
    }
    assert!(followed.continuity.take_overflow());
    let waiting = std::iter::from_fn(|| followed.stretch()).count();
    assert_eq!(waiting, STRETCHES_MAX);
}

#[test]
fn counting_again() {
    let log: Vec<(Stream, Nanos)> =
        [(0, 1), (0, 2), (1, 2), (0, 3), (0, 3), (1, 5), (0, 6)].map(|(stream, time)| (stream_of(stream), time)).into();
    let check = |from: (u8, Nanos, u64), to: (u8, Nanos, u64), entries: u64, expected: Option<Counted>| {
        let mark = |(stream, time, nth)| Mark { stream: stream_of(stream), time, nth, length: 2 };
        let mut recount = Recount::new(Stretch { from: mark(from), to: mark(to), entries, late: false });
        let found = log.iter().find_map(|(stream, time)| recount.entry(&entry(*stream, *time, b"l\n")));
        assert_eq!(found, expected, "{from:?} {to:?} {entries}");
    };
    check((0, 1, 1), (0, 6, 1), 6, Some(Counted::Whole));
    check((0, 2, 1), (0, 3, 2), 3, Some(Counted::Whole));
    check((1, 2, 1), (1, 5, 1), 3, Some(Counted::Whole));
    check((0, 2, 1), (0, 3, 2), 4, Some(Counted::Whole)); // one came twice
    check((0, 2, 1), (0, 3, 2), 2, Some(Counted::Skipped));
    check((0, 1, 1), (0, 6, 1), 5, Some(Counted::Skipped));
    check((0, 0, 1), (0, 6, 1), 6, Some(Counted::Absent)); // rotated away
    check((0, 3, 3), (0, 6, 1), 1, Some(Counted::Absent));
    check((0, 3, 1), (0, 9, 1), 9, None); // not there yet
}

fn stream_of(number: u8) -> Stream {
    if number == 0 { Stream::Stdout } else { Stream::Stderr }
}
