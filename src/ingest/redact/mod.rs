//! Secrets never leave the process: redaction of what a stream says, before anything is parsed, stored or sent.
//!
//! Each record's text passes [`Redaction::clean`] first, and each column that a label, a variable or a path gives passes
//! [`Redactor::column`]. What follows (parsers, rules, buffer, dead letters, sinks, our own log) sees redacted text only, so
//! no other place redacts. Ids are made of positions, not of text, and stay what they were. A secret becomes
//! `[REDACTED:kind]`; names, quotes and what stands around it stay.
//!
//! **By name**, at any depth of JSON and in text (`name=value`, `name: value`, `"name": "value"` with any escapes,
//! `--name value`, `<name>value</name>`): see [`keys`]. In JSON everything below such a name is redacted; in text the value to
//! its end, or more where that is not clear. **By shape**: see [`shapes`] and [`tokens`]. **By the user's patterns.**
//!
//! Numbers behind such a name are secrets too (`"password": 1234`), but for counts: up to nine digits before the point
//! behind `token`, or behind several of anything (`secrets = 3`). `prompt_tokens`, `max_tokens`, `token_count` are no names
//! of secrets. `true`, `false`, `null` and references such as `${NAME}` stay, and so do words that only a sentence has
//! behind a colon (`password: required`).
//!
//! A text is searched once for all literals together ([`text`]); only where one stands, a closer look is taken.
//!
//! # What is cut
//! - A message that becomes parts of 60,000 bytes is redacted as a whole before.
//! - A line over `max_line` becomes pieces: each is looked at together with the [`TAIL_BYTES`] before it, and what reaches the
//!   end of a piece counts though it may not be whole. Of a card number the digits before the cut stay, and JSON is redacted
//!   as text.
//! - A private key that is cut into records, of one line or of several, is redacted up to the line that ends it, also with a
//!   logger's words before each line ([`private_key`]); where the process was killed within one, from there on only lines of
//!   full length until one is found.
//!
//! # What colours a terminal
//! A colour within a secret, or between it and its name, does not hide it: a text is looked at without its colours. In a
//! piece of a line over `max_line` only one between a name and its value is seen through.
//!
//! # What is not found
//! A secret without a name and a shape; one in a text that is encoded (base 64, compressed); a name in one record and its
//! value in the next; a bare `pass`, `key` or `auth`. What a pattern of a user's parser calls a secret by the name of a group
//! is redacted there.
//! Paths of files are kept in the state folder as they are, since files are found by them.

mod json;
mod keys;
mod kind;
mod ordinary;
mod private_key;
mod shapes;
mod stream;
mod text;
mod tokens;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

pub use kind::Kind;
use kind::MARK;
pub use stream::{Piece, Redaction, TAIL_BYTES};
use text::{Edge, Finder, Span};

use super::parse::ansi;
use crate::record::Constants;

/// Strings within strings that are read as JSON; deeper ones are redacted as text.
const NESTING_MAX: usize = 4;

/// Most bytes of the compiled patterns of the user.
const PATTERNS_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A pattern of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// A regular expression over bytes; classes such as `\w` mean ASCII.
    pub pattern: String,
    /// What stands in the marker; the word of a [`Kind`], or another.
    pub kind: String,
}

/// What is to be redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Kinds that are left alone.
    pub off: Vec<Kind>,
    pub patterns: Vec<Pattern>,
}

/// Why patterns cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("is no regular expression: {0}")]
    Syntax(String),
    #[error("matches the empty text")]
    Empty,
}

/// Redacts by one configuration; shared by all sources.
#[derive(Debug)]
pub struct Redactor {
    /// `None` where every kind is off.
    finder: Option<Finder>,
    user: Option<User>,
    /// The word of each kind: those that are built in, then the user's.
    kinds: Vec<String>,
    /// How often each was redacted since the start.
    counts: Vec<AtomicU64>,
}

#[derive(Debug)]
struct User {
    regex: Regex,
    /// The kind of each pattern.
    kinds: Vec<usize>,
}

/// A change of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    start: usize,
    end: usize,
    with: Vec<u8>,
}

impl Default for Redactor {
    /// Everything that is built in.
    fn default() -> Self {
        Redactor::built_in(&[])
    }
}

