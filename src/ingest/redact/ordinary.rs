//! What stands behind a name of a secret and is none: placeholders, references, counts, words of a sentence, code.

use super::keys::Name;
use super::kind::{Kind, is_marker};

/// How a value stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Quoted,
    Bare,
    /// Bare behind a colon, as sentences have it.
    Prose,
}

/// What says that there is none.
const NOTHING: &[&str] = &[
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "n/a",
    "nan",
    "unset",
    "redacted",
    "masked",
    "hidden",
    "<nil>",
];

/// Words that follow the colon in a sentence or a declaration.
const PROSE: &[&str] = &[
    "str",
    "string",
    "int",
    "bool",
    "bytes",
    "optional",
    "required",
    "optional[str]",
    "missing",
    "invalid",
    "expired",
    "empty",
    "set",
    "not",
    "no",
    "yes",
    "is",
    "was",
    "are",
    "must",
    "may",
    "should",
    "has",
    "have",
    "the",
    "a",
    "an",
    "for",
    "from",
    "of",
    "to",
    "in",
    "on",
    "at",
    "by",
    "as",
    "and",
    "or",
    "but",
    "failed",
    "failure",
    "error",
    "errors",
    "ok",
    "denied",
    "rejected",
    "accepted",
    "found",
    "loaded",
    "refreshed",
    "cannot",
    "could",
    "can't",
    "unexpected",
    "unknown",
    "disabled",
    "enabled",
    "got",
    "expected",
    "it",
    "this",
    "too",
    "use",
    "using",
    "see",
    "please",
    "enter",
    "your",
    "you",
    "we",
    "if",
    "when",
    "only",
    "any",
    "basic",
    "bearer",
    "skipped",
    "valid",
    "ready",
    "sent",
    "received",
    "created",
    "updated",
    "deleted",
    "rotated",
    "authentication",
    "unauthorized",
    "forbidden",
];

/// What code reads a secret from: the source lines of a traceback.
const CODE: &[&[u8]] = &[
    b"self.",
    b"this.",
    b"os.environ",
    b"os.getenv",
    b"getenv",
    b"process.env",
    b"environ",
    b"settings.",
    b"config.",
    b"args.",
    b"cfg.",
    b"options.",
    b"opts.",
    b"params.",
    b"kwargs",
    b"request.",
    b"env.",
    b"secrets.",
];

/// Longest expression that is taken for code.
const CODE_MAX_BYTES: usize = 200;

/// Digits of a number up to which it is a count or a figure where a token might stand.
const COUNT_MAX_DIGITS: usize = 9;

/// Whether the value behind a name of a secret is one: not a placeholder, not a word of a sentence, not a count.
pub fn is_secret(value: &[u8], name: Name, form: Form) -> bool {
    let trimmed = value.trim_ascii();
    let Some(&first) = trimmed.first() else { return false };
    // `***`, `...`, `""`.
    if trimmed.iter().all(|byte| *byte == first) && !first.is_ascii_alphanumeric() || is_marker(trimmed) {
        return false;
    }
    let is = |word: &&str| trimmed.eq_ignore_ascii_case(word.as_bytes());
    if NOTHING.iter().any(is) || is_reference(trimmed) {
        return false;
    }
    if !trimmed.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80) && trimmed.len() <= 2 {
        return false;
    }
    if form == Form::Quoted {
        return true;
    }
    if form == Form::Prose && PROSE.iter().any(is) {
        return false;
    }
    if may_count(name) && is_count(trimmed) {
        return false;
    }
    !is_code(trimmed)
}

/// `${NAME}`, `$NAME`, `%NAME%`, `{{ name }}`, `%s`: the name of a value, not the value.
fn is_reference(value: &[u8]) -> bool {
    let capitals = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
    };
    let between = |open: &[u8], close: &[u8]| value.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    let names =
        |inner: &[u8]| inner.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b' ' | b':' | b'-'));
    between(b"${", b"}").is_some_and(names)
        || between(b"{{", b"}}").is_some_and(names)
        || between(b"%", b"%").is_some_and(capitals)
        || value.strip_prefix(b"$").is_some_and(capitals)
        || matches!(value, b"%s" | b"%r" | b"{}" | b"%v" | b"{!r}")
}

/// Whether a number behind such a name is a figure: `secrets = 3`, `token: 5`.
pub fn may_count(name: Name) -> bool {
    name.plural || name.kind == Kind::Token
}

/// `12`, `0.35s`, `1,024`, `12/100`, `30%`.
pub fn is_count(value: &[u8]) -> bool {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = value.get(digits..).unwrap_or_default();
    let figures = rest
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'/' | b'-' | b'+' | b'e'))
        .count();
    let unit = rest.get(figures..).unwrap_or_default();
    (1..=COUNT_MAX_DIGITS).contains(&digits)
        && figures <= 20
        && unit.len() <= 2
        && unit.iter().all(|b| b.is_ascii_alphabetic() || *b == b'%')
}

/// An expression that gives a secret, and holds none: `self.api_key`, `get_token(user)`.
fn is_code(value: &[u8]) -> bool {
    let path = |text: &[u8]| is_word(text) && !text.first().is_some_and(u8::is_ascii_digit);
    if value.len() > CODE_MAX_BYTES {
        return false;
    }
    if CODE.iter().any(|head| value.starts_with(head)) {
        return true;
    }
    let Some(open) = value.iter().position(|byte| *byte == b'(') else { return false };
    let (name, arguments) = value.split_at(open);
    let Some(inner) = arguments.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")) else { return false };
    path(name) && inner.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.' | b',' | b'(' | b')'))
}

/// Whether it is a name, or a path of names.
pub fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}
