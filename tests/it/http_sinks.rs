//! What one attempt of the Elasticsearch sink makes of answers that no healthy server gives.

use std::time::Duration;

use logferry::sink::elasticsearch::{Elasticsearch, IndexName, Options};
use logferry::sink::http::{self, Auth, Compression, Secret};
use logferry::sink::{Asked, SendOutcome};
use url::Url;

use crate::support::records::Origin;
use crate::support::stub::{Reply, Stub, dead_url};

/// Long enough for a busy machine; only the test of a hanging server waits for its own.
const TIMEOUT: Duration = Duration::from_secs(30);

pub fn options(urls: &[&str], index: &str) -> Options {
    Options {
        endpoints: urls.iter().map(|url| Url::parse(url).expect("a URL")).collect(),
        index: IndexName::parse(index).expect("a name"),
        auth: Auth::None,
        http: http::Options {
            timeout: TIMEOUT,
            proxy: None,
            headers: Vec::new(),
            ca_file: None,
            client_cert_file: None,
        },
        compression: Compression::None,
    }
}

pub fn sink(options: Options) -> Elasticsearch {
    Elasticsearch::new(options, "logferry/test").expect("a sink")
}

async fn attempt(sink: &Elasticsearch, records: usize) -> SendOutcome {
    let batch = Origin::new("r").plain(sink, records);
    sink.send(&batch, 0..records).await
}

#[tokio::test]
async fn a_call_is_ndjson_for_the_index_with_what_every_request_carries() {
    let stub = Stub::new([]).await;
    let mut options = options(&[&format!("{}/prefix/", stub.url)], "bench");
    options.compression = Compression::Gzip;
    options.auth = Auth::ApiKey(Secret::new("a2V5"));
    options.http.headers = vec![("X-Team".to_owned(), Secret::new("evals"))];
    let sink = sink(options);
    let batch = Origin::new("r").plain(&sink, 3);
    assert_eq!(sink.send(&batch, 1..3).await, SendOutcome::Accepted);
    let calls = stub.bulk_calls();
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_eq!((call.method.as_str(), call.path()), ("POST", "/prefix/bench/_bulk"));
    assert!(call.target.contains("?filter_path=errors,items.*.status"), "{}", call.target);
    let check = |name: &str, value: &str| assert_eq!(call.header(name), Some(value), "{name}");
    check("content-type", "application/x-ndjson");
    check("content-encoding", "gzip");
    check("authorization", "ApiKey a2V5");
    check("x-team", "evals");
    check("user-agent", "logferry/test");
    assert_eq!(call.text().as_bytes(), batch.slice(&(1..3)), "the range asked for and nothing else");
}

