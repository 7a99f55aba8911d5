//! The Azure Monitor sink against the contract server: what arrives, what each answer becomes, what a probe says.

use std::ops::Range;
use std::time::Duration;

use logferry::azure::credential;
use logferry::record::{Constants, EventId, OriginId, json, time};
use logferry::sink::azure_monitor::{self, AzureMonitor, BODY_MAX_BYTES};
use logferry::sink::http::{self, Compression, Secret};
use logferry::sink::{Batch, RecordView, SendOutcome};
use serde_json::Value;
use url::Url;

use crate::support::azure::{AzureServer, AzureSettings, Fault};

/// With the client secret that the server knows.
pub fn options(server: &AzureServer) -> azure_monitor::Options {
    let settings = &server.settings;
    azure_monitor::Options {
        endpoint: Url::parse(&server.endpoint).expect("URL"),
        dcr_id: settings.dcr_id.clone(),
        stream: settings.stream.clone(),
        workspace_id: None,
        table: None,
        query_endpoint: None,
        credential: credential::Options::ClientSecret(credential::App {
            tenant_id: settings.tenant_id.clone(),
            client_id: settings.client_id.clone(),
            client_secret: Secret::new(&settings.client_secret),
        }),
        http: http::Options {
            timeout: Duration::from_secs(30),
            proxy: None,
            headers: Vec::new(),
            ca_file: None,
            client_cert_file: None,
        },
        compression: Compression::Gzip,
    }
}

fn sink_with(server: &AzureServer, change: impl FnOnce(&mut azure_monitor::Options)) -> AzureMonitor {
    let mut options = options(server);
    change(&mut options);
    let authority = Url::parse(&server.authority).expect("URL");
    AzureMonitor::with_authority(options, "logferry-test", Some(authority)).expect("sink")
}

fn start() -> (AzureServer, AzureMonitor) {
    let server = AzureServer::start(AzureSettings::default());
    let sink = sink_with(&server, |_| {});
    (server, sink)
}

/// Adds a record with this message; returns false, and adds nothing, where the body would be over the sink's limit.
fn push(batch: &mut Batch, seq: u64, message: &[u8]) -> bool {
    let constants = Constants::new([("RunID".to_owned(), "42".to_owned()), ("TaskID".to_owned(), "7".to_owned())]);
    let mut members = Vec::new();
    json::key(&mut members, 0, "Message");
    json::string(&mut members, message);
    json::key(&mut members, 0, "Fields");
    members.extend_from_slice(b"{\"n\":{\"deep\":[1,\"2\"]}}");
    let event_id = EventId::new(OriginId([9; 16]), seq, seq + 1, 0);
    let record = RecordView {
        time: time::now(),
        event_id,
        seq,
        run_id: "42",
        constants: constants.members(),
        members: &members,
    };
    let before = batch.body.len();
    azure_monitor::encode(&record, &mut batch.body);
    if batch.body.len() > BODY_MAX_BYTES {
        batch.body.truncate(before);
        return false;
    }
    batch.ends.push(batch.body.len());
    batch.ids.push(event_id);
    true
}

fn batch(seqs: Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for seq in seqs {
        assert!(push(&mut batch, seq, format!("line {seq} with \"quotes\" and ünïcode").as_bytes()));
    }
    batch
}

fn seqs(server: &AzureServer) -> Vec<u64> {
    server.records().iter().filter_map(|record| record.get("Seq").and_then(Value::as_u64)).collect()
}

#[tokio::test]
async fn records_arrive_whole_compressed_or_not() {
    for compression in [Compression::Gzip, Compression::None] {
        let server = AzureServer::start(AzureSettings::default());
        let sink = sink_with(&server, |options| options.compression = compression);
        let batch = batch(1..501);
        assert_eq!(sink.send(&batch, 0..batch.len()).await, SendOutcome::Accepted);
        assert_eq!(seqs(&server), (1..501).collect::<Vec<_>>());
        let record = server.records().swap_remove(6);
        assert_eq!(record["Message"], "line 7 with \"quotes\" and ünïcode");
        assert_eq!(record["EventID"], batch.ids[6].to_string());
        assert_eq!((&record["RunID"], &record["TaskID"]), (&Value::from("42"), &Value::from("7")));
        assert_eq!(record["Fields"]["n"]["deep"][1], "2");
        let text = |name: &str| record[name].as_str().expect(name).to_owned();
        let (generated, event) = (text("TimeGenerated"), text("EventTime"));
        assert_eq!((generated.len(), event.len()), ("2026-11-20T23:00:33.123456Z".len(), generated.len() + 1));
        assert!(event.starts_with(generated.trim_end_matches('Z')), "{generated} {event}");
        server.read(|l| {
            assert_eq!((l.gzipped, l.calls()), (u64::from(compression == Compression::Gzip), 1));
            assert!(l.columns_dropped.is_empty(), "{:?}", l.columns_dropped);
            assert_eq!((l.values_truncated, l.times_replaced, l.duplicates), (0, 0, 0));
        });
    }
}

