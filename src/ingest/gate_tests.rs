//! Records that are left out: nothing uncounted, nothing twice, whatever the rules, the reads and the crashes.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::rules::{Count, Drop, Filter, Kind, Limit, Rules, Sample, Share};
use super::*;
use crate::buffer::section::split_record;
use crate::record::rule::{Match, Regex};
use crate::record::{EventId, OriginId, RouteBits, Rule};

const SECOND: Nanos = 1_000_000_000;

fn globs(columns: &[(&str, &[&str])]) -> Rule {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Rule::new(columns.iter().map(|(name, globs)| ((*name).to_owned(), texts(globs))).collect())
}

fn drop(when: Rule) -> Drop {
    Drop { when, count: Count::new(Kind::Drop, "d") }
}

fn sample(when: Option<Rule>, keep: f64) -> Sample {
    let by = vec!["TraceID".to_owned(), "TaskID".to_owned()];
    Sample { when, share: Share::new(keep), by, count: Count::new(Kind::Sample, "s") }
}

fn limit(burst: u64, per_second: u64, then_keep_one_in: u64) -> Limit {
    Limit { burst, per_second, then_keep_one_in, count: Count::new(Kind::RateLimit, "l") }
}

/// One origin, as a source drives it.
struct Origin {
    options: Arc<Options>,
    ingest: Ingest,
    records: Vec<Record>,
    /// Totals and position of the last section: what a start after a crash knows.
    committed: (Counters, u64),
}

#[derive(Clone, Debug)]
struct Record {
    id: EventId,
    seq: u64,
    route: RouteBits,
    columns: Value,
}

/// Lines that all arrive at one time.
struct Arrived(Nanos);

impl Times for Arrived {
    fn at(&self, _offset: usize) -> Nanos {
        self.0
    }

    fn are_arrivals(&self) -> bool {
        true
    }
}

fn info() -> Arc<OriginInfo> {
    Arc::new(OriginInfo { id: OriginId([5; 16]), descriptor: Vec::new(), constants: Vec::new() })
}

impl Origin {
    fn new(filter: Filter, multiline: Multiline) -> Self {
        let errors = globs(&[("Level", &["ERROR"])]);
        let options = Arc::new(Options {
            multiline,
            max_line: 100_000,
            routes: Arc::from([None, Some(errors)]),
            filter,
            ..Options::default()
        });
        let ingest = Ingest::new(Arc::clone(&options), info(), Constants::default(), 0, Counters::default());
        Origin { options, ingest, records: Vec::new(), committed: (Counters::default(), 0) }
    }

    /// Feeds what stands behind the position up to `end`; what comes of it is committed.
    fn feed(&mut self, text: &[u8], end: usize, arrived: Nanos, flush: Flush) {
        loop {
            let begin = self.ingest.position() as usize;
            let fed = self.ingest.feed(&text[begin..end.max(begin)], &Arrived(arrived), flush);
            self.commit();
            if !fed.section_full {
                return;
            }
        }
    }

    fn commit(&mut self) {
        let Some(section) = self.ingest.section(Vec::new(), false) else { return };
        assert_eq!(section.first_seq, self.committed.0.records + 1);
        let mut rest = section.records.bytes.as_slice();
        while let Some(((header, members), after)) = split_record(rest) {
            let columns = serde_json::from_str(&format!("{{{}}}", String::from_utf8_lossy(members))).expect("JSON");
            let seq = self.records.len() as u64 + 1;
            self.records.push(Record { id: header.event_id, seq, route: header.route, columns });
            rest = after;
        }
        self.committed = (section.counters, self.ingest.position());
        self.check();
    }

    /// The process dies: what was not committed is forgotten.
    fn crash(&mut self) {
        let (counters, position) = self.committed.clone();
        self.ingest = Ingest::new(Arc::clone(&self.options), info(), Constants::default(), position, counters);
    }

    /// What holds at any moment.
    fn check(&self) {
        let counters = &self.committed.0;
        assert_eq!(counters.lines, counters.recorded_lines + counters.filtered_lines + counters.sampled_lines);
        assert_eq!(counters.records, self.records.len() as u64);
        for bit in 0..2 {
            let routed = self.records.iter().filter(|record| record.route >> bit & 1 == 1).count();
            assert_eq!(counters.routed_to(bit), routed as u64, "sink {bit}");
        }
        let ids: HashSet<EventId> = self.records.iter().map(|record| record.id).collect();
        assert_eq!(ids.len(), self.records.len(), "each EventID stands once");
        assert!(self.records.iter().zip(1..).all(|(record, seq)| record.seq == seq));
        let told: u64 = self.told();
        assert!(told + counters.untold_lines <= counters.sampled_lines);
    }

