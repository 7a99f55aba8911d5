//! What exceptions of every family say.

use super::*;

#[test]
fn type_and_message_of_the_last_exception() {
    let check = |text: &str, expected: Option<(&str, &str)>| {
        let found = raised(text.as_bytes()).map(|(kind, message)| {
            (String::from_utf8_lossy(kind).into_owned(), String::from_utf8_lossy(message).into_owned())
        });
        assert_eq!(found.as_ref().map(|(k, m)| (k.as_str(), m.as_str())), expected, "{text}");
    };
    let head = "Traceback (most recent call last):\n  File \"a\", line 1\n    f()\n";
    check(&format!("{head}ValueError: bad: worse\n"), Some(("ValueError", "bad: worse")));
    check(&format!("{head}KeyboardInterrupt\n"), Some(("KeyboardInterrupt", "")));
    check(&format!("{head}a.b.Error:\n"), Some(("a.b.Error", "")));
    check(&format!("{head}A: 1\n\nDuring handling\n\n{head}B: 2"), Some(("B", "2")));
    check(head, None);
}

#[test]
fn exceptions_of_every_language_that_stand_in_a_string() {
    let check = |text: &str, kind: &str, message: &str| {
        assert_eq!(raised(text.as_bytes()), Some((kind.as_bytes(), message.as_bytes())), "{text}");
    };
    check("java.io.IOException: x\n\tat a.B.c(D.java:1)\nCaused by: E: y", "java.io.IOException", "x");
    check("TypeError: x is\nnot\n    at f (/a.js:1:2)", "TypeError", "x is\nnot");
    check("System.A.B: x ---> System.C.D: y\n   at E.F()", "System.A.B", "x ---> System.C.D: y");
    check("panic: x\n\ngoroutine 1 [running]:\nmain.f()\n\t/a.go:1", "panic", "x");
    check("thread 'main' panicked at a.rs:1:2:\nx\ny\nstack backtrace:\n   0: f", "panic", "x\ny");
    check("Traceback (most recent call last):\n  x\nE: a\n\nb", "E", "a\n\nb");
    check(
        "  + Exception Group Traceback (most recent call last):\n  |   x\n  | ExceptionGroup: e (1 x)\n",
        "ExceptionGroup",
        "e (1 x)",
    );
    for text in ["", "words", "Traceback (most recent call last):\n  x", "goroutine 1 [running]:\nf()"] {
        assert_eq!(raised(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn bytes_of_any_kind_are_read_or_not() {
    let texts = [
        "panic: ",
        "thread '' panicked at ",
        "Exception in thread \"",
        "Error",
        "/:1\n\n^",
        "/:1\n^\n",
        ":in : (E)",
        "  File \"\", line 1\n\u{2502}",
    ];
    for text in texts {
        for end in 0..=text.len() {
            let part = text.as_bytes().get(..end).expect("within");
            raised(part);
            for family in [Family::Python, Family::Frames, Family::Ruby, Family::Go, Family::Rust] {
                if let Some(found) = read(family, part) {
                    assert!(found.at <= part.len());
                }
            }
        }
    }
}
