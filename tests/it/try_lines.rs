//! `logferry try`: what becomes of lines and why, with the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::ferry::{Ferry, PATIENCE, until};

/// Lines of several formats, each with a time of its own.
const LINES: &str = "\
2026-11-20 23:00:33,123 - agent - WARNING - retry 3 with password=hunter2-xy
{\"timestamp\":\"2026-11-20T23:00:34Z\",\"level\":\"debug\",\"msg\":\"j\",\"n\":1}
2026-11-20T23:00:35.000000001Z stderr F I1120 23:00:35.000000 7 a.go:1] klog inside
2026-11-20 23:00:36,000 - agent - ERROR - it broke
Traceback (most recent call last):
  File \"a.py\", line 1, in <module>
ValueError: x
2026-11-20T23:00:37Z nothing that is known
";

const SINKS: &str = "[sinks.errors]\ntype = \"file\"\npath = \"{dir}/errors.ndjson\"\nwhen = { Level = [\"ERROR\"] }\n\
                     [sinks.file]\npath = \"{dir}/all.ndjson\"\nwhen = { Level = [\"INFO\", \"WARNING\", \"ERROR\"] }\n";

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logferry"));
    command.arg("try").args(arguments).env_remove("RUN_ID").env_remove("TASK_ID").env_remove("LOGFERRY_CONFIG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("logferry starts")
}

/// Exit code, standard output and standard error.
fn try_text(arguments: &[&str], text: &[u8]) -> (Option<i32>, String, String) {
    let mut child = start(arguments);
    let mut input = child.stdin.take().expect("a pipe");
    let text = text.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output().expect("logferry ends");
    // What refuses its arguments reads nothing.
    let _ = writer.join().expect("thread");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn config(ferry: &Ferry) -> String {
    ferry.path("logferry.toml").display().to_string()
}

#[test]
fn without_a_configuration_the_defaults_show_what_matched_and_what_was_redacted() {
    let (code, out, said) = try_text(&[], LINES.as_bytes());
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "line 1  python (asctime - name - level - message)\n    @timestamp   2026-11-20T23:00:33.123Z\n",
        "    Level        WARNING\n    Message      retry 3 with password=[REDACTED:password]\n    redacted     password 1\n",
        "line 2  json (an object)\n",
        "    Fields.n     1\n",
        "line 3  cri (a line of containerd or CRI-O) + klog (Lmmdd time thread file:line] message)\n",
        "lines 4 to 7  python (asctime - name - level - message) + traceback (an exception with its stack)\n",
        "    Exception.Type ValueError\n",
        "line 8  no format fits: the line is its own message\n",
        "    goes to      console\n",
        "    Source       stdin\n",
    ] {
        assert!(out.contains(part), "{part}\n--- in ---\n{out}");
    }
    assert!(!out.contains("hunter2") && !out.contains('\x1b'), "{out}");
    let summary = "8 lines, 5 records\nlines by format: cri + klog 1, json 1, plain 1, python 1, python + traceback 4\n\
                   kept whole: 1 (plain: no format fits: the line is its own message)\nredacted: password 1\n";
    assert!(said.ends_with(summary), "{said}");
}

/// A record without what tells two origins apart.
fn without_ids(line: &str) -> String {
    let mut record: serde_json::Map<String, Value> = serde_json::from_str(line).expect("JSON");
    for name in ["EventID", "Origin"] {
        let id = record.get(name).and_then(Value::as_str).map(str::to_owned).expect(name);
        assert_eq!(id.len(), 26, "{line}");
        record.insert(name.to_owned(), "id".into());
    }
    // Of the order of members too, as the text is compared.
    record.shift_remove("FilePath");
    serde_json::to_string(&record).expect("JSON")
}

