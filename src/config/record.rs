//! `[record]`: what happens to a record on its way.

use super::mistake::nearest;
use super::node::quoted;
use super::table::Table;
use crate::ingest::redact::{Kind, Pattern, Redactor, Settings};

/// Most `[[record.redact]]`.
pub const PATTERNS_MAX: usize = 100;

/// Longest pattern, in bytes.
pub const PATTERN_MAX_BYTES: usize = 4_096;

/// Longest kind: it stands in the place of each secret.
pub const KIND_MAX_BYTES: usize = 32;

/// Stands in `redact_off` for every kind.
const ALL: &str = "all";

/// `redact` and `redact_off`.
pub fn redactor(table: Table<'_>) -> Redactor {
    let patterns = table.entries("redact", |entry| {
        let given = entry.required("pattern", PATTERN)?;
        if given.text.len() > PATTERN_MAX_BYTES {
            given.mistake_unseen(
                &format!("has {} bytes", given.text.len()),
                None,
                format!("at most {PATTERN_MAX_BYTES}"),
            );
            return None;
        }
        let pattern = Pattern { pattern: given.text.clone(), kind: kind(&entry) };
        // Each by itself, so that every mistake is said.
        let alone = Redactor::new(&Settings { patterns: vec![pattern.clone()], ..Settings::default() });
        // What stands in a pattern may be a secret itself: it is not quoted.
        alone.map_err(|(_, error)| given.mistake_unseen(&error.to_string(), None, PATTERN)).is_ok().then_some(pattern)
    });
    if patterns.len() > PATTERNS_MAX {
        table.mistake("redact", format!("has {} entries", patterns.len()), format!("at most {PATTERNS_MAX}"));
        return Redactor::default();
    }
    let settings = Settings { off: off(&table), patterns: patterns.into_iter().flatten().collect() };
    Redactor::new(&settings).unwrap_or_else(|(_, error)| {
        table.mistake("redact", format!("together {error}"), "fewer or shorter patterns");
        Redactor::default()
    })
}

const PATTERN: &str = "a regular expression that does not match the empty text, such as \"tok_[A-Za-z0-9]{20,}\"";

fn kind(entry: &Table<'_>) -> String {
    let expected = format!("1 to {KIND_MAX_BYTES} lower-case letters, digits or _");
    let Some(given) = entry.required("kind", &expected) else { return String::new() };
    let is_word = given.text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !is_word || !(1..=KIND_MAX_BYTES).contains(&given.text.len()) {
        given.mistake("is no kind", None, expected);
    }
    given.text
}

fn off(table: &Table<'_>) -> Vec<Kind> {
    let words = || Kind::ALL.iter().map(|kind| kind.word()).chain([ALL]);
    let mut off = Vec::new();
    for given in table.list("redact_off", "kinds of secrets in quotes, such as [\"credit_card\"]") {
        match Kind::ALL.iter().find(|kind| kind.word() == given.text) {
            Some(kind) => off.push(*kind),
            None if given.text == ALL => off.extend(Kind::ALL),
            None => {
                let near = nearest(&given.text, words()).map(quoted);
                given.mistake(
                    "is no kind of secret",
                    near,
                    format!("some of {}", words().collect::<Vec<_>>().join(", ")),
                );
            }
        }
    }
    off
}
