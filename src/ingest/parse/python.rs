//! Lines of Python's `logging`: `%(asctime)s - %(name)s - %(levelname)s - %(message)s`, and `basicConfig`'s
//! `LEVEL:name:message`.

use super::{Text, level, timestamp};
use crate::ingest::options::Zone;

const SEPARATOR: &[u8] = b" - ";

/// Longest name of a logger, in bytes; what is longer is no name.
const NAME_MAX_BYTES: usize = 200;

/// Longest level that is none of the known ones, in bytes.
const LEVEL_MAX_BYTES: usize = 20;

/// What the first line of a record says, if it has one of the forms; `line` is without its line end.
pub fn parse<'a>(line: &'a [u8], zone: &Zone) -> Option<Text<'a>> {
    match line.first()? {
        b'0'..=b'9' => dashed(line, zone),
        b'A'..=b'Z' => colons(line),
        _ => None,
    }
}

fn dashed<'a>(line: &'a [u8], zone: &Zone) -> Option<Text<'a>> {
    let (time, end) = timestamp::leading(line, zone)?;
    let rest = line[end..].strip_prefix(SEPARATOR)?;
    let (logger, rest) = split(rest)?;
    let (word, message) = match split(rest) {
        Some(found) => found,
        // An empty message: its separator has lost its last blank to nobody, but editors strip it.
        None => (rest.strip_suffix(b" -")?, &b""[..]),
    };
    let level = level::known(word).map(str::as_bytes).or_else(|| own_level(word))?;
    Some(Text { time: Some(time), logger: Some(logger), level: Some(level), message })
}

/// A level that a program made up: a word in capitals is kept as it is.
fn own_level(word: &[u8]) -> Option<&[u8]> {
    (word.len() <= LEVEL_MAX_BYTES && word.iter().all(u8::is_ascii_uppercase)).then_some(word)
}

/// What stands before the first ` - `, and what behind it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    // Names and levels are short: a plain walk is quicker than setting up a search.
    let head = &text[..text.len().min(NAME_MAX_BYTES + SEPARATOR.len())];
    let at = head.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)?;
    (at > 0).then(|| (&text[..at], &text[at + SEPARATOR.len()..]))
}

fn colons(line: &[u8]) -> Option<Text<'_>> {
    let colon = line.iter().take(9).position(|&byte| byte == b':')?;
    let word = &line[..colon];
    if word.len() < 4 || !word.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let level = level::known(word)?;
    let rest = &line[colon + 1..];
    let end = rest.iter().take(NAME_MAX_BYTES).position(|&byte| byte == b':' || byte == b' ')?;
    let is_name = end > 0 && rest[end] == b':';
    is_name.then(|| Text {
        time: None,
        logger: Some(&rest[..end]),
        level: Some(level.as_bytes()),
        message: &rest[end + 1..],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_logging() {
        let check = |line: &str, expected: Option<(&str, &str, &str)>| {
            let text = parse(line.as_bytes(), &Zone::Utc);
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let found =
                text.map(|t| (show(t.logger.unwrap_or_default()), show(t.level.unwrap_or_default()), show(t.message)));
            let found =
                found.as_ref().map(|(logger, level, message)| (logger.as_str(), level.as_str(), message.as_str()));
            assert_eq!(found, expected, "{line}");
        };
        check(
            "2026-11-20 23:00:33,123 - agent.core - INFO - step 1 - done",
            Some(("agent.core", "INFO", "step 1 - done")),
        );
        check("2026-11-20 23:00:33 - a - WARNING - x", Some(("a", "WARNING", "x")));
        check("2026-11-20 23:00:33,123 - a - INFO - ", Some(("a", "INFO", "")));
        check("2026-11-20 23:00:33,123 - a - INFO -", Some(("a", "INFO", "")));
        check("2026-11-20 23:00:33,123 - a - SUCCESS - x", Some(("a", "SUCCESS", "x")));
        check("2026-11-20 23:00:33,123 - a - shout - x", None);
        check(&format!("2026-11-20 23:00:33,123 - {} - INFO - x", "n".repeat(201)), None);
        check("2026-11-20 23:00:33,123 INFO x", None);
        check("2026-11-20 23:00:33,123 -  - INFO - x", None);
        check("ERROR:root:it broke: badly", Some(("root", "ERROR", "it broke: badly")));
        check("ERROR: it broke", None);
        check("INFO:a b:c", None);
        check("ValueError:x:y", None);
        check("", None);
    }
}