#[test]
fn ndjson_is_what_ship_writes_into_a_file_but_for_the_ids() {
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{{dir}}/in/*.log\"]\n{SINKS}[run.fields]\nTeam = \"evals\"\n"
    ));
    std::fs::create_dir(ferry.path("in")).expect("a folder");
    std::fs::write(ferry.path("in/a.log"), LINES).expect("written");
    let (code, out, said) = try_text(&["-c", &config(&ferry), "--format", "ndjson"], LINES.as_bytes());
    assert_eq!(code, Some(0), "{said}");
    assert!(!ferry.path("state").exists() && !ferry.path("all.ndjson").exists(), "nothing is kept, nothing is sent");
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let shipped = std::fs::read_to_string(ferry.path("all.ndjson")).expect("records");
    let shipped: Vec<String> =
        shipped.lines().filter(|line| !line.contains("\"logferry.manifest")).map(without_ids).collect();
    let tried: Vec<String> = out.lines().map(without_ids).collect();
    // The second is DEBUG, which no sink takes.
    assert_eq!(tried.len(), 4, "{out}");
    assert_eq!(tried, shipped);
    assert!(tried[0].contains("\"Source\":\"agent\"") && tried[0].contains("\"Team\":\"evals\""), "{}", tried[0]);
    let again = try_text(&["-c", &config(&ferry), "--format", "ndjson"], LINES.as_bytes()).1;
    assert_eq!(again, out, "the same lines give the same bytes");
}

#[test]
fn the_source_decides_how_lines_are_read_and_the_rules_where_they_go() {
    let ferry = Ferry::new(&format!(
        "[[sources.file]]\nname = \"first\"\ninclude = [\"{{dir}}/1/*\"]\n\
         [[sources.docker]]\nname = \"second\"\nparser = \"raw\"\n{SINKS}"
    ));
    let check = |source: &[&str], text: &str, parts: &[&str], hint: &str| {
        let config = config(&ferry);
        let (code, out, said) = try_text(&[&["-c", config.as_str()], source].concat(), text.as_bytes());
        assert_eq!(code, Some(0), "{said}");
        for part in parts {
            assert!(out.contains(part), "{part}\n--- in ---\n{out}");
        }
        assert!(said.contains(hint), "{said}");
    };
    let error = "2026-11-20 23:00:33,123 - agent - ERROR - x\n";
    let debug = "2026-11-20 23:00:33,123 - agent - DEBUG - x\n";
    check(
        &[],
        error,
        &["goes to      errors, file\n", "Source       first\n"],
        "as those of the source first; --source",
    );
    check(
        &["--source", "first"],
        debug,
        &["goes to      no sink: the `when` of none matches\n"],
        "1 record for no sink\n",
    );
    check(
        &["--source", "second"],
        error,
        &["line 1  raw (nothing is read out of a line)\n", "Source       second\n", "goes to      file\n"],
        "1 line, 1 record\n",
    );
    let (code, _, said) = try_text(&["-c", &config(&ferry), "--source", "secnd"], b"");
    assert_eq!(code, Some(2));
    assert!(said.contains("has no source secnd; there is first, second"), "{said}");
}

#[test]
fn a_path_gives_its_columns_and_chooses_the_source() {
    let ferry = Ferry::new(
        "[[sources.file]]\nname = \"first\"\ninclude = [\"/1/*\"]\n[[sources.file]]\nname = \"runs\"\n\
         include = [\"/runs/{RunID}/{TaskID}/*.log\"]\nexclude = [\"/runs/*/*/no.log\"]\n[sinks.console]\n",
    );
    let config = config(&ferry);
    let (code, out, said) = try_text(&["-c", &config, "--path", "/runs/42/t7/a.log"], b"x\n");
    assert_eq!(code, Some(0), "{said}");
    for part in ["    RunID        42\n", "    TaskID       t7\n", "    Source       runs\n", "/runs/42/t7/a.log\n"] {
        assert!(out.contains(part), "{part}\n--- in ---\n{out}");
    }
    let (code, out, said) = try_text(&["-c", &config, "--path", "/runs/42/t7/no.log"], b"x\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the source first does not read /runs/42/t7/no.log"), "{said}");
    assert!(!out.contains("RunID"), "{out}");
}

