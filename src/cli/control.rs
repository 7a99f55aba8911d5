//! `logferry drain` and `logferry status`: questions to the running daemon; and the daemon's answers.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{ConfigArgument, Usage, find_source, load, replay, tap};
use crate::config::Purpose;
use crate::control::{self, Answer, Asked, Outcome, Progress, Request};
use crate::lifecycle::report::EXIT_DELIVERED;
use crate::pipeline::{Drainer, Step, Stop};

/// How often the progress of a drain is told, and `status --watch` looks again.
pub(super) const LOOK: Duration = Duration::from_millis(500);
const WATCH: Duration = Duration::from_secs(1);

/// Requests that wait for the daemon; further ones wait at the socket.
pub(super) const ASKED_QUEUE: usize = 16;

/// On a drain, an unterminated last line is taken once it is unchanged for this long.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Most time that it may take, such as 90s or 4m [default: teardown.deadline of the daemon]
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The figures as one JSON object
    #[arg(long)]
    json: bool,
    /// Again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    crate::config::quantity::duration(text)
}

/// The state folder of a configuration.
pub(super) fn state_dir(config: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    Ok(load(&find_source(config), Purpose::Pipeline)?.config.state_dir)
}

/// Asks for a drain and waits for its end.
pub(super) fn drain(arguments: DrainArguments) -> anyhow::Result<u8> {
    let deadline_ms = arguments.deadline.map(|deadline| deadline.as_millis() as u64);
    let dir = state_dir(arguments.config.config)?;
    drain_daemon(&dir, deadline_ms)
}

/// Asks the daemon of a state folder for a drain; its report goes to stderr.
pub(super) fn drain_daemon(state_dir: &std::path::Path, deadline_ms: Option<u64>) -> anyhow::Result<u8> {
    ask_and_follow(state_dir, &Request::Drain { deadline_ms })
}

/// Asks for what takes its time, and shows how far it is; its report goes to stderr.
pub(super) fn ask_and_follow(state_dir: &std::path::Path, request: &Request) -> anyhow::Result<u8> {
    let bar = progress_bar();
    let mut most = 0;
    let answer = control::ask(state_dir, request, |step| draw(&bar, &mut most, step));
    bar.finish_and_clear();
    match answer? {
        Answer::Done(outcome) => {
            eprint!("{}", outcome.report);
            Ok(outcome.exit_code)
        }
        other => Err(anyhow::anyhow!("the daemon gave another answer than was asked for: {other:?}")),
    }
}

/// Draws how far it is; `most`: bytes when they were most.
pub(super) fn draw(bar: &ProgressBar, most: &mut u64, step: Progress) {
    *most = step.left_bytes.max(*most);
    bar.set_length(*most);
    bar.set_position(*most - step.left_bytes);
    let left = indicatif::HumanBytes(step.left_bytes);
    bar.set_message(if step.reading { "reading".to_owned() } else { format!("{left} left") });
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} [{wide_bar}] {msg}");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Prints the state of the daemon.
pub(super) fn status(arguments: StatusArguments) -> anyhow::Result<u8> {
    if arguments.json && arguments.watch {
        return Err(Usage("--json and --watch do not go together: ask for --json again and again".to_owned()).into());
    }
    let dir = state_dir(arguments.config.config)?;
    loop {
        let answer = control::ask(&dir, &Request::Status, |_| {})?;
        let Answer::Status(status) = answer else {
            return Err(anyhow::anyhow!("the daemon gave another answer than was asked for: {answer:?}"));
        };
        let text = if arguments.json { format!("{status:#}\n") } else { table(&status) };
        let clear = if arguments.watch && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        // A reader that went away has seen enough.
        if write!(std::io::stdout(), "{clear}{text}").is_err() || !arguments.watch {
            return Ok(EXIT_DELIVERED);
        }
        std::thread::sleep(WATCH);
    }
}

