//! logferry's own log, on standard error. It never becomes a record of ours.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Libraries whose own messages are below ours in weight: only their warnings are shown, and `azure_core`'s requests never,
/// as they hold URLs of identities.
const QUIET: &[&str] = &[
    "azure_identity",
    "azure_core",
    "typespec_client_core",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "bollard",
    "notify",
    "h2",
];

/// Starts the log. `level`: trace, debug, info, warn or error. Only the first call of a process counts.
pub fn start(level: &str, format: Format) {
    start_with(level, format, std::io::stderr);
}

fn start_with<W>(level: &str, format: Format, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter = level.to_owned();
    for library in QUIET {
        filter.push_str(&format!(",{library}=warn"));
    }
    let filter = EnvFilter::builder().parse_lossy(filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second start (in tests of one process) leaves the first one in place.
    let _ = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
}
