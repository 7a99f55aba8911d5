//! The imitation itself: that it refuses what IMDS refuses and that events go on as documented, called without any of
//! logferry's code.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Announced, Fault, ImdsServer, Target, compute, with_tag};

const INSTANCE: &str = "/metadata/instance?api-version=2021-02-01";
const EVENTS: &str = "/metadata/scheduledevents?api-version=2020-07-01";

struct Caller {
    server: ImdsServer,
    client: reqwest::Client,
}

impl Caller {
    fn new() -> Self {
        let server = ImdsServer::start(compute("vm-7"));
        server.set_unlimited();
        Caller { server, client: client() }
    }

    fn get(&self, target: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{target}", self.server.base))
    }

    async fn events(&self) -> Value {
        let (status, document) = answer(self.get(EVENTS).header("Metadata", "true")).await;
        assert_eq!(status, 200, "{document}");
        document
    }

    async fn approve(&self, body: &str) -> u16 {
        let url = format!("{}{EVENTS}", self.server.base);
        let request = self.client.post(url).header("Metadata", "true").body(body.to_owned());
        answer(request).await.0
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("client")
}

/// Status and JSON of an answer; `null` where it has none.
async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("body")).unwrap_or_default())
}

#[tokio::test]
async fn what_imds_refuses_is_refused() {
    let caller = Caller::new();
    let check = async |target: &str, headers: &[(&str, &str)], expected: u16| {
        let mut request = caller.get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, document) = answer(request).await;
        assert_eq!(status, expected, "{target} {headers:?}: {document}");
        assert_eq!(status != 200, document.get("error").is_some(), "{document}");
    };
    for target in [INSTANCE, EVENTS] {
        let path = target.split('?').next().expect("a path");
        check(target, &[("Metadata", "true")], 200).await;
        check(target, &[("metadata", "True")], 200).await;
        check(target, &[], 400).await;
        check(target, &[("Metadata", "false")], 400).await;
        check(target, &[("Metadata", "true"), ("X-Forwarded-For", "10.0.0.4")], 400).await;
        check(path, &[("Metadata", "true")], 400).await;
        check(&format!("{path}?api-version=2021-02-31"), &[("Metadata", "true")], 400).await;
        check(&format!("{target}&api-version=2020-09-01"), &[("Metadata", "true")], 400).await;
    }
    check("/metadata", &[("Metadata", "true")], 404).await;
    check("/latest/meta-data/", &[("Metadata", "true")], 404).await;
    let (status, document) = answer(caller.get("/metadata/instance").header("Metadata", "true")).await;
    assert!(status == 400 && document["newest-versions"].as_array().is_some_and(|v| !v.is_empty()), "{document}");
    let put = caller.client.put(format!("{}{INSTANCE}", caller.server.base)).header("Metadata", "true");
    assert_eq!(answer(put).await.0, 405);
    let (status, _) = answer(caller.get("/metadata/identity/oauth2/token").header("Metadata", "true")).await;
    assert_eq!(status, 400, "this VM has no identity");
}

#[tokio::test]
async fn more_than_five_requests_a_second_are_too_many() {
    let server = ImdsServer::start(compute("vm-7"));
    let caller = Caller { server, client: client() };
    for _ in 0..5 {
        assert_eq!(answer(caller.get(INSTANCE).header("Metadata", "true")).await.0, 200);
    }
    assert_eq!(answer(caller.get(EVENTS).header("Metadata", "true")).await.0, 429);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(answer(caller.get(EVENTS).header("Metadata", "true")).await.0, 200);
}

#[tokio::test]
async fn the_instance_is_what_the_test_says() {
    let caller = Caller::new();
    caller.server.set_compute(with_tag(with_tag(compute("vm-8"), "RunID", "run:42"), "Team", "evals"));
    let (_, document) = answer(caller.get(INSTANCE).header("Metadata", "true")).await;
    assert_eq!(document["compute"]["name"], "vm-8");
    assert_eq!(document["compute"]["tags"], "RunID:run:42;Team:evals");
    assert_eq!(document["compute"]["tagsList"][0], json!({"name": "RunID", "value": "run:42"}));
}

