//! Tests of [`super`]: entries out of whole, cut and damaged streams.

use super::*;

const TIME: &str = "2026-11-20T23:24:43.134290389Z ";
const TIME_NANOS: Nanos = 1_795_217_083_134_290_389;
const EARLIER: &str = "2026-11-20T23:24:42.000000000Z ";
const LATER: &str = "2026-11-20T23:24:44.000000000Z ";
const LATER_NANOS: Nanos = 1_795_217_084_000_000_000;

type Owned = (Stream, Option<Nanos>, String);

fn frame(kind: u8, body: &str) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body.as_bytes());
    out
}

fn take(decoder: &mut Decoder, out: &mut Vec<Owned>) -> Result<(), Damage> {
    while let Some(entry) = decoder.next_entry()? {
        out.push((entry.stream, entry.time, String::from_utf8_lossy(entry.payload).into_owned()));
    }
    Ok(())
}

/// Entries of a stream that arrives in these parts and then ends.
fn decode(terminal: bool, parts: &[&[u8]]) -> (Vec<Owned>, Result<(), Damage>) {
    let (mut decoder, mut out) = (Decoder::new(terminal), Vec::new());
    for part in parts {
        decoder.push(part);
        if let Err(damage) = take(&mut decoder, &mut out) {
            return (out, Err(damage));
        }
    }
    if let Some(entry) = decoder.last_entry() {
        out.push((entry.stream, entry.time, String::from_utf8_lossy(entry.payload).into_owned()));
    }
    (out, Ok(()))
}

fn check(terminal: bool, bytes: &[u8], expected: &[(Stream, Option<Nanos>, &str)]) {
    let expected: Vec<Owned> = expected.iter().map(|(s, t, text)| (*s, *t, (*text).to_owned())).collect();
    assert_eq!(decode(terminal, &[bytes]), (expected.clone(), Ok(())));
    for cut in 0..bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(decode(terminal, &[left, right]).0, expected, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(terminal, &single).0, expected, "byte by byte");
}

use Stream::{Stderr, Stdout};

#[test]
fn frames_become_entries_wherever_the_stream_is_cut() {
    let mut bytes = frame(1, &format!("{TIME}out\n"));
    bytes.extend(frame(2, &format!("{LATER}err\n")));
    bytes.extend(frame(0, &format!("{TIME}typed\n")));
    bytes.extend(frame(1, &format!("{TIME}\n")));
    bytes.extend(frame(1, TIME));
    bytes.extend(frame(2, "no time\n"));
    bytes.extend(frame(1, ""));
    bytes.extend(frame(1, &format!("{TIME}{LATER}two\nlines")));
    check(
        false,
        &bytes,
        &[
            (Stdout, Some(TIME_NANOS), "out\n"),
            (Stderr, Some(LATER_NANOS), "err\n"),
            (Stdout, Some(TIME_NANOS), "\n"),
            (Stdout, Some(TIME_NANOS), ""),
            (Stderr, None, "no time\n"),
            (Stdout, None, ""),
            (Stdout, Some(TIME_NANOS), &format!("{LATER}two\nlines")),
        ],
    );
}

#[test]
fn an_unfinished_frame_is_not_given() {
    let whole = frame(1, &format!("{TIME}out\n"));
    for cut in 0..whole.len() {
        assert_eq!(decode(false, &[&whole[..cut]]), (Vec::new(), Ok(())), "{cut}");
    }
}

#[test]
fn damage_comes_after_what_was_whole() {
    let check = |damaged: Vec<u8>, expected: Damage| {
        let mut bytes = frame(1, &format!("{TIME}out\n"));
        bytes.extend(damaged);
        let (entries, result) = decode(false, &[&bytes]);
        assert_eq!((entries.len(), result), (1, Err(expected)));
    };
    check(frame(3, "Error grabbing logs: no space\n"), Damage::Engine("Error grabbing logs: no space".into()));
    check(frame(b'2', "026-11-20T23:24:43Z text"), Damage::Kind(b'2'));
    check(vec![1, 0, 0, 0, 255, 255, 255, 255], Damage::TooLong(u32::MAX as usize));
}