    /// Lines that records say were left out by the rate limit.
    fn told(&self) -> u64 {
        let events = self.records.iter().filter(|record| record.columns["EventType"] == gate::EVENT);
        events.map(|record| record.columns["Fields"]["LeftOutLines"].as_u64().expect("a number")).sum()
    }

    fn messages(&self) -> Vec<&str> {
        self.records.iter().map(|record| record.columns["Message"].as_str().unwrap_or_default()).collect()
    }
}

/// What is left of a text under these rules.
fn kept(rules: Rules, text: &str) -> (Vec<String>, Counters) {
    let mut origin = Origin::new(Filter::new(&Arc::new(rules), None), Multiline::Auto);
    origin.feed(text.as_bytes(), text.len(), 0, Flush::All);
    (origin.messages().into_iter().map(str::to_owned).collect(), origin.committed.0)
}

#[test]
fn rules_ask_for_columns_and_members_by_globs_levels_and_regular_expressions() {
    let text = "DEBUG: a debug line\nplain\n\
        {\"level\":\"info\",\"logger\":\"urllib3.pool\",\"message\":\"pool\"}\n\
        {\"level\":\"info\",\"message\":\"asked\",\"http\":{\"status\":404}}\n\
        {\"level\":\"error\",\"message\":\"timeout after 30 s\",\"duration_ms\":12}\n";
    let check = |when: Rule, expected: &[&str]| {
        let (messages, counters) = kept(Rules { drop: vec![drop(when)], sample: vec![] }, text);
        assert_eq!(messages, expected);
        assert_eq!((counters.lines, counters.filtered_lines), (5, 5 - expected.len() as u64));
    };
    let all = ["a debug line", "plain", "pool", "asked", "timeout after 30 s"];
    check(globs(&[("Level", &["DEBUG"])]), &all[1..]);
    check(globs(&[("Level", &["INFO"])]), &[all[0], all[4]]);
    check(globs(&[("LoggerName", &["urllib3*"])]), &[all[0], all[1], all[3], all[4]]);
    check(globs(&[("Fields.http.status", &["4??"])]), &[all[0], all[1], all[2], all[4]]);
    check(globs(&[("DurationMs", &["12*"])]), &all[..4]);
    check(globs(&[("Level", &["INFO"]), ("Message", &["p*"])]), &[all[0], all[3], all[4]]);
    let regex = Match::Regex(Regex::new(r"timeout after \d+").expect("a pattern"));
    check(Rule::of(vec![("Message".into(), vec![regex])]), &all[..4]);
    check(globs(&[("Level", &["TRACE"])]), &all);
}

#[test]
fn of_several_sample_rules_the_first_that_is_about_a_record_decides_and_errors_are_kept() {
    let text = "DEBUG: a\nINFO: b\nERROR: c\nFATAL: d\nWARNING: e\nplain\nAUDIT: f\n";
    let check = |sample: Vec<Sample>, expected: &[&str]| {
        let (messages, counters) = kept(Rules { drop: vec![], sample }, text);
        assert_eq!(messages, expected);
        assert_eq!((counters.sampled_lines, counters.filtered_lines), (7 - expected.len() as u64, 0));
    };
    let all = ["a", "b", "c", "d", "e", "plain", "AUDIT: f"];
    check(vec![sample(None, 0.0)], &["c", "d"]);
    check(vec![sample(None, 1.0)], &all);
    check(vec![sample(Some(globs(&[("Level", &["DEBUG"])])), 1.0), sample(None, 0.0)], &["a", "c", "d"]);
    check(vec![sample(Some(globs(&[("Level", &["INFO"])])), 0.0)], &["a", "c", "d", "e"]);
    check(vec![sample(Some(globs(&[("Level", &["ERROR", "CRITICAL"])])), 0.0)], &all);
}

#[test]
fn a_section_without_records_still_says_how_far_its_origin_is() {
    let rules = Arc::new(Rules { drop: vec![drop(globs(&[("Level", &["DEBUG"])]))], sample: vec![] });
    let mut origin = Origin::new(Filter::new(&rules, None), Multiline::None);
    let text = b"DEBUG: a\nDEBUG: b\nINFO: c\n";
    origin.feed(text, 18, 0, Flush::No);
    assert_eq!((origin.committed.1, origin.committed.0.lines, origin.committed.0.records), (18, 2, 0));
    origin.crash();
    origin.feed(text, text.len(), 0, Flush::No);
    assert_eq!((origin.messages(), origin.records[0].seq), (vec!["c"], 1));
    assert_eq!((rules.drop[0].count.lines(), rules.drop[0].count.records()), (2, 2));
}

