//! Globs over paths, with captures: `/runs/{RunID}/{TaskID}/*.log`. Text only, no file is looked at here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component as PathPart, Path, PathBuf};

use crate::record::column::check_own_name;

/// Columns of `[run]` that a path may also give.
const RUN_COLUMNS: &[&str] = &["RunID", "TaskID", "Benchmark"];

/// Most components of one pattern: bounds the work of a match.
pub const COMPONENTS_MAX: usize = 128;

/// A parsed glob. `*` and `?` stay within one component, `**` stands for any number of folders, `[a-z]` and `[!a-z]`
/// for one byte, `{Name}` for a piece of one component that becomes the column `Name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    absolute: bool,
    components: Vec<Component>,
    /// Must match as well, and gives the captures.
    captured_by: Option<Box<Pattern>>,
}

/// One component of a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Component {
    /// A name as it stands.
    Literal(String),
    /// A name with wildcards.
    Glob(Vec<Token>),
    /// `**`: any number of folders, none included.
    Folders,
}

/// One piece of a component with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    /// One character.
    One,
    /// Any bytes, possibly none.
    Any,
    /// One byte of these ranges (or of none of them).
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
    /// At least one byte, kept under this name.
    Capture(String),
}

impl Pattern {
    /// Parses a glob.
    ///
    /// # Errors
    /// What is wrong with the text and what to write instead, as a sentence without a full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the pattern is empty; give a path such as /var/log/app/*.log".to_owned());
        }
        if text.contains('\0') {
            return Err("a path cannot contain a NUL".to_owned());
        }
        let mut names: Vec<String> = Vec::new();
        let mut components = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            let component = if part == "**" { Component::Folders } else { parse_component(part, &mut names)? };
            let doubled = component == Component::Folders && components.last() == Some(&Component::Folders);
            if !doubled {
                components.push(component);
            }
        }
        if components.len() > COMPONENTS_MAX {
            return Err(format!("the pattern has more than {COMPONENTS_MAX} components"));
        }
        match components.last() {
            None => return Err(format!("{text} names no file")),
            Some(Component::Folders) => components.push(Component::Glob(vec![Token::Any])),
            Some(_) if text.ends_with('/') => {
                return Err(format!("{text} names a folder; write {text}* for the files in it"));
            }
            Some(_) => {}
        }
        Ok(Pattern { text: text.to_owned(), absolute: text.starts_with('/'), components, captured_by: None })
    }

    /// Matches just this path, or everything below it where `below` is set, whatever characters it holds.
    ///
    /// # Errors
    /// Why it cannot be a pattern, as a sentence without a full stop.
    pub fn literal(path: &Path, below: bool) -> Result<Self, String> {
        let text = path.to_str().ok_or_else(|| "its name is not UTF-8".to_owned())?;
        let mut components = Vec::new();
        for part in parts(path) {
            components.push(Component::Literal(part.to_string_lossy().into_owned()));
        }
        if below {
            components.push(Component::Folders);
            components.push(Component::Glob(vec![Token::Any]));
        }
        if components.is_empty() {
            return Err(format!("{text} names no file"));
        }
        if components.len() > COMPONENTS_MAX {
            return Err(format!("the path has more than {COMPONENTS_MAX} components"));
        }
        Ok(Pattern { text: text.to_owned(), absolute: path.is_absolute(), components, captured_by: None })
    }

    /// The same, but only where `other` matches too, and with the captures of that one: a path that was named, as a
    /// configured pattern understands it.
    #[must_use]
    pub fn captured_by(self, other: &Pattern) -> Self {
        Pattern { captured_by: Some(Box::new(other.clone())), ..self }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the captures, in the order in which they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.captured_by
            .as_deref()
            .unwrap_or(self)
            .components
            .iter()
            .flat_map(|component| match component {
                Component::Glob(tokens) => tokens.as_slice(),
                _ => &[],
            })
            .filter_map(|token| match token {
                Token::Capture(name) => Some(name.as_str()),
                _ => None,
            })
    }

    /// The same pattern for absolute paths: a relative one is taken from `folder`.
    #[must_use]
    pub fn rooted(&self, folder: &Path) -> Self {
        if self.absolute {
            return self.clone();
        }
        let mut components: Vec<Component> =
            parts(folder).map(|part| Component::Literal(part.to_string_lossy().into_owned())).collect();
        components.extend(self.components.iter().cloned());
        let captured_by = self.captured_by.as_ref().map(|other| Box::new(other.rooted(folder)));
        Pattern { text: self.text.clone(), absolute: true, components, captured_by }
    }

    /// The deepest folder under which every match lies, and what is left of the pattern below it.
    pub(super) fn root(&self) -> (PathBuf, &[Component]) {
        let mut root = PathBuf::from(if self.absolute { "/" } else { "." });
        let last = self.components.len().saturating_sub(1);
        let literal = self.components.iter().take(last).take_while(|c| matches!(c, Component::Literal(_))).count();
        for component in &self.components[..literal] {
            if let Component::Literal(name) = component {
                root.push(name);
            }
        }
        (root, &self.components[literal..])
    }

    /// Whether the pattern matches the whole path. A relative pattern matches relative paths only.
    pub fn matches(&self, path: &Path) -> bool {
        self.captures(path).is_some()
    }

    /// Names and values of the captures where the pattern matches the whole path. Of several ways to match, the one
    /// with the shortest first capture counts.
    pub fn captures(&self, path: &Path) -> Option<Vec<(String, String)>> {
        if path.is_absolute() != self.absolute {
            return None;
        }
        let names: Vec<&OsStr> = parts(path).collect();
        let mut dead = vec![false; (self.components.len() + 1) * (names.len() + 1)];
        let mut found = Vec::new();
        if !match_components(&self.components, &names, names.len(), &mut dead, &mut found) {
            return None;
        }
        match &self.captured_by {
            Some(other) => other.captures(path),
            None => Some(found),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names of a path without root and `.`.
fn parts(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        PathPart::Normal(name) => Some(name),
        PathPart::ParentDir => Some(OsStr::new("..")),
        _ => None,
    })
}

