//! The client of IMDS against its imitation, and both at the address of IMDS in a network of the test's own.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use logferry::azure::credential::{Api, Cloud, Credentials, Options, Transport};
use logferry::azure::imds::{
    ADDRESS, CONNECT_TIMEOUT, Client, EventKind, EventStatus, FIRST_EVENTS_TIMEOUT, INSTANCE_RETRY_FOR, ImdsError,
    REQUEST_TIMEOUT,
};
use logferry::azure::moment::Moment;
use logferry::azure::scheduled_events::{self, Decider, State};
use logferry::sink::http;
use tokio::time::Instant;
use url::Url;

use crate::support::azure::{AzureServer, AzureSettings};
use crate::support::ferry::{Ferry, append};
use crate::support::imds::{Announced, Fault, ImdsServer, Target, compute, with_tag};
use crate::support::network::Network;

/// Most real time that an event of these tests may take.
const LIMIT: Duration = Duration::from_secs(20);

const NOTICE: Duration = Duration::from_secs(600);

fn client(base: &str) -> Client {
    Client::new(Url::parse(base).expect("URL"), "logferry-test").expect("a client")
}

fn pair() -> (ImdsServer, Client) {
    let server = ImdsServer::start(with_tag(compute("vm-7"), "RunID", "run-42"));
    server.set_unlimited();
    let client = client(&server.base);
    (server, client)
}

/// Moves the clock of the client, not that of the server.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_vm_learns_what_it_is() {
    let (server, client) = pair();
    let instance = client.instance().await.expect("an instance");
    assert_eq!((instance.name.as_str(), instance.location.as_str()), ("vm-7", "westeurope"));
    assert_eq!((instance.tag("RunID"), instance.event_names()), (Some("run-42"), vec!["vm-7".to_owned()]));
    let (_, request) = server.read(|l| l.requests[0].clone());
    assert_eq!(request.header("metadata"), Some("true"));
    assert_eq!(request.header("user-agent"), Some("logferry-test"));
}

