//! `when = { Level = ["INFO"], LoggerName = "urllib3*", Message = { regex = "timeout after \\d+" } }`: which records a rule
//! is about.

use std::fmt;

/// Level that a record without one has in rules.
pub const DEFAULT_LEVEL: &str = "INFO";

/// Longest regular expression of a rule, in bytes.
pub const REGEX_MAX_BYTES: usize = 4096;

/// Most memory that the compiled form of one regular expression takes, in bytes.
const COMPILED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// True where for each column one of its patterns matches; true for every record where there is no column.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rule {
    columns: Vec<(String, Vec<Match>)>,
}

/// What the text of a column has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// As a whole: `*` any text, `?` one character.
    Glob(String),
    /// Anywhere in it.
    Regex(Regex),
}

/// A compiled regular expression over bytes; two are equal where their texts are.
#[derive(Clone)]
pub struct Regex(regex::bytes::Regex);

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > REGEX_MAX_BYTES {
            return Err(format!("has {} bytes: at most {REGEX_MAX_BYTES} are taken", pattern.len()));
        }
        let compiled = regex::bytes::RegexBuilder::new(pattern).size_limit(COMPILED_MAX_BYTES).build();
        compiled.map(Regex).map_err(|error| {
            // The last line names the fault, those before it draw where it is.
            let text = error.to_string();
            let said = text.lines().last().unwrap_or_default();
            format!("is no regular expression: {}", said.strip_prefix("error: ").unwrap_or(said))
        })
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.0.as_str()).finish()
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Regex {}

impl Match {
    fn takes(&self, text: &[u8]) -> bool {
        match self {
            Match::Glob(glob) => glob_matches(glob.as_bytes(), text),
            Match::Regex(regex) => regex.0.is_match(text),
        }
    }
}

impl Rule {
    /// `columns`: name of a column and its globs.
    pub fn new(columns: Vec<(String, Vec<String>)>) -> Self {
        let globs = |globs: Vec<String>| globs.into_iter().map(Match::Glob).collect();
        Rule::of(columns.into_iter().map(|(name, texts)| (name, globs(texts))).collect())
    }

    /// `columns`: name of a column and what its text may be.
    pub fn of(mut columns: Vec<(String, Vec<Match>)>) -> Self {
        // What costs least is asked first: all have to match.
        let has_regex = |(_, patterns): &(String, Vec<Match>)| patterns.iter().any(|p| matches!(p, Match::Regex(_)));
        columns.sort_by_key(|column| (column.0.contains('.'), has_regex(column)));
        Rule { columns }
    }

    /// `value_of` gives the text of a column of the record, `None` where it has none.
    pub fn matches<T: AsRef<[u8]>>(&self, value_of: impl Fn(&str) -> Option<T>) -> bool {
        self.columns.iter().all(|(name, patterns)| {
            let fallback = if name == "Level" { DEFAULT_LEVEL.as_bytes() } else { b"" };
            let value = value_of(name);
            let text = value.as_ref().map_or(fallback, AsRef::as_ref);
            patterns.iter().any(|pattern| pattern.takes(text))
        })
    }
}

/// Whether `text` as a whole matches `glob`; linear in their product at worst, no recursion.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                g += 1;
                retry = Some((g, t));
            }
            Some(&c) if c == b'?' || c == text[t] => {
                // `?` is one character: its continuation bytes go with it.
                t += 1;
                while c == b'?' && t < text.len() && text[t] & 0xc0 == 0x80 {
                    t += 1;
                }
                g += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    g = star;
                    t = from + 1;
                    retry = Some((star, t));
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |glob: &str, text: &str, expected: bool| {
            assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), expected, "{glob} on {text}");
        };
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("urllib3*", "urllib3.connectionpool", true);
        check("urllib3*", "xurllib3", false);
        check("*.log", "a.log.log", true);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
        check("?", "ü", true);
        check("a?c", "abbc", false);
    }

    #[test]
    fn all_columns_must_match_and_a_missing_level_is_info() {
        let rule = Rule::new(vec![
            ("Level".into(), vec!["INFO".into(), "ERROR".into()]),
            ("LoggerName".into(), vec!["app*".into()]),
        ]);
        let with = |level: Option<&'static str>, logger: Option<&'static str>| {
            rule.matches(|name| if name == "Level" { level } else { logger }.map(str::as_bytes))
        };
        assert!(with(Some("ERROR"), Some("app.db")));
        assert!(with(None, Some("app")));
        assert!(!with(Some("DEBUG"), Some("app")));
        assert!(!with(Some("INFO"), None));
    }

    #[test]
    fn a_regular_expression_is_searched_for_and_a_missing_column_is_empty() {
        let check = |pattern: &str, text: Option<&str>, expected: bool| {
            let regex = Match::Regex(Regex::new(pattern).expect(pattern));
            let rule = Rule::of(vec![("Message".into(), vec![regex, Match::Glob("exact".into())])]);
            assert_eq!(rule.matches(|_| text), expected, "{pattern} on {text:?}");
        };
        check(r"timeout after \d+", Some("a timeout after 30 s"), true);
        check(r"timeout after \d+", Some("a timeout after all"), false);
        check(r"^timeout", Some("a timeout"), false);
        check(r"(?i)TimeOut", Some("a timeout"), true);
        check(r"^$", None, true);
        check(r"x", None, false);
        check(r"x", Some("exact"), true);
        check(r"y", Some("exact"), true);
    }

    #[test]
    fn what_is_no_regular_expression_is_said_in_one_line() {
        let check = |pattern: &str, expected: &str| {
            let said = Regex::new(pattern).expect_err(pattern);
            assert!(said.contains(expected) && !said.contains('\n'), "{said}");
        };
        check("a(b", "unclosed group");
        check("a{1000000}", "is no regular expression");
        check(&"x".repeat(REGEX_MAX_BYTES + 1), "has 4097 bytes");
    }
}
