//! Starting the parts as processes, and what the kernel counted for them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;

/// What it took to ship.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub lines: u64,
    /// From the start of the process to its end.
    pub wall: Duration,
    pub user: Duration,
    pub system: Duration,
    pub peak_bytes: u64,
    /// Bytes of all bodies, not compressed.
    pub body_bytes: u64,
    /// The same, as they were sent.
    pub wire_bytes: u64,
    pub requests: u64,
}

impl Run {
    pub fn lines_per_second(&self) -> f64 {
        self.lines as f64 / self.wall.as_secs_f64()
    }

    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// `part` of the CPU time in microseconds for each line.
    pub fn micros_per_line(&self, part: Duration) -> f64 {
        part.as_secs_f64() * 1e6 / self.lines as f64
    }
}

/// A command with an empty environment: neither a proxy nor a setting of the user's comes in.
pub fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end; what it says goes to the file `log`.
pub fn run(command: &mut Command, log: &Path) -> Result<Run, Fault> {
    let began = Instant::now();
    wait(start(command, log)?, began)
}

pub fn start(command: &mut Command, log: &Path) -> Result<Child, Fault> {
    let log = File::create(log)?;
    let shown = command.get_program().to_string_lossy().into_owned();
    let child = command.stdout(log.try_clone()?).stderr(log).spawn();
    child.map_err(|error| format!("{shown}: {error}").into())
}

/// Waits for the end of a process; it must be a success.
pub fn wait(child: Child, began: Instant) -> Result<Run, Fault> {
    let (status, usage) = wait4(&child)?;
    let wall = began.elapsed();
    let status = ExitStatus::from_raw(status);
    if !status.success() {
        return Err(format!("it ended with {status}").into());
    }
    Ok(Run {
        wall,
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        // Linux counts in KiB. The driver's own few MB at the start of the process are a lower bound of the figure.
        peak_bytes: usage.ru_maxrss as u64 * 1024,
        ..Run::default()
    })
}

/// Ends a daemon that ships to `stub`; it must have delivered each of the lines once. `log`: what it said.
pub fn stop(child: Child, began: Instant, stub: Stub, log: &Path, lines: u64) -> Result<(Run, Taken), Fault> {
    if let Some(pid) = Pid::from_raw(i32::try_from(child.id())?) {
        kill_process(pid, Signal::TERM)?;
    }
    let ended = wait(child, began);
    let taken = stub.end()?;
    let said = fs::read_to_string(log).unwrap_or_default();
    let run = ended.map_err(|fault| format!("{fault}\n{said}"))?;
    taken.check(lines).map_err(|reason| format!("{reason}\n{said}"))?;
    Ok((run, taken))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64)
}

/// Wait status and resource usage of a child that has ended; the standard library gives the status alone.
fn wait4(child: &Child) -> Result<(i32, libc::rusage), Fault> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to memory of ours of the right type, and `pid` is a child that nobody has waited
        // for: `Child` is borrowed here and does so only when told to.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if ended == pid {
            // SAFETY: all zeroes is a valid `rusage`, and the kernel has filled it in.
            return Ok((status, unsafe { usage.assume_init() }));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
}

/// A running server.
pub struct Stub {
    /// `127.0.0.1:PORT`.
    pub address: String,
    child: Child,
    /// Its end is the sign to report.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Stub {
    /// Starts a server that expects the lines `0..lines`.
    pub fn start(lines: u64) -> Result<Stub, Fault> {
        let mut command = bare(&std::env::current_exe()?);
        let mut child =
            command.arg("stub").arg(lines.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the server has no pipes".into());
        };
        let mut output = BufReader::new(output);
        let mut address = String::new();
        output.read_line(&mut address)?;
        Ok(Stub { address: address.trim_end().to_owned(), child, input, output })
    }

    /// Lets it cut every connection, or serve again.
    pub fn set_down(&mut self, down: bool) -> Result<(), Fault> {
        writeln!(self.input, "{}", if down { "down" } else { "up" })?;
        Ok(())
    }

    /// Ends it; what it has taken.
    pub fn end(mut self) -> Result<Taken, Fault> {
        drop(self.input);
        let mut report = String::new();
        self.output.read_line(&mut report)?;
        self.child.wait()?;
        Taken::parse(&report).ok_or_else(|| format!("the server said {report:?}").into())
    }
}

/// What the server has taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Lines that came at least once.
    pub lines: u64,
    pub records: u64,
    /// Different `_id`s.
    pub ids: u64,
    pub doubled: u64,
    pub odd: u64,
    /// Records of the shipper's own.
    pub own: u64,
    pub requests: u64,
    pub body_bytes: u64,
    pub wire_bytes: u64,
    /// From the writing of a line to its arrival, in microseconds.
    pub wait_p50: u64,
    pub wait_p99: u64,
    pub wait_max: u64,
}

impl Taken {
    fn parse(report: &str) -> Option<Taken> {
        let value = |name: &str| {
            let mut words = report.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(key, _)| *key == name)?.1.parse().ok()
        };
        Some(Taken {
            lines: value("lines")?,
            records: value("records")?,
            ids: value("ids")?,
            doubled: value("doubled")?,
            odd: value("odd")?,
            own: value("own")?,
            requests: value("requests")?,
            body_bytes: value("body_bytes")?,
            wire_bytes: value("wire_bytes")?,
            wait_p50: value("wait_p50")?,
            wait_p99: value("wait_p99")?,
            wait_max: value("wait_max")?,
        })
    }

    /// Whether each of so many lines has come once, with an id of its own, and nothing else.
    pub fn check(&self, lines: u64) -> Result<(), Fault> {
        let whole = self.lines == lines && self.doubled == 0 && self.odd == 0;
        if whole && self.records == lines + self.own && self.ids == self.records {
            return Ok(());
        }
        Err(format!(
            "of {lines} lines {} are missing, {} records are doubled: {self:?}",
            lines - self.lines,
            self.doubled
        )
        .into())
    }
}
