//! A real Prometheus: it scrapes a running daemon, and is asked for what it has. `tests/services/up.sh` fetches it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{address, ask, ready};
use crate::metrics::{agent_lines, agents};
use crate::support::ferry::{append, until};

/// A program of Prometheus: of `PROMETHEUS_DIR`, else of the `PATH`.
fn program(name: &str) -> PathBuf {
    let found = match std::env::var_os("PROMETHEUS_DIR") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => PathBuf::from(name),
    };
    let works = Command::new(&found).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(works, "no {}: run `eval \"$(tests/services/up.sh)\"`, or set PROMETHEUS_DIR", found.display());
    found
}

/// What promtool says; it must be content.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program("promtool"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("promtool runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}\n{input}");
    said
}

/// A Prometheus of the test's own; killed when it is dropped.
struct Prometheus {
    child: Child,
    url: String,
    /// Its configuration, data and log.
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes `target` often, and holds the shipped alerts.
    fn start(target: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path();
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\nrule_files: ['{}']\n\
             scrape_configs:\n  - {{ job_name: logferry, static_configs: [{{ targets: ['{target}'] }}] }}\n",
            alerts.display()
        );
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, config).expect("a configuration");
        // It cannot be told to take a free port and say which.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let log = std::fs::File::create(folder.join("prometheus.log")).expect("a log");
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        Prometheus { child, url: format!("http://{port}"), _dir: dir }
    }

    /// The answer of its API; `None` while it is not there.
    async fn api(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), query).expect("a URL");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client.get(url).send().await.ok()?.bytes().await.ok()?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        Some(answer["data"].clone()).filter(|data| !data.is_null())
    }

    /// The value of an expression that has one.
    async fn value(&self, expression: &str) -> Option<f64> {
        let data = self.api("query", &[("query", expression)]).await?;
        let result = data["result"].as_array()?;
        assert!(result.len() <= 1, "{expression}: {data}");
        result.first()?["value"][1].as_str()?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_the_figures_of_a_daemon_and_the_users_own() {
    let mut ferry = agents("");
    let running = ferry.run();
    let address = address(&running).await;
    ready(&address).await;
    let prometheus = Prometheus::start(&address);
    // Before anything is read: what grows is seen to grow.
    until("the first scrape", async || prometheus.value("logferry_read_lines_total == 0").await).await;
    append(&ferry.path("a.log"), agent_lines());
    let lines = agent_lines().len() as f64;
    let until_value = async |expression: &str, expected: f64| {
        until(expression, async || prometheus.value(expression).await.filter(|value| *value == expected)).await
    };
    until_value("logferry_read_lines_total", lines).await;
    until_value("sum(logferry_lines_total) == bool sum(logferry_read_lines_total)", 1.0).await;
    until_value("logferry_sink_records_total{sink=\"file\",outcome=\"delivered\"}", lines).await;
    until_value("sum by (task_type) (tasks_dispatched_total{task_type=\"plan\"})", 3.0).await;
    until_value("sum(errors_encountered_total)", 2.0).await;
    until_value("active_tasks", 0.0).await;
    until_value("round(histogram_quantile(0.5, task_latency_seconds_bucket), 0.01)", 0.75).await;
    until_value("up{job=\"logferry\"}", 1.0).await;
    until_value("count({job=\"logferry\",__name__=~\"process_.+\"})", 6.0).await;
    // Its own names for the kinds and units, which only OpenMetrics tells it.
    let metadata = prometheus.api("metadata", &[]).await.expect("an answer");
    assert_eq!(metadata["logferry_read_bytes"][0]["type"], "counter", "{metadata}");
    assert_eq!(metadata["logferry_read_bytes"][0]["unit"], "bytes", "{metadata}");
    let rules = prometheus.api("rules", &[]).await.expect("an answer");
    let alerts = rules["groups"][0]["rules"].as_array().expect("rules");
    assert!(
        alerts.len() >= 8 && alerts.iter().all(|rule| rule["health"] == "ok" && rule["state"] == "inactive"),
        "{rules}"
    );

    let (_, page) = ask(&address, "GET /metrics").expect("an answer");
    assert_eq!(promtool(&["check", "metrics"], &page), "", "nothing to say of the page");
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn the_shipped_alerts_are_rules_and_each_fires_for_its_fault_alone() {
    assert!(promtool(&["check", "rules", "packaging/prometheus/alerts.yml"], "").contains("SUCCESS"));
    let said = promtool(&["test", "rules", "tests/data/prometheus/alerts.test.yml"], "");
    assert!(said.contains("SUCCESS"), "{said}");
}
