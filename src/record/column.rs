//! The table of columns: one name everywhere, its type in Azure Monitor, and who fills it.

/// Type of a column in Azure Monitor's stream declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AzureType {
    String,
    Int,
    Long,
    Real,
    Dynamic,
    Datetime,
}

impl AzureType {
    /// The word that a stream declaration uses.
    pub fn word(self) -> &'static str {
        match self {
            AzureType::String => "string",
            AzureType::Int => "int",
            AzureType::Long => "long",
            AzureType::Real => "real",
            AzureType::Dynamic => "dynamic",
            AzureType::Datetime => "datetime",
        }
    }

    /// The word that the schema of a table uses: the same but for its capitals.
    pub fn table_word(self) -> &'static str {
        match self {
            AzureType::Datetime => "dateTime",
            other => other.word(),
        }
    }
}

/// Who gives a column its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The same for every record of an origin; stored once a segment.
    Origin,
    /// Out of the line; stored with the record.
    Line,
    /// Spliced in by a sink when the record is sent.
    Sink,
}

/// One column of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub azure: AzureType,
    pub filled: Filled,
}

const fn column(name: &'static str, azure: AzureType, filled: Filled) -> Column {
    Column { name, azure, filled }
}

/// Every column that logferry itself can fill, in the order in which they are documented.
/// `@timestamp` is what Elasticsearch and NDJSON call `TimeGenerated`; they have no `EventTime`.
pub const COLUMNS: &[Column] = &[
    column("TimeGenerated", AzureType::Datetime, Filled::Sink),
    column("EventTime", AzureType::Datetime, Filled::Sink),
    column("RunID", AzureType::String, Filled::Origin),
    column("TaskID", AzureType::String, Filled::Origin),
    column("Benchmark", AzureType::String, Filled::Origin),
    column("VMName", AzureType::String, Filled::Origin),
    column("Source", AzureType::String, Filled::Origin),
    column("FilePath", AzureType::String, Filled::Origin),
    column("Container", AzureType::String, Filled::Origin),
    column("ContainerID", AzureType::String, Filled::Origin),
    column("Image", AzureType::String, Filled::Origin),
    column("Stream", AzureType::String, Filled::Origin),
    column("LoggerName", AzureType::String, Filled::Line),
    column("Level", AzureType::String, Filled::Line),
    column("Message", AzureType::String, Filled::Line),
    column("Exception", AzureType::Dynamic, Filled::Line),
    column("EventType", AzureType::String, Filled::Line),
    column("TraceID", AzureType::String, Filled::Line),
    column("SpanID", AzureType::String, Filled::Line),
    column("DurationMs", AzureType::Real, Filled::Line),
    column("ModelName", AzureType::String, Filled::Line),
    column("PromptTokens", AzureType::Long, Filled::Line),
    column("CompletionTokens", AzureType::Long, Filled::Line),
    column("TotalTokens", AzureType::Long, Filled::Line),
    column("Cost", AzureType::Real, Filled::Line),
    column("Status", AzureType::String, Filled::Line),
    column("ErrorType", AzureType::String, Filled::Line),
    column("Fields", AzureType::Dynamic, Filled::Line),
    column("Part", AzureType::Int, Filled::Line),
    column("Parts", AzureType::Int, Filled::Line),
    column("Origin", AzureType::String, Filled::Origin),
    column("EventID", AzureType::String, Filled::Sink),
    column("Seq", AzureType::Long, Filled::Sink),
];

/// Longest name of a column that Azure Monitor takes, in characters.
pub const NAME_MAX: usize = 45;

/// Most columns of a table in Azure Monitor.
pub const COLUMNS_MAX: usize = 500;

/// Names that Azure Monitor keeps for itself.
const RESERVED: &[&str] = &["_ResourceId", "id", "_SubscriptionId", "TenantId", "Type", "UniqueId", "Title"];

/// Elasticsearch's log views read these as objects (`log.level`, `host.name`): the template has aliases below them.
const OBJECTS: &[&str] = &["host", "service", "log"];

/// Whether a user's own column may have this name: Azure's rules, and none of [`COLUMNS`].
///
/// # Errors
/// What is wrong with the name, as the end of a sentence.
pub fn check_own_name(name: &str) -> Result<(), String> {
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= NAME_MAX;
    if !well_formed {
        return Err(format!("must start with a letter and have at most {NAME_MAX} letters, digits and underscores"));
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err("is reserved by Azure Monitor".to_owned());
    }
    if OBJECTS.contains(&name) {
        return Err("is an object in the index template".to_owned());
    }
    if COLUMNS.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
        return Err("is a column that logferry fills itself".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_columns_follow_azures_rules() {
        for good in ["Team", "a", "A_1"] {
            assert!(check_own_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(NAME_MAX + 1);
        for bad in ["", "1a", "_a", "a-b", "größe", "Type", "type", "Seq", "message", "host", long.as_str()] {
            assert!(check_own_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_column_keeps_to_azures_name_rules() {
        for column in COLUMNS {
            assert!(column.name.len() <= NAME_MAX && !RESERVED.contains(&column.name), "{}", column.name);
        }
    }
}
