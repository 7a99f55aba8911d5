//! What became of lines, in words for a terminal: which lines, what they were taken for, the columns of each record, what
//! was redacted and where it goes. Shows values as they are but for what would steer a terminal.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Tried, TriedRecord};
use crate::ingest::{Format, Outcome};
use crate::record::RouteBits;

/// Longest value that is shown whole, in characters.
const VALUE_MAX_CHARS: usize = 2_000;

/// Width of the names of columns.
const NAME_WIDTH: usize = 12;

/// Columns that say nothing about a line: which stream it is of, and where in it.
const IDS: &[&str] = &["Origin", "EventID", "Seq"];

/// How it is shown.
#[derive(Clone, Debug)]
pub struct Style {
    /// Names of the sinks, in the order of their route bits; none: no sink is configured.
    pub sinks: Vec<Arc<str>>,
    /// ANSI colours; only where standard output is a terminal.
    pub colour: bool,
}

struct Paint {
    head: &'static str,
    dim: &'static str,
    off: &'static str,
}

impl Style {
    fn paint(&self) -> Paint {
        match self.colour {
            true => Paint { head: "\x1b[1m", dim: "\x1b[2m", off: "\x1b[0m" },
            false => Paint { head: "", dim: "", off: "" },
        }
    }
}

/// The columns that all records have in common.
pub fn constants<'c>(columns: impl Iterator<Item = (&'c str, &'c str)>, style: &Style) -> String {
    let Paint { head, off, .. } = style.paint();
    let mut out = format!("{head}every record{off}\n");
    columns.filter(|(name, _)| !IDS.contains(name)).for_each(|(name, value)| line(&mut out, name, value, style));
    out.push('\n');
    out
}

/// One group of lines and its records; `constants`: names of the columns that were shown with [`constants`].
pub fn tried(tried: &Tried, constants: &[String], style: &Style) -> String {
    let Paint { head, off, .. } = style.paint();
    let (first, last) = tried.lines;
    let lines = if first >= last { format!("line {last}") } else { format!("lines {first} to {last}") };
    let formats = tried.seen.formats();
    let what = formats.iter().map(|format| in_words(*format)).collect::<Vec<_>>().join(" + ");
    let mut out = format!("{head}{lines}{off}  {what}\n");
    for record in &tried.records {
        put_record(&mut out, record, constants, style);
    }
    if !tried.redacted.is_empty() {
        line(&mut out, "redacted", &kinds(&tried.redacted), style);
    }
    match tried.records.first() {
        Some(record) => line(&mut out, "goes to", &goes_to(record.route, &style.sinks), style),
        None => line(&mut out, "no record", &left_out(tried.seen.outcome), style),
    }
    out.push('\n');
    out
}

/// `python (asctime - name - level - message)`; what is no format is said alone.
fn in_words(format: Format) -> String {
    match format.is_recognised() {
        true => format!("{} ({})", format.word(), format.layout()),
        false => format.layout().to_owned(),
    }
}

/// Why lines make no record.
pub fn left_out(outcome: Outcome) -> String {
    match outcome {
        Outcome::Dropped { rule } => format!("dropped by record.drop[{rule}]"),
        Outcome::Sampled { rule } => format!("left out by record.sample[{rule}]"),
        Outcome::Limited => "left out by the rate limit of the source".to_owned(),
        Outcome::Recorded => "nothing is left of it".to_owned(),
    }
}

/// `password 1, jwt 2`.
pub fn kinds<'k>(counts: impl IntoIterator<Item = &'k (String, u64)>) -> String {
    counts.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

fn goes_to(route: RouteBits, sinks: &[Arc<str>]) -> String {
    if sinks.is_empty() {
        return "no sink is configured".to_owned();
    }
    let takes = |bit: usize| route >> bit & 1 == 1;
    let names: Vec<&str> = sinks.iter().enumerate().filter(|(bit, _)| takes(*bit)).map(|(_, name)| &**name).collect();
    match names.is_empty() {
        true => "no sink: the `when` of none matches".to_owned(),
        false => names.join(", "),
    }
}

fn put_record(out: &mut String, record: &TriedRecord, constants: &[String], style: &Style) {
    let columns: Map<String, Value> = serde_json::from_slice(&record.document).unwrap_or_default();
    let number = |name: &str| columns.get(name).and_then(Value::as_u64);
    if let (Some(part), Some(parts)) = (number("Part"), number("Parts")) {
        line(out, "part", &format!("{part} of {parts}"), style);
    }
    for (name, value) in &columns {
        let is_shown = ["Part", "Parts"].contains(&name.as_str()) || constants.iter().any(|known| known == name);
        if !is_shown && !IDS.contains(&name.as_str()) {
            put(out, name, value, style);
        }
    }
}

/// A column, or each member of one.
fn put(out: &mut String, name: &str, value: &Value, style: &Style) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(member, value)| put(out, &format!("{name}.{member}"), value, style));
        }
        Value::String(text) => line(out, name, text, style),
        other => line(out, name, &other.to_string(), style),
    }
}

