//! Reading a table: typed values out of the tree, each with its bounds. A reader that notes a mistake returns a
//! placeholder: the configuration is refused as a whole, nobody sees it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::{Report, nearest};
use super::node::{Node, Origin, Value, join, quoted};
use super::quantity;

/// What stands for a secret where one would be seen.
pub const MASK: &str = "********";

/// Longest value that a message quotes, in characters.
const QUOTED_MAX_CHARS: usize = 80;

/// One table of the configuration, with all defaults in it.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    node: Option<&'a Node>,
    path: &'a str,
    report: &'a Report,
}

/// One text of the configuration and where it stands.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    pub text: String,
    pub path: String,
    pub origin: Origin,
    report: &'a Report,
}

impl Given<'_> {
    /// Notes that the text is wrong; `what` goes on after it, e.g. `is not a URL`.
    pub fn mistake(&self, what: &str, nearest: Option<String>, expected: impl Into<String>) {
        self.mistake_unseen(&format!("{} {what}", shown(&self.text)), nearest, expected);
    }

    /// The same without quoting the text.
    pub fn mistake_unseen(&self, what: &str, nearest: Option<String>, expected: impl Into<String>) {
        self.report.add_near(&self.origin, &self.path, what, nearest, expected);
    }
}

/// A value as a message shows it: quoted, shortened, without what may be a user and password of a URL.
pub fn shown(text: &str) -> String {
    let masked = mask_user(text);
    let cut: String = masked.chars().take(QUOTED_MAX_CHARS).collect();
    quoted(&if cut.len() < masked.len() { format!("{cut}…") } else { cut })
}

/// A URL, or what may be meant as one, with `********` for what stands before its `@`.
pub fn mask_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
    format!("{scheme}{MASK}@{host}")
}

impl<'a> Table<'a> {
    pub fn new(node: &'a Node, path: &'a str, report: &'a Report) -> Self {
        Table { node: Some(node), path, report }
    }

    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The path of a key of this table.
    pub fn path(&self, key: &str) -> String {
        join(self.path, key)
    }

    /// Where a key was given, else where the table was.
    fn origin(&self, key: &str) -> Origin {
        let given = self.get(key).map(|node| &node.origin).filter(|origin| **origin != Origin::Default);
        given.or(self.node.map(|node| &node.origin)).cloned().unwrap_or(Origin::Default)
    }

