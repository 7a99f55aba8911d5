//! `[[test]]`: lines, and the records that they are to become.

use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::column;
use super::mistake::{Report, nearest};
use super::node::{Node, Origin, Value, join, quoted};
use super::table::Table;
use crate::record::column::{COLUMNS, Filled};
use crate::trial::expect::{Expected, ExpectedColumn, Test};

/// What a test may name.
#[derive(Debug)]
pub struct Known<'a> {
    pub sources: Vec<&'a str>,
    pub sinks: Vec<&'a str>,
    /// Columns that the configuration defines.
    pub own: &'a [String],
}

/// When a record happened, as it is called in a record.
const TIME: &str = "@timestamp";

/// Members of the column Exception.
const EXCEPTION: [&str; 3] = ["Type", "Message", "Stack"];

const LINES: &str = "lines in quotes, such as [\"2026-11-20 10:00:00,123 - app - INFO - hello\"]";
const EXPECT: &str = "a list with the columns of each record, such as [{ Level = \"WARNING\", Message = \"retry 3\" }]";
const COLUMN: &str =
    "a column of the record, such as Level, LoggerName, Message, @timestamp, or \"Fields.NAME\" for all else";

/// All `[[test]]`.
pub fn tests(root: &Table<'_>, known: &Known<'_>) -> Vec<Test> {
    root.entries("test", |table| test(&table, known))
}

fn test(table: &Table<'_>, known: &Known<'_>) -> Test {
    let name = table.required("name", "what is tested, in words");
    let (expect, sinks) = (expect(table, known), sinks(table, known));
    if !table.has("expect") && !table.has("sinks") {
        table.mistake("expect", "is missing", EXPECT);
    }
    Test {
        name: name.map(|given| given.text).unwrap_or_default(),
        line: line_of(&table.own_origin()),
        source: source(table, known),
        path: path(table),
        lines: lines(table),
        expect,
        sinks,
    }
}

