//! IMDS while Azure updates it: 410 for 70 seconds, as documented. Over real connections to an imitation in this process,
//! by a clock that the test moves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use url::Url;

use super::credential::{Api, Cloud, Credentials, Options, REFRESH_PAUSE, Transport};
use super::imds::{Client, ImdsError};
use crate::http;

/// How long an update takes at most.
const UPDATE: Duration = Duration::from_secs(70);

/// The clock moves so far at a time, and stands still for the other time in between, in which real requests are answered.
/// A time limit of seconds would need a machine that stands still for a tenth of one.
const STEP: Duration = Duration::from_millis(100);
const STAND: Duration = Duration::from_millis(3);

/// When each request came, in seconds of the clock, and what it was answered.
type Asked = Arc<Mutex<Vec<(u64, u16)>>>;

/// An IMDS that answers 410 to everything until its update is over; then what each path has.
async fn imds_under_update() -> (Url, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let begun = Instant::now();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, begun, Arc::clone(&log)));
        }
    });
    (url, asked)
}

async fn answer(mut stream: TcpStream, begun: Instant, asked: Asked) {
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut bytes).await else { return };
        head.extend_from_slice(&bytes[..read]);
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(head.drain(..end + 4).collect()).expect("a head");
        assert!(text.contains("/metadata/") && text.to_lowercase().contains("metadata: true"), "{text}");
        let (status, body) = match begun.elapsed() {
            at if at < UPDATE => (410, String::new()),
            _ if text.contains("/instance") => {
                (200, json!({"compute": {"vmId": "7", "azEnvironment": "A"}}).to_string())
            }
            _ if text.contains("/scheduledevents") => {
                (200, json!({"DocumentIncarnation": 1, "Events": []}).to_string())
            }
            _ => {
                let (token, expires_on) = ("t".repeat(40), "4102444800");
                let token =
                    json!({"access_token": token, "expires_on": expires_on, "token_type": "Bearer", "resource": "r"});
                (200, token.to_string())
            }
        };
        asked.lock().expect("a lock").push((begun.elapsed().as_secs(), status));
        let length = body.len();
        let kind = "content-type: application/json";
        let answer = format!("HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.expect("write");
    }
}

/// Runs to the end of `work`; gives what it gave, and how long it took by the clock.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let clock = async {
        loop {
            // While such a task runs the clock does not move by itself.
            tokio::task::spawn_blocking(|| std::thread::sleep(STAND)).await.expect("a thread");
            tokio::time::advance(STEP).await;
        }
    };
    tokio::select! {
        done = work => (done, begun.elapsed()),
        () = clock => unreachable!("the clock has no end"),
    }
}

/// Statuses in their order, each once.
fn story(asked: &Asked) -> Vec<u16> {
    let mut statuses: Vec<u16> = asked.lock().expect("a lock").iter().map(|(_, status)| *status).collect();
    statuses.dedup();
    statuses
}

#[tokio::test(start_paused = true)]
async fn what_this_vm_is_is_known_within_seconds_of_the_end_of_an_update() {
    let (url, asked) = imds_under_update().await;
    let client = Client::new(url, "logferry-test").expect("a client");
    let (instance, took) = timed(client.instance()).await;
    assert_eq!(instance.expect("an instance").vm_id, "7");
    // Asked again each 8 s by then.
    assert!(took >= UPDATE && took < UPDATE + Duration::from_secs(9), "{took:?}");
    assert_eq!(story(&asked), [410, 200]);
    let requests = asked.lock().expect("a lock").len();
    assert!((8..=14).contains(&requests), "{requests} requests in {took:?}");
}

#[tokio::test(start_paused = true)]
async fn events_are_known_with_the_first_poll_after_an_update_and_the_first_call_waits_for_nothing() {
    let (url, asked) = imds_under_update().await;
    let client = Client::new(url, "logferry-test").expect("a client");
    let polls = async {
        loop {
            match client.scheduled_events().await {
                Ok(document) => return document,
                Err(error) => assert!(matches!(error, ImdsError::Refused { status: 410, .. }), "{error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (document, took) = timed(polls).await;
    assert!(document.events.is_empty());
    assert!(took >= UPDATE && took < UPDATE + Duration::from_secs(3), "{took:?}");
    assert_eq!(story(&asked), [410, 200]);
    // A refusal is an answer: none of the two minutes that the first call may have is spent on it.
    let requests = asked.lock().expect("a lock").len();
    assert!(requests >= 50, "{requests} polls in {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_at_hand_soon_after_an_update_without_anybody_asking() {
    let (url, asked) = imds_under_update().await;
    let options = http::Options {
        timeout: Duration::from_secs(30),
        proxy: None,
        headers: Vec::new(),
        ca_file: None,
        client_cert_file: None,
    };
    let transport = Transport::new(&options, "logferry-test", Some(url)).expect("a transport");
    let managed = Options::ManagedIdentity { client_id: None };
    let credentials = Credentials::new(&managed, Cloud::Public, Api::LogsIngestion, transport);
    let (first, _) = timed(credentials.token()).await;
    let first = first.expect_err("it is being updated");
    assert!(first.to_string().contains("answered 410"), "{first}");
    let at_hand = async {
        tokio::select! {
            never = credentials.keep() => match never {},
            () = async {
                while asked.lock().expect("a lock").last().is_none_or(|(_, status)| *status != 200) {
                    tokio::time::sleep(STEP).await;
                }
            } => {}
        }
        credentials.settle().await;
    };
    let ((), took) = timed(at_hand).await;
    assert!(took >= UPDATE - Duration::from_secs(1) && took <= UPDATE + REFRESH_PAUSE, "{took:?}");
    assert_eq!(story(&asked), [410, 200]);
    let requests = asked.lock().expect("a lock").len();
    credentials.token().await.expect("it is kept");
    assert_eq!(asked.lock().expect("a lock").len(), requests, "nobody is asked for what is at hand");
}
