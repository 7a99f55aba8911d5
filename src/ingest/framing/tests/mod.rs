//! Groups of lines: each text given at once and byte by byte.

use super::*;

mod edges;
mod families;
mod starts;

/// All groups of a text, given in one piece and byte by byte: both must agree.
fn groups(multiline: &Multiline, max_line: usize, text: &str) -> Vec<String> {
    let whole = feed(multiline, max_line, text, text.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(feed(multiline, max_line, text, step), whole, "in steps of {step}");
    }
    whole
}

fn feed(multiline: &Multiline, max_line: usize, text: &str, step: usize) -> Vec<String> {
    let mut framer = Framer::new(multiline.clone(), max_line);
    let mut out = Vec::new();
    let mut window: Vec<u8> = Vec::new();
    let bytes = text.as_bytes();
    let mut lines = 0;
    for (index, chunk) in bytes.chunks(step).enumerate() {
        window.extend_from_slice(chunk);
        let last = (index + 1) * step >= bytes.len();
        let mut start = 0;
        while let Some(group) = framer.next(&window, start, if last { Flush::All } else { Flush::No }) {
            assert_eq!(group.start, start);
            assert!(group.end > start);
            out.push(String::from_utf8(window[group.start..group.end].to_vec()).expect("text"));
            lines += group.lines as usize;
            start = group.end;
        }
        window.drain(..start);
        framer.consumed(start);
    }
    assert!(window.is_empty(), "all is taken at the end");
    assert_eq!(out.concat(), text);
    if max_line > 100 {
        assert_eq!(lines, text.lines().count(), "{text:?}");
    }
    out
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(groups(&Multiline::Auto, 1000, text), expected);
}

#[test]
fn lines_stand_alone_and_the_last_one_may_lack_its_end() {
    check("", &[]);
    check("a\nb\r\n\nc", &["a\n", "b\r\n", "\n", "c"]);
    assert_eq!(groups(&Multiline::None, 1000, "a\n b\n"), ["a\n", " b\n"]);
}

#[test]
fn indented_lines_join_the_line_before() {
    check("a\n  b\n\tc\nd\n", &["a\n  b\n\tc\n", "d\n"]);
    check("x\n\tat a.B\nCaused by: y\n\tat c.D\nz\n", &["x\n\tat a.B\nCaused by: y\n\tat c.D\n", "z\n"]);
}

#[test]
fn the_two_lines_of_java_util_logging_are_one_group() {
    let head = "Nov 20, 2026 11:00:33 PM com.example.Main run\n";
    check(
        &format!("{head}INFO: up\n{head}SEVERE: down\n"),
        &[&format!("{head}INFO: up\n"), &format!("{head}SEVERE: down\n")],
    );
    check(&format!("{head}x\nINFO: up\n"), &[head, "x\n", "INFO: up\n"]);
}

#[test]
fn a_traceback_joins_the_line_that_logged_it() {
    let traceback =
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: x\n";
    check(&format!("ERROR oh\n{traceback}next\n"), &[&format!("ERROR oh\n{traceback}"), "next\n"]);
    check(&format!("{traceback}{traceback}"), &[traceback, traceback]);
    let chained =
        format!("E\n{traceback}\nDuring handling of the above exception, another exception occurred:\n\n{traceback}");
    check(&format!("{chained}\nnext\n"), &[&chained, "\n", "next\n"]);
    check(&format!("{traceback}\n\n"), &[traceback, "\n", "\n"]);
}

#[test]
fn a_line_over_the_bound_becomes_pieces_and_loses_nothing() {
    let check = |text: &str, expected: &[&str]| assert_eq!(groups(&Multiline::Auto, 4, text), expected, "{text:?}");
    check("abcd\n", &["abcd\n"]);
    check("abcdefghij\nk\n", &["abcd", "efgh", "ij\n", "k\n"]);
    check("abcdefgh\nk\n", &["abcd", "efgh\n", "k\n"]);
    check("ab€cd\n", &["ab", "€c", "d\n"]);
    check("x\n\nabcde", &["x\n", "\n", "abcd", "e"]);
}

#[test]
fn a_traceback_that_was_cut_short_swallows_no_line() {
    let cut = "Traceback (most recent call last):\n  File \"a.py\", line 1\n";
    check(&format!("{cut}{{\"a\":1}}\n"), &[cut, "{\"a\":1}\n"]);
    check(&format!("{cut}2026-11-20 00:00:00 x\n"), &[cut, "2026-11-20 00:00:00 x\n"]);
}

#[test]
fn after_a_flushed_traceback_the_blank_line_and_what_follows_are_lines_of_their_own() {
    let traceback = "Traceback (most recent call last):\n  x\nE: y\n";
    let mut framer = Framer::new(Multiline::Auto, 1000);
    let mut window = format!("{traceback}\n").into_bytes();
    assert_eq!(framer.next(&window, 0, Flush::No), None);
    let first = framer.next(&window, 0, Flush::Group).expect("the traceback");
    assert_eq!((first.end, first.lines), (traceback.len(), 3));
    window.drain(..first.end);
    framer.consumed(first.end);
    window.extend_from_slice(b"next\n");
    let blank = framer.next(&window, 0, Flush::Group).expect("the blank line");
    assert_eq!((blank.end, blank.lines), (1, 1));
    let next = framer.next(&window, 1, Flush::Group).expect("the next line");
    assert_eq!((next.start, next.end, next.lines), (1, 6, 1));
}

#[test]
fn a_window_that_begins_anew_is_read_from_its_start() {
    let mut framer = Framer::new(Multiline::Auto, 1000);
    assert_eq!(framer.next(b"head\n  more\n  and", 0, Flush::No), None);
    // With and without being told.
    assert_eq!(framer.next(b"he", 0, Flush::No), None);
    framer.reset();
    let group = framer.next(b"head\n  more\nnext\n", 0, Flush::No).expect("a group");
    assert_eq!((group.end, group.lines), (12, 2));
}

#[test]
fn a_group_is_bounded_in_lines_and_bytes() {
    let many = format!("a\n{}", " b\n".repeat(GROUP_MAX_LINES as usize));
    let out = feed(&Multiline::Auto, 1000, &many, 4096);
    assert_eq!(out.iter().map(|g| g.lines().count()).collect::<Vec<_>>(), [500, 1]);
    let wide = format!("a\n{}", format!(" {}\n", "b".repeat(9_998)).repeat(30));
    let out = feed(&Multiline::Auto, 100_000, &wide, 4096);
    assert!(out.len() == 2 && out.iter().all(|g| g.len() <= GROUP_MAX_BYTES));
}
