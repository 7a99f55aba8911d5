//! Many containers that print lines, some at a time: what each prints and how long it lives is drawn beforehand.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::containers::{BUSYBOX, Containers};
use crate::chaos::Dice;

/// Containers that run at a time.
const AT_A_TIME: usize = 8;
/// Of so many lines, one goes to standard error.
const ERROR_EVERY: u64 = 3;
/// Longest filling of a line, in bytes.
const FILLING_MAX: u64 = 200;
/// Longest pause of a container, in milliseconds, and how often it may pause.
const PAUSE_MAX_MS: u64 = 60;
const PAUSES_MAX: u64 = 20;

/// What one container prints.
#[derive(Clone, Debug)]
pub struct Job {
    /// The container's name.
    pub name: String,
    pub lines: u64,
    filling: String,
    /// A pause after each so many lines.
    pause_every: u64,
    pause_ms: u64,
    pub exit_code: i64,
    /// Nobody is attached to it.
    detached: bool,
    /// After the lines it prints some more without a line end.
    pub has_tail: bool,
}

/// The two streams of a container.
pub const STREAMS: [&str; 2] = ["stdout", "stderr"];

impl Job {
    fn draw(dice: &mut Dice, name: String, lines_max: u64, has_tail: bool) -> Job {
        // As many of a few lines as of many.
        let most = [20, lines_max / 4, lines_max][dice.roll(3) as usize].clamp(1, lines_max);
        let lines = 1 + dice.roll(most);
        Job {
            name,
            lines,
            filling: "x".repeat(1 + dice.roll(FILLING_MAX) as usize),
            pause_every: 1 + lines / (1 + dice.roll(PAUSES_MAX)),
            pause_ms: dice.roll(PAUSE_MAX_MS),
            exit_code: dice.roll(3) as i64,
            detached: dice.roll(2) == 0,
            has_tail,
        }
    }

    fn stream(number: u64) -> usize {
        usize::from(number.is_multiple_of(ERROR_EVERY))
    }

    /// What stands at the end without a line end, and on which stream.
    pub fn tail(&self) -> Option<(&'static str, String)> {
        let stream = STREAMS[(self.lines % 2) as usize];
        self.has_tail.then(|| (stream, format!("{} the end", self.name)))
    }

    fn script(&self) -> String {
        let Job { name, lines, filling, pause_every, pause_ms, exit_code, .. } = self;
        let tail = match self.tail() {
            Some((stream, text)) => {
                format!("printf '{text}'{}; ", if stream == "stderr" { " >&2" } else { "" })
            }
            None => String::new(),
        };
        let pause = match pause_ms {
            0 => String::new(),
            _ => format!("if [ $((i % {pause_every})) = 0 ]; then sleep 0.{pause_ms:03}; fi; "),
        };
        format!(
            "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); if [ $((i % {ERROR_EVERY})) = 0 ]; then \
             echo \"{name} $i {filling}\" >&2; else echo \"{name} $i {filling}\"; fi; {pause}done; {tail}exit {exit_code}"
        )
    }

    /// What must arrive of one of [`STREAMS`], in its order.
    pub fn expected(&self, stream: &str) -> Vec<String> {
        let numbers = (1..=self.lines).filter(|number| STREAMS[Job::stream(*number)] == stream);
        let line = |number| format!("{} {number} {}", self.name, self.filling);
        let tail = self.tail().filter(|(of, _)| *of == stream).map(|(_, text)| text);
        numbers.map(line).chain(tail).collect()
    }
}

/// The containers of a test, and how many have ended.
pub struct Load<'a> {
    containers: &'a Containers,
    pub jobs: Vec<Job>,
    /// Whether the engine removes them at their end.
    removed: bool,
    ended: AtomicUsize,
}

impl<'a> Load<'a> {
    /// `count` containers of 1 to `lines_max` lines.
    pub fn draw(containers: &'a Containers, dice: &mut Dice, count: usize, lines_max: u64, removed: bool) -> Load<'a> {
        let name = |number| containers.name(&format!("{number:03}"));
        let jobs = (0..count).map(|number| Job::draw(dice, name(number), lines_max, false)).collect();
        Load { containers, jobs, removed, ended: AtomicUsize::new(0) }
    }

    /// The same, and each ends with a line that has no end.
    pub fn with_tails(mut self) -> Load<'a> {
        self.jobs.iter_mut().for_each(|job| job.has_tail = true);
        self
    }

    pub fn lines(&self) -> u64 {
        self.jobs.iter().map(|job| job.lines).sum()
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Runs them all, [`AT_A_TIME`] at a time; returns when the last has ended.
    pub fn run(&self) {
        let waiting: Mutex<VecDeque<&Job>> = Mutex::new(self.jobs.iter().collect());
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().expect("no panic").pop_front();
                        let Some(job) = next else { return };
                        self.run_one(job);
                        self.ended.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }

    fn run_one(&self, job: &Job) {
        let short = job.name.strip_prefix(&format!("{}-", self.containers.label)).expect("its label");
        let mut options = Vec::new();
        options.extend(self.removed.then_some("--rm"));
        options.extend(job.detached.then_some("-d"));
        let script = job.script();
        let mut docker = self.containers.command(&["run"], short, &options, BUSYBOX, &["sh", "-c", &script]);
        let mut code = docker.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("docker is installed").code();
        if job.detached {
            assert_eq!(code, Some(0), "{} did not start", job.name);
            let waited = self.containers.docker(&["wait", &job.name]).output().expect("docker is installed");
            code = String::from_utf8_lossy(&waited.stdout).trim().parse().ok();
            // It may be gone before it can be waited for.
            if self.removed && code.is_none() {
                return;
            }
        }
        assert_eq!(code.map(i64::from), Some(job.exit_code), "{}", job.name);
    }
}
