//! `[[record.metric]]`: metrics out of records, under names that Prometheus takes and that nothing else has.

use super::column;
use super::matches;
use super::node::quoted;
use super::table::{Given, Table};
use crate::ingest::metric::{Definition, Family, Kind, Metrics, OVERFLOW, Op};
use crate::record::histogram::SECONDS;

/// Most `[[record.metric]]`: each is looked at for every record.
pub const METRICS_MAX: usize = 100;

/// Most labels of a metric.
pub const LABELS_MAX: usize = 8;

/// Most upper bounds of a histogram: each is a sample of each series.
pub const BUCKETS_MAX: usize = 50;

/// Longest name of a metric or label, in bytes.
pub const NAME_MAX_BYTES: usize = 200;

/// What names of ours, and of Prometheus' own about a scrape, begin with.
const RESERVED: &[&str] = &["logferry_", "process_", "scrape_"];

const NAME: &str = "letters, digits, _ and :, no digit first, such as \"task_latency_seconds\"";
const VALUE: &str = "a column or a member of Fields that holds a number, such as \"DurationMs\" or \"Fields.latency\"";
const LABEL: &str = "a column or a member of Fields, such as \"Level\" or \"Fields.task_type\"";

/// A family, and the entry that it was read from first.
struct Known {
    family: Family,
    entry: usize,
}

/// All `[[record.metric]]`. `own`: columns that the configuration defines.
pub fn metrics(record: &Table<'_>, own: &[String]) -> Metrics {
    let mut known: Vec<Known> = Vec::new();
    let mut index = 0;
    let read = record.entries("metric", |entry| {
        let definition = definition(&entry, own, &mut known, index);
        index += 1;
        definition
    });
    if read.len() > METRICS_MAX {
        record.mistake("metric", format!("has {} entries", read.len()), format!("at most {METRICS_MAX}"));
    }
    Metrics::new(known.into_iter().map(|known| known.family).collect(), read.into_iter().flatten().collect())
}

fn definition(entry: &Table<'_>, own: &[String], known: &mut Vec<Known>, index: usize) -> Option<Definition> {
    let name = entry.required("name", NAME).filter(check_name);
    let mut labels = labels(entry, own);
    // In one order, whatever that of the file.
    labels.sort();
    let value = entry.filled("value");
    if let Some(given) = &value {
        check_value(given, own, VALUE);
    }
    let kind = kind(entry);
    let op = op(entry, kind.as_ref());
    let when = matches::rule(entry, "when", own);
    let needs_value = matches!(kind, Some(Kind::Histogram(_))) || op == Some(Op::Set);
    if needs_value && value.is_none() {
        entry.mistake("value", "is missing", VALUE);
    }
    let (names, sources): (Vec<String>, Vec<String>) = labels.into_iter().unzip();
    let (name, kind, op) = (name?, kind?, op?);
    let help = entry.filled("help").map(|given| given.text).unwrap_or_default();
    let family = Family { name: name.text.clone(), help, kind, labels: names };
    let family = family_of(entry, &name, family, known, index)?;
    Some(Definition { family, when, op, value: value.map(|given| given.text), labels: sources })
}

/// Whether a metric may have this name; else it is said.
fn check_name(given: &Given<'_>) -> bool {
    let name = &given.text;
    let of_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    let what = if !name.bytes().all(of_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        "is no name of a metric"
    } else if name.len() > NAME_MAX_BYTES {
        "is too long"
    } else if RESERVED.iter().any(|reserved| name.starts_with(reserved)) || name == "up" {
        let expected = format!("a name of your own: not up, and none that begins with {}", RESERVED.join(" or "));
        given.mistake("is kept for logferry and Prometheus", None, expected);
        return false;
    } else {
        return true;
    };
    given.mistake(what, None, format!("{NAME}, up to {NAME_MAX_BYTES} bytes"));
    false
}

/// Names of labels, and where their values come from.
fn labels(entry: &Table<'_>, own: &[String]) -> Vec<(String, String)> {
    let given = entry.map("labels", LABEL);
    if given.len() > LABELS_MAX {
        let what = format!("has {} labels", given.len());
        entry.mistake("labels", what, format!("at most {LABELS_MAX}: every combination of values is a series"));
    }
    for (name, source) in &given {
        let is_well_formed = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("__")
            && (1..=NAME_MAX_BYTES).contains(&name.len());
        if !is_well_formed {
            let expected = "letters, digits and _, no digit and no __ first, such as task_type";
            source.mistake_unseen(&format!("{} is no name of a label", quoted(name)), None, expected);
        } else if name == OVERFLOW || name == "le" {
            source.mistake_unseen(&format!("the label {} is kept for logferry", quoted(name)), None, "another name");
        }
        check_value(source, own, LABEL);
    }
    given.into_iter().map(|(name, source)| (name, source.text)).collect()
}

