//! A machine full of containers: each prints at a fixed rate while the daemon follows them all. Memory, how long a line
//! takes, and the CPU beside that of `docker logs -f` of the same containers, the engine's own with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::{self, Run, Stub, Taken};
use crate::{Fault, lines, write_config};

pub const SECONDS: u64 = 60;
pub const TRIAL_SECONDS: u64 = 3;
const CONTAINERS: u64 = 100;
const TRIAL_CONTAINERS: u64 = 5;
/// Lines of each container in a second, and how many of them it writes at once.
const RATE: u64 = 200;
const BURST: u64 = 10;

/// Has python3 in it; `tests/services/up.sh` builds it.
const IMAGE: &str = "logferry-test/python:1";

/// Containers that are started at a time.
const STARTS: usize = 4;
/// What the readers have to find every container before the first line.
const WARM_UP: Duration = Duration::from_secs(5);
/// From the order to begin to the first line.
const LEAD: Duration = Duration::from_secs(1);
/// From the last line to the look at the CPU, and how long a container lives on after its last line.
const REST: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(6);

/// Prints the lines `first..first + count` from the moment on that stands in /go/now; each says when it was written.
const WRITER: &str = r#"
import os, sys, time
first, count, rate, burst, offset, linger, width = map(int, sys.argv[1:])
while not os.path.exists("/go/now"):
    time.sleep(0.02)
with open("/go/now") as file:
    begin = (int(file.read()) + offset) / 1e6
for done in range(0, count, burst):
    wait = begin + done / rate - time.time()
    if wait > 0:
        time.sleep(wait)
    at = int(time.time() * 1e6)
    text = []
    for n in range(first + done, first + min(done + burst, count)):
        head = "2026-11-20 23:00:33,%03d - agent.core - INFO - line=%08d at=%d [%016x ms] " % (n % 1000, n, at, n * 2654435761)
        text.append(head.ljust(width, "x"))
    os.write(1, ("\n".join(text) + "\n").encode())
time.sleep(linger)
"#;

pub fn drive(folder: &Path, seconds: u64, trial: bool) -> Result<(), Fault> {
    let load = Load { containers: if trial { TRIAL_CONTAINERS } else { CONTAINERS }, seconds };
    let (run, taken, shipped) = ship(folder, &load)?;
    let followed = follow(folder, &load)?;
    let span = load.span();
    println!(
        "{} containers of {RATE} lines/s for {seconds} s: all {} lines there, once; peak RSS {:.1} MiB; from writing to \
         arrival p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; {} requests",
        load.containers,
        load.lines(),
        run.peak_bytes as f64 / 1_048_576.0,
        taken.wait_p50 as f64 / 1e3,
        taken.wait_p99 as f64 / 1e3,
        taken.wait_max as f64 / 1e3,
        taken.requests,
    );
    for (name, cpu) in [("logferry", &shipped), ("docker logs -f", &followed)] {
        let share = |part: Duration| 100.0 * part.as_secs_f64() / span.as_secs_f64();
        println!(
            "{name:14} {:6.1} % of a core ({:.2} s); dockerd meanwhile {:6.1} % ({:.2} s)",
            share(cpu.readers),
            cpu.readers.as_secs_f64(),
            share(cpu.engine),
            cpu.engine.as_secs_f64(),
        );
    }
    Ok(())
}

struct Load {
    containers: u64,
    seconds: u64,
}

impl Load {
    fn lines_each(&self) -> u64 {
        RATE * self.seconds
    }

    fn lines(&self) -> u64 {
        self.containers * self.lines_each()
    }

    /// While CPU is counted.
    fn span(&self) -> Duration {
        LEAD + Duration::from_secs(self.seconds) + REST
    }
}

/// CPU time in the span of a load.
struct Cpu {
    /// Of those that read.
    readers: Duration,
    /// Of the engine.
    engine: Duration,
}

/// The containers read by logferry.
fn ship(folder: &Path, load: &Load) -> Result<(Run, Taken, Cpu), Fault> {
    let dir = folder.join("containers");
    fs::create_dir(&dir)?;
    let writers = Writers::start(&dir, load, "ship")?;
    let stub = Stub::start(load.lines())?;
    let source =
        format!("[[sources.docker]]\nname = \"bench\"\ninclude = {{ labels = [\"{LABEL}={}\"] }}\n", writers.label);
    let config = write_config(&source, &dir, &stub.address, "gzip")?;
    let mut command = process::bare(Path::new(env!("CARGO_BIN_EXE_logferry")));
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        command.env("DOCKER_HOST", host);
    }
    let log = dir.join("shipper.log");
    let began = Instant::now();
    let child = process::start(command.arg("run").arg("-c").arg(config), &log)?;
    let cpu = writers.go(load, &[child.id()]);
    let waited = writers.wait();
    let (run, taken) = process::stop(child, began, stub, &log, load.lines())?;
    waited?;
    Ok((run, taken, cpu?))
}

