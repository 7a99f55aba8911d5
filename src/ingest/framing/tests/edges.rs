//! Where stacks begin and what is none; stacks that were cut, coloured, or mixed with anything.

use super::families::{DATED, cut};
use super::*;

/// The exception that each group of a text holds: its family, and the first line of its stack.
fn stacks(text: &str) -> Vec<Option<(Family, String)>> {
    let mut framer = Framer::new(Multiline::Auto, 2000);
    let mut start = 0;
    std::iter::from_fn(|| {
        let group = framer.next(text.as_bytes(), start, Flush::All)?;
        start = group.end;
        Some(group.stack.map(|stack| (stack.family, text[stack.at..].lines().next().unwrap_or_default().to_owned())))
    })
    .collect()
}

#[test]
fn what_was_cut_short_swallows_no_line_that_follows() {
    for head in [
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n",
        "Traceback (most recent call last):\n",
        "Traceback (most recent call last):\n\n  File \"a.py\", line 1, in <module>\n    f()\n",
        "  File \"/a/syn.py\", line 1\n    x = = 1\n",
        "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 12, in <module>\n",
        "Fatal Python error: Aborted\n",
        "\u{256d}\u{2500} Traceback (most recent call last) \u{2500}\u{256e}\n\u{2502} x \u{2502}\n",
        "Exception in thread \"main\" java.lang.RuntimeException: outer\n",
        "java.io.IOException: x\n\tat P.f(P.java:2)\n",
        "java.io.IOException: x\n\tat P.f(P.java:2)\nCaused by: java.lang.E: y\n",
        "panic: boom\n",
        "panic: boom\n\ngoroutine 1 [running]:\n",
        "goroutine 1 [running]:\nmain.f()\n\t/a.go:1\n",
        "/a/a.js:1\n",
        "/a/a.js:1\nthrow x\n^\n\nError: y\n",
        "Error: y\n    at f (/a.js:1:2) {\n  code: 'X'\n",
        "thread 'main' panicked at src/main.rs:3:5:\n",
        "thread 'main' panicked at src/main.rs:3:5:\nboom\nstack backtrace:\n   0: f\n",
        "Unhandled exception. System.X.Y: z\n   at App.Main()\n",
        "{\n  \"a\": 1,\n",
    ] {
        for next in [DATED, "{\"a\":1}", "INFO:root:on it goes", "[2026-11-20 23:00:33] on it goes"] {
            let next = format!("{next}\n");
            assert_eq!(groups(&Multiline::Auto, 2000, &format!("{head}{next}")), [head, &next], "{head}");
        }
        // Words that nobody knows are no part of it either.
        for next in ["on it goes", "and on\n\n", "(x)", ">>> x"] {
            let text = format!("{head}{next}\nlast\n");
            let found = groups(&Multiline::Auto, 2000, &text);
            // Behind this line whatever follows is the message.
            let is_message = head.ends_with(":3:5:\n");
            assert!(found.last().is_some_and(|group| group == "last\n"), "{found:?}");
            assert!(found.len() >= 3 || is_message, "{found:?}");
        }
    }
}

#[test]
fn words_that_begin_like_a_stack_make_none() {
    for text in [
        "panic: no, all is well\nnext\n",
        "fatal error: foo.h: No such file or directory\nnext\n",
        "ValueError: said in passing\nnext\n",
        "TypeError\nnext\n",
        "goroutine pool is ready\nnext\n",
        "thread 'x' is ready\nnext\n",
        "/a/b.js:3\nnext\n",
        "node:internal/x:3\n^\n",
        "Tracebacks are fine\nnext\n",
        "error: aborting\nnext\n",
    ] {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(groups(&Multiline::Auto, 2000, text), lines);
        assert!(stacks(text).iter().all(Option::is_none), "{text}");
    }
    for text in ["lunch\n  at noon (CET)\n", "lunch\n  at 12:30\n", "mail\n  from me\n"] {
        assert_eq!((groups(&Multiline::Auto, 2000, text).len(), stacks(text)), (1, vec![None]), "{text}");
    }
}

#[test]
fn a_stack_is_found_where_it_begins() {
    let check = |text: &str, family: Family, line: &str| {
        assert_eq!(stacks(text), [Some((family, line.to_owned()))], "{text}");
    };
    let traceback = "Traceback (most recent call last):\n  File \"a\", line 1\nE: x\n";
    check(traceback, Family::Python, "Traceback (most recent call last):");
    check(&format!("oh\n  more\n{traceback}"), Family::Python, "Traceback (most recent call last):");
    check(&format!("ValueError: printed\n{traceback}"), Family::Python, "Traceback (most recent call last):");
    check("oh\nboo.E: a\n\tat b.C(D.java:1)\n".replace("boo.E", "IOError").as_str(), Family::Frames, "IOError: a");
    check("ERROR oh: java.lang.E: a\n\tat b.C(D.java:1)\n", Family::Frames, "ERROR oh: java.lang.E: a");
    check("fail: A[0]\n      oh\n      System.E.F: x\n         at A.B()\n", Family::Frames, "      System.E.F: x");
    check("http: panic\ngoroutine 7 [running]:\nf()\n\t/a:1\n", Family::Go, "goroutine 7 [running]:");
    check("panic: x\n\ngoroutine 7 [running]:\nf()\n\t/a:1\n", Family::Go, "panic: x");
    check("thread 'main' panicked at a:1:2:\nx\n", Family::Rust, "thread 'main' panicked at a:1:2:");
    check("/a.rb:3:in 'f': m (E)\n\tfrom /a.rb:7:in '<main>'\n", Family::Ruby, "/a.rb:3:in 'f': m (E)");
    check(
        "\u{1b}[31mError: x\u{1b}[39m\n\u{1b}[90m    at f (/a.js:1:2)\u{1b}[39m\n",
        Family::Frames,
        "\u{1b}[31mError: x\u{1b}[39m",
    );
}

#[test]
fn coloured_lines_are_known_by_what_they_say() {
    cut("Traceback (most recent call last):
  File \u{1b}[35m\"a.py\"\u{1b}[0m, line \u{1b}[35m1\u{1b}[0m, in \u{1b}[35m<module>\u{1b}[0m
    \u{1b}[31mf\u{1b}[0m\u{1b}[1;31m()\u{1b}[0m
\u{1b}[1;35mValueError\u{1b}[0m: \u{1b}[35mbad\u{1b}[0m
~~
\u{1b}[32mINFO\u{1b}[0m: next
~~
");
}

/// Lines of everything that the corpus holds.
fn corpus() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lines");
    let files = std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("=> "));
    lines.map(|line| format!("{line}\n").replace('\u{241b}', "\u{1b}")).collect()
}

#[test]
fn lines_in_any_order_are_all_given_however_they_arrive() {
    let lines = corpus();
    let start = Multiline::Start(Start::new("^[a-zA-Z0-9]").expect("a pattern"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % sides
    };
    for turn in 0..150 {
        let mut text = String::new();
        while text.len() < 2_000 {
            // Some lines as they follow each other, so that stacks are cut anywhere and go on with others.
            let from = roll(lines.len());
            let to = (from + 1 + roll(8)).min(lines.len());
            text.extend(lines[from..to].iter().map(String::as_str));
        }
        let multiline = if turn % 3 == 0 { &start } else { &Multiline::Auto };
        // What is checked stands there.
        assert!(groups(multiline, 100_000, &text).len() > 1);
        groups(multiline, 60 + roll(40), &text);
    }
}