#[tokio::test]
async fn a_part_of_a_batch_is_a_call_of_its_own_with_an_id_of_its_own() {
    let (server, sink) = start();
    let batch = batch(1..11);
    for range in [3..4, 0..1, 9..10, 4..9, 5..5] {
        assert_eq!(sink.send(&batch, range).await, SendOutcome::Accepted);
    }
    assert_eq!(seqs(&server), [4, 1, 10, 5, 6, 7, 8, 9]);
    server.read(|l| {
        assert_eq!((l.calls(), l.token_requests()), (4, 1), "nothing to send is no call");
        let ids: std::collections::HashSet<_> = l.request_ids.iter().collect();
        assert_eq!(ids.len(), 4);
    });
}

#[tokio::test]
async fn full_bodies_stay_under_a_million_bytes_even_where_gzip_saves_nothing() {
    let (server, sink) = start();
    let mut full = Batch::default();
    let mut noise = 88_172_645_463_325_252_u64;
    let mut seq = 0;
    loop {
        let message: Vec<u8> = (0..3_000)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                b'!' + (noise >> 32) as u8 % 94
            })
            .collect();
        seq += 1;
        if !push(&mut full, seq, &message) {
            break;
        }
    }
    // The last bytes, one record exactly as long as the limit allows.
    let mut room = BODY_MAX_BYTES - full.body.len();
    while room > 0 && !push(&mut full, seq, &vec![b'x'; room]) {
        room -= 1;
    }
    assert_eq!(full.body.len(), BODY_MAX_BYTES);
    assert_eq!(sink.send(&full, 0..full.len()).await, SendOutcome::Accepted);
    server.read(|l| {
        assert_eq!((l.max_raw_bytes, l.bodies_over_promise), (999_999, 0));
        assert!(l.max_wire_bytes > 700_000 && l.max_wire_bytes < 1_000_000, "{}", l.max_wire_bytes);
        assert_eq!(l.records.len(), full.len());
    });
    full.body.push(b' ');
    *full.ends.last_mut().expect("records") += 1;
    let refused = sink.send(&full, 0..full.len()).await;
    assert!(matches!(&refused, SendOutcome::Refused { status: 413, .. }), "{refused:?}");
    assert_eq!(server.read(|l| l.calls()), 1, "it was not even sent");
}

#[tokio::test]
async fn each_status_comes_through_with_its_code_and_its_wait() {
    let (server, sink) = start();
    let batch = batch(1..4);
    let check = async |status: u16, wait: Option<u64>, expected: &str| {
        let wait = wait.map(Duration::from_secs);
        server.fault(Fault::Status(status, wait));
        match sink.send(&batch, 0..batch.len()).await {
            SendOutcome::Refused { status: got, retry_after, reason } => {
                assert_eq!((got, retry_after), (status, wait));
                assert!(reason.starts_with(expected), "{reason}");
            }
            other => panic!("{status}: {other:?}"),
        }
    };
    check(400, None, "InvalidPayload: Scripted answer 400.").await;
    check(401, None, "InvalidToken: Scripted answer 401.; the token was refused").await;
    check(403, None, "OperationFailed: Scripted answer 403.; the identity may not write to rule dcr-0123").await;
    check(404, None, "NotFound: Scripted answer 404.; no stream Custom-BenchmarkRuns_CL in a rule dcr-0123").await;
    check(413, None, "ContentLengthLimitExceeded: Scripted answer 413.").await;
    check(429, Some(17), "TooManyRequests: Scripted answer 429.").await;
    check(500, None, "InternalServerError: Scripted answer 500.").await;
    check(503, Some(2), "InternalServerError: Scripted answer 503.").await;
    server.fault(Fault::Html(502));
    let outcome = sink.send(&batch, 0..batch.len()).await;
    let reason = "<!DOCTYPE html> <html><body> <h1>Please sign in</h1> </body></html>".to_owned();
    assert_eq!(outcome, SendOutcome::Refused { status: 502, retry_after: None, reason });
    assert!(server.records().is_empty());
    assert_eq!(sink.send(&batch, 0..batch.len()).await, SendOutcome::Accepted);
    assert_eq!(server.read(|l| l.token_requests()), 1);
}

#[tokio::test]
async fn after_a_401_a_new_token_is_used_once_the_old_one_is_forgotten() {
    let (server, sink) = start();
    let batch = batch(1..4);
    assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
    server.revoke_tokens();
    for _ in 0..2 {
        let refused = sink.send(&batch, 1..3).await;
        assert!(matches!(refused, SendOutcome::Refused { status: 401, .. }), "{refused:?}");
    }
    sink.forget_credentials().await;
    sink.forget_credentials().await;
    assert_eq!(sink.send(&batch, 1..3).await, SendOutcome::Accepted);
    assert_eq!(seqs(&server), [1, 2, 3]);
    assert_eq!(server.read(|l| (l.token_requests(), l.answered(401), l.answered(204))), (2, 2, 2));
}

