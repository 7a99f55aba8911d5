//! `when = { … }`: which records a rule, or a sink, is about.

use super::column;
use super::mistake::nearest;
use super::node::{Node, Origin, Value, join};
use super::table::{Given, Table};
use crate::record::Rule;
use crate::record::rule::{Match, Regex};

/// The one key of a table that stands for a regular expression.
const REGEX: &str = "regex";

/// Columns whose members are named with a dot behind them.
const OBJECTS: &[&str] = &["Fields", "Exception"];

const EXPECTED: &str = "a glob or a list of globs in quotes, such as \"urllib3*\" or [\"INFO\", \"ERROR\"], \
                        or { regex = \"timeout after \\\\d+\" }";

/// One column and what it has to be.
struct Column<'a> {
    name: String,
    origin: Origin,
    globs: Vec<Given<'a>>,
    regexes: Vec<Given<'a>>,
    /// A mistake about it has been noted that leaves it without a pattern.
    is_noted: bool,
}

impl Column<'_> {
    fn new(name: &str, node: &Node) -> Self {
        let (globs, regexes) = (Vec::new(), Vec::new());
        Column { name: name.to_owned(), origin: node.origin.clone(), globs, regexes, is_noted: false }
    }
}

/// Reads `when`; `None` where every record matches. `own`: columns that the configuration defines.
pub fn rule(table: &Table<'_>, key: &str, own: &[String]) -> Option<Rule> {
    if !table.has(key) {
        return None;
    }
    let mut read = Vec::new();
    let mut found = Vec::new();
    if let Some(node) = table.tree(key) {
        for (name, child) in node.table() {
            columns(table, &table.path(key), name, child, &mut read);
        }
    }
    for Column { name, origin, globs, regexes, is_noted } in read {
        let path = join(&table.path(key), &name);
        if let Some((what, near)) = column::wrong_in_rule(&name, own) {
            let expected = "a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status";
            table.report().add_near(&origin, &path, what, near, expected);
        }
        if globs.is_empty() && regexes.is_empty() && !is_noted {
            // Where an item of the list was wrong this is a second mistake about the same line; it is true as well.
            table.report().add(&origin, &path, "has no glob, so no record would match", EXPECTED);
        }
        if name == "Level" {
            globs.iter().for_each(column::check_level);
        }
        let globs = globs.into_iter().map(|glob| Match::Glob(glob.text));
        found.push((name, globs.chain(regexes.iter().filter_map(regex)).collect()));
    }
    (!found.is_empty()).then(|| Rule::of(found))
}

/// Sorts what stands behind a name into globs and regular expressions. `Fields.a = "x"` is a table within a table for TOML.
fn columns<'a>(table: &Table<'a>, path: &str, name: &str, node: &Node, read: &mut Vec<Column<'a>>) {
    let here = join(path, name);
    let mut column = Column::new(name, node);
    match &node.value {
        Value::Refused => return,
        Value::Table(members) if is_object(name) && !is_regex(name, node) && !members.is_empty() => {
            for (member, child) in members {
                columns(table, path, &format!("{name}.{member}"), child, read);
            }
            return;
        }
        Value::Table(_) => regexes(table, &here, node, &mut column),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let here = format!("{here}[{index}]");
                match &item.value {
                    Value::Table(_) => regexes(table, &here, item, &mut column),
                    _ => column.globs.extend(text(table, item, here)),
                }
            }
        }
        _ => column.globs = table.texts_of(node, &here, EXPECTED),
    }
    read.push(column);
}

fn is_object(name: &str) -> bool {
    OBJECTS.contains(&name.split('.').next().unwrap_or_default())
}

/// Of `Fields` itself a table is one of members, whatever they are called.
fn is_regex(name: &str, node: &Node) -> bool {
    name.contains('.') && matches!(node.table(), [(key, _)] if key == REGEX)
}

/// One text of a list.
fn text<'a>(table: &Table<'a>, item: &Node, path: String) -> Option<Given<'a>> {
    let given = table.texts_of(item, &path, EXPECTED).pop()?;
    if given.text.is_empty() {
        given.mistake_unseen("is empty", None, EXPECTED);
        return None;
    }
    Some(given)
}

/// The regular expressions of `{ regex = … }`.
fn regexes<'a>(table: &Table<'a>, path: &str, node: &Node, column: &mut Column<'a>) {
    let expected = "{ regex = \"timeout after \\\\d+\" }";
    for (key, child) in node.table() {
        if key == REGEX {
            column.regexes.extend(table.texts_of(child, &join(path, key), expected));
        } else {
            column.is_noted = true;
            let near = nearest(key, [REGEX]).map(str::to_owned);
            table.report().add_near(&child.origin, &join(path, key), "is no key of this table", near, expected);
        }
    }
    if node.table().is_empty() {
        column.is_noted = true;
        table.report().add(&node.origin, path, "is an empty table", expected);
    }
}

fn regex(given: &Given<'_>) -> Option<Match> {
    let compiled = Regex::new(&given.text);
    compiled.map(Match::Regex).map_err(|what| given.mistake(&what, None, "a regular expression over bytes")).ok()
}