#[test]
fn parts_of_a_message_go_together_and_the_lines_of_a_group_are_all_counted() {
    let long = "x".repeat(70_000);
    let text = format!("INFO: {long}\nDEBUG: {long}\nERROR: broke\n  one\n  two\nDEBUG: noted\n  three\n");
    let rules = || Rules { drop: vec![drop(globs(&[("Level", &["DEBUG"])]))], sample: vec![] };
    let (messages, counters) = kept(rules(), &text);
    assert_eq!(messages.len(), 3, "two parts and the error");
    assert_eq!((counters.recorded_lines, counters.filtered_lines, counters.records), (4, 3, 3));
}

#[test]
fn of_a_group_only_the_lines_without_a_record_are_left_out() {
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad\n";
    let rules = Rules { drop: vec![drop(globs(&[("Level", &["INFO"])]))], sample: vec![] };
    let (messages, counters) = kept(rules, &format!("INFO: calm\n{stack}"));
    // Where the exception below a calm line is a record of its own, that one stays.
    let expected = if messages.is_empty() { 4 } else { 1 };
    assert_eq!((counters.lines, counters.filtered_lines), (4, expected), "{messages:?}");
}

#[test]
fn lines_of_a_secret_that_became_one_are_all_counted() {
    let key =
        format!("  -----BEGIN PRIVATE KEY-----\n{}  -----END PRIVATE KEY-----\n", "  MIIEvQIBADANBgkq\n".repeat(20));
    let text = format!("INFO: calm\n{key}Traceback (most recent call last):\n  x\nValueError: bad\n");
    let count = |level: &str| {
        let rules = Rules { drop: vec![drop(globs(&[("Level", &[level])]))], sample: vec![] };
        let (_, counters) = kept(rules, &text);
        (counters.lines, counters.filtered_lines)
    };
    assert_eq!((count("INFO"), count("ERROR")), ((26, 23), (26, 3)));
}

#[test]
fn pieces_of_a_line_over_the_bound_are_not_sampled_as_nobody_knows_their_level() {
    let text = format!("DEBUG: {}\nDEBUG: short\n", "y".repeat(250_000));
    let (messages, counters) = kept(Rules { drop: vec![], sample: vec![sample(None, 0.0)] }, &text);
    assert_eq!((counters.lines, counters.recorded_lines, counters.sampled_lines), (4, 3, 1));
    assert!(messages.iter().all(|message| !message.contains("short")));
    let (messages, counters) =
        kept(Rules { drop: vec![drop(globs(&[("Message", &["*yyy"])]))], sample: vec![] }, &text);
    assert_eq!((messages.as_slice(), counters.filtered_lines), (&["short".to_owned()][..], 3));
}

#[test]
fn traces_and_tasks_are_kept_or_left_out_as_a_whole() {
    let mut text = String::new();
    for n in 0..3_000 {
        let line = match n % 3 {
            0 => json!({"level": "debug", "message": "m", "trace_id": format!("t{}", n % 500), "task_id": n}),
            1 => json!({"level": "debug", "message": "m", "task_id": n % 300}),
            _ => json!({"level": "debug", "message": "m"}),
        };
        text.push_str(&format!("{line}\n"));
    }
    let mut origin = Origin::new(
        Filter::new(&Arc::new(Rules { drop: vec![], sample: vec![sample(None, 0.3)] }), None),
        Multiline::None,
    );
    origin.feed(text.as_bytes(), text.len(), 0, Flush::All);
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    let mut alone = 0;
    for record in &origin.records {
        match (&record.columns["TraceID"], &record.columns["TaskID"]) {
            (Value::String(trace), _) => *kept.entry(trace.clone()).or_default() += 1,
            (_, Value::String(task)) => *kept.entry(task.clone()).or_default() += 1,
            _ => alone += 1,
        }
    }
    // Of a trace that is there at all, every line is.
    for (id, count) in kept.iter() {
        let whole = text.lines().filter(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let task = || line["task_id"].as_u64().map(|n| n.to_string());
            line["trace_id"].as_str().map(str::to_owned).or_else(task).as_deref() == Some(id)
        });
        assert_eq!(*count, whole.count(), "{id}");
    }
    let ids = 500.0 + 100.0;
    assert!((ids * 0.2..ids * 0.4).contains(&(kept.len() as f64)), "{}", kept.len());
    assert!((250..350).contains(&alone), "{alone}");
}

