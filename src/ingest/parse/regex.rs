//! `parser = "regex"`: a pattern of the user's, whose named groups are the parts of a line.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{Context, Field, Text, pairs};

/// Longest pattern, in bytes.
pub const PATTERN_MAX_BYTES: usize = 4096;

/// Most memory that the compiled form of one pattern takes, in bytes.
const COMPILED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// A compiled pattern; two are equal where their texts are.
#[derive(Clone)]
pub struct Pattern {
    regex: Arc<regex::bytes::Regex>,
    /// Index and name of each named group.
    groups: Arc<[(usize, String)]>,
}

impl Pattern {
    /// Compiles a pattern with at least one named group.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn new(text: &str) -> Result<Pattern, String> {
        if text.len() > PATTERN_MAX_BYTES {
            return Err(format!("has {} bytes: at most {PATTERN_MAX_BYTES} are taken", text.len()));
        }
        let regex = regex::bytes::RegexBuilder::new(text)
            .size_limit(COMPILED_MAX_BYTES)
            .build()
            .map_err(|error| format!("is no regular expression: {}", one_line(&error.to_string())))?;
        let named = regex.capture_names().enumerate().filter_map(|(at, name)| Some((at, name?.to_owned())));
        let groups: Arc<[(usize, String)]> = named.collect();
        match groups.is_empty() {
            true => Err("has no named group".to_owned()),
            false => Ok(Pattern { regex: Arc::new(regex), groups }),
        }
    }

    /// What the groups say, columns by their spelling. What stands in no group is gone, so where no group is a message,
    /// the message is the line.
    pub fn parse<'a>(&self, line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
        let captures = self.regex.captures(line)?;
        let fields = self.groups.iter().filter_map(|(at, name)| {
            let found = captures.get(*at).filter(|found| !found.is_empty())?;
            Some(Field { name: Cow::Owned(name.clone()), value: pairs::typed(found.as_bytes()) })
        });
        let text = pairs::spelled(Text { fields: fields.collect(), ..Text::default() }, context);
        let has_message = !text.message.is_empty();
        Some(if has_message { text } else { Text { message: line.into(), ..text } })
    }
}

/// The last line of an error says what is wrong; the lines before it draw where.
fn one_line(error: &str) -> &str {
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(error);
    last.strip_prefix("error: ").unwrap_or(last)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.regex.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::options::Zone;
    use crate::record::Constants;

    #[test]
    fn named_groups_are_columns_and_fields() {
        let pattern = Pattern::new(
            r"^(?<level>\w+)/(?P<logger>\S+) took (?<duration_ms>\d+) ms(?: for (?<user>\w+))?: (?<message>.*)$",
        )
        .expect("a pattern");
        let constants = Constants::default();
        let context = Context { zone: &Zone::Utc, near: 0, constants: &constants };
        let text = pattern.parse("warn/db.pool took 15 ms for ann: größer".as_bytes(), context).expect("it fits");
        assert_eq!((text.level.as_deref(), text.logger.as_deref()), (Some(&b"WARNING"[..]), Some(&b"db.pool"[..])));
        assert_eq!((&*text.message, text.duration_ms), ("größer".as_bytes(), Some(15.0)));
        assert_eq!(text.fields.len(), 1);
        assert_eq!(text.fields[0].name, "user");
        let text = pattern.parse(b"info/x took 1 ms: ", context).expect("it fits");
        assert_eq!((&*text.message, text.fields.len()), (&b"info/x took 1 ms: "[..], 0));
        assert!(pattern.parse(b"something else", context).is_none());
        // What is no UTF-8 matches no dot: the line stays as it is.
        assert!(pattern.parse(b"info/x took 1 ms: \xff", context).is_none());
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        let check = |text: &str, expected: &str| {
            let error = Pattern::new(text).expect_err("no pattern");
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("(?<a", "is no regular expression: ");
        check("a(b)c", "has no named group");
        check(&"x".repeat(PATTERN_MAX_BYTES + 1), "bytes: at most");
        check("(?<a>(?:x{1000}){1000})", "is no regular expression: ");
    }
}
