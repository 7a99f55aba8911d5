//! `[sinks.NAME]`: what all have in common, and the keys of each type.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys;
use super::matches;
use super::node::{Node, quoted};
use super::quantity;
use super::sections;
use super::sources::{NAME_RULE, well_formed_name};
use super::table::Table;
use super::transport;
use super::url;
use crate::azure::credential;
use crate::record::SINKS_MAX;
use crate::sink::{self, Kind, azure_monitor, console, elasticsearch, file};
use crate::source::{self, file::pattern::Pattern};

/// Bounds of `batch_bytes`.
pub const BATCH_MIN_BYTES: u64 = 1024;
pub const BATCH_MAX_BYTES: u64 = 100 * 1024 * 1024;

/// Most requests of one sink under way at once.
pub const IN_FLIGHT_MAX: u64 = 32;

/// Bounds of `max_age`.
pub const MAX_AGE_MIN: Duration = Duration::from_millis(1);
pub const MAX_AGE_MAX: Duration = Duration::from_secs(300);

/// Bounds of `max_bytes` of a file sink, the size past which it is rotated; 0 stands for never.
pub const ROTATE_MIN_BYTES: u64 = 64 * 1024;
pub const ROTATE_MAX_BYTES: u64 = 1 << 40;

/// Most rotated files that a file sink can be told to keep.
pub const KEEP_MAX: u64 = 100_000;

/// What a file sink writes to, for checks against other sinks and the sources.
#[derive(Debug)]
pub struct Written {
    pub path: PathBuf,
    /// Name of the sink.
    pub sink: String,
}

/// All sinks in the order of the file, and the columns that their rules may name besides ours.
pub fn sinks(root: &Table<'_>, node: Option<&Node>, own: &[String], colour: bool) -> Vec<sink::Options> {
    let mut written: Vec<Written> = Vec::new();
    let read = root.named("sinks", |name, table| {
        if !well_formed_name(name) {
            table.mistake_here(&format!("the name {} is not possible", quoted(name)), NAME_RULE);
        }
        let sink = node.and_then(|sinks| sinks.get(name))?;
        let (kind, _) = keys::sink_type(name, sink)?;
        let kind = match *kind {
            "elasticsearch" => elasticsearch(&table).map(Kind::Elasticsearch),
            "azure_monitor" => azure_monitor(&table).map(|options| Kind::AzureMonitor(Box::new(options))),
            "file" => file(name, &table, &mut written).map(Kind::File),
            _ => Some(Kind::Console(console(&table, colour))),
        };
        let common = Common::read(&table, own);
        // The transport of a sink without one is checked too: a key means the same in every sink.
        if matches!(kind, Some(Kind::File(_) | Kind::Console(_))) {
            transport::options(&table);
            transport::auth(&table);
        }
        Some(common.options(name, kind?))
    });
    let count = node.map_or(0, |sinks| sinks.table().len());
    if count > SINKS_MAX {
        root.mistake("sinks", format!("has {count} sinks"), format!("at most {SINKS_MAX}"));
    }
    read.into_iter().flatten().collect()
}

/// The keys of every sink.
struct Common {
    when: Option<crate::record::Rule>,
    batch_bytes: usize,
    in_flight: usize,
    max_age: Duration,
}

impl Common {
    fn read(table: &Table<'_>, own: &[String]) -> Self {
        let bytes = table.size("batch_bytes", BATCH_MIN_BYTES..=BATCH_MAX_BYTES);
        let in_flight = table.whole("in_flight", 1..=IN_FLIGHT_MAX);
        Common {
            when: matches::rule(table, "when", own),
            batch_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            in_flight: usize::try_from(in_flight).unwrap_or(1),
            max_age: table.duration("max_age", MAX_AGE_MIN..=MAX_AGE_MAX),
        }
    }

    fn options(self, name: &str, kind: Kind) -> sink::Options {
        let Common { when, batch_bytes, in_flight, max_age } = self;
        sink::Options { name: name.into(), when, batch_bytes, in_flight, max_age, kind }
    }
}

fn elasticsearch(table: &Table<'_>) -> Option<elasticsearch::Options> {
    let expected = "URLs of the cluster, such as [\"http://127.0.0.1:9200\"]";
    let given = table.list("endpoints", expected);
    if !table.has("endpoints") {
        table.mistake("endpoints", "is missing", expected);
    } else if given.is_empty() && table.is_empty_list("endpoints") {
        table.mistake("endpoints", "names no URL", expected);
    }
    let endpoints = given.iter().filter_map(url::elasticsearch).collect();
    let index = table.required("index", "the name of a data stream or index");
    let index = index.and_then(|given| match elasticsearch::IndexName::parse(&given.text) {
        Ok(name) => Some(name),
        Err(what) => {
            let expected = "the name of a data stream or index, such as \"logs-benchmark-default\"";
            given.mistake(&what, None, expected);
            None
        }
    });
    let (auth, http) = (transport::auth(table), transport::options(table));
    let compression = transport::compression(table);
    Some(elasticsearch::Options { endpoints, index: index?, auth, http, compression })
}

