//! Delivery by the real binary to real engines, with faults between them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::azure::{AzureServer, AzureSettings};
use crate::support::engine::Engine;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::ferry::{Ferry, PATIENCE, append, until};
use crate::support::search::{assert_each_once, count, documents, messages};

fn everything() -> serde_json::Value {
    json!({ "match_all": {} })
}

/// Twenty kill -9 while 60,000 lines are written, with rotation, to an engine whose answers get lost and refused.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing_and_double_nothing_in_elasticsearch() {
    const LINES: usize = 60_000;
    let engines = Engine::both().await;
    let mut proxies = Vec::new();
    let mut indices = Vec::new();
    let mut config = "[[sources.file]]\nname = \"load\"\ninclude = [\"{dir}/app.log*\"]\n".to_owned();
    for engine in &engines {
        let index = engine.index("kills").await;
        let proxy = FaultProxy::new(&engine.url, |request, number| match number % 13 {
            _ if !request.path().ends_with("/_bulk") => Fault::Pass,
            3 => Fault::DropAfter,
            7 => Fault::Status(429),
            9 => Fault::DropBefore,
            11 => Fault::Status(503),
            _ => Fault::Pass,
        })
        .await;
        config.push_str(&format!(
            "[sinks.{}]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"{index}\"\nbatch_bytes = \"200KB\"\n",
            engine.name, proxy.url
        ));
        proxies.push(proxy);
        indices.push(index);
    }
    config.push_str("[sinks.file]\npath = \"{dir}/out/records.ndjson\"\n");
    let azure = AzureServer::start(AzureSettings::default());
    azure.fault_rule(|number| match number % 11 {
        4 => Some(crate::support::azure::Fault::DropAfterStore),
        8 => Some(crate::support::azure::Fault::Status(500, None)),
        _ => None,
    });
    config.push_str(&azure_sink(&azure));
    let mut ferry = Ferry::new(&config);
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &azure.authority);
    let log = ferry.path("app.log");
    let writer = std::thread::spawn(move || {
        for chunk in 0..LINES / 100 {
            append(&log, (0..100).map(|n| format!("line {:06}", chunk * 100 + n)));
            if chunk % 97 == 96 {
                std::fs::rename(&log, log.with_extension(format!("log.{chunk}"))).expect("rotation");
            }
            std::thread::sleep(Duration::from_millis(15));
        }
    });
    for round in 0..20u64 {
        let running = ferry.run();
        // Not an event that could be awaited: the moment of the kill is the point, and it differs from round to round.
        tokio::time::sleep(Duration::from_millis(150 + round * 67 % 500)).await;
        running.kill();
    }
    writer.join().expect("the writer");
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = || (0..LINES).map(|n| format!("line {n:06}"));
    for (engine, index) in engines.iter().zip(&indices) {
        assert_each_once(&documents(engine, index, everything()).await, expected());
        engine.forget(index).await;
    }
    // A file cannot be asked what it holds: nothing missing, and what is twice has one EventID.
    let text = std::fs::read_to_string(ferry.path("out/records.ndjson")).expect("records");
    let mut records: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    records.retain(|record| record["Source"] != "logferry");
    let ids: std::collections::BTreeSet<&str> = records.iter().filter_map(|r| r["EventID"].as_str()).collect();
    assert_eq!((messages(&records).len(), ids.len()), (LINES, LINES));
    // Nor can Azure.
    let records: Vec<serde_json::Value> = azure.records().into_iter().map(serde_json::Value::Object).collect();
    let ids: std::collections::BTreeSet<&str> = records.iter().filter_map(|r| r["EventID"].as_str()).collect();
    assert_eq!((messages(&records).len(), ids.len()), (LINES, LINES));
}

