//! `multiline = { start = "REGEX" }`: a pattern of the user's for the first line of a record.

use std::fmt;
use std::sync::Arc;

use super::super::parse::ansi;
use super::super::parse::regex::{COMPILED_MAX_BYTES, PATTERN_MAX_BYTES, one_line};

/// A compiled pattern; two are equal where their texts are.
#[derive(Clone)]
pub struct Start(Arc<regex::bytes::Regex>);

impl Start {
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn new(text: &str) -> Result<Start, String> {
        if text.len() > PATTERN_MAX_BYTES {
            return Err(format!("has {} bytes: at most {PATTERN_MAX_BYTES} are taken", text.len()));
        }
        let regex = regex::bytes::RegexBuilder::new(text)
            .size_limit(COMPILED_MAX_BYTES)
            .build()
            .map_err(|error| format!("is no regular expression: {}", one_line(&error.to_string())))?;
        Ok(Start(Arc::new(regex)))
    }

    /// Whether a line begins a record. Its colours are not seen, as they are not by the parsers.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.0.is_match(&ansi::strip(line))
    }
}

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Start {}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Start({:?})", self.0.as_str())
    }
}
