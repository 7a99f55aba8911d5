//! The key `multiline` of a source: `"auto"`, `"none"` or `{ start = 'REGEX' }`.

use super::document;
use super::mistake::nearest;
use super::node::{Value, quoted};
use super::table::Table;
use crate::ingest::{Multiline, Start};

const FORMS: &str = "\"auto\", \"none\" or { start = 'REGEX' }";
const START: &str = "a regular expression for the first line of a record, such as '^\\d{4}-'";

/// Reads the key.
pub fn read(table: &Table<'_>) -> Multiline {
    const KEY: &str = "multiline";
    if table.holds_table(KEY) {
        return table.table(KEY, |inner| start(&inner));
    }
    let Some(given) = table.required(KEY, FORMS) else { return Multiline::Auto };
    match given.text.as_str() {
        "auto" => Multiline::Auto,
        "none" => Multiline::None,
        // A variable holds a table as its text.
        text if text.trim_start().starts_with('{') => {
            match document::value(text, &given.origin).filter(|node| matches!(node.value, Value::Table(_))) {
                Some(node) => start(&Table::new(&node, &given.path, table.report())),
                None => {
                    given.mistake("is no table", None, FORMS);
                    Multiline::Auto
                }
            }
        }
        text => {
            let near = nearest(text, ["auto", "none"]).map(quoted);
            given.mistake("is none of the values", near, FORMS);
            Multiline::Auto
        }
    }
}

fn start(table: &Table<'_>) -> Multiline {
    for name in table.names().filter(|name| *name != "start") {
        table.mistake(name, "is no key of this table", "start alone");
    }
    let Some(given) = table.required("start", START) else { return Multiline::Auto };
    match Start::new(&given.text) {
        Ok(start) => Multiline::Start(start),
        Err(what) => {
            given.mistake(&what, None, START);
            Multiline::Auto
        }
    }
}