/// The containers read by one `docker logs -f` each.
fn follow(folder: &Path, load: &Load) -> Result<Cpu, Fault> {
    let dir = folder.join("followed");
    fs::create_dir(&dir)?;
    let writers = Writers::start(&dir, load, "follow")?;
    let mut readers = Readers(Vec::new());
    for name in &writers.names {
        let mut command = Command::new("docker");
        command.args(["logs", "-f", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        readers.0.push(command.spawn()?);
    }
    let ids: Vec<u32> = readers.0.iter().map(Child::id).collect();
    let cpu = writers.go(load, &ids)?;
    writers.wait()?;
    Ok(cpu)
}

/// Killed with it.
struct Readers(Vec<Child>);

impl Drop for Readers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // They end with their containers.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const LABEL: &str = "logferry-bench";

/// The containers of one phase, which wait for the order to begin; removed with it.
struct Writers {
    label: String,
    names: Vec<String>,
    /// Holds the order.
    go: PathBuf,
}

impl Writers {
    fn start(dir: &Path, load: &Load, phase: &str) -> Result<Writers, Fault> {
        let go = dir.join("go");
        fs::create_dir(&go)?;
        let label = format!("{phase}-{}", std::process::id());
        let names = (0..load.containers).map(|number| format!("{LABEL}-{label}-{number}")).collect();
        let writers = Writers { label, names, go };
        let next = std::sync::atomic::AtomicUsize::new(0);
        let start = || {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match writers.names.get(number) {
                    Some(name) => writers.start_one(load, number as u64, name).map_err(|fault| fault.to_string())?,
                    None => return Ok::<(), String>(()),
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a start panicked".to_owned())?)
        })?;
        Ok(writers)
    }

    fn start_one(&self, load: &Load, number: u64, name: &str) -> Result<(), Fault> {
        // Not all at the same moment.
        let offset = number * 1_000_000 * BURST / RATE / load.containers;
        let width = lines::LINE_BYTES as u64 - 1;
        let figures = [number * load.lines_each(), load.lines_each(), RATE, BURST, offset, LINGER.as_secs(), width];
        let mut command = Command::new("docker");
        command.args(["run", "-d", "--network", "none", "--name", name, "--label"]);
        command.arg(format!("{LABEL}={}", self.label)).arg("-v").arg(format!("{}:/go:ro", self.go.display()));
        command.args([IMAGE, "python3", "-c", WRITER]).args(figures.map(|figure| figure.to_string()));
        docker(&mut command).map(drop)
    }

    /// Lets them print; the CPU time that it took these processes and the engine.
    fn go(&self, load: &Load, readers: &[u32]) -> Result<Cpu, Fault> {
        std::thread::sleep(WARM_UP);
        let engine = [engine()?];
        let before = [cpu(readers)?, cpu(&engine)?];
        let begin = SystemTime::now().duration_since(UNIX_EPOCH)? + LEAD;
        // Whole at once: they look for its name.
        let new = self.go.join("new");
        fs::write(&new, begin.as_micros().to_string())?;
        fs::rename(new, self.go.join("now"))?;
        std::thread::sleep(load.span());
        let after = [cpu(readers)?, cpu(&engine)?];
        Ok(Cpu { readers: after[0].saturating_sub(before[0]), engine: after[1].saturating_sub(before[1]) })
    }

    /// Waits for the end of all.
    fn wait(&self) -> Result<(), Fault> {
        docker(Command::new("docker").arg("wait").args(&self.names)).map(drop)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        let mut command = Command::new("docker");
        if let Err(fault) = docker(command.args(["rm", "-f", "-v"]).args(&self.names)) {
            eprintln!("catch_up: containers with the label {LABEL}={} stay behind: {fault}", self.label);
        }
    }
}

/// Runs a command to its end; what it printed.
fn docker(command: &mut Command) -> Result<String, Fault> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("docker: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("docker: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// The process id of the engine: of several, that of the oldest.
fn engine() -> Result<u32, Fault> {
    let is_engine = |id: &u32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "dockerd\n");
    let ids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_engine).min().ok_or_else(|| "no process of the name dockerd: is the engine on this machine?".into())
}

/// User and system time of processes until now, all their threads together.
fn cpu(ids: &[u32]) -> Result<Duration, Fault> {
    /// What Linux counts CPU time of processes in, for whoever reads /proc.
    const TICKS_PER_SECOND: u64 = 100;
    let mut ticks = 0;
    for id in ids {
        let text = fs::read_to_string(format!("/proc/{id}/stat"))
            .map_err(|error| format!("process {id} has ended too soon: {error}"))?;
        // The name stands in parentheses and may hold anything; the two times are the 12th and 13th word behind it.
        let behind = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let times: Vec<u64> = behind.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        ticks += times.iter().sum::<u64>();
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
