//! The figures, for people: median of the rounds, and the least and the most.

use crate::lines::LINE_BYTES;
use crate::process::Run;

/// One shipper and its rounds.
pub struct Row {
    pub name: &'static str,
    pub runs: Vec<Run>,
}

impl Row {
    pub fn new(name: &'static str) -> Row {
        Row { name, runs: Vec::new() }
    }

    /// One round in one line.
    pub fn describe(&self, run: &Run) -> String {
        format!(
            "{:<15} {:>7.0} lines/s, {:.2} µs/line (user {:.2}, system {:.2}), {:.1} MiB, {:.2} s, {} requests of {:.1} MB, {:.0} bytes/line sent",
            self.name,
            run.lines_per_second(),
            run.micros_per_line(run.cpu()),
            run.micros_per_line(run.user),
            run.micros_per_line(run.system),
            run.peak_bytes as f64 / 1_048_576.0,
            run.wall.as_secs_f64(),
            run.requests,
            run.body_bytes as f64 / 1e6 / run.requests as f64,
            run.wire_bytes as f64 / run.lines as f64,
        )
    }

    fn spread(&self, value: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(value).collect())
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Spread { least: at(0), median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, most: at(last) }
    }

    fn show(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

/// Prints a row for each shipper; the first one is the floor, the others are compared with it round by round.
pub fn print(lines: u64, rows: &[Row]) {
    let Some(floor) = rows.first() else { return };
    let rounds = floor.runs.len();
    println!("\n{lines} lines of {LINE_BYTES} bytes, {rounds} rounds: median (least–most)\n");
    println!(
        "{:<15} {:>26} {:>18} {:>18} {:>18} {:>18} {:>18}",
        "", "lines/s", "CPU µs/line", "of it system", "× floor's CPU", "peak RSS MiB", "seconds"
    );
    for row in rows {
        let pairs = row.runs.iter().zip(&floor.runs);
        let ratio = Spread::of(pairs.map(|(run, floor)| run.cpu().as_secs_f64() / floor.cpu().as_secs_f64()).collect());
        println!(
            "{:<15} {:>26} {:>18} {:>18} {:>18} {:>18} {:>18}",
            row.name,
            row.spread(Run::lines_per_second).show(0),
            row.spread(|run| run.micros_per_line(run.cpu())).show(2),
            row.spread(|run| run.micros_per_line(run.system)).show(2),
            ratio.show(2),
            row.spread(|run| run.peak_bytes as f64 / 1_048_576.0).show(1),
            row.spread(|run| run.wall.as_secs_f64()).show(2),
        );
    }
}
