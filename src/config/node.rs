//! The configuration as a tree of values that know where they come from. No meaning yet: that is the stages' part.

use std::fmt::Write as _;

/// Which layer gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// logferry itself.
    Default,
    /// The file; `offset` in bytes keeps the order within one line, `line` counts from 1.
    File { offset: usize, line: usize },
    /// The environment variable of this name.
    Variable(String),
}

/// One value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub origin: Origin,
    pub value: Value,
}

/// What TOML can say, dates as their text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Node>),
    /// In the order of the file; entries of an array of tables have the keys `0`, `1`, ….
    Table(Vec<(String, Node)>),
    /// A mistake about it has been noted already; whoever reads it says nothing more.
    Refused,
}

impl Node {
    pub fn empty(origin: Origin) -> Self {
        Node { origin, value: Value::Table(Vec::new()) }
    }

    /// The value of a key, where this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.table().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(table) => table.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Keys and values of a table; nothing for any other value.
    pub fn table(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Table(table) => table,
            _ => &[],
        }
    }

    /// Equal values, wherever they come from.
    #[cfg(test)]
    pub fn same_value(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_value(b)),
            (Value::Table(a), Value::Table(b)) => {
                a.len() == b.len() && a.iter().all(|(name, node)| other.get(name).is_some_and(|o| node.same_value(o)))
            }
            (a, b) => a == b,
        }
    }
}

impl Value {
    /// What it is, for a message: `text`, `a number` …; never the value itself, which may be a secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "text",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Refused => "nothing",
        }
    }
}

/// `table.key`, with quotes around a key that TOML wants quoted.
pub fn join(path: &str, key: &str) -> String {
    let key = bare_or_quoted(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A key as TOML writes it.
pub fn bare_or_quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { quoted(key) }
}

/// Text as a TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_toml_reads_it() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("plain", r#""plain""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("1\n2\t3\u{7f}", r#""1\n2\t3\u007F""#);
    }

    #[test]
    fn a_path_quotes_only_what_needs_it() {
        assert_eq!(join("", "sinks"), "sinks");
        assert_eq!(join("sinks", "my-es_1"), "sinks.my-es_1");
        assert_eq!(join("sinks", "a b"), "sinks.\"a b\"");
        assert_eq!(join("sinks", ""), "sinks.\"\"");
    }
}