#[tokio::test]
async fn what_is_not_azure_is_named_as_such_by_one_request() {
    let (server, client) = pair();
    let check = async |fault: Fault, expected: &str| {
        let before = server.read(|l| l.requests.len());
        server.fault(Target::Instance, fault);
        let error = client.instance().await.expect_err(expected);
        let text = error.to_string();
        assert_eq!(text, format!("what answers at {} is not Azure's IMDS: it{expected}", server.base));
        assert!(!error.may_pass() && server.read(|l| l.requests.len()) == before + 1, "{text}");
    };
    let json = |text: &str| Fault::Body(text.as_bytes().to_vec());
    let unread = "answered 200 with application/json, which";
    check(Fault::Html(200), " answered 200 with text/html, which cannot be read: expected value at line 1 column 1")
        .await;
    check(Fault::Html(404), " answered 404 with text/html").await;
    check(Fault::Html(401), " answered 401 with text/html").await;
    let portal = "http://portal.example/sign-in";
    check(Fault::Redirect(portal.into()), &format!(" answered 302, a redirect to {portal:?}")).await;
    check(json(r#"{"compute":{"vmId":""}}"#), &format!(" {unread} has no compute.vmId")).await;
    check(json("{}"), &format!(" {unread} cannot be read: missing field `compute` at line 1 column 2")).await;
    check(json(&" ".repeat(1024 * 1024 + 1)), "s answer is longer than 1048576 bytes").await;
}

#[tokio::test]
async fn an_instance_that_is_being_updated_is_waited_for_more_than_seventy_seconds() {
    let (server, client) = pair();
    server.outage(Target::Instance, Fault::Status(410, None), None);
    let begun = Instant::now();
    let (instance, ()) = tokio::join!(client.instance(), async {
        for (at, wait) in [1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8].into_iter().enumerate() {
            server.until("an answer", LIMIT, |l| l.answered(Target::Instance, 410) == at + 1).await;
            // The answer is on its way to the client.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if at == 10 {
                server.recover();
            }
            later(Duration::from_secs(wait)).await;
        }
    });
    instance.expect("an instance");
    assert!(
        begun.elapsed() >= Duration::from_secs(70) && begun.elapsed() < INSTANCE_RETRY_FOR,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_that_does_not_pass_is_not_repeated() {
    let (server, client) = pair();
    server.outage(Target::Instance, Fault::Status(400, None), None);
    let error = client.instance().await.expect_err("refused");
    assert_eq!(error.to_string(), format!("IMDS at {} answered 400: {{\"error\":\"Not now\"}}", server.base));
    assert!(!error.may_pass() && server.read(|l| l.asked(Target::Instance)) == 1);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_in_seconds() {
    let (server, client) = pair();
    let check = async |fault: Fault| {
        let before = server.read(|l| l.requests.len());
        server.fault(Target::Instance, fault.clone());
        let begun = Instant::now();
        let (instance, ()) = tokio::join!(client.instance(), async {
            server.until("the request", LIMIT, |l| l.requests.len() == before + 1).await;
            later(REQUEST_TIMEOUT).await;
        });
        let error = instance.expect_err("no answer");
        assert!(matches!(error, ImdsError::Unreachable { .. }) && error.may_pass(), "{fault:?}: {error}");
        assert!(error.to_string().ends_with("no whole answer within 5 s"), "{fault:?}: {error}");
        assert!(begun.elapsed() < REQUEST_TIMEOUT + Duration::from_secs(2), "{fault:?}");
    };
    check(Fault::Hang).await;
    check(Fault::Stall).await;
    client.instance().await.expect("the next attempt is a new one");
}

#[tokio::test]
async fn the_first_question_for_events_may_take_two_minutes_and_the_later_ones_seconds() {
    let (server, client) = pair();
    let slow = async |time: Duration| {
        let before = server.read(|l| l.asked(Target::Events));
        server.fault(Target::Events, Fault::Delay(Duration::from_secs(1)));
        let (events, ()) = tokio::join!(client.scheduled_events(), async {
            server.until("the request", LIMIT, |l| l.asked(Target::Events) == before + 1).await;
            later(time).await;
        });
        events
    };
    slow(FIRST_EVENTS_TIMEOUT).await.expect_err("too slow even for the first one");
    slow(Duration::from_secs(120)).await.expect("events");
    slow(REQUEST_TIMEOUT).await.expect_err("too slow for a later one");
    client.scheduled_events().await.expect("the service is well again");
    later(Duration::from_secs(24 * 3600)).await;
    slow(Duration::from_secs(120)).await.expect("events are switched on anew after a day");
}

#[tokio::test]
async fn a_question_for_events_is_one_request_and_an_illness_passes() {
    let (server, client) = pair();
    for (at, status) in [410, 429, 500, 503].into_iter().enumerate() {
        server.fault(Target::Events, Fault::Status(status, Some(Duration::from_secs(7))));
        let error = client.scheduled_events().await.expect_err("ill");
        assert!(error.may_pass() && error.retry_after() == Some(Duration::from_secs(7)), "{error}");
        assert_eq!(server.read(|l| l.asked(Target::Events)), at + 1);
    }
    let check = async |fault: Fault| {
        server.fault(Target::Events, fault);
        let error = client.scheduled_events().await.expect_err("no document");
        assert!(matches!(error, ImdsError::NotAzure { .. }), "{error}");
    };
    check(Fault::Html(200)).await;
    check(Fault::Redirect("http://portal.example/".into())).await;
    check(Fault::Body(b"{}".to_vec())).await;
    server.fault(Target::Events, Fault::Drop);
    assert!(client.scheduled_events().await.expect_err("dropped").may_pass());
    client.scheduled_events().await.expect("the service is well again");
}

#[tokio::test]
async fn events_are_read_as_they_are_announced() {
    let (server, client) = pair();
    server.announce(Announced::new("A", "Terminate", &["vm-7", "vm-8"], NOTICE));
    server.announce(Announced::begun("B", "Redeploy", &["vm-8"]));
    let before = Moment::now();
    let document = client.scheduled_events().await.expect("events");
    assert_eq!((document.incarnation, document.unreadable.len()), (3, 0));
    let [scheduled, begun] = document.events.as_slice() else { panic!("{document:?}") };
    assert_eq!((scheduled.kind, scheduled.status), (EventKind::Terminate, EventStatus::Scheduled));
    assert_eq!(scheduled.resources, ["vm-7", "vm-8"]);
    let left = before.boot_at(scheduled.not_before.expect("a time")) - before.boot;
    assert!(left <= NOTICE && left > NOTICE - Duration::from_secs(5), "{left:?}");
    assert_eq!((begun.kind, begun.status, begun.not_before), (EventKind::Redeploy, EventStatus::Started, None));
}

#[tokio::test]
async fn an_approval_is_repeated_while_the_service_is_ill_and_only_then() {
    let (server, client) = pair();
    server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
    client.approve(&[]).await.expect("nothing to approve");
    assert_eq!(server.read(|l| l.asked(Target::Approval)), 0);
    server.fault(Target::Approval, Fault::Status(503, None));
    client.approve(&["A".into()]).await.expect("approved");
    assert_eq!(server.read(|l| (l.asked(Target::Approval), l.approved().join(" "))), (2, "A".to_owned()));
    let error = client.approve(&["B".into()]).await.expect_err("no such event").to_string();
    assert!(error.contains("answered 400"), "{error}");
    assert_eq!(server.read(|l| l.asked(Target::Approval)), 3);
}

/// Run by the next test in a process of its own, with proxies in its environment.
#[tokio::test]
#[ignore = "needs the environment that no_proxy_of_the_environment_is_used gives it"]
async fn among_proxies() {
    let base = std::env::var("LOGFERRY_TEST_IMDS").expect("an address");
    client(&base).instance().await.expect("an instance");
    client(&base).scheduled_events().await.expect("events");
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let server = ImdsServer::start(compute("vm-7"));
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "imds::among_proxies", "--ignored"])
        .env("LOGFERRY_TEST_IMDS", &server.base)
        // Nobody listens there.
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, "http://127.0.0.1:9")))
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(server.read(|l| l.requests.iter().all(|(_, request)| request.header("x-forwarded-for").is_none())));
}