/// Whether `components` match all of `names`; `dead` remembers pairs of rests that were tried in vain.
fn match_components(
    components: &[Component],
    names: &[&OsStr],
    total: usize,
    dead: &mut [bool],
    found: &mut Vec<(String, String)>,
) -> bool {
    let slot = components.len() * (total + 1) + names.len();
    if dead.get(slot).copied().unwrap_or(true) {
        return false;
    }
    let kept = found.len();
    let matched = match (components.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((Component::Folders, rest)), _) => (0..names.len().max(1))
            .any(|skip| match_components(rest, names.get(skip..).unwrap_or_default(), total, dead, found)),
        (Some((component, rest)), Some((name, names))) => {
            component.matches(name, found) && match_components(rest, names, total, dead, found)
        }
        _ => false,
    };
    if !matched {
        found.truncate(kept);
        if let Some(slot) = dead.get_mut(slot) {
            *slot = true;
        }
    }
    matched
}

impl Component {
    /// Whether this one component matches a name; what its captures took is appended to `found`.
    pub(super) fn matches(&self, name: &OsStr, found: &mut Vec<(String, String)>) -> bool {
        match self {
            Component::Literal(literal) => literal.as_bytes() == name.as_bytes(),
            Component::Folders => true,
            Component::Glob(tokens) => {
                let name = name.as_bytes();
                let mut dead = vec![false; (tokens.len() + 1) * (name.len() + 1)];
                match_tokens(tokens, name, name.len(), &mut dead, found)
            }
        }
    }
}

/// Whether `tokens` match all of `text`; see [`match_components`] for `dead`.
fn match_tokens(
    tokens: &[Token],
    text: &[u8],
    total: usize,
    dead: &mut [bool],
    found: &mut Vec<(String, String)>,
) -> bool {
    let slot = tokens.len() * (total + 1) + text.len();
    if dead.get(slot).copied().unwrap_or(true) {
        return false;
    }
    let mut matched = false;
    match tokens.split_first() {
        None => matched = text.is_empty(),
        Some((Token::Any, rest)) => {
            matched = (0..=text.len()).any(|skip| match_tokens(rest, &text[skip..], total, dead, found));
        }
        Some((Token::Capture(name), rest)) => {
            for taken in 1..=text.len() {
                let kept = found.len();
                found.push((name.clone(), String::from_utf8_lossy(&text[..taken]).into_owned()));
                matched = match_tokens(rest, &text[taken..], total, dead, found);
                if matched {
                    break;
                }
                found.truncate(kept);
            }
        }
        Some((token, rest)) => {
            if let Some(taken) = token.takes(text) {
                matched = match_tokens(rest, &text[taken..], total, dead, found);
            }
        }
    }
    if !matched && let Some(slot) = dead.get_mut(slot) {
        *slot = true;
    }
    matched
}

impl Token {
    /// How many bytes a token of fixed extent takes from the front of `text`.
    fn takes(&self, text: &[u8]) -> Option<usize> {
        let first = *text.first()?;
        match self {
            Token::Byte(byte) => (first == *byte).then_some(1),
            Token::One => Some(1 + text[1..].iter().take_while(|&&b| first >= 0xc0 && b & 0xc0 == 0x80).count()),
            Token::Class { negated, ranges } => {
                let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&first));
                (inside != *negated).then_some(1)
            }
            Token::Any | Token::Capture(_) => None,
        }
    }
}

