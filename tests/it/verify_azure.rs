//! `logferry verify` against Log Analytics: what the real binary shipped into the imitation of Azure, read back through its
//! query API, and everything that the API may answer instead of a whole result.

use std::time::Duration;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault, QueryFault, Record};
use crate::support::ferry::{Ended, Ferry, append};

const SINK: &str = "azure_monitor";
const RUN: &str = "42";

/// The table of a sink that can be read back.
fn readable(server: &AzureServer) -> String {
    let settings = &server.settings;
    let keys = format!("workspace_id = \"{}\"\nquery_endpoint = \"{}\"\n", settings.workspace_id, server.endpoint);
    azure_sink(server) + &keys
}

/// Ships `runs/RUN/TASK/*.log` of one VM to the server.
fn ferry(server: &AzureServer, vm: &str) -> Ferry {
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"{vm}\"\n[[sources.file]]\ninclude = [\"{{dir}}/runs/{{RunID}}/{{TaskID}}/*.log\"]\n{}",
        readable(server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    ferry
}

fn write(ferry: &Ferry, run: &str, task: &str, lines: u64) {
    let folder = ferry.path(&format!("runs/{run}/{task}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    append(&folder.join("a.log"), (1..=lines).map(|n| format!("line {n}")));
}

fn ship(ferry: &mut Ferry) {
    let shipped = ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
}

fn verify(ferry: &mut Ferry, run: &str) -> Ended {
    ferry.call(&["verify", "--run-id", run])
}

/// A server that has 100 lines of task t1 and 200 of t2, and the ferry that shipped them.
fn shipped() -> (AzureServer, Ferry) {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = ferry(&server, "vm-7");
    write(&ferry, RUN, "t1", 100);
    write(&ferry, RUN, "t2", 200);
    ship(&mut ferry);
    (server, ferry)
}

fn origin_of(server: &AzureServer, task: &str) -> String {
    let records = server.records();
    let record = records.iter().find(|record| record["TaskID"] == task).expect("a record");
    record["Origin"].as_str().expect("an origin").to_owned()
}

fn delete(server: &AzureServer, task: &str, seqs: &[u64]) {
    let is_one = |record: &Record| {
        record.get("TaskID").is_some_and(|value| value == task)
            && record["Seq"].as_u64().is_some_and(|seq| seqs.contains(&seq))
            && record["Source"] != "logferry"
    };
    assert_eq!(server.delete(is_one), seqs.len());
}

#[test]
fn a_good_run_is_equal_and_what_is_deleted_is_named() {
    let (server, mut ferry) = shipped();
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    let vm = "  vm-7: equal: 300 records for 300 of 2 origins\n";
    assert_eq!(good.stdout, format!("equal: run {RUN} in {SINK}\n{vm}"));
    // A second manifest of the same folder takes the place of the first.
    write(&ferry, RUN, "t1", 50);
    ship(&mut ferry);
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("350 records for 350 of 2 origins"), "{}", good.stdout);

    let origin = origin_of(&server, "t2");
    delete(&server, "t2", &[17, 40, 41, 200]);
    let short = verify(&mut ferry, RUN);
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    let path = ferry.path(&format!("runs/{RUN}/t2/a.log"));
    let lines: Vec<&str> = short.stdout.lines().collect();
    let line = format!("short: vm-7, {}, t2, {origin}: 4 of 200 missing: Seq 17, 40-41, 200", path.display());
    assert_eq!(lines[2], line, "{}", short.stdout);
    assert!(lines[3].contains("--wait 15m"), "{}", short.stdout);
    assert_eq!(lines.len(), 4, "{}", short.stdout);

    let json = ferry.call(&["verify", "--json", "--sink", SINK, "--run-id", RUN]);
    assert_eq!(json.code, Some(3), "{}", json.stderr);
    let verdict: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&verdict["equal"], &verdict["sink"]), (&false.into(), &SINK.into()));
    assert_eq!(verdict["findings"][0]["holes"]["spans"], json!([[17, 17], [40, 41], [200, 200]]));
    assert_eq!(verdict["findings"][0]["reasons"], json!(["missing"]));
    // Everything of one origin.
    delete(&server, "t1", &(1..=150).collect::<Vec<_>>());
    let short = verify(&mut ferry, RUN);
    assert!(short.stdout.contains("150 of 150 missing: Seq 1-150"), "{}", short.stdout);
    let refused = server.read(|ledger| ledger.query_answers.keys().copied().collect::<Vec<_>>());
    assert_eq!(refused, [200], "every query was understood");
}

