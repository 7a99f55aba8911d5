//! `logferry setup azure`: what has to be made in Azure Monitor, as Bicep, as a script for the Azure CLI, and the queries.
//! It prints and calls nothing. The columns come out of the records' own table, [`COLUMNS`], so they cannot differ.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::{Usage, find_source, load};
use super::template::Filling;
use crate::config::{Config, Purpose};
use crate::lifecycle::report::EXIT_DELIVERED;
use crate::record::column::{AzureType, COLUMNS, COLUMNS_MAX, check_own_name};
use crate::sink::azure_monitor::is_table_name;
use crate::source::file::Pattern;

/// The table that queries name as they stand in the repository.
const TABLE: &str = "BenchmarkRuns_CL";

/// Every table of one's own ends so.
const TABLE_SUFFIX: &str = "_CL";

/// Id of the built-in role Monitoring Metrics Publisher, the same in every tenant.
const PUBLISHER_ROLE: &str = "3913510d-42f4-4e42-8a64-420c390055eb";

const BICEP: &str = include_str!("azure/setup.bicep.in");
const SCRIPT: &str = include_str!("azure/setup.sh.in");
const ALERT: &str = include_str!("azure/alert.bicep.in");

macro_rules! query {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../packaging/azure/", $name)))
    };
}

/// Path below the folder of the output, and text.
const QUERIES: &[(&str, &str)] = &[
    query!("queries/run.kql"),
    query!("queries/task.kql"),
    query!("queries/execution.kql"),
    query!("queries/tokens-by-model.kql"),
    query!("queries/slowest-tasks.kql"),
    query!("queries/errors-by-type.kql"),
    query!("queries/gaps-by-seq.kql"),
    query!("queries/manifest-against-count.kql"),
    query!("queries/duplicates.kql"),
    query!("queries/gb-by-logger-and-level.kql"),
    ALERT_QUERY,
];

/// The one that the alert asks.
const ALERT_QUERY: (&str, &str) = query!("queries/incomplete-runs.kql");

/// Where the lines of columns begin in the templates.
const TABLE_INDENT: &str = "        ";
const STREAM_INDENT: &str = "          ";

const MODE_FILE: u32 = 0o644;
const MODE_SCRIPT: u32 = 0o755;

const EXAMPLES: &str = "\
Nothing is called and nothing is changed: the files are for you to read and to run.

Examples:
  logferry setup azure --output azure            setup.bicep, setup.sh, alert.bicep and queries/ in the folder azure
  cd azure && az login
  RESOURCE_GROUP=benchmarks LOCATION=westeurope VM=vm-7 ./setup.sh >>logferry.toml
                                                 makes everything and prints the section [sinks.azure_monitor]
  az deployment group create -g benchmarks -f setup.bicep -p workspaceName=logferry principalIds='[\"OBJECT-ID\"]'
                                                 the same from Bicep, in a workspace that is there
  logferry setup azure --only script             just the script, on standard output
  logferry setup azure -c logferry.toml          with the columns of your own that this configuration fills, such as those
                                                 of run.fields and record.columns: Azure drops what the table lacks
                                                 without a word
  logferry setup azure --column Team             with one that no configuration here names";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// Table of the workspace; its stream is Custom-NAME
    #[arg(long, value_name = "NAME", default_value = TABLE, value_parser = table_name)]
    table: String,
    /// Add the columns with names of your own that this configuration fills: run.fields, captures of paths, columns of
    /// containers, record.columns
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Add a column of text. Can be repeated
    #[arg(long = "column", value_name = "NAME", value_parser = own_column)]
    columns: Vec<String>,
    /// With a data collection endpoint, as a private link demands; else the rule has an endpoint of its own
    #[arg(long)]
    dce: bool,
    /// Print only this
    #[arg(long, value_name = "FILE", value_enum, conflicts_with = "output")]
    only: Option<Only>,
    /// Write all files into this folder, also alert and queries, in place of those of the same name
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Only {
    /// setup.bicep
    Bicep,
    /// setup.sh
    Script,
    /// alert.bicep
    Alert,
}