impl Redactor {
    /// Everything that is built in but for some kinds.
    fn built_in(off: &[Kind]) -> Self {
        let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.word().to_owned()).collect();
        let counts = kinds.iter().map(|_| AtomicU64::new(0)).collect();
        Redactor { finder: Finder::new(|kind| !off.contains(&kind)), user: None, kinds, counts }
    }

    /// Leaves everything as it is.
    pub fn none() -> Self {
        Redactor::built_in(Kind::ALL)
    }

    /// # Errors
    /// The first pattern that cannot be used: its index, and why.
    pub fn new(settings: &Settings) -> Result<Self, (usize, PatternError)> {
        let mut redactor = Redactor::built_in(&settings.off);
        if settings.patterns.is_empty() {
            return Ok(redactor);
        }
        for (index, pattern) in settings.patterns.iter().enumerate() {
            let regex = regex(std::slice::from_ref(&pattern.pattern)).map_err(|error| (index, error))?;
            if regex.is_match("") {
                return Err((index, PatternError::Empty));
            }
        }
        let patterns: Vec<String> = settings.patterns.iter().map(|pattern| pattern.pattern.clone()).collect();
        // Each alone can be compiled: it is their number then.
        let regex = regex(&patterns).map_err(|error| (patterns.len() - 1, error))?;
        let mut kinds = Vec::new();
        for pattern in &settings.patterns {
            let known = redactor.kinds.iter().position(|kind| *kind == pattern.kind);
            kinds.push(known.unwrap_or(redactor.kinds.len()));
            if known.is_none() {
                redactor.kinds.push(pattern.kind.clone());
                redactor.counts.push(AtomicU64::new(0));
            }
        }
        redactor.user = Some(User { regex, kinds });
        Ok(redactor)
    }

    /// How often each kind was redacted since the start, those that were not left out.
    pub fn counts(&self) -> Vec<(&str, u64)> {
        self.all_counts().filter(|(_, count)| *count > 0).collect()
    }

    /// The same with those that were never found: `redactions_total` by kind.
    pub fn all_counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.kinds.iter().map(String::as_str).zip(counts)
    }

    /// The value of a column that comes from a label, a variable, a path or the configuration.
    pub fn column(&self, name: &str, value: String) -> String {
        let is_named = |name: &keys::Name| ordinary::is_secret(value.as_bytes(), *name, ordinary::Form::Quoted);
        if let Some(marker) = self.name(name.as_bytes()).filter(is_named).map(|name| self.marker(name.kind.index())) {
            return String::from_utf8(marker).unwrap_or_default();
        }
        match self.replaced(value.as_bytes(), Edge::default(), 0, &mut Vec::new()) {
            Some(clean) => String::from_utf8_lossy(&clean).into_owned(),
            None => value,
        }
    }

    /// What stands in the place of what a group of a pattern took, where its name makes it a secret; counts are none.
    pub fn named(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let name = self.name(name.as_bytes())?;
        let is_count = ordinary::may_count(name) && ordinary::is_count(value);
        let is_secret = !is_count && ordinary::is_secret(value, name, ordinary::Form::Quoted);
        is_secret.then(|| self.marker(name.kind.index()))
    }

    /// The constant columns of an origin.
    pub fn columns(&self, columns: impl IntoIterator<Item = (String, String)>) -> Constants {
        let clean = |(name, value): (String, String)| {
            let value = self.column(&name, value);
            (name, value)
        };
        Constants::new(columns.into_iter().map(clean))
    }

    fn is_off(&self) -> bool {
        self.finder.is_none() && self.user.is_none()
    }

    fn is_on(&self, kind: Kind) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.is_on(kind.index()))
    }

    /// What a name is that of, where that kind is not off.
    fn name(&self, name: &[u8]) -> Option<keys::Name> {
        let finder = self.finder.as_ref()?;
        keys::of_name(name).filter(|name| finder.is_on(name.kind.index()))
    }

    fn is_card(&self, number: &[u8]) -> bool {
        let found = self.is_on(Kind::Card).then(|| shapes::card(number, 0, 0)).flatten();
        found.is_some_and(|span| span.start == 0 && span.end == number.len())
    }

    /// `[REDACTED:kind]`, which is counted.
    fn marker(&self, kind: usize) -> Vec<u8> {
        if let Some(count) = self.counts.get(kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let word = self.kinds.get(kind).map(String::as_bytes).unwrap_or_default();
        [MARK, word, b"]"].concat()
    }

    /// The text as it may go on; `None` where that is as it stands. `nesting`: how many strings of JSON it lies in.
    fn replaced(&self, text: &[u8], edge: Edge, nesting: usize, scratch: &mut Vec<u8>) -> Option<Vec<u8>> {
        let edits = self.edits(text, edge, nesting, scratch);
        let clean = (!edits.is_empty()).then(|| apply(text, &edits));
        // A colour may hide what is left; where it did, the colours go.
        if let Cow::Owned(plain) = ansi::strip(clean.as_deref().unwrap_or(text)) {
            let edits = self.edits(&plain, edge, nesting, scratch);
            return if edits.is_empty() { clean } else { Some(apply(&plain, &edits)) };
        }
        clean
    }

    /// What to change in a text: as JSON where it is such, or ends in it.
    fn edits(&self, text: &[u8], edge: Edge, nesting: usize, scratch: &mut Vec<u8>) -> Vec<Edit> {
        let Some(brace) = json_start(text).filter(|_| nesting < NESTING_MAX) else {
            return self.edits_of_text(text, edge, scratch);
        };
        if !self.may_hold(text, scratch) {
            return Vec::new();
        }
        let (head, tail) = text.split_at(brace);
        match json::edits(self, tail, nesting, scratch) {
            Some(mut edits) => {
                for edit in &mut edits {
                    edit.start += brace;
                    edit.end += brace;
                }
                let mut all = self.edits_of_text(head, Edge::default(), scratch);
                all.append(&mut edits);
                all
            }
            None => self.edits_of_text(text, edge, scratch),
        }
    }

    fn edits_of_text(&self, text: &[u8], edge: Edge, scratch: &mut Vec<u8>) -> Vec<Edit> {
        let spans = self.spans(text, edge, scratch);
        let edit = |span: Span| Edit { start: span.start, end: span.end, with: self.marker(span.kind) };
        spans.into_iter().map(edit).collect()
    }

    /// Secrets in a text, in order and apart.
    fn spans(&self, text: &[u8], edge: Edge, scratch: &mut Vec<u8>) -> Vec<Span> {
        let mut spans = Vec::new();
        if let Some(finder) = &self.finder {
            finder.spans(text, edge, scratch, &mut spans);
        }
        if let Some(user) = &self.user {
            spans.extend(user.regex.find_iter(text).filter(|found| !found.is_empty()).filter_map(|found| {
                let kind = *user.kinds.get(found.pattern().as_usize())?;
                Some(Span { start: found.start(), end: found.end(), kind })
            }));
        }
        if spans.len() < 2 {
            return spans;
        }
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match apart.last_mut() {
                Some(last) if span.start < last.end => last.end = last.end.max(span.end),
                _ => apart.push(span),
            }
        }
        apart
    }

    /// Whether raw JSON may hold a secret.
    fn may_hold(&self, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        // An escape may hide what a pattern looks for.
        let user = |user: &User| memchr::memchr(b'\\', text).is_some() || user.regex.is_match(text);
        self.user.as_ref().is_some_and(user)
            || self.finder.as_ref().is_some_and(|finder| finder.may_hold(text, scratch))
    }
}

