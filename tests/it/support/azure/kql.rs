//! The few shapes of queries that logferry sends, run over stored rows: conditions are read and evaluated one by one, what
//! follows them is known as a whole. Everything else is refused. It is no KQL and shares no code with what writes queries.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::Record;
use super::query::Refusal;
use super::schema::Schema;

/// Columns with their types, and rows.
#[derive(Debug)]
pub struct Result {
    pub columns: Vec<(String, &'static str)>,
    pub rows: Vec<Vec<Value>>,
}

type Answer<T> = std::result::Result<T, Refusal>;

fn syntax<T>(what: &str) -> Answer<T> {
    Err(Refusal::of_query("SyntaxError", "SYN0002", format!("A recognition error occurred: {what}")))
}

fn unresolved<T>(what: &str, name: &str) -> Answer<T> {
    Err(Refusal::of_query("SemanticError", "SEM0100", format!("Failed to resolve {what} named '{name}'")))
}

/// Runs a query over the rows of `table`; `None`: the workspace has no table.
pub fn run(query: &str, table: Option<&str>, schema: &Schema, records: &[Record]) -> Answer<Result> {
    let mut stages = query.split("\n| ");
    let name = stages.next().unwrap_or_default();
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return syntax(name);
    }
    if table != Some(name) {
        return unresolved("table or column expression", name);
    }
    let mut rows: Vec<&Record> = records.iter().collect();
    let mut rest: Vec<&str> = Vec::new();
    for stage in stages {
        match (stage.strip_prefix("where "), rest.is_empty()) {
            (Some(conditions), true) => {
                let conditions = conditions_of(&tokens(conditions)?, schema)?;
                rows.retain(|row| conditions.iter().all(|condition| condition.holds(row)));
            }
            _ => rest.push(stage),
        }
    }
    tail(&rest, &rows, schema)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(&'static str),
}

fn tokens(text: &str) -> Answer<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |good: fn(char) -> bool| rest.find(|c| !good(c)).unwrap_or(rest.len());
        let length = match first {
            ' ' => 1,
            '"' => {
                let (text, length) = literal(rest)?;
                tokens.push(Token::Text(text));
                length
            }
            c if c.is_ascii_alphabetic() => {
                let length = run(|c| c.is_ascii_alphanumeric() || c == '_');
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            c if c.is_ascii_digit() => {
                let length = run(|c| c.is_ascii_digit());
                let Ok(number) = rest[..length].parse() else { return syntax(rest) };
                tokens.push(Token::Number(number));
                length
            }
            _ => {
                let sign = ["==", "!=", ">=", "..", "(", ")", ","].into_iter().find(|sign| rest.starts_with(sign));
                let Some(sign) = sign else { return syntax(rest) };
                tokens.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// The text of the literal that `source` begins with, and its length.
fn literal(source: &str) -> Answer<(String, usize)> {
    let mut text = String::new();
    let mut chars = source.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some(c @ ('"' | '\\' | '\'')) => text.push(c),
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let number = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    let Some(c) = number.and_then(char::from_u32) else { return syntax("bad escape") };
                    text.push(c);
                }
                _ => return syntax("bad escape"),
            },
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => return syntax("a line ends within a string"),
            c => text.push(c),
        }
    }
    syntax("a string without an end")
}

enum Condition {
    Empty(String, bool),
    Equals(String, String, bool),
    OneOf(String, Vec<String>),
    Between(String, i64, i64),
    Part(String, u64, u64),
}

fn conditions_of(tokens: &[Token], schema: &Schema) -> Answer<Vec<Condition>> {
    let and = Token::Word("and".to_owned());
    tokens.split(|token| *token == and).map(|tokens| condition(tokens, schema)).collect()
}

fn condition(tokens: &[Token], schema: &Schema) -> Answer<Condition> {
    use Token::{Number, Sign, Text, Word};
    let (column, condition) = match tokens {
        [Word(function), Sign("("), Word(column), Sign(")")] if function == "isempty" || function == "isnotempty" => {
            (column, Condition::Empty(column.clone(), function == "isempty"))
        }
        [Word(column), Sign(sign @ ("==" | "!=")), Text(text)] => {
            (column, Condition::Equals(column.clone(), text.clone(), *sign == "=="))
        }
        [Word(column), Word(word), Sign("("), list @ .., Sign(")")] if word == "in" => {
            let mut texts = Vec::new();
            for (at, token) in list.iter().enumerate() {
                match token {
                    Text(text) if at % 2 == 0 => texts.push(text.clone()),
                    Sign(",") if at % 2 == 1 => {}
                    _ => return syntax("in"),
                }
            }
            (column, Condition::OneOf(column.clone(), texts))
        }
        [Word(column), Word(word), Sign("("), Number(first), Sign(".."), Number(last), Sign(")")]
            if word == "between" =>
        {
            (column, Condition::Between(column.clone(), *first, *last))
        }
        [Word(column), Sign(">="), Number(first)] => (column, Condition::Between(column.clone(), *first, i64::MAX)),
        [Word(word), Sign("("), Word(column), Sign(","), Number(of), Sign(")"), Sign("=="), Number(part)]
            if word == "hash" && *of > 0 =>
        {
            (column, Condition::Part(column.clone(), *of as u64, *part as u64))
        }
        _ => return syntax(&format!("{tokens:?}")),
    };
    if schema.column(column).is_none() {
        return unresolved("scalar expression", column);
    }
    Ok(condition)
}

/// A column that is not there is an empty text.
fn text<'a>(row: &'a Record, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

fn seq(row: &Record) -> Option<i64> {
    row.get("Seq").and_then(Value::as_i64)
}

