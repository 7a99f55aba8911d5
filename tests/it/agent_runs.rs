//! Runs of agents, and columns of one's own, on a real Elasticsearch and a real OpenSearch: the queries that are shipped give
//! the answers that the samples hold.

use std::path::{Path, PathBuf};

use logferry::record::column::AzureType;
use serde_json::{Value, json};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings};
use crate::support::engine::Engine;
use crate::support::ferry::{Ferry, append};
use crate::support::search::{count, documents};

/// The execution of the sample that is asked for; a second one stands between its lines.
const EXECUTION: &str = "exec-7f3a";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sample() -> String {
    std::fs::read_to_string(repository("tests/data/agents/run.ndjson")).expect("the sample")
}

/// A sink to each engine, and the index of each.
async fn sinks(engines: &[Engine], test: &str) -> (String, Vec<String>) {
    let (mut config, mut indices) = (String::new(), Vec::new());
    for engine in engines {
        let index = engine.index(test).await;
        engine.forget(&index).await;
        config.push_str(&format!(
            "[sinks.{}]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"{index}\"\n",
            engine.name, engine.url
        ));
        indices.push(index);
    }
    (config, indices)
}

/// Ships a text with this configuration, all of it.
fn ship(ferry: &mut Ferry, text: &str) {
    append(&ferry.path("app.log"), text.lines().map(str::to_owned));
    let shipped = ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
}

/// What a shipped query says of a run.
async fn ask(engine: &Engine, index: &str, query: &str, run: &str) -> Value {
    let path = repository("packaging/elasticsearch/queries").join(query);
    let text = std::fs::read_to_string(&path).expect("a query");
    assert!(text.contains("\"42\""), "{query} names its run");
    let body: Value = serde_json::from_str(&text.replace("\"42\"", &json!(run).to_string())).expect("JSON");
    engine.ok("POST", &format!("{index}/_refresh"), None).await;
    let answer = engine.ok("POST", &format!("{index}/_search"), Some(body)).await;
    assert_eq!(answer["_shards"]["failed"], 0, "{} {query}: {answer}", engine.name);
    answer
}

/// The buckets of an aggregation, by key, as `read` sees them.
fn buckets<T>(aggregation: &Value, read: impl Fn(&Value) -> T) -> Vec<(String, T)> {
    let buckets = aggregation["buckets"].as_array().unwrap_or_else(|| panic!("buckets in {aggregation}"));
    buckets.iter().map(|bucket| (bucket["key"].as_str().expect("a key").to_owned(), read(bucket))).collect()
}

/// Task, EventType or Message, and Status of each state change, in their order.
fn states(answer: &Value) -> Vec<[String; 3]> {
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let state = |hit: &Value| {
        let source = &hit["_source"];
        [text(&source["TaskID"]), text(&source["EventType"]), text(&source["Status"])]
    };
    hits.iter().map(state).collect()
}

fn expected_states() -> Vec<[String; 3]> {
    [
        ["-", "crew_started", "started"],
        ["task-1", "task_started", "running"],
        ["task-1", "task_completed", "completed"],
        ["task-2", "task_started", "running"],
        ["task-2", "task_retrying", "retrying"],
        ["task-2", "task_started", "running"],
        ["task-2", "task_completed", "completed"],
        ["task-3", "task_started", "running"],
        ["task-3", "tool_failed", "failed"],
        ["task-3", "task_retrying", "retrying"],
        ["task-3", "task_completed", "completed"],
        ["-", "crew_failed", "failed"],
    ]
    .map(|state| state.map(str::to_owned))
    .to_vec()
}

/// Calls, tokens of prompt, completion and both, and cost in ten-thousandths.
fn tokens(answer: &Value) -> Vec<(String, [u64; 5])> {
    let number = |bucket: &Value, name: &str, factor: f64| {
        let value = bucket[name]["value"].as_f64().unwrap_or_else(|| panic!("{name} in {bucket}")) * factor;
        assert!((value - value.round()).abs() < 1e-6, "{name} in {bucket}");
        value.round() as u64
    };
    buckets(&answer["aggregations"]["models"], |bucket| {
        let [calls, prompt, completion, total] =
            ["Calls", "PromptTokens", "CompletionTokens", "TotalTokens"].map(|name| number(bucket, name, 1.0));
        [calls, prompt, completion, total, number(bucket, "Cost", 10_000.0)]
    })
}

