//! Dead letters of the real binary, and `logferry replay`.

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault as AzureFault};
use crate::support::engine::Engine;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::ferry::{Ferry, append, until};
use crate::support::search::{assert_each_once, documents};

const RUN: &str =
    "[run]\nrun_id = \"42\"\nvm_name = \"vm-7\"\n[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";

fn everything() -> Value {
    json!({ "match_all": {} })
}

/// An index that takes no words in one column: they are the fault of one document.
async fn strict_index(engine: &Engine, index: &str) {
    let mapping = json!({ "mappings": { "properties": {
        "Fields": { "properties": { "strict": { "type": "long" } } }, "RunID": { "type": "keyword" },
        "Origin": { "type": "keyword" }, "Source": { "type": "keyword" }, "VMName": { "type": "keyword" },
        "EventType": { "type": "keyword" }, "Seq": { "type": "long" } } } });
    engine.ok("PUT", index, Some(mapping)).await;
}

/// From now on it takes them.
async fn mend(engine: &Engine, index: &str) {
    let mapping = json!({ "properties": {
        "Fields": { "properties": { "strict": { "type": "long", "ignore_malformed": true } } } } });
    engine.ok("PUT", &format!("{index}/_mapping"), Some(mapping)).await;
}

fn elasticsearch(url: &str, index: &str) -> String {
    format!("[sinks.es]\ntype = \"elasticsearch\"\nendpoints = [\"{url}\"]\nindex = \"{index}\"\n")
}

/// Some records that fit, some that do not.
fn write_lines(ferry: &Ferry, good: usize, bad: usize) {
    let line = |word: &str, n: usize, strict: Value| json!({ "message": format!("{word} {n}"), "strict": strict });
    append(&ferry.path("good.log"), (0..good).map(|n| line("good", n, json!(n)).to_string()));
    append(&ferry.path("bad.log"), (0..bad).map(|n| line("bad", n, json!("word")).to_string()));
}

fn all_messages(good: usize, bad: usize) -> impl Iterator<Item = String> {
    (0..good).map(|n| format!("good {n}")).chain((0..bad).map(|n| format!("bad {n}")))
}

fn ids(letters: &[Value]) -> std::collections::BTreeSet<String> {
    letters.iter().map(|letter| letter["EventID"].as_str().expect("an id").to_owned()).collect()
}