#[tokio::test]
async fn an_index_that_depends_on_the_record_stands_in_each_action_line() {
    let stub = Stub::new([]).await;
    let sink = sink(options(&[&stub.url], "runs-{RunID}-%Y"));
    let origin = Origin { time: 1_700_000_000_000_000_000, ..Origin::new("Run 7") };
    let batch = origin.plain(&sink, 1);
    assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
    let calls = stub.bulk_calls();
    assert_eq!(calls[0].path(), "/_bulk");
    assert!(calls[0].text().starts_with(r#"{"create":{"_index":"runs-run-7-2023","_id":""#), "{}", calls[0].text());
    assert_eq!(sink.note().await, Ok(Vec::new()), "a plain index needs no note");
    assert_eq!(sink.ask(&batch, 0..1, b"").await, Asked::SafeToSend);
}

#[tokio::test]
async fn nothing_is_sent_for_no_records() {
    let sink = sink(options(&[&dead_url().await], "bench"));
    let batch = Origin::new("r").plain(&sink, 1);
    assert_eq!(sink.send(&batch, 1..1).await, SendOutcome::Accepted);
}

/// What an attempt has to become.
enum Expected {
    Refused(u16),
    Unknown,
}

#[tokio::test]
async fn each_answer_that_is_no_success_has_its_meaning() {
    let check = async |reply: Reply, expected: Expected, word: &str| {
        let case = format!("{reply:?}");
        let stub = Stub::new([reply]).await;
        let sink = sink(options(&[&stub.url], "bench"));
        let reason = match (attempt(&sink, 2).await, expected) {
            (SendOutcome::Refused { status, reason, .. }, Expected::Refused(expected)) if status == expected => reason,
            (SendOutcome::Unknown { reason }, Expected::Unknown) => reason,
            (got, _) => panic!("{case}: {got:?}"),
        };
        assert!(reason.contains(word) && reason.contains(&stub.url), "{case}: {reason}");
        assert_eq!(stub.bulk_calls().len(), 1, "{case}: one attempt is one call");
    };
    let one = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
    let two = r#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
    check(Reply::status(200, "<html>welcome</html>"), Expected::Unknown, "welcome").await;
    check(Reply::status(200, ""), Expected::Unknown, "cannot be read").await;
    check(Reply::status(200, "{}"), Expected::Unknown, "no items").await;
    check(Reply::status(200, one), Expected::Unknown, "2 records were sent and 1 answered").await;
    check(Reply::status(200, &two.replace("]", r#",{"create":{"status":201}}]"#)), Expected::Unknown, "more").await;
    check(Reply::Cut(two.to_owned()), Expected::Unknown, "broke off").await;
    check(Reply::Reset, Expected::Unknown, "127.0.0.1").await;
    check(Reply::status(500, "oops"), Expected::Unknown, "oops").await;
    check(Reply::status(502, "bad gateway"), Expected::Unknown, "bad gateway").await;
    check(Reply::status(504, ""), Expected::Unknown, "504").await;
    check(Reply::status(503, "upstream reset"), Expected::Unknown, "upstream reset").await;
    let no_master = r#"{"error":{"type":"cluster_block_exception","reason":"no master"},"status":503}"#;
    check(Reply::status(503, no_master), Expected::Refused(503), "no master").await;
    check(Reply::status(400, "bad"), Expected::Refused(400), "bad").await;
    check(Reply::status(401, "who?"), Expected::Refused(401), "who?").await;
    check(Reply::status(403, ""), Expected::Refused(403), "403").await;
    check(Reply::status(404, ""), Expected::Refused(404), "404").await;
    check(Reply::status(413, ""), Expected::Refused(413), "413").await;
    let moved = Reply::Whole(301, vec![("location", "https://u:secret@other.example/x?k=secret")], String::new());
    check(moved, Expected::Refused(301), "a redirect to https://other.example/x").await;
}

#[tokio::test]
async fn a_server_says_how_long_to_wait() {
    let reply = Reply::Whole(429, vec![("retry-after", "17")], "busy".to_owned());
    let stub = Stub::new([reply]).await;
    let outcome = attempt(&sink(options(&[&stub.url], "bench")), 1).await;
    let SendOutcome::Refused { status: 429, retry_after: Some(wait), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(wait, Duration::from_secs(17));
}

#[tokio::test]
async fn a_call_that_is_refused_before_it_was_read_is_still_refused() {
    let stub = Stub::new([Reply::Early(413)]).await;
    let sink = sink(options(&[&stub.url], "bench"));
    let outcome = attempt(&sink, 100_000).await;
    assert!(matches!(outcome, SendOutcome::Refused { status: 413, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_hangs_leaves_the_outcome_unknown_and_no_other_server_gets_the_call() {
    let hanging = Stub::new([Reply::Hang]).await;
    let other = Stub::new([]).await;
    let mut options = options(&[&hanging.url, &other.url], "bench");
    options.http.timeout = Duration::from_secs(2);
    let sink = sink(options);
    let outcomes = [attempt(&sink, 1).await, attempt(&sink, 1).await];
    let unknown = outcomes.iter().filter(|outcome| matches!(outcome, SendOutcome::Unknown { .. })).count();
    assert_eq!((unknown, hanging.bulk_calls().len(), other.bulk_calls().len()), (1, 1, 1), "{outcomes:?}");
    assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted);
    assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted);
    assert_eq!(other.bulk_calls().len(), 3, "the server that did not answer is passed over");
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent_and_the_next_server_gets_the_call_in_the_same_attempt() {
    let dead = dead_url().await;
    let outcome = attempt(&sink(options(&[&dead], "bench")), 1).await;
    let SendOutcome::NotSent { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(&dead), "{reason}");

    let stub = Stub::new([]).await;
    let sink = sink(options(&[&dead, &stub.url], "bench"));
    for _ in 0..4 {
        assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted);
    }
    assert_eq!(stub.bulk_calls().len(), 4);
}

#[tokio::test]
async fn no_reason_and_no_debug_text_holds_a_password() {
    let with_password = dead_url().await.replace("http://", "http://user:hunter2@");
    let mut options = options(&[&with_password], "bench");
    options.auth = Auth::Bearer(Secret::new("hunter2"));
    options.http.headers = vec![("x-key".to_owned(), Secret::new("hunter2"))];
    assert!(!format!("{options:?}").contains("hunter2"));
    let sink = sink(options);
    let outcome = attempt(&sink, 1).await;
    assert!(matches!(outcome, SendOutcome::NotSent { .. }), "{outcome:?}");
    assert!(!format!("{sink:?}{outcome:?}{:?}", sink.probe().await).contains("hunter2"));
}

#[tokio::test]
async fn the_write_index_is_asked_for_once_and_then_learned_from_answers() {
    let settings = r#"{".ds-b-000002":{"settings":{"index.creation_date":"5"}},
        ".ds-b-000001":{"settings":{"index.creation_date":"3"}}}"#;
    let stub = Stub::with([], vec![("GET /logs-a-b/_settings", Reply::status(200, settings))]).await;
    let sink = sink(options(&[&stub.url], "logs-a-b"));
    for _ in 0..3 {
        assert_eq!(sink.note().await, Ok(b".ds-b-000002".to_vec()));
    }
    assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted);
    assert_eq!(sink.note().await, Ok(b"stub-000001".to_vec()));
    let asked = stub.seen().iter().filter(|request| request.path().contains("/_settings")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_note_waits_for_a_server_that_answers_but_not_for_the_right_to_read() {
    let check = async |status: u16, expected: bool| {
        let stub = Stub::with([], vec![("GET /logs-a-b/_settings", Reply::status(status, "{}"))]).await;
        let note = sink(options(&[&stub.url], "logs-a-b")).note().await;
        assert_eq!(note.is_ok(), expected, "{status}: {note:?}");
    };
    check(404, true).await;
    check(403, true).await;
    check(401, true).await;
    check(503, false).await;
    check(429, false).await;
    let dead = sink(options(&[&dead_url().await], "logs-a-b")).note().await;
    assert!(matches!(dead, Err(SendOutcome::NotSent { .. })), "{dead:?}");
}

#[tokio::test]
async fn a_sink_that_cannot_be_asked_says_so() {
    let two =
        r#"{".ds-b-2":{"settings":{"index.creation_date":"5"}},".ds-b-1":{"settings":{"index.creation_date":"3"}}}"#;
    let check = async |settings: Reply, mget: Reply, note: &str, expected: fn(&Asked) -> bool| {
        let case = format!("{settings:?} {mget:?} {note}");
        let others = vec![("GET /logs-a-b/_settings", settings), ("POST /.ds-b-", mget)];
        let stub = Stub::with([], others).await;
        let sink = sink(options(&[&stub.url], "logs-a-b"));
        let batch = Origin::new("r").plain(&sink, 1);
        let asked = sink.ask(&batch, 0..1, note.as_bytes()).await;
        assert!(expected(&asked), "{case}: {asked:?}");
    };
    let fine = || Reply::status(200, two);
    let denied = || Reply::status(403, "{}");
    let item_denied = || Reply::status(200, r#"{"docs":[{"_id":"x","error":{"type":"security_exception"}}]}"#);
    check(denied(), fine(), "", |asked| matches!(asked, Asked::CannotTell { .. })).await;
    check(Reply::status(503, ""), fine(), "", |asked| matches!(asked, Asked::Failed { .. })).await;
    check(Reply::status(302, ""), fine(), "", |asked| matches!(asked, Asked::Failed { .. })).await;
    check(fine(), Reply::status(307, ""), ".ds-b-1", |asked| matches!(asked, Asked::Failed { .. })).await;
    check(Reply::status(404, ""), fine(), ".ds-b-1", |asked| *asked == Asked::SafeToSend).await;
    check(fine(), denied(), ".ds-b-1", |asked| matches!(asked, Asked::CannotTell { .. })).await;
    check(fine(), item_denied(), ".ds-b-1", |asked| matches!(asked, Asked::CannotTell { .. })).await;
    check(fine(), denied(), ".ds-b-2", |asked| *asked == Asked::SafeToSend).await;
    check(fine(), Reply::status(500, ""), ".ds-b-2", |asked| matches!(asked, Asked::Failed { .. })).await;
    check(fine(), Reply::status(200, "{}"), ".ds-b-2", |asked| matches!(asked, Asked::Failed { .. })).await;
}

#[tokio::test]
async fn a_template_that_may_not_be_installed_does_not_stop_records_and_is_not_tried_again() {
    let list = || Reply::status(200, r#"{"index_templates":[]}"#);
    let check = async |list: Reply, put: Reply, puts: usize| {
        let case = format!("{list:?} {put:?}");
        let others = vec![("GET /_index_template", list), ("PUT /_index_template", put)];
        let stub = Stub::with([], others).await;
        let sink = sink(options(&[&stub.url], "logs-a-b"));
        for _ in 0..2 {
            assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted, "{case}");
        }
        let seen = stub.seen();
        let templates: Vec<_> = seen.iter().filter(|request| request.path().contains("_index_template")).collect();
        assert_eq!(templates.len(), 1 + puts, "{case}");
    };
    check(Reply::status(403, "{}"), Reply::status(200, "{}"), 0).await;
    check(Reply::status(200, "<html>"), Reply::status(200, "{}"), 0).await;
    check(Reply::status(405, "{}"), Reply::status(200, "{}"), 0).await;
    check(list(), Reply::status(403, "{}"), 1).await;
    check(list(), Reply::status(400, "unknown field type"), 3).await;
    check(list(), Reply::status(400, "index template [x] already exists"), 1).await;
    check(list(), Reply::status(200, "{}"), 1).await;
    let theirs = r#"{"index_templates":[{"name":"t","index_template":{"index_patterns":["logs-a-*"]}}]}"#;
    check(Reply::status(200, theirs), Reply::status(200, "{}"), 0).await;
    let built_in = r#"{"index_templates":[{"name":"logs","index_template":
        {"index_patterns":["logs-*-*"],"priority":100,"_meta":{"managed":true}}}]}"#;
    check(Reply::status(200, built_in), Reply::status(200, "{}"), 1).await;
}

#[tokio::test]
async fn what_a_server_that_takes_nothing_says_of_templates_is_not_its_last_word() {
    let check = async |list: Reply| {
        let case = format!("{list:?}");
        let refused = [Reply::status(403, ""), Reply::status(200, "<html>"), Reply::status(404, "")];
        let stub = Stub::with(refused, vec![("GET /_index_template", list)]).await;
        let sink = sink(options(&[&stub.url], "logs-a-b"));
        for _ in 0..3 {
            assert_ne!(attempt(&sink, 1).await, SendOutcome::Accepted, "{case}");
        }
        for _ in 0..3 {
            assert_eq!(attempt(&sink, 1).await, SendOutcome::Accepted, "{case}");
        }
        let asked = stub.seen().iter().filter(|r| r.method == "GET" && r.path() == "/_index_template").count();
        assert_eq!(asked, 4, "{case}: until a record was accepted");
    };
    check(Reply::status(403, "")).await;
    check(Reply::status(200, "<html>sign in</html>")).await;
    check(Reply::status(302, "")).await;
}

#[tokio::test]
async fn a_template_that_cannot_be_installed_now_ends_the_attempt_and_is_tried_again() {
    let check = async |status: u16| {
        let stub = Stub::with([], vec![("GET /_index_template", Reply::status(status, "later"))]).await;
        let sink = sink(options(&[&stub.url], "logs-a-b"));
        for _ in 0..2 {
            let outcome = attempt(&sink, 1).await;
            assert!(matches!(outcome, SendOutcome::Refused { status: s, .. } if s == status), "{outcome:?}");
        }
        assert_eq!((stub.bulk_calls().len(), stub.seen().len()), (0, 2));
    };
    check(401).await;
    check(429).await;
    check(503).await;
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_what_to_do() {
    let check = async |others: Vec<(&'static str, Reply)>, bulk: Reply, word: &str| {
        let stub = Stub::with([bulk], others).await;
        let reason = sink(options(&[&stub.url], "bench")).probe().await.expect_err(word);
        assert!(reason.contains(word) && reason.contains(&stub.url), "{word}: {reason}");
    };
    let root = |status| vec![("GET /_index_template", Reply::status(404, "")), ("GET /", Reply::status(status, "{}"))];
    let item = |status: u16, kind: &str| {
        Reply::status(200, &format!(r#"{{"items":[{{"create":{{"status":{status},"error":{{"type":"{kind}"}}}}}}]}}"#))
    };
    check(root(401), Reply::Stored, "check api_key").await;
    check(root(404), Reply::Stored, "no endpoint can be used").await;
    check(root(200), Reply::status(403, ""), "right to write").await;
    check(root(200), Reply::status(200, "<html>"), "no _bulk API").await;
    check(root(200), Reply::status(405, ""), "no _bulk API").await;
    check(root(200), item(403, "security_exception"), "create_doc").await;
    check(root(200), item(400, "index_closed_exception"), "open it").await;
    let lacking = r#"{"has_all_requested":false,"index":{"bench":{"create_doc":true,"auto_configure":false}}}"#;
    let mut asked = root(200);
    asked.insert(0, ("POST /_security", Reply::status(200, lacking)));
    check(asked, Reply::Stored, "not the right to auto_configure on bench").await;
    let dead = dead_url().await;
    let reason = sink(options(&[&dead], "bench")).probe().await.expect_err("nobody there");
    assert!(reason.contains(&dead) && reason.contains("check endpoints"), "{reason}");
}

#[tokio::test]
async fn where_the_server_tells_our_rights_no_operation_is_tried_on_a_data_stream() {
    let all = r#"{"has_all_requested":true,"index":{"logs-a-b":{"create_doc":true,"auto_configure":true}}}"#;
    let root = r#"{"version":{"number":"9.5.3"}}"#;
    let others = vec![
        ("POST /_security", Reply::status(200, all)),
        ("GET /_index_template", Reply::status(404, "")),
        ("GET /", Reply::Whole(200, vec![("x-elastic-product", "Elasticsearch")], root.to_owned())),
    ];
    let stub = Stub::with([], others).await;
    let text = sink(options(&[&stub.url], "logs-a-b")).probe().await.expect("it would accept");
    assert_eq!(text, format!("Elasticsearch 9.5.3 at {}, logs-a-b may be written", stub.url));
    assert_eq!(stub.bulk_calls().len(), 0);
}