fn owned<T>(expected: impl IntoIterator<Item = (&'static str, T)>) -> Vec<(String, T)> {
    expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Sorted, where an engine gives those of equal count in any order.
fn sorted<T: Ord>(mut found: Vec<(String, T)>) -> Vec<(String, T)> {
    found.sort();
    found
}

#[tokio::test]
async fn the_shipped_queries_give_back_a_run_of_agents() {
    let engines = Engine::both().await;
    let (sinks, indices) = sinks(&engines, "agents").await;
    let mut ferry = Ferry::new(&format!("[[sources.file]]\nname = \"agents\"\ninclude = [\"{{dir}}/*.log\"]\n{sinks}"));
    ship(&mut ferry, &sample());
    for (engine, index) in engines.iter().zip(&indices) {
        let name = engine.name;
        let answer = ask(engine, index, "execution.json", EXECUTION).await;
        assert_eq!(states(&answer), expected_states(), "{name}");
        let times: Vec<&str> = answer["hits"]["hits"]
            .as_array()
            .expect("hits")
            .iter()
            .filter_map(|hit| hit["_source"]["@timestamp"].as_str())
            .collect();
        assert!(times.len() == expected_states().len() && times.is_sorted(), "{name}: {times:?}");
        let attempts: Vec<&Value> = answer["hits"]["hits"]
            .as_array()
            .expect("hits")
            .iter()
            .filter(|hit| hit["_source"]["TaskID"] == "task-3")
            .map(|hit| &hit["_source"]["Fields"]["attempt"])
            .collect();
        assert_eq!(attempts, [1, 1, 2, 3], "{name}: one place, wherever it stood in the line");

        let answer = ask(engine, index, "tokens-by-model.json", EXECUTION).await;
        let expected = owned([
            ("code-2", [2, 11_200, 2_300, 13_500, 627]),
            ("large-1", [2, 4_700, 720, 5_420, 373]),
            ("small-1", [3, 2_000, 180, 2_180, 9]),
            ("local-0", [0, 0, 0, 0, 0]),
        ]);
        assert_eq!(tokens(&answer), expected, "{name}");

        let errors = ask(engine, index, "errors-by-type.json", EXECUTION).await;
        let errors = &errors["aggregations"];
        let of = |bucket: &Value| (bucket["doc_count"].as_u64(), bucket["Tasks"]["value"].as_u64());
        let expected = owned([
            ("DeliveryError", (Some(1), Some(0))),
            ("RateLimitError", (Some(2), Some(2))),
            ("ToolError", (Some(1), Some(1))),
        ]);
        assert_eq!(sorted(buckets(&errors["by_error_type"], of)), expected, "{name}");
        let raised = buckets(&errors["by_exception"]["types"], of);
        assert_eq!(raised, owned([("TimeoutError", (Some(1), Some(1)))]), "{name}");
        let loggers = buckets(&errors["without_a_type"]["loggers"], |bucket| bucket["doc_count"].as_u64());
        assert_eq!(loggers, owned([("crew.runtime", Some(1))]), "{name}");

        let answer = ask(engine, index, "slowest-tasks.json", EXECUTION).await;
        let slowest = buckets(&answer["aggregations"]["tasks"], |bucket| {
            let record = &bucket["slowest"]["hits"]["hits"][0]["_source"];
            (bucket["DurationMs"]["value"].as_f64().map(|ms| ms as u64), record["Message"].as_str().map(str::to_owned))
        });
        let said = |ms, message: &str| (Some(ms), Some(message.to_owned()));
        let expected = owned([
            ("task-3", said(22_000, "it is mended")),
            ("task-2", said(11_000, "the cause is known")),
            ("task-1", said(4_000, "plan is ready")),
            ("task-4", said(1_500, "review done")),
        ]);
        assert_eq!(slowest, expected, "{name}");
        // What has no column has one place, and is found there.
        for (field, value, expected) in [
            ("Fields.crew_name", json!("bench-crew"), 13),
            ("Fields.priority", json!("2"), 11),
            ("Fields.agent_name", json!("Coder"), 0),
            ("Fields.total_tokens", json!("n/a"), 1),
            ("Fields.total_tokens", json!("1500"), 1),
            ("Fields.model_name", json!("small-1"), 3),
            ("Fields.error_type", json!("ToolError"), 1),
            ("LoggerName", json!("Coder"), 5),
        ] {
            let found = count(engine, index, json!({"term": {field: value}})).await;
            assert_eq!(found, expected, "{name} {field}");
        }
        engine.forget(index).await;
    }
}

#[tokio::test]
async fn an_execution_is_found_too_where_the_configuration_gives_the_run() {
    let engines = Engine::both().await;
    let (sinks, indices) = sinks(&engines, "agents-run").await;
    let mut ferry = Ferry::new(&format!(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"bench-9\"\n[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{sinks}"
    ));
    ship(&mut ferry, &sample());
    for (engine, index) in engines.iter().zip(&indices) {
        let answer = ask(engine, index, "execution.json", EXECUTION).await;
        assert_eq!(states(&answer), expected_states(), "{}", engine.name);
        // The run holds both executions.
        let answer = ask(engine, index, "tokens-by-model.json", "bench-9").await;
        let large = tokens(&answer).into_iter().find(|(model, _)| model == "large-1");
        assert_eq!(large, Some(("large-1".to_owned(), [3, 5_699, 721, 6_420, 5_373])), "{}", engine.name);
        engine.forget(index).await;
    }
}

#[test]
fn a_path_comes_before_the_run_and_the_run_before_a_line() {
    let mut ferry = Ferry::new(
        "[run]\nvm_name = \"vm-7\"\nrun_id = \"run-given\"\ntask_id = \"task-given\"\n\
         [record]\ncolumns = { UserID = \"user_id\", Benchmark = \"suite\" }\n\
         [[sources.file]]\ninclude = [\"{dir}/runs/{RunID}/*.log\", \"{dir}/of/{UserID}/*.log\"]\n\
         [sinks.file]\npath = \"{dir}/out/r.ndjson\"\n",
    );
    let line = r#"{"run_id":"r","context":{"task_id":"t","user_id":"u"},"suite":"s"}"#;
    for folder in ["runs/run-path", "of/ann"] {
        std::fs::create_dir_all(ferry.path(folder)).expect("a folder");
        append(&ferry.path(&format!("{folder}/a.log")), [line.to_owned()]);
    }
    let shipped = ferry.call(&["ship"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.stderr);
    let mut found: Vec<[Value; 5]> = ferry
        .records("out/r.ndjson")
        .iter()
        .map(|record| ["RunID", "TaskID", "UserID", "Benchmark", "Fields"].map(|name| record[name].clone()))
        .collect();
    found.sort_by_key(|columns| columns[0].to_string());
    let ids = json!({"run_id": "r", "task_id": "t"});
    let expected = [
        [
            "run-given".into(),
            "task-given".into(),
            "ann".into(),
            "s".into(),
            json!({"run_id": "r", "context": {"user_id": "u"}, "task_id": "t"}),
        ],
        ["run-path".into(), "task-given".into(), "u".into(), "s".into(), ids],
    ];
    assert_eq!(found, expected);
}

/// The names of all fields of an index.
async fn fields(engine: &Engine, index: &str) -> Vec<String> {
    let answer = engine.ok("GET", &format!("{index}/_field_caps?fields=*"), None).await;
    answer["fields"].as_object().expect("fields").keys().cloned().collect()
}

#[tokio::test]
async fn a_thousand_keys_make_no_field_of_an_index() {
    let engines = Engine::both().await;
    let (sinks, indices) = sinks(&engines, "keys").await;
    let mut ferry = Ferry::new(&format!("[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{sinks}"));
    ship(&mut ferry, "{\"level\":\"info\",\"msg\":\"first\",\"key0\":0,\"nested\":{\"key0\":0}}");
    let mut before = Vec::new();
    for (engine, index) in engines.iter().zip(&indices) {
        engine.ok("POST", &format!("{index}/_refresh"), None).await;
        before.push(fields(engine, index).await);
    }
    let keys = |from: usize| (from..from + 1_000).map(|n| format!(",\"key{n}\":{n}")).collect::<String>();
    let words: String = (0..1_000).map(|n| format!(",\"key{n}\":\"w{n}\"")).collect();
    let lines = [
        format!("{{\"level\":\"info\",\"msg\":\"numbers\"{}}}", keys(0)),
        format!("{{\"level\":\"info\",\"msg\":\"words\"{words}}}"),
        format!("{{\"level\":\"info\",\"msg\":\"deep\",\"nested\":{{\"n\":1{}}}}}", keys(5_000)),
    ];
    ship(&mut ferry, &lines.join("\n"));
    for ((engine, index), before) in engines.iter().zip(&indices).zip(before) {
        assert_eq!(count(engine, index, json!({"match_all": {}})).await, 4, "{}", engine.name);
        assert_eq!(fields(engine, index).await, before, "{}", engine.name);
        for (field, value) in [("Fields.key999", "999"), ("Fields.key999", "w999"), ("Fields.nested.key5999", "5999")] {
            assert_eq!(count(engine, index, json!({"term": {field: value}})).await, 1, "{} {field}", engine.name);
        }
        engine.forget(index).await;
    }
    assert!(ferry.dead_letters("elasticsearch").is_empty() && ferry.dead_letters("opensearch").is_empty());
}

#[tokio::test]
async fn columns_of_ones_own_take_every_type_and_their_numbers_can_be_summed() {
    let engines = Engine::both().await;
    let (sinks, indices) = sinks(&engines, "own").await;
    let settings = AzureSettings {
        extra_columns: ["UserID", "Spent", "Last"].map(|name| (name.to_owned(), AzureType::Dynamic)).to_vec(),
        ..AzureSettings::default()
    };
    let server = AzureServer::start(settings);
    let mut ferry = Ferry::new(&format!(
        "[record]\ncolumns = {{ TraceID = \"conversation\", UserID = \"user.id\", Spent = \"usage.spent\", Last = \"last\" }}\n\
         [[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.paid]\ntype = \"file\"\npath = \"{{dir}}/out/paid.ndjson\"\nwhen = {{ UserID = \"a*\" }}\n{sinks}{}",
        azure_sink(&server)
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let lines = [
        r#"{"msg":"1","conversation":"c-1","user":{"id":"ann"},"usage":{"spent":2.5},"last":true}"#,
        r#"{"msg":"2","conversation":"c-1","user":{"id":"bob"},"usage":{"spent":4},"last":"2026-01-01"}"#,
        r#"{"msg":"3","extra":{"user":{"id":17},"usage":{"spent":"much","of":"it"}},"last":1}"#,
        r#"{"msg":"4","user":{"id":["ann"]},"usage":{"spent":{"eur":1}}}"#,
        "level=info msg=5 user.id=ann usage.spent=1.5 last=word",
        "level=info msg=6 conversation=c-2",
    ];
    ship(&mut ferry, &lines.join("\n"));
    for (engine, index) in engines.iter().zip(&indices) {
        let name = engine.name;
        for (query, expected) in [
            (json!({"match_all": {}}), 6),
            (json!({"term": {"UserID": "ann"}}), 2),
            (json!({"term": {"UserID": "17"}}), 1),
            (json!({"term": {"TraceID": "c-1"}}), 2),
            (json!({"range": {"Spent.number": {"gt": 2}}}), 2),
            (json!({"term": {"Spent": "much"}}), 1),
            (json!({"term": {"Fields.usage.spent.eur": "1"}}), 1),
            (json!({"exists": {"field": "Last"}}), 4),
        ] {
            assert_eq!(count(engine, index, query.clone()).await, expected, "{name} {query}");
        }
        let sum = json!({"size": 0, "aggs": {"users": {"terms": {"field": "UserID"},
            "aggs": {"spent": {"sum": {"field": "Spent.number"}}}}}});
        let answer = engine.ok("POST", &format!("{index}/_search"), Some(sum)).await;
        let spent = buckets(&answer["aggregations"]["users"], |bucket| bucket["spent"]["value"].to_string());
        let expected = [("17", "0.0"), ("ann", "4.0"), ("bob", "4.0")].map(|(user, sum)| (user, sum.to_owned()));
        assert_eq!(sorted(spent), owned(expected), "{name}");
        let stored = documents(engine, index, json!({"match_all": {}})).await;
        let spent: Vec<&Value> = stored.iter().map(|record| &record["Spent"]).collect();
        assert_eq!(spent, [&json!(2.5), &json!(4), &json!("much"), &Value::Null, &json!(1.5), &Value::Null], "{name}");
        engine.forget(index).await;
    }
    let paid: Vec<Value> = ferry.records("out/paid.ndjson").iter().map(|record| record["Message"].clone()).collect();
    assert_eq!(paid, ["1", "5"], "a rule sees them");
    let azure = server.records();
    let spent: Vec<&Value> = azure.iter().filter_map(|record| record.get("Spent")).collect();
    assert_eq!(spent, [&json!(2.5), &json!(4), &json!("much"), &json!(1.5)]);
    server.read(|ledger| assert!(ledger.columns_dropped.is_empty(), "{:?}", ledger.columns_dropped));
}