#[test]
fn what_was_delivered_twice_is_said_and_makes_nothing_short() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = ferry(&server, "vm-7");
    write(&ferry, RUN, "t1", 100);
    server.faults(Fault::DropAfterStore, 2);
    ship(&mut ferry);
    let doubles = server.records().len() - 100;
    assert!(doubles >= 100, "{doubles} were stored again");
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("vm-7: equal: 100 records for 100 of 1 origin"), "{}", good.stdout);
    assert!(good.stdout.contains(&format!("note: {doubles} documents are there twice")), "{}", good.stdout);
    // A double hides nothing that is missing: all copies of one record go, of another one copy only.
    let copies =
        server.read(|l| l.records.iter().filter(|record| record["Seq"] == 9 && record["Source"] != "logferry").count());
    assert_eq!(server.delete(|record| record["Seq"] == 9 && record["Source"] != "logferry"), copies);
    let short = verify(&mut ferry, RUN);
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    assert!(short.stdout.contains("1 of 100 missing: Seq 9"), "{}", short.stdout);
}

#[test]
fn two_records_of_one_seq_are_a_fault_and_no_repeat() {
    let (server, mut ferry) = shipped();
    let mut other = server.records().into_iter().find(|record| record["TaskID"] == "t1").expect("a record");
    other.insert("EventID".to_owned(), json!("another"));
    server.store(vec![other.clone()]);
    let short = verify(&mut ferry, RUN);
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    let line = format!("there more than once: Seq {}", other["Seq"]);
    assert!(short.stdout.contains(&line), "{}", short.stdout);
}

#[test]
fn a_vm_without_a_manifest_is_named() {
    let (server, mut first) = shipped();
    let mut second = ferry(&server, "vm-8");
    write(&second, RUN, "t3", 30);
    ship(&mut second);
    let good = verify(&mut first, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("vm-8: equal: 30 records for 30 of 1 origin"), "{}", good.stdout);
    let origin = origin_of(&server, "t3");
    let of_second = |record: &Record| record["Source"] == "logferry" && record["VMName"] == "vm-8";
    assert_eq!(server.delete(of_second), 2, "an origin's and the summary");
    delete(&server, "t3", &[4]);
    let short = verify(&mut first, RUN);
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    let path = second.path(&format!("runs/{RUN}/t3/a.log"));
    let expected = [
        format!("short: run {RUN} in {SINK}"),
        "  vm-7: equal: 300 records for 300 of 2 origins".to_owned(),
        "  vm-8: short: no manifest, 29 records of 1 origin".to_owned(),
        format!(
            "short: vm-8, {}, t3, {origin}: the VM has no manifest: 29 records, Seq 1 to 30; not there: Seq 4",
            path.display()
        ),
    ];
    assert_eq!(short.stdout.lines().take(4).collect::<Vec<_>>(), expected);
    // A run that nobody knows.
    let nobody = verify(&mut first, "43");
    assert_eq!(nobody.code, Some(3), "{}", nobody.stderr);
    assert!(nobody.stdout.contains("the sink holds no manifest of this run"), "{}", nobody.stdout);
}