fn table_name(name: &str) -> Result<String, String> {
    let has_suffix = name.len() > TABLE_SUFFIX.len() && name.ends_with(TABLE_SUFFIX);
    if has_suffix && is_table_name(name) {
        return Ok(name.to_owned());
    }
    Err(format!("must start with a letter, end in {TABLE_SUFFIX}, and have at most 63 letters, digits and underscores"))
}

fn own_column(name: &str) -> Result<String, String> {
    check_own_name(name).map(|()| name.to_owned())
}

/// Prints the files, or writes them and prints their paths.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut own = match &arguments.config {
        Some(file) => configured(&load(&find_source(Some(file.clone())), Purpose::Any)?.config),
        None => Vec::new(),
    };
    own.extend(arguments.columns.iter().map(|name| (name.clone(), AzureType::String)));
    let columns = columns(&own)?;
    let setup = Setup { table: &arguments.table, dce: arguments.dce, columns };
    match (&arguments.output, arguments.only) {
        (Some(folder), _) => write(&setup, folder)?,
        (None, Some(Only::Bicep)) => print!("{}", setup.bicep()),
        (None, Some(Only::Script)) => print!("{}", setup.script()),
        (None, Some(Only::Alert)) => print!("{}", setup.alert()),
        (None, None) => {
            print!("==> setup.bicep <==\n{}\n==> setup.sh <==\n{}", setup.bicep(), setup.script());
        }
    }
    Ok(EXIT_DELIVERED)
}

/// The columns that a configuration fills, in the order of the file. A parsed one holds text or numbers.
fn configured(config: &Config) -> Vec<(String, AzureType)> {
    let fields = config.run.fields.iter().map(|(name, _)| name.as_str());
    let paths = config.files.iter().flat_map(|source| &source.include).flat_map(Pattern::names);
    let containers = config.docker.iter().flat_map(|source| &source.columns).map(|(name, _)| name.as_str());
    let given = fields.chain(paths).chain(containers).map(|name| (name.to_owned(), AzureType::String));
    given.chain(config.columns.names().map(|name| (name.to_owned(), AzureType::Dynamic))).collect()
}

/// logferry's columns, then those of `own` that are none of them, each once.
fn columns(own: &[(String, AzureType)]) -> Result<Vec<(&str, AzureType)>, Usage> {
    let mut all: Vec<(&str, AzureType)> = COLUMNS.iter().map(|column| (column.name, column.azure)).collect();
    for (name, azure) in own {
        match all.iter_mut().enumerate().find(|(_, (known, _))| known.eq_ignore_ascii_case(name)) {
            // Of one's own, the type that takes more.
            Some((at, (known, known_type))) if *known == name => {
                if at >= COLUMNS.len() && *azure == AzureType::Dynamic {
                    *known_type = AzureType::Dynamic;
                }
            }
            Some((_, (known, _))) => {
                return Err(Usage(format!(
                    "the columns {known} and {name} differ in their capitals alone: a table cannot have both"
                )));
            }
            None => all.push((name, *azure)),
        }
    }
    if all.len() > COLUMNS_MAX {
        let room = COLUMNS_MAX - COLUMNS.len();
        let count = all.len() - COLUMNS.len();
        return Err(Usage(format!("{count} columns of your own: a table has room for {room}")));
    }
    Ok(all)
}