#[test]
fn no_secret_no_certificate_and_no_network_is_needed() {
    let ferry = Ferry::new(
        "[[sources.file]]\ninclude = [\"/nowhere/*.log\"]\n\
         [sinks.elasticsearch]\nendpoints = [\"https://search.example.invalid\"]\napi_key_file = \"/no/such/key\"\n\
         ca_file = \"/no/such/ca.pem\"\nproxy = \"http://${NO_SUCH_VARIABLE}@proxy:1\"\nheaders = { A = \"${NO_SUCH_VARIABLE}\" }\n\
         [sinks.two]\ntype = \"elasticsearch\"\nendpoints = [\"https://x.invalid\"]\nusername = \"u\"\npassword = \"${NO_SUCH_VARIABLE}\"\n\
         [sinks.azure_monitor]\nendpoint = \"https://x.ingest.monitor.azure.com\"\n\
         dcr_id = \"dcr-00000000000000000000000000000000\"\nstream = \"Custom-X_CL\"\n\
         credential = { kind = \"client_secret\", tenant_id = \"t\", client_id = \"c\", client_secret_file = \"/no/such\" }\n\
         [run]\nrun_id = \"imds:tag/RunID\"\n",
    );
    let (code, out, said) = try_text(&["-c", &config(&ferry)], b"a line\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("goes to      elasticsearch, two, azure_monitor\n"), "{out}");
    assert!(said.contains("Azure's metadata service is not asked: RunID"), "{said}");
    assert!(!ferry.path("state").exists());
}

#[test]
fn a_mistake_of_the_configuration_is_said_and_nothing_is_read() {
    let ferry = Ferry::new("[[sources.file]]\ninclud = [\"/x\"]\n[sinks.console]\n");
    let (code, out, said) = try_text(&["-c", &config(&ferry)], b"a line\n");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(said.contains("did you mean: include"), "{said}");
}

#[test]
fn a_pipe_shows_what_is_complete_at_once_and_a_signal_ends_it_with_the_figures() {
    let mut child = start(&[]);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let until = |output: &mut BufReader<_>, part: &str| {
        let started = Instant::now();
        let mut seen = String::new();
        while !seen.contains(part) {
            assert!(output.read_line(&mut seen).expect("output") > 0, "{seen}");
            assert!(started.elapsed() < PATIENCE, "{seen}");
        }
    };
    input.write_all(b"one\ntwo\n").expect("write");
    until(&mut output, "Message      one\n");
    // Of the second nobody knows that it is complete, until it is quiet.
    until(&mut output, "Message      two\n");
    input.write_all(b"unfinished").expect("write");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &id]).status().expect("kill").success());
    until(&mut output, "Message      unfinished\n");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("3 lines, 3 records\n"), "{said}");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    drop(input);
}

#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let mut child = start(&["--format", "ndjson"]);
    let mut input = child.stdin.take().expect("a pipe");
    drop(child.stdout.take());
    // Until it notices, it reads on.
    while input.write_all(b"a line\n").is_ok() {}
    let output = child.wait_with_output().expect("logferry ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn what_is_no_text_is_said() {
    let (code, _, said) = try_text(&[], b"\xff\xfea\0\n\0");
    assert_eq!(code, Some(1));
    assert!(said.contains("UTF-16: convert"), "{said}");
    let (code, _, said) = try_text(&[], b"\x28\xb5\x2f\xfd\0");
    assert_eq!(code, Some(1));
    assert!(said.contains("standard input cannot be read: it is compressed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_counts_lines_by_what_they_were_taken_for() {
    let mut ferry = Ferry::new(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n[sinks.file]\npath = \"{dir}/out.ndjson\"\n",
    );
    std::fs::write(ferry.path("a.log"), LINES).expect("written");
    let running = ferry.run();
    let formats = until("all lines", async || {
        let ended = ferry.call(&["status", "--json"]);
        let status: Value = serde_json::from_str(&ended.stdout).ok()?;
        let agent = &status["sources"]["agent"];
        (agent["lines"] == 8).then(|| agent["formats"].clone())
    })
    .await;
    assert_eq!(formats, serde_json::json!({"json": 1, "klog": 1, "plain": 1, "python": 5}));
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn what_a_rule_leaves_out_is_shown_with_the_rule() {
    let ferry = Ferry::new(
        "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/in/*.log\"]\n[sinks.file]\npath = \"{dir}/all.ndjson\"\n\
         [[record.drop]]\nwhen = { LoggerName = \"nothing\" }\n[[record.drop]]\nwhen = { LoggerName = \"urllib3*\" }\n\
         [[record.sample]]\nwhen = { Level = [\"DEBUG\"] }\nkeep = 0.0\n",
    );
    let lines = "2026-11-20 23:00:33,123 - urllib3.pool - INFO - a\n2026-11-20 23:00:33,124 - app - DEBUG - b\n\
                 2026-11-20 23:00:33,125 - app - ERROR - c\n";
    let (code, out, said) = try_text(&["-c", &config(&ferry)], lines.as_bytes());
    assert_eq!(code, Some(0), "{said}");
    for part in ["dropped by record.drop[1]", "left out by record.sample[0]", "    Message      c\n"] {
        assert!(out.contains(part), "{part}\n--- in ---\n{out}");
    }
    assert!(said.contains("3 lines, 1 record\n"), "{said}");
    assert!(said.contains("no record: 1 (dropped by record.drop[1])"), "{said}");
    let (code, out, said) = try_text(&["-c", &config(&ferry), "--format", "ndjson"], lines.as_bytes());
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{out}{said}");
}