fn parse_component(part: &str, names: &mut Vec<String>) -> Result<Component, String> {
    if !part.contains(['*', '?', '[', '{', '}']) {
        return Ok(Component::Literal(part.to_owned()));
    }
    if part.contains("**") {
        return Err(format!("** must stand alone between slashes, not as in {part}"));
    }
    let mut tokens = Vec::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '*' => {
                tokens.push(Token::Any);
                &rest[1..]
            }
            '?' => {
                tokens.push(Token::One);
                &rest[1..]
            }
            '[' => parse_class(part, &rest[1..], &mut tokens)?,
            '{' => parse_capture(part, &rest[1..], names, &mut tokens)?,
            '}' => return Err(format!("{part} has a closing brace without an opening one")),
            _ => {
                tokens.extend(rest.as_bytes()[..first.len_utf8()].iter().map(|&byte| Token::Byte(byte)));
                &rest[first.len_utf8()..]
            }
        };
    }
    Ok(Component::Glob(tokens))
}

/// Parses what follows `[`; gives what follows `]`.
fn parse_class<'a>(part: &str, inner: &'a str, tokens: &mut Vec<Token>) -> Result<&'a str, String> {
    let unclosed = || format!("{part} has a [ without its ]; write [[] for the character itself");
    let (negated, inner) = match inner.strip_prefix(['!', '^']) {
        Some(inner) => (true, inner),
        None => (false, inner),
    };
    // A ] in the first place is meant itself.
    let first = inner.chars().next().ok_or_else(unclosed)?;
    let end = inner[first.len_utf8()..].find(']').ok_or_else(unclosed)? + first.len_utf8();
    let (members, rest) = (&inner[..end], &inner[end + 1..]);
    if !members.is_ascii() {
        return Err(format!("{part} has characters outside of ASCII in [ ]; use ? for them"));
    }
    let mut ranges = Vec::new();
    let mut bytes = members.as_bytes();
    while let Some((&low, after)) = bytes.split_first() {
        match after {
            [b'-', high, after @ ..] => {
                if *high < low {
                    return Err(format!("{part} has a range that runs backwards"));
                }
                ranges.push((low, *high));
                bytes = after;
            }
            _ => {
                ranges.push((low, low));
                bytes = after;
            }
        }
    }
    tokens.push(Token::Class { negated, ranges });
    Ok(rest)
}

