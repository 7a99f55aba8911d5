//! The KQL queries: no engine runs here, so what is checked is that each names only columns that the table has, and only
//! members that logferry writes.

use std::collections::BTreeSet;

use logferry::record::column::COLUMNS;

use super::{files, folder};
use crate::support::ferry::{Ferry, append};

/// Columns that a workspace adds to every table.
const STANDARD: &[&str] = &["_BilledSize"];

/// The words of the language that the queries use: what begins small and is none of these is a mistake.
const WORDS: &[&str] = &[
    "ago",
    "and",
    "arg_max",
    "asc",
    "between",
    "by",
    "case",
    "coalesce",
    "count",
    "count_distinct",
    "countif",
    "desc",
    "distinct",
    "extend",
    "false",
    "fullouter",
    "iff",
    "in",
    "ingestion_time",
    "isempty",
    "isnotempty",
    "isnotnull",
    "isnull",
    "join",
    "kind",
    "leftouter",
    "let",
    "long",
    "max",
    "min",
    "not",
    "on",
    "or",
    "prev",
    "project",
    "sort",
    "sum",
    "summarize",
    "take",
    "take_any",
    "tobool",
    "tolong",
    "tostring",
    "true",
    "where",
];

/// What a query says about itself, and does.
#[derive(Debug, Default)]
struct Query {
    /// Of its head: `// Columns: A, B`.
    declared: BTreeSet<String>,
    /// Names that are no words of the language, not made by the query, and no members.
    used: BTreeSet<String>,
    /// `Fields.a`, `Exception.b`, and below.
    members: BTreeSet<(String, String)>,
    unknown_words: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Sign(char),
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Names, numbers (as names) and signs of the text without comments; a string is one sign.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if rest.starts_with("//") {
                break;
            }
            if c == '"' {
                let end = rest[1..].find('"').expect("the string ends on its line") + 2;
                assert!(!rest[..end].contains('\\'), "{line}");
                tokens.push(Token::Sign('"'));
                rest = &rest[end..];
            } else if is_name(c) {
                let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                tokens.push(Token::Name(rest[..end].to_owned()));
                rest = &rest[end..];
            } else {
                assert!(c.is_ascii(), "{line}");
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                rest = &rest[1..];
            }
        }
    }
    tokens
}

/// The list of the head, which goes on in lines that begin with `//   `.
fn declared(text: &str) -> BTreeSet<String> {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//")).collect();
    let at = head.iter().position(|line| line.starts_with("// Columns: ")).expect("a line // Columns:");
    let list: String = head[at..].iter().map(|line| line.trim_start_matches("//").trim()).collect::<Vec<_>>().join(" ");
    assert!(head[at + 1..].iter().all(|line| line.starts_with("//   ")), "the list is the end of the head");
    list.trim_start_matches("Columns: ").split(',').map(|name| name.trim().to_owned()).collect()
}

fn read(text: &str, table: &str) -> Query {
    let tokens = tokens(text);
    let mut query = Query { declared: declared(text), ..Query::default() };
    // `Name = …` makes a column (`==` compares), `let name = …` a value or a table.
    let is_made = |at: usize| {
        tokens.get(at + 1) == Some(&Token::Sign('=')) && !matches!(tokens.get(at + 2), Some(Token::Sign('=' | '~')))
    };
    let mut made: BTreeSet<&str> = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Name(name) = token else { continue };
        let is_member = at > 0 && tokens[at - 1] == Token::Sign('.');
        let is_number = name.starts_with(|c: char| c.is_ascii_digit());
        if is_made(at) {
            made.insert(name);
        } else if is_number {
        } else if is_member {
            let Some(Token::Name(of)) = at.checked_sub(2).map(|at| &tokens[at]) else { panic!("{name} of what?") };
            if !of.starts_with(|c: char| c.is_ascii_digit()) {
                query.members.insert((of.clone(), name.clone()));
            }
        } else if name != table {
            query.used.insert(name.clone());
        }
    }
    // The right side of a join: what both have gets a 1.
    let is_joined = |name: &str| name.strip_suffix('1').is_some_and(|left| query.declared.contains(left));
    let (words, names): (BTreeSet<String>, BTreeSet<String>) = query
        .used
        .iter()
        .filter(|name| !made.contains(name.as_str()) && !is_joined(name))
        .cloned()
        .partition(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    // A column that the query makes under its own name is used all the same.
    let remade =
        query.declared.iter().filter(|name| made.contains(name.as_str()) && query.used.contains(*name)).cloned();
    let used = names.into_iter().chain(remade.collect::<Vec<_>>()).collect();
    let unknown_words = words.into_iter().filter(|word| !WORDS.contains(&word.as_str())).collect();
    Query { used, unknown_words, ..query }
}