#[tokio::test]
async fn an_event_is_announced_approved_and_gone_and_each_step_is_another_incarnation() {
    let caller = Caller::new();
    let first = caller.events().await;
    assert_eq!(first, json!({"DocumentIncarnation": 1, "Events": []}));
    caller.server.announce(Announced::new("A", "Terminate", &["vm-7"], Duration::from_secs(600)));
    let document = caller.events().await;
    assert_eq!(document["DocumentIncarnation"], 2);
    let event = &document["Events"][0];
    let named = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (named("EventId"), named("EventStatus"), named("EventType")),
        ("A".into(), "Scheduled".into(), "Terminate".into())
    );
    assert!(named("NotBefore").len() == 29 && named("NotBefore").ends_with(" GMT"), "{event}");
    assert_eq!(caller.events().await, document, "nothing new");

    assert_eq!(caller.approve(r#"{"StartRequests":[{"EventId":"A"}]}"#).await, 200);
    let document = caller.events().await;
    assert_eq!(document["DocumentIncarnation"], 3);
    assert_eq!(
        (&document["Events"][0]["EventStatus"], &document["Events"][0]["NotBefore"]),
        (&json!("Started"), &json!(""))
    );
    caller.server.withdraw("A");
    assert_eq!(caller.events().await, json!({"DocumentIncarnation": 4, "Events": []}));
    assert_eq!(caller.server.read(|l| l.approved().len()), 1);
}

#[tokio::test]
async fn an_event_whose_time_has_come_has_begun() {
    let caller = Caller::new();
    caller.server.announce(Announced::new("A", "Preempt", &["vm-7"], Duration::ZERO));
    let document = caller.events().await;
    assert_eq!(
        (&document["DocumentIncarnation"], &document["Events"][0]["EventStatus"]),
        (&json!(3), &json!("Started"))
    );
    assert_eq!(document["Events"][0]["NotBefore"], "");
}

#[tokio::test]
async fn only_a_whole_approval_of_known_events_is_taken() {
    let caller = Caller::new();
    caller.server.announce(Announced::new("A", "Terminate", &["vm-7"], Duration::from_secs(600)));
    let check = async |body: &str, expected: u16| assert_eq!(caller.approve(body).await, expected, "{body}");
    check("", 400).await;
    check("[]", 400).await;
    check(r#"{"StartRequests":[]}"#, 400).await;
    check(r#"{"StartRequests":[{"Id":"A"}]}"#, 400).await;
    check(r#"{"StartRequests":[{"EventId":"A"},{"EventId":"B"}]}"#, 400).await;
    assert_eq!(caller.server.read(|l| l.approved().len()), 0);
    assert_eq!(caller.events().await["DocumentIncarnation"], 2, "it has not begun");
    check(r#"{"StartRequests":[{"EventId":"A"}]}"#, 200).await;
}

#[tokio::test]
async fn faults_come_in_order_and_outages_end() {
    let caller = Caller::new();
    let check = async |expected: u16| {
        let (status, document) = answer(caller.get(INSTANCE).header("Metadata", "true")).await;
        assert_eq!(status, expected, "{document}");
    };
    caller.server.outage(Target::Instance, Fault::Status(410, None), None);
    caller.server.fault(Target::Instance, Fault::Html(503));
    caller.server.fault(Target::Instance, Fault::Redirect("http://portal.example/".into()));
    check(503).await;
    check(302).await;
    check(410).await;
    check(410).await;
    caller.events().await;
    caller.server.recover();
    check(200).await;
    caller.server.outage(Target::Instance, Fault::Status(410, None), Some(Duration::from_millis(500)));
    check(410).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    check(200).await;
    let answered = caller.server.read(|l| (l.asked(Target::Instance), l.answered(Target::Instance, 410)));
    assert_eq!(answered, (7, 3));
}

#[tokio::test]
async fn only_the_first_good_request_for_events_is_slow() {
    const SLOW: Duration = Duration::from_millis(500);
    let caller = Caller::new();
    caller.server.set_first_events(SLOW);
    let begun = Instant::now();
    assert_eq!(answer(caller.get(EVENTS)).await.0, 400);
    assert!(begun.elapsed() < SLOW, "{:?}", begun.elapsed());
    caller.events().await;
    assert!(begun.elapsed() >= SLOW, "{:?}", begun.elapsed());
    let begun = Instant::now();
    caller.events().await;
    assert!(begun.elapsed() < SLOW, "{:?}", begun.elapsed());
}