fn write(setup: &Setup<'_>, folder: &Path) -> anyhow::Result<()> {
    let mut files = vec![
        ("setup.bicep", setup.bicep(), MODE_FILE),
        ("setup.sh", setup.script(), MODE_SCRIPT),
        ("alert.bicep", setup.alert(), MODE_FILE),
    ];
    files.extend(QUERIES.iter().map(|(name, text)| (*name, setup.query(text), MODE_FILE)));
    for (name, text, mode) in files {
        let path = folder.join(name);
        let what = || format!("{} cannot be written", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(what)?;
        }
        std::fs::write(&path, text).with_context(what)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).with_context(what)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// What the files are made for.
struct Setup<'a> {
    table: &'a str,
    dce: bool,
    columns: Vec<(&'a str, AzureType)>,
}

impl Setup<'_> {
    fn filling(&self) -> Filling {
        Filling {
            choices: vec![("dce", self.dce), ("direct", !self.dce)],
            blocks: Vec::new(),
            words: vec![
                ("table", self.table.to_owned()),
                ("stream", format!("Custom-{}", self.table)),
                ("role", PUBLISHER_ROLE.to_owned()),
            ],
        }
    }

    /// A line for each column as `line` writes its name and type, of the table and, one step further in, of the stream.
    fn with_columns(&self, between: &str, line: fn(&str, &str) -> String) -> Filling {
        let block = |indent: &str, word: fn(AzureType) -> &'static str| {
            let lines = self.columns.iter().map(|(name, azure)| format!("{indent}{}", line(name, word(*azure))));
            lines.collect::<Vec<_>>().join(between)
        };
        let table = block(TABLE_INDENT, AzureType::table_word);
        let stream = block(STREAM_INDENT, AzureType::word);
        Filling { blocks: vec![("table-columns", table), ("stream-columns", stream)], ..self.filling() }
    }

    fn bicep(&self) -> String {
        self.with_columns("\n", |name, azure| format!("{{ name: '{name}', type: '{azure}' }}")).fill(BICEP)
    }

    fn script(&self) -> String {
        self.with_columns(",\n", |name, azure| format!("{{\"name\": \"{name}\", \"type\": \"{azure}\"}}")).fill(SCRIPT)
    }

    fn alert(&self) -> String {
        let (_, text) = ALERT_QUERY;
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("//")).collect();
        let blocks = vec![("query", self.query(&lines.join("\n")))];
        Filling { blocks, ..self.filling() }.fill(ALERT)
    }

    /// A query of the repository, of this table.
    fn query(&self, text: &str) -> String {
        text.replace(TABLE, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_ones_own_is_a_word_that_ends_in_cl() {
        for (name, expected) in [
            ("BenchmarkRuns_CL", true),
            ("a_CL", true),
            ("_CL", false),
            ("Runs", false),
            ("Runs_cl", false),
            ("Benchmark-Runs_CL", false),
            ("Runs'_CL", false),
            ("1_CL", false),
        ] {
            assert_eq!(table_name(name).is_ok(), expected, "{name}");
        }
        assert!(
            table_name(&format!("{}_CL", "a".repeat(60))).is_ok()
                && table_name(&format!("{}_CL", "a".repeat(61))).is_err()
        );
    }

    #[test]
    fn a_table_has_each_column_once_and_not_too_many() {
        let text = |name: &str| (name.to_owned(), AzureType::String);
        let names = |count: usize| (0..count).map(|n| text(&format!("Own{n}"))).collect::<Vec<_>>();
        let room = COLUMNS_MAX - COLUMNS.len();
        assert_eq!(columns(&names(room)).map(|all| all.len()).ok(), Some(COLUMNS_MAX));
        assert!(columns(&names(room + 1)).is_err());
        assert_eq!(columns(&[text("Team"), text("Team")]).map(|all| all.len()).ok(), Some(COLUMNS.len() + 1));
        assert!(columns(&[text("Team"), text("TEAM")]).is_err());
        let parsed = |name: &str| (name.to_owned(), AzureType::Dynamic);
        for own in [[text("Team"), parsed("Team")], [parsed("Team"), text("Team")], [parsed("Team"), parsed("TraceID")]]
        {
            let all = columns(&own).expect("columns");
            assert_eq!(all.last(), Some(&("Team", AzureType::Dynamic)), "{own:?}");
            assert!(all.contains(&("TraceID", AzureType::String)));
        }
    }

    #[test]
    fn nothing_is_left_to_fill() {
        for dce in [false, true] {
            let setup = Setup { table: "Runs_CL", dce, columns: columns(&[]).expect("columns") };
            for text in [setup.bicep(), setup.script(), setup.alert()] {
                for mark in [
                    "@dce",
                    "@direct",
                    "@table-columns",
                    "@stream-columns",
                    "@query",
                    "{table}",
                    "{stream}",
                    "{role}",
                    TABLE,
                ] {
                    assert!(!text.contains(mark), "{mark} in\n{text}");
                }
            }
        }
    }
}