/// A generator without a state of its own: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.roll(list.len() as u64) as usize]
    }
}

const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "AUDIT"];

fn random_rule(dice: &mut Dice) -> Rule {
    match dice.roll(5) {
        0 => globs(&[("Level", &[dice.of(LEVELS)])]),
        1 => globs(&[("LoggerName", &[dice.of(&["app*", "db", "?", "*"])]), ("Level", &[dice.of(LEVELS), "INFO"])]),
        2 => globs(&[("Message", &[dice.of(&["*7*", "line 1*", "*"])])]),
        3 => globs(&[("Fields.n", &[dice.of(&["?", "1*", "42"])])]),
        _ => Rule::of(vec![("Message".into(), vec![Match::Regex(Regex::new(r"[13579]$").expect("a pattern"))])]),
    }
}

fn random_rules(dice: &mut Dice) -> Rules {
    let drops = dice.roll(3);
    let samples = dice.roll(3);
    Rules {
        drop: (0..drops).map(|_| drop(random_rule(dice))).collect(),
        sample: (0..samples)
            .map(|_| {
                let when = (dice.roll(4) > 0).then(|| random_rule(dice));
                sample(when, dice.of(&[0.0, 0.1, 0.5, 0.9, 1.0]))
            })
            .collect(),
    }
}

fn random_text(dice: &mut Dice, longest: u64) -> String {
    let mut text = String::new();
    for n in 0..dice.roll(400) {
        let level = dice.of(LEVELS);
        match dice.roll(6) {
            0 => text.push_str(&format!("{level}: line {n}\n")),
            1 => text.push_str(&format!(
                "{}\n",
                json!({"level": level, "logger": dice.of(&["app.x", "db"]), "message": format!("line {n}"), "n": n, "trace_id": n % 20})
            )),
            2 => text.push_str("  indented\n"),
            3 => text.push_str(&format!("2026-11-20 23:00:33,123 - app - {level} - line {n}\n")),
            4 => text.push_str(&format!("{level}: {}\n", "z".repeat(dice.roll(longest) as usize))),
            _ => text.push_str("plain\n"),
        }
    }
    text
}

/// Feeds a text in reads of any length with crashes between them.
fn read_with_crashes(origin: &mut Origin, text: &str, dice: &mut Dice, crashes: bool) {
    let (mut end, mut now) = (0, 0);
    while end < text.len() {
        end = (end + 1 + dice.roll(60_000) as usize).min(text.len());
        now += dice.roll(3) as Nanos * SECOND;
        origin.feed(text.as_bytes(), end, now, Flush::No);
        if crashes && dice.roll(4) == 0 {
            origin.crash();
        }
    }
    origin.feed(text.as_bytes(), end, now, Flush::All);
    origin.ingest.tell_left_out(now);
    origin.commit();
    assert_eq!((origin.committed.0.bytes, origin.committed.1), (text.len() as u64, text.len() as u64));
}

#[test]
fn lines_are_recorded_filtered_or_sampled_whatever_the_rules_and_the_reads() {
    for seed in 1..=60 {
        let mut dice = Dice::new(seed);
        let rules = Arc::new(random_rules(&mut dice));
        let limit = (dice.roll(2) == 0).then(|| Arc::new(limit(1 + dice.roll(50), 1 + dice.roll(20), dice.roll(10))));
        let text = random_text(&mut dice, 130_000);
        let mut origin = Origin::new(Filter::new(&rules, limit.clone()), Multiline::Auto);
        read_with_crashes(&mut origin, &text, &mut dice, true);
        let limited = limit.map_or(0, |limit| limit.count.lines());
        assert_eq!(origin.committed.0.untold_lines, 0, "seed {seed}");
        // What was left out before a crash and not committed is counted by the rules again.
        assert!(origin.told() <= limited, "seed {seed}");
    }
}

#[test]
fn a_line_that_is_read_again_is_decided_as_before() {
    for seed in 1..=30 {
        let dice = || Dice::new(seed + 1_000);
        let run = |crashes: bool| {
            let mut dice = dice();
            let rules = Arc::new(random_rules(&mut dice));
            // What is left of a line over the bound is a line of its own after a crash.
            let text = random_text(&mut dice, 90_000);
            let mut origin = Origin::new(Filter::new(&rules, None), Multiline::None);
            read_with_crashes(&mut origin, &text, &mut dice, crashes);
            let ids: Vec<EventId> = origin.records.iter().map(|record| record.id).collect();
            (ids, origin.committed.0)
        };
        assert_eq!(run(false), run(true), "seed {seed}");
    }
}

