//! Wrong configurations and the whole message for each: what a newcomer reads.

use super::*;

pub fn check(text: &str, variables: &[(&str, &str)], expected: &str) {
    let said = message(text, variables);
    assert!(said == expected.trim(), "--- in ---\n{text}\n--- said ---\n{said}\n--- expected ---\n{}", expected.trim());
}

#[test]
fn a_misspelt_key_and_a_misspelt_section() {
    check(
        &format!("{MINIMAL}[buffer]\nmax_byte = \"8GiB\"\n[tear_down]\ndeadline = \"4m\"\n"),
        &[],
        r#"
f.toml:5: buffer.max_byte: is no key of this table
    did you mean: max_bytes
    expected: one of max_bytes, when_full, sync

f.toml:6: tear_down: is no section of the configuration
    did you mean: teardown
    expected: one of run, state, buffer, sources, record, sinks, teardown, http, log, test

2 mistakes in f.toml
"#,
    );
}

#[test]
fn a_key_of_another_section() {
    check(
        &format!("{MINIMAL}[run]\nlevel = \"debug\"\n"),
        &[],
        r#"
f.toml:5: run.level: is no key of this table
    expected: one of run_id, task_id, benchmark, vm_name, fields (level is a key of [log])

1 mistake in f.toml
"#,
    );
}

#[test]
fn an_empty_file() {
    check(
        "",
        &[],
        r#"
f.toml: sources: there is none, so nothing would be read
    expected: [[sources.file]] with include = ["/path/*.log"], or [[sources.docker]]

f.toml: sinks: there is none, so nothing would be delivered
    expected: [sinks.elasticsearch], [sinks.azure_monitor], [sinks.file] or [sinks.console]

2 mistakes in f.toml
"#,
    );
}

