//! The Elasticsearch sink against a real Elasticsearch and a real OpenSearch.

use std::sync::Arc;

use logferry::sink::elasticsearch::Elasticsearch;
use logferry::sink::http::{Auth, Compression, Secret};
use logferry::sink::{Asked, Batch, ItemAnswer, SendOutcome};
use serde_json::json;

use crate::http_sinks::{options, sink};
use crate::support::auth_proxy::{AuthProxy, Authority, Rules};
use crate::support::engine::Engine;
use crate::support::records::Origin;
use crate::support::stub::dead_url;

async fn send(sink: &Elasticsearch, batch: &Arc<Batch>) -> SendOutcome {
    sink.send(batch, 0..batch.len()).await
}

fn items(outcome: SendOutcome) -> Vec<ItemAnswer> {
    match outcome {
        SendOutcome::Items(items) => items,
        other => panic!("no items: {other:?}"),
    }
}

fn statuses(outcome: SendOutcome) -> Vec<u16> {
    items(outcome).iter().map(|item| item.status).collect()
}

#[tokio::test]
async fn records_are_stored_once_however_often_they_are_sent() {
    for engine in Engine::both().await {
        let index = engine.index("once").await;
        engine.forget(&index).await;
        let mut options = options(&[&engine.url], &index);
        options.compression = Compression::Gzip;
        let sink = sink(options);
        let origin = Origin::new("42");
        let batch = origin.plain(&sink, 1000);
        assert_eq!(send(&sink, &batch).await, SendOutcome::Accepted, "{}", engine.name);
        let again = items(send(&sink, &batch).await);
        assert_eq!(again.len(), 1000);
        assert!(again.iter().all(|item| item.status == 409), "{:?}", again[0]);
        assert_eq!(again[0].kind, "version_conflict_engine_exception");
        assert_eq!(engine.count(&index, origin.query()).await, 1000, "{}", engine.name);
        assert_eq!(sink.note().await, Ok(index.clone().into_bytes()), "a plain index is its own write index");
        assert_eq!(sink.ask(&batch, 0..1000, index.as_bytes()).await, Asked::SafeToSend);
        assert_eq!(sink.ask(&batch, 0..1000, b"").await, Asked::SafeToSend);
        engine.forget(&index).await;
    }
}

#[tokio::test]
async fn a_data_stream_comes_with_its_template_and_every_column_is_found() {
    for engine in Engine::both().await {
        let stream = engine.data_stream("columns").await;
        let sink = sink(options(&[&engine.url], &stream));
        let origin = Origin::new("42");
        let members = [
            r#""Level":"ERROR","LoggerName":"app.db","Message":"the pump is broken","Fields":{"task":{"kind":"swap"}},"DurationMs":1.5"#,
            r#""Level":"INFO","Message":"fine","Exception":{"Type":"ValueError","Message":"no","Stack":"Traceback …"}"#,
        ];
        let batch = origin.batch(&sink, &members);
        assert_eq!(send(&sink, &batch).await, SendOutcome::Accepted, "{}", engine.name);
        assert_eq!(statuses(send(&sink, &batch).await), [409, 409], "{}", engine.name);
        let note = String::from_utf8(sink.note().await.expect("a note")).expect("text");
        assert!(note.starts_with(".ds-"), "{note}");
        let found = async |query: serde_json::Value| {
            let query = json!({"bool": {"filter": [origin.query(), query]}});
            engine.count(&stream, query).await
        };
        for (query, expected) in [
            (json!({"term": {"RunID": "42"}}), 2),
            (json!({"term": {"log.level": "ERROR"}}), 1),
            (json!({"match": {"message": "pump"}}), 1),
            (json!({"term": {"service.name": "app.db"}}), 1),
            (json!({"term": {"host.name": "vm-7"}}), 2),
            (json!({"term": {"Fields.task.kind": "swap"}}), 1),
            (json!({"term": {"Exception.Type": "ValueError"}}), 1),
            (json!({"range": {"DurationMs": {"gt": 1}}}), 1),
            (json!({"term": {"Seq": 2}}), 1),
            (json!({"range": {"@timestamp": {"gte": logferry::record::time::rfc3339(origin.time + 1)}}}), 1),
        ] {
            assert_eq!(found(query.clone()).await, expected, "{} {query}", engine.name);
        }
        engine.forget(&stream).await;
    }
}