fn line_of(origin: &Origin) -> Option<usize> {
    match origin {
        Origin::File { line, .. } => Some(*line),
        Origin::Default | Origin::Variable(_) => None,
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing: there is none".to_owned(),
        names => format!("one of {}", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    }
}

fn source(table: &Table<'_>, known: &Known<'_>) -> Option<String> {
    let given = table.filled("source")?;
    if !known.sources.contains(&&*given.text) {
        let near = nearest(&given.text, known.sources.iter().copied()).map(quoted);
        given.mistake("is no source", near, listed(&known.sources));
    }
    Some(given.text)
}

/// The file that the lines would stand in.
fn path(table: &Table<'_>) -> Option<PathBuf> {
    let given = table.filled("path")?;
    if !given.text.starts_with('/') {
        given.mistake("is not an absolute path", None, "the path of a file, such as \"/runs/42/7/app.log\"");
    }
    Some(PathBuf::from(given.text))
}

fn sinks(table: &Table<'_>, known: &Known<'_>) -> Option<Vec<String>> {
    if !table.has("sinks") {
        return None;
    }
    let given = table.list("sinks", "names of sinks in quotes, such as [\"elasticsearch\"]");
    for name in given.iter().filter(|name| !known.sinks.contains(&&*name.text)) {
        let near = nearest(&name.text, known.sinks.iter().copied()).map(quoted);
        name.mistake("is no sink", near, listed(&known.sinks));
    }
    Some(given.into_iter().map(|name| name.text).collect())
}

/// A line may be empty, so this is no list of texts as others are.
fn lines(table: &Table<'_>) -> Vec<String> {
    let Some(node) = table.node("lines") else {
        table.mistake("lines", "is missing", LINES);
        return Vec::new();
    };
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let text = |item: &Node| match &item.value {
        // A text over several lines ends in a line end of its own.
        Value::Text(text) => Some(text.strip_suffix('\n').unwrap_or(text).to_owned()),
        Value::Refused => None,
        other => {
            table.report().add(&item.origin, &table.path("lines"), format!("is {}", other.kind()), LINES);
            None
        }
    };
    items.iter().filter_map(text).collect()
}

fn expect(table: &Table<'_>, known: &Known<'_>) -> Option<Vec<Expected>> {
    let node = table.node("expect")?;
    let report = table.report();
    let Value::List(items) = &node.value else {
        if node.value != Value::Refused {
            report.add(&node.origin, &table.path("expect"), format!("is {}", node.value.kind()), EXPECT);
        }
        return None;
    };
    let record = |(index, item): (usize, &Node)| {
        let path = format!("{}[{index}]", table.path("expect"));
        let mut expected = Expected { line: line_of(&item.origin), columns: Vec::new() };
        match &item.value {
            Value::Table(columns) => {
                for (name, value) in columns {
                    if check_column(name, value, &join(&path, name), known, report) {
                        flatten(name, value, &mut expected.columns);
                    }
                }
            }
            Value::Refused => {}
            other => report.add(&item.origin, &path, format!("is {}", other.kind()), EXPECT),
        }
        expected
    };
    Some(items.iter().enumerate().map(record).collect())
}

/// A column and its value, or the members of a table, each on its own: others may stand beside them.
fn flatten(path: &str, node: &Node, columns: &mut Vec<ExpectedColumn>) {
    match &node.value {
        Value::Table(members) if !members.is_empty() => {
            members.iter().for_each(|(name, node)| flatten(&format!("{path}.{name}"), node, columns));
        }
        _ => {
            columns.push(ExpectedColumn { path: path.to_owned(), value: json(node), line: line_of(&node.origin) });
        }
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(members) => {
            Json::Object(members.iter().map(|(name, node)| (name.clone(), json(node))).collect::<Map<_, _>>())
        }
        Value::Refused => Json::Null,
    }
}

/// Reports a name that no record has as a column.
fn check_column(name: &str, value: &Node, path: &str, known: &Known<'_>, report: &Report) -> bool {
    let mistake = |what: &str, near: Option<String>, expected: &str| {
        report.add_near(&value.origin, path, what, near, expected);
        false
    };
    let (first, member) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    match first {
        "TimeGenerated" | "EventTime" => {
            return mistake("is what Azure calls it", Some(TIME.to_owned()), COLUMN);
        }
        "EventID" | "Origin" => return mistake("is another in each process", None, COLUMN),
        "Level" if member.is_none() => return check_level(value, path, report),
        "Exception" => {
            let mut members = value.table().iter().map(|(name, _)| name.as_str()).chain(member);
            let wrong = members.find(|member| !EXCEPTION.contains(member));
            return wrong.is_none_or(|member| {
                let near = nearest(member, EXCEPTION).map(|near| format!("Exception.{near}"));
                mistake("is no member of Exception", near, "Type, Message or Stack")
            });
        }
        _ => {}
    }
    let is_ours = |column: &&str| *column == TIME || COLUMNS.iter().any(|known| known.name == *column);
    let is_known = is_ours(&first) || known.own.iter().any(|own| own == first);
    let has_members = first == "Fields";
    match (is_known, member) {
        (true, None) => true,
        (true, Some(_)) if has_members => true,
        (true, Some(_)) => mistake("is no column: this one has no members", Some(first.to_owned()), COLUMN),
        (false, _) => {
            let usable = COLUMNS.iter().filter(|column| column.filled != Filled::Sink).map(|column| column.name);
            let names = usable.chain(known.own.iter().map(String::as_str)).chain([TIME]);
            let near = column::same_letters(first).or_else(|| nearest(first, names)).map(str::to_owned);
            let near = near.or_else(|| Some(quoted(&format!("Fields.{name}"))));
            mistake("is no column", near, COLUMN)
        }
    }
}

/// A level that records do not have would fail for a reason that is hard to see.
fn check_level(value: &Node, path: &str, report: &Report) -> bool {
    let Value::Text(text) = &value.value else { return true };
    let known = column::level_of_records(text);
    if known == *text {
        return true;
    }
    let expected = "a level as records have it: TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL, or a word in capitals";
    let what = format!("{} is not how records spell their level", quoted(text));
    report.add_near(&value.origin, path, what, Some(quoted(&known)), expected);
    false
}
