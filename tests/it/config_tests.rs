//! `[[test]]` tables of a configuration, as `check` runs them.

use crate::support::ferry::Ferry;

const HEAD: &str = "\
[[sources.file]]
name = \"agent\"
include = [\"{dir}/{RunID}/*.log\"]
[[sources.file]]
name = \"plain\"
include = [\"{dir}/plain/*.log\"]
parser = \"raw\"
[sinks.errors]
type = \"file\"
path = \"{dir}/errors.ndjson\"
when = { Level = [\"ERROR\"] }
[sinks.file]
path = \"{dir}/all.ndjson\"
";

const GOOD: &str = r#"
[[test]]
name   = "a retry is a warning"
lines  = ["2026-11-20 10:00:00,123 - app - WARNING - retry 3"]
expect = [{ Level = "WARNING", LoggerName = "app", Message = "retry 3", "@timestamp" = "2026-11-20T10:00:00.123Z", RunID = "" }]
sinks  = ["file"]

[[test]]
name   = "a traceback is one record, and all sinks get it"
source = "agent"
lines  = """
2026-11-20 10:00:00,123 - app - ERROR - it broke
Traceback (most recent call last):
  File "a.py", line 1
ValueError: x
"""
expect = [{ Exception = { Type = "ValueError", Message = "x" } }]
sinks  = ["file", "errors"]

[[test]]
name   = "numbers stay numbers"
lines  = ['{"msg":"a","latency":1.5,"o":{"deep":[1,true]}}', "", "b"]
expect = [{ "Fields.latency" = 1.5, Fields.o.deep = [1, true] }, { Message = "" }, { Message = "b" }]

[[test]]
name   = "a path gives its columns and chooses the source"
path   = "{dir}/42/app.log"
lines  = ["x"]
expect = [{ RunID = "42", Source = "agent", FilePath = "{dir}/42/app.log" }]

[[test]]
name   = "raw stays raw"
source = "plain"
lines  = ["2026-11-20 10:00:00,123 - app - WARNING - retry $${x} password=hunter2-xy"]
expect = [{ Level = "", Message = "2026-11-20 10:00:00,123 - app - WARNING - retry $${x} password=[REDACTED:password]" }]
"#;

#[test]
fn tests_that_pass_are_counted_and_run_and_ship_leave_them_alone() {
    let mut ferry = Ferry::new(&format!("{HEAD}{GOOD}"));
    let ended = ferry.call(&["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("2 sinks\n5 tests passed\n"), "{}", ended.stdout);
    let shown = ferry.call(&["config", "show"]);
    assert!(
        shown.stdout.contains("[[test]]\n") && shown.stdout.contains("name = \"a retry is a warning\""),
        "{}",
        shown.stdout
    );
    // One that fails stops no ship.
    ferry.configure(&format!("{HEAD}[[test]]\nname = \"no\"\nlines = [\"a\"]\nexpect = []\n"));
    assert_eq!(ferry.call(&["check"]).code, Some(2));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_test_that_fails_says_where_what_was_expected_and_what_came() {
    let tests = "\
[[test]]
name   = \"passes\"
lines  = [\"x\"]
expect = [{ Message = \"x\" }]
[[test]]
name   = \"another level\"
lines  = [\"2026-11-20 10:00:00,123 - app - WARNING - retry 3\"]
expect = [{ Level = \"ERROR\", \"Fields.logger\" = \"app\" }]
[[test]]
name   = \"too many\"
lines  = [\"a\", \"b\"]
expect = [{ Message = \"a\" }]
sinks  = [\"errors\"]
";
    let mut ferry = Ferry::new(&format!("{HEAD}{tests}"));
    let ended = ferry.call(&["check"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("2 sinks\n1 test passed\n"), "{}", ended.stdout);
    let file = ferry.path("logferry.toml");
    let text = std::fs::read_to_string(&file).expect("text");
    let line = |part: &str| text.lines().position(|line| line.contains(part)).expect(part) + 1;
    let (file, level) = (file.display(), line("Level = \"ERROR\", "));
    let many = text.lines().enumerate().filter(|(_, line)| *line == "[[test]]").nth(2).expect("three").0 + 1;
    let expected = format!(
        "logferry: {file}:{level}: test \"another level\": record 1: Level is another\n    expected: \"ERROR\"\n    found: \"WARNING\"\n\n\
         {file}:{level}: test \"another level\": record 1: Fields.logger is not there\n    expected: \"app\"\n    found: nothing\n    \
         nearest: LoggerName is \"app\"\n\n\
         {file}:{many}: test \"too many\": the lines become 2 records\n    expected: 1 record\n    found: \"a\", \"b\"\n\n\
         {file}:{many}: test \"too many\": record 1: other sinks get it\n    expected: errors\n    found: file\n\n\
         {file}:{many}: test \"too many\": record 2: other sinks get it\n    expected: errors\n    found: file\n\n\
         2 of 3 tests failed in {file}\n"
    );
    assert_eq!(ended.stderr, expected);
}

#[test]
fn a_path_that_no_source_reads_is_said() {
    let path = "path = \"/rnus/42/app.log\"\nlines = [\"x\"]\nexpect = [{ Message = \"x\" }]";
    let mut ferry = Ferry::new(&format!("{HEAD}[[test]]\nname = \"t\"\nsource = \"agent\"\n{path}\n"));
    let ended = ferry.call(&["check"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("test \"t\": its source does not read this path\n    expected: a path that the source agent includes\n    found: /rnus/42/app.log\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn mistakes_in_tests_are_mistakes_like_others() {
    let mut ferry = Ferry::new("");
    let mut check = |test: &str, parts: &[&str]| {
        ferry.configure(&format!("{HEAD}[[test]]\n{test}\n"));
        for command in ["check", "ship"] {
            let ended = ferry.call(&[command]);
            assert_eq!(ended.code, Some(2), "{test}: {}", ended.stdout);
            for part in parts {
                assert!(ended.stderr.contains(part), "{part}\n--- in ---\n{}", ended.stderr);
            }
        }
    };
    let of = |rest: &str| format!("name = \"t\"\nlines = [\"x\"]\n{rest}");
    check("lines = [\"x\"]\nexpect = []", &["test[0].name: is missing"]);
    check("name = \"t\"\nexpect = []", &["test[0].lines: is missing"]);
    check(&of(""), &["test[0].expect: is missing"]);
    check(&of("expct = []"), &["test[0].expct: is no key of this table", "did you mean: expect"]);
    check(&of("expect = [{ Levl = \"INFO\" }]"), &["test[0].expect[0].Levl: is no column", "did you mean: Level"]);
    check(&of("expect = [{ logger_name = \"a\" }]"), &["did you mean: LoggerName"]);
    check(&of("expect = [{ latency = 1 }]"), &["did you mean: \"Fields.latency\""]);
    check(&of("expect = [{ Level = \"warn\" }]"), &["\"warn\" is not how records spell", "did you mean: \"WARNING\""]);
    check(&of("expect = [{ EventID = \"x\" }]"), &["is another in each process"]);
    check(&of("expect = [{ TimeGenerated = \"x\" }]"), &["did you mean: @timestamp"]);
    check(&of("expect = [{ Exception = { Typ = \"x\" } }]"), &["is no member of Exception", "Exception.Type"]);
    check(&of("expect = [{ \"Message.x\" = \"x\" }]"), &["this one has no members"]);
    check(&of("expect = \"x\""), &["test[0].expect: is text"]);
    check(&of("expect = [\"x\"]"), &["test[0].expect[0]: is text"]);
    check(&of("sinks = [\"fil\"]"), &["\"fil\" is no sink", "did you mean: \"file\""]);
    check(&of("path = \"app.log\"\nexpect = []"), &["is not an absolute path"]);
    check(&of("source = \"agnt\"\nexpect = []"), &["\"agnt\" is no source", "did you mean: \"agent\""]);
    check("name = \"t\"\nlines = [1]\nexpect = []", &["test[0].lines: is a number"]);
}