/// The keys that say who we are to Elasticsearch; Azure Monitor takes tokens of `credential` only.
const OTHER_AUTH: &[&str] =
    &["api_key", "api_key_file", "username", "password", "password_file", "bearer_token", "bearer_token_file"];

fn azure_monitor(table: &Table<'_>) -> Option<azure_monitor::Options> {
    let expected = "the logs ingestion endpoint, such as \
                    \"https://NAME-abcd.westeurope-1.ingest.monitor.azure.com\"";
    let endpoint = table.required("endpoint", expected);
    let endpoint = endpoint.and_then(|given| url::azure(&given, expected));
    let expected = "the immutable id of the data collection rule: dcr- and 32 digits or letters a to f";
    let dcr_id = table.required("dcr_id", expected).filter(|given| {
        let good = is_dcr_id(&given.text);
        if !good {
            given.mistake("is no immutable id of a data collection rule", None, expected);
        }
        good
    });
    let expected = "the stream that the data collection rule declares, such as \"Custom-BenchmarkRuns_CL\"";
    let stream = table.required("stream", expected).filter(|given| {
        let name = given.text.strip_prefix("Custom-").unwrap_or_default();
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !good {
            let near = given.text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let near = near.then(|| quoted(&format!("Custom-{}", given.text)));
            given.mistake("is no name of a custom stream: it begins with Custom-", near, expected);
        }
        good
    });
    let (workspace_id, azure_table) = (workspace_id(table), azure_table(table));
    let query_endpoint = table.filled("query_endpoint");
    let query_endpoint = query_endpoint
        .and_then(|given| url::azure(&given, "the address of the query API, \"https://api.loganalytics.io\""));
    for key in OTHER_AUTH {
        if let Some(given) = table.filled(key) {
            given.mistake_unseen("is not for Azure Monitor", None, "credential = { kind = … } instead");
        }
    }
    let credential = table.table("credential", credential);
    let (http, compression) = (transport::options(table), transport::compression(table));
    let (dcr_id, stream) = (dcr_id?.text, stream?.text);
    Some(azure_monitor::Options {
        endpoint: endpoint?,
        dcr_id,
        stream,
        workspace_id,
        table: azure_table,
        query_endpoint,
        credential: credential?,
        http,
        compression,
    })
}

/// The workspace that `verify` reads; `None` where none is named, or what is named is none.
fn workspace_id(table: &Table<'_>) -> Option<String> {
    let given = table.filled("workspace_id")?;
    let parts: Vec<&str> = given.text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hexadecimal = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if lengths != [8, 4, 4, 4, 12] || !hexadecimal {
        let expected = "the id that the workspace's overview page shows (its customerId), such as \
                        \"00000000-0000-0000-0000-000000000000\"";
        given.mistake("is no id of a Log Analytics workspace", None, expected);
        return None;
    }
    Some(given.text.to_ascii_lowercase())
}

/// The table behind the stream, where it is named otherwise.
fn azure_table(table: &Table<'_>) -> Option<String> {
    let given = table.filled("table")?;
    if !azure_monitor::is_table_name(&given.text) {
        let near = given.text.strip_prefix("Custom-").filter(|name| azure_monitor::is_table_name(name)).map(quoted);
        given.mistake("is no name of a table", near, "the name of a table, such as \"BenchmarkRuns_CL\"");
        return None;
    }
    Some(given.text)
}

