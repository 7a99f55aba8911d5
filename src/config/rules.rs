//! `[[record.drop]]`, `[[record.sample]]` and `rate_limit` of a source: which records are left out before they are stored.

use std::sync::Arc;

use super::column;
use super::matches;
use super::node::{Node, Value, quoted};
use super::sources::{NAME_RULE, well_formed_name};
use super::table::Table;
use crate::ingest::rules::{Count, Counts, Drop, Filter, Kind, Limit, Rules, Sample, Share, is_protected};

/// Most `[[record.drop]]`, and most `[[record.sample]]`: each is asked about every line.
pub const RULES_MAX: usize = 100;

/// Upper bound of the three numbers of `rate_limit`.
pub const LIMIT_MAX: u64 = 1_000_000_000;

/// Most columns of `by`.
pub const BY_MAX: usize = 10;

/// Names of the rules of one kind that were read so far.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// The name of an entry; without one, its place in the list, from 0.
    fn take(&mut self, table: &Table<'_>) -> String {
        let place = self.0.len().to_string();
        let name = match table.filled("name") {
            None => place,
            Some(given) => {
                if !well_formed_name(&given.text) {
                    given.mistake("is no name", None, NAME_RULE);
                } else if given.text.bytes().all(|byte| byte.is_ascii_digit()) {
                    given.mistake("is what a rule without a name is called", None, "a name with a letter in it");
                } else if self.0.contains(&given.text) {
                    given.mistake("is the name of another rule too", None, "a name of its own");
                }
                given.text
            }
        };
        self.0.push(name.clone());
        name
    }
}

/// The rules of `[record]`; `own`: columns that the configuration defines.
pub fn rules(record: &Table<'_>, own: &[String]) -> Rules {
    let mut names = Names::default();
    let drop = record.entries("drop", |table| {
        let name = names.take(&table);
        let expected = "what is dropped, such as { LoggerName = \"urllib3*\", Level = \"DEBUG\" }";
        let when = matches::rule(&table, "when", own);
        if !table.has("when") {
            table.mistake("when", "is missing", expected);
        } else if table.get("when").is_some_and(is_empty) {
            table.mistake("when", "is empty, so every record would be dropped", expected);
        }
        when.map(|when| Drop { when, count: Count::new(Kind::Drop, name) })
    });
    let mut names = Names::default();
    let sample = record.entries("sample", |table| {
        let name = names.take(&table);
        let when = matches::rule(&table, "when", own);
        if let Some(levels) = table.get("when").and_then(|when| when.get("Level"))
            && is_without_effect(levels)
        {
            let what = "names only levels that are never sampled, so it is without effect";
            table.mistake("when", what, "levels below ERROR");
        }
        let by = by(&table, own);
        let share = table.share("keep");
        share.map(|share| Sample { when, share: Share::new(share), by, count: Count::new(Kind::Sample, name) })
    });
    for (key, count) in [("drop", drop.len()), ("sample", sample.len())] {
        if count > RULES_MAX {
            record.mistake(key, format!("has {count} entries"), format!("at most {RULES_MAX}"));
        }
    }
    Rules { drop: drop.into_iter().flatten().collect(), sample: sample.into_iter().flatten().collect() }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Table(table) if table.is_empty())
}

/// Whether the globs of a level are all of levels that sampling leaves alone.
fn is_without_effect(levels: &Node) -> bool {
    let is_protected = |node: &Node| matches!(&node.value, Value::Text(text) if is_protected(text.as_bytes()));
    match &levels.value {
        Value::List(list) => !list.is_empty() && list.iter().all(is_protected),
        _ => is_protected(levels),
    }
}

fn by(table: &Table<'_>, own: &[String]) -> Vec<String> {
    let expected = "columns in quotes, such as [\"TraceID\", \"TaskID\"]; [] samples each record by itself";
    let given = table.list("by", expected);
    if given.len() > BY_MAX {
        table.mistake("by", format!("has {} columns", given.len()), format!("at most {BY_MAX}"));
    }
    for name in &given {
        if let Some((what, near)) = column::wrong_in_rule(&name.text, own) {
            name.mistake(&what, near.map(|near| quoted(&near)), expected);
        }
    }
    given.into_iter().map(|given| given.text).collect()
}

/// What leaves out lines of the source with this name.
pub fn filter(table: &Table<'_>, source: &str, rules: &Arc<Rules>) -> Filter {
    let limit = table.table("rate_limit", |limit| {
        let per_second = limit.whole("per_second", 0..=LIMIT_MAX);
        let burst = limit.whole("burst", 1..=LIMIT_MAX);
        let then_keep_one_in = limit.whole("then_keep_one_in", 0..=LIMIT_MAX);
        let count = Count::new(Kind::RateLimit, source);
        if !limit.is_given("per_second") && (limit.is_given("burst") || limit.is_given("then_keep_one_in")) {
            limit.mistake(
                "per_second",
                "is missing, so nothing would be limited",
                "records a second; 0 limits nothing",
            );
        }
        (per_second > 0).then(|| Arc::new(Limit { burst, per_second, then_keep_one_in, count }))
    });
    Filter::new(rules, limit)
}

/// The counts of all rules and of the rate limits of these sources.
pub fn counts<'f>(rules: &Rules, filters: impl Iterator<Item = &'f Filter>) -> Counts {
    let drop = rules.drop.iter().map(|rule| Arc::clone(&rule.count));
    let sample = rules.sample.iter().map(|rule| Arc::clone(&rule.count));
    let limits = filters.filter_map(Filter::limit).map(|limit| Arc::clone(&limit.count));
    drop.chain(sample).chain(limits).collect()
}
