//! Records that begin where a pattern of the user's matches, and what becomes of groups over a bound.

use super::*;

fn start(pattern: &str) -> Multiline {
    Multiline::Start(Start::new(pattern).expect("a pattern"))
}

#[test]
fn a_record_begins_where_the_pattern_matches() {
    let check = |pattern: &str, text: &str, expected: &[&str]| {
        assert_eq!(groups(&start(pattern), 1000, text), expected, "{pattern}");
    };
    check(
        "^>>",
        "before\nmore\n>> a\nb\n\n{\"c\":1}\n>> d\n>> e",
        &["before\nmore\n", ">> a\nb\n\n{\"c\":1}\n", ">> d\n", ">> e"],
    );
    check("END", "a\nb END\nc\n", &["a\n", "b END\nc\n"]);
    check("^$", "a\n\nb\n", &["a\n", "\nb\n"]);
    check("", "a\nb\n", &["a\n", "b\n"]);
    check("^INFO", "INFO a\n\u{1b}[32mINFO\u{1b}[0m b\nc\n", &["INFO a\n", "\u{1b}[32mINFO\u{1b}[0m b\nc\n"]);
    check("never", "{\"a\":1}\n{\n}\nb\n", &["{\"a\":1}\n{\n}\nb\n"]);
}

#[test]
fn a_stack_in_such_a_record_is_found() {
    let mut framer = Framer::new(start("^>>"), 1000);
    let check = |framer: &mut Framer, text: &str, family: Family, at: usize| {
        let group = framer.next(text.as_bytes(), 0, Flush::All).expect("a group");
        framer.reset();
        assert_eq!((group.end, group.stack), (text.len(), Some(Stack { at, family })), "{text}");
    };
    check(&mut framer, ">> a\nwords\nTraceback (most recent call last):\n  x\nE: y\nmore\n", Family::Python, 11);
    check(&mut framer, ">> a\nwords\njava.io.IOException: x\nof two\n\tat a.B(C.java:1)\nmore\n", Family::Frames, 11);
    check(&mut framer, ">> a\nb\npanic: x\n\ngoroutine 1 [running]:\nmain.f()\n\t/a.go:1\n", Family::Go, 7);
}

#[test]
fn what_is_no_pattern_is_said() {
    assert!(Start::new("(").expect_err("none").starts_with("is no regular expression: "));
    assert!(Start::new(&"x".repeat(5000)).expect_err("none").contains("at most"));
    assert_eq!(Start::new("a"), Start::new("a"));
    assert_ne!(Start::new("a"), Start::new("b"));
}

/// Lines and number of each piece.
fn pieces(multiline: &Multiline, text: &str) -> Vec<(u32, Option<u32>)> {
    let mut framer = Framer::new(multiline.clone(), 100_000);
    let mut start = 0;
    let found: Vec<_> = std::iter::from_fn(|| {
        let group = framer.next(text.as_bytes(), start, Flush::All)?;
        assert_eq!(group.start, start);
        start = group.end;
        Some((group.lines, group.group_piece))
    })
    .collect();
    assert_eq!(start, text.len());
    found
}

#[test]
fn a_group_over_a_bound_goes_on_as_a_marked_piece() {
    let many = |head: &str, line: &str, lines: usize| format!("{head}{}next\n", line.repeat(lines));
    let java = many("java.lang.StackOverflowError\n", "\tat a.B.c(D.java:1)\n", 1200);
    assert_eq!(pieces(&Multiline::Auto, &java), [(500, Some(1)), (500, Some(2)), (201, Some(3)), (1, None)]);
    let object = format!("{{\n{}}}\nnext\n", "  \"a\": 1,\n".repeat(498));
    assert_eq!(pieces(&Multiline::Auto, &object), [(500, None), (1, None)]);
    let object = format!("{{\n{}}}\nnext\n", "  \"a\": 1,\n".repeat(499));
    assert_eq!(pieces(&Multiline::Auto, &object), [(500, Some(1)), (1, Some(2)), (1, None)]);
    let started = format!(">>\n{}>>\n", "x\n".repeat(700));
    assert_eq!(pieces(&start("^>>"), &started), [(500, Some(1)), (201, Some(2)), (1, None)]);
    let wide = format!("a\n{}b\n", format!(" {}\n", "b".repeat(9_998)).repeat(30));
    assert_eq!(pieces(&Multiline::Auto, &wide), [(27, Some(1)), (4, Some(2)), (1, None)]);
    // Lines that only might belong to it are cut off without a mark.
    let lines = many("E: x\n", "  y\n", 499).replace("E: x", "Traceback (most recent call last):");
    assert_eq!(pieces(&Multiline::Auto, &lines), [(500, None), (1, None)]);
}