fn queries() -> Vec<(String, String)> {
    let found: Vec<(String, String)> =
        files(&folder()).into_iter().filter(|(name, _)| name.ends_with(".kql")).collect();
    assert!(found.len() >= 7, "{found:?}");
    found
}

#[test]
fn every_query_uses_the_columns_that_it_declares_and_the_table_has_them() {
    for (name, text) in queries() {
        let query = read(&text, "BenchmarkRuns_CL");
        assert_eq!(query.used, query.declared, "{name}: used, and declared in its head");
        assert!(
            query.unknown_words.is_empty(),
            "{name}: {:?} are no words of KQL that are known here",
            query.unknown_words
        );
        for column in &query.declared {
            let is_there = COLUMNS.iter().any(|own| own.name == column) || STANDARD.contains(&column.as_str());
            assert!(is_there, "{name}: the table has no column {column}");
        }
        assert!(text.contains("BenchmarkRuns_CL"), "{name}");
        for (open, close) in [('(', ')'), ('[', ']')] {
            assert_eq!(text.matches(open).count(), text.matches(close).count(), "{name}: {open} {close}");
        }
    }
}

#[test]
fn a_column_that_is_not_there_is_seen() {
    let used = |query: &str| {
        let query = read(&format!("// What.\n// Columns: RunID,\n//   Seq\n{query}\n"), "T_CL");
        (query.used == query.declared, query.unknown_words.is_empty())
    };
    assert_eq!(used("T_CL | where RunID == \"Nobody\" | summarize Last = max(Seq) // RunId"), (true, true));
    assert_eq!(used("T_CL | where RunId == \"x\" | summarize max(Seq)"), (false, true));
    assert_eq!(used("T_CL | where RunID == \"x\""), (false, true));
    assert_eq!(used("T_CL | where RunID == \"x\" | summarize max(Seq) by Task"), (false, true));
    assert_eq!(used("T_CL | where RunID == runn | summarize max(Seq)"), (true, false));
    assert_eq!(used("let run = 1; T_CL | where RunID == run | extend Seq = Seq + 1"), (true, true));
}

#[test]
fn every_member_that_a_query_names_is_written() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"{dir}/*.log\"]\n[sinks.azure_monitor]\ntype = \"file\"\npath = \"{dir}/out/r.ndjson\"\n\
         [run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n",
    );
    let failure = [
        "2026-11-20 23:00:33,123 - agent - ERROR - it broke",
        "Traceback (most recent call last):",
        "  File \"a\"",
        "ValueError: bad",
    ];
    append(&ferry.path("app.log"), failure.map(str::to_owned));
    // Of a run of agents; the run is the configuration's.
    let agent = r#"{"msg":"m","model_name":"m-1","metadata":{"execution_id":"e-1","attempt":2}}"#;
    append(&ferry.path("app.log"), [agent.to_owned()]);
    let shipped = ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    let records = ferry.all_records("out/r.ndjson");
    let of = |event: &str| records.iter().find(|record| record["EventType"] == event).expect("a manifest record");
    let (origin, summary) = (of("logferry.manifest.origin"), of("logferry.manifest"));
    let agent = records.iter().find(|record| record["ModelName"] == "m-1").expect("a record");
    let failed = records.iter().find(|record| record["Level"] == "ERROR").expect("a record");
    for (name, text) in queries() {
        let manifest = if text.contains("\"logferry.manifest.origin\"") { origin } else { summary };
        for (of, member) in read(&text, "BenchmarkRuns_CL").members {
            let value = match of.as_str() {
                "Fields" if text.contains("\"logferry.manifest") => &manifest["Fields"][&member],
                "Fields" => &agent["Fields"][&member],
                "Figures" => &manifest["Fields"]["sinks"]["azure_monitor"][&member],
                "Exception" => &failed["Exception"][&member],
                other => panic!("{name}: {other}.{member}"),
            };
            assert!(!value.is_null(), "{name}: {of}.{member} is never written");
        }
        for literal in ["logferry.manifest.origin", "logferry.manifest"] {
            let quoted = format!("\"{literal}\"");
            let is_named = text.contains(&quoted);
            assert!(!is_named || records.iter().any(|record| record["EventType"] == literal), "{name}: {literal}");
        }
    }
    assert!(records.iter().filter(|record| record["Source"] == "logferry").count() == 2, "{records:?}");
}