/// A sink that is down for 20 s, then answers 429, then refuses single records; the other one must not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_gets_everything_later_and_the_other_never_waits() {
    const LINES: usize = 20_000;
    const POISON: usize = 7;
    let [engine, other] = Engine::both().await;
    let (index, other_index) = (engine.index("outage").await, other.index("outage").await);
    // A column of this index takes numbers only: words in it are the fault of one document.
    let mapping = json!({ "mappings": { "properties": {
        "Fields": { "properties": { "strict": { "type": "long" } } },
        "Origin": { "type": "keyword" }, "Seq": { "type": "long" } } } });
    engine.ok("PUT", &index, Some(mapping)).await;
    let proxy = FaultProxy::new(&engine.url, |_, _| Fault::Pass).await;
    proxy.set_down(true);
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.ill]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"{index}\"\n\
         [sinks.well]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"{other_index}\"\n",
        proxy.url, other.url
    ));
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("{{\"message\":\"line {n}\",\"strict\":{n}}}")));
    append(
        &ferry.path("b.log"),
        (0..POISON).map(|n| format!("{{\"message\":\"poison {n}\",\"strict\":\"word {n}\"}}")),
    );
    let down = Instant::now();
    let running = ferry.run();
    let all = (LINES + POISON) as u64;
    until("the well sink to have everything", async || {
        (count(&other, &other_index, everything()).await == all).then_some(())
    })
    .await;
    assert!(down.elapsed() < Duration::from_secs(20), "the other sink waited");
    assert_eq!(count(&engine, &index, everything()).await, 0);
    tokio::time::sleep(Duration::from_secs(20).saturating_sub(down.elapsed())).await;
    // Up again, but busy; then with a full disk, which answers 429 for each item.
    let mut refusals = 0;
    proxy.set_rule(move |request, _| {
        let busy = request.path().ends_with("/_bulk") && refusals < 3;
        refusals += u32::from(busy);
        if busy { Fault::Status(429) } else { Fault::Pass }
    });
    let block = |on: bool| json!({ "index.blocks.read_only_allow_delete": if on { json!(true) } else { json!(null) } });
    engine.ok("PUT", &format!("{index}/_settings"), Some(block(true))).await;
    let before = proxy.requests();
    proxy.set_down(false);
    until("some refused calls", async || (proxy.requests() > before + 4).then_some(())).await;
    assert_eq!(count(&engine, &index, everything()).await, 0);
    engine.ok("PUT", &format!("{index}/_settings"), Some(block(false))).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_each_once(&documents(&engine, &index, everything()).await, (0..LINES).map(|n| format!("line {n}")));
    let letters = ferry.dead_letters("ill");
    let mut dead: Vec<&str> = letters.iter().filter_map(|letter| letter["record"]["Message"].as_str()).collect();
    dead.sort_unstable();
    assert_eq!(dead, (0..POISON).map(|n| format!("poison {n}")).collect::<Vec<_>>());
    assert!(letters.iter().all(|letter| letter["status"] == 400 && letter["EventID"].is_string()));
    assert!(ferry.dead_letters("well").is_empty());
    engine.forget(&index).await;
    other.forget(&other_index).await;
}

/// SIGTERM with a backlog: everything within the deadline, or the rest in the buffer for the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_delivers_the_backlog_or_leaves_it_for_the_next_start() {
    const LINES: usize = 30_000;
    let engine = Engine::opensearch().await;
    let index = engine.index("stop").await;
    let proxy = FaultProxy::new(&engine.url, |_, _| Fault::Pass).await;
    proxy.set_down(true);
    let config = |deadline: &str| {
        format!(
            "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n[teardown]\ndeadline = \"{deadline}\"\n\
             [sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{index}\"\n",
            proxy.url
        )
    };
    let mut ferry = Ferry::new(&config("3s"));
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n}")));
    // The last line has no end: a stop takes it all the same.
    std::fs::write(ferry.path("b.log"), "unfinished").expect("write");
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    let stopping = Instant::now();
    let ended = running.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
    let row = ended.stderr.lines().find(|line| line.starts_with("elasticsearch  ")).expect("a row for the sink");
    // With the manifest: a record for each of the two origins, and a summary.
    assert!(row.ends_with(&format!(" {}", LINES + 1 + 3)), "what is left is counted: {row}");
    assert!(ended.stderr.contains(&format!("not complete: {} records not yet in", LINES + 1)), "{}", ended.stderr);
    assert_eq!(count(&engine, &index, everything()).await, 0);

    proxy.set_down(false);
    ferry.configure(&config("60s"));
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = (0..LINES).map(|n| format!("line {n}")).chain(["unfinished".to_owned()]);
    assert_each_once(&documents(&engine, &index, everything()).await, expected);
    engine.forget(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    let server = AzureServer::start(AzureSettings::default());
    server.fault_rule(|_| Some(crate::support::azure::Fault::Status(503, None)));
    let mut ferry = azure_ferry(&server);
    append(&ferry.path("a.log"), (0..100).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("the start", async || running.text().contains("started").then_some(())).await;
    running.terminate();
    until("the drain", async || running.text().contains("draining").then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    server.fault_rule(|_| None);
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let messages: std::collections::BTreeSet<String> =
        server.records().iter().map(|record| record["Message"].as_str().expect("text").to_owned()).collect();
    assert_eq!(messages.len(), 100);
}

/// Azure: lost answers may double, nothing may be missing, one poison record goes to the dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn azure_gets_everything_and_names_the_poison_record() {
    const LINES: usize = 5_000;
    let server = AzureServer::start(AzureSettings::default());
    server.poison(|record| record["Message"] == "line 1234");
    server.faults(crate::support::azure::Fault::Status(429, Some(Duration::from_secs(1))), 1);
    server.faults(crate::support::azure::Fault::DropAfterStore, 1);
    let mut ferry = azure_ferry(&server);
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n}")));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let records = server.records();
    let messages: std::collections::BTreeSet<&str> = records.iter().filter_map(|r| r["Message"].as_str()).collect();
    let ids: std::collections::BTreeSet<&str> = records.iter().filter_map(|r| r["EventID"].as_str()).collect();
    assert_eq!((messages.len(), ids.len()), (LINES - 1, LINES - 1));
    let letters = ferry.dead_letters("azure_monitor");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["record"]["Message"], &letters[0]["status"]), (&json!("line 1234"), &json!(400)));
    let columns = &records[0];
    assert_eq!((&columns["VMName"], &columns["RunID"]), (&json!("vm-7"), &json!("42")));
    server.read(|ledger| {
        assert_eq!((ledger.bodies_over_promise, ledger.columns_dropped.len()), (0, 0));
        // Found by halves, and never sent again as it was: one refusal for each halving and one for the record alone.
        assert!(ledger.answered(400) <= 1 + LINES.ilog2() as u64 + 1, "{:?}", ledger.answers);
    });
}