impl Condition {
    fn holds(&self, row: &Record) -> bool {
        match self {
            Condition::Empty(column, expected) => text(row, column).is_empty() == *expected,
            Condition::Equals(column, other, expected) => (text(row, column) == other) == *expected,
            Condition::OneOf(column, others) => others.iter().any(|other| text(row, column) == other),
            Condition::Between(column, first, last) => {
                row.get(column).and_then(Value::as_i64).is_some_and(|number| (*first..=*last).contains(&number))
            }
            Condition::Part(column, of, part) => {
                let mut hasher = DefaultHasher::new();
                text(row, column).hash(&mut hasher);
                hasher.finish() % of == *part
            }
        }
    }
}

fn result(columns: &[(&str, &'static str)], rows: Vec<Vec<Value>>) -> Result {
    Result { columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(), rows }
}

/// What follows the conditions.
fn tail(stages: &[&str], rows: &[&Record], schema: &Schema) -> Answer<Result> {
    match stages {
        ["summarize RowCount = count()"] => Ok(result(&[("RowCount", "long")], vec![vec![json!(rows.len())]])),
        ["summarize FirstSeq = min(Seq)"] => {
            let first = rows.iter().filter_map(|row| seq(row)).min();
            Ok(result(&[("FirstSeq", "long")], vec![vec![json!(first)]]))
        }
        ["project EventType, Origin, VMName, Fields = tostring(Fields)"] => {
            let columns = [("EventType", "string"), ("Origin", "string"), ("VMName", "string"), ("Fields", "string")];
            let row = |row: &&Record| {
                let fields = row.get("Fields").map_or_else(String::new, Value::to_string);
                vec![
                    json!(text(row, "EventType")),
                    json!(text(row, "Origin")),
                    json!(text(row, "VMName")),
                    json!(fields),
                ]
            };
            Ok(result(&columns, rows.iter().map(row).collect()))
        }
        ["summarize RowCount = count() by Origin", "summarize RowCount = sum(RowCount), OriginCount = count()"] => {
            let origins: BTreeSet<&str> = rows.iter().map(|row| text(row, "Origin")).collect();
            // The sum of nothing is 0 in the documentation; the figure of origins is a count.
            let row = vec![json!(rows.len()), json!(origins.len())];
            Ok(result(&[("RowCount", "long"), ("OriginCount", "long")], vec![row]))
        }
        [
            "summarize Times = count() by Origin, VMName, Seq, EventID",
            "summarize RowCount = sum(Times), RecordCount = count(), FirstSeq = min(Seq), LastSeq = max(Seq), \
             SeqSum = sum(Seq) by Origin, VMName",
        ] => Ok(counts(rows)),
        [
            "distinct Seq, EventID",
            "summarize IdCount = count() by Seq",
            "sort by Seq asc",
            "extend Run = row_cumsum(iff(Seq != prev(Seq) + 1 or IdCount != prev(IdCount), 1, 0))",
            "summarize FirstSeq = min(Seq), LastSeq = max(Seq), IdCount = max(IdCount) by Run",
            "project FirstSeq, LastSeq, IdCount",
            "sort by FirstSeq asc",
        ] => Ok(spans(rows)),
        [project, "take 1"] => {
            let Some(names) = project.strip_prefix("project ") else { return syntax(project) };
            let names: Vec<&str> = names.split(", ").collect();
            if let Some(unknown) = names.iter().find(|name| schema.column(name).is_none()) {
                return unresolved("scalar expression", unknown);
            }
            let columns: Vec<(&str, &'static str)> = names.iter().map(|name| (*name, "string")).collect();
            let values = |row: &&Record| names.iter().map(|name| json!(text(row, name))).collect();
            Ok(result(&columns, rows.first().map(values).into_iter().collect()))
        }
        _ => syntax(&stages.join(" | ")),
    }
}

fn counts(rows: &[&Record]) -> Result {
    let mut groups: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for row in rows {
        groups.entry((text(row, "Origin"), text(row, "VMName"))).or_default().push(row);
    }
    let row = |((origin, vm), rows): ((&str, &str), Vec<&Record>)| {
        let records: BTreeSet<(Option<i64>, &str)> = rows.iter().map(|row| (seq(row), text(row, "EventID"))).collect();
        let seqs: Vec<i64> = records.iter().filter_map(|(seq, _)| *seq).collect();
        let (first, last) = (seqs.iter().min(), seqs.iter().max());
        vec![
            json!(origin),
            json!(vm),
            json!(rows.len()),
            json!(records.len()),
            json!(first),
            json!(last),
            json!(seqs.iter().sum::<i64>()),
        ]
    };
    let columns = [
        ("Origin", "string"),
        ("VMName", "string"),
        ("RowCount", "long"),
        ("RecordCount", "long"),
        ("FirstSeq", "long"),
        ("LastSeq", "long"),
        ("SeqSum", "long"),
    ];
    result(&columns, groups.into_iter().map(row).collect())
}

fn spans(rows: &[&Record]) -> Result {
    let mut ids: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        if let Some(seq) = seq(row) {
            ids.entry(seq).or_default().insert(text(row, "EventID"));
        }
    }
    let mut spans: Vec<(i64, i64, usize)> = Vec::new();
    for (seq, ids) in ids {
        match spans.last_mut() {
            Some((_, last, count)) if *last + 1 == seq && *count == ids.len() => *last = seq,
            _ => spans.push((seq, seq, ids.len())),
        }
    }
    let rows = spans.into_iter().map(|(first, last, ids)| vec![json!(first), json!(last), json!(ids)]).collect();
    result(&[("FirstSeq", "long"), ("LastSeq", "long"), ("IdCount", "long")], rows)
}
