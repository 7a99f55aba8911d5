//! The command line: one file a command; errors become one message and an exit code here.

mod check;
mod config;
mod control;
mod dry_run;
mod http;
mod named;
mod replay;
mod run;
mod setup;
mod ship;
mod tap;
mod try_lines;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::azure::{imds, whereabouts};
use crate::config::{self as configuration, Config, Loaded, Mistakes, Purpose, Source, Variables};
use crate::lifecycle::identity::Wanted;
use crate::lifecycle::report::{EXIT_FAILED, EXIT_USAGE};
use crate::telemetry::log;

const ABOUT: &str = "Ships every log line off a VM before the VM is gone.";

const EXAMPLES: &str = "\
Examples:
  logferry ship /var/log/app.log                 records as NDJSON on standard output
  docker logs job 2>&1 | logferry ship -         the same, from a pipe
  tail -f app.log | logferry try                 what becomes of lines, and why
  logferry config example > logferry.toml        a configuration to start from
  logferry check -c logferry.toml --online       is it right, and does every sink accept?
  logferry run -c logferry.toml                  the daemon; SIGTERM drains it
  logferry drain -c logferry.toml                is all that was written until now delivered?
  logferry replay -c logferry.toml               is what a sink refused taken now?
  logferry verify --run-id 42 --wait 15m         is all of the run in the sink?
  logferry setup azure --output azure            table, rule, role and notice as Bicep and as a script; queries

Exit codes: 0 everything delivered, 1 failure, 2 command line or configuration,
3 records left (safe in the buffer), 4 delivered but for dead letters.";

#[derive(Debug, Parser)]
#[command(name = "logferry", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// Configuration file [default: $LOGFERRY_CONFIG, else /etc/logferry/logferry.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: follows files and containers until a signal ends it, then drains
    Run(ConfigArgument),
    /// Once: reads files and containers to their end, delivers, reports
    Ship(ship::Arguments),
    /// Has the running daemon deliver all that was written until now, and waits; the daemon goes on
    Drain(control::DrainArguments),
    /// Sources, buffer and sinks of the running daemon
    Status(control::StatusArguments),
    /// Sends dead letters again; through the daemon where one runs
    Replay(replay::Arguments),
    /// Live records of the running daemon
    Tap(tap::Arguments),
    /// Lines on standard input: which records they become, and why; nothing is sent
    Try(try_lines::Arguments),
    /// Is the configuration right?
    Check(check::Arguments),
    /// Does a sink hold all that the manifests of a run say?
    Verify(verify::Arguments),
    /// Prints what has to be made where the records go
    Setup {
        #[command(subcommand)]
        command: setup::Command,
    },
    /// Prints a configuration
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
}

/// Runs the command of this process's arguments to its exit code.
pub fn main() -> ExitCode {
    // Errors of the command line, and `--help`, end here with their own codes: 2 and 0.
    let arguments = Arguments::parse();
    let starts = matches!(arguments.command, Command::Run(_) | Command::Ship(_));
    let result = match arguments.command {
        Command::Run(argument) => run::run(argument.config),
        Command::Ship(arguments) => ship::run(arguments),
        Command::Drain(arguments) => control::drain(arguments),
        Command::Status(arguments) => control::status(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Tap(arguments) => tap::run(arguments),
        Command::Try(arguments) => try_lines::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Setup { command } => setup::run(command),
        Command::Config { command } => config::run(command),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = if error.is::<Mistakes>() || error.is::<Usage>() { EXIT_USAGE } else { EXIT_FAILED };
            let outcome = if starts && error.is::<Mistakes>() { "; nothing was started" } else { "" };
            eprintln!("logferry: {error:#}{outcome}");
            ExitCode::from(code)
        }
    }
}

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Loads the configuration for a command.
fn load(source: &Source, purpose: Purpose) -> Result<Loaded, Mistakes> {
    let variables = Variables::of_process();
    let colour = std::io::IsTerminal::is_terminal(&std::io::stdout());
    configuration::load(configuration::Request { source, variables: &variables, purpose, colour })
}

fn find_source(argument: Option<PathBuf>) -> Source {
    Source::find(argument, &Variables::of_process())
}

fn start_log(config: &Config) {
    let format = match config.log.format {
        configuration::LogFormat::Text => log::Format::Text,
        configuration::LogFormat::Json => log::Format::Json,
    };
    log::start(&config.log.level, format);
}

/// The runtime of the process; its threads serve sinks and Docker streams, files have their own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The columns that are the same for every record, as they are wanted.
fn identity(config: &Config) -> Wanted {
    let run = &config.run;
    let named = [("RunID", &run.run_id), ("TaskID", &run.task_id), ("Benchmark", &run.benchmark)];
    let named = named.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
    Wanted {
        columns: named.chain(run.fields.iter().cloned()).filter(|(_, value)| !value.is_empty()).collect(),
        vm_name: match &run.vm_name {
            configuration::VmName::Auto => None,
            configuration::VmName::Given(value) => Some(value.clone()),
        },
        azure: whereabouts::Options {
            imds: config.teardown.imds.clone(),
            certain: config.teardown.scheduled_events == configuration::ScheduledEvents::On,
        },
    }
}

/// What a pipeline is built from.
fn pipeline_setup(config: &Config) -> crate::pipeline::Setup {
    crate::pipeline::Setup {
        identity: identity(config),
        state_dir: config.state_dir.clone(),
        buffer: config.buffer.clone(),
        files: config.files.clone(),
        docker: config.docker.clone(),
        stdin: None,
        archives: None,
        sinks: config.sinks.clone(),
        unread: Vec::new(),
        redactor: Arc::clone(&config.redactor),
        metrics: Arc::clone(&config.metrics),
        left_out: Arc::clone(&config.left_out),
        manifests: true,
        announced: None,
    }
}

/// What is asked of Azure about the end of the VM; `None`: nothing, as this is no VM of Azure's or it is switched off.
fn announced(config: &Config) -> Option<crate::pipeline::Announced> {
    let teardown = &config.teardown;
    let is_asked = match teardown.scheduled_events {
        configuration::ScheduledEvents::Auto => imds::chassis_is_azure(Path::new(imds::CHASSIS_ASSET_TAG_PATH)),
        configuration::ScheduledEvents::On => true,
        configuration::ScheduledEvents::Off => false,
    };
    is_asked.then(|| crate::pipeline::Announced {
        imds: teardown.imds.clone(),
        kinds: teardown.events.clone(),
        approve: teardown.approve == configuration::Approve::WhenIdle,
        margin: teardown.margin,
        deadline: teardown.deadline,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