    /// What stands behind a key, whatever that is.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(key))
    }

    /// Notes a mistake about a key (or about the table, where the key is not there). Nothing is missing in a table
    /// that is a mistake itself.
    pub fn mistake(&self, key: &str, what: impl Into<String>, expected: impl Into<String>) {
        if self.node.is_none() {
            return;
        }
        self.report.add(&self.origin(key), &self.path(key), what, expected);
    }

    /// Notes a mistake about the table itself.
    pub fn mistake_here(&self, what: &str, expected: &str) {
        let origin = self.node.map_or(Origin::Default, |node| node.origin.clone());
        self.report.add(&origin, self.path, what, expected);
    }

    /// Where a value was given: `None` where the key is absent or holds nothing, as the defaults of secrets do.
    pub fn origin_of_value(&self, key: &str) -> Option<Origin> {
        let node = self.get(key)?;
        let nothing = matches!(&node.value, Value::Text(text) if text.is_empty());
        (!nothing).then(|| node.origin.clone())
    }

    /// Whether a key was given: its value is no default.
    pub fn is_given(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| node.origin != Origin::Default)
    }

    pub fn is_empty_list(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| match &node.value {
            Value::List(list) => list.is_empty(),
            Value::Text(text) => text.is_empty(),
            _ => false,
        })
    }

    fn wrong_kind(&self, key: &str, node: &Node, expected: &str) {
        if node.value != Value::Refused {
            self.report.add(&node.origin, &self.path(key), format!("is {}", node.value.kind()), expected);
        }
    }

    /// Calls `read` with the table behind a key; with an empty one where it is none.
    pub fn table<T>(&self, key: &str, read: impl FnOnce(Table<'_>) -> T) -> T {
        let path = self.path(key);
        let node = self.get(key).filter(|node| self.is_table(key, node));
        read(Table { node, path: &path, report: self.report })
    }

    fn is_table(&self, key: &str, node: &Node) -> bool {
        let table = matches!(node.value, Value::Table(_));
        if !table {
            let expected = match self.path {
                "" => format!("a table: [{key}]"),
                _ => format!("a table: {key} = {{ … }}"),
            };
            self.wrong_kind(key, node, &expected);
        }
        table
    }

    /// Calls `read` for each entry of an array of tables.
    pub fn entries<T>(&self, key: &str, mut read: impl FnMut(Table<'_>) -> T) -> Vec<T> {
        let path = self.path(key);
        let Some(node) = self.get(key) else { return Vec::new() };
        if !matches!(node.value, Value::Table(_)) {
            self.wrong_kind(key, node, &format!("[[{path}]] with two brackets, once for each source"));
        }
        let tables = node.table().iter().filter(|(_, entry)| matches!(entry.value, Value::Table(_)));
        tables
            .map(|(index, entry)| {
                read(Table { node: Some(entry), path: &format!("{path}[{index}]"), report: self.report })
            })
            .collect()
    }

    /// Calls `read` for each table with a name of the user's.
    pub fn named<T>(&self, key: &str, mut read: impl FnMut(&str, Table<'_>) -> T) -> Vec<T> {
        let path = self.path(key);
        let Some(node) = self.get(key).filter(|node| self.is_table(key, node)) else { return Vec::new() };
        let tables = node.table().iter().filter(|(_, child)| matches!(child.value, Value::Table(_)));
        tables
            .map(|(name, child)| read(name, Table { node: Some(child), path: &join(&path, name), report: self.report }))
            .collect()
    }

    /// The text of a key; `None` where it is absent, empty or wrong.
    pub fn filled(&self, key: &str) -> Option<Given<'a>> {
        let node = self.get(key)?;
        let given = self.given(node, self.path(key), "text in quotes")?;
        (!given.text.is_empty()).then_some(given)
    }

    /// The text of a key that must be there.
    pub fn required(&self, key: &str, expected: &str) -> Option<Given<'a>> {
        match self.get(key) {
            None => {
                self.mistake(key, "is missing", expected);
                None
            }
            Some(node) => {
                let given = self.given(node, self.path(key), expected)?;
                if given.text.is_empty() {
                    let what = if given.origin == Origin::Default { "is missing" } else { "is empty" };
                    self.mistake(key, what, expected);
                    return None;
                }
                Some(given)
            }
        }
    }

    fn given(&self, node: &Node, path: String, expected: &str) -> Option<Given<'a>> {
        match &node.value {
            Value::Text(text) => {
                Some(Given { text: text.clone(), path, origin: node.origin.clone(), report: self.report })
            }
            Value::Refused => None,
            other => {
                self.report.add(&node.origin, &path, format!("is {}", other.kind()), expected);
                None
            }
        }
    }

    /// One of several words and what it stands for.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let listed: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
        let expected = format!("one of {}", listed.join(", "));
        let given = self.required(key, &expected)?;
        match words.iter().find(|(word, _)| *word == given.text) {
            Some((_, value)) => Some(*value),
            None => {
                let near = nearest(&given.text, words.iter().map(|(word, _)| *word)).map(quoted);
                given.mistake("is none of the values", near, expected);
                None
            }
        }
    }

    /// A duration within bounds.
    pub fn duration(&self, key: &str, bounds: RangeInclusive<Duration>) -> Duration {
        let (min, max) = (quantity::show_duration(*bounds.start()), quantity::show_duration(*bounds.end()));
        let expected = format!("a duration from {min} to {max}, such as \"200ms\", \"10s\" or \"1h30m\"");
        let number = self.get(key).filter(|node| matches!(node.value, Value::Integer(_) | Value::Float(_)));
        if let Some(Node { origin, .. }) = number {
            self.report.add(origin, &self.path(key), "is a number without a unit", expected);
            return Duration::ZERO;
        }
        let Some(given) = self.required(key, &expected) else { return Duration::ZERO };
        match quantity::duration(&given.text) {
            Ok(duration) if bounds.contains(&duration) => return duration,
            Ok(duration) if duration < *bounds.start() => given.mistake("is too short", None, expected),
            Ok(_) => given.mistake("is too long", None, expected),
            Err(what) => given.mistake(&what, None, expected),
        }
        Duration::ZERO
    }

    /// A size in bytes within bounds; `u64::MAX` as upper bound means none.
    pub fn size(&self, key: &str, bounds: RangeInclusive<u64>) -> u64 {
        let min = quantity::show_size(*bounds.start());
        let range = match *bounds.end() {
            u64::MAX => format!("of {min} or more"),
            max => format!("from {min} to {}", quantity::show_size(max)),
        };
        let expected = format!("a size {range}, such as \"500KB\", \"5MiB\" or a number of bytes");
        let Some(node) = self.get(key) else {
            self.mistake(key, "is missing", expected);
            return 0;
        };
        let (value, said) = match &node.value {
            Value::Integer(number) => {
                (u64::try_from(*number).map_err(|_| "is too small".to_owned()), number.to_string())
            }
            _ => match self.given(node, self.path(key), &expected) {
                Some(given) => (quantity::size(&given.text), shown(&given.text)),
                None => return 0,
            },
        };
        self.within(node, key, value, &said, bounds, expected)
    }

    /// A whole number within bounds; in the file also as text, for `"${VAR}"`.
    pub fn whole(&self, key: &str, bounds: RangeInclusive<u64>) -> u64 {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let Some(node) = self.get(key) else {
            self.mistake(key, "is missing", expected);
            return 0;
        };
        let none = || "is not a whole number".to_owned();
        let (value, said) = match &node.value {
            Value::Integer(number) => {
                (u64::try_from(*number).map_err(|_| "is too small".to_owned()), number.to_string())
            }
            Value::Float(number) => (Err(none()), number.to_string()),
            _ => match self.given(node, self.path(key), &expected) {
                Some(given) => (given.text.trim().parse().map_err(|_| none()), shown(&given.text)),
                None => return 0,
            },
        };
        self.within(node, key, value, &said, bounds, expected)
    }

    fn within(
        &self,
        node: &Node,
        key: &str,
        value: Result<u64, String>,
        said: &str,
        bounds: RangeInclusive<u64>,
        expected: String,
    ) -> u64 {
        let what = match value {
            Ok(value) if bounds.contains(&value) => return value,
            Ok(value) if value < *bounds.start() => "is too small".to_owned(),
            Ok(_) => "is too large".to_owned(),
            Err(what) => what,
        };
        self.report.add(&node.origin, &self.path(key), format!("{said} {what}"), expected);
        *bounds.start()
    }

    /// The texts of a list; a single text counts as a list of one.
    pub fn list(&self, key: &str, expected: &str) -> Vec<Given<'a>> {
        match self.get(key) {
            Some(node) => self.texts(node, &self.path(key), expected),
            None => Vec::new(),
        }
    }

    /// The numbers of a list; a single one counts as a list of one. In the file also as text, for `"${VAR}"`.
    pub fn numbers(&self, key: &str, expected: &str) -> Vec<f64> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let list = match &node.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let number = |(index, item): (usize, &Node)| match &item.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => {
                let given = self.given(item, format!("{}[{index}]", self.path(key)), expected)?;
                let number = given.text.trim().parse().ok();
                if number.is_none() {
                    given.mistake("is no number", None, expected);
                }
                number
            }
        };
        list.iter().enumerate().filter_map(number).collect()
    }

    fn texts(&self, node: &Node, path: &str, expected: &str) -> Vec<Given<'a>> {
        match &node.value {
            Value::List(list) => self.items(list, path, expected),
            _ => self.given(node, path.to_owned(), expected).into_iter().collect(),
        }
    }

    fn items(&self, list: &[Node], path: &str, expected: &str) -> Vec<Given<'a>> {
        let items = list.iter().enumerate();
        let given = items.filter_map(|(index, item)| self.given(item, format!("{path}[{index}]"), expected));
        given
            .filter(|given| {
                if given.text.is_empty() {
                    given.mistake_unseen("is empty", None, expected);
                }
                !given.text.is_empty()
            })
            .collect()
    }

    /// Names of the user's and the text of each.
    pub fn map(&self, key: &str, expected: &str) -> Vec<(String, Given<'a>)> {
        let Some(node) = self.get(key).filter(|node| self.is_table(key, node)) else { return Vec::new() };
        let path = self.path(key);
        let texts = node.table().iter();
        texts
            .filter_map(|(name, child)| Some((name.clone(), self.given(child, join(&path, name), expected)?)))
            .collect()
    }

    /// The tree behind a key that holds a table.
    pub fn tree(&self, key: &str) -> Option<&'a Node> {
        self.get(key).filter(|node| self.is_table(key, node))
    }

    /// The texts of a value that stands below this table; a single text counts as a list of one.
    pub fn texts_of(&self, node: &Node, path: &str, expected: &str) -> Vec<Given<'a>> {
        self.texts(node, path, expected)
    }

    /// A number from 0 to 1 that must be there; in the file also as text, for `"${VAR}"`.
    pub fn share(&self, key: &str) -> Option<f64> {
        const EXPECTED: &str = "a number from 0.0 (none) to 1.0 (all), such as 0.1";
        let Some(node) = self.get(key) else {
            self.mistake(key, "is missing", EXPECTED);
            return None;
        };
        let (value, said) = match &node.value {
            Value::Integer(number) => (Some(*number as f64), number.to_string()),
            Value::Float(number) => (Some(*number), number.to_string()),
            _ => {
                let given = self.given(node, self.path(key), EXPECTED)?;
                (given.text.trim().parse().ok(), shown(&given.text))
            }
        };
        let what = match value {
            Some(share) if (0.0..=1.0).contains(&share) => return Some(share),
            Some(share) if share < 0.0 => "is too small",
            Some(share) if share > 1.0 => "is too large",
            _ => "is not a number",
        };
        self.report.add(&node.origin, &self.path(key), format!("{said} {what}"), EXPECTED);
        None
    }

    /// What stands behind a key, for a reader that knows the shape itself.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.get(key)
    }

    /// Where the table stands.
    pub fn own_origin(&self) -> Origin {
        self.node.map_or(Origin::Default, |node| node.origin.clone())
    }

    /// Names of the keys of this table.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.node.map(Node::table).unwrap_or_default().iter().map(|(name, _)| name.as_str())
    }

    /// Whether a key is there and holds a table.
    pub fn holds_table(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| matches!(node.value, Value::Table(_)))
    }

    /// Whether a key is there, whatever it holds.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_no_password_of_a_url_and_no_endless_value() {
        assert_eq!(shown("http://me:hunter2@proxy:1"), "\"http://********@proxy:1\"");
        assert_eq!(shown("http://me:a@b@proxy:1"), "\"http://********@proxy:1\"");
        assert_eq!(shown("me:hunter2@proxy:1"), "\"********@proxy:1\"");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), QUOTED_MAX_CHARS + 3);
    }
}
