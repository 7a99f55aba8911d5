//! The real binary in a folder of its own.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a configuration, and the processes that ran on it.
pub struct Ferry {
    pub dir: TempDir,
    variables: Vec<(String, String)>,
    /// Program and arguments that start the binary, which stands behind them; none: it starts itself.
    starter: Vec<String>,
    /// How many processes were started: each logs to a file of its own.
    runs: usize,
}

/// A running logferry; killed when it is dropped.
pub struct Running {
    child: Child,
    pub log: PathBuf,
}

/// What a process left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ferry {
    /// `config`: `{dir}` stands for the folder. The state folder is `{dir}/state`.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let ferry = Ferry { dir, variables: Vec::new(), starter: Vec::new(), runs: 0 };
        ferry.configure(config);
        ferry
    }

    /// Replaces the configuration for the next start.
    pub fn configure(&self, config: &str) {
        let folder = self.dir.path().to_str().expect("UTF-8");
        let head = format!("[state]\ndir = \"{folder}/state\"\n[log]\nlevel = \"debug\"\n[run]\nvm_name = \"vm-7\"\n");
        let config = config.replace("{dir}", folder);
        // A table of the test's own takes the place of the usual one.
        let head = if config.contains("[run]") { head.replace("[run]\nvm_name = \"vm-7\"\n", "") } else { head };
        // Many run at a time: none has the default port unless the test is about it.
        let head = if config.contains("[http]") { head } else { head + "[http]\nlisten = \"off\"\n" };
        std::fs::write(self.path("logferry.toml"), head + &config).expect("a configuration");
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Has every process from now on started by a command that puts the binary's behind its own and becomes it.
    pub fn start_by(&mut self, starter: &[&str]) {
        self.starter = starter.iter().map(|&word| word.to_owned()).collect();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&mut self, arguments: &[&str]) -> (Command, PathBuf) {
        self.runs += 1;
        let log = self.path(&format!("log-{}", self.runs));
        let mut words = self.starter.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_logferry")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(arguments).stdin(Stdio::null()).stderr(File::create(&log).expect("a log"));
        command.env_remove("DOCKER_HOST").env_remove("RUN_ID").env_remove("TASK_ID");
        if let Ok(host) = std::env::var("DOCKER_HOST") {
            command.env("DOCKER_HOST", host);
        }
        command.envs(self.variables.iter().cloned());
        (command, log)
    }

    fn command_with_config(&mut self, arguments: &[&str]) -> (Command, PathBuf) {
        let config = self.path("logferry.toml");
        let mut all = arguments.to_vec();
        all.extend(["-c", config.to_str().expect("UTF-8")]);
        self.command(&all)
    }

    /// Starts the daemon.
    pub fn run(&mut self) -> Running {
        let config = self.path("logferry.toml");
        let (mut command, log) = self.command(&["run", "-c", config.to_str().expect("UTF-8")]);
        let child = command.stdout(Stdio::null()).spawn().expect("logferry starts");
        Running { child, log }
    }

    /// Starts another command with the configuration.
    pub fn start(&mut self, arguments: &[&str]) -> Running {
        let (mut command, log) = self.command_with_config(arguments);
        let child = command.stdout(Stdio::null()).spawn().expect("logferry starts");
        Running { child, log }
    }

    /// Starts another command with the configuration, and gives what it prints.
    pub fn spawn(&mut self, arguments: &[&str]) -> (Running, ChildStdout) {
        let (mut command, log) = self.command_with_config(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("logferry starts");
        let output = child.stdout.take().expect("a pipe");
        (Running { child, log }, output)
    }

    /// Runs another command with the configuration to its end.
    pub fn call(&mut self, arguments: &[&str]) -> Ended {
        let config = self.path("logferry.toml");
        let mut all = arguments.to_vec();
        all.extend(["-c", config.to_str().expect("UTF-8")]);
        self.call_plain(&all)
    }

    /// Runs a command without the configuration to its end.
    pub fn call_plain(&mut self, arguments: &[&str]) -> Ended {
        let (mut command, log) = self.command(arguments);
        let output = command.stdout(Stdio::piped()).output().expect("logferry runs");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let stderr = std::fs::read_to_string(log).expect("a log");
        Ended { code: output.status.code(), stdout, stderr }
    }

    /// The records of a file sink, without the manifests that logferry writes itself.
    pub fn records(&self, name: &str) -> Vec<serde_json::Value> {
        self.all_records(name).into_iter().filter(|record| record["Source"] != "logferry").collect()
    }

    /// The records of a file sink; a line that a kill has torn, or that is being written, is none.
    pub fn all_records(&self, name: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Every line of the dead letters of one sink.
    pub fn dead_letters(&self, sink: &str) -> Vec<serde_json::Value> {
        let path = self.path("state/dead-letters").join(format!("{sink}.ndjson"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill");
        assert!(status.success(), "no process {id} to signal");
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// The exit code of a process that has ended by itself; `None` while it runs.
    pub fn try_end(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("wait").map(|status| status.code())
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        let status = self.child.wait().expect("wait");
        assert_eq!(status.signal(), Some(9), "it ended before it was killed: {}", self.text());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// kill -9; false where it has ended by itself.
    pub fn kill_if_running(mut self) -> bool {
        let runs = !self.has_ended();
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        runs
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the end of the process.
    pub fn wait(mut self) -> Ended {
        let status = self.wait_status(PATIENCE);
        Ended { code: status.code(), stdout: String::new(), stderr: self.text() }
    }

    fn wait_status(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < until, "still running after {limit:?}: {}", tail(&self.text()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, then the end.
    pub fn stop(self) -> Ended {
        self.terminate();
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a long text.
pub fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(3_000);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Waits until `look` gives something; says `what` where it does not within [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Appends lines to a file, each in one write.
pub fn append(path: &Path, lines: impl IntoIterator<Item = String>) {
    let mut file = File::options().append(true).create(true).open(path).expect("a file");
    for line in lines {
        file.write_all(format!("{line}\n").as_bytes()).expect("write");
    }
}