fn line(out: &mut String, name: &str, value: &str, style: &Style) {
    let Paint { dim, off, .. } = style.paint();
    let value = shown(value);
    let (on, end) = match name {
        "Level" if style.colour => (level_colour(&value), off),
        _ => ("", ""),
    };
    let indent = format!("\n    {:NAME_WIDTH$} ", "");
    let value = value.replace('\n', &indent);
    out.push_str(&format!("    {dim}{:NAME_WIDTH$}{off} {on}{value}{end}\n", shown(name)));
}

fn level_colour(level: &str) -> &'static str {
    match level {
        "ERROR" | "CRITICAL" => "\x1b[31m",
        "WARNING" => "\x1b[33m",
        "DEBUG" | "TRACE" => "\x1b[2m",
        _ => "\x1b[32m",
    }
}

/// A text without what a terminal would obey, shortened where it is very long.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(VALUE_MAX_CHARS));
    for (count, c) in text.chars().enumerate() {
        if count == VALUE_MAX_CHARS {
            out.push_str(&format!("… ({} bytes)", text.len()));
            break;
        }
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Seen;

    fn style(colour: bool) -> Style {
        Style { sinks: vec!["elasticsearch".into(), "archive".into()], colour }
    }

    fn group(document: &str, route: RouteBits) -> Tried {
        let records = vec![TriedRecord { document: document.as_bytes().to_vec(), route }];
        Tried {
            lines: (3, 4),
            seen: Seen::of(&[Format::PythonDashed, Format::Traceback], Outcome::Recorded),
            redacted: Vec::new(),
            records,
        }
    }

    #[test]
    fn a_record_is_shown_with_its_lines_its_format_and_its_way() {
        let document = r#"{"@timestamp":"2026-11-20T23:00:33.123Z","EventID":"x","Seq":1,"RunID":"42","Level":"ERROR","Message":"a\n b\u001b[31m","Fields":{"n":1,"o":{"p":"q"}}}"#;
        let tried_group = Tried { redacted: vec![("password".to_owned(), 2)], ..group(document, 2) };
        assert_eq!(
            tried(&tried_group, &["RunID".to_owned()], &style(false)),
            "lines 3 to 4  python (asctime - name - level - message) + traceback (an exception with its stack)\n    \
             @timestamp   2026-11-20T23:00:33.123Z\n    \
             Level        ERROR\n    \
             Message      a\n                  b\\u{1b}[31m\n    \
             Fields.n     1\n    \
             Fields.o.p   q\n    \
             redacted     password 2\n    \
             goes to      archive\n\n"
        );
        let coloured = tried(&tried_group, &[], &style(true));
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn what_goes_nowhere_says_why() {
        let check = |tried_group: &Tried, expected: &str| {
            let text = tried(tried_group, &[], &style(false));
            assert!(text.contains(expected), "{text}");
        };
        check(&group("{}", 0), "goes to      no sink: the `when` of none matches\n");
        check(&group("{}", 3), "goes to      elasticsearch, archive\n");
        let with = |outcome| Tried { seen: Seen::of(&[Format::Json], outcome), records: Vec::new(), ..group("{}", 0) };
        check(&with(Outcome::Dropped { rule: 1 }), "no record    dropped by record.drop[1]\n");
        check(&with(Outcome::Sampled { rule: 0 }), "no record    left out by record.sample[0]\n");
        check(&with(Outcome::Limited), "no record    left out by the rate limit of the source\n");
    }

    #[test]
    fn a_long_value_is_shortened_and_parts_are_numbered() {
        let long = "x".repeat(VALUE_MAX_CHARS + 1);
        let document = format!(r#"{{"Message":"{long}","Part":1,"Parts":3}}"#);
        let text = tried(&group(&document, 1), &[], &style(false));
        assert!(text.contains("    part         1 of 3\n"), "{text}");
        assert!(text.contains(&format!("{}… ({} bytes)\n", "x".repeat(VALUE_MAX_CHARS), VALUE_MAX_CHARS + 1)));
    }
}
