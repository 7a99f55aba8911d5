//! `when = { Level = ["INFO"], LoggerName = "urllib3*" }`: which records a rule is about.

/// Level that a record without one has in rules.
pub const DEFAULT_LEVEL: &str = "INFO";

/// True where for each column one of its globs matches; true for every record where there is no column.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rule {
    columns: Vec<(String, Vec<String>)>,
}

impl Rule {
    /// `columns`: name of a column and its globs (`*` any text, `?` one character).
    pub fn new(columns: Vec<(String, Vec<String>)>) -> Self {
        Rule { columns }
    }

    /// `value_of` gives the text of a column of the record, `None` where it has none.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
        self.columns.iter().all(|(name, globs)| {
            let fallback = if name == "Level" { DEFAULT_LEVEL.as_bytes() } else { b"" };
            let value = value_of(name).unwrap_or(fallback);
            globs.iter().any(|glob| glob_matches(glob.as_bytes(), value))
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
}