/// Lines of DEBUG with an error after every hundredth.
fn flood(lines: u64) -> String {
    let error = |n: u64| if n % 100 == 99 { format!("ERROR: e{n}\n") } else { String::new() };
    (0..lines).map(|n| format!("DEBUG: line {n}\n{}", error(n))).collect()
}

#[test]
fn a_rate_limit_tells_exactly_what_it_left_out_and_keeps_errors() {
    let text = flood(10_000);
    let limit = Arc::new(limit(1_000, 100, 100));
    let mut origin = Origin::new(Filter::new(&Arc::default(), Some(Arc::clone(&limit))), Multiline::None);
    let mut dice = Dice::new(77);
    let (mut end, mut now) = (0, 0);
    while end < text.len() {
        end = (end + 1 + dice.roll(4_000) as usize).min(text.len());
        now += SECOND / 2;
        origin.feed(text.as_bytes(), end, now, Flush::No);
        if dice.roll(20) == 0 {
            origin.crash();
        }
    }
    let told = origin.records.iter().filter(|record| record.columns["EventType"] == gate::EVENT).count();
    assert!((2..=15).contains(&told), "one in ten seconds, and one after each crash: {told}");
    origin.feed(text.as_bytes(), end, now, Flush::All);
    origin.ingest.tell_left_out(now);
    origin.commit();
    let counters = &origin.committed.0;
    assert_eq!((origin.told(), counters.untold_lines), (counters.sampled_lines, 0));
    assert!(counters.sampled_lines > 1_000, "{counters:?}");
    let errors = origin.messages().iter().filter(|message| message.starts_with('e')).count();
    assert_eq!(errors, 100);
    assert_eq!(counters.routed_to(1), 100);
    let first = origin.records.iter().find(|record| record.columns["EventType"] == gate::EVENT).expect("one");
    assert_eq!((&first.columns["Level"], &first.columns["LoggerName"]), (&json!("WARNING"), &json!("logferry")));
    assert_eq!(first.route, 1, "a rule of a sink holds for it");
}

#[test]
fn what_was_left_out_and_not_told_before_a_crash_is_told_after_it() {
    let text = flood(50);
    let limit = Arc::new(limit(10, 1, 0));
    let mut origin = Origin::new(Filter::new(&Arc::default(), Some(limit)), Multiline::None);
    origin.feed(text.as_bytes(), text.len(), SECOND, Flush::No);
    assert_eq!((origin.told(), origin.committed.0.untold_lines), (0, 40));
    origin.crash();
    assert!(origin.ingest.has_untold());
    origin.ingest.tell_left_out(2 * SECOND);
    origin.commit();
    assert_eq!((origin.told(), origin.committed.0.untold_lines), (40, 0));
    origin.crash();
    origin.ingest.tell_left_out(3 * SECOND);
    assert!(origin.ingest.section(Vec::new(), false).is_none(), "it is told once");
}

#[test]
fn lines_without_a_time_of_arrival_are_limited_from_when_all_were_read_once() {
    let text = flood(6_000);
    let limit = Arc::new(limit(10, 1, 0));
    let mut origin = Origin::new(Filter::new(&Arc::default(), Some(limit)), Multiline::None);
    let feed = |origin: &mut Origin, lines: usize, at: Nanos| {
        let begin = origin.ingest.position() as usize;
        let bytes: usize = text[begin..].split_inclusive('\n').take(lines).map(str::len).sum();
        let before = origin.committed.0.sampled_lines;
        let fed = origin.ingest.feed(&text.as_bytes()[begin..begin + bytes], &at, Flush::No);
        assert_eq!(fed.consumed, bytes);
        origin.commit();
        origin.committed.0.sampled_lines - before
    };
    assert_eq!(feed(&mut origin, 2_000, SECOND), 0, "a backlog");
    origin.ingest.at_end(SECOND);
    // A hundred lines and the errors among them, which no limit counts.
    assert!((88..=90).contains(&feed(&mut origin, 100, 2 * SECOND)));
    origin.ingest.at_end(2 * SECOND);
    origin.ingest.falls_behind(3 * SECOND);
    assert_eq!(feed(&mut origin, 100, 203 * SECOND), 0, "what piled up while it could not be read");
}