fn is_dcr_id(text: &str) -> bool {
    let digits = text.strip_prefix("dcr-").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[derive(Clone, Copy, PartialEq)]
enum Identity {
    Auto,
    Managed,
    Workload,
    ClientSecret,
    Cli,
}

/// Keys of `credential` besides its kind.
const APP_KEYS: [&str; 4] = ["tenant_id", "client_id", "client_secret", "client_secret_file"];

fn credential(table: Table<'_>) -> Option<credential::Options> {
    const KINDS: [(&str, Identity); 5] = [
        ("auto", Identity::Auto),
        ("managed_identity", Identity::Managed),
        ("workload_identity", Identity::Workload),
        ("client_secret", Identity::ClientSecret),
        ("azure_cli", Identity::Cli),
    ];
    let kind = table.choice("kind", &KINDS)?;
    let taken: &[&str] = match kind {
        Identity::Managed => &["client_id"],
        Identity::ClientSecret | Identity::Auto => &APP_KEYS,
        Identity::Workload | Identity::Cli => &[],
    };
    for key in APP_KEYS {
        if let Some(given) = table.filled(key).filter(|_| !taken.contains(&key)) {
            given.mistake_unseen("has no meaning for this kind of credential", None, "nothing: leave it out");
        }
    }
    let client_id = |table: &Table<'_>| table.filled("client_id").map(|given| given.text);
    Some(match kind {
        Identity::Auto => {
            let (secret, tenant_id) = (transport::secret(&table, "client_secret"), table.filled("tenant_id"));
            match (secret, tenant_id) {
                (transport::Asked::Absent, None) => {
                    credential::Options::Auto { client_id: client_id(&table), secret: None }
                }
                (transport::Asked::Absent, Some(tenant_id)) => {
                    tenant_id.mistake_unseen("has no meaning without client_secret", None, "the two, or neither");
                    return None;
                }
                (secret, _) => credential::Options::Auto { client_id: None, secret: Some(app(&table, secret)?) },
            }
        }
        Identity::Workload => credential::Options::WorkloadIdentity,
        Identity::Cli => credential::Options::AzureCli,
        Identity::Managed => credential::Options::ManagedIdentity { client_id: client_id(&table) },
        Identity::ClientSecret => {
            credential::Options::ClientSecret(app(&table, transport::secret(&table, "client_secret"))?)
        }
    })
}

/// An app registration with its secret; all three parts must be there.
fn app(table: &Table<'_>, secret: transport::Asked) -> Option<credential::App> {
    let tenant_id = table.required("tenant_id", "the directory (tenant) id of the app registration");
    let client_id = table.required("client_id", "the application (client) id of the app registration");
    if secret == transport::Asked::Absent {
        table.mistake("client_secret", "is missing", "client_secret, or client_secret_file with a path");
    }
    let transport::Asked::Secret(client_secret) = secret else { return None };
    Some(credential::App { tenant_id: tenant_id?.text, client_id: client_id?.text, client_secret })
}

fn file(name: &str, table: &Table<'_>, written: &mut Vec<Written>) -> Option<file::Options> {
    let max_bytes = table.size("max_bytes", 0..=ROTATE_MAX_BYTES);
    if (1..ROTATE_MIN_BYTES).contains(&max_bytes) {
        let expected = format!("{} or more, or 0 to never rotate", quantity::show_size(ROTATE_MIN_BYTES));
        table.mistake("max_bytes", "is too small: every few records would begin a file", expected);
    }
    let keep = table.whole("keep", 0..=KEEP_MAX);
    let path = sections::absolute(table, "path")?;
    if let Some(other) = written.iter().find(|other| other.path == path) {
        let what = format!("is the path of sinks.{} too", other.sink);
        table.mistake("path", what, "a path of its own");
    }
    written.push(Written { path: path.clone(), sink: name.to_owned() });
    Some(file::Options { path, max_bytes, keep: usize::try_from(keep).unwrap_or(usize::MAX) })
}

fn console(table: &Table<'_>, colour: bool) -> console::Options {
    let formats = [("pretty", console::Format::Pretty), ("ndjson", console::Format::Ndjson)];
    let format = table.choice("format", &formats).unwrap_or(console::Format::Pretty);
    console::Options { format, colour }
}

/// Notes each file sink whose path a source would read: its own records would come in again, without end.
pub fn check_loops(root: &Table<'_>, sinks: &[sink::Options], files: &[source::file::Options]) {
    for sink in sinks {
        let Kind::File(options) = &sink.kind else { continue };
        // Rotated, the file gets a number at its end.
        let mut rotated = options.path.clone().into_os_string();
        rotated.push(".1");
        let paths = [options.path.clone(), PathBuf::from(rotated)];
        let reads = |source: &&source::file::Options| {
            let any = |patterns: &[Pattern], path: &Path| patterns.iter().any(|pattern| pattern.matches(path));
            paths.iter().any(|path| any(&source.include, path) && !any(&source.exclude, path))
        };
        if let Some(source) = files.iter().find(reads) {
            let what = format!(
                "{} (or what it is renamed to) is read by the source {}",
                quoted(&options.path.to_string_lossy()),
                quoted(&source.name)
            );
            let expected = "a path that no include matches; or the path with a * at its end in the source's exclude";
            root.table("sinks", |sinks| sinks.table(&sink.name, |table| table.mistake("path", what, expected)));
        }
    }
}