#[tokio::test]
async fn an_expired_token_is_a_401_of_the_server() {
    let (server, sink) = start();
    let batch = batch(1..2);
    assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
    server.advance(Duration::from_secs(3_600));
    let refused = sink.send(&batch, 0..1).await;
    assert!(matches!(refused, SendOutcome::Refused { status: 401, .. }), "{refused:?}");
    assert!(server.read(|l| l.last_refusal.clone()).contains("expired"));
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_sending_again_stores_twice() {
    let server = AzureServer::start(AzureSettings::default());
    let sink = sink_with(&server, |options| options.http.timeout = Duration::from_millis(700));
    let batch = batch(1..4);
    // The token is fetched beforehand, outside of the short time limit.
    sink.probe().await.expect("probe");
    for (fault, stored) in [
        (Fault::DropConnectionBefore, 0),
        (Fault::Hang, 0),
        (Fault::DropAfterStore, 3),
        (Fault::HangAfterStore, 6),
        (Fault::Html(200), 6),
    ] {
        server.fault(fault);
        let outcome = sink.send(&batch, 0..3).await;
        let SendOutcome::Unknown { reason } = &outcome else { panic!("{fault:?}: {outcome:?}") };
        assert!(reason.starts_with("127.0.0.1"), "{reason}");
        assert_eq!(server.records().len(), stored, "{fault:?}");
    }
    assert_eq!(server.read(|l| l.duplicates), 3);
    assert_eq!(sink.send(&batch, 0..3).await, SendOutcome::Accepted);
}

#[tokio::test]
async fn nothing_is_sent_without_a_connection_or_a_token() {
    let (server, sink) = start();
    let batch = batch(1..2);
    server.token_fault(Fault::Status(500, None));
    let outcome = sink.send(&batch, 0..1).await;
    let SendOutcome::NotSent { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("no token from client secret: login.microsoftonline.com answered 500"), "{reason}");
    assert_eq!(server.read(|l| l.calls()), 0);
    assert_eq!(sink.send(&batch, 0..1).await, SendOutcome::Accepted);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address");
    let sink = sink_with(&server, |o| o.endpoint = Url::parse(&format!("http://{nobody}")).expect("URL"));
    let outcome = sink.send(&batch, 0..1).await;
    let SendOutcome::NotSent { reason } = &outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("127.0.0.1: ") && reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn one_poison_record_refuses_the_whole_call() {
    let (server, sink) = start();
    server.poison(|record| record.get("Seq").and_then(Value::as_u64) == Some(3));
    let batch = batch(1..6);
    let refused = sink.send(&batch, 0..5).await;
    assert!(matches!(refused, SendOutcome::Refused { status: 400, .. }), "{refused:?}");
    assert_eq!(sink.send(&batch, 0..2).await, SendOutcome::Accepted);
    assert_eq!(sink.send(&batch, 3..5).await, SendOutcome::Accepted);
    assert_eq!(seqs(&server), [1, 2, 4, 5]);
}

#[tokio::test]
async fn a_probe_stores_nothing_and_says_what_is_wrong_and_what_to_do() {
    let (server, sink) = start();
    let good = sink.probe().await.expect("all is well");
    assert_eq!(
        good,
        "127.0.0.1 accepts records for stream Custom-BenchmarkRuns_CL of rule dcr-0123456789abcdef0123456789abcdef \
         (client secret)"
    );
    server.set_role(false);
    let error = sink.probe().await.expect_err("no role");
    assert!(error.starts_with("127.0.0.1 answered 403: OperationFailed: "), "{error}");
    assert!(error.contains("role Monitoring Metrics Publisher") && error.contains("30 minutes"), "{error}");
    server.set_role(true);
    let error = sink_with(&server, |o| o.dcr_id = "dcr-name".into()).probe().await.expect_err("no such rule");
    assert!(error.contains("answered 404: NotFound: ") && error.contains("immutableId, not its name"), "{error}");
    let error = sink_with(&server, |o| o.stream = "Custom-Other".into()).probe().await.expect_err("no such stream");
    assert!(error.contains("no stream Custom-Other in a rule dcr-0123"), "{error}");
    assert!(server.records().is_empty());

    let elsewhere =
        AzureSettings { token_audience: Some("https://management.azure.com".into()), ..AzureSettings::default() };
    let server = AzureServer::start(elsewhere);
    let sink = sink_with(&server, |_| {});
    let error = sink.probe().await.expect_err("wrong audience");
    assert!(error.starts_with("127.0.0.1 answered 401: InvalidAudience: "), "{error}");
    assert!(error.contains("it must be for https://monitor.azure.com"), "{error}");
    server.token_fault(Fault::Status(500, None));
    sink.forget_credentials().await;
    let error = sink.probe().await.expect_err("no token");
    assert!(error.starts_with("no token from client secret: "), "{error}");
}
