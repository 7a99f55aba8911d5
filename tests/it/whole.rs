//! Everything real at once: containers and files in; Elasticsearch, OpenSearch and the Azure contract server out.

use std::process::Command;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings};
use crate::support::engine::Engine;
use crate::support::ferry::{Ferry, append, until};
use crate::support::search::{count, documents, manifests};

/// Lines of the file that is rotated while it is written.
const FILE_LINES: usize = 5_000;
const TASK_LINES: usize = 200;

const PYTHON_TASK: &str = r#"
import logging, sys
out, err = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
out.addFilter(lambda r: r.levelno < logging.ERROR)
err.setLevel(logging.ERROR)
logging.basicConfig(level=logging.DEBUG, handlers=[out, err], format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
log = logging.getLogger("agent.core")
for n in range(200):
    log.info("step %d", n)
    if n % 50 == 49:
        log.error("step %d failed", n)
try:
    raise ValueError("no answer")
except ValueError:
    log.exception("it broke")
"#;

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// Containers of one test, removed at its end.
struct Containers(Vec<String>);

impl Containers {
    fn start(&mut self, name: &str, label: &str, task: &str, rest: &[&str]) {
        let labels = [format!("logferry-test={label}"), format!("bench.task_id={task}")];
        let mut arguments = vec!["run", "-d", "--network", "none", "--name", name, "-l", &labels[0], "-l", &labels[1]];
        arguments.extend_from_slice(rest);
        self.0.push(docker(&arguments));
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for id in &self.0 {
            // One that is gone already is fine.
            let _ = Command::new("docker").args(["rm", "-f", id]).output();
        }
    }
}

/// Name and value of columns, as a query of exact values.
fn exactly(columns: &[(&str, &str)]) -> Value {
    let terms: Vec<Value> = columns.iter().map(|(name, value)| json!({ "term": { *name: value } })).collect();
    json!({ "bool": { "filter": terms } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_arrives_whole_in_every_sink() {
    let engines = Engine::both().await;
    let server = AzureServer::start(AzureSettings::default());
    let run = format!("run-{}", std::process::id());
    let label = format!("whole-{}", std::process::id());
    let mut names = Vec::new();
    let mut config = format!(
        "[run]\nrun_id = \"{run}\"\nbenchmark = \"demo\"\nvm_name = \"vm-7\"\n\
         [[sources.file]]\nname = \"agent\"\ninclude = [\"{{dir}}/runs/{{TaskID}}/*.log*\"]\n\
         [[sources.docker]]\nname = \"containers\"\ncolumns = {{ TaskID = \"label:bench.task_id\" }}\n\
         include = {{ labels = [\"logferry-test={label}\"] }}\n",
    );
    config.push_str(&azure_sink(&server));
    for engine in &engines {
        let name = engine.data_stream("whole").await;
        config.push_str(&format!(
            "[sinks.{}]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"{name}\"\n",
            engine.name, engine.url
        ));
        names.push(name);
    }
    let mut ferry = Ferry::new(&config);
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    std::fs::create_dir_all(ferry.path("runs/task-3")).expect("a folder");
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;

    let mut containers = Containers(Vec::new());
    let name = |task: &str| format!("{label}-{task}");
    containers.start(&name("py"), &label, "task-1", &["logferry-test/python:1", "python3", "-c", PYTHON_TASK]);
    let script = format!(
        "i=0; while [ $i -lt {TASK_LINES} ]; do echo \"{{\\\"level\\\":\\\"info\\\",\\\"logger\\\":\\\"tool\\\",\\\"message\\\":\\\"call $i\\\",\\\"tokens\\\":$i}}\"; i=$((i+1)); done"
    );
    containers.start(&name("json"), &label, "task-2", &["logferry-test/busybox:1", "sh", "-c", &script]);
    // Not selected: must not arrive.
    containers.start(&name("other"), "another", "task-9", &["logferry-test/busybox:1", "echo", "unwanted"]);
    let log = ferry.path("runs/task-3/agent.log");
    let writer = std::thread::spawn(move || {
        for chunk in 0..FILE_LINES / 50 {
            let line = |n| format!("2026-11-20 23:00:33,123 - planner - DEBUG - think {}", chunk * 50 + n);
            append(&log, (0..50).map(line));
            if chunk == 30 || chunk == 60 {
                std::fs::rename(&log, log.with_extension(format!("log.{chunk}"))).expect("rotation");
            }
        }
    });
    append(&ferry.path("runs/task-3/notes.log"), (0..20).map(|n| format!("note {n}")));
    writer.join().expect("the writer");
    for id in &containers.0 {
        docker(&["wait", id]);
    }
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let python_lines = TASK_LINES + TASK_LINES / 50 + 1;
    // Each container's exit is a record too.
    let expected =
        [("task-1", python_lines + 1), ("task-2", TASK_LINES + 1), ("task-3", FILE_LINES + 20), ("task-9", 0)];
    let total = python_lines + TASK_LINES + FILE_LINES + 20 + 2;
    for (engine, index) in engines.iter().zip(&names) {
        for (task, lines) in expected {
            let found = count(engine, index, exactly(&[("RunID", &run), ("TaskID", task)])).await;
            assert_eq!(found, lines as u64, "{} {task}: {}", engine.name, ended.stderr);
        }
        let all = documents(engine, index, exactly(&[("RunID", &run)])).await;
        assert_eq!(all.len(), total);
        check_columns(&all, &run);
        check_text_search(engine, index, &run).await;
        let origins = manifests(engine, index, &run, "logferry.manifest.origin").await;
        check_manifest(&origins, &manifests(engine, index, &run, "logferry.manifest").await, &all, engine.name);
        engine.forget(index).await;
    }
    let azure: Vec<Value> = server.records().into_iter().map(Value::Object).collect();
    assert_eq!(azure.len(), total);
    check_columns(&azure, &run);
    server.read(|ledger| {
        assert!(ledger.columns_dropped.is_empty(), "{:?}", ledger.columns_dropped);
        assert_eq!((ledger.duplicates, ledger.values_truncated, ledger.times_replaced), (0, 0, 0));
    });
}

/// What every sink must say of the same run.
fn check_columns(all: &[Value], run: &str) {
    assert!(all.iter().all(|d| d["RunID"] == run && d["VMName"] == "vm-7" && d["Benchmark"] == "demo"));
    let (exits, all): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|d| d["EventType"] == "container.exited");
    assert!(exits.len() == 2 && exits.iter().all(|d| d["Fields"]["exit_code"] == 0 && d["Stream"].is_null()));
    let of = |task: &str| -> Vec<&Value> { all.iter().copied().filter(|d| d["TaskID"] == task).collect() };

    let python = of("task-1");
    let errors: Vec<&&Value> = python.iter().filter(|d| d["Level"] == "ERROR").collect();
    assert_eq!(errors.len(), TASK_LINES / 50 + 1);
    assert!(errors.iter().all(|d| d["Stream"] == "stderr" && d["LoggerName"] == "agent.core"));
    let infos: Vec<&&Value> = python.iter().filter(|d| d["Level"] == "INFO").collect();
    assert_eq!(infos.len(), TASK_LINES);
    assert!(infos.iter().all(|d| d["Stream"] == "stdout" && d["Source"] == "containers"));
    let broken: Vec<&&Value> = python.iter().filter(|d| d["Message"] == "it broke").collect();
    assert_eq!(broken.len(), 1, "a traceback is one record");
    let exception = &broken[0]["Exception"];
    assert_eq!((&exception["Type"], &exception["Message"]), (&json!("ValueError"), &json!("no answer")));
    assert!(exception["Stack"].as_str().is_some_and(|s| s.starts_with("Traceback") && s.contains("in <module>")));

    let json_lines = of("task-2");
    assert!(
        json_lines.iter().all(|d| d["LoggerName"] == "tool" && d["Container"].is_string() && d["Image"].is_string())
    );
    let tokens: u64 = json_lines.iter().map(|d| d["Fields"]["tokens"].as_u64().expect("a number")).sum();
    assert_eq!(tokens, (0..TASK_LINES as u64).sum::<u64>());

    let files = of("task-3");
    let mut thoughts: Vec<&str> = files.iter().filter_map(|d| d["Message"].as_str()?.strip_prefix("think ")).collect();
    thoughts.sort_unstable_by_key(|n| n.parse::<usize>().expect("a number"));
    assert!(thoughts.iter().enumerate().all(|(n, text)| *text == n.to_string()), "each line once");
    assert_eq!(thoughts.len(), FILE_LINES);
    assert!(files.iter().all(|d| d["FilePath"].as_str().is_some_and(|path| path.contains("/runs/task-3/"))));

    // Seq has no gap within an origin.
    let mut by_origin: std::collections::BTreeMap<&str, Vec<u64>> = std::collections::BTreeMap::new();
    for document in all {
        let origin = document["Origin"].as_str().expect("an origin");
        by_origin.entry(origin).or_default().push(document["Seq"].as_u64().expect("a number"));
    }
    for (origin, mut seqs) in by_origin {
        seqs.sort_unstable();
        assert!(seqs.iter().enumerate().all(|(n, seq)| *seq == n as u64 + 1), "{origin}: {seqs:?}");
    }
}

/// What the manifest says of every origin is what the sink holds.
fn check_manifest(origins: &[Value], summaries: &[Value], all: &[Value], sink: &str) {
    let mut newest: std::collections::BTreeMap<&str, &Value> = std::collections::BTreeMap::new();
    for record in origins {
        let fields = &record["Fields"];
        let known = newest.entry(fields["origin"].as_str().expect("an origin")).or_insert(fields);
        if known["incarnation"].as_u64() < fields["incarnation"].as_u64() {
            *known = fields;
        }
    }
    let mut held: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for document in all {
        *held.entry(document["Origin"].as_str().expect("an origin")).or_default() += 1;
    }
    let said: std::collections::BTreeMap<&str, u64> = newest
        .iter()
        .map(|(origin, fields)| (*origin, fields["sinks"][sink]["routed"].as_u64().expect("a number")))
        .filter(|(_, routed)| *routed > 0)
        .collect();
    assert_eq!(said, held, "{sink}");
    assert!(newest.values().all(|fields| fields["complete"] == true), "{newest:?}");
    let summary = &summaries.last().expect("a summary")["Fields"];
    assert_eq!((&summary["complete"], &summary["origins"]), (&json!(true), &json!(newest.len())), "{summary}");
    assert_eq!(summary["records"].as_u64(), Some(all.len() as u64));
    let read = summary["lines"].as_u64().expect("lines");
    let told = |name: &str| summary[name].as_u64().expect("a number");
    assert_eq!(read, told("recorded_lines") + told("filtered_lines") + told("sampled_lines"));
}

/// A word of a message finds its records.
async fn check_text_search(engine: &Engine, index: &str, run: &str) {
    let query = json!({ "bool": { "filter": [
        { "term": { "RunID": run } }, { "match_phrase": { "Message": "it broke" } } ] } });
    assert_eq!(count(engine, index, query).await, 1, "{}", engine.name);
}
