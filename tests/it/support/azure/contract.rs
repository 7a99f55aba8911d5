//! The imitation itself: that it refuses what Azure refuses, called without any of logferry's code.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::ingestion::{INFLATED_MAX_BYTES, WIRE_MAX_BYTES};
use super::{AzureServer, AzureSettings, Fault};

struct Caller {
    server: AzureServer,
    client: reqwest::Client,
    token: String,
}

impl Caller {
    async fn new() -> Self {
        let server = AzureServer::start(AzureSettings::default());
        let client = reqwest::Client::builder().no_proxy().build().expect("client");
        let (status, answer) = token(&server, &client, &[]).await;
        assert_eq!(status, 200);
        let token = answer["access_token"].as_str().expect("token").to_owned();
        Caller { server, client, token }
    }

    fn path(&self) -> String {
        format!("/dataCollectionRules/{}/streams/{}", self.server.settings.dcr_id, self.server.settings.stream)
    }

    fn post(&self, path_and_query: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path_and_query}", self.server.endpoint)).bearer_auth(&self.token)
    }

    fn call(&self) -> reqwest::RequestBuilder {
        self.post(&format!("{}?api-version=2023-01-01", self.path())).header("content-type", "application/json")
    }
}

/// A token request, right but for the fields that are given.
async fn token(server: &AzureServer, client: &reqwest::Client, other: &[(&str, &str)]) -> (u16, serde_json::Value) {
    let settings = &server.settings;
    let mut form: BTreeMap<&str, &str> = BTreeMap::from([
        ("client_id", settings.client_id.as_str()),
        ("client_secret", settings.client_secret.as_str()),
        ("grant_type", "client_credentials"),
        ("scope", "https://monitor.azure.com/.default"),
        ("tenant", settings.tenant_id.as_str()),
    ]);
    form.extend(other.iter().copied());
    let tenant = form.remove("tenant").expect("tenant");
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let answer = client
        .post(format!("{}/{tenant}/oauth2/v2.0/token", server.authority))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .expect("answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("body")).expect("JSON"))
}

async fn status(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("gzip");
    encoder.finish().expect("gzip")
}

#[tokio::test]
async fn the_url_the_method_and_the_token_must_be_right() {
    let caller = Caller::new().await;
    let path = caller.path();
    let check = async |request: reqwest::RequestBuilder, expected: u16| {
        let request = request.header("content-type", "application/json").body("[]");
        assert_eq!(status(request).await.0, expected, "{}", caller.server.read(|l| l.last_refusal.clone()));
    };
    check(caller.post(&format!("{path}?api-version=2023-01-01")), 204).await;
    check(caller.post(&format!("/{path}?api-version=2023-01-01")), 404).await;
    check(caller.post(&format!("{path}/?api-version=2023-01-01")), 404).await;
    check(caller.post(&format!("{path}x?api-version=2023-01-01")), 404).await;
    check(caller.post("/dataCollectionRules/dcr-1/streams/Custom-BenchmarkRuns_CL?api-version=2023-01-01"), 404).await;
    check(caller.post(&path), 400).await;
    check(caller.post(&format!("{path}?api-version=2021-11-01")), 400).await;
    let url = format!("{}{path}?api-version=2023-01-01", caller.server.endpoint);
    check(caller.client.put(&url).bearer_auth(&caller.token), 405).await;
    check(caller.client.post(&url), 401).await;
    check(caller.client.post(&url).bearer_auth("token-0"), 401).await;
    check(caller.client.post(&url).basic_auth("a", Some("b")), 401).await;
}

#[tokio::test]
async fn the_body_must_be_a_json_array_of_objects_of_the_declared_types() {
    let caller = Caller::new().await;
    let check = async |body: &str, expected: u16| {
        let answer = status(caller.call().body(body.to_owned())).await;
        assert_eq!(answer.0, expected, "{body}: {}", answer.1);
    };
    check("[]", 204).await;
    check("[{\"Message\":\"a\"},{\"Message\":\"b\"}]", 204).await;
    check("", 400).await;
    check("{\"Message\":\"a\"}", 400).await;
    check("{\"Message\":\"a\"}\n{\"Message\":\"b\"}", 400).await;
    check("[{\"Message\":\"a\"},]", 400).await;
    check("[1]", 400).await;
    check("[{\"Message\":\"a\",\"Message\":\"b\"}]", 400).await;
    check("[{\"Message\":\"a\"},{\"Seq\":\"1\"}]", 400).await;
    assert_eq!(status(caller.call().body(b"[{\"Message\":\"\xff\"}]".to_vec())).await.0, 400);
    assert_eq!(caller.server.records().len(), 2, "a refused call stores nothing");
    let plain = caller.post(&format!("{}?api-version=2023-01-01", caller.path()));
    assert_eq!(status(plain.body("[]")).await.0, 415, "no content type");
    assert_eq!(status(caller.call().header("content-encoding", "deflate").body("[]")).await.0, 415);
    assert_eq!(status(caller.call().header("content-encoding", "gzip").body("[]")).await.0, 400);
    assert_eq!(status(caller.call().header("content-encoding", "gzip").body(gzip(b"[]"))).await.0, 204);
}

#[tokio::test]
async fn a_mebibyte_on_the_wire_is_the_limit_and_50_inflated_are_lost_without_a_word() {
    let caller = Caller::new().await;
    let body = |bytes: usize| {
        let rest = "[{\"Fields\":[\"\"]}]".len();
        format!("[{{\"Fields\":[\"{}\"]}}]", "x".repeat(bytes - rest))
    };
    assert_eq!(status(caller.call().body(body(WIRE_MAX_BYTES))).await.0, 204);
    let (refused, words) = status(caller.call().body(body(WIRE_MAX_BYTES + 1))).await;
    assert_eq!(refused, 413);
    assert!(words.contains("ContentLengthLimitExceeded"), "{words}");
    assert!(
        words.contains("Maximum allowed content length: 1048576 bytes (1 MB). Provided content length: 1048577 bytes."),
        "{words}"
    );
    let bomb = gzip(body(INFLATED_MAX_BYTES + 1).as_bytes());
    assert_eq!(status(caller.call().header("content-encoding", "gzip").body(bomb)).await.0, 204);
    caller.server.read(|l| {
        assert_eq!((l.records.len(), l.lost_after_204, l.bodies_over_promise), (1, 1, 2));
    });
}

#[tokio::test]
async fn a_token_is_given_to_the_right_caller_only() {
    let caller = Caller::new().await;
    let check = async |field: (&str, &str), expected: u16, number: u64| {
        let (status, answer) = token(&caller.server, &caller.client, &[field]).await;
        assert_eq!((status, answer["error_codes"][0].as_u64()), (expected, Some(number)), "{answer}");
    };
    check(("tenant", "other"), 400, 90002).await;
    check(("client_id", "other"), 400, 700016).await;
    check(("client_secret", "other"), 401, 7000215).await;
    check(("grant_type", "password"), 400, 70003).await;
    check(("scope", "https://management.azure.com/.default"), 400, 70011).await;
}

#[tokio::test]
async fn faults_come_from_the_queue_first_and_then_from_the_rule() {
    let caller = Caller::new().await;
    caller.server.faults(Fault::Status(500, None), 2);
    caller.server.fault_rule(|call| (call % 2 == 1).then_some(Fault::Status(503, None)));
    let mut got = Vec::new();
    for _ in 0..6 {
        got.push(status(caller.call().body("[]")).await.0);
    }
    assert_eq!(got, [500, 500, 204, 503, 204, 503]);
    caller.server.fault(Fault::DropConnectionBefore);
    assert!(caller.call().body("[{}]").send().await.is_err());
    caller.server.fault(Fault::DropAfterStore);
    assert!(caller.call().body("[{}]").send().await.is_err());
    assert_eq!(caller.server.records().len(), 1);
}

/// A body and what must come of it.
async fn query(caller: &Caller, token: &str, query: &str) -> (u16, serde_json::Value) {
    let url = format!("{}/v1/workspaces/{}/query", caller.server.endpoint, caller.server.settings.workspace_id);
    let request = caller.client.post(url).bearer_auth(token).header("content-type", "application/json");
    let (status, text) = status(request.body(serde_json::json!({"query": query}).to_string())).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// A token for the query API.
async fn query_token(caller: &Caller) -> String {
    let scope = ("scope", "https://api.loganalytics.io/.default");
    let (status, answer) = token(&caller.server, &caller.client, &[scope]).await;
    assert_eq!(status, 200);
    answer["access_token"].as_str().expect("token").to_owned()
}

#[tokio::test]
async fn a_query_needs_its_own_token_its_workspace_and_a_body_of_json() {
    let caller = Caller::new().await;
    let good = query_token(&caller).await;
    let path = format!("/v1/workspaces/{}/query", caller.server.settings.workspace_id);
    let body = r#"{"query":"BenchmarkRuns_CL\n| summarize RowCount = count()"}"#;
    let check = async |path: &str, token: Option<&str>, kind: &str, body: &str, expected: (u16, &str)| {
        let mut request = caller.client.post(format!("{}{path}", caller.server.endpoint));
        request = request.header("content-type", kind);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (status, text) = status(request.body(body.to_owned())).await;
        assert_eq!(status, expected.0, "{path} {token:?} {body}: {text}");
        assert!(text.contains(expected.1) && text.is_empty() == expected.1.is_empty(), "{text}");
    };
    let (json, good) = ("application/json", Some(good.as_str()));
    check(&path, good, json, body, (200, "\"rows\":[[0]]")).await;
    check(&path, None, json, body, (401, "AuthenticationFailed")).await;
    check(&path, Some("token-0"), json, body, (403, "InvalidAuthenticationToken\"")).await;
    check(&path, Some(&caller.token), json, body, (403, "InvalidAuthenticationTokenAudience")).await;
    check("/v1/workspaces/1/query", good, json, body, (404, "WorkspaceNotFoundError")).await;
    check(&format!("{path}?timespan=P1D"), good, json, body, (404, "PathNotFoundError")).await;
    check(&path, good, "text/plain", body, (200, "")).await;
    check(&path, good, json, "query", (200, "")).await;
    check(&path, good, json, "{}", (400, "SyntaxError")).await;
    caller.server.set_may_query(false);
    check(&path, good, json, body, (403, "InsufficientAccessError")).await;
}

#[tokio::test]
async fn only_known_shapes_are_run_and_their_conditions_count() {
    let caller = Caller::new().await;
    let token = query_token(&caller).await;
    let rows =
        r#"[{"RunID":"a\"b","Seq":1,"EventID":"1"},{"RunID":"a\"b","Seq":5,"EventID":"2"},{"Seq":9,"EventID":"3"}]"#;
    assert_eq!(status(caller.call().body(rows)).await.0, 204);
    let count = async |conditions: &str, expected: i64| {
        let text = format!("BenchmarkRuns_CL{conditions}\n| summarize RowCount = count()");
        let (status, answer) = query(&caller, &token, &text).await;
        assert_eq!((status, &answer["tables"][0]["rows"][0][0]), (200, &expected.into()), "{text}: {answer}");
    };
    count("", 3).await;
    count("\n| where RunID == \"a\\\"b\"", 2).await;
    count("\n| where RunID != \"a\\\"b\"", 1).await;
    count("\n| where isempty(RunID)", 1).await;
    count("\n| where isnotempty(RunID) and Seq >= 2", 1).await;
    count("\n| where Seq between (1 .. 5)", 2).await;
    count("\n| where EventID in (\"1\", \"3\")", 2).await;
    let mut parts = 0;
    for part in 0..4 {
        let text = format!("BenchmarkRuns_CL\n| where hash(EventID, 4) == {part}\n| summarize RowCount = count()");
        let (_, answer) = query(&caller, &token, &text).await;
        parts += answer["tables"][0]["rows"][0][0].as_i64().expect("a number");
    }
    assert_eq!(parts, 3, "each row is in one part");
    let refused = async |text: &str, expected: &str| {
        let (status, answer) = query(&caller, &token, text).await;
        assert_eq!(status, 400, "{text}: {answer}");
        assert_eq!(answer["error"]["innererror"]["code"], expected, "{text}: {answer}");
    };
    let tail = "\n| summarize RowCount = count()";
    refused(&format!("Other_CL{tail}"), "SemanticError").await;
    refused(&format!("BenchmarkRuns_CL\n| where Nobody == \"a\"{tail}"), "SemanticError").await;
    refused("BenchmarkRuns_CL", "SyntaxError").await;
    refused("BenchmarkRuns_CL\n| take 1", "SyntaxError").await;
    refused(&format!("BenchmarkRuns_CL\n| where RunID == \"a{tail}"), "SyntaxError").await;
    refused(&format!("BenchmarkRuns_CL\n| where RunID == \"a\nb\"{tail}"), "SyntaxError").await;
    refused(&format!("BenchmarkRuns_CL\n| where RunID == \"\\q\"{tail}"), "SyntaxError").await;
    refused(&format!("BenchmarkRuns_CL\n| where RunID == \"a\" or Seq >= 1{tail}"), "SyntaxError").await;
    refused(&format!("BenchmarkRuns_CL{tail}; BenchmarkRuns_CL{tail}"), "SyntaxError").await;
}

#[tokio::test]
async fn a_result_over_the_limit_is_cut_and_says_so_beside_the_rows() {
    let caller = Caller {
        server: AzureServer::start(AzureSettings { query_max_rows: 2, ..AzureSettings::default() }),
        ..Caller::new().await
    };
    let token = query_token(&caller).await;
    let rows = (1..=3).map(|seq| serde_json::json!({"Origin": "o", "Seq": seq * 2, "EventID": seq.to_string()}));
    caller.server.store(rows.map(|row| row.as_object().expect("an object").clone()).collect());
    let text = "BenchmarkRuns_CL\n| project EventType, Origin, VMName, Fields = tostring(Fields)";
    let (status, answer) = query(&caller, &token, text).await;
    assert_eq!((status, answer["tables"][0]["rows"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    assert_eq!(answer["error"]["code"], "PartialError");
    assert!(answer.to_string().contains("E_QUERY_RESULT_SET_TOO_LARGE"), "{answer}");
}
