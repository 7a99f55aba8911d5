//! Taking the head of a line apart: words, brackets, levels and names. What they mean together is for the formats.

use super::level;

/// Longest name of a logger, thread or program, in bytes; what is longer is no name.
pub const NAME_MAX_BYTES: usize = 200;

/// Longest word that is looked at as a level, in bytes.
const LEVEL_MAX_BYTES: usize = 13;

/// A piece of a line and what follows it.
pub type Cut<'a> = Option<(&'a [u8], &'a [u8])>;

/// The text from its first character on that is no blank.
pub fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}

pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What stands before the first blank, and the rest from that blank on; no longer than a name may be, and not empty.
pub fn word(text: &[u8]) -> Cut<'_> {
    let head = &text[..text.len().min(NAME_MAX_BYTES + 1)];
    let end = match head.iter().position(|byte| is_blank(*byte)) {
        Some(end) => end,
        None if text.len() <= NAME_MAX_BYTES => text.len(),
        None => return None,
    };
    (end > 0).then(|| text.split_at(end))
}

/// What stands before the first `mark`, no longer than a name may be and not empty, and what follows the mark.
pub fn before<'a>(text: &'a [u8], mark: &[u8]) -> Cut<'a> {
    // Names are short: a plain walk is quicker than setting up a search.
    let head = &text[..text.len().min(NAME_MAX_BYTES + mark.len())];
    let at = head.windows(mark.len()).position(|window| window == mark)?;
    (at > 0).then(|| (&text[..at], &text[at + mark.len()..]))
}

/// What stands within `[` and `]` at the front, without brackets in it and not empty, and what follows.
pub fn bracketed(text: &[u8]) -> Cut<'_> {
    enclosed(text, b'[', b']')
}

/// The same with other signs.
pub fn enclosed(text: &[u8], open: u8, close: u8) -> Cut<'_> {
    let inside = text.strip_prefix(&[open])?;
    let end = inside.iter().take(NAME_MAX_BYTES + 1).position(|byte| *byte == close)?;
    let (found, rest) = inside.split_at(end);
    (end > 0 && !found.contains(&open)).then(|| (found, &rest[1..]))
}

/// Digits at the front and what follows them.
pub fn digits(text: &[u8]) -> Cut<'_> {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=18).contains(&end).then(|| text.split_at(end))
}

/// A known level in capitals at the front, of three letters or more, and what follows it.
pub fn level(text: &[u8]) -> Option<(&'static str, &[u8])> {
    let end = text.iter().take(LEVEL_MAX_BYTES + 1).take_while(|byte| byte.is_ascii_uppercase()).count();
    let is_word = (3..=LEVEL_MAX_BYTES).contains(&end)
        && !text.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let (word, rest) = text.split_at(end);
    is_word.then(|| level::known(word)).flatten().map(|level| (level, rest))
}

/// The level that a word of three letters or more means, in any case and with blanks around it.
pub fn level_word(word: &[u8]) -> Option<&'static str> {
    let word = word.trim_ascii();
    (word.len() >= 3).then(|| level::known(word)).flatten()
}

/// Whether this may be the name of a logger, module or class: letters, digits and the signs that join them.
pub fn is_name(text: &[u8]) -> bool {
    let joins = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$:/-#@<>".contains(byte);
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.iter().all(joins)
        && text.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'<'))
        && text.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'>' | b'$'))
}

/// Whether this is a name that no word of a sentence is: parts that are joined, or one of the usual names.
pub fn is_joined_name(text: &[u8]) -> bool {
    let joined = |byte: &u8| b"._$".contains(byte);
    is_name(text)
        && (text.iter().any(joined) || text.windows(2).any(|pair| pair == b"::") || matches!(text, b"root" | b"main"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_in_capitals() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = level(text.as_bytes()).map(|(level, rest)| (level, std::str::from_utf8(rest).expect("text")));
            assert_eq!(found, expected, "{text}");
        };
        check("INFO x", Some(("INFO", " x")));
        check("WARN: x", Some(("WARNING", ": x")));
        check("ERROR", Some(("ERROR", "")));
        check("Error x", None);
        check("INFORMATIVE", None);
        check("INFO_x", None);
        check("E x", None);
        check("", None);
    }

    #[test]
    fn names_are_told_from_words_of_a_sentence() {
        for name in ["agent.core", "my_mod", "a::b", "root", "org.x.Y$Z"] {
            assert!(is_joined_name(name.as_bytes()), "{name}");
        }
        for other in ["note", "Listening", "a b.c", "x.", ".x", "1.2", "", "a=b.c"] {
            assert!(!is_joined_name(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn pieces_at_the_front() {
        assert_eq!(bracketed(b"[a b] c"), Some((&b"a b"[..], &b" c"[..])));
        assert_eq!(bracketed(b"[] c"), None);
        assert_eq!(bracketed(b"[a[b] c"), None);
        assert_eq!(bracketed(b"[a"), None);
        assert_eq!(word(b"a b"), Some((&b"a"[..], &b" b"[..])));
        assert_eq!(word(b"a"), Some((&b"a"[..], &b""[..])));
        assert_eq!(word(b" a"), None);
        assert_eq!(word("n".repeat(NAME_MAX_BYTES + 1).as_bytes()), None);
        assert_eq!(before(b"a: b: c", b": "), Some((&b"a"[..], &b"b: c"[..])));
        assert_eq!(before(b": b", b": "), None);
        assert_eq!(digits(b"12a"), Some((&b"12"[..], &b"a"[..])));
        assert_eq!(digits(b"a"), None);
    }
}
