//! Who may reach the engine, and how: by TLS, through a proxy that lets little through, without the right to; and that
//! logferry in a container leaves its own log alone.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::auth_proxy::Authority;
use crate::support::docker_proxy::{Call, DockerProxy};
use crate::support::ferry::{Ferry, until};

const BUSYBOX: &str = "logferry-test/busybox:1";
const PYTHON: &str = "logferry-test/python:1";

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// What must not leave the environment of a container.
const SECRET: &str = "hush-9c1f";

/// Containers of one test, removed at its end.
struct Containers {
    label: String,
    names: Vec<String>,
}

impl Containers {
    fn new(test: &str) -> Self {
        Containers { label: format!("{test}-{}", std::process::id()), names: Vec::new() }
    }

    fn start(&mut self, name: &str, options: &[&str], image: &str, command: &[&str]) -> String {
        let name = format!("lf-{}-{name}", self.label);
        let label = format!("logferry-test={}", self.label);
        let mut arguments = vec!["run", "-d", "--name", &name, "--label", &label];
        arguments.extend_from_slice(options);
        arguments.push(image);
        arguments.extend_from_slice(command);
        self.names.push(name.clone());
        docker(&arguments);
        name
    }

    /// A source of these containers; `host` as a line of it.
    fn source(&self, host: &str) -> String {
        let label = &self.label;
        format!(
            "[[sources.docker]]\nname = \"containers\"\n{host}\ninclude = {{ labels = [\"logferry-test={label}\"] }}\n"
        )
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // One that is gone already is fine.
        let _ = Command::new("docker").args(["rm", "-f"]).args(&self.names).output();
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const SINK: &str = "[sinks.file]\npath = \"{dir}/records.ndjson\"\n";

fn of_container<'a>(records: &'a [Value], name: &str) -> Vec<&'a str> {
    let own = records.iter().filter(|record| record["Container"] == name && record["EventType"] != "container.exited");
    own.filter_map(|record| record["Message"].as_str()).collect()
}

