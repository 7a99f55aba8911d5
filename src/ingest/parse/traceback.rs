//! The exception that a traceback ends with.

/// Type and message of the last exception of a Python traceback. `text` begins at
/// `Traceback (most recent call last):` and may hold chained ones; `None` where the last one was cut off.
pub fn raised(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut found = None;
    let mut in_stack = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let line = rest[..end].trim_ascii_end();
        if line.starts_with(b"Traceback (most recent call last):") {
            in_stack = true;
        } else if in_stack && !line.is_empty() && !matches!(line[0], b' ' | b'\t') {
            found = Some(line);
            in_stack = false;
        }
        rest = &rest[end..];
    }
    let line: &[u8] = found?;
    Some(match line.windows(2).position(|pair| pair == b": ") {
        Some(at) => (&line[..at], &line[at + 2..]),
        None => (line.strip_suffix(b":").unwrap_or(line), &b""[..]),
    })
}

#[cfg(test)]
mod tests {
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
}