/// Alone, or through the daemon that holds the state folder, over a name that depends on the record or a fixed one.
#[tokio::test(flavor = "multi_thread")]
async fn letters_are_sent_again_as_they_were_once_the_index_takes_them() {
    // More than a thousand equal refusals in a row: no fault of the sink, where nothing can be lost.
    const BAD: usize = 1_200;
    let refused_at_first = 900;
    for (engine, with_daemon, name) in
        [(Engine::opensearch().await, true, "{RunID}"), (Engine::elasticsearch().await, false, "42")]
    {
        let base = engine.index("replay").await;
        let index = format!("{base}-42");
        strict_index(&engine, &index).await;
        let mut ferry = Ferry::new(&format!("{RUN}{}", elasticsearch(&engine.url, &format!("{base}-{name}"))));
        write_lines(&ferry, 50, refused_at_first);
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        append(&ferry.path("good.log"), ["{\"message\":\"good 50\"}".to_owned()]);
        append(
            &ferry.path("bad.log"),
            (refused_at_first..BAD).map(|n| format!("{{\"message\":\"bad {n}\",\"strict\":\"word\"}}")),
        );
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        let letters = ferry.dead_letters("es");
        assert_eq!((letters.len(), ids(&letters).len()), (BAD, BAD));
        assert!(letters.iter().all(|letter| letter["RunID"] == "42" && letter["record"]["RunID"] == "42"));

        let running = if with_daemon { Some(ferry.run()) } else { None };
        if let Some(running) = &running {
            until("the start", async || running.text().contains("started").then_some(())).await;
        }
        let ended = ferry.call(&["replay"]);
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        assert!(ended.stderr.contains("dead letters still"), "{}", ended.stderr);
        let again = ferry.dead_letters("es");
        assert_eq!((again.len(), ids(&again)), (BAD, ids(&letters)), "refused again");
        let record = |letters: &[Value]| {
            let first = letters.iter().find(|letter| letter["record"]["Message"] == "bad 7").expect("a letter");
            first["record"].to_string()
        };
        assert_eq!(record(&again), record(&letters));

        mend(&engine, &index).await;
        let ended = ferry.call(&["replay", "--sink", "es", "--deadline", "60s"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains("a daemon runs on"), with_daemon, "{}", ended.stderr);
        assert!(ended.stderr.contains(&BAD.to_string()), "{}", ended.stderr);
        assert_each_once(&documents(&engine, &index, everything()).await, all_messages(51, BAD));
        assert_eq!(std::fs::read_dir(ferry.path("state/dead-letters")).expect("a folder").count(), 0);
        let ended = ferry.call(&["replay"]);
        assert_eq!((ended.code, ended.stderr.contains("no dead letters")), (Some(0), true), "{}", ended.stderr);
        if let Some(running) = running {
            assert_eq!(running.stop().code, Some(0));
        }
        // The manifest says dead-lettered; the sink has them all the same.
        let ended = ferry.call(&["verify", "--run-id", "42"]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        engine.forget(&index).await;
        engine.forget(&format!("{base}-*")).await;
    }
}

/// Azure takes a call or refuses it; its own delivery goes on while letters of three days ago are sent.
#[tokio::test(flavor = "multi_thread")]
async fn azure_gets_the_letters_that_it_refused_with_the_time_at_which_they_happened() {
    let server = AzureServer::start(AzureSettings::default());
    server.poison(|record| record["Message"].as_str().is_some_and(|message| message.contains("poison")));
    let mut ferry = Ferry::new(&format!("{RUN}{}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let old = logferry::record::time::rfc3339(logferry::record::time::now() - 3 * 86_400 * 1_000_000_000);
    append(&ferry.path("a.log"), (0..40).map(|n| format!("{old} - agent - INFO - poison {n}")));
    append(&ferry.path("b.log"), (0..40).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("the letters", async || (ferry.dead_letters("azure_monitor").len() == 40).then_some(())).await;
    let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).expect("JSON");
    assert!(status["sinks"]["azure_monitor"]["dead_letter_bytes"].as_u64() > Some(40 * 100), "{status}");
    let table = ferry.call(&["status"]).stdout;
    assert!(table.contains("bytes of dead letters: `logferry replay`"), "{table}");
    let ended = ferry.call(&["replay"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let letters = ferry.dead_letters("azure_monitor");
    assert_eq!((letters.len(), ids(&letters).len()), (40, 40));
    server.poison(|_| false);
    append(&ferry.path("b.log"), (40..80).map(|n| format!("line {n}")));
    let ended = ferry.call(&["replay"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let stopped = running.stop();
    // None is a dead letter any more; the manifest counts how they came.
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("sent again, none is left"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("40 dead letters of azure_monitor"), "{}", stopped.stderr);
    let records: Vec<Value> = server.records().into_iter().map(Value::Object).collect();
    let expected = (0..40).map(|n| format!("poison {n}")).chain((0..80).map(|n| format!("line {n}")));
    assert_each_once(&records, expected);
    let poison: Vec<&Value> =
        records.iter().filter(|r| r["Message"].as_str().is_some_and(|m| m.contains("poison"))).collect();
    assert!(poison.iter().all(|r| r["EventTime"].as_str().is_some_and(|at| at.starts_with(&old[..19]))), "{poison:?}");
    let letter_ids = ids(&letters);
    assert!(poison.iter().all(|r| letter_ids.contains(r["EventID"].as_str().expect("an id"))));
    server.read(|ledger| assert_eq!((ledger.duplicates, ledger.times_replaced), (0, 40)));
}

/// The first answers are lost, the replay is killed again and again: in the end each is there once, in a data stream that
/// was rolled over meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_a_replay_lose_nothing_and_double_nothing_in_elasticsearch() {
    const LETTERS: usize = 2_000;
    let mut kills = 0;
    let engine = Engine::opensearch().await;
    let stream = engine.data_stream("replay-kills").await;
    let proxy = FaultProxy::new(&engine.url, |_, _| Fault::Pass).await;
    let mut ferry = Ferry::new(&format!("{RUN}{}batch_bytes = \"20KB\"\n", elasticsearch(&proxy.url, &stream)));
    // The letters of another state folder, so to speak: what a stream refuses, no mapping mends afterwards.
    append(&ferry.path("a.log"), (0..LETTERS).map(|n| format!("line {n}")));
    let fields =
        RUN.replace("[[sources.file]]", "[sinks.out]\ntype = \"file\"\npath = \"{dir}/out.ndjson\"\n[[sources.file]]");
    ferry.configure(&fields);
    assert_eq!(ferry.call(&["ship"]).code, Some(0));
    let letters: String = ferry
        .records("out.ndjson")
        .iter()
        .map(|record| format!("{{\"EventID\":{},\"status\":400,\"record\":{record}}}\n", record["EventID"]))
        .collect();
    std::fs::create_dir_all(ferry.path("state/dead-letters")).expect("a folder");
    std::fs::write(ferry.path("state/dead-letters/es.ndjson"), letters).expect("letters");
    ferry.configure(&format!("{RUN}{}batch_bytes = \"20KB\"\n", elasticsearch(&proxy.url, &stream)));
    proxy.set_rule(|request, number| match request.path().ends_with("/_bulk") {
        true if number % 5 == 2 => Fault::DropAfter,
        true if number % 5 == 4 => Fault::Status(429),
        _ => Fault::Pass,
    });
    for round in 0..8u64 {
        let mut running = ferry.start(&["replay"]);
        let enough = proxy.requests() + 5 + round % 4;
        until("some requests", async || (proxy.requests() > enough || running.has_ended()).then_some(())).await;
        if !running.kill_if_running() {
            break;
        }
        kills += 1;
        if round == 2 {
            engine.ok("POST", &format!("{stream}/_rollover"), None).await;
        }
    }
    assert!(kills > 3, "{kills} kills");
    let ended = ferry.call(&["replay"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = (0..LETTERS).map(|n| format!("line {n}"));
    assert_each_once(&documents(&engine, &stream, everything()).await, expected);
    assert_eq!(std::fs::read_dir(ferry.path("state/dead-letters")).expect("a folder").count(), 0);
    engine.forget(&stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_ends_with_3_and_the_next_replay_goes_on() {
    let server = AzureServer::start(AzureSettings::default());
    server.poison(|_| true);
    let mut ferry = Ferry::new(&format!("{RUN}{}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    append(&ferry.path("a.log"), (0..20).map(|n| format!("line {n}")));
    assert_eq!(ferry.call(&["ship"]).code, Some(4));
    let letters = ferry.dead_letters("azure_monitor").len();
    server.poison(|_| false);
    server.fault_rule(|_| Some(AzureFault::Status(503, None)));
    for _ in 0..2 {
        let ended = ferry.call(&["replay", "--deadline", "1s"]);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("503") && ended.stderr.contains("goes on"), "{}", ended.stderr);
        let row = ended.stderr.lines().find(|line| line.starts_with("azure_monitor ")).expect("a row");
        assert!(row.ends_with(&format!(" {letters}")), "{row}");
    }
    let interrupted = ferry.start(&["replay", "--deadline", "60s"]);
    let calls = server.read(|ledger| ledger.calls());
    until("some calls", async || server.read(|ledger| ledger.calls() > calls).then_some(())).await;
    let ended = interrupted.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    // New letters meanwhile are taken up with the old ones, and a sink that is gone is named.
    std::fs::write(ferry.path("state/dead-letters/gone.ndjson"), "{}\n{}\n").expect("letters");
    server.fault_rule(|_| None);
    let ended = ferry.call(&["replay", "--sink", "azure_monitor"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(server.records().len(), 20);
    let ended = ferry.call(&["replay"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("gone: 2 dead letters of a sink that is not configured"), "{}", ended.stderr);
    let ended = ferry.call(&["replay", "--sink", "gone"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("there are: azure_monitor"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replay_beside_the_daemons_first_is_told_to_wait_and_a_stop_ends_it() {
    let server = AzureServer::start(AzureSettings::default());
    server.poison(|_| true);
    let mut ferry = Ferry::new(&format!("{RUN}{}[teardown]\ndeadline = \"2s\"\n", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    append(&ferry.path("a.log"), (0..20).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("the letters", async || (ferry.dead_letters("azure_monitor").len() == 20).then_some(())).await;
    server.fault_rule(|_| Some(AzureFault::Status(503, None)));
    let first = ferry.start(&["replay", "--deadline", "60s"]);
    let taken = ferry.path("state/dead-letters/azure_monitor.replaying-1.ndjson");
    until("the first replay", async || taken.exists().then_some(())).await;
    let second = ferry.call(&["replay"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("under way already"), "{}", second.stderr);
    let stopped = running.stop();
    assert!(matches!(stopped.code, Some(3 | 4)), "{}", stopped.stderr);
    let first = first.wait();
    assert_eq!(first.code, Some(3), "{}", first.stderr);
    server.fault_rule(|_| None);
    server.poison(|_| false);
    assert_eq!(ferry.call(&["replay"]).code, Some(0));
    let messages: std::collections::BTreeSet<String> =
        server.records().iter().map(|record| record["Message"].to_string()).collect();
    assert_eq!(messages.len(), 20, "{messages:?}");
}

/// Past the bound nothing but EventID, status and reason is kept; status, log, report and manifest say so.
#[tokio::test(flavor = "multi_thread")]
async fn past_the_bound_the_ids_stay_and_everybody_is_told() {
    let server = AzureServer::start(AzureSettings::default());
    server.poison(|record| record["Message"].as_str().is_some_and(|message| message.contains("poison")));
    let mut ferry = Ferry::new(&format!("{RUN}{}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    std::fs::create_dir_all(ferry.path("state/dead-letters")).expect("a folder");
    let path = ferry.path("state/dead-letters/azure_monitor.ndjson");
    // A full file that takes no room: one long line.
    let full = std::fs::File::create(&path).expect("a file");
    full.set_len(256 * 1024 * 1024).expect("a sparse file");
    append(&ferry.path("a.log"), (0..5).map(|n| format!("poison {n}")).chain(["fine".to_owned()]));
    let running = ferry.run();
    let status = until("five letters", async || {
        let status: Value = serde_json::from_str(&ferry.call(&["status", "--json"]).stdout).ok()?;
        (status["sinks"]["azure_monitor"]["dead_lettered"] == 5).then_some(status)
    })
    .await;
    assert_eq!(status["sinks"]["azure_monitor"]["dead_lettered_without_document"], 5, "{status}");
    let said = running.text().matches("have reached their bound").count();
    assert_eq!(said, 1, "{}", running.text());
    assert!(running.text().contains("logferry replay"));
    let stopped = running.stop();
    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("of 5 dead letters only the EventID was kept"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("not complete: 5 dead letters"), "{}", stopped.stderr);
    let text = std::fs::read(&path).expect("letters");
    let lines: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{"))
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|l| l["record"].is_null() && l["status"] == 400 && l["reason"].is_string()), "{lines:?}");
    assert_eq!(ids(&lines).len(), 5);
    // They cannot be sent, and say so.
    let short: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, &short).expect("the short ones alone");
    let ended = ferry.call(&["replay"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("of 5 only the EventID was kept"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).expect("letters"), short);
}
