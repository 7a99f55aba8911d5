//! What is said about rules that drop, sample and limit, and what the right ones are read as.

use super::wrong::check;
use super::*;
use crate::ingest::rules::Share;

#[test]
fn rules_are_read_in_the_order_of_the_file_and_hold_for_every_source() {
    let text = "[[sources.file]]\nname = \"a\"\ninclude = [\"/l/*.log\"]\nrate_limit = { per_second = 5, burst = 7 }\n\
                [[sources.docker]]\nname = \"b\"\nrate_limit = { per_second = 1, burst = 1, then_keep_one_in = 0 }\n\
                [[sources.file]]\nname = \"c\"\ninclude = [\"/m/*.log\"]\n[sinks.console]\n\
                [[record.drop]]\nwhen = { LoggerName = \"urllib3*\" }\n\
                [[record.drop]]\nname = \"health\"\nwhen = { Fields.http.path = \"/healthz\", Message = { regex = \"^GET\" } }\n\
                [[record.sample]]\nkeep = 0\n[[record.sample]]\nname = \"few\"\nkeep = 0.25\nby = \"TaskID\"\n\
                when = { Level = [\"DEBUG\", { regex = \"TRA\" }], \"Exception.Type\" = { regex = [\"^Value\", \"Key\"] } }\n";
    let config = good(text, &[]).config;
    let rules = &config.rules;
    let takes = |rule: &Rule, columns: &[(&str, &str)]| {
        rule.matches(|name| columns.iter().find(|(column, _)| *column == name).map(|(_, text)| *text))
    };
    assert!(takes(&rules.drop[0].when, &[("LoggerName", "urllib3.x")]));
    let health = &rules.drop[1].when;
    assert!(takes(health, &[("Fields.http.path", "/healthz"), ("Message", "GET /healthz")]));
    assert!(!takes(health, &[("Fields.http.path", "/healthz"), ("Message", "a GET")]));
    assert!(!takes(health, &[("Message", "GET /healthz")]));
    assert_eq!((rules.sample[0].share, rules.sample[0].when.is_none()), (Share::new(0.0), true));
    assert_eq!(rules.sample[0].by, ["TraceID", "TaskID"]);
    assert_eq!((rules.sample[1].share, rules.sample[1].by.as_slice()), (Share::new(0.25), &["TaskID".to_owned()][..]));
    let few = rules.sample[1].when.as_ref().expect("a rule");
    assert!(takes(few, &[("Level", "DEBUG"), ("Exception.Type", "KeyError")]));
    assert!(takes(few, &[("Level", "TRACE"), ("Exception.Type", "ValueError")]));
    assert!(!takes(few, &[("Level", "TRACE"), ("Exception.Type", "MyValueError")]));
    let limit = |options: &crate::ingest::Options| {
        options.filter.limit().map(|limit| (limit.per_second, limit.burst, limit.then_keep_one_in))
    };
    assert_eq!(limit(&config.files[0].ingest), Some((5, 7, 100)));
    assert_eq!(limit(&config.docker[0].ingest), Some((1, 1, 0)));
    assert_eq!(limit(&config.files[1].ingest), None);
    let counted: Vec<(&str, &str)> =
        config.left_out.iter().map(|count| (count.kind.word(), count.name.as_str())).collect();
    let expected = [
        ("drop", "0"),
        ("drop", "health"),
        ("sample", "0"),
        ("sample", "few"),
        ("rate_limit", "a"),
        ("rate_limit", "b"),
    ];
    assert_eq!(counted, expected);
}

#[test]
fn without_rules_nothing_is_asked_of_a_line() {
    let config = good(MINIMAL, &[]).config;
    assert!(config.files[0].ingest.filter.is_empty() && config.left_out.is_empty());
    let empty = good(&format!("{MINIMAL}[record]\ndrop = []\nsample = []\n"), &[]).config;
    assert!(empty.files[0].ingest.filter.is_empty());
}

