//! `logferry config example` and `logferry config show`.

use super::{find_source, load};
use crate::config::{self as configuration, Purpose};
use crate::lifecycle::report::EXIT_DELIVERED;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// An annotated file with every key and its default
    Example,
    /// What is in force, with secrets masked, and where each value comes from
    Show(super::ConfigArgument),
}

pub fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Example => print!("{}", configuration::example()),
        Command::Show(argument) => {
            print!("{}", configuration::show(&load(&find_source(argument.config), Purpose::Any)?))
        }
    }
    Ok(EXIT_DELIVERED)
}
