//! What the Docker source is told.

use std::sync::Arc;

use crate::ingest;

/// Which engine to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `DOCKER_HOST`, else `unix:///var/run/docker.sock`.
    Auto,
    /// `unix:///path`, or `host:port` after `tcp://`, `http://` or `https://`.
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
    /// The project of Docker Compose or podman-compose.
    ComposeProject,
    /// Its service in that project.
    ComposeService,
    Name,
    Id,
    /// As it was asked for.
    Image,
}

impl ColumnFrom {
    /// What [`ColumnFrom::parse`] understands, for messages.
    pub const FORMS: &str =
        "\"label:NAME\", \"env:NAME\", \"compose:project\", \"compose:service\", \"name\", \"id\" or \"image\"";

    /// `None` for a text of no known form.
    pub fn parse(text: &str) -> Option<ColumnFrom> {
        match text.split_once(':') {
            Some(("label", label)) if !label.is_empty() => Some(ColumnFrom::Label(label.to_owned())),
            Some(("env", variable)) if is_variable(variable) => Some(ColumnFrom::Env(variable.to_owned())),
            Some(("compose", "project")) => Some(ColumnFrom::ComposeProject),
            Some(("compose", "service")) => Some(ColumnFrom::ComposeService),
            None if text == "name" => Some(ColumnFrom::Name),
            None if text == "id" => Some(ColumnFrom::Id),
            None if text == "image" => Some(ColumnFrom::Image),
            _ => None,
        }
    }
}

/// A variable's name ends where its value begins.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains('=')
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

impl Options {
    /// Names of the variables that columns ask for: all that may be kept of a container's environment.
    pub fn variables(&self) -> Arc<[String]> {
        let name = |(_, from): &(String, ColumnFrom)| match from {
            ColumnFrom::Env(name) => Some(name.clone()),
            _ => None,
        };
        self.columns.iter().filter_map(name).collect()
    }
}