#[test]
fn rules_are_shown_as_they_are_read() {
    let text = format!(
        "{MINIMAL}[[record.drop]]\nwhen = {{ Fields.a = \"b\", Message = {{ regex = \"x\\\\d\" }} }}\n\
         [[record.sample]]\nkeep = 0.5\n"
    );
    let shown = show(&good(&text, &[]));
    for line in [
        "[[record.drop]]",
        "when = { Fields = { a = \"b\" }, Message = { regex = \"x\\\\d\" } }  # line 5",
        "keep = 0.5  # line 7",
        "by = [\"TraceID\", \"TaskID\"]",
        "rate_limit = { per_second = 0, burst = 10000, then_keep_one_in = 100 }",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
}

#[test]
fn mistakes_in_rules_that_drop() {
    check(
        r#"
[[sources.file]]
include = ["/l/*.log"]
[[record.drop]]
[[record.drop]]
when = {}
[[record.drop]]
name = "a b"
when = { Levl = "DEBUG", Message = [] }
[[record.drop]]
name = "x"
when = { Level = ["DEBUG", "WARN"], Exception = "V*", Fields = "x", Parts = "2" }
[[record.drop]]
name = "x"
when = { Message = { regexp = "a" }, LoggerName = { regex = "a(" }, Fields.x = { } }
wen = "x"
[sinks.console]
"#,
        &[],
        r#"
f.toml:4: record.drop[0].when: is missing
    expected: what is dropped, such as { LoggerName = "urllib3*", Level = "DEBUG" }

f.toml:6: record.drop[1].when: is empty, so every record would be dropped
    expected: what is dropped, such as { LoggerName = "urllib3*", Level = "DEBUG" }

f.toml:8: record.drop[2].name: "a b" is no name
    expected: 1 to 64 letters, digits, _ or -

f.toml:9: record.drop[2].when.Levl: is no column
    did you mean: Level
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

f.toml:9: record.drop[2].when.Message: has no glob, so no record would match
    expected: a glob or a list of globs in quotes, such as "urllib3*" or ["INFO", "ERROR"], or { regex = "timeout after \\d+" }

f.toml:12: record.drop[3].when.Level[1]: "WARN" never matches: it is not how records spell their level
    did you mean: "WARNING"
    expected: TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL (what a log calls otherwise is mapped to these), or a glob in capitals

f.toml:12: record.drop[3].when.Exception: is an object: a member of it can be asked for
    did you mean: Exception.Type
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

f.toml:12: record.drop[3].when.Fields: is an object: a member of it can be asked for
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

f.toml:12: record.drop[3].when.Parts: is not known before a long message is split
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

f.toml:14: record.drop[4].name: "x" is the name of another rule too
    expected: a name of its own

f.toml:15: record.drop[4].when.Message.regexp: is no key of this table
    did you mean: regex
    expected: { regex = "timeout after \\d+" }

f.toml:15: record.drop[4].when.LoggerName.regex: "a(" is no regular expression: unclosed group
    expected: a regular expression over bytes

f.toml:15: record.drop[4].when."Fields.x": is an empty table
    expected: { regex = "timeout after \\d+" }

f.toml:16: record.drop[4].wen: is no key of this table
    did you mean: when
    expected: one of name, when

14 mistakes in f.toml
"#,
    );
}

#[test]
fn mistakes_in_rules_that_sample_and_in_limits() {
    check(
        r#"
[[sources.file]]
include = ["/l/*.log"]
rate_limit = { per_second = -1, burst = 0, then_keep_one_in = 1.5, keep = 1 }
[[record.sample]]
when = { Level = "DEBUG" }
[[record.sample]]
keep = 1.5
by = ["TraceId", "Fields.session"]
[[record.sample]]
keep = "many"
when = { Level = ["ERROR", "CRITICAL"] }
[[record.sample]]
keep = -0.1
when = "DEBUG"
[sinks.console]
when = { Message = { regex = "(" } }
"#,
        &[],
        r#"
f.toml:4: sources.file[0].rate_limit.per_second: -1 is too small
    expected: a whole number from 0 to 1000000000

f.toml:4: sources.file[0].rate_limit.burst: 0 is too small
    expected: a whole number from 1 to 1000000000

f.toml:4: sources.file[0].rate_limit.then_keep_one_in: 1.5 is not a whole number
    expected: a whole number from 0 to 1000000000

f.toml:4: sources.file[0].rate_limit.keep: is no key of this table
    expected: one of per_second, burst, then_keep_one_in (keep is a key of [[record.sample]])

f.toml:5: record.sample[0].keep: is missing
    expected: a number from 0.0 (none) to 1.0 (all), such as 0.1

f.toml:8: record.sample[1].keep: 1.5 is too large
    expected: a number from 0.0 (none) to 1.0 (all), such as 0.1

f.toml:9: record.sample[1].by[0]: "TraceId" is no column
    did you mean: "TraceID"
    expected: columns in quotes, such as ["TraceID", "TaskID"]; [] samples each record by itself

f.toml:11: record.sample[2].keep: "many" is not a number
    expected: a number from 0.0 (none) to 1.0 (all), such as 0.1

f.toml:12: record.sample[2].when: names only levels that are never sampled, so it is without effect
    expected: levels below ERROR

f.toml:14: record.sample[3].keep: -0.1 is too small
    expected: a number from 0.0 (none) to 1.0 (all), such as 0.1

f.toml:15: record.sample[3].when: is text
    expected: a table: when = { … }

f.toml:17: sinks.console.when.Message.regex: "(" is no regular expression: unclosed group
    expected: a regular expression over bytes

12 mistakes in f.toml
"#,
    );
}

#[test]
fn a_limit_without_its_rate_and_a_name_that_another_rule_has_by_its_place() {
    check(
        r#"
[[sources.file]]
include = ["/l/*.log"]
rate_limit = { burst = 100 }
[[record.drop]]
name = "1"
when = { Level = "DEBUG" }
[[record.drop]]
when = { Level = "TRACE" }
[sinks.console]
"#,
        &[],
        r#"
f.toml:4: sources.file[0].rate_limit.per_second: is missing, so nothing would be limited
    expected: records a second; 0 limits nothing

f.toml:6: record.drop[0].name: "1" is what a rule without a name is called
    expected: a name with a letter in it

2 mistakes in f.toml
"#,
    );
}
