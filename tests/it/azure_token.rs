//! The daemon while it gets no token, or had one: nothing is lost, and a stop ends within its deadline.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ended, Ferry, Running, append};

const LINES: usize = 100;

/// Most real time that an event of these tests may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a stop may take beyond its deadline on a busy machine; far below what one request for a token may take, so that
/// a test sees it where a stop waits for one.
const SLACK: Duration = Duration::from_secs(6);

/// A file source and a sink with the VM's own identity.
fn ferry(server: &AzureServer, deadline: Duration) -> Ferry {
    let settings = &server.settings;
    let mut ferry = Ferry::new(&format!(
        "[teardown]\ndeadline = \"{}s\"\n[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n\
         [sinks.azure_monitor]\nendpoint = \"{}\"\ndcr_id = \"{}\"\nstream = \"{}\"\n\
         credential = {{ kind = \"managed_identity\" }}\n",
        deadline.as_secs(),
        server.endpoint,
        settings.dcr_id,
        settings.stream
    ));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    ferry
}

fn append_lines(ferry: &Ferry) {
    append(&ferry.path("a.log"), (0..LINES).map(|n| format!("line {n}")));
}

/// Stops the daemon, which must take no longer than this.
fn stop_within(running: Running, limit: Duration) -> Ended {
    let begun = Instant::now();
    let ended = running.stop();
    assert!(begun.elapsed() < limit, "{:?}: {}", begun.elapsed(), ended.stderr);
    ended
}

/// Every line is there, and none twice.
fn all_is_there(server: &AzureServer) {
    let records = server.records();
    let lines: Vec<&str> =
        records.iter().filter_map(|r| r["Message"].as_str()).filter(|text| text.starts_with("line ")).collect();
    let distinct: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!((lines.len(), distinct.len()), (LINES, LINES), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_a_stop_keeps_its_deadline_and_the_next_start_delivers() {
    let deadline = Duration::from_secs(2);
    for fault in [Fault::Status(500, None), Fault::Hang, Fault::Html(200), Fault::DropConnectionBefore] {
        let server = AzureServer::start(AzureSettings::default());
        server.token_fault_rule(move |_| Some(fault));
        let mut ferry = ferry(&server, deadline);
        append_lines(&ferry);
        let running = ferry.run();
        server.until("a request for a token", LIMIT, |l| l.token_requests() > 0).await;
        let ended = stop_within(running, deadline + SLACK);
        assert_eq!(ended.code, Some(3), "{fault:?}: {}", ended.stderr);
        assert_eq!(server.read(|l| l.calls()), 0, "{fault:?}: nothing is sent without a token");

        server.token_fault_rule(|_| None);
        let running = ferry.run();
        server.until("all lines", LIMIT, |l| l.records.len() >= LINES).await;
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{fault:?}: {}", ended.stderr);
        all_is_there(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_service_that_is_being_updated_is_waited_for_within_the_deadline() {
    let server = AzureServer::start(AzureSettings::default());
    let until = Instant::now() + Duration::from_secs(5);
    server.token_fault_rule(move |_| (Instant::now() < until).then_some(Fault::Status(410, None)));
    let mut ferry = ferry(&server, Duration::from_secs(60));
    append_lines(&ferry);
    let running = ferry.run();
    server.until("a request for a token", LIMIT, |l| l.token_requests() > 0).await;
    // A drain asks every two seconds, so that the end of 70 s of this is not missed by half a minute.
    let ended = stop_within(running, Duration::from_secs(30));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let refused = server.read(|l| l.token_answers.get(&410).copied().unwrap_or_default());
    assert!((2..20).contains(&refused), "{refused} requests");
    all_is_there(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_at_hand_before_the_first_line_and_while_nobody_gives_another() {
    let settings = AzureSettings {
        token_lifetime: Duration::from_secs(200),
        numeric_expires_on: true,
        ..AzureSettings::default()
    };
    let server = AzureServer::start(settings);
    let mut ferry = ferry(&server, Duration::from_secs(10));
    let running = ferry.run();
    server.until("a token", LIMIT, |l| l.token_answers.contains_key(&200)).await;
    assert_eq!(server.read(|l| l.calls()), 0, "there is nothing to send");
    server.token_fault_rule(|_| Some(Fault::Hang));
    append_lines(&ferry);
    let ended = stop_within(running, Duration::from_secs(10));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    all_is_there(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_shows_a_token_or_a_secret() {
    let server = AzureServer::start(AzureSettings::default());
    let secret = server.settings.client_secret.clone();
    let mut ferry = Ferry::new(&format!("[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n{}", azure_sink(&server)));
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    ferry.set("LOGFERRY__LOG__LEVEL", "trace");
    // The first token is wanted in vain, and the next one is forgotten by the service: both are said.
    server.token_fault(Fault::Status(401, None));
    append_lines(&ferry);
    let running = ferry.run();
    server.until("all lines", LIMIT, |l| l.records.len() >= LINES).await;
    server.revoke_tokens();
    append(&ferry.path("b.log"), ["one more".to_owned()]);
    server.until("the last line", LIMIT, |l| l.records.len() > LINES).await;
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in ["AADSTS90033", "InvalidToken: The token is not known"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let is_token = |part: &str| part.get(..16).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(!ended.stderr.split("token-").skip(1).any(is_token), "a token is shown");
    assert!(!ended.stderr.contains(&secret) && !ended.stderr.contains(&encoded), "the secret is shown");
}
