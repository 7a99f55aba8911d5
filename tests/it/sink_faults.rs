//! A sink that misbehaves while the real binary delivers to it, and gets well: everything arrives, nothing becomes a dead
//! letter, and `status` says meanwhile what is wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::auth_proxy::{AuthProxy, Authority, Rules};
use crate::support::azure::{AzureServer, AzureSettings, Fault as AzureFault};
use crate::support::engine::Engine;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::ferry::{Ferry, Running, append, until};
use crate::support::http1;
use crate::support::search::{assert_each_once, count, documents};
use crate::support::stub::{Stub, dead_url};

const LINES: usize = 300;
const FILES: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";

/// How `status` begins to speak of faults that do not pass by themselves.
const SINK_FAULTS: [&str; 6] = ["301", "307", "400", "401", "403", "404"];

fn everything() -> Value {
    json!({ "match_all": {} })
}

fn lines() -> impl Iterator<Item = String> {
    (0..LINES).map(|n| format!("line {n}"))
}

fn sink(urls: &[&str], index: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    format!(
        "{FILES}[sinks.es]\ntype = \"elasticsearch\"\nendpoints = [{}]\nindex = \"{index}\"\ntimeout = \"2s\"\n",
        urls.join(", ")
    )
}

/// What `status` says is wrong with the sink, once that holds `word`.
async fn fault_said(ferry: &mut Ferry, running: &Running, name: &str, word: &str) -> String {
    until(&format!("{word:?} in {}", running.log.display()), async || {
        let ended = ferry.call(&["status", "--json"]);
        let status: Value = serde_json::from_str(&ended.stdout).ok()?;
        let fault = status["sinks"][name]["fault"].as_str()?;
        fault.contains(word).then(|| fault.to_owned())
    })
    .await
}

/// What happens to requests, and a word of what `status` then says.
struct Case {
    name: &'static str,
    fault: Fault,
    /// To every request, not to those alone that store.
    every: bool,
    word: &'static str,
}

/// Delivers through a proxy that has this fault until `status` has named it, then none.
async fn gets_well(engine: &Engine, case: Case) {
    let Case { name, fault, every, word } = case;
    let index = engine.index(&format!("fault-{name}")).await;
    engine.forget(&index).await;
    let rule = move |request: &http1::Request, _: u64| {
        if every || request.path().ends_with("/_bulk") { fault.clone() } else { Fault::Pass }
    };
    let proxy = FaultProxy::new(&engine.url, rule).await;
    let mut ferry = Ferry::new(&sink(&[&proxy.url], &index));
    append(&ferry.path("a.log"), lines());
    let running = ferry.run();
    let said = fault_said(&mut ferry, &running, "es", word).await;
    assert!(said.contains(&proxy.url), "{name}: {said}");
    // What passes by itself is said at intervals, what somebody has to see to at once.
    if SINK_FAULTS.iter().any(|fault| said.starts_with(fault)) {
        until("the log", async || (running.text().contains(word)).then_some(())).await;
        assert!(running.text().contains("everything is kept and sent again"), "{name}: {}", running.text());
    }
    proxy.set_rule(|_, _| Fault::Pass);
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
    assert!(ended.stderr.contains("accepts again"), "{name}: {}", ended.stderr);
    assert!(!ended.stderr.contains("may have been; each is found"), "{name}: {}", ended.stderr);
    assert_eq!(ferry.dead_letters("es"), [] as [Value; 0], "{name}");
    assert_each_once(&documents(engine, &index, everything()).await, lines());
    // The template came before the first record, however late that was.
    let mapping = engine.ok("GET", &format!("{index}/_mapping"), None).await;
    assert_eq!(mapping[&index]["mappings"]["properties"]["Level"]["type"], "keyword", "{name}");
    engine.forget(&index).await;
}

fn page() -> Vec<u8> {
    http1::response(200, &[("content-type", "text/html")], b"<html>Please sign in</html>")
}

