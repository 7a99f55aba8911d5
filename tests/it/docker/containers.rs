//! The containers of one test on an engine; they are removed with it.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

pub const BUSYBOX: &str = "logferry-test/busybox:1";
pub const PYTHON: &str = "logferry-test/python:1";

/// Two loads at a time would only slow each other down.
static TURN: Mutex<()> = Mutex::const_new(());

static NEXT: AtomicU64 = AtomicU64::new(0);

pub struct Containers {
    host: Option<String>,
    /// Begins every name, and is the value of the label `logferry-test`.
    pub label: String,
    _turn: MutexGuard<'static, ()>,
}

impl Containers {
    /// On the engine of `DOCKER_HOST`, else of the usual socket; waits until no other test has containers there.
    pub async fn new(test: &str) -> Containers {
        let containers = Containers::labelled(test, None).await;
        let images = containers.docker(&["image", "inspect", BUSYBOX, PYTHON]).output();
        assert!(
            images.is_ok_and(|output| output.status.success()),
            "no Docker engine with the images of the tests: run `eval \"$(tests/services/up.sh)\"`"
        );
        containers
    }

    /// On the engine of this address, which is the test's own.
    pub async fn at(test: &str, host: String) -> Containers {
        Containers::labelled(test, Some(host)).await
    }

    async fn labelled(test: &str, host: Option<String>) -> Containers {
        let turn = TURN.lock().await;
        let label = format!("lf-{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Containers { host, label, _turn: turn }
    }

    /// The table of the source that reads them.
    pub fn source(&self) -> String {
        let host = self.host.as_ref().map(|host| format!("host = \"{host}\"\n")).unwrap_or_default();
        format!(
            "[[sources.docker]]\nname = \"containers\"\n{host}include = {{ labels = [\"logferry-test={}\"] }}\n",
            self.label
        )
    }

    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Standard output of a command that must succeed.
    pub fn call(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments).output().expect("docker is installed");
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.label)
    }

    /// `docker VERB` with what every container of the test has, then `options`, the image and the command.
    pub fn command(&self, verb: &[&str], name: &str, options: &[&str], image: &str, command: &[&str]) -> Command {
        let label = format!("logferry-test={}", self.label);
        let mut docker = self.docker(verb);
        docker.args(["--label", &label, "--network", "none", "--name", &self.name(name)]);
        docker.args(options).arg(image).args(command);
        docker
    }

    /// Starts a container that runs a shell script, and lets it run; gives its full name.
    pub fn start(&self, name: &str, options: &[&str], script: &str) -> String {
        let mut docker = self.command(&["run", "-d"], name, options, BUSYBOX, &["sh", "-c", script]);
        let output = docker.output().expect("docker is installed");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        self.name(name)
    }

    /// Waits for the end of a container that is kept; its exit code.
    pub fn wait(&self, full_name: &str) -> i64 {
        self.call(&["wait", full_name]).parse().expect("an exit code")
    }

    /// What the engine has of a container: standard output, and standard error.
    pub fn logs(&self, full_name: &str) -> [String; 2] {
        let output = self.docker(&["logs", full_name]).output().expect("docker is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    /// The folder in which the engine keeps its containers and their logs.
    pub fn data_folder(&self) -> String {
        self.call(&["info", "-f", "{{.DockerRootDir}}"])
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let filter = format!("label=logferry-test={}", self.label);
        let Ok(listed) = self.docker(&["ps", "-aq", "--filter", &filter]).output() else { return };
        let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
        for some in ids.split_whitespace().collect::<Vec<_>>().chunks(50) {
            let mut arguments = vec!["rm", "-f", "-v"];
            arguments.extend(some);
            // One that is gone already is fine.
            let _ = self.docker(&arguments).output();
        }
    }
}