#[test]
fn paths_that_no_file_could_match() {
    check(
        r#"
[sinks.console]
[[sources.file]]
include = ["*.log", "/l/{run_id}.log", "/l/", "/l/*.log"]
exclude = ["x"]
ignore_older = "1"
start_at = "start"
[[sources.file]]
name = "none"
include = []
[[sources.file]]
name = "missing"
"#,
        &[],
        r#"
f.toml:4: sources.file[0].include[0]: "*.log" is not an absolute path
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

f.toml:4: sources.file[0].include[1]: "run_id" differs only in its spelling from a column that logferry fills
    did you mean: RunID
    expected: RunID, TaskID, Benchmark, VMName or a name of your own

f.toml:4: sources.file[0].include[2]: /l/ names a folder; write /l/* for the files in it
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

f.toml:5: sources.file[0].exclude[0]: "x" is not an absolute path
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

f.toml:6: sources.file[0].ignore_older: "1" has no unit
    expected: a duration from 1s to 87600h, such as "200ms", "10s" or "1h30m"

f.toml:7: sources.file[0].start_at: "start" is none of the values
    expected: one of "beginning", "end"

f.toml:10: sources.file[1].include: names no path
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

f.toml:11: sources.file[2].include: is missing
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

8 mistakes in f.toml
"#,
    );
}

#[test]
fn text_that_is_not_toml() {
    check(
        "[sinks.elasticsearch]\napi_key = \"hunter2\n",
        &[],
        r#"
f.toml:2: is not TOML here: invalid basic string, expected `"`
    expected: TOML: one key = value a line, text in quotes, sections in brackets

1 mistake in f.toml
"#,
    );
}

#[test]
fn a_key_given_twice() {
    check(
        "[buffer]\nsync = \"1s\"\nsync = \"2s\"\n",
        &[],
        r#"
f.toml:3: is not TOML here: duplicate key
    expected: TOML: one key = value a line, text in quotes, sections in brackets

1 mistake in f.toml
"#,
    );
}

#[test]
fn values_out_of_range_and_without_unit() {
    check(
        r#"
[[sources.file]]
include = ["/l/*.log"]
max_line = "1G"
[sinks.console]
in_flight = 64
batch_bytes = 100
max_age = "soon"
[buffer]
max_bytes = "1MiB"
sync = 200
[teardown]
deadline = "0s"
"#,
        &[],
        r#"
f.toml:4: sources.file[0].max_line: "1G" has an unknown unit "G"
    expected: a size from 64B to 16MiB, such as "500KB", "5MiB" or a number of bytes

f.toml:6: sinks.console.in_flight: 64 is too large
    expected: a whole number from 1 to 32

f.toml:7: sinks.console.batch_bytes: 100 is too small
    expected: a size from 1KiB to 100MiB, such as "500KB", "5MiB" or a number of bytes

f.toml:8: sinks.console.max_age: "soon" is not a duration
    expected: a duration from 1ms to 5m, such as "200ms", "10s" or "1h30m"

f.toml:10: buffer.max_bytes: "1MiB" is too small
    expected: a size of 32MiB or more, such as "500KB", "5MiB" or a number of bytes

f.toml:11: buffer.sync: is a number without a unit
    expected: a duration from 1ms to 1m, such as "200ms", "10s" or "1h30m"

f.toml:13: teardown.deadline: "0s" is too short
    expected: a duration from 1ms to 24h, such as "200ms", "10s" or "1h30m"

7 mistakes in f.toml
"#,
    );
}

#[test]
fn sources_with_one_bracket_equal_names_or_wrong_columns() {
    check(
        r#"
[sinks.console]
[[sources.docker]]
name = "my source"
columns = { run_id = "env:RUN_ID", TaskID = "task" }
host = "tcp://engine"
[[sources.docker]]
[[sources.docker]]
timezone = "Europe/Berln"
[sources.file]
include = ["/l/*.log"]
"#,
        &[],
        r#"
f.toml:4: sources.docker[0].name: "my source" is no name
    expected: 1 to 64 letters, digits, _ or -

f.toml:5: sources.docker[0].columns.run_id: "run_id" differs only in its spelling from a column that logferry fills
    did you mean: RunID
    expected: RunID, TaskID, Benchmark, VMName or a name of your own

f.toml:5: sources.docker[0].columns.TaskID: "task" is nothing of a container that a column may hold
    expected: "label:NAME", "env:NAME", "compose:project", "compose:service", "name", "id" or "image"

f.toml:6: sources.docker[0].host: "tcp://engine" is no address of a Docker engine
    expected: "auto", "unix:///var/run/docker.sock", or HOST:PORT after tcp://, http:// or https://

f.toml:8: sources.docker[2].name: "containers" is the name of another source too
    expected: a name of its own

f.toml:9: sources.docker[2].timezone: "Europe/Berln" is no time zone of this machine
    did you mean: "Europe/Berlin"
    expected: "UTC", "local" or a name of the time zone database, such as "Europe/Berlin"

f.toml:10: sources.file: is one table
    expected: [[sources.file]] with two brackets, once for each source

7 mistakes in f.toml
"#,
    );
}

#[test]
fn stages_that_are_not_built_yet() {
    check(
        r#"
[buffer]
max_bytes = "4GiB"
[[sources.file]]
include = ["/l/*.log"]
multiline = { start = "^x" }
[sinks.console]
"#,
        &[],
        r#"
f.toml:6: sources.file[0].multiline: a table here is not available yet
    expected: "auto" or "none"

1 mistake in f.toml
"#,
    );
}

#[test]
fn patterns_of_redaction_that_are_none_are_said_without_them() {
    check(
        r#"
[[sources.file]]
include = ["/l/*.log"]
[record]
redact_off = ["credit_cart"]
[[record.redact]]
pattern = "hunter2("
[[record.redact]]
pattern = "x*"
kind = "My Kind"
[[record.redact]]
kind = "k"
[sinks.console]
"#,
        &[],
        r#"
f.toml:5: record.redact_off[0]: "credit_cart" is no kind of secret
    did you mean: "credit_card"
    expected: some of password, secret, token, api_key, authorization, credit_card, ssn, private_key, connection_string, cookie, jwt, url_password, sas, aws, azure, gcp, github, gitlab, slack, stripe, openai, anthropic, huggingface, vendor_key, all

f.toml:7: record.redact[0].pattern: is no regular expression: unclosed group
    expected: a regular expression that does not match the empty text, such as "tok_[A-Za-z0-9]{20,}"

f.toml:9: record.redact[1].pattern: matches the empty text
    expected: a regular expression that does not match the empty text, such as "tok_[A-Za-z0-9]{20,}"

f.toml:10: record.redact[1].kind: "My Kind" is no kind
    expected: 1 to 32 lower-case letters, digits or _

f.toml:11: record.redact[2].pattern: is missing
    expected: a regular expression that does not match the empty text, such as "tok_[A-Za-z0-9]{20,}"

5 mistakes in f.toml
"#,
    );
}

#[test]
fn patterns_of_the_parser_regex() {
    check(
        r#"
[sinks.console]
[[sources.docker]]
name = "a"
parser = "regex"
[[sources.docker]]
name = "b"
pattern = "(?<a>x)"
[[sources.docker]]
name = "c"
parser = "regex"
pattern = "(x"
[[sources.docker]]
name = "d"
parser = "regex"
pattern = "x"
"#,
        &[],
        r#"
f.toml:3: sources.docker[0].pattern: is missing: parser = "regex" reads lines by it
    expected: a regular expression with named groups, such as '^(?<level>[A-Z]+) (?<message>.*)$'

f.toml:8: sources.docker[1].pattern: is without effect
    expected: parser = "regex" beside it

f.toml:12: sources.docker[2].pattern: "(x" is no regular expression: unclosed group
    expected: a regular expression with named groups, such as '^(?<level>[A-Z]+) (?<message>.*)$'

f.toml:16: sources.docker[3].pattern: "x" has no named group
    expected: a regular expression with named groups, such as '^(?<level>[A-Z]+) (?<message>.*)$'

4 mistakes in f.toml
"#,
    );
}

#[test]
fn a_word_near_one_that_is_not_available_yet_and_a_unit_that_stands_apart() {
    check(
        r#"
[[sources.file]]
include = ["/runs/{runid}/*.log"]
parser = "regexp"
[sinks.console]
when = { Level = ["VERBOSE", "WARN"] }
[teardown]
deadline = "4 min"
scheduled_events = "of"
"#,
        &[],
        r#"
f.toml:3: sources.file[0].include[0]: {runid}: the name of the column is a column that logferry fills itself
    did you mean: {RunID}
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

f.toml:4: sources.file[0].parser: "regexp" is none of the values
    did you mean: "regex"
    expected: one of "auto", "json", "python", "logfmt", "syslog", "regex", "raw"

f.toml:6: sinks.console.when.Level[1]: "WARN" never matches: it is not how records spell their level
    did you mean: "WARNING"
    expected: TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL (what a log calls otherwise is mapped to these), or a glob in capitals

f.toml:8: teardown.deadline: "4 min" has a space before its unit: number and unit stand together
    expected: a duration from 1ms to 24h, such as "200ms", "10s" or "1h30m"

f.toml:9: teardown.scheduled_events: "of" is none of the values
    did you mean: "off"
    expected: one of "auto", "off", "on"

5 mistakes in f.toml
"#,
    );
}

#[test]
fn what_imds_is_asked_for() {
    let all = "\"imds:tag/NAME\" or one of \"imds:compute/name\", \"imds:compute/vmId\", \"imds:compute/resourceId\", \
               \"imds:compute/location\", \"imds:compute/resourceGroupName\", \"imds:compute/subscriptionId\", \
               \"imds:compute/vmScaleSetName\", \"imds:compute/zone\", \"imds:compute/vmSize\", \
               \"imds:compute/azEnvironment\", \"imds:compute/priority\"";
    check(
        &format!(
            "{MINIMAL}[run]\nrun_id = \"imds:tag/\"\nvm_name = \"imds:compute/Name\"\n\
             [run.fields]\nA = \"imds:region\"\nB = \"imds:location\"\n"
        ),
        &[],
        &format!(
            r#"
f.toml:5: run.run_id: "imds:tag/" names no tag of the VM
    expected: such as "imds:tag/RunID"

f.toml:6: run.vm_name: "imds:compute/Name" is nothing that is read from IMDS
    did you mean: "imds:compute/name"
    expected: {all}

f.toml:8: run.fields.A: "imds:region" is nothing that is read from IMDS
    expected: {all}

f.toml:9: run.fields.B: "imds:location" is nothing that is read from IMDS
    did you mean: "imds:compute/location"
    expected: {all}

4 mistakes in f.toml
"#
        ),
    );
}

#[test]
fn what_is_said_of_announced_events() {
    check(
        &format!(
            "{MINIMAL}[teardown]\nevents = [\"terminate\", \"Freeze\", \"Reboots\", \"Preempt\", \"Preempt\"]\n\
             approve = \"always\"\nmargin = \"16m\"\nimds = \"http://me:secret@169.254.169.254\"\n"
        ),
        &[],
        r#"
f.toml:5: teardown.events[0]: "terminate" is no kind of event
    did you mean: "Terminate"
    expected: some of "Reboot", "Redeploy", "Preempt", "Terminate"

f.toml:5: teardown.events[1]: "Freeze" is an event that loses nothing and is never drained for
    expected: some of "Reboot", "Redeploy", "Preempt", "Terminate"

f.toml:5: teardown.events[2]: "Reboots" is no kind of event
    did you mean: "Reboot"
    expected: some of "Reboot", "Redeploy", "Preempt", "Terminate"

f.toml:5: teardown.events[4]: "Preempt" stands there twice
    expected: each once

f.toml:6: teardown.approve: "always" is none of the values
    expected: one of "when_idle", "never"

f.toml:7: teardown.margin: "16m" is too long
    expected: a duration from 0s to 15m, such as "200ms", "10s" or "1h30m"

f.toml:8: teardown.imds: the URL holds a user or a password
    expected: the URL without them

7 mistakes in f.toml
"#,
    );
    check(
        MINIMAL,
        &[("LOGFERRY__TEARDOWN__IMDS", "http://127.0.0.1:80/metadata")],
        r#"
environment variable LOGFERRY__TEARDOWN__IMDS: teardown.imds: "http://127.0.0.1:80/metadata" has a path
    expected: a URL such as "http://169.254.169.254"

1 mistake in the environment
"#,
    );
}

#[test]
fn variables_that_are_not_set_or_not_closed() {
    check(
        r#"
[run]
run_id = "${RUNID}"
[[sources.file]]
include = ["/l/*.log", "/${HOME_DIR}/x"]
[sinks.elasticsearch]
endpoints = ["http://es:9200"]
password = "hunter${2"
"#,
        &[("RUN_ID", "42")],
        r#"
f.toml:3: run.run_id: the environment variable RUNID is not set
    did you mean: RUN_ID
    expected: RUNID in the environment, or "${RUNID:-VALUE}" with a value for when it is not set

f.toml:5: sources.file[0].include[1]: the environment variable HOME_DIR is not set
    expected: HOME_DIR in the environment, or "${HOME_DIR:-VALUE}" with a value for when it is not set

f.toml:8: sinks.elasticsearch.password: "${" without a closing "}"
    expected: "${VAR}", or "$${" for the characters themselves

3 mistakes in f.toml
"#,
    );
}

#[test]
fn mistakes_of_the_environment_name_the_variable() {
    check(
        MINIMAL,
        &[
            ("LOGFERRY__BUFER__SYNC", "1s"),
            ("LOGFERRY__LOG", "debug"),
            ("LOGFERRY__SINKS__CONSOLE__IN_FLIGHT", "many"),
            ("LOGFERRY__SOURCES__FILE__1__NAME", "b"),
            ("LOGFERRY__SOURCES__FILE__5__NAME", "c"),
            ("LOGFERRY__SOURCES__DOCKER__ALL__HOST", "auto"),
        ],
        r#"
environment variable LOGFERRY__BUFER__SYNC: bufer: is no section of the configuration
    did you mean: buffer
    expected: one of run, state, buffer, sources, record, sinks, teardown, http, log, test

environment variable LOGFERRY__LOG: log: is no table
    expected: an inline table of TOML, such as { key = "value" }

environment variable LOGFERRY__SINKS__CONSOLE__IN_FLIGHT: sinks.console.in_flight: "many" is not a whole number
    expected: a whole number from 1 to 32

environment variable LOGFERRY__SOURCES__DOCKER__ALL__HOST: sources.docker: names no entry
    expected: the number of the entry, counted from 0, after LOGFERRY__SOURCES__DOCKER__

environment variable LOGFERRY__SOURCES__FILE__1__NAME: sources.file[1].include: is missing
    expected: absolute paths with globs in quotes, such as ["/home/agent/*.log", "/runs/{RunID}/*.log"]

environment variable LOGFERRY__SOURCES__FILE__5__NAME: sources.file[5]: there is no entry 2 before it
    expected: entries counted from 0, without a gap

6 mistakes in the environment
"#,
    );
}

#[test]
fn a_file_that_is_not_there_says_how_to_make_one() {
    let source = Source::Named("/nowhere/logferry.toml".into());
    let variables = Variables::default();
    let request = Request { source: &source, variables: &variables, purpose: Purpose::Pipeline, colour: false };
    assert_eq!(
        load(request).expect_err("no file").to_string(),
        "/nowhere/logferry.toml: cannot be read: No such file or directory (os error 2)\n    \
         logferry config example > FILE makes one to start from; -c or LOGFERRY_CONFIG names another\n\n\
         1 mistake in /nowhere/logferry.toml"
    );
}

#[test]
fn a_file_that_is_not_utf_8_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.toml");
    std::fs::write(&path, b"[run]\nrun_id = \"\xff\"\n").expect("written");
    let (source, variables) = (Source::Named(path), Variables::default());
    let request = Request { source: &source, variables: &variables, purpose: Purpose::Any, colour: false };
    let said = load(request).expect_err("not UTF-8").to_string();
    assert!(said.contains("f.toml:2: is not UTF-8 here"), "{said}");
}

#[test]
fn values_of_the_wrong_kind_are_named_and_never_shown() {
    check(
        r#"
log = "debug"
[[sources.docker]]
include = ["bench-*"]
[sinks.elasticsearch]
endpoints = "http://es:9200"
headers = "Authorization: hunter2"
api_key = ["hunter2"]
bearer_token = 4711
apikey = "hunter2"
[run]
run_id = 42
fields = { Seq = "1", Team = 7 }
"#,
        &[],
        r#"
f.toml:2: log: is text
    expected: a table: [log]

f.toml:4: sources.docker[0].include: is a list
    expected: a table: include = { … }

f.toml:7: sinks.elasticsearch.headers: is text
    expected: a table: headers = { … }

f.toml:8: sinks.elasticsearch.api_key: is a list
    expected: text in quotes

f.toml:9: sinks.elasticsearch.bearer_token: is a number
    expected: text in quotes

f.toml:9: sinks.elasticsearch.bearer_token: is given beside api_key
    expected: one way to authenticate only

f.toml:10: sinks.elasticsearch.apikey: is no key of this table
    did you mean: api_key
    expected: one of type, endpoints, index, compression, batch_bytes, in_flight, max_age, timeout, proxy, headers, ca_file, client_cert_file, api_key, api_key_file, username, password, password_file, bearer_token, bearer_token_file, when

f.toml:12: run.run_id: is a number
    expected: text in quotes

f.toml:13: run.fields.Seq: the name is a column that logferry fills itself
    expected: a name of your own that begins with a letter

f.toml:13: run.fields.Team: is a number
    expected: text in quotes

10 mistakes in f.toml
"#,
    );
}
