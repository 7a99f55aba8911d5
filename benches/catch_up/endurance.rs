//! A busy day in short: a high rate of lines into a file that logrotate rotates, and a sink that is away for a fifth of
//! the time. How much memory that takes, and whether everything is there at the end.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Pid;

use crate::process::{self, Stub};
use crate::{Fault, file_source, lines, write_config};

pub const SECONDS: u64 = 600;
/// Lines each second, in bursts.
const RATE: u64 = 20_000;
const BURST_LINES: u64 = 100;
const ROTATION: Duration = Duration::from_secs(20);
const SAMPLE: Duration = Duration::from_secs(1);
/// Samples of one line that is printed.
const PRINTED_SAMPLES: usize = 30;
/// What the daemon has for its start before the first line.
const WARM_UP: Duration = Duration::from_secs(1);

pub fn drive(folder: &Path, seconds: u64) -> Result<(), Fault> {
    let dir = folder.join("endurance");
    fs::create_dir_all(dir.join("logs"))?;
    let (path, log) = (dir.join("logs/app.log"), dir.join("shipper.log"));
    let count = RATE * seconds;
    let mut stub = Stub::start(count)?;
    let config = write_config(&file_source(&dir.join("logs/app.log*")), &dir, &stub.address, "gzip")?;
    let rotation = Rotation::new(&dir, &path)?;
    let mut command = process::bare(Path::new(env!("CARGO_BIN_EXE_logferry")));
    let began = Instant::now();
    let child = process::start(command.arg("run").arg("-c").arg(config), &log)?;
    let pid = Pid::from_raw(i32::try_from(child.id())?).ok_or("no process id")?;
    std::thread::sleep(WARM_UP);
    let writer = std::thread::spawn(move || write(&path, count).map_err(|fault| fault.to_string()));
    let watched = watch(&mut stub, pid, &rotation, seconds);
    let late = writer.join().map_err(|_| "the writer panicked")??;
    let (run, _) = process::stop(child, began, stub, &log, count)?;
    let rotations = watched?;
    println!(
        "{count} lines at {RATE}/s with {rotations} rotations and an outage of {} s: all there, once; peak RSS {:.1} MiB, \
         {:.1} % of a core ({:.2} us/line); stopped {:.1} s after the last line; the writer was up to {:.1} ms late",
        seconds / 5,
        run.peak_bytes as f64 / 1_048_576.0,
        100.0 * run.cpu().as_secs_f64() / run.wall.as_secs_f64(),
        run.cpu().as_secs_f64() * 1e6 / count as f64,
        (run.wall - WARM_UP).as_secs_f64() - seconds as f64,
        late.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Rotates, takes the sink away and looks at the memory, until the lines are written. How often it rotated.
fn watch(stub: &mut Stub, pid: Pid, rotation: &Rotation, seconds: u64) -> Result<u64, Fault> {
    let began = Instant::now();
    let outage = Duration::from_secs(seconds * 2 / 5)..Duration::from_secs(seconds * 3 / 5);
    let (mut rotations, mut down) = (0, false);
    let mut samples = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(SAMPLE.saturating_sub(began.elapsed().saturating_sub(SAMPLE * samples.len() as u32)));
        samples.push(resident_bytes(pid)?);
        if outage.contains(&began.elapsed()) != down {
            down = !down;
            stub.set_down(down)?;
        }
        if began.elapsed() >= ROTATION * (rotations + 1) {
            rotation.rotate()?;
            rotations += 1;
        }
        if samples.len().is_multiple_of(PRINTED_SAMPLES) {
            let mebibytes = samples.iter().rev().take(PRINTED_SAMPLES).max().copied().unwrap_or(0) as f64 / 1_048_576.0;
            let word = if down { ", the sink is away" } else { "" };
            eprintln!("{} s: at most {mebibytes:.1} MiB in the last {PRINTED_SAMPLES} s{word}", samples.len());
        }
    }
    if down {
        stub.set_down(false)?;
    }
    Ok(rotations.into())
}

fn resident_bytes(pid: Pid) -> Result<u64, Fault> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kibibytes.map(|kibibytes: u64| kibibytes * 1024).ok_or_else(|| "the process has ended".into())
}

/// The real logrotate with a configuration of its own.
struct Rotation {
    config: PathBuf,
    state: PathBuf,
}

impl Rotation {
    fn new(dir: &Path, log: &Path) -> Result<Rotation, Fault> {
        let rotation = Rotation { config: dir.join("rotate.conf"), state: dir.join("rotate.state") };
        fs::write(&rotation.config, format!("{} {{\n  create\n  rotate 9\n}}\n", log.display()))?;
        Ok(rotation)
    }

    fn rotate(&self) -> Result<(), Fault> {
        let mut command = Command::new("logrotate");
        command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg("-f").arg("-s").arg(&self.state).arg(&self.config);
        let output = command.output().map_err(|error| format!("logrotate: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("logrotate: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Writes `count` lines, each burst at its moment, always to the file that has the name; returns how late the latest was.
fn write(path: &Path, count: u64) -> Result<Duration, Fault> {
    let open = || -> Result<(File, u64), Fault> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let inode = file.metadata()?.ino();
        Ok((file, inode))
    };
    let (mut file, mut inode) = open()?;
    let (mut line, mut burst) = (Vec::with_capacity(lines::LINE_BYTES), Vec::new());
    let mut latest = Duration::ZERO;
    let began = Instant::now();
    for first in (0..count).step_by(BURST_LINES as usize) {
        let due = Duration::from_nanos(first * 1_000_000_000 / RATE);
        let now = began.elapsed();
        std::thread::sleep(due.saturating_sub(now));
        latest = latest.max(now.saturating_sub(due));
        if fs::metadata(path).is_ok_and(|metadata| metadata.ino() != inode) {
            (file, inode) = open()?;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        burst.clear();
        for number in first..(first + BURST_LINES).min(count) {
            lines::put(&mut line, number, number / (RATE / 1000), Some(at))?;
            burst.extend_from_slice(&line);
        }
        file.write_all(&burst)?;
    }
    Ok(latest)
}