fn one_item() -> Vec<u8> {
    http1::response(200, &[], br#"{"errors":false,"items":[{"create":{"_index":"x","status":201}}]}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_make_no_sense_are_asked_after_and_nothing_is_there_twice() {
    let engine = Engine::elasticsearch().await;
    for case in [
        Case { name: "page", fault: Fault::Instead(page()), every: false, word: "Please sign in" },
        Case { name: "portal", fault: Fault::Instead(page()), every: true, word: "cannot be read" },
        Case { name: "page-after", fault: Fault::InsteadAfter(page()), every: false, word: "Please sign in" },
        Case { name: "fewer", fault: Fault::InsteadAfter(one_item()), every: false, word: "and 1 answered" },
        Case { name: "reset", fault: Fault::CutAfter, every: false, word: "broke off" },
    ] {
        gets_well(&engine, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_too_long_is_given_up_in_time() {
    let engine = Engine::opensearch().await;
    for case in [
        Case { name: "hang", fault: Fault::HangBefore, every: true, word: "timed out" },
        Case { name: "hang-after", fault: Fault::HangAfter, every: false, word: "timed out" },
        Case { name: "drip", fault: Fault::DripAfter, every: false, word: "broke off" },
    ] {
        gets_well(&engine, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_whole_calls_are_faults_of_the_sink_and_nothing_is_thrown_out() {
    let engine = Engine::elasticsearch().await;
    for (name, status, every) in [
        ("forbidden", 403, false),
        ("all-forbidden", 403, true),
        ("not-found", 404, false),
        ("nothing-found", 404, true),
        ("unauthorized", 401, true),
        ("bad-request", 400, false),
        ("busy", 429, false),
        ("all-busy", 429, true),
        ("unavailable", 503, true),
    ] {
        let word = match status {
            403 => "403",
            404 => "404",
            401 => "401",
            400 => "400",
            429 => "429",
            _ => "503",
        };
        gets_well(&engine, Case { name, fault: Fault::Status(status), every, word }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let engine = Engine::opensearch().await;
    let elsewhere = Stub::new([]).await;
    for (name, status, every) in [("moved", 301, true), ("temporary", 307, false)] {
        let redirect = http1::response(status, &[("location", &format!("{}/x/_bulk", elsewhere.url))], b"");
        gets_well(&engine, Case { name, fault: Fault::Instead(redirect), every, word: "a redirect to" }).await;
    }
    assert_eq!(elsewhere.seen().len(), 0, "records went where nobody sent them");
}

/// The index itself, on real engines: closed, blocked, gone while indices are not made by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_an_index_that_is_closed_or_blocked() {
    for engine in Engine::both().await {
        let index = engine.index("fault-index").await;
        engine.forget(&index).await;
        let mut ferry = Ferry::new(&sink(&[&engine.url], &index));
        append(&ferry.path("a.log"), ["first".to_owned()]);
        assert_eq!(ferry.call(&["ship"]).code, Some(0));
        let running = ferry.run();
        until("the start", async || running.text().contains("started").then_some(())).await;
        engine.ok("POST", &format!("{index}/_close"), None).await;
        append(&ferry.path("a.log"), lines());
        fault_said(&mut ferry, &running, "es", "index_closed_exception").await;
        engine.ok("POST", &format!("{index}/_open"), None).await;
        engine.ok("GET", &format!("_cluster/health/{index}?wait_for_status=yellow&timeout=30s"), None).await;
        assert_eq!(ferry.call(&["drain", "--deadline", "60s"]).code, Some(0), "{}", running.text());
        let block = |on: bool| json!({ "index.blocks.write": if on { json!(true) } else { json!(null) } });
        engine.ok("PUT", &format!("{index}/_settings"), Some(block(true))).await;
        append(&ferry.path("a.log"), ["last".to_owned()]);
        fault_said(&mut ferry, &running, "es", "cluster_block_exception").await;
        engine.ok("PUT", &format!("{index}/_settings"), Some(block(false))).await;
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{}: {}", engine.name, ended.stderr);
        let expected = lines().chain(["first".to_owned(), "last".to_owned()]);
        assert_each_once(&documents(&engine, &index, everything()).await, expected);
        assert!(ferry.dead_letters("es").is_empty());
        engine.forget(&index).await;
    }
}

/// Nor is it the fault of a record that its index cannot be written to by this name, or cannot be made.
#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_an_alias_a_pipeline_and_room_for_shards() {
    for engine in Engine::both().await {
        let name = engine.index("fault-setup").await;
        let mappings = json!({ "properties": { "Origin": { "type": "keyword" }, "Seq": { "type": "long" } } });
        for index in ["1", "2"] {
            let body = json!({ "aliases": { &name: {} }, "mappings": mappings });
            engine.ok("PUT", &format!("{name}-{index}"), Some(body)).await;
        }
        let pipeline = |id: Value| json!({ "index.default_pipeline": id });
        engine.ok("PUT", &format!("{name}-2/_settings"), Some(pipeline(json!("lftest-no-such-pipeline")))).await;
        let mut ferry = Ferry::new(&sink(&[&engine.url], &name));
        append(&ferry.path("a.log"), lines());
        let running = ferry.run();
        fault_said(&mut ferry, &running, "es", "no write index is defined").await;
        let action = json!({ "index": format!("{name}-2"), "alias": name, "is_write_index": true });
        engine.ok("POST", "_aliases", Some(json!({ "actions": [{ "add": action }] }))).await;
        let drain = ferry.start(&["drain", "--deadline", "60s"]);
        fault_said(&mut ferry, &running, "es", "lftest-no-such-pipeline").await;
        engine.ok("PUT", &format!("{name}-2/_settings"), Some(pipeline(Value::Null))).await;
        assert_eq!(drain.wait().code, Some(0), "{}", running.text());
        assert_eq!(running.stop().code, Some(0));
        assert_each_once(&documents(&engine, &format!("{name}-2"), everything()).await, lines());
        assert!(ferry.dead_letters("es").is_empty());
        engine.forget(&format!("{name}-1")).await;
        engine.forget(&format!("{name}-2")).await;

        let index = engine.index("fault-shards").await;
        let template = |shards: u32| {
            json!({ "index_patterns": [index], "priority": 500, "template": { "mappings": mappings,
                "settings": { "number_of_shards": shards, "number_of_replicas": 0 } } })
        };
        engine.ok("PUT", &format!("_index_template/{index}"), Some(template(1_000))).await;
        let mut ferry = Ferry::new(&sink(&[&engine.url], &index));
        append(&ferry.path("a.log"), lines());
        let running = ferry.run();
        fault_said(&mut ferry, &running, "es", "this action would add").await;
        engine.ok("PUT", &format!("_index_template/{index}"), Some(template(1))).await;
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{}: {}", engine.name, ended.stderr);
        assert_each_once(&documents(&engine, &index, everything()).await, lines());
        assert!(ferry.dead_letters("es").is_empty());
        engine.forget(&index).await;
        engine.ok("DELETE", &format!("_index_template/{index}"), None).await;
    }
}

/// Nothing can be sent: no name, no listener, no trust. A configuration that is right delivers what was kept.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_a_listener_or_trust_everything_is_kept_for_a_configuration_that_is_right() {
    let engine = Engine::opensearch().await;
    let authority = Authority::new();
    let tls = AuthProxy::new(&engine.url, Some(&authority), Rules::default()).await;
    let dead = dead_url().await;
    let tls_to_plain = engine.url.replace("http://", "https://");
    for (name, url, word) in [
        ("dns", "http://no-such-host.invalid:9200", "dns error"),
        ("listener", dead.as_str(), "refused"),
        ("trust", tls.url.as_str(), "certificate"),
        ("no-tls", tls_to_plain.as_str(), "not sent"),
    ] {
        let index = engine.index(&format!("fault-{name}")).await;
        engine.forget(&index).await;
        let mut ferry = Ferry::new(&format!("{}[teardown]\ndeadline = \"1s\"\n", sink(&[url], &index)));
        append(&ferry.path("a.log"), lines());
        let running = ferry.run();
        let said = fault_said(&mut ferry, &running, "es", word).await;
        assert!(said.starts_with("not sent") && said.contains(url), "{name}: {said}");
        let ended = running.stop();
        assert_eq!(ended.code, Some(3), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{name}: the report says why: {}", ended.stderr);
        let right = match name {
            "trust" => {
                let ca = authority.write_ca(ferry.dir.path());
                format!("{}ca_file = \"{}\"\n", sink(&[url], &index), ca.display())
            }
            _ => sink(&[&engine.url], &index),
        };
        ferry.configure(&right);
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        assert_each_once(&documents(&engine, &index, everything()).await, lines());
        assert!(ferry.dead_letters("es").is_empty());
        engine.forget(&index).await;
    }
}

/// Of five servers one answers; no name, no listener, a hang and a lost answer cost time only.
#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_several_is_enough() {
    let engine = Engine::elasticsearch().await;
    let index = engine.index("fault-several").await;
    engine.forget(&index).await;
    let hangs = FaultProxy::new(&engine.url, |_, _| Fault::HangBefore).await;
    let loses =
        FaultProxy::new(
            &engine.url,
            |request, _| {
                if request.path().ends_with("/_bulk") { Fault::DropAfter } else { Fault::Pass }
            },
        )
        .await;
    let dead = dead_url().await;
    let urls = [&*dead, "http://no-such-host.invalid:9200", &*hangs.url, &*loses.url, &*engine.url];
    let mut ferry = Ferry::new(&format!("{}batch_bytes = \"10KB\"\n", sink(&urls, &index)));
    append(&ferry.path("a.log"), lines());
    let running = ferry.run();
    until("all of them", async || (count(&engine, &index, everything()).await == LINES as u64).then_some(())).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_each_once(&documents(&engine, &index, everything()).await, lines());
    assert!(ferry.dead_letters("es").is_empty());
    engine.forget(&index).await;
}

/// Four requests at a time, whose answers come in any order, late, lost and refused; a kill in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn answers_in_any_order_move_the_cursor_over_no_gap() {
    const MANY: usize = 6_000;
    for engine in Engine::both().await {
        let index = engine.index("fault-order").await;
        engine.forget(&index).await;
        let proxy = FaultProxy::new(&engine.url, |request, number| match number % 7 {
            _ if !request.path().ends_with("/_bulk") => Fault::Pass,
            0 => Fault::DelayAfter(Duration::from_millis(400)),
            1 => Fault::DelayAfter(Duration::from_millis(250)),
            2 => Fault::DropAfter,
            3 => Fault::DelayAfter(Duration::from_millis(100)),
            5 => Fault::Status(429),
            _ => Fault::Pass,
        })
        .await;
        let config =
            format!("{}batch_bytes = \"30KB\"\nin_flight = 4\nmax_age = \"50ms\"\n", sink(&[&proxy.url], &index));
        let mut ferry = Ferry::new(&config);
        append(&ferry.path("a.log"), (0..MANY).map(|n| format!("line {n}")));
        for round in 1..=3u64 {
            let running = ferry.run();
            let enough = proxy.requests() + 12;
            until("some requests", async || (proxy.requests() > enough).then_some(())).await;
            append(&ferry.path("a.log"), [format!("round {round}")]);
            running.kill();
        }
        let running = ferry.run();
        until("the start", async || running.text().contains("started").then_some(())).await;
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{}: {}", engine.name, ended.stderr);
        let expected = (0..MANY).map(|n| format!("line {n}")).chain((1..=3).map(|n| format!("round {n}")));
        assert_each_once(&documents(&engine, &index, everything()).await, expected);
        assert!(ferry.dead_letters("es").is_empty());
        engine.forget(&index).await;
    }
}

/// Azure answers for whole calls: what was refused as a fault of the service is kept, and there once; what got no answer
/// may be there twice, with one EventID.
#[tokio::test(flavor = "multi_thread")]
async fn azure_gets_everything_after_each_of_its_faults() {
    let wait = Some(Duration::from_secs(1));
    for (fault, word, doubles) in [
        (AzureFault::Html(200), "web page", true),
        (AzureFault::Status(401, None), "401", false),
        (AzureFault::Status(403, None), "403", false),
        (AzureFault::Status(404, None), "404", false),
        (AzureFault::Status(307, None), "307", false),
        (AzureFault::Status(429, None), "429", false),
        (AzureFault::Status(429, wait), "429", false),
        (AzureFault::Status(503, wait), "503", false),
        (AzureFault::Hang, "timed out", true),
        (AzureFault::HangAfterStore, "timed out", true),
        (AzureFault::DropConnectionBefore, "no usable answer", true),
        (AzureFault::DropAfterStore, "no usable answer", true),
    ] {
        let server = AzureServer::start(AzureSettings::default());
        server.fault_rule(move |_| Some(fault));
        let mut ferry = Ferry::new(&format!("{FILES}{}timeout = \"2s\"\n", azure_sink(&server)));
        ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
        append(&ferry.path("a.log"), lines());
        let running = ferry.run();
        fault_said(&mut ferry, &running, "azure_monitor", word).await;
        server.fault_rule(|_| None);
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{fault:?}: {}", ended.stderr);
        assert!(ferry.dead_letters("azure_monitor").is_empty());
        let records = server.records();
        let ids: BTreeSet<&str> = records.iter().filter_map(|r| r["EventID"].as_str()).collect();
        let messages: BTreeSet<String> = records
            .iter()
            .filter_map(|r| r["Message"].as_str().map(str::to_owned))
            .filter(|m| m.starts_with("line"))
            .collect();
        assert_eq!(messages, lines().collect(), "{fault:?}");
        assert_eq!(ids.len(), LINES, "{fault:?}");
        assert!(doubles || records.len() == LINES, "{fault:?}: {} records", records.len());
    }
}
