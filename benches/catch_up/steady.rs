//! A quiet day: a fixed rate of lines into a file that the daemon follows. CPU of the whole life of the process, and
//! how long a line takes from being written to standing in a request that the server has read.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::{self, Stub};
use crate::{Fault, file_source, lines, write_config};

/// Lines each second, written one by one, as loggers write.
const RATE: u64 = 5_000;
const SECONDS: u64 = 20;
const TRIAL_SECONDS: u64 = 2;
/// What the daemon has for its start before the first line.
const WARM_UP: Duration = Duration::from_secs(1);

pub fn drive(folder: &Path, trial: bool) -> Result<(), Fault> {
    let count = RATE * if trial { TRIAL_SECONDS } else { SECONDS };
    let dir = folder.join("steady");
    fs::create_dir(&dir)?;
    let (path, log) = (dir.join("lines.log"), dir.join("shipper.log"));
    let file = File::create(&path)?;
    let stub = Stub::start(count)?;
    let config = write_config(&file_source(&path), &dir, &stub.address, "none")?;
    let mut command = process::bare(Path::new(env!("CARGO_BIN_EXE_logferry")));
    let began = Instant::now();
    let child = process::start(command.arg("run").arg("-c").arg(config), &log)?;
    std::thread::sleep(WARM_UP);
    let written = write_at_rate(file, count);
    let (run, taken) = process::stop(child, began, stub, &log, count)?;
    let late = written?;
    println!(
        "{RATE} lines/s for {} s: {:.1} % of a core, {:.1} MiB, from writing to arrival p50 {:.1} ms, p99 {:.1} ms, \
         most {:.1} ms; {} requests; the writer was up to {:.1} ms late",
        count / RATE,
        100.0 * run.cpu().as_secs_f64() / (count / RATE) as f64,
        run.peak_bytes as f64 / 1_048_576.0,
        taken.wait_p50 as f64 / 1e3,
        taken.wait_p99 as f64 / 1e3,
        taken.wait_max as f64 / 1e3,
        taken.requests,
        late.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Writes `count` lines, each at its moment; returns how late the latest was.
fn write_at_rate(mut file: File, count: u64) -> Result<Duration, Fault> {
    let mut line = Vec::with_capacity(lines::LINE_BYTES);
    let mut latest = Duration::ZERO;
    let began = Instant::now();
    for number in 0..count {
        let due = Duration::from_nanos(number * 1_000_000_000 / RATE);
        let now = began.elapsed();
        std::thread::sleep(due.saturating_sub(now));
        latest = latest.max(now.saturating_sub(due));
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        lines::put(&mut line, number, number / (RATE / 1000), Some(at))?;
        file.write_all(&line)?;
    }
    Ok(latest)
}