/// Whether a name is that of a secret.
pub fn is_name(name: &str) -> bool {
    keys::of_name(name.as_bytes()).is_some()
}

fn regex(patterns: &[String]) -> Result<Regex, PatternError> {
    Regex::builder()
        .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(PATTERNS_MAX_BYTES)))
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build_many(patterns)
        .map_err(|error| {
            let said = error.syntax_error().map_or(error.to_string(), ToString::to_string);
            // Without the pattern, which the lines before quote.
            let reason = said.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&said);
            PatternError::Syntax(reason.to_owned())
        })
}

/// Where JSON begins that goes to the end of the text.
fn json_start(text: &[u8]) -> Option<usize> {
    let blank = text.len() - text.trim_ascii_start().len();
    if matches!(text.get(blank), Some(b'{' | b'[')) {
        return Some(blank);
    }
    if text.trim_ascii_end().last() != Some(&b'}') {
        return None;
    }
    let brace = memchr::memchr(b'{', text)?;
    // Behind a name it is a value, and may be a secret as a whole.
    let before = text.get(..brace)?.trim_ascii_end().last();
    (!matches!(before, Some(b'=' | b':' | b'>'))).then_some(brace)
}

fn apply(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = Vec::with_capacity(text.len() + added);
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(text.get(from..edit.start).unwrap_or_default());
        out.extend_from_slice(&edit.with);
        from = edit.end;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out
}