/// Says what is wrong with the name of a value in a record.
fn check_value(given: &Given<'_>, own: &[String], expected: &str) {
    if given.text.is_empty() {
        given.mistake_unseen("is empty", None, expected);
    } else if let Some((what, near)) = column::wrong_in_rule(&given.text, own) {
        given.mistake(&what, near.map(|near| quoted(&near)), expected);
    }
}

fn kind(entry: &Table<'_>) -> Option<Kind> {
    const KINDS: [(&str, u8); 3] = [("counter", 0), ("gauge", 1), ("histogram", 2)];
    let buckets = buckets(entry);
    let kind = match entry.choice("kind", &KINDS)? {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        _ => return Some(Kind::Histogram(if buckets.is_empty() { SECONDS.to_vec() } else { buckets })),
    };
    if !buckets.is_empty() {
        entry.mistake("buckets", "are without effect", "kind = \"histogram\" beside them");
    }
    Some(kind)
}

/// Upper bounds of a histogram; empty where none are given.
fn buckets(entry: &Table<'_>) -> Vec<f64> {
    const EXPECTED: &str = "upper bounds that ascend, such as [0.1, 0.5, 1, 5, 30]; infinity is added";
    let bounds = entry.numbers("buckets", EXPECTED);
    if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
        entry.mistake("buckets", "do not ascend", EXPECTED);
    }
    if bounds.len() > BUCKETS_MAX {
        entry.mistake("buckets", format!("has {} bounds", bounds.len()), format!("at most {BUCKETS_MAX}"));
    }
    bounds
}

fn op(entry: &Table<'_>, kind: Option<&Kind>) -> Option<Op> {
    const OPS: [(&str, Op); 3] = [("set", Op::Set), ("inc", Op::Add), ("dec", Op::Subtract)];
    const EXPECTED: &str = "one of \"set\", \"inc\", \"dec\"";
    let given = entry.filled("op");
    match (kind?, given) {
        (Kind::Gauge, None) => {
            entry.mistake("op", "is missing", EXPECTED);
            None
        }
        (Kind::Gauge, Some(_)) => entry.choice("op", &OPS),
        (_, None) => Some(Op::Add),
        (_, Some(given)) => {
            given.mistake("is without effect", None, "kind = \"gauge\" beside it");
            None
        }
    }
}

/// The index of the family: a new one, or that of an entry before with the same name, which must be of the same form.
fn family_of(
    entry: &Table<'_>,
    name: &Given<'_>,
    family: Family,
    known: &mut Vec<Known>,
    index: usize,
) -> Option<usize> {
    let at = known.iter().position(|known| known.family.name == family.name);
    let Some((at, first)) = at.and_then(|at| Some((at, known.get_mut(at)?))) else {
        let clash = known.iter().find(|known| clash(&known.family, &family) || clash(&family, &known.family));
        if let Some(other) = clash {
            let what = format!("clashes with {} of record.metric[{}]", quoted(&other.family.name), other.entry);
            name.mistake(&what, None, "names that differ in more than an end like _total, _sum, _count or _bucket");
        }
        known.push(Known { family, entry: index });
        return Some(known.len() - 1);
    };
    let same_name = format!("record.metric[{}], which has the same name", first.entry);
    match (&first.family.kind, &family.kind) {
        (a, b) if word(a) != word(b) => {
            let what = format!("{} differs from {} of {same_name}", quoted(word(b)), quoted(word(a)));
            entry.mistake("kind", what, "one kind for each name");
        }
        (a, b) if a != b => {
            entry.mistake("buckets", format!("differ from those of {same_name}"), "one set of bounds for each name");
        }
        _ => {}
    }
    if first.family.labels != family.labels {
        let (these, those) = (listed(&family.labels), listed(&first.family.labels));
        entry.mistake("labels", format!("are {these}, but {those} in {same_name}"), "one set of labels for each name");
    }
    if first.family.help.is_empty() {
        first.family.help = family.help;
    }
    Some(at)
}

/// Whether samples of `one` have the name of the other family, in one of the two formats.
fn clash(one: &Family, other: &Family) -> bool {
    let ends: &[&str] = match one.kind {
        // In OpenMetrics a counter's family has its name without this end.
        Kind::Counter | Kind::Gauge => &["_total"],
        Kind::Histogram(_) => &["_total", "_bucket", "_sum", "_count"],
    };
    other.name.strip_prefix(one.name.as_str()).is_some_and(|end| ends.contains(&end))
}

fn listed(labels: &[String]) -> String {
    if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}
