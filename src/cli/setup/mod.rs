//! `logferry setup`: what has to be made where the records go, before the first of them arrives.

mod azure;
mod template;

use super::Usage;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints Bicep and a script for the Azure CLI: table, data collection rule, role, notice before a deletion
    Azure(azure::Arguments),
    /// Installs index template and lifecycle
    #[command(hide = true, disable_help_flag = true)]
    Elasticsearch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

pub fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Azure(arguments) => azure::run(&arguments),
        Command::Elasticsearch { .. } => Err(Usage(
            "setup elasticsearch is not available yet in this version; `run` and `ship` install the index template at the \
             first delivery, where none is there"
                .to_owned(),
        )
        .into()),
    }
}