#[test]
fn at_its_real_address_a_vm_is_drained_and_its_event_approved() {
    let Some(network) = Network::new() else { return };
    let server = ImdsServer::start_in(&network, compute("vm-7"), None);
    assert_eq!(server.base, format!("{ADDRESS}:80"));
    network.block_on(async || {
        let client = client(ADDRESS);
        let names = client.instance().await.expect("an instance").event_names();
        let options =
            scheduled_events::Options { names, kinds: vec![EventKind::Terminate], margin: Duration::from_secs(10) };
        let mut decider = Decider::new(options);
        let mut poll = async || {
            let document = client.scheduled_events().await.expect("events");
            decider.polled(&document, Moment::now());
            (decider.state(), decider.approvable())
        };
        assert_eq!(poll().await, (State::Nothing, Vec::new()));
        server.announce(Announced::new("A", "Terminate", &["vm-7"], NOTICE));
        let (state, approvable) = poll().await;
        assert!(matches!(state, State::Draining { deadline: Some(_) }), "{state:?}");
        client.approve(&approvable).await.expect("approved");
        decider.approved(&approvable);
        assert_eq!(decider.state(), State::Approved);
        server.withdraw("A");
        let document = client.scheduled_events().await.expect("events");
        decider.polled(&document, Moment::now());
        assert_eq!(decider.state(), State::Nothing);
    });
    assert_eq!(server.read(|l| l.approved().join(" ")), "A");
}

