//! What a running daemon says over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::delivery::azure_sink;
use crate::support::azure::{AzureServer, AzureSettings, Fault};
use crate::support::ferry::{Ferry, Running, append, until};

const FILES: &str = "[[sources.file]]\nname = \"agent\"\ninclude = [\"{dir}/*.log\"]\n";
const FILE_SINK: &str = "[sinks.file]\npath = \"{dir}/out.ndjson\"\n";

/// Status and body of an answer; `None`: nobody listens any more.
pub fn ask(address: &str, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The address that the daemon says it listens on.
pub async fn address(running: &Running) -> String {
    until("the address", async || {
        let text = running.text();
        let (_, address) = text.lines().find(|line| line.contains("listening for"))?.split_once("address=")?;
        Some(address.trim().to_owned())
    })
    .await
}

pub async fn ready(address: &str) {
    until("readiness", async || (ask(address, "GET /readyz")?.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_says_that_it_is_alive_ready_and_how_it_does() {
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}[http]\nlisten = \"127.0.0.1:0\"\n"));
    append(&ferry.path("a.log"), (0..7).map(|n| format!("line {n}")));
    let running = ferry.run();
    let address = address(&running).await;
    ready(&address).await;
    assert_eq!(ask(&address, "GET /healthz"), Some((200, "alive\n".to_owned())));
    let status = until("seven lines", async || {
        let (code, body) = ask(&address, "GET /status")?;
        assert_eq!(code, 200);
        let status: Value = serde_json::from_str(&body).expect("JSON");
        (status["sinks"]["file"]["delivered"] == 7).then_some(status)
    })
    .await;
    assert_eq!((&status["pid"], &status["sources"]["agent"]["lines"]), (&running.id().into(), &7.into()));
    assert!(status["sources"]["agent"]["lines_per_second"].is_f64(), "{status}");
    let (code, body) = ask(&address, "GET /metrics").expect("an answer");
    assert!(code == 200 && body.contains("\nlogferry_read_lines_total 7\n"), "{body}");
    let (code, body) = ask(&address, "GET /").expect("an answer");
    assert!(code == 404 && body.contains("/metrics, /healthz, /readyz and /status"), "{body}");
    assert_eq!(ask(&address, "POST /status").expect("an answer").0, 405);
    // Clients that say nothing hold up neither the others nor the end.
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    assert_eq!(ask(&address, "GET /healthz").expect("an answer").0, 200);
    assert_eq!(running.stop().code, Some(0));
    assert_eq!(ask(&address, "GET /healthz"), None);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_sink_refuses_or_that_stops_is_not_ready_and_says_why() {
    let server = AzureServer::start(AzureSettings::default());
    let config = format!("{FILES}{}[http]\nlisten = \"127.0.0.1:0\"\n", azure_sink(&server));
    let mut ferry = Ferry::new(&config);
    ferry.set("LOGFERRY_TEST_AZURE_AUTHORITY", &server.authority);
    let running = ferry.run();
    let address = address(&running).await;
    ready(&address).await;
    server.fault_rule(|_| Some(Fault::Status(503, None)));
    append(&ferry.path("a.log"), (0..5).map(|n| format!("line {n}")));
    until("a refusal", async || {
        let (code, body) = ask(&address, "GET /readyz")?;
        (code == 503 && body.starts_with("sink azure_monitor does not accept: ")).then_some(())
    })
    .await;
    running.terminate();
    until("the stop", async || (ask(&address, "GET /readyz")? == (503, "stopping\n".to_owned())).then_some(())).await;
    assert_eq!(ask(&address, "GET /healthz").expect("an answer").0, 200);
    assert_eq!(ask(&address, "GET /status").expect("an answer").0, 200);
    server.fault_rule(|_| None);
    assert_eq!(running.wait().code, Some(0));
    assert_eq!(server.records().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_and_stops_no_shipping() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address");
    let mut ferry = Ferry::new(&format!("{FILES}{FILE_SINK}[http]\nlisten = \"{port}\"\n"));
    append(&ferry.path("a.log"), ["line".to_owned()]);
    let running = ferry.run();
    until("the record", async || (ferry.records("out.ndjson").len() == 1).then_some(())).await;
    let said = running.text();
    assert!(said.contains("Set http.listen to a free address") && said.contains(&port.to_string()), "{said}");
    assert_eq!(ferry.call(&["status"]).code, Some(0));
    drop(taken);
    // The port is free now, and is had without a restart.
    ready(&port.to_string()).await;
    assert_eq!(running.stop().code, Some(0));
}