/// The calls that the README lists: those that are needed, and those that are optional.
fn listed_calls() -> (Vec<Call>, Vec<Call>) {
    let readme = include_str!("../../README.md");
    let listed = readme.lines().filter(|line| line.starts_with("GET ") || line.starts_with("POST "));
    let (optional, needed): (Vec<&str>, Vec<&str>) = listed.partition(|line| line.contains("optional"));
    let call = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().expect("a method"), words.next().expect("a path"))
    };
    (needed.into_iter().map(call).collect(), optional.into_iter().map(call).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_lets_through_only_what_the_readme_lists_is_enough() {
    let (needed, optional) = listed_calls();
    assert!(needed.len() > 3 && needed.iter().all(|(method, _)| method == "GET"), "{needed:?}");
    let mut containers = Containers::new("proxy");
    let mut ferry = Ferry::new("");
    let proxy = DockerProxy::on_socket(&ferry.path("proxy.sock"), Some(needed.clone()));
    let source = containers.source("columns = { TaskID = \"env:TASK\", Benchmark = \"compose:project\" }");
    ferry.configure(&format!("{source}{SINK}"));
    ferry.set("LOGFERRY__LOG__LEVEL", "trace");
    ferry.set("DOCKER_HOST", &proxy.host);
    let asked = ferry.call(&["check", "--online"]);
    assert!(asked.stdout.contains(" answers, ") && asked.code == Some(0), "{asked:?}");
    assert!(asked.stdout.contains("; 0 of "), "none of ours is there yet: {asked:?}");
    let running = ferry.run();
    until("the start", async || running.text().contains("Docker engine reached").then_some(())).await;
    let secret = format!("SECRET={SECRET}");
    let options = ["--network", "none", "-e", "TASK=17", "-e", &secret, "--label", "com.docker.compose.project=bench"];
    let kept = containers.start("kept", &options, BUSYBOX, &["sh", "-c", "echo one; echo two; sleep 1; printf three"]);
    let script = ["sh", "-c", "echo one; echo two; sleep 2"];
    let removed = containers.start("removed", &["--rm", "--network", "none"], BUSYBOX, &script);
    let records = until("the lines", async || {
        let records = ferry.records("records.ndjson");
        let whole = of_container(&records, &kept).len() == 3 && of_container(&records, &removed).len() == 2;
        whole.then_some(records)
    });
    let records = records.await;
    assert_eq!(of_container(&records, &kept), ["one", "two", "three"]);
    assert_eq!(of_container(&records, &removed), ["one", "two"]);
    let first = records.iter().find(|record| record["Container"] == *kept).expect("a record");
    assert_eq!((first["TaskID"].as_str(), first["Benchmark"].as_str()), (Some("17"), Some("bench")));
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for call in &needed {
        assert!(proxy.let_through().contains(call), "{call:?} is not needed");
    }
    for call in proxy.refused() {
        assert!(optional.contains(&call), "{call:?} is not listed");
    }
    // The version is asked for first, by a path that has none.
    assert_eq!(proxy.versions().len(), 2, "{:?}", proxy.versions());
    assert!(proxy.versions()[0].is_empty() && proxy.versions()[1].starts_with("v1."), "{:?}", proxy.versions());
    // Not even where everything is logged.
    assert!(ended.stderr.contains("TRACE"), "it is all logged");
    let state = std::fs::read_dir(ferry.path("state/buffer")).expect("a folder");
    let buffered = state.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok()).flatten().collect::<Vec<u8>>();
    for text in [ended.stderr.as_bytes(), &std::fs::read(ferry.path("records.ndjson")).expect("records"), &buffered] {
        assert!(!text.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "a secret has left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_proxy_refuses_is_named() {
    let (needed, _) = listed_calls();
    let mut containers = Containers::new("refused");
    containers.start("one", &["--network", "none"], BUSYBOX, &["echo", "one"]);
    for (n, call) in needed.iter().enumerate() {
        let mut ferry = Ferry::new(&format!("{}{SINK}", containers.source("")));
        let allowed = needed.iter().filter(|other| *other != call).cloned().collect();
        let proxy = DockerProxy::on_socket(&ferry.path(&format!("{n}.sock")), Some(allowed));
        ferry.set("DOCKER_HOST", &proxy.host);
        let asked = ferry.call(&["check", "--online"]);
        let (method, path) = call;
        let (before, behind) = path.split_once("{id}").unwrap_or((path, ""));
        assert_eq!(asked.code, Some(1), "{asked:?}");
        let line = asked.stdout.lines().find(|line| line.starts_with("failed  source containers"));
        let line = line.unwrap_or_else(|| panic!("{call:?}: {asked:?}"));
        let named = line.contains(&format!("{method} {before}")) && line.contains(&format!("{behind}: forbidden by"));
        assert!(named && line.ends_with("(status 403)"), "{call:?}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_behind_tls_is_read_with_the_certificates_of_the_environment() {
    let authority = Authority::new();
    let proxy = DockerProxy::by_tcp(Some(&authority), None).await;
    let mut containers = Containers::new("tls");
    let name = containers.start("one", &["--network", "none"], BUSYBOX, &["sh", "-c", "echo by TLS; exec sleep 600"]);
    for host in ["".to_owned(), format!("host = \"{}\"", proxy.host.replace("tcp://", "https://"))] {
        let mut ferry = Ferry::new(&format!("{}{SINK}", containers.source(&host)));
        authority.write_docker(&ferry.path("certs"));
        let folder = ferry.path("certs").display().to_string();
        ferry.set("DOCKER_CERT_PATH", &folder);
        if host.is_empty() {
            ferry.set("DOCKER_HOST", &proxy.host);
            ferry.set("DOCKER_TLS_VERIFY", "1");
        }
        let asked = ferry.call(&["check", "--online"]);
        let address = proxy.host.replace("tcp://", "https://");
        assert!(asked.stdout.contains(&format!("{address} answers, ")), "{asked:?}");
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(of_container(&ferry.records("records.ndjson"), &name), ["by TLS"]);
        let running = ferry.run();
        let late = containers.start(&format!("late{}", host.len()), &["--network", "none"], BUSYBOX, &["echo", "late"]);
        until("what came later", async || {
            (of_container(&ferry.records("records.ndjson"), &late) == ["late"]).then_some(())
        })
        .await;
        running.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_said() {
    let authority = Authority::new();
    let proxy = DockerProxy::by_tcp(Some(&authority), None).await;
    let mut ferry = Ferry::new(&format!("[[sources.docker]]\n{SINK}"));
    ferry.set("DOCKER_HOST", &proxy.host);
    let check = |ferry: &mut Ferry, expected: &str| {
        let asked = ferry.call(&["check", "--online"]);
        assert_eq!(asked.code, Some(1), "{asked:?}");
        assert!(asked.stdout.contains(expected), "{expected} in: {}", asked.stdout);
    };
    // Without DOCKER_TLS_VERIFY tcp:// is not encrypted.
    check(&mut ferry, "failed  source containers: http://127.0.0.1:");
    ferry.set("DOCKER_TLS_VERIFY", "1");
    let folder = ferry.path("certs");
    ferry.set("DOCKER_CERT_PATH", &folder.display().to_string());
    Authority::new().write_docker(&folder);
    check(&mut ferry, "invalid peer certificate");
    check(&mut ferry, &format!("(certificates of {})", folder.display()));
    authority.write_docker(&folder);
    std::fs::remove_file(folder.join("key.pem")).expect("removed");
    check(&mut ferry, "cert.pem is there but key.pem beside it is not");
    std::fs::remove_file(folder.join("cert.pem")).expect("removed");
    // Whether the engine gets to say that depends on who is faster.
    check(&mut ferry, "no cert.pem among them: the engine may want one");
    ferry.set("DOCKER_HOST", "ssh://engine");
    let refused = ferry.call(&["run"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("DOCKER_HOST: sources.docker: \"ssh://engine\" is no address"), "{refused:?}");
}

/// A socket that only a group may open, and the group's name; where the tests are not root's, one that nobody may open.
fn closed_socket(path: &Path) -> (UnixListener, Option<String>) {
    let listener = UnixListener::bind(path).expect("a socket");
    let is_root = rustix::process::geteuid().is_root();
    let groups = std::fs::read_to_string("/etc/group").expect("groups");
    let mut groups = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let group = groups.find(|fields| is_root && !["0", "65534"].contains(&fields[2])).map(|fields| {
        chown(path, None, Some(fields[2].parse().expect("a number"))).expect("its group is changed");
        fields[0].to_owned()
    });
    let mode = if is_root { 0o660 } else { 0 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode is changed");
    (listener, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_open_the_socket_check_and_daemon_say_what_to_do() {
    let ferry = Ferry::new(&format!("[[sources.docker]]\nhost = \"unix://{{dir}}/engine.sock\"\n{SINK}"));
    let (_listener, group) = closed_socket(&ferry.path("engine.sock"));
    std::fs::create_dir(ferry.path("state")).expect("a folder");
    // The program may stand where that user may not go.
    let program = ferry.path("logferry");
    // By another process: a copy that this one has open for writing, a process that is forked meanwhile keeps busy.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_logferry")).arg(&program).status().expect("cp");
    assert!(copied.success());
    std::fs::set_permissions(ferry.dir.path(), std::fs::Permissions::from_mode(0o777)).expect("open to all");
    std::fs::set_permissions(ferry.path("state"), std::fs::Permissions::from_mode(0o700)).expect("private");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("-c").arg(ferry.path("logferry.toml")).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            chown(ferry.path("state"), Some(NOBODY), Some(NOBODY)).expect("its folder");
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let checked = command(&["check", "--online"]).output().expect("logferry runs");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    let log = ferry.path("log");
    let mut daemon = command(&["run"]).stderr(std::fs::File::create(&log).expect("a log")).spawn().expect("it starts");
    let said = until("the outage", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("no answer from the Docker engine").then_some(text)
    });
    let said = said.await;
    assert!(daemon.try_wait().expect("wait").is_none(), "it goes on: {said}");
    daemon.kill().expect("killed");
    daemon.wait().expect("ended");
    let remedies = match &group {
        Some(group) => vec![
            format!("usermod -aG {group} USER"),
            format!("SupplementaryGroups={group}"),
            "group_add: [".to_owned(),
            "$XDG_RUNTIME_DIR/docker.sock".to_owned(),
        ],
        None => vec!["its group may not either".to_owned()],
    };
    for text in [&checked, &said] {
        assert!(text.contains("may not open the engine's socket"), "{text}");
        for remedy in &remedies {
            // In the log, quotes stand as they are in a quoted text.
            assert!(text.replace('\\', "").contains(remedy), "{remedy} in: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_container_logferry_reads_the_others_and_not_itself() {
    let mut containers = Containers::new("own");
    let app = containers.start(
        "app",
        &["--network", "none"],
        PYTHON,
        &["python3", "-c", "import time; print('app', flush=True); time.sleep(600)"],
    );
    let shared = format!("container:{app}");
    for (case, network) in [("alone", "none"), ("sidecar", shared.as_str())] {
        // One of them runs on while it stops.
        let teardown = "[teardown]\nwait_containers = \"0s\"\n";
        let ferry = Ferry::new(&format!("{}{SINK}{teardown}", containers.source("")).replace("{dir}", "/work"));
        let config = std::fs::read_to_string(ferry.path("logferry.toml")).expect("a configuration");
        let folder = ferry.dir.path().display().to_string();
        std::fs::write(ferry.path("logferry.toml"), config.replace(&folder, "/work")).expect("written");
        let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
        let socket = socket.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
        let mounts = [
            format!("{}:/logferry:ro", env!("CARGO_BIN_EXE_logferry")),
            format!("{folder}:/work"),
            format!("{socket}:/var/run/docker.sock"),
        ];
        let options = ["--network", network, "-v", &mounts[0], "-v", &mounts[1], "-v", &mounts[2]];
        let own = containers.start(case, &options, PYTHON, &["/logferry", "run", "-c", "/work/logferry.toml"]);
        let line = format!("beside {case}");
        let beside = containers.start(&format!("{case}-beside"), &["--network", "none"], BUSYBOX, &["echo", &line]);
        let records = until("the other containers' lines", async || {
            let records = ferry.records("records.ndjson");
            let both = !of_container(&records, &beside).is_empty() && !of_container(&records, &app).is_empty();
            both.then_some(records)
        });
        let records = records.await;
        assert_eq!(of_container(&records, &beside), [line.as_str()]);
        docker(&["stop", "-t", "100", &own]);
        assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", &own]), "0");
        let log = Command::new("docker").args(["logs", &own]).output().expect("docker").stderr;
        assert!(log.iter().filter(|byte| **byte == b'\n').count() > 3, "it had a log of its own");
        let records = ferry.records("records.ndjson");
        assert_eq!(of_container(&records, &own), Vec::<&str>::new(), "{case}");
        assert_eq!(of_container(&records, &app), ["app"], "{case}");
        // Its container would be another one to the next case.
        docker(&["rm", &own]);
    }
}