#[test]
fn a_network_without_imds_is_known_at_once() {
    let Some(network) = Network::new() else { return };
    network.block_on(async || {
        let begun = Instant::now();
        let error = client(ADDRESS).instance().await.expect_err("nobody listens");
        assert!(matches!(error, ImdsError::Unreachable { .. }), "{error}");
        assert!(begun.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
    });
}

#[test]
fn where_packets_to_imds_vanish_it_is_given_up_in_two_seconds() {
    let Some(network) = Network::that_swallows() else { return };
    network.block_on(async || {
        let begun = Instant::now();
        let error = client(ADDRESS).instance().await.expect_err("nobody takes them");
        let took = begun.elapsed();
        assert!(matches!(error, ImdsError::Unreachable { .. }), "{error}");
        assert!(took >= CONNECT_TIMEOUT && took < CONNECT_TIMEOUT + Duration::from_secs(2), "{took:?}");
        // The long limit of the first question for events is for an answer, not for a connection.
        let begun = Instant::now();
        client(ADDRESS).scheduled_events().await.expect_err("nobody takes them");
        assert!(begun.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(2), "{:?}", begun.elapsed());
    });
}

#[test]
fn networks_do_not_see_each_other_nor_the_machine() {
    let (Some(one), Some(other)) = (Network::new(), Network::new()) else { return };
    let _first = ImdsServer::start_in(&one, compute("vm-1"), None);
    let _second = ImdsServer::start_in(&other, compute("vm-2"), None);
    let outside = ImdsServer::start(compute("outside"));
    let name =
        |network: &Network| network.block_on(async || client(ADDRESS).instance().await.expect("an instance").name);
    assert_eq!((name(&one), name(&other)), ("vm-1".to_owned(), "vm-2".to_owned()));
    one.block_on(async || client(&outside.base).instance().await.expect_err("it is on another loopback device"));
}

#[test]
fn a_program_that_is_started_in_a_network_is_in_it_and_the_network_goes_with_the_test() {
    let Some(network) = Network::new() else { return };
    let _server = ImdsServer::start_in(&network, compute("vm-7"), None);
    let [program, rest @ ..] = network.starter();
    let output = Command::new(program)
        .args(rest)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "imds::among_proxies", "--ignored"])
        .env("LOGFERRY_TEST_IMDS", ADDRESS)
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let name = network.starter()[3].to_owned();
    let file = std::path::Path::new("/run/netns").join(name);
    assert!(file.exists());
    drop(network);
    assert!(!file.exists());
}

#[test]
fn a_managed_identity_gets_its_token_at_the_real_address() {
    let Some(network) = Network::new() else { return };
    let azure = network.enter(|| AzureServer::start(AzureSettings::default()));
    let server = ImdsServer::start_in(&network, compute("vm-7"), Some(&azure));
    let options = http::Options {
        timeout: Duration::from_secs(30),
        proxy: None,
        headers: Vec::new(),
        ca_file: None,
        client_cert_file: None,
    };
    network.block_on(async || {
        let transport = Transport::new(&options, "logferry-test", None).expect("transport");
        let identity = Options::ManagedIdentity { client_id: None };
        let credentials = Arc::new(Credentials::new(&identity, Cloud::Public, Api::LogsIngestion, transport));
        credentials.token().await.expect("token");
    });
    assert_eq!(azure.read(|l| l.token_answers.get(&200).copied()), Some(1));
    assert_eq!(server.read(|l| l.answered(Target::Identity, 200)), 1);
}

#[test]
fn the_real_binary_in_the_network_ships_with_the_identity_of_its_vm() {
    let Some(network) = Network::new() else { return };
    let azure = network.enter(|| AzureServer::start(AzureSettings::default()));
    let server = ImdsServer::start_in(&network, compute("vm-7"), Some(&azure));
    let settings = &azure.settings;
    let mut ferry = Ferry::new(&format!(
        "[[sources.file]]\ninclude = [\"{{dir}}/*.log\"]\n[sinks.azure_monitor]\nendpoint = \"{}\"\n\
         dcr_id = \"{}\"\nstream = \"{}\"\ncredential = {{ kind = \"managed_identity\" }}\n",
        azure.endpoint, settings.dcr_id, settings.stream
    ));
    append(&ferry.path("a.log"), (0..100).map(|number| format!("line {number}")));
    ferry.start_by(&network.starter());
    let running = ferry.run();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(azure.until("all lines", LIMIT, |l| l.records.len() >= 100));
    let ended = running.stop();
    assert_eq!((ended.code, azure.records().len()), (Some(0), 100), "{}", ended.stderr);
    assert_eq!(server.read(|l| l.answered(Target::Identity, 200)), 1);
}