#[tokio::test]
async fn a_record_that_does_not_fit_the_mapping_is_refused_alone() {
    for engine in Engine::both().await {
        let index = engine.index("mapping").await;
        engine.forget(&index).await;
        let sink = sink(options(&[&engine.url], &index));
        let origin = Origin::new("42");
        let members = [r#""Message":"a""#, r#""Message":"b","Part":"one""#, r#""Message":"c""#, r#""Message":{}"#];
        let answers = items(send(&sink, &origin.batch(&sink, &members)).await);
        let statuses: Vec<u16> = answers.iter().map(|item| item.status).collect();
        assert_eq!(statuses, [201, 400, 201, 400], "{answers:?}");
        let kind = if engine.name == "opensearch" { "mapper_parsing_exception" } else { "document_parsing_exception" };
        assert_eq!(answers[1].kind, kind);
        assert!(answers[1].reason.contains("Part"), "{:?}", answers[1]);
        assert!(answers[0].kind.is_empty() && answers[0].reason.is_empty());
        assert_eq!(engine.count(&index, origin.query()).await, 2);
        engine.forget(&index).await;
    }
}

#[tokio::test]
async fn types_that_clash_in_fields_or_own_columns_are_no_errors() {
    for engine in Engine::both().await {
        for index in [engine.index("clash").await, engine.data_stream("clash").await] {
            let sink = sink(options(&[&engine.url], &index));
            let origin = Origin::new("42");
            let long = format!(r#""Own":"{}""#, "x".repeat(60_000));
            let members = [
                r#""Fields":{"a":1}"#,
                r#""Fields":{"a":"word"}"#,
                r#""Fields":{"a":{"b":[1,{"c":null},"x"]}}"#,
                r#""Fields":{"a":[true,1e300],"":{},".":1,"b..c":2}"#,
                r#""Fields":{}"#,
                r#""Own":1"#,
                r#""Own":"2026-01-01""#,
                r#""Own":true"#,
                r#""Own":1.5"#,
                r#""Own":"word""#,
                &long,
            ];
            let batch = origin.batch(&sink, &members);
            assert_eq!(send(&sink, &batch).await, SendOutcome::Accepted, "{} {index}", engine.name);
            assert_eq!(engine.count(&index, origin.query()).await, members.len() as u64);
            engine.forget(&index).await;
        }
    }
}

#[tokio::test]
async fn times_before_1970_and_with_nanoseconds_are_taken() {
    for engine in Engine::both().await {
        let stream = engine.data_stream("times").await;
        let sink = sink(options(&[&engine.url], &stream));
        for time in [-1, 0, 1_700_000_000_123_456_789, i64::MAX - 10] {
            let origin = Origin { time, ..Origin::new("42") };
            assert_eq!(send(&sink, &origin.plain(&sink, 1)).await, SendOutcome::Accepted, "{} {time}", engine.name);
        }
        engine.forget(&stream).await;
    }
}

#[tokio::test]
async fn a_template_of_somebody_else_stays_as_it_is() {
    for engine in Engine::both().await {
        let index = engine.index("theirs").await;
        let template = format!("_index_template/{index}");
        let body = json!({"index_patterns": [format!("{index}*")], "priority": 1,
            "template": {"mappings": {"properties": {"Level": {"type": "text"}}}}});
        engine.ok("PUT", &template, Some(body)).await;
        let sink = sink(options(&[&engine.url], &index));
        assert_eq!(send(&sink, &Origin::new("42").plain(&sink, 1)).await, SendOutcome::Accepted);
        let mapping = engine.ok("GET", &format!("{index}/_mapping"), None).await;
        assert_eq!(mapping[&index]["mappings"]["properties"]["Level"]["type"], "text", "{}", engine.name);
        let (status, _) = engine.call("GET", &format!("_index_template/logferry-{index}"), None).await;
        assert_eq!(status, 404, "{}: ours was not installed", engine.name);
        engine.forget(&index).await;
        engine.ok("DELETE", &template, None).await;
    }
}

#[tokio::test]
async fn names_that_depend_on_the_record_make_an_index_each() {
    for engine in Engine::both().await {
        let base = engine.index("each").await;
        let sink = sink(options(&[&engine.url], &format!("{base}-{{RunID}}-%Y")));
        let mut batch = Origin { time: 1_700_000_000_000_000_000, ..Origin::new("One") }.plain(&sink, 2);
        let other = Origin { time: 1_600_000_000_000_000_000, ..Origin::new("two") }.plain(&sink, 1);
        let both = Arc::get_mut(&mut batch).expect("not shared yet");
        both.ends.extend(other.ends.iter().map(|end| end + both.body.len()));
        both.body.extend(&other.body);
        both.ids.extend(&other.ids);
        assert_eq!(send(&sink, &batch).await, SendOutcome::Accepted, "{}", engine.name);
        assert_eq!(statuses(send(&sink, &batch).await), [409, 409, 409]);
        for (index, count) in [(format!("{base}-one-2023"), 2), (format!("{base}-two-2020"), 1)] {
            assert_eq!(engine.count(&index, json!({"match_all": {}})).await, count, "{} {index}", engine.name);
            let mapping = engine.ok("GET", &format!("{index}/_mapping"), None).await;
            assert_eq!(mapping[&index]["mappings"]["properties"]["Level"]["type"], "keyword", "our template");
            engine.forget(&index).await;
        }
        engine.forget(&format!("{base}-*-*")).await;
    }
}

#[tokio::test]
async fn a_closed_or_blocked_index_answers_for_each_record() {
    for engine in Engine::both().await {
        let index = engine.index("blocked").await;
        engine.forget(&index).await;
        let sink = sink(options(&[&engine.url], &index));
        let batch = Origin::new("42").plain(&sink, 2);
        assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
        let block = async |setting: &str, on: bool| {
            let value = if on { json!(true) } else { json!(null) };
            engine.ok("PUT", &format!("{index}/_settings"), Some(json!({ setting: value }))).await;
        };
        block("index.blocks.write", true).await;
        let [item] = &items(sink.send(&batch, 1..2).await)[..] else { panic!("one item") };
        assert_eq!((item.status, item.kind.as_str()), (403, "cluster_block_exception"), "{}", engine.name);
        let reason = sink.probe().await.expect_err("blocked");
        assert!(reason.contains("remove the block"), "{reason}");
        block("index.blocks.write", false).await;

        block("index.blocks.read_only_allow_delete", true).await;
        let [item] = &items(sink.send(&batch, 1..2).await)[..] else { panic!("one item") };
        assert_eq!((item.status, item.kind.as_str()), (429, "cluster_block_exception"), "{}", engine.name);
        block("index.blocks.read_only_allow_delete", false).await;

        engine.ok("POST", &format!("{index}/_close"), None).await;
        let [item] = &items(sink.send(&batch, 1..2).await)[..] else { panic!("one item") };
        assert_eq!((item.status, item.kind.as_str()), (400, "index_closed_exception"), "{}", engine.name);
        let reason = sink.probe().await.expect_err("closed");
        assert!(reason.contains("open it"), "{reason}");
        engine.ok("POST", &format!("{index}/_open"), None).await;
        engine.ok("GET", &format!("_cluster/health/{index}?wait_for_status=yellow&timeout=30s"), None).await;
        assert_eq!(statuses(sink.send(&batch, 0..2).await), [409, 201], "{}", engine.name);
        engine.forget(&index).await;
    }
}

/// The answer to a call is lost, the stream rolled over, the daemon asks: exactly what was stored, nothing else.
#[tokio::test]
async fn after_a_rollover_the_older_backing_indices_say_what_is_there() {
    for engine in Engine::both().await {
        let stream = engine.data_stream("rollover").await;
        let proxy = AuthProxy::new(&engine.url, None, Rules::default()).await;
        let sink = sink(options(&[&proxy.url], &stream));
        let origin = Origin::new("42");
        let warm_up = Origin::new("41").plain(&sink, 1);
        assert_eq!(send(&sink, &warm_up).await, SendOutcome::Accepted, "{}", engine.name);

        let batch = origin.plain(&sink, 12_000);
        let note = sink.note().await.expect("a note");
        proxy.lose_answers(1);
        let lost = sink.send(&batch, 0..7_000).await;
        assert!(matches!(lost, SendOutcome::Unknown { .. }), "{lost:?}");
        let expected: Vec<bool> = (0..12_000).map(|n| n < 7_000).collect();
        assert_eq!(sink.ask(&batch, 0..12_000, &note).await, Asked::Holds(expected.clone()), "before a rollover");

        engine.ok("POST", &format!("{stream}/_rollover"), None).await;
        assert_eq!(sink.ask(&batch, 0..12_000, &note).await, Asked::Holds(expected.clone()), "after a rollover");
        let behind = expected[6_000..].to_vec();
        assert_eq!(sink.ask(&batch, 6_000..12_000, &note).await, Asked::Holds(behind), "a part of it");
        assert_eq!(sink.send(&batch, 7_000..12_000).await, SendOutcome::Accepted);
        assert_eq!(engine.count(&stream, origin.query()).await, 12_000, "{}: 0 twice", engine.name);
        assert_eq!(sink.ask(&batch, 0..12_000, &note).await, Asked::Holds(vec![true; 12_000]), "over two indices");
        let later = sink.note().await.expect("a note");
        assert_ne!(later, note, "the answer named the new write index");

        proxy.set_rules(Rules { forbidden: vec!["GET /".to_owned()], ..Rules::default() });
        let asked = sink.ask(&batch, 0..1, &note).await;
        assert!(matches!(asked, Asked::CannotTell { .. }), "{asked:?}");
        engine.forget(&stream).await;
    }
}

#[tokio::test]
async fn behind_an_alias_the_write_index_is_the_one_that_the_alias_names() {
    for engine in Engine::both().await {
        let alias = engine.index("alias").await;
        let (first, second) = (format!("{alias}-1"), format!("{alias}-2"));
        for (index, writes) in [(&first, true), (&second, false)] {
            let body = json!({"aliases": {&alias: {"is_write_index": writes}}});
            engine.ok("PUT", index, Some(body)).await;
        }
        let sink = sink(options(&[&engine.url], &alias));
        let note = sink.note().await.expect("a note");
        assert_eq!(String::from_utf8_lossy(&note), first, "not the newest: {}", engine.name);
        let batch = Origin::new("42").plain(&sink, 2);
        assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
        assert_eq!(sink.note().await, Ok(note.clone()));
        let actions = json!({"actions": [
            {"add": {"index": &first, "alias": &alias, "is_write_index": false}},
            {"add": {"index": &second, "alias": &alias, "is_write_index": true}}]});
        engine.ok("POST", "_aliases", Some(actions)).await;
        assert_eq!(sink.ask(&batch, 0..2, &note).await, Asked::Holds(vec![true, false]), "{}", engine.name);
        engine.forget(&first).await;
        engine.forget(&second).await;
        engine.forget(&alias).await;
    }
}

#[tokio::test]
async fn of_several_endpoints_a_dead_one_is_passed_over() {
    for engine in Engine::both().await {
        let index = engine.index("endpoints").await;
        engine.forget(&index).await;
        let sink = sink(options(&[&dead_url().await, &engine.url, &dead_url().await], &index));
        let origin = Origin::new("42");
        let batch = origin.plain(&sink, 9);
        for n in 0..9 {
            assert_eq!(sink.send(&batch, n..n + 1).await, SendOutcome::Accepted, "{}", engine.name);
        }
        assert_eq!(engine.count(&index, origin.query()).await, 9);
        let text = sink.probe().await.expect("one answers");
        assert!(text.contains("not reachable now"), "{text}");
        engine.forget(&index).await;
    }
}

#[tokio::test]
async fn a_probe_names_the_server_and_stores_nothing() {
    for engine in Engine::both().await {
        for index in [engine.index("probe").await, engine.data_stream("probe").await] {
            engine.forget(&index).await;
            let text = sink(options(&[&engine.url], &index)).probe().await.expect("it would accept");
            let product = if engine.name == "opensearch" { "OpenSearch 2." } else { "Elasticsearch " };
            assert!(text.starts_with(product) && text.contains(&engine.url) && text.contains(&index), "{text}");
            assert!(text.chars().any(|c| c.is_ascii_digit()), "{text}");
            assert_eq!(engine.count(&index, json!({"match_all": {}})).await, 0, "{}", engine.name);
            engine.forget(&index).await;
        }
        let base = engine.index("probe-each").await;
        let text = sink(options(&[&engine.url], &format!("{base}-{{RunID}}"))).probe().await.expect("it would accept");
        assert!(text.contains("first record"), "{text}");
        let (status, _) = engine.call("GET", &format!("{base}-probe"), None).await;
        assert_eq!(status, 404, "{}: no index was made", engine.name);
        engine.forget(&format!("{base}-*")).await;
    }
}

#[tokio::test]
async fn each_kind_of_credential_is_shown_over_tls_and_a_wrong_one_is_refused() {
    let engine = Engine::elasticsearch().await;
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let ca_file = authority.write_ca(folder.path());
    let index = engine.index("auth").await;
    engine.forget(&index).await;
    let basic = |password: &str| Auth::Basic { username: "ferry".to_owned(), password: Secret::new(password) };
    let check = async |right: Auth, wrong: Auth, header: &str| {
        let rules = Rules { authorization: Some(header.to_owned()), ..Rules::default() };
        let proxy = AuthProxy::new(&engine.url, Some(&authority), rules).await;
        let with = |auth: &Auth| {
            let mut options = options(&[&proxy.url], &index);
            options.auth = auth.clone();
            options.http.ca_file = Some(ca_file.clone());
            sink(options)
        };
        let good = with(&right);
        assert_eq!(send(&good, &Origin::new("42").plain(&good, 3)).await, SendOutcome::Accepted, "{right:?}");
        good.probe().await.expect("it would accept");
        assert_eq!(proxy.refused(), 0);
        for auth in [wrong, Auth::None] {
            let bad = with(&auth);
            let outcome = send(&bad, &Origin::new("42").plain(&bad, 3)).await;
            assert!(matches!(outcome, SendOutcome::Refused { status: 401, .. }), "{outcome:?}");
            let reason = bad.probe().await.expect_err("wrong credentials");
            assert!(reason.contains("check api_key") && !reason.contains("sesame"), "{reason}");
        }
    };
    check(Auth::ApiKey(Secret::new("b3Blbg==")), Auth::ApiKey(Secret::new("sesame")), "ApiKey b3Blbg==").await;
    check(Auth::Bearer(Secret::new("t0ken")), Auth::Bearer(Secret::new("sesame")), "Bearer t0ken").await;
    check(basic("open"), basic("sesame"), "Basic ZmVycnk6b3Blbg==").await;
    assert_eq!(engine.count(&index, json!({"match_all": {}})).await, 9);
    engine.forget(&index).await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_gets_nothing() {
    let engine = Engine::opensearch().await;
    let (here, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let authority = Authority::new();
    let proxy = AuthProxy::new(&engine.url, Some(&authority), Rules::default()).await;
    let wrong_ca = Authority::new().write_ca(elsewhere.path());
    for ca_file in [None, Some(wrong_ca)] {
        let mut options = options(&[&proxy.url], "lftest-untrusted");
        options.http.ca_file = ca_file;
        let sink = sink(options);
        let outcome = send(&sink, &Origin::new("42").plain(&sink, 1)).await;
        let SendOutcome::NotSent { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.to_lowercase().contains("certificate"), "{reason}");
        let reason = sink.probe().await.expect_err("no trust");
        assert!(reason.contains("ca_file"), "{reason}");
    }
    let no_pem = here.path().join("empty.pem");
    std::fs::write(&no_pem, "nothing").expect("a file");
    for ca_file in [no_pem, here.path().join("missing.pem")] {
        let mut options = options(&[&proxy.url], "lftest-untrusted");
        options.http.ca_file = Some(ca_file.clone());
        let error = Elasticsearch::new(options, "test").expect_err("no certificate").to_string();
        assert!(error.contains("ca_file") && error.contains(&ca_file.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_our_certificate_gets_it() {
    let engine = Engine::opensearch().await;
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let rules = Rules { client_certificate: true, ..Rules::default() };
    let proxy = AuthProxy::new(&engine.url, Some(&authority), rules).await;
    let index = engine.index("mtls").await;
    let mut options = options(&[&proxy.url], &index);
    options.http.ca_file = Some(authority.write_ca(folder.path()));
    let without = sink(options.clone());
    let outcome = send(&without, &Origin::new("42").plain(&without, 1)).await;
    assert!(matches!(outcome, SendOutcome::NotSent { .. }), "{outcome:?}");
    options.http.client_cert_file = Some(authority.write_client(folder.path()));
    let with = sink(options);
    assert_eq!(send(&with, &Origin::new("42").plain(&with, 1)).await, SendOutcome::Accepted);
    engine.forget(&index).await;
}

#[tokio::test]
async fn the_right_to_write_alone_is_enough() {
    let engine = Engine::opensearch().await;
    let index = engine.index("write-only").await;
    let rules = Rules { forbidden: ["GET /", "PUT /", "POST /.ds-"].map(str::to_owned).to_vec(), ..Rules::default() };
    let proxy = AuthProxy::new(&engine.url, None, rules).await;
    let sink = sink(options(&[&proxy.url], &index));
    let batch = Origin::new("42").plain(&sink, 2);
    assert_eq!(sink.note().await, Ok(Vec::new()));
    assert_eq!(send(&sink, &batch).await, SendOutcome::Accepted);
    let asked = sink.ask(&batch, 0..2, b"").await;
    assert!(matches!(asked, Asked::CannotTell { .. }), "{asked:?}");
    let text = sink.probe().await.expect("it would accept");
    assert!(text.contains("a server that does not say what it is"), "{text}");
    engine.forget(&index).await;
}