/// A fleet shares the requests a minute of a data collection rule: a trickle is gathered, and a stop waits for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_costs_azure_at_most_a_request_a_second() {
    const LINES: usize = 60;
    let azure = AzureServer::start(AzureSettings::default());
    let mut ferry = Ferry::new(&format!("[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}", azure_sink(&azure)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &azure.authority);
    append(&ferry.path("a.log"), ["line 0".to_owned()]);
    let running = ferry.run();
    azure.until("the first line", PATIENCE, |ledger| ledger.answered(204) > 0).await;
    let begun = Instant::now();
    for n in 1..LINES {
        append(&ferry.path("a.log"), [format!("line {n}")]);
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    let took = begun.elapsed();
    let requests = azure.read(|ledger| ledger.answered(204));
    assert!(requests <= 2 + took.as_secs(), "{requests} requests in {took:?}");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let texts: Vec<String> = azure.records().iter().filter_map(|r| Some(r["Message"].as_str()?.to_owned())).collect();
    let lines: Vec<&String> = texts.iter().filter(|text| text.starts_with("line ")).collect();
    assert_eq!(lines.len(), LINES, "{texts:?}");
}

/// The answer is lost after the engine stored, and the data stream rolls over before the retry: ids are then in an older
/// backing index, where `create` would not find them.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollover_between_a_lost_answer_and_the_retry_doubles_nothing() {
    const LINES: usize = 500;
    let engine = Engine::opensearch().await;
    let stream = engine.data_stream("lost-answer").await;
    let proxy = FaultProxy::new(&engine.url, |_, _| Fault::Pass).await;
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\nmultiline = \"none\"\n\
         [sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{stream}\"\n",
        proxy.url
    ));
    append(&ferry.path("a.log"), ["first".to_owned()]);
    assert_eq!(ferry.call(&["ship"]).code, Some(0));
    // From now on what is stored is not answered; then nothing gets through until the rollover is done.
    let mut lost = false;
    proxy.set_rule(move |request, _| match request.path().ends_with("/_bulk") {
        true if !std::mem::replace(&mut lost, true) => Fault::DropAfter,
        _ if lost => Fault::DropBefore,
        _ => Fault::Pass,
    });
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n}")));
    let running = ferry.run();
    until("the lines behind the lost answer", async || {
        (count(&engine, &stream, everything()).await == LINES as u64 + 1).then_some(())
    })
    .await;
    let rolled = engine.ok("POST", &format!("{stream}/_rollover"), None).await;
    assert_eq!(rolled["rolled_over"], true);
    proxy.set_rule(|_, _| Fault::Pass);
    append(&ferry.path("a.log"), ["last".to_owned()]);
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = (0..LINES).map(|n| format!("line {n}")).chain(["first".to_owned(), "last".to_owned()]);
    assert_each_once(&documents(&engine, &stream, everything()).await, expected);
    engine.forget(&stream).await;
}

/// A server may cut the connection for a body that it finds too large, before it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_never_answered_is_sent_in_halves() {
    const LINES: usize = 2_000;
    let engine = Engine::opensearch().await;
    let index = engine.index("halves").await;
    let cut = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&cut);
    let proxy = FaultProxy::new(&engine.url, move |request, _| {
        let too_large = request.body.len() > 400_000;
        seen.fetch_add(usize::from(too_large), std::sync::atomic::Ordering::SeqCst);
        if too_large { Fault::DropBefore } else { Fault::Pass }
    })
    .await;
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.elasticsearch]\nendpoints = [\"{}\"]\nindex = \"{index}\"\ncompression = \"none\"\n",
        proxy.url
    ));
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n}")));
    let ended = ferry.call(&["ship"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(cut.load(std::sync::atomic::Ordering::SeqCst) > 0, "no body was large enough to be cut");
    assert_each_once(&documents(&engine, &index, everything()).await, (0..LINES).map(|n| format!("line {n}")));
    engine.forget(&index).await;
}

/// The table of a sink that delivers to the imitation.
pub fn azure_sink(server: &AzureServer) -> String {
    let settings = &server.settings;
    format!(
        "[sinks.azure_monitor]\nendpoint = \"{}\"\ndcr_id = \"{}\"\nstream = \"{}\"\n\
         credential = {{ kind = \"client_secret\", tenant_id = \"{}\", client_id = \"{}\", client_secret = \"{}\" }}\n",
        server.endpoint,
        settings.dcr_id,
        settings.stream,
        settings.tenant_id,
        settings.client_id,
        settings.client_secret
    )
}

pub fn azure_ferry(server: &AzureServer) -> Ferry {
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"42\"\n[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}",
        azure_sink(server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    ferry
}