#[test]
fn a_stack_is_found_in_whichever_piece_of_a_group_it_begins() {
    let stacks = |multiline: Multiline, text: &str| -> Vec<Option<usize>> {
        let mut framer = Framer::new(multiline, 100_000);
        let mut start = 0;
        std::iter::from_fn(|| {
            let group = framer.next(text.as_bytes(), start, Flush::All)?;
            let at = group.stack.map(|stack| stack.at - start);
            start = group.end;
            Some(at)
        })
        .collect()
    };
    let traceback = "Traceback (most recent call last):\n  x\nE: y\n";
    let late = format!("ERROR oh\n{}{traceback}", "  more\n".repeat(600));
    assert_eq!(stacks(Multiline::Auto, &late), [None, Some(101 * 7)]);
    let first = format!("ERROR oh\n{}{traceback}", "  more\n".repeat(499));
    assert_eq!(stacks(Multiline::Auto, &first), [None, Some(0)]);
    let late = format!(">>\n{}{traceback}", "more\n".repeat(499));
    assert_eq!(stacks(start("^>>"), &late), [None, Some(0)]);
    // Its rest is none of its own.
    let long = format!("java.lang.E: x\n{}", "\tat a.B.c(D.java:1)\n".repeat(600));
    assert_eq!(stacks(Multiline::Auto, &long), [Some(0), None]);
}

#[test]
fn a_long_line_ends_a_group_and_loses_nothing() {
    let long = "x".repeat(50);
    let text = format!("Error: y\nmore\n{long}\n    at f (/a.js:1:2)\n");
    let found = groups(&Multiline::Auto, 40, &text);
    assert_eq!(found[..2], ["Error: y\n", "more\n"]);
    assert_eq!(found[2..4].concat(), format!("{long}\n"));
}

#[test]
fn what_is_held_back_is_given_by_a_flush() {
    let mut framer = Framer::new(Multiline::Auto, 1000);
    let window = b"log\nIOError: x\nof two\n";
    assert_eq!(framer.next(window, 0, Flush::No), None);
    assert!(framer.holds_back());
    let ends = [4, 15, 22];
    let mut start = 0;
    for end in ends {
        let group = framer.next(window, start, Flush::Group).expect("a line");
        assert_eq!((group.start, group.end, group.lines, group.stack), (start, end, 1, None));
        start = end;
    }
    assert_eq!(framer.next(window, start, Flush::Group), None);
    framer.consumed(start);
    assert!(!framer.holds_back());
}

#[test]
fn a_line_is_looked_at_a_few_times_at_most() {
    // Each may be what a stack follows, and none does.
    let text = "ValueError: x\nplain\n".repeat(20_000);
    let begun = std::time::Instant::now();
    assert_eq!(pieces(&Multiline::Auto, &text).len(), 40_000);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn lines_of_tasks_alone_are_lines_of_their_own() {
    check("task: <a>\nfuture: <b>\ntask: <c>\n", &["task: <a>\n", "future: <b>\n", "task: <c>\n"]);
    check("task: <a>\n  more\nnext\n", &["task: <a>\n  more\n", "next\n"]);
    let traceback = "Traceback (most recent call last):\n  x\nE: y\n";
    let below = format!("task: <a>\ntask: <b>\n{traceback}");
    check(&below, &["task: <a>\n", &format!("task: <b>\n{traceback}")]);
    let logged = format!("never retrieved\n{below}");
    check(&logged, &[&logged]);
}
