//! TOML text to a tree of values with their lines. Knows nothing of which keys exist.

use toml_edit::{Document, Item, TableLike, TomlError, Value as TomlValue};

use super::node::{Node, Origin, Value};

/// A text that is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: Origin,
    /// The parser's words; never a piece of the text, which may hold a secret.
    pub reason: String,
}

/// Reads the configuration file.
///
/// # Errors
/// The first place where the text is not TOML.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let lines = Lines::of(text);
    let document = Document::parse(text).map_err(|error| syntax_error(&error, &lines))?;
    let origin = |offset| lines.origin(offset);
    let table = table_node(document.as_table(), 0, &origin);
    Ok(Node { origin: Origin::Default, value: table })
}

/// Reads one TOML value, e.g. `["a", "b"]`, that came from `origin`. `None`: it is not one.
pub fn value(text: &str, origin: &Origin) -> Option<Node> {
    let document = Document::parse(format!("value = {text}")).ok()?;
    let table = document.as_table();
    match (table.len(), table.get("value")) {
        (1, Some(item)) => Some(item_node(item, 0, &|_| origin.clone())),
        _ => None,
    }
}

fn syntax_error(error: &TomlError, lines: &Lines) -> SyntaxError {
    // The error's `Display` would quote the line.
    SyntaxError { at: lines.origin(error.span().map_or(0, |span| span.start)), reason: error.message().to_owned() }
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let next = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines(std::iter::once(0).chain(next).collect())
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File { offset, line: self.0.partition_point(|begin| *begin <= offset).max(1) }
    }
}

type OriginOf<'a> = &'a dyn Fn(usize) -> Origin;

fn table_node(table: &dyn TableLike, begin: usize, origin: OriginOf<'_>) -> Value {
    let mut nodes: Vec<(String, Node)> = Vec::with_capacity(table.len());
    for (key, item) in table.iter() {
        let key_begin = table.key(key).and_then(|key| key.span()).map(|span| span.start);
        // A table that only a header like [a.b] implies has the place of that header's key.
        let begin = key_begin.or_else(|| item.span().map(|span| span.start)).unwrap_or(begin);
        nodes.push((key.to_owned(), item_node(item, begin, origin)));
    }
    Value::Table(nodes)
}

fn item_node(item: &Item, begin: usize, origin: OriginOf<'_>) -> Node {
    let value = match item {
        Item::None => Value::Table(Vec::new()),
        Item::Value(value) => return value_node(value, begin, origin),
        Item::Table(table) => table_node(table, begin, origin),
        Item::ArrayOfTables(tables) => Value::List(
            tables
                .iter()
                .map(|table| {
                    let begin = table.span().map_or(begin, |span| span.start);
                    Node { origin: origin(begin), value: table_node(table, begin, origin) }
                })
                .collect(),
        ),
    };
    Node { origin: origin(begin), value }
}

fn value_node(value: &TomlValue, begin: usize, origin: OriginOf<'_>) -> Node {
    let value = match value {
        TomlValue::String(text) => Value::Text(text.value().clone()),
        TomlValue::Integer(number) => Value::Integer(*number.value()),
        TomlValue::Float(number) => Value::Float(*number.value()),
        TomlValue::Boolean(flag) => Value::Flag(*flag.value()),
        TomlValue::Datetime(date) => Value::Text(date.value().to_string()),
        TomlValue::Array(array) => Value::List(
            array.iter().map(|item| value_node(item, item.span().map_or(begin, |span| span.start), origin)).collect(),
        ),
        TomlValue::InlineTable(table) => table_node(table, begin, origin),
    };
    Node { origin: origin(begin), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(text: &str, path: &[&str]) -> usize {
        let tree = parse(text).expect("TOML");
        let mut node = &tree;
        for key in path {
            node = match (&node.value, key.parse::<usize>()) {
                (Value::List(list), Ok(index)) => &list[index],
                _ => node.get(key).expect(key),
            };
        }
        match node.origin {
            Origin::File { line, .. } => line,
            _ => 0,
        }
    }

    #[test]
    fn every_key_knows_its_line() {
        let text = "a = 1\n[b]\nc = [\n  \"x\",\n  \"y\",\n]\n[b.d.e]\nf.g = { h = 2 }\n[[l]]\nn = 1\n[[l]]\nn = 2\n";
        let check = |path: &[&str], line: usize| assert_eq!(line_of(text, path), line, "{path:?}");
        check(&["a"], 1);
        check(&["b"], 2);
        check(&["b", "c"], 3);
        check(&["b", "c", "1"], 5);
        check(&["b", "d"], 7);
        check(&["b", "d", "e"], 7);
        check(&["b", "d", "e", "f", "g", "h"], 8);
        check(&["l"], 9);
        check(&["l", "1"], 11);
        check(&["l", "1", "n"], 12);
    }

    #[test]
    fn a_syntax_error_has_its_line_and_shows_nothing_of_the_text() {
        for text in ["a = 1\npassword = \"hunter2\n", "\npassword = hunter2\n", "a=1\npassword \"hunter2\"\n"] {
            let error = parse(text).expect_err("not TOML");
            assert!(matches!(error.at, Origin::File { line: 2, .. }), "{error:?}");
            assert!(!error.reason.is_empty() && !error.reason.contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn one_value_is_read_and_nothing_beside_it() {
        let origin = Origin::Variable("V".into());
        let list = value("[\"a\", 1]", &origin).expect("a list");
        assert_eq!(
            list.value,
            Value::List(vec![
                Node { origin: origin.clone(), value: Value::Text("a".into()) },
                Node { origin: origin.clone(), value: Value::Integer(1) },
            ])
        );
        assert!(value("1\nb = 2", &origin).is_none());
        assert!(value("[1", &origin).is_none());
    }
}
