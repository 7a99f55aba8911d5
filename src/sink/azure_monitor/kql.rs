//! The queries that are put to a workspace, as text. It knows the columns and no more: it neither sends nor reads answers.
//!
//! **Invariant: what a user gave stands in a query as a [`literal`] only, so it is compared and never read as KQL.**
//!
//! Each query is one statement over one table. KQL has no order on strings, so what is many is cut in parts by `hash`;
//! the function may change between two queries (its documentation says so), which is why the reader adds up the parts.

use std::fmt::Write as _;

use crate::sink::stored::Question;

/// Whether a name can stand in a query as it is: letters, digits and `_`, a letter first, 63 characters at most.
pub fn is_table_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    first && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A text as a literal in double quotes. Its backslashes, quotes and breaks of line are escaped as the language's
/// documentation of strings says; whatever else could end a line or be lost on its way stands there by its number.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Writing into a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Part `number` of `of`; one of one is the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub number: u64,
    pub of: u64,
}

impl Part {
    fn filter(self, column: &str) -> String {
        if self.of <= 1 {
            return String::new();
        }
        format!("\n| where hash({column}, {}) == {}", self.of, self.number)
    }
}

fn of_run(table: &str, question: &Question<'_>) -> String {
    if question.run_id.is_empty() {
        format!("{table}\n| where isempty(RunID)")
    } else {
        format!("{table}\n| where RunID == {}", literal(question.run_id))
    }
}

fn of_origin(table: &str, origin: &str) -> String {
    format!("{table}\n| where Origin == {}", literal(origin))
}

fn of_manifests(table: &str, question: &Question<'_>) -> String {
    let events: Vec<String> = question.manifest_events.iter().map(|event| literal(event)).collect();
    let (own, events) = (literal(question.own_source), events.join(", "));
    format!("{}\n| where Source == {own} and EventType in ({events})", of_run(table, question))
}

fn of_records(table: &str, question: &Question<'_>) -> String {
    let own = literal(question.own_source);
    format!("{}\n| where Source != {own} and isnotempty(Origin)", of_run(table, question))
}

/// One row: `RowCount` of the manifest records.
pub(super) fn manifest_count(table: &str, question: &Question<'_>) -> String {
    format!("{}\n| summarize RowCount = count()", of_manifests(table, question))
}

/// The manifest records of a part; `Fields` as JSON text.
pub(super) fn manifests(table: &str, question: &Question<'_>, part: Part) -> String {
    let (all, part) = (of_manifests(table, question), part.filter("EventID"));
    format!("{all}{part}\n| project EventType, Origin, VMName, Fields = tostring(Fields)")
}

/// One row: `RowCount` of the records, and `OriginCount`.
pub(super) fn record_count(table: &str, question: &Question<'_>) -> String {
    format!(
        "{}\n| summarize RowCount = count() by Origin\n| summarize RowCount = sum(RowCount), OriginCount = count()",
        of_records(table, question)
    )
}

/// A row for each origin of a part: `RowCount` with what came twice, `RecordCount` without, and the figures of its Seq.
/// The same record twice is one EventID at one Seq; two records with one Seq remain two.
pub(super) fn counts(table: &str, question: &Question<'_>, part: Part) -> String {
    format!(
        "{}{}\n| summarize Times = count() by Origin, VMName, Seq, EventID\
         \n| summarize RowCount = sum(Times), RecordCount = count(), FirstSeq = min(Seq), LastSeq = max(Seq), \
         SeqSum = sum(Seq) by Origin, VMName",
        of_records(table, question),
        part.filter("Origin")
    )
}

/// The spans of Seq from `first` to `last` that are there without a hole, rising; `IdCount`: different records with each
/// Seq of the span.
pub(super) fn spans(table: &str, origin: &str, first: u64, last: u64) -> String {
    format!(
        "{}\n| where Seq between ({first} .. {last})\
         \n| distinct Seq, EventID\
         \n| summarize IdCount = count() by Seq\
         \n| sort by Seq asc\
         \n| extend Run = row_cumsum(iff(Seq != prev(Seq) + 1 or IdCount != prev(IdCount), 1, 0))\
         \n| summarize FirstSeq = min(Seq), LastSeq = max(Seq), IdCount = max(IdCount) by Run\
         \n| project FirstSeq, LastSeq, IdCount\
         \n| sort by FirstSeq asc",
        of_origin(table, origin)
    )
}

/// One row: `FirstSeq`, the lowest from `first` on, or null.
pub(super) fn next_seq(table: &str, origin: &str, first: u64) -> String {
    format!("{}\n| where Seq >= {first}\n| summarize FirstSeq = min(Seq)", of_origin(table, origin))
}

/// One row of an origin, or none.
pub(super) fn columns(table: &str, origin: &str, columns: &[&str]) -> String {
    format!("{}\n| project {}\n| take 1", of_origin(table, origin), columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_user_gives_leaves_its_literal() {
        let check = |text: &str, expected: &str| assert_eq!(literal(text), expected, "{text:?}");
        check("", r#""""#);
        check("run 42", r#""run 42""#);
        check(r#"" or 1 == 1 //"#, r#""\" or 1 == 1 //""#);
        check(r"\", r#""\\""#);
        check(r#"\""#, r#""\\\"""#);
        check("a\nb\r\n\tc", r#""a\nb\r\n\tc""#);
        check("it's | take 1; T", r#""it's | take 1; T""#);
        check("\u{0}\u{7f}\u{85}\u{2028}\u{2029}", r#""\u0000\u007f\u0085\u2028\u2029""#);
        check("grün 🚢", r#""grün 🚢""#);
    }

    #[test]
    fn a_query_is_one_statement_over_one_table() {
        let question = Question { run_id: "4\"2", own_source: "logferry", manifest_events: &["a", "b"] };
        assert_eq!(
            manifests("T_CL", &question, Part { number: 0, of: 1 }),
            "T_CL\n| where RunID == \"4\\\"2\"\n| where Source == \"logferry\" and EventType in (\"a\", \"b\")\n\
             | project EventType, Origin, VMName, Fields = tostring(Fields)"
        );
        let without = Question { run_id: "", ..question };
        let part = Part { number: 3, of: 8 };
        assert!(manifests("T_CL", &without, part).starts_with("T_CL\n| where isempty(RunID)\n| where Source =="));
        assert!(manifests("T_CL", &without, part).contains("\n| where hash(EventID, 8) == 3\n| project "));
        assert!(counts("T_CL", &question, part).contains("\n| where hash(Origin, 8) == 3\n| summarize "));
    }

    #[test]
    fn a_name_that_is_no_word_is_no_table() {
        for (name, expected) in
            [("BenchmarkRuns_CL", true), ("a", true), ("", false), ("1_CL", false), ("a-b_CL", false), ("a b", false)]
        {
            assert_eq!(is_table_name(name), expected, "{name}");
        }
        assert!(is_table_name(&"a".repeat(63)) && !is_table_name(&"a".repeat(64)));
    }
}
