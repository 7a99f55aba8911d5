//! `parser = "regex"`: a pattern of the user's, whose named groups are the parts of a line.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Context, Field, Text, Value, pairs};
use crate::ingest::redact::{self, Redactor};

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
    /// Some of them are named like secrets.
    names_secrets: bool,
}

/// A part of a line that is a secret by the name of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub range: Range<usize>,
    /// What stands in its place.
    pub marker: Vec<u8>,
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
            false => {
                let names_secrets = groups.iter().any(|(_, name)| redact::is_name(name));
                Ok(Pattern { regex: Arc::new(regex), groups, names_secrets })
            }
        }
    }

    /// What of a line is a secret by the name of its group, in order and apart.
    pub fn secrets(&self, line: &[u8], redactor: &Redactor) -> Vec<Secret> {
        let captures = if self.names_secrets { self.regex.captures(line) } else { None };
        let Some(captures) = captures else { return Vec::new() };
        let secret = |(at, name): &(usize, String)| {
            let found = captures.get(*at)?;
            Some(Secret { range: found.range(), marker: redactor.named(name, found.as_bytes())? })
        };
        let mut secrets: Vec<Secret> = self.groups.iter().filter_map(secret).collect();
        secrets.sort_by_key(|secret| (secret.range.start, Reverse(secret.range.end)));
        let mut apart: Vec<Secret> = Vec::with_capacity(secrets.len());
        for secret in secrets {
            match apart.last_mut() {
                Some(last) if secret.range.start < last.range.end => {
                    last.range.end = last.range.end.max(secret.range.end);
                }
                _ => apart.push(secret),
            }
        }
        apart
    }

    /// What the groups say, columns by their spelling, without `secrets` of the line. What stands in no group is gone, so
    /// where no group is a message, the message is the line.
    pub fn parse<'a>(&self, line: &'a [u8], secrets: &[Secret], context: Context<'_>) -> Option<Text<'a>> {
        let captures = self.regex.captures(line)?;
        let fields = self.groups.iter().filter_map(|(at, name)| {
            let found = captures.get(*at).filter(|found| !found.is_empty())?;
            let value = match shown(line, found.range(), secrets) {
                Cow::Borrowed(value) => pairs::typed(value),
                Cow::Owned(value) => Value::Text(Cow::Owned(value)),
            };
            Some(Field { name: Cow::Owned(name.clone()), value })
        });
        let text = pairs::spelled(Text { fields: fields.collect(), ..Text::default() }, context);
        let has_message = !text.message.is_empty();
        Some(if has_message { text } else { Text { message: shown(line, 0..line.len(), secrets), ..text } })
    }
}

/// A text without the secrets in it.
pub fn without(text: &[u8], secrets: &[Secret]) -> Vec<u8> {
    shown(text, 0..text.len(), secrets).into_owned()
}

/// A part of a line without the secrets that it touches.
fn shown<'a>(line: &'a [u8], part: Range<usize>, secrets: &[Secret]) -> Cow<'a, [u8]> {
    let touches = |secret: &&Secret| secret.range.start < part.end && part.start < secret.range.end;
    let mut out = Vec::new();
    let mut from = part.start;
    for secret in secrets.iter().filter(touches) {
        out.extend_from_slice(line.get(from..secret.range.start).unwrap_or_default());
        out.extend_from_slice(&secret.marker);
        from = secret.range.end;
    }
    let rest = line.get(from..part.end).unwrap_or_default();
    if out.is_empty() {
        return Cow::Borrowed(rest);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
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
    use crate::ingest::parse::columns::OwnColumns;
    use crate::record::Constants;

    #[test]
    fn named_groups_are_columns_and_fields() {
        let pattern = Pattern::new(
            r"^(?<level>\w+)/(?P<logger>\S+) took (?<duration_ms>\d+) ms(?: for (?<user>\w+))?: (?<message>.*)$",
        )
        .expect("a pattern");
        let constants = Constants::default();
        let own = OwnColumns::default();
        let context = Context { zone: &Zone::Utc, near: 0, constants: &constants, own: &own };
        let text = pattern.parse("warn/db.pool took 15 ms for ann: größer".as_bytes(), &[], context).expect("it fits");
        assert_eq!((text.level.as_deref(), text.logger.as_deref()), (Some(&b"WARNING"[..]), Some(&b"db.pool"[..])));
        assert_eq!((&*text.message, text.duration_ms), ("größer".as_bytes(), Some(15.0)));
        assert_eq!(text.fields.len(), 1);
        assert_eq!(text.fields[0].name, "user");
        let text = pattern.parse(b"info/x took 1 ms: ", &[], context).expect("it fits");
        assert_eq!((&*text.message, text.fields.len()), (&b"info/x took 1 ms: "[..], 0));
        assert!(pattern.parse(b"something else", &[], context).is_none());
        // What is no UTF-8 matches no dot: the line stays as it is.
        assert!(pattern.parse(b"info/x took 1 ms: \xff", &[], context).is_none());
    }

    #[test]
    fn a_group_named_like_a_secret_is_one_wherever_it_shows() {
        let check = |pattern: &str, line: &str, message: &str, fields: &[(&str, &str)]| {
            let pattern = Pattern::new(pattern).expect("a pattern");
            let constants = Constants::default();
            let own = OwnColumns::default();
            let context = Context { zone: &Zone::Utc, near: 0, constants: &constants, own: &own };
            let secrets = pattern.secrets(line.as_bytes(), &Redactor::default());
            let text = pattern.parse(line.as_bytes(), &secrets, context).expect("it fits");
            assert_eq!(String::from_utf8_lossy(&text.message), message, "{line}");
            let owned = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let value = |field: &Field<'_>| match &field.value {
                Value::Text(text) => owned(text),
                Value::Literal(literal) => owned(literal),
            };
            let found: Vec<(&str, String)> = text.fields.iter().map(|field| (&*field.name, value(field))).collect();
            let expected: Vec<(&str, String)> =
                fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(found, expected, "{line}");
        };
        let marker = "[REDACTED:api_key]";
        check(
            r"^(?<user>\w+) (?<api_key>[a-z]+) (?<level>\w+)$",
            "ann qwertzui info",
            &format!("ann {marker} info"),
            &[("user", "ann"), ("api_key", marker)],
        );
        let nested = r"^(?<message>with (?<api_key>[a-z](?<rest>\w+)) (?<n>\d+))$";
        let message = format!("with {marker} 5");
        check(nested, "with qwertzui 5", &message, &[("api_key", marker), ("rest", marker), ("n", "5")]);
        check(r"^(?<token>\w+) (?<api_key>\w*)", "12 ", "12 ", &[("token", "12")]);
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
