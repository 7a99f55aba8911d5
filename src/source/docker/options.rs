//! What the Docker source is told.

use std::sync::Arc;

use crate::ingest;

/// Which engine to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `DOCKER_HOST`, else `unix:///var/run/docker.sock`.
    Auto,
    /// `unix:///path`, `tcp://host:port` or `http://host:port`.
    Address(String),
}

/// Globs on a container. It matches where one of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// On the name, without its leading slash.
    pub names: Vec<String>,
    /// On the image as it was asked for.
    pub images: Vec<String>,
    /// `label` or `label=value`, both globs.
    pub labels: Vec<String>,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnFrom {
    Label(String),
    Env(String),
}

/// Options of one `[[sources.docker]]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Column Source.
    pub name: Arc<str>,
    pub host: Host,
    /// A container is read where every non-empty list of `include` has a match …
    pub include: Select,
    /// … and no list of `exclude` has one.
    pub exclude: Select,
    /// Column and where its value comes from, in the order of the configuration.
    pub columns: Vec<(String, ColumnFrom)>,
    pub ingest: ingest::Options,
}