/// The state for people.
fn table(status: &Value) -> String {
    use std::fmt::Write as _;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let rate = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(0.0));
    let mut out = String::new();
    let (version, pid) = (status["version"].as_str().unwrap_or("?"), number(&status["pid"]));
    // Writing into a string does not fail.
    let _ = writeln!(out, "logferry {version}, process {pid}, up {} s", number(&status["uptime_seconds"]));
    let buffer = &status["buffer"];
    let percent = number(&buffer["used_bytes"]) as f64 * 100.0 / number(&buffer["max_bytes"]).max(1) as f64;
    let full = if buffer["disk_full"] == true { "; the disk is full, reading waits" } else { "" };
    let _ = writeln!(out, "buffer {} bytes, {percent:.1} % of its bound{full}\n", number(&buffer["used_bytes"]));
    let _ = writeln!(out, "{:<20}  {:>12}  {:>10}  {:>14}  {:>12}", "source", "lines", "a second", "bytes", "gaps");
    for (name, figures) in status["sources"].as_object().into_iter().flatten() {
        let (lines, bytes, gaps) = (number(&figures["lines"]), number(&figures["bytes"]), number(&figures["gaps"]));
        let rate = rate(&figures["lines_per_second"]);
        let _ = writeln!(out, "{name:<20}  {lines:>12}  {rate:>10}  {bytes:>14}  {gaps:>12}");
    }
    let head = ["sink", "delivered", "a second", "behind", "dead letters"];
    let _ = writeln!(out, "\n{:<20}  {:>12}  {:>10}  {:>14}  {:>12}", head[0], head[1], head[2], head[3], head[4]);
    for (name, figures) in status["sinks"].as_object().into_iter().flatten() {
        let (done, dead) = (number(&figures["delivered"]), number(&figures["dead_lettered"]));
        let more = if figures["lag_counted"] == false { "over " } else { "" };
        let behind = format!("{more}{}", number(&figures["lag_records"]));
        let rate = rate(&figures["records_per_second"]);
        let _ = writeln!(out, "{name:<20}  {done:>12}  {rate:>10}  {behind:>14}  {dead:>12}");
        if number(&figures["evicted"]) > 0 {
            let _ = writeln!(out, "  {} records dropped from the full buffer", number(&figures["evicted"]));
        }
        let letters = number(&figures["dead_letter_bytes"]);
        if letters > 0 {
            let _ = writeln!(out, "  {letters} bytes of dead letters: `logferry replay` sends them again");
        }
        if let Some(fault) = figures["fault"].as_str() {
            let _ = writeln!(out, "  {fault}");
        }
    }
    for rule in status["left_out"].as_array().into_iter().flatten().filter(|rule| number(&rule["lines"]) > 0) {
        let (kind, name) = (rule["kind"].as_str().unwrap_or("?"), rule["name"].as_str().unwrap_or("?"));
        let _ = writeln!(out, "left out by {kind} {name}: {} lines", number(&rule["lines"]));
    }
    announced(&status["scheduled_events"], &mut out);
    for gap in status["gaps"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(out, "gap: {gap}");
    }
    out
}

/// What Azure announces about this VM, for people; nothing where nothing is.
fn announced(status: &Value, out: &mut String) {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    for event in status["events"].as_array().into_iter().flatten() {
        let made_of_it = match event["stance"].as_str() {
            Some("approved") => "approved",
            Some("told") => "nothing is done for it",
            _ if status["state"] == "delivered" => "all is delivered",
            _ => "draining",
        };
        let when = match event["NotBefore"].as_str() {
            Some("") => ", which has begun".to_owned(),
            time => format!(" not before {}", time.unwrap_or("?")),
        };
        out.push_str(&format!("Azure announces {}{when}: {made_of_it}\n", text(&event["EventType"])));
    }
    if let Some(fault) = status["fault"].as_str() {
        out.push_str(&format!("what Azure announces is not known: {fault}\n"));
    }
}

/// Answers requests for as long as the daemon runs.
pub(super) async fn answer(drainer: Drainer, mut asked: mpsc::Receiver<Asked>, deadline: Duration) {
    while let Some(asked) = asked.recv().await {
        let drainer = drainer.clone();
        tokio::spawn(async move {
            match asked {
                Asked::Status { done } => {
                    // A client that went away wants no answer.
                    let _ = done.send(drainer.status().await);
                }
                Asked::Replay { deadline_ms, sinks, progress, done } => {
                    let deadline = deadline_ms.map_or(deadline, Duration::from_millis);
                    let _ = done.send(Ok(replay::serve(&drainer, &sinks, deadline, &progress).await));
                }
                Asked::Tap { sink, done } => {
                    let tapping = drainer.tap(sink).await.map(|tap| {
                        let (records, taken) = mpsc::channel(1);
                        tokio::spawn(tap::hand_over(tap, records));
                        taken
                    });
                    let _ = done.send(tapping);
                }
                Asked::Drain { deadline_ms, progress, done } => {
                    let deadline = deadline_ms.map_or(deadline, Duration::from_millis);
                    tracing::info!(deadline_s = deadline.as_secs_f64(), "a drain was asked for");
                    let deadline = Instant::now().checked_add(deadline);
                    let stop = Stop { settle: SETTLE, deadline, wait_containers: Duration::ZERO };
                    let steps = watch::Sender::new(Step::Reading);
                    let seen = steps.subscribe();
                    let outcome = tokio::select! {
                        outcome = drainer.drain(stop, steps) => outcome,
                        never = tell(&drainer, &seen, &progress) => match never {},
                    };
                    let outcome =
                        outcome.map(|report| Outcome { exit_code: report.exit_code(), report: report.text() });
                    let _ = done.send(outcome);
                }
            }
        });
    }
}

/// Tells how far a drain is, again and again; a client that does not listen is not waited for.
async fn tell(
    drainer: &Drainer,
    seen: &watch::Receiver<Step>,
    progress: &mpsc::Sender<Progress>,
) -> std::convert::Infallible {
    loop {
        let step = seen.borrow().clone();
        let step = match step {
            Step::Reading => Progress { reading: true, left_bytes: 0 },
            Step::Delivering(target) => Progress { reading: false, left_bytes: drainer.left_bytes(target) },
        };
        let _ = progress.try_send(step);
        tokio::time::sleep(LOOK).await;
    }
}