/// Parses what follows `{`; gives what follows `}`.
fn parse_capture<'a>(
    part: &str,
    inner: &'a str,
    names: &mut Vec<String>,
    tokens: &mut Vec<Token>,
) -> Result<&'a str, String> {
    let (name, rest) = inner.split_once('}').ok_or_else(|| format!("{part} has a {{ without its }}"))?;
    if name.contains(',') {
        return Err(format!("{{{name}}}: alternatives are not known here; give one pattern for each"));
    }
    if !RUN_COLUMNS.contains(&name) {
        check_own_name(name).map_err(|reason| format!("{{{name}}}: the name of the column {reason}"))?;
    }
    if names.iter().any(|known| known == name) {
        return Err(format!("{{{name}}} stands twice; each column can be captured once"));
    }
    if matches!(tokens.last(), Some(Token::Capture(_) | Token::Any)) {
        return Err(format!("{{{name}}} follows another wildcard at once; something must stand between them"));
    }
    names.push(name.to_owned());
    tokens.push(Token::Capture(name.to_owned()));
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_paths() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(Path::new(path)), expected, "{pattern} on {path}");
        };
        check("/var/log/app.log", "/var/log/app.log", true);
        check("/var/log/app.log", "/var/log/app.log.1", false);
        check("/var/log/*.log", "/var/log/app.log", true);
        check("/var/log/*.log", "/var/log/sub/app.log", false);
        check("/var/log/*.log", "/var/log/.log", true);
        check("/var/**/*.log", "/var/app.log", true);
        check("/var/**/*.log", "/var/a/b/c/app.log", true);
        check("/var/**/*.log", "/var/a/b/c/app.txt", false);
        check("/var/**/x/**/*.log", "/var/a/x/b/x/c.log", true);
        check("/var/**", "/var/a/b", true);
        check("/var/**", "/var", false);
        check("/a/?.log", "/a/ü.log", true);
        check("/a/?.log", "/a/ab.log", false);
        check("/a/[0-9][!0-9].log", "/a/1x.log", true);
        check("/a/[0-9][!0-9].log", "/a/12.log", false);
        check("/a/[]x].log", "/a/].log", true);
        check("/a/[a-].log", "/a/-.log", true);
        check("/a/*a*b*", "/a/xaxxbx", true);
        check("logs/*.log", "logs/a.log", true);
        check("./logs/*.log", "logs/a.log", true);
        check("logs/*.log", "/logs/a.log", false);
        check("/runs/{RunID}/*.log", "/runs//42/a.log", true);
    }

    #[test]
    fn captures_give_their_piece_of_a_component() {
        let check = |pattern: &str, path: &str, expected: &[(&str, &str)]| {
            let captures = Pattern::parse(pattern).expect(pattern).captures(Path::new(path)).expect(path);
            let captures: Vec<(&str, &str)> = captures.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(captures, expected, "{pattern} on {path}");
        };
        check("/r/{RunID}/{TaskID}/*.log", "/r/42/t7/a.log", &[("RunID", "42"), ("TaskID", "t7")]);
        check("/r/run-{RunID}_{Team}.log", "/r/run-1_a_b.log", &[("RunID", "1"), ("Team", "a_b")]);
        check("/r/**/{TaskID}.log", "/r/x/y/z.log", &[("TaskID", "z")]);
        check("/r/**/{TaskID}/*.log", "/r/x/y/z.log", &[("TaskID", "y")]);
        check("/r/{Benchmark}*.log", "/r/ab.log", &[("Benchmark", "a")]);
        check("/r/*.log", "/r/a.log", &[]);
    }

    #[test]
    fn a_named_path_is_captured_as_a_pattern_understands_it() {
        let runs = Pattern::parse("/runs/{RunID}/**/*.log").expect("pattern");
        let captures = |below: bool, named: &str, path: &str| {
            let literal = Pattern::literal(Path::new(named), below).expect("literal").captured_by(&runs);
            literal.captures(Path::new(path)).map(|captures| captures.into_iter().map(|(_, value)| value).collect())
        };
        let check = |below: bool, named: &str, path: &str, expected: Option<&str>| {
            let expected = expected.map(|value| vec![value.to_owned()]);
            assert_eq!(captures(below, named, path), expected, "{path} in {named}");
        };
        check(false, "/runs/42/a.log", "/runs/42/a.log", Some("42"));
        check(false, "/runs/42/a.log", "/runs/42/b.log", None);
        check(true, "/runs/42", "/runs/42/t/b.log", Some("42"));
        check(true, "/runs/42", "/runs/42/t/b.txt", None);
        check(true, "/runs/42", "/runs/43/b.log", None);
    }

    #[test]
    fn an_empty_piece_is_no_capture() {
        assert!(!Pattern::parse("/r/{RunID}.log").expect("pattern").matches(Path::new("/r/.log")));
    }

    #[test]
    fn wrong_patterns_say_what_to_write() {
        let check = |pattern: &str, part: &str| {
            let message = Pattern::parse(pattern).expect_err(pattern);
            assert!(message.contains(part), "{pattern}: {message}");
        };
        check("", "empty");
        check("/", "names no file");
        check("/var/log/", "write /var/log/* for");
        check("/a/x**/b", "stand alone");
        check("/a/[b", "without its ]");
        check("/a/[9-0]", "backwards");
        check("/a/{x", "without its }");
        check("/a/x}", "closing brace");
        check("/a/{a,b}.log", "one pattern for each");
        check("/a/{Seq}.log", "fills itself");
        check("/a/{VMName}.log", "fills itself");
        check("/a/{Type}.log", "reserved");
        check("/a/{1x}.log", "must start with a letter");
        check("/a/{}.log", "must start with a letter");
        check("/a/{A}/{A}.log", "twice");
        check("/a/{A}{B}.log", "between them");
    }

    #[test]
    fn the_root_is_the_literal_prefix() {
        let check = |pattern: &str, root: &str, rest: usize| {
            let pattern = Pattern::parse(pattern).expect(pattern);
            assert_eq!((pattern.root().0.as_path(), pattern.root().1.len()), (Path::new(root), rest), "{pattern}");
        };
        check("/var/log/app.log", "/var/log", 1);
        check("/var/log/*.log", "/var/log", 1);
        check("/runs/{RunID}/a/*.log", "/runs", 3);
        check("/**/*.log", "/", 2);
        check("a.log", ".", 1);
    }

    #[test]
    fn a_relative_pattern_is_taken_from_a_folder() {
        let pattern = Pattern::parse("logs/{TaskID}.log").expect("pattern").rooted(Path::new("/home/u/[x]"));
        let captures = pattern.captures(Path::new("/home/u/[x]/logs/7.log"));
        assert_eq!(captures, Some(vec![("TaskID".to_owned(), "7".to_owned())]));
        assert_eq!(pattern.text(), "logs/{TaskID}.log");
        assert_eq!(pattern.names().collect::<Vec<_>>(), ["TaskID"]);
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = Pattern::parse("/**/*a*a*a*a*a*a*a*a*a*a*b").expect("pattern");
        let path = format!("/{}", format!("{}/", "a".repeat(200)).repeat(20));
        assert!(!pattern.matches(Path::new(&path)));
    }
}