#[test]
fn a_terminals_stream_is_cut_at_newlines_and_at_timestamps() {
    check(
        true,
        format!("{TIME}a\r\n{TIME}\n{TIME}pie{TIME}ce\n{LATER}$ ").as_bytes(),
        &[
            (Stdout, Some(TIME_NANOS), "a\r\n"),
            (Stdout, Some(TIME_NANOS), "\n"),
            (Stdout, Some(TIME_NANOS), "pie"),
            (Stdout, Some(TIME_NANOS), "ce\n"),
            (Stdout, Some(LATER_NANOS), "$ "),
        ],
    );
}

#[test]
fn a_terminals_unterminated_end_is_told_from_the_line_after_a_restart() {
    check(
        true,
        format!("{TIME}$ {LATER}hello\n").as_bytes(),
        &[(Stdout, Some(TIME_NANOS), "$ "), (Stdout, Some(LATER_NANOS), "hello\n")],
    );
}

#[test]
fn times_that_a_program_prints_are_text() {
    check(
        true,
        format!("{TIME}{EARLIER}at {EARLIER}TTT\n{TIME}{TIME}same\n").as_bytes(),
        &[
            (Stdout, Some(TIME_NANOS), &format!("{EARLIER}at {EARLIER}TTT\n")),
            (Stdout, Some(TIME_NANOS), &format!("{TIME}same\n")),
        ],
    );
}

#[test]
fn a_terminals_bytes_below_three_are_no_headers() {
    let text = format!("{TIME}\u{1}\0\0\0\u{2}x\n");
    check(true, text.as_bytes(), &[(Stdout, Some(TIME_NANOS), "\u{1}\0\0\0\u{2}x\n")]);
    check(true, b"no time\nat all", &[(Stdout, None, "no time\n"), (Stdout, None, "at all")]);
}

#[test]
fn garbage_ends_in_damage_or_waits_but_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..4_000 {
        // Mostly small bytes, so that headers are met; pieces of real entries between them.
        let mut bytes = Vec::new();
        for _ in 0..random() % 12 {
            match random() % 4 {
                0 => bytes.extend(frame((random() % 5) as u8, &format!("{TIME}x\n"))),
                1 => bytes.extend_from_slice(TIME.as_bytes()),
                2 => bytes.extend((0..random() % 9).map(|_| (random() % 4) as u8)),
                _ => bytes.extend((0..random() % 40).map(|_| (random() & 0xff) as u8)),
            }
        }
        let cut = (random() as usize) % (bytes.len() + 1);
        for terminal in [false, true] {
            let whole = decode(terminal, &[&bytes]);
            let parts = decode(terminal, &[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(whole, parts, "round {round}, terminal {terminal}, cut {cut}: {bytes:?}");
            if terminal {
                let mut decoder = Decoder::new(true);
                decoder.push(&bytes);
                let mut given = 0;
                let length = |entry: Entry<'_>| entry.time.map_or(0, |_| TIME.len()) + entry.payload.len();
                while let Ok(Some(entry)) = decoder.next_entry() {
                    given += length(entry);
                }
                given += decoder.last_entry().map_or(0, length);
                assert_eq!(given, bytes.len(), "nothing is swallowed: {bytes:?}");
            }
        }
    }
}

#[test]
fn a_terminal_without_newlines_does_not_grow_the_buffer_without_bound() {
    let mut decoder = Decoder::new(true);
    let chunk = vec![b'x'; 256 * 1024];
    let mut given = 0;
    for _ in 0..40 {
        decoder.push(&chunk);
        while let Ok(Some(entry)) = decoder.next_entry() {
            given += entry.payload.len();
        }
        assert!(decoder.buffer.len() <= ENTRY_MAX_BYTES + chunk.len());
    }
    assert!(given > 2 * ENTRY_MAX_BYTES);
}
