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
