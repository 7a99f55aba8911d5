//! `logferry verify` against a real Elasticsearch and a real OpenSearch: a run of the real binary, and documents made by
//! hand for what a good run never leaves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http_sinks::{options, sink};
use crate::support::engine::Engine;
use crate::support::ferry::{Ended, Ferry, append};
use crate::support::stub::dead_url;

const SINK: &str = "elasticsearch";

fn configuration(engine: &Engine, index: &str) -> String {
    format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/runs/{{RunID}}/{{TaskID}}/*.log\"]\n\
         [sinks.{SINK}]\nendpoints = [\"{}\"]\nindex = \"{index}\"\n",
        engine.url
    )
}

fn verify(ferry: &mut Ferry, run: &str) -> Ended {
    ferry.call(&["verify", "--run-id", run])
}

/// A RunID that no earlier run of the tests has used.
fn run_id(test: &str) -> String {
    let random = logferry::record::OriginId::random().expect("random bits");
    format!("{test}-{random}")
}

/// Documents made by hand, in the manifest's format.
struct Hand {
    run: String,
    vm: String,
    documents: Vec<Value>,
}

impl Hand {
    fn new(run: &str, vm: &str) -> Self {
        Hand { run: run.to_owned(), vm: vm.to_owned(), documents: Vec::new() }
    }

    fn document(&mut self, source: &str, origin: &str, seq: u64, rest: Value) {
        let mut document = json!({"@timestamp": "2026-11-20T10:00:00Z", "RunID": self.run, "VMName": self.vm,
            "Source": source, "Origin": origin, "Seq": seq, "EventID": format!("{origin}-{seq}")});
        document.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        self.documents.push(document);
    }

    /// The records of one origin.
    fn records(&mut self, origin: &str, seqs: impl IntoIterator<Item = u64>) -> &mut Self {
        for seq in seqs {
            self.document(
                "files",
                origin,
                seq,
                json!({"FilePath": format!("/{origin}.log"), "TaskID": "t1", "Message": "m"}),
            );
        }
        self
    }

    /// The manifest record of one origin; `figures` over what a complete one says.
    fn origin(
        &mut self,
        id: &str,
        seq: u64,
        incarnation: u64,
        origin: &str,
        records: u64,
        figures: Value,
    ) -> &mut Self {
        let mut fields = json!({
            "incarnation": incarnation, "origin": origin, "complete": true, "ended": true,
            "columns": {"RunID": self.run, "TaskID": "t1", "VMName": self.vm, "FilePath": format!("/{origin}.log")},
            "lines": records, "bytes": records * 10, "recorded_lines": records, "filtered_lines": 0, "sampled_lines": 0,
            "first_seq": 1, "last_seq": records, "gaps": 0, "gap_bytes": 0, "gap_kinds": [],
            "sinks": {SINK: {"routed": records, "dead_lettered": 0, "evicted": 0, "abandoned": 0, "buffered": 0}}});
        fields.as_object_mut().expect("an object").extend(figures.as_object().expect("an object").clone());
        self.document("logferry", id, seq, json!({"EventType": "logferry.manifest.origin", "Fields": fields}));
        self
    }

    fn summary(
        &mut self,
        id: &str,
        seq: u64,
        incarnation: u64,
        origins: u64,
        records: u64,
        figures: Value,
    ) -> &mut Self {
        let mut fields = json!({
            "incarnation": incarnation, "complete": true, "run_id": self.run, "vm_name": self.vm,
            "origins": origins, "retired": origins, "lines": records, "bytes": records * 10, "recorded_lines": records,
            "filtered_lines": 0, "sampled_lines": 0, "records": records, "gaps": 0, "gap_bytes": 0, "notes": [],
            "sinks": {SINK: {"routed": records, "dead_lettered": 0, "evicted": 0, "abandoned": 0, "buffered": 0}}});
        fields.as_object_mut().expect("an object").extend(figures.as_object().expect("an object").clone());
        self.document("logferry", id, seq, json!({"EventType": "logferry.manifest", "Fields": fields}));
        self
    }

    /// Stores the documents in the index, with its template.
    async fn store(&mut self, engine: &Engine, index: &str) {
        sink(options(&[&engine.url], index)).probe().await.expect("a template");
        for chunk in self.documents.chunks(5_000) {
            let mut body = String::new();
            for document in chunk {
                body.push_str(&format!("{{\"create\":{{\"_id\":{}}}}}\n{document}\n", document["EventID"]));
            }
            let request = reqwest::Client::builder().no_proxy().build().expect("a client");
            let request =
                request.post(format!("{}/{index}/_bulk", engine.url)).header("content-type", "application/x-ndjson");
            let answer = request.body(body).send().await.expect("an answer").text().await.expect("a body");
            assert!(answer.contains("\"errors\":false"), "{}: {}", engine.name, &answer[..answer.len().min(1_000)]);
        }
        self.documents.clear();
    }
}

/// Deletes documents of an origin by hand.
async fn delete(engine: &Engine, index: &str, origin: &str, seqs: &[u64]) {
    let query = json!({"bool": {"filter": [{"term": {"Origin": origin}}, {"terms": {"Seq": seqs}}]}});
    let found = engine.ok("POST", &format!("{index}/_search"), Some(json!({"query": query, "size": 100}))).await;
    let hits = found["hits"]["hits"].as_array().expect("hits");
    assert_eq!(hits.len(), seqs.len(), "{found}");
    for hit in hits {
        let (index, id) = (hit["_index"].as_str().expect("a name"), hit["_id"].as_str().expect("an id"));
        engine.ok("DELETE", &format!("{index}/_doc/{id}"), None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_run_is_equal_and_what_is_deleted_by_hand_is_named() {
    for engine in Engine::both().await {
        let plain = engine.index("verified").await;
        for index in [engine.data_stream("verified").await, format!("{plain}-{{RunID}}-%Y")] {
            let run = run_id("good");
            let mut ferry = Ferry::new(&configuration(&engine, &index));
            for task in ["t1", "t2"] {
                let folder = ferry.path(&format!("runs/{run}/{task}"));
                std::fs::create_dir_all(&folder).expect("a folder");
                append(&folder.join("a.log"), (1..=1_000).map(|n| format!("line {n}")));
            }
            let before = verify(&mut ferry, &run);
            assert_eq!(before.code, Some(3), "{}{}", before.stdout, before.stderr);
            assert!(before.stdout.contains("the sink holds no manifest of this run"), "{}", before.stdout);

            let shipped = ferry.call(&["ship"]);
            assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
            for task in ["t1", "t2"] {
                let log = ferry.path(&format!("runs/{run}/{task}/a.log"));
                append(&log, (1_001..=1_424).map(|n| format!("line {n}")));
            }
            let shipped = ferry.call(&["ship"]);
            assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
            let good = verify(&mut ferry, &run);
            assert_eq!(good.code, Some(0), "{}: {}{}", engine.name, good.stdout, good.stderr);
            assert_eq!(
                good.stdout,
                format!("equal: run {run} in {SINK}\n  vm-7: equal: 2,848 records for 2,848 of 2 origins\n")
            );

            let pattern = if index == format!("{plain}-{{RunID}}-%Y") { format!("{plain}-*") } else { index };
            let query = json!({"bool": {"filter": [{"term": {"RunID": run}}, {"term": {"TaskID": "t2"}}, {"term": {"Seq": 1}}]}});
            let found = engine.ok("POST", &format!("{pattern}/_search"), Some(json!({"query": query}))).await;
            let origin = found["hits"]["hits"][0]["_source"]["Origin"].as_str().expect("an origin").to_owned();
            delete(&engine, &pattern, &origin, &[17, 40, 41]).await;
            let short = verify(&mut ferry, &run);
            assert_eq!(short.code, Some(3), "{}", short.stderr);
            let path = ferry.path(&format!("runs/{run}/t2/a.log"));
            let line = format!("short: vm-7, {}, t2, {origin}: 3 of 1,424 missing: Seq 17, 40-41", path.display());
            assert_eq!(short.stdout.lines().nth(2), Some(line.as_str()), "{}", short.stdout);
            assert_eq!(short.stdout.lines().count(), 3, "{}", short.stdout);

            let json = ferry.call(&["verify", "--json", "--sink", SINK, "--run-id", &run]);
            assert_eq!(json.code, Some(3), "{}", json.stderr);
            let verdict: Value = serde_json::from_str(&json.stdout).expect("JSON");
            assert_eq!((&verdict["equal"], &verdict["run_id"]), (&false.into(), &run.as_str().into()));
            assert_eq!(verdict["findings"][0]["holes"]["spans"], json!([[17, 17], [40, 41]]));
            assert_eq!(verdict["findings"][0]["reasons"], json!(["missing"]));
            assert_eq!(
                verdict["vms"][0],
                json!({"VMName": "vm-7", "manifests": 1, "origins": 2, "unlisted": 0,
                "expected": 2848, "found": 2845, "equal": false})
            );
            if pattern.starts_with("logs-") {
                engine.forget(&pattern).await;
                continue;
            }
            // Neither engine need delete by a pattern.
            let indices = engine.ok("GET", &format!("{pattern}/_settings/index.creation_date"), None).await;
            for index in indices.as_object().expect("indices").keys() {
                engine.forget(index).await;
            }
            engine.forget(&format!("{plain}-*-*")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_cannot_prove_is_named() {
    for engine in Engine::both().await {
        let index = engine.index("named").await;
        let mut ferry = Ferry::new(&configuration(&engine, &index));
        let run = run_id("named");
        let mut hand = Hand::new(&run, "vm-1");
        // A repeat: the second incarnation holds, in whatever order they are read.
        hand.origin("m1", 1, 1, "a", 3, json!({"complete": false})).summary(
            "m1",
            2,
            1,
            1,
            3,
            json!({"complete": false}),
        );
        hand.origin("m1", 3, 2, "a", 5, json!({})).summary("m1", 4, 2, 1, 5, json!({}));
        hand.records("a", 1..=5);
        hand.store(&engine, &index).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(0), "{}: {}", engine.name, ended.stdout);

        // Two more VMs: one without a manifest, one whose manifest is short of a record.
        hand.vm = "vm-2".to_owned();
        hand.records("b", [1, 2, 4, 7]);
        hand.vm = "vm-3".to_owned();
        hand.records("c", 1..=2).origin("m3", 1, 1, "c", 2, json!({})).summary("m3", 3, 1, 2, 4, json!({}));
        hand.vm = "vm-4".to_owned();
        let partly = json!({SINK: {"routed": 5, "dead_lettered": 1, "evicted": 0, "abandoned": 0, "buffered": 2}});
        hand.records("d", [1, 2, 4, 5]);
        hand.origin("m4", 1, 1, "d", 5, json!({"complete": false, "sinks": partly}));
        hand.records("e", 1..=6).origin("m4", 2, 1, "e", 4, json!({}));
        hand.records("f", 1..=2).origin(
            "m4",
            3,
            1,
            "f",
            2,
            json!({"sinks": {"es": {"routed": 2}, "az": {"routed": 2}}}),
        );
        hand.records("g", 1..=2);
        let truncated = json!({"complete": false, "gaps": 2, "gap_bytes": 70, "gap_kinds": ["truncated"]});
        hand.origin("m4", 4, 1, "g", 2, truncated);
        let sums = json!({"complete": false, "gaps": 2, "gap_bytes": 70, "sinks": {SINK: {"routed": 11, "dead_lettered": 1, "buffered": 2}}});
        hand.summary("m4", 5, 1, 4, 13, sums);
        hand.store(&engine, &index).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(3), "{}: {}", engine.name, ended.stdout);
        let expected = [
            format!("short: run {run} in {SINK}"),
            "  vm-1: equal: 5 records for 5 of 1 origin".to_owned(),
            "  vm-2: short: no manifest, 4 records of 1 origin".to_owned(),
            "  vm-3: short: 2 records for 2 of 1 origin".to_owned(),
            "  vm-4: short: 12 records for 8 of 4 origins".to_owned(),
            "short: vm-2, /b.log, t1, b: the VM has no manifest: 4 records, Seq 1 to 7; not there: Seq 3, 5-6"
                .to_owned(),
            "short: vm-3, m3: the manifest itself is short: 1 of 2 origin records".to_owned(),
            "short: vm-4, /d.log, t1, d: not there: Seq 3; 1 dead-lettered".to_owned(),
            "short: vm-4, /e.log, t1, e: written after the manifest: Seq 5-6".to_owned(),
            format!("short: vm-4, /f.log, t1, f: the manifest knows no sink {SINK}: it knows az, es"),
            "short: vm-4, /g.log, t1, g: 2 gaps (truncated), 70 bytes".to_owned(),
        ];
        assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), expected, "{}", engine.name);
        engine.forget(&index).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_there_twice_hides_none_that_is_missing() {
    for engine in Engine::both().await {
        let stream = engine.data_stream("twice").await;
        let mut ferry = Ferry::new(&configuration(&engine, &stream));
        let run = run_id("twice");
        let mut hand = Hand::new(&run, "vm-1");
        // Four Seq that balance each other: neither the count nor the sum of Seq tells.
        hand.records(&run, [1, 2, 4, 5]).store(&engine, &stream).await;
        engine.ok("POST", &format!("{stream}/_rollover"), None).await;
        hand.records(&run, [4, 5, 7, 8]);
        hand.origin(&format!("m-{run}"), 1, 1, &run, 8, json!({})).summary(&format!("m-{run}"), 2, 1, 1, 8, json!({}));
        hand.store(&engine, &stream).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(3), "{}: {}", engine.name, ended.stdout);
        let line = ended.stdout.lines().nth(2).expect("a finding");
        assert!(line.ends_with("2 of 8 missing: Seq 3, 6; there more than once: Seq 4-5"), "{}", ended.stdout);

        // The same in the middle of a window of Seq that is as full as it should be.
        let (long, long_run) = (format!("long-{run}"), run_id("twice-long"));
        let mut many = Hand::new(&long_run, "vm-1");
        many.records(&long, (1..=20_100).filter(|seq| ![15_001, 15_004].contains(seq))).store(&engine, &stream).await;
        engine.ok("POST", &format!("{stream}/_rollover"), None).await;
        many.records(&long, 15_002..=15_003);
        many.origin(&format!("m-{long}"), 1, 1, &long, 20_100, json!({}));
        many.summary(&format!("m-{long}"), 2, 1, 1, 20_100, json!({})).store(&engine, &stream).await;
        let ended = verify(&mut ferry, &long_run);
        let line = ended.stdout.lines().nth(2).expect("a finding");
        let expected = "2 of 20,100 missing: Seq 15001, 15004; there more than once: Seq 15002-15003";
        assert!(line.ends_with(expected), "{}: {}", engine.name, ended.stdout);

        // Once the holes are filled the doubles alone remain.
        hand.records(&run, [3, 6]).store(&engine, &stream).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(3), "{}: {}", engine.name, ended.stdout);
        let line = ended.stdout.lines().nth(2).expect("a finding");
        assert!(line.ends_with(": there more than once: Seq 4-5"), "{}", ended.stdout);
        engine.forget(&stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_more_origins_than_one_page_is_read_whole() {
    const ORIGINS: u64 = 12_000;
    for engine in Engine::both().await {
        let index = engine.index("pages").await;
        let mut ferry = Ferry::new(&configuration(&engine, &index));
        let run = run_id("pages");
        let mut hand = Hand::new(&run, "vm-1");
        for n in 0..ORIGINS {
            let origin = format!("o{n}");
            hand.records(&origin, [1]).origin("m1", n + 1, 1, &origin, 1, json!({}));
        }
        hand.summary("m1", ORIGINS + 1, 1, ORIGINS, ORIGINS, json!({"bytes": ORIGINS * 10}));
        // And one with more Seq than one window has.
        hand.records("long", 1..=25_000).origin("m1", ORIGINS + 2, 2, "long", 25_000, json!({}));
        hand.summary("m1", ORIGINS + 3, 2, ORIGINS + 1, ORIGINS + 25_000, json!({}));
        hand.store(&engine, &index).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(0), "{}: {}", engine.name, ended.stdout);
        assert!(ended.stdout.contains("37,000 records for 37,000 of 12,001 origins"), "{}", ended.stdout);
        delete(&engine, &index, "o11999", &[1]).await;
        delete(&engine, &index, "long", &[9_999, 10_000, 20_000, 25_000]).await;
        let ended = verify(&mut ferry, &run);
        assert_eq!(ended.code, Some(3), "{}: {}", engine.name, ended.stdout);
        let lines: Vec<&str> = ended.stdout.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "short: vm-1, /long.log, t1, long: 4 of 25,000 missing: Seq 9999-10000, 20000, 25000",
                "short: vm-1, /o11999.log, t1, o11999: 1 of 1 missing: Seq 1",
            ]
        );
        engine.forget(&index).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_as_soon_as_it_is_equal() {
    let engine = Engine::opensearch().await;
    let index = engine.index("waits").await;
    let mut ferry = Ferry::new(&configuration(&engine, &index));
    let run = run_id("waits");
    let mut hand = Hand::new(&run, "vm-1");
    hand.records("a", 1..=2).origin("m1", 1, 1, "a", 3, json!({})).summary("m1", 2, 1, 1, 3, json!({}));
    hand.store(&engine, &index).await;
    let waited = ferry.call(&["verify", "--run-id", &run, "--wait", "1s"]);
    assert_eq!(waited.code, Some(3), "{}", waited.stderr);
    assert!(waited.stdout.contains("1 of 3 missing: Seq 3"), "the last difference: {}", waited.stdout);
    let begun = std::time::Instant::now();
    let waiting = std::thread::spawn({
        let run = run.clone();
        move || ferry.call(&["verify", "--run-id", &run, "--wait", "10m"])
    });
    hand.records("a", 3..=3).store(&engine, &index).await;
    let waited = tokio::task::spawn_blocking(|| waiting.join().expect("no panic")).await.expect("it ended");
    assert_eq!(waited.code, Some(0), "{}{}", waited.stdout, waited.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60), "it did not wait for the whole time");
    engine.forget(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_a_failure_and_what_cannot_be_meant_is_usage() {
    let elasticsearch = |name: &str, url: &str| {
        format!("[sinks.{name}]\ntype = \"elasticsearch\"\nendpoints = [\"{url}\"]\ntimeout = \"2s\"\n")
    };
    let dead = dead_url().await;
    let console = "[sinks.console]\n".to_owned();
    let check = |config: &str, rest: &[&str], code: i32, said: &str| {
        let mut ferry = Ferry::new(config);
        let mut arguments = vec!["verify", "--run-id", "42"];
        arguments.extend_from_slice(rest);
        let ended = ferry.call(&arguments);
        assert_eq!(ended.code, Some(code), "{rest:?} of {config}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stdout.is_empty(), "{}{}", ended.stdout, ended.stderr);
    };
    check(&elasticsearch("es", &dead), &[], 1, &dead);
    check(&elasticsearch("es", &dead), &["--wait", "1s"], 1, &dead);
    check(&console, &[], 2, "no sink of the configuration can be read back");
    let two = elasticsearch("one", &dead) + &elasticsearch("two", &dead) + &console;
    check(&two, &[], 2, "choose one with --sink: one, two");
    check(&two, &["--sink", "three"], 2, "there is no sink three; of those that can be read, these can: one, two");
    check(&two, &["--sink", "console"], 2, "the sink console cannot be read back; these can: one, two");
    check(&two, &["--sink", "two"], 1, &dead);
    check(&two, &["--wait", "soon"], 2, "expected a time such as 90s");
    check("", &[], 2, "sinks");
}