#[test]
fn a_run_id_is_compared_and_never_read_as_a_query() {
    let server = AzureServer::start(AzureSettings::default());
    let run = "4\"2\\ \n' | take 0 //";
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"${{RUN}}\"\n[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}",
        readable(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    ferry.set("RUN", run);
    append(&ferry.path("a.log"), ["one".to_owned(), "two".to_owned()]);
    ship(&mut ferry);
    let good = verify(&mut ferry, run);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("2 records for 2 of 1 origin"), "{}", good.stdout);
    for other in ["4", "\" or isempty(RunID) //", "\\", "4\"2\\ ", "x\" or RunID != \"", "\u{2028}\u{7}"] {
        let short = verify(&mut ferry, other);
        assert_eq!(short.code, Some(3), "{other:?}: {}", short.stderr);
        assert!(short.stdout.contains("no manifest of this run"), "{other:?}: {}", short.stdout);
    }
}

#[test]
fn what_has_no_run_id_is_verified_by_an_empty_one() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = Ferry::new(&format!("[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}", readable(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    append(&ferry.path("a.log"), ["one".to_owned(), "two".to_owned()]);
    ship(&mut ferry);
    let good = verify(&mut ferry, "");
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.starts_with("equal: no RunID in azure_monitor"), "{}", good.stdout);
}

#[test]
fn a_result_that_is_not_whole_is_a_failure_and_never_short() {
    let (server, mut ferry) = shipped();
    let mut check = |fault: QueryFault, said: &str| {
        server.set_query_fault(Some(fault));
        let ended = verify(&mut ferry, RUN);
        assert_eq!(ended.code, Some(1), "{fault:?}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.is_empty() && ended.stderr.contains(said), "{fault:?}: {}", ended.stderr);
    };
    use QueryFault::{Cut, Drop, Empty, Html, Partial, Status};
    check(
        Partial,
        "127.0.0.1 gave only a part of the result: PartialError: There were some errors when processing your",
    );
    check(Cut, "the answer cannot be read");
    check(Empty, "127.0.0.1 answered 200 without a result");
    check(Html(200), "the answer cannot be read");
    check(Html(502), "127.0.0.1 answered 502: <!DOCTYPE html>");
    check(Drop, "127.0.0.1: ");
    check(Status(500, None), "answered 500: InternalServerError: Scripted answer 500.");
    check(Status(504, None), "the query took longer than 300 s");
    check(Status(401, None), "it must be for https://api.loganalytics.io");
    check(Status(404, None), "`workspace_id` is the GUID");
    check(Status(429, Some(Duration::from_secs(121))), "answered 429: ThrottledError: Scripted answer 429.; others");
    server.set_query_fault(None);
    // A failure that passes is asked again.
    server.query_fault(Partial);
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
}

#[test]
fn a_throttled_query_waits_and_a_refused_token_is_replaced() {
    let (server, mut ferry) = shipped();
    server.query_fault(QueryFault::Status(429, Some(Duration::from_secs(1))));
    server.query_fault(QueryFault::Status(401, None));
    let before = server.read(|l| l.token_requests());
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert_eq!(server.read(|l| l.token_requests()) - before, 2);
    assert!(!good.stderr.contains("token-"), "{}", good.stderr);
    // A workspace without any data at all.
    for _ in 0..3 {
        server.query_fault(QueryFault::NoData);
    }
    let short = verify(&mut ferry, RUN);
    assert_eq!(short.code, Some(3), "{}{}", short.stdout, short.stderr);
}

#[test]
fn rights_and_names_that_are_wrong_say_what_to_do() {
    let (server, mut ferry) = shipped();
    let failed = |ferry: &mut Ferry, code: i32, said: &[&str]| {
        let ended = ferry.call(&["verify", "--run-id", RUN, "--wait", "10s"]);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        for said in said {
            assert!(ended.stderr.contains(said), "{said} is not in {}", ended.stderr);
        }
    };
    server.set_may_query(false);
    failed(&mut ferry, 1, &["answered 403: InsufficientAccessError", "Log Analytics Reader", "aaaaaaaa-bbbb-4ccc"]);
    server.set_may_query(true);
    server.set_has_table(false);
    failed(&mut ferry, 1, &["Failed to resolve table", "must have a table BenchmarkRuns_CL", "`table` names"]);
    server.set_has_table(true);
    let head = "[[sources.docker]]\n";
    ferry.configure(&(head.to_owned() + &readable(&server) + "table = \"Other_CL\"\n"));
    failed(&mut ferry, 1, &["named 'Other_CL'"]);
    let other = readable(&server).replace("aaaaaaaa-", "bbbbbbbb-");
    ferry.configure(&(head.to_owned() + &other));
    failed(&mut ferry, 1, &["answered 404: WorkspaceNotFoundError", "no workspace bbbbbbbb-bbbb-4ccc"]);
    ferry.configure(&(head.to_owned() + &readable(&server).replace("BenchmarkRuns_CL", "Benchmark-Runs")));
    failed(&mut ferry, 2, &["sinks.azure_monitor.table: is missing"]);
    ferry.configure(&(head.to_owned() + &azure_sink(&server)));
    failed(&mut ferry, 2, &["sinks.azure_monitor.workspace_id is missing"]);

    let wrong = AzureSettings { token_audience: Some("https://monitor.azure.com".into()), ..AzureSettings::default() };
    let server = AzureServer::start(wrong);
    ferry.configure(&(head.to_owned() + &readable(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    failed(&mut ferry, 1, &["InvalidAuthenticationTokenAudience", "it must be for https://api.loganalytics.io"]);
}

#[test]
fn of_several_sinks_one_is_chosen_by_name() {
    let (server, mut ferry) = shipped();
    let elasticsearch =
        "[[sources.docker]]\n[sinks.elasticsearch]\nendpoints = [\"http://127.0.0.1:9\"]\ntimeout = \"2s\"\n";
    let mut check = |sinks: &str, rest: &[&str], code: i32, said: &str| {
        ferry.configure(&(elasticsearch.to_owned() + sinks));
        let mut arguments = vec!["verify", "--run-id", RUN];
        arguments.extend_from_slice(rest);
        let ended = ferry.call(&arguments);
        assert_eq!(ended.code, Some(code), "{rest:?}: {}{}", ended.stdout, ended.stderr);
        assert!((ended.stdout.clone() + &ended.stderr).contains(said), "{}{}", ended.stdout, ended.stderr);
    };
    let (with, without) = (readable(&server), azure_sink(&server));
    check(&with, &[], 2, "choose one with --sink: elasticsearch, azure_monitor");
    check(&with, &["--sink", SINK], 0, "equal: run 42 in azure_monitor");
    check(&with, &["--sink", "elasticsearch"], 1, "127.0.0.1:9");
    check(&without, &["--sink", SINK], 2, "sinks.azure_monitor.workspace_id is missing");
    // Without the id of the workspace only one can be read.
    check(&without, &[], 1, "127.0.0.1:9");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_covers_the_time_until_records_show() {
    let (server, mut ferry) = shipped();
    server.set_visible(Some(0));
    let waiting = std::thread::spawn(move || ferry.call(&["verify", "--run-id", RUN, "--wait", "10m"]));
    let limit = Duration::from_secs(60);
    server.until("two readings", limit, |l| l.queries.len() >= 8).await;
    server.query_fault(QueryFault::Status(500, None));
    server.until("a failure", limit, |l| l.query_answers.contains_key(&500)).await;
    server.set_visible(Some(200));
    let queries = server.read(|l| l.queries.len());
    server.until("another reading", limit, |l| l.queries.len() > queries + 2).await;
    server.set_visible(None);
    let waited = tokio::task::spawn_blocking(|| waiting.join().expect("no panic")).await.expect("it ended");
    assert_eq!(waited.code, Some(0), "{}{}", waited.stdout, waited.stderr);
    assert!(waited.stdout.contains("300 records for 300 of 2 origins"), "{}", waited.stdout);
}

/// A record of a run, as the ingestion would have stored it.
fn stored(run: &str, source: &str, origin: &str, seq: u64, rest: Value) -> Record {
    let mut record = json!({"RunID": run, "VMName": "vm-1", "Source": source, "Origin": origin, "Seq": seq,
        "EventID": format!("{origin}-{seq}"), "TaskID": "t1", "FilePath": format!("/{origin}.log")});
    record.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    record.as_object().expect("an object").clone()
}

fn manifest_of(run: &str, seq: u64, origin: &str, last_seq: u64) -> Record {
    let fields = json!({"incarnation": 1, "origin": origin, "complete": true, "columns": {"FilePath": format!("/{origin}.log")},
        "last_seq": last_seq, "sinks": {SINK: {"routed": last_seq}}});
    stored(run, "logferry", "m", seq, json!({"EventType": "logferry.manifest.origin", "Fields": fields}))
}

fn summary_of(run: &str, seq: u64, origins: u64, records: u64) -> Record {
    let fields = json!({"incarnation": 1, "complete": true, "origins": origins, "records": records,
        "sinks": {SINK: {"routed": records}}});
    stored(run, "logferry", "m", seq, json!({"EventType": "logferry.manifest", "Fields": fields}))
}

#[test]
fn a_run_that_one_answer_cannot_hold_is_read_in_parts() {
    const ORIGINS: u64 = 300;
    let server = AzureServer::start(AzureSettings { query_max_rows: 60, ..AzureSettings::default() });
    let mut ferry = ferry(&server, "vm-7");
    let mut records: Vec<Record> = Vec::new();
    for n in 1..=ORIGINS {
        let origin = format!("o{n}");
        records.extend((1..=3).map(|seq| stored(RUN, "files", &origin, seq, json!({}))));
        records.push(manifest_of(RUN, n, &origin, 3));
    }
    records.push(summary_of(RUN, ORIGINS + 1, ORIGINS, ORIGINS * 3));
    server.store(records);
    let good = verify(&mut ferry, RUN);
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("900 records for 900 of 300 origins"), "{}", good.stdout);
    let parts = server.read(|l| l.queries.iter().filter(|query| query.contains("hash(Origin, ")).count());
    assert!((8..=72).contains(&parts), "{parts} parts");
    assert_eq!(server.delete(|record| record["EventID"] == "o17-2"), 1);
    let short = verify(&mut ferry, RUN);
    assert!(short.stdout.contains("short: vm-1, /o17.log, o17: 1 of 3 missing: Seq 2\n"), "{}", short.stdout);
}

#[test]
fn seq_is_looked_through_over_windows_and_long_holes() {
    let server = AzureServer::start(AzureSettings::default());
    let mut ferry = ferry(&server, "vm-7");
    let last = 3_000_000_u64;
    let there = [1..=5, 399_999..=400_002, 800_000..=800_000, 1_900_000..=1_900_000, last..=last + 1];
    let mut records: Vec<Record> =
        there.into_iter().flatten().map(|seq| stored(RUN, "files", "long", seq, json!({}))).collect();
    records.extend([manifest_of(RUN, 1, "long", last), summary_of(RUN, 2, 1, last)]);
    server.store(records);
    let short = verify(&mut ferry, RUN);
    assert_eq!(short.code, Some(3), "{}", short.stderr);
    let expected = "2,999,988 of 3,000,000 missing: Seq 6-399998, 400003-799999, 800001-1899999, 1900001-2999999; \
                    written after the manifest: Seq 3000001";
    assert!(short.stdout.contains(expected), "{}", short.stdout);
    let spans = server.read(|l| l.queries.iter().filter(|query| query.contains("row_cumsum")).count());
    assert!(spans <= 7, "{spans} windows were looked at");
}
